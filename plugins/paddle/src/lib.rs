//! Paddle Billing webhooks: `Paddle-Signature: ts=…;h1=…`, where each `h1` is the hex HMAC-SHA256 of `ts:body`.
//!
//! Source: <https://developer.paddle.com/webhooks/signature-verification> and Paddle's own libraries. While a secret is
//! rotated there are several `h1`. The secret is the destination's `pdl_ntfset_…` text, as it is.
//!
//! Event: `/event_id` and `/event_type` of the body, both signed. Fresh by `ts`, which is signed; Paddle's libraries allow
//! five seconds, a route's `tolerance` says otherwise.

use tollgate_sdk::scheme::Stamped;
use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Paddle's webhooks.
pub struct Paddle;

const SIGNATURE: Stamped = Stamped::new("paddle-signature").names("ts", "h1").separator(";").joint(":");

impl Verifier for Paddle {
    const ABOUT: About = About::new("paddle", "https://developer.paddle.com/webhooks/signature-verification")
        .roles(&[Role::required("signing", "the secret key of the notification destination, pdl_ntfset_…")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let timestamp = SIGNATURE.check(call, Key::text("signing"))?;
        Ok(Event::new().signed_id(call.json("/event_id")).kind(call.json("/event_type")).timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(Paddle);
