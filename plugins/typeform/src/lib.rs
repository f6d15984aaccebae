//! Typeform webhooks: `Typeform-Signature` is `sha256=` and the base64 HMAC-SHA256 of the body.
//!
//! Source: <https://www.typeform.com/developers/webhooks/secure-your-webhooks/>. The secret is any text, used as it is.
//!
//! Event: `/event_id` and `/event_type` of the body, both signed. No time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Typeform's webhooks.
pub struct Typeform;

const SIGNATURE: Mac = Mac::base64("typeform-signature", Hash::Sha256).prefix("sha256=");

impl Verifier for Typeform {
    const ABOUT: About = About::new("typeform", "https://www.typeform.com/developers/webhooks/secure-your-webhooks/")
        .roles(&[Role::required("signing", "the secret in the webhook's settings")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().signed_id(call.json("/event_id")).kind(call.json("/event_type")).into())
    }
}

tollgate_sdk::verifier!(Typeform);
