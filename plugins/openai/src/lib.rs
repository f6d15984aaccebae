//! OpenAI webhooks, which follow Standard Webhooks: `webhook-signature` is a list of `v1,` and the base64 HMAC-SHA256
//! of `id.timestamp.body`.
//!
//! Source: <https://platform.openai.com/docs/guides/webhooks#verifying-webhook-signatures> and OpenAI's own libraries.
//! The secret is the endpoint's `whsec_…`.
//!
//! Event: `webhook-id`, signed, the same on every retry; type from `/type` of the body. Fresh by the timestamp, which
//! is signed.

use tollgate_sdk::scheme::StandardWebhooks;
use tollgate_sdk::{About, Call, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// OpenAI's webhooks.
pub struct OpenAi;

impl Verifier for OpenAi {
    const ABOUT: About = About::new("openai", "https://platform.openai.com/docs/guides/webhooks")
        .roles(&[Role::required("signing", "the endpoint's signing secret, whsec_…")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let message = StandardWebhooks::PLAIN.check(call, Key::base64("signing").strip("whsec_"))?;
        Ok(message.event().kind(call.json("/type")).into())
    }
}

tollgate_sdk::verifier!(OpenAi);
