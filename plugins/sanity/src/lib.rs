//! Sanity webhooks: `sanity-webhook-signature: t=…,v1=…`, where `v1` is the base64url HMAC-SHA256 of `t.body` and `t`
//! is in milliseconds.
//!
//! Source: <https://www.sanity.io/docs/content-lake/webhooks> and `@sanity/webhook`. The secret is any text, used as it
//! is.
//!
//! Event: id from `idempotency-key`, type from `sanity-operation` (`create`, `update`, `delete`); neither is signed, and
//! what a body holds is the author's. Fresh by `t`, which is signed.

use tollgate_sdk::scheme::{Digits, Stamped};
use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Sanity's webhooks.
pub struct Sanity;

const SIGNATURE: Stamped = Stamped::new("sanity-webhook-signature").digits(Digits::Base64Url).millis();

impl Verifier for Sanity {
    const ABOUT: About = About::new("sanity", "https://github.com/sanity-io/webhook-toolkit")
        .roles(&[Role::required("signing", "the secret in the webhook's settings")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let timestamp = SIGNATURE.check(call, Key::text("signing"))?;
        let event =
            Event::new().unsigned_id(call.optional("idempotency-key")?).kind(call.optional("sanity-operation")?);
        Ok(event.timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(Sanity);
