//! Sentry's integration platform webhooks: `Sentry-Hook-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://docs.sentry.io/organization/integrations/integration-platform/webhooks/>. The secret is the
//! integration's client secret, used as text.
//!
//! Event: type from `Sentry-Hook-Resource`, id from `Request-ID`. Neither is signed, nor is `Sentry-Hook-Timestamp`.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Sentry's integration webhooks.
pub struct Sentry;

const SIGNATURE: Mac = Mac::hex("sentry-hook-signature", Hash::Sha256);

impl Verifier for Sentry {
    const ABOUT: About =
        About::new("sentry", "https://docs.sentry.io/organization/integrations/integration-platform/webhooks/")
            .roles(&[Role::required("signing", "the integration's client secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let id = call.optional("request-id")?;
        Ok(Event::new().unsigned_id(id).kind(call.optional("sentry-hook-resource")?).into())
    }
}

tollgate_sdk::verifier!(Sentry);
