//! Adyen's standard webhooks (payments): `additionalData.hmacSignature` of the one notification item in the body is the
//! base64 HMAC-SHA256 of eight of its values, joined by colons.
//!
//! Source: <https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures/> and Adyen's own libraries,
//! which sign values as they are. The secret is the HMAC key, in hex. Webhooks of the platforms are signed otherwise:
//! `adyen-platform`. Of the eight only `merchantReference`, which is the merchant's own text, may hold a colon: so each
//! border is where it seems to be.
//!
//! Event: `pspReference` with the event's code (one payment has several), signed; type from `eventCode`, signed. No
//! time is signed. What is not among the eight values, anybody may have changed. A body with several items, or a key
//! twice, is refused. The answer is `[accepted]`, which Adyen waits for.

use tollgate_sdk::scheme::{Digits, Table};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Adyen's standard webhooks.
pub struct Adyen;

impl Verifier for Adyen {
    const ABOUT: About =
        About::new("adyen", "https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures/")
            .roles(&[Role::required("signing", "the HMAC key of the webhook, in hex")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let malformed = || Refusal::malformed("notificationItems");
        let wrapped = Table::body(call)?.only("notificationItems").ok_or_else(malformed)?;
        let item = wrapped.table("NotificationRequestItem").ok_or_else(malformed)?;
        let written = item.table("additionalData");
        let written = written.as_ref().and_then(|data| data.text("hmacSignature"));
        let written = written.ok_or_else(|| Refusal::missing("hmacSignature"))?;
        let digest = Digits::Base64.read(written, 32).ok_or_else(|| Refusal::malformed("hmacSignature"))?;

        let amount = item.table("amount");
        let money = |name: &str| amount.as_ref().and_then(|amount| amount.scalar(name)).unwrap_or_default();
        let value = |name: &str| item.scalar(name).unwrap_or_default();
        let [reference, kind] = ["pspReference", "eventCode"].map(value);
        let before = [reference, value("originalReference"), value("merchantAccountCode")];
        let after = [money("value"), money("currency"), kind, value("success")];
        if before.iter().chain(&after).any(|value| value.contains(':')) {
            return Err(malformed());
        }
        let content = [&before[..], &[value("merchantReference")], &after].concat().join(":");
        call.check_hmac(Key::hex("signing"), Hash::Sha256, &[Part::Text(&content)], &[digest])?;
        let id = [reference, ":", kind, ":", value("success")].concat();
        Ok(Event::new().signed_id(id).kind(kind.to_owned()).acknowledge(Reply::text("[accepted]")).into())
    }
}

tollgate_sdk::verifier!(Adyen);
