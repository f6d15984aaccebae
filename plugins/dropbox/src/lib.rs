//! Dropbox webhooks: `X-Dropbox-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://www.dropbox.com/developers/reference/webhooks>. The secret is the app's app secret, used as text.
//!
//! Event: a body names accounts whose files changed; it has neither id nor type, and no time is signed. A GET with
//! `challenge`, sent when the URL is entered, is answered with its text.

use tollgate_sdk::scheme::{Mac, form};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Dropbox's webhooks.
pub struct Dropbox;

const SIGNATURE: Mac = Mac::hex("x-dropbox-signature", Hash::Sha256);

impl Verifier for Dropbox {
    const ABOUT: About = About::new("dropbox", "https://www.dropbox.com/developers/reference/webhooks")
        .roles(&[Role::required("signing", "the app secret")])
        .methods(&["GET"]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.method() == "GET" {
            let query = call.query().unwrap_or_default();
            let query = form::read(query.as_bytes()).ok_or_else(|| Refusal::malformed("query"))?;
            let challenge = form::only(&query, "challenge").ok_or_else(|| Refusal::missing("challenge"))?;
            return Ok(Reply::text(challenge).header("x-content-type-options", "nosniff").into());
        }
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().into())
    }
}

tollgate_sdk::verifier!(Dropbox);
