//! Mux webhooks: `Mux-Signature: t=…,v1=…`, where `v1` is the hex HMAC-SHA256 of `t.body`.
//!
//! Source: <https://www.mux.com/docs/core/verify-webhook-signatures> and Mux's own libraries. The secret is the
//! webhook's signing secret, used as text.
//!
//! Event: `/id` and `/type` of the body, both signed. Fresh by `t`, which is signed.

use tollgate_sdk::scheme::Stamped;
use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Mux's webhooks.
pub struct Mux;

const SIGNATURE: Stamped = Stamped::new("mux-signature");

impl Verifier for Mux {
    const ABOUT: About = About::new("mux", "https://www.mux.com/docs/core/verify-webhook-signatures")
        .roles(&[Role::required("signing", "the webhook's signing secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let timestamp = SIGNATURE.check(call, Key::text("signing"))?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/type")).timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(Mux);
