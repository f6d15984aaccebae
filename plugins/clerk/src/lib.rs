//! Clerk webhooks, sent through Svix: `svix-signature` is a list of `v1,` and the base64 HMAC-SHA256 of
//! `id.timestamp.body`.
//!
//! Source: <https://clerk.com/docs/guides/development/webhooks/syncing> and `@clerk/backend`. The secret is the
//! endpoint's `whsec_…`.
//!
//! Event: `svix-id`, signed, the same on every retry; type from `/type` of the body. Fresh by the timestamp, which is
//! signed.

use tollgate_sdk::scheme::StandardWebhooks;
use tollgate_sdk::{About, Call, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Clerk's webhooks.
pub struct Clerk;

impl Verifier for Clerk {
    const ABOUT: About = About::new("clerk", "https://clerk.com/docs/guides/development/webhooks/syncing")
        .roles(&[Role::required("signing", "the endpoint's signing secret, whsec_…")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let message = StandardWebhooks::SVIX.check(call, Key::base64("signing").strip("whsec_"))?;
        Ok(message.event().kind(call.json("/type")).into())
    }
}

tollgate_sdk::verifier!(Clerk);
