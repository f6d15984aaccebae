//! Linear webhooks: `Linear-Signature` is the hex HMAC-SHA256 of the body, which holds the time in milliseconds.
//!
//! Source: <https://linear.app/developers/webhooks#securing-webhooks> and `@linear/sdk`. The secret is the webhook's
//! signing secret, used as text.
//!
//! Event: type from `/type` of the body, signed; id from `Linear-Delivery`, which is not. Fresh by `/webhookTimestamp`,
//! which is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// Linear's webhooks.
pub struct Linear;

const SIGNATURE: Mac = Mac::hex("linear-signature", Hash::Sha256);

impl Verifier for Linear {
    const ABOUT: About = About::new("linear", "https://linear.app/developers/webhooks")
        .roles(&[Role::required("signing", "the webhook's signing secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let sent = call.json("/webhookTimestamp").and_then(|millis| encoding::decimal(&millis));
        let sent = sent.ok_or_else(|| Refusal::malformed("webhookTimestamp"))?;
        let event = Event::new().unsigned_id(call.optional("linear-delivery")?).kind(call.json("/type"));
        Ok(event.timestamp(sent / 1000).into())
    }
}

tollgate_sdk::verifier!(Linear);
