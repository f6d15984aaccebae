//! Stripe webhooks: `Stripe-Signature: t=…,v1=…`, where each `v1` is the hex HMAC-SHA256 of `t.body`.
//!
//! Source: <https://docs.stripe.com/webhooks/signature> and Stripe's own libraries. While a secret is rolled there are
//! several `v1`; other schemes (`v0` is for test mode) prove nothing. The secret is the endpoint's whole `whsec_…` text,
//! prefix included.
//!
//! Event: `/id` and `/type` of the body, both signed. Fresh by `t`, which is signed. The libraries differ on a second
//! `t` (Ruby takes the first, Node the last), so it is refused.

use tollgate_sdk::scheme::Stamped;
use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Stripe's webhooks.
pub struct Stripe;

const SIGNATURE: Stamped = Stamped::new("stripe-signature");

impl Verifier for Stripe {
    const ABOUT: About = About::new("stripe", "https://docs.stripe.com/webhooks/signature")
        .roles(&[Role::required("signing", "the endpoint's signing secret, whsec_…, from the Stripe dashboard")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let timestamp = SIGNATURE.check(call, Key::text("signing"))?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/type")).timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(Stripe);
