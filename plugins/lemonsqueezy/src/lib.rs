//! Lemon Squeezy webhooks: `X-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://docs.lemonsqueezy.com/help/webhooks/signing-requests>. The secret is any text, used as it is.
//!
//! Event: type from `/meta/event_name` of the body, signed; there is no id, and no time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Lemon Squeezy's webhooks.
pub struct LemonSqueezy;

const SIGNATURE: Mac = Mac::hex("x-signature", Hash::Sha256);

impl Verifier for LemonSqueezy {
    const ABOUT: About = About::new("lemonsqueezy", "https://docs.lemonsqueezy.com/help/webhooks/signing-requests")
        .roles(&[Role::required("signing", "the webhook's signing secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().kind(call.json("/meta/event_name")).into())
    }
}

tollgate_sdk::verifier!(LemonSqueezy);
