//! Webhooks of LINE's Messaging API: `x-line-signature` is the base64 HMAC-SHA256 of the body.
//!
//! Source: <https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/> and LINE's own libraries. The
//! secret is the channel secret, used as text.
//!
//! Event: a body is a batch of events, so it has neither id nor type; what is signed tells copies apart. No time is
//! signed that LINE says to check.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Webhooks of LINE's Messaging API.
pub struct Line;

const SIGNATURE: Mac = Mac::base64("x-line-signature", Hash::Sha256);

impl Verifier for Line {
    const ABOUT: About =
        About::new("line", "https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/")
            .roles(&[Role::required("signing", "the channel secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().into())
    }
}

tollgate_sdk::verifier!(Line);
