//! WorkOS webhooks: `WorkOS-Signature: t=…, v1=…`, where `v1` is the hex HMAC-SHA256 of `t.body` and `t` is in
//! milliseconds.
//!
//! Source: <https://workos.com/docs/events/data-syncing/webhooks> and WorkOS's own libraries, which take the two with a
//! space after the comma or without. The secret is the endpoint's, used as text.
//!
//! Event: `/id` and `/event` of the body, both signed. Fresh by `t`, which is signed.

use tollgate_sdk::scheme::Stamped;
use tollgate_sdk::{About, Call, Event, Key, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// WorkOS's webhooks.
pub struct WorkOs;

const SIGNATURE: Stamped = Stamped::new("workos-signature").millis().spaced();

impl Verifier for WorkOs {
    const ABOUT: About = About::new("workos", "https://workos.com/docs/events/data-syncing/webhooks")
        .roles(&[Role::required("signing", "the endpoint's signing secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let timestamp = SIGNATURE.check(call, Key::text("signing"))?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/event")).timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(WorkOs);
