//! GitHub webhooks: `X-Hub-Signature-256` is `sha256=` and the hex HMAC-SHA256 of the body.
//!
//! Source: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>. The SHA-1 header of old
//! is never looked at. The secret is any text, used as it is.
//!
//! Event: type from `X-GitHub-Event`, id from `X-GitHub-Delivery`. Neither is signed, nor is any time: a captured
//! delivery stays valid, and only the duplicates window (over the signed body) keeps it from counting twice.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// GitHub's webhooks.
pub struct GitHub;

const SIGNATURE: Mac = Mac::hex("x-hub-signature-256", Hash::Sha256).prefix("sha256=");

impl Verifier for GitHub {
    const ABOUT: About =
        About::new("github", "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries")
            .roles(&[Role::required("signing", "the secret typed into the webhook's settings")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let delivery = call.optional("x-github-delivery")?;
        Ok(Event::new().unsigned_id(delivery).kind(call.optional("x-github-event")?).into())
    }
}

tollgate_sdk::verifier!(GitHub);
