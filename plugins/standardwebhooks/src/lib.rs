//! Standard Webhooks, symmetric: `webhook-signature` is a list, separated by single spaces, of `v1,` and the base64
//! HMAC-SHA256 of `id.timestamp.body`; id and timestamp are the headers `webhook-id` and `webhook-timestamp`.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. Other versions in
//! the list (`v1a` is the asymmetric one) are passed over. The secret is base64, with or without the prefix `whsec_`.
//!
//! Event: `webhook-id`, signed, the same on every retry; type from `/type` of the body. Fresh by the timestamp, which is
//! signed. An id with a `.` is refused, as the specification advises: it would let the border between id, timestamp and
//! body be moved without breaking the signature.

use tollgate_sdk::scheme;
use tollgate_sdk::{About, Call, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Webhooks of anyone who follows Standard Webhooks.
pub struct StandardWebhooks;

impl Verifier for StandardWebhooks {
    const ABOUT: About = About::new(
        "standardwebhooks",
        "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    )
    .roles(&[Role::required("signing", "the endpoint's secret, whsec_… or its base64 alone")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let message = scheme::StandardWebhooks::PLAIN.check(call, Key::base64("signing").strip("whsec_"))?;
        Ok(message.event().kind(call.json("/type")).into())
    }
}

tollgate_sdk::verifier!(StandardWebhooks);
