//! Xero webhooks: `x-xero-signature` is the base64 HMAC-SHA256 of the body.
//!
//! Source: <https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/>. The secret is the
//! webhook key, used as text.
//!
//! Event: a body is a batch of events, so it has neither id nor type; what is signed tells copies apart. No time is
//! signed. The "intent to receive", which is a body without events under a good or a bad signature, gets 200 or 401 and
//! goes no further; Xero takes nothing but 200 for a yes, so events get it too.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier};

/// Xero's webhooks.
pub struct Xero;

const SIGNATURE: Mac = Mac::base64("x-xero-signature", Hash::Sha256);

impl Verifier for Xero {
    const ABOUT: About =
        About::new("xero", "https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/")
            .roles(&[Role::required("signing", "the webhook key")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        if call.json("/events/0/eventType").is_none() {
            return Ok(Reply::new(200).into());
        }
        Ok(Event::new().acknowledge(Reply::new(200)).into())
    }
}

tollgate_sdk::verifier!(Xero);
