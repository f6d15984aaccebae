//! Webhooks of Stream Chat: `X-Signature` is the hex HMAC-SHA256 of the body.
//!
//! Source: <https://getstream.io/chat/docs/node/webhooks_overview/> and `stream-chat`. The secret is the app's API
//! secret, used as text. What is signed is the JSON: compression of webhooks has to be off, since a compressed body is
//! not unpacked here.
//!
//! Event: type from `/type` of the body, signed; id from `X-Webhook-Id`, which is not signed. No time is signed.

use tollgate_sdk::scheme::Mac;
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Webhooks of Stream Chat.
pub struct StreamChat;

const SIGNATURE: Mac = Mac::hex("x-signature", Hash::Sha256);

impl Verifier for StreamChat {
    const ABOUT: About = About::new("stream-chat", "https://getstream.io/chat/docs/node/webhooks_overview/")
        .roles(&[Role::required("signing", "the app's API secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        SIGNATURE.check(call, Key::text("signing"), &[Part::Body])?;
        let id = call.optional("x-webhook-id")?;
        Ok(Event::new().unsigned_id(id).kind(call.json("/type")).into())
    }
}

tollgate_sdk::verifier!(StreamChat);
