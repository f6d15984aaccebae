//! Bitbucket Cloud webhooks: `X-Hub-Signature` is `sha256=` and the hex HMAC-SHA256 of the body.
//!
//! Source: <https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/>. The secret is any text, used as it is.
//!
//! Event: type from `X-Event-Key`, id from `X-Request-UUID`. Neither is signed, nor is any time.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Bitbucket's webhooks.
pub struct Bitbucket;

const SIGNATURE: Mac = Mac::hex("x-hub-signature", Hash::Sha256).prefix("sha256=");

impl Verifier for Bitbucket {
    const ABOUT: About = About::new("bitbucket", "https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/")
        .roles(&[Role::required("signing", "the secret in the webhook's settings")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let id = call.optional("x-request-uuid")?;
        Ok(Event::new().unsigned_id(id).kind(call.optional("x-event-key")?).into())
    }
}

tollgate_sdk::verifier!(Bitbucket);
