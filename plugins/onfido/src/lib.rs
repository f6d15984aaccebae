//! Onfido webhooks: `X-SHA2-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://documentation.onfido.com/guide/webhooks> and Onfido's own libraries. The secret is the webhook's
//! token, used as text.
//!
//! Event: type from `/payload/action` of the body, signed; there is no id, and no time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Onfido's webhooks.
pub struct Onfido;

const SIGNATURE: Mac = Mac::hex("x-sha2-signature", Hash::Sha256);

impl Verifier for Onfido {
    const ABOUT: About = About::new("onfido", "https://documentation.onfido.com/guide/webhooks")
        .roles(&[Role::required("signing", "the webhook's token")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().kind(call.json("/payload/action")).into())
    }
}

tollgate_sdk::verifier!(Onfido);
