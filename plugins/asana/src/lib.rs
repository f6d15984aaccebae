//! Asana webhooks: `X-Hook-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://developers.asana.com/docs/webhooks-guide>. The secret is the one that Asana made when the webhook
//! was created: it is in `X-Hook-Secret` of the answer to that request, and used as text.
//!
//! Event: a body is a batch of events, so it has neither id nor type; what is signed tells copies apart. No time is
//! signed. The handshake, which Asana sends while the webhook is created and which nothing signs yet, is answered with
//! its own `X-Hook-Secret`; a heartbeat is a body without events.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Asana's webhooks.
pub struct Asana;

const SIGNATURE: Mac = Mac::hex("x-hook-signature", Hash::Sha256);
/// Longer is no secret of Asana's.
const SECRET_MAX: usize = 128;

impl Verifier for Asana {
    const ABOUT: About = About::new("asana", "https://developers.asana.com/docs/webhooks-guide")
        .roles(&[Role::required("signing", "the X-Hook-Secret that Asana answered when the webhook was made")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if let Some(secret) = call.optional("x-hook-secret")? {
            let plain =
                (1..=SECRET_MAX).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !plain || call.optional("x-hook-signature")?.is_some() {
                return Err(Refusal::malformed("x-hook-secret"));
            }
            return Ok(Reply::new(200).header("x-hook-secret", secret).into());
        }
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().into())
    }
}

tollgate_sdk::verifier!(Asana);
