//! Pusher Channels webhooks: `X-Pusher-Signature` is the hex HMAC-SHA256 of the body, by the secret of the key that
//! `X-Pusher-Key` names.
//!
//! Source: <https://pusher.com/docs/channels/server_api/webhooks/#authentication> and Pusher's own libraries. The
//! secret is the app's, used as text.
//!
//! Event: a body is a batch of events, so it has neither id nor type; what is signed tells copies apart. No time is
//! checked.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier,
};

/// Pusher Channels' webhooks.
pub struct Pusher {
    key: String,
}

const SIGNATURE: Mac = Mac::hex("x-pusher-signature", Hash::Sha256);

impl Verifier for Pusher {
    const ABOUT: About = About::new("pusher", "https://pusher.com/docs/channels/server_api/webhooks/#authentication")
        .roles(&[Role::required("signing", "the app's secret")])
        .settings(&[Setting::text("key", "the app's key").required()]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        match settings.text("key") {
            Some(key) if !key.is_empty() => Ok(Self { key: key.to_owned() }),
            _ => Err(Problems::of("key", "expected the app's key")),
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.required("x-pusher-key")? != self.key {
            return Err(Refusal::malformed("x-pusher-key"));
        }
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        Ok(Event::new().into())
    }
}

tollgate_sdk::verifier!(Pusher);
