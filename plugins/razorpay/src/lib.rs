//! Razorpay webhooks: `X-Razorpay-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://razorpay.com/docs/webhooks/validate-test/>. The secret is the webhook's own (not the API key's),
//! used as text.
//!
//! Event: type from `/event` of the body, signed; id from `x-razorpay-event-id`, which is not signed. No time is
//! signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Razorpay's webhooks.
pub struct Razorpay;

const SIGNATURE: Mac = Mac::hex("x-razorpay-signature", Hash::Sha256);

impl Verifier for Razorpay {
    const ABOUT: About = About::new("razorpay", "https://razorpay.com/docs/webhooks/validate-test/")
        .roles(&[Role::required("signing", "the webhook's secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let id = call.optional("x-razorpay-event-id")?;
        Ok(Event::new().unsigned_id(id).kind(call.json("/event")).into())
    }
}

tollgate_sdk::verifier!(Razorpay);
