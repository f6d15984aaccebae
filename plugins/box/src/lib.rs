//! Box webhooks (V2): `BOX-SIGNATURE-PRIMARY` and `BOX-SIGNATURE-SECONDARY` are the base64 HMAC-SHA256 of the body and
//! `BOX-DELIVERY-TIMESTAMP`, each by a key of its own.
//!
//! Source: <https://developer.box.com/guides/webhooks/v2/signatures-v2/> and Box's own libraries. The secrets are the
//! app's primary and secondary signature keys, as the two live values of one secret; used as text.
//!
//! Event: `/id` and `/trigger` of the body, both signed. Fresh by the timestamp, which is signed.

use tollgate_sdk::scheme::{Digits, SignedAt};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Box's webhooks.
pub struct BoxHooks;

impl Verifier for BoxHooks {
    const ABOUT: About =
        About::new("box", "https://developer.box.com/guides/webhooks/v2/signatures-v2/").roles(&[Role::required(
            "signing",
            "the app's primary signature key, and its secondary one as another live value",
        )]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let fixed = [("box-signature-version", "1"), ("box-signature-algorithm", "HmacSHA256")];
        for (header, expected) in fixed {
            if call.required(header)? != expected {
                return Err(Refusal::malformed(header));
            }
        }
        let signed_at = SignedAt::rfc3339(call, "box-delivery-timestamp")?;
        let mut digests = Vec::new();
        for header in ["box-signature-primary", "box-signature-secondary"] {
            if let Some(written) = call.optional(header)? {
                digests.push(Digits::Base64.read(&written, 32).ok_or_else(|| Refusal::malformed(header))?);
            }
        }
        let content = [Part::Body, Part::Text(&signed_at.text)];
        call.check_hmac(Key::text("signing"), Hash::Sha256, &content, &digests)?;
        let event = Event::new().signed_id(call.json("/id")).kind(call.json("/trigger"));
        Ok(event.timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(BoxHooks);
