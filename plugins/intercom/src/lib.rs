//! Intercom webhooks: `X-Hub-Signature` is `sha1=` and the hex HMAC-SHA1 of the body.
//!
//! Source: <https://developers.intercom.com/docs/webhooks/setting-up-webhooks>. The secret is the app's client secret,
//! used as text.
//!
//! Event: `/id` and `/topic` of the body, both signed. No time is signed. The HEAD that Intercom sends when a URL is
//! entered gets 200.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Intercom's webhooks.
pub struct Intercom;

const SIGNATURE: Mac = Mac::hex("x-hub-signature", Hash::Sha1).prefix("sha1=");

impl Verifier for Intercom {
    const ABOUT: About = About::new("intercom", "https://developers.intercom.com/docs/webhooks/setting-up-webhooks")
        .roles(&[Role::required("signing", "the app's client secret")])
        .methods(&["HEAD"]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.method() == "HEAD" {
            return Ok(Reply::new(200).into());
        }
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().signed_id(call.json("/id")).kind(call.json("/topic")).into())
    }
}

tollgate_sdk::verifier!(Intercom);
