//! GoCardless webhooks: `Webhook-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://developer.gocardless.com/api-reference/#webhooks-signing-webhooks> and GoCardless's own libraries.
//! The secret is the endpoint's, used as text.
//!
//! Event: `/meta/webhook_id` of the body, signed; a body is a batch of events, so it has no type. No time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// GoCardless's webhooks.
pub struct GoCardless;

const SIGNATURE: Mac = Mac::hex("webhook-signature", Hash::Sha256);

impl Verifier for GoCardless {
    const ABOUT: About =
        About::new("gocardless", "https://developer.gocardless.com/api-reference/#webhooks-signing-webhooks")
            .roles(&[Role::required("signing", "the webhook endpoint's secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().signed_id(call.json("/meta/webhook_id")).into())
    }
}

tollgate_sdk::verifier!(GoCardless);
