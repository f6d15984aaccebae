//! Heroku's app webhooks: `Heroku-Webhook-Hmac-SHA256` is the base64 HMAC-SHA256 of the body.
//!
//! Source: <https://devcenter.heroku.com/articles/app-webhooks#securing-webhook-requests>. The secret is the
//! subscription's, used as text.
//!
//! Event: `/id` of the body, signed, the same on a retry; type from `/webhook_metadata/event/include` (such as
//! `api:release`), signed. A body without that, which Heroku sends for a dyno that ended, is named by its `/resource`.
//! No time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Heroku's app webhooks.
pub struct Heroku;

const SIGNATURE: Mac = Mac::base64("heroku-webhook-hmac-sha256", Hash::Sha256);

impl Verifier for Heroku {
    const ABOUT: About =
        About::new("heroku", "https://devcenter.heroku.com/articles/app-webhooks#securing-webhook-requests")
            .roles(&[Role::required("signing", "the webhook subscription's secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let resource = || call.json("/resource").map(|resource| ["api:", &resource].concat());
        let kind = call.json("/webhook_metadata/event/include").or_else(resource);
        Ok(Event::new().signed_id(call.json("/id")).kind(kind).into())
    }
}

tollgate_sdk::verifier!(Heroku);
