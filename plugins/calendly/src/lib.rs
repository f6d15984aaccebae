//! Calendly webhooks: `Calendly-Webhook-Signature: t=…,v1=…`, where `v1` is the hex HMAC-SHA256 of `t.body`.
//!
//! Source: <https://developer.calendly.com/api-docs/ZG9jOjM2MzE2MDM4-webhook-signatures>. The secret is the webhook
//! signing key, used as text.
//!
//! Event: type from `/event` of the body, signed; there is no id. Fresh by `t`, which is signed.

use tollgate_sdk::scheme::Stamped;
use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Calendly's webhooks.
pub struct Calendly;

const SIGNATURE: Stamped = Stamped::new("calendly-webhook-signature");

impl Verifier for Calendly {
    const ABOUT: About =
        About::new("calendly", "https://developer.calendly.com/api-docs/ZG9jOjM2MzE2MDM4-webhook-signatures")
            .roles(&[Role::required("signing", "the signing key given when the webhook was made")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let timestamp = SIGNATURE.check(call, Key::text("signing"))?;
        Ok(Event::new().kind(call.json("/event")).timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(Calendly);
