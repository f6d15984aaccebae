//! PagerDuty webhooks (V3): `X-PagerDuty-Signature` is a list, separated by commas, in which each `v1=` is the hex
//! HMAC-SHA256 of the body. While a secret is rotated there are several.
//!
//! Source: <https://developer.pagerduty.com/docs/verifying-webhook-signatures>. The secret is the subscription's, used
//! as text.
//!
//! Event: `/event/id` and `/event/event_type` of the body, both signed. No time is signed that PagerDuty says to check.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// PagerDuty's webhooks.
pub struct PagerDuty;

const SIGNATURE: Mac = Mac::hex("x-pagerduty-signature", Hash::Sha256).prefix("v1=").list(",");

impl Verifier for PagerDuty {
    const ABOUT: About = About::new("pagerduty", "https://developer.pagerduty.com/docs/verifying-webhook-signatures")
        .roles(&[Role::required("signing", "the webhook subscription's secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().signed_id(call.json("/event/id")).kind(call.json("/event/event_type")).into())
    }
}

tollgate_sdk::verifier!(PagerDuty);
