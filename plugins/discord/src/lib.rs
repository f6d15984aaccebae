//! Discord interactions and webhook events: `X-Signature-Ed25519` is the hex Ed25519 signature of
//! `X-Signature-Timestamp` and the body.
//!
//! Source: <https://docs.discord.com/developers/interactions/overview#validating-security-request-headers> and
//! `discord-interactions`. The key is the application's public key, in hex.
//!
//! Event: `/id` of an interaction, signed; webhook events have none. Type from `/event/type`, else `/type`. Fresh by
//! the timestamp, which is signed. The ping of webhook events is answered with 204; the ping of interactions is an
//! interaction like others and acknowledged with the pong that Discord waits for. Interactions that want an answer need
//! `mode = "sync"`.

use tollgate_sdk::scheme::SignedAt;
use tollgate_sdk::{
    About, Algorithm, Call, Event, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier, encoding,
};

/// Discord's interactions and webhook events.
pub struct Discord;

const SIGNATURE: &str = "x-signature-ed25519";

impl Verifier for Discord {
    const ABOUT: About = About::new(
        "discord",
        "https://docs.discord.com/developers/interactions/overview#validating-security-request-headers",
    )
    .roles(&[Role::required("public_key", "the application's public key, in hex, under General Information")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let signature = encoding::hex(&call.required(SIGNATURE)?, 64).ok_or_else(|| Refusal::malformed(SIGNATURE))?;
        let signed_at = SignedAt::seconds(call, "x-signature-timestamp")?;
        let content = [Part::Text(&signed_at.text), Part::Body];
        call.check_signature(Key::hex("public_key"), Algorithm::Ed25519, &content, &signature)?;

        let (id, kind) = (call.json("/id"), call.json("/type"));
        if kind.as_deref() == Some("0") {
            return Ok(Reply::new(204).into());
        }
        let ping = id.is_some() && kind.as_deref() == Some("1");
        let kind = call.json("/event/type").or(kind);
        let event = Event::new().signed_id(id).kind(kind).timestamp(signed_at.seconds);
        Ok(if ping { event.acknowledge(Reply::json(r#"{"type":1}"#)) } else { event }.into())
    }
}

tollgate_sdk::verifier!(Discord);
