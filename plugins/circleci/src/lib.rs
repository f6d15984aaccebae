//! CircleCI webhooks: `circleci-signature` is a list, separated by commas, in which `v1=` is the hex HMAC-SHA256 of the
//! body.
//!
//! Source: <https://circleci.com/docs/guides/integration/outbound-webhooks/#validate-webhooks>. The secret is any text,
//! used as it is.
//!
//! Event: `/id` and `/type` of the body, both signed. No time is signed that CircleCI says to check.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// CircleCI's webhooks.
pub struct CircleCi;

const SIGNATURE: Mac = Mac::hex("circleci-signature", Hash::Sha256).prefix("v1=").list(",");

impl Verifier for CircleCi {
    const ABOUT: About = About::new("circleci", "https://circleci.com/docs/guides/integration/outbound-webhooks/")
        .roles(&[Role::required("signing", "the webhook's secret token")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/type")).into())
    }
}

tollgate_sdk::verifier!(CircleCi);
