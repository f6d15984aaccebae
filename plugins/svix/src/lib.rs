//! Webhooks sent through Svix: Standard Webhooks under the names `svix-id`, `svix-timestamp` and `svix-signature`.
//!
//! Source: <https://docs.svix.com/receiving/verifying-payloads/how-manual>. The secret is base64, with or without the
//! prefix `whsec_`. A sender who had Svix rename the headers to `webhook-…` is verified by `standardwebhooks`.
//!
//! Event: `svix-id`, signed, the same on every retry; type from `/type` of the body, else `/eventType`. Fresh by the
//! timestamp, which is signed.

use tollgate_sdk::scheme::StandardWebhooks;
use tollgate_sdk::{About, Call, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Webhooks sent through Svix.
pub struct Svix;

impl Verifier for Svix {
    const ABOUT: About = About::new("svix", "https://docs.svix.com/receiving/verifying-payloads/how-manual")
        .roles(&[Role::required("signing", "the endpoint's secret, whsec_…")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let message = StandardWebhooks::SVIX.check(call, Key::base64("signing").strip("whsec_"))?;
        Ok(message.event().kind(call.json("/type").or_else(|| call.json("/eventType"))).into())
    }
}

tollgate_sdk::verifier!(Svix);
