//! Webhooks of Meta (Facebook, Instagram, WhatsApp, Messenger): `X-Hub-Signature-256` is `sha256=` and the hex
//! HMAC-SHA256 of the body.
//!
//! Source: <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>. The secret is the app secret,
//! used as text; the SHA-1 header of old is never looked at.
//!
//! Event: type from `/object` of the body; a body is a batch of changes and has no id, and no time is signed. When the
//! URL is entered, Meta sends a GET with `hub.verify_token`, which is compared, and `hub.challenge`, which is answered.

use tollgate_sdk::scheme::{Mac, form};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Webhooks of Meta: Facebook, Instagram, WhatsApp, Messenger.
pub struct Meta;

const SIGNATURE: Mac = Mac::hex("x-hub-signature-256", Hash::Sha256).prefix("sha256=");

impl Verifier for Meta {
    const ABOUT: About = About::new("meta", "https://developers.facebook.com/docs/graph-api/webhooks/getting-started")
        .roles(&[
            Role::required("signing", "the app secret"),
            Role::required("verify_token", "the verify token typed in beside the URL"),
        ])
        .methods(&["GET"]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.method() == "GET" {
            return subscribe(call);
        }
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().kind(call.json("/object")).into())
    }
}

fn subscribe(call: &Call<'_>) -> Result<Verdict, Refusal> {
    let query = form::read(call.query().unwrap_or_default().as_bytes()).ok_or_else(|| Refusal::malformed("query"))?;
    let value = |name: &str| form::only(&query, name).ok_or_else(|| Refusal::missing(name));
    if value("hub.mode")? != "subscribe" {
        return Err(Refusal::malformed("hub.mode"));
    }
    call.check_token(Key::text("verify_token"), value("hub.verify_token")?.as_bytes())?;
    Ok(Reply::text(value("hub.challenge")?).into())
}

tollgate_sdk::verifier!(Meta);
