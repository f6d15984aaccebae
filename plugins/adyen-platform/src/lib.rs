//! Adyen's webhooks for platforms (balance platform, transfers, reports): the header `HmacSignature` is the base64
//! HMAC-SHA256 of the body.
//!
//! Source:
//! <https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures/#verify-hmac-signatures-for-platform-webhooks>.
//! The secret is the HMAC key, in hex.
//!
//! Event: type from `/type` of the body, signed; there is no id, and no time is signed. The answer is `[accepted]`,
//! which Adyen waits for.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Adyen's webhooks for platforms.
pub struct AdyenPlatform;

const SIGNATURE: Mac = Mac::base64("hmacsignature", Hash::Sha256);

impl Verifier for AdyenPlatform {
    const ABOUT: About =
        About::new("adyen-platform", "https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures/")
            .roles(&[Role::required("signing", "the HMAC key of the webhook, in hex")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::hex("signing"), &[Part::Body])?;
        Ok(Event::new().kind(call.json("/type")).acknowledge(Reply::text("[accepted]")).into())
    }
}

tollgate_sdk::verifier!(AdyenPlatform);
