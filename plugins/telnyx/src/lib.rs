//! Telnyx webhooks (API v2): `telnyx-signature-ed25519` is the base64 Ed25519 signature of `telnyx-timestamp|body`.
//!
//! Source: <https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks#webhook-signing> and Telnyx's own
//! libraries. The key is the account's public key, in base64.
//!
//! Event: `/data/id` and `/data/event_type` of the body, both signed. Fresh by the timestamp, which is signed.

use tollgate_sdk::scheme::SignedAt;
use tollgate_sdk::{
    About, Algorithm, Call, Event, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// Telnyx's webhooks.
pub struct Telnyx;

const SIGNATURE: &str = "telnyx-signature-ed25519";

impl Verifier for Telnyx {
    const ABOUT: About =
        About::new("telnyx", "https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks")
            .roles(&[Role::required("public_key", "the account's public key, in base64")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let signature = encoding::base64(&call.required(SIGNATURE)?).ok_or_else(|| Refusal::malformed(SIGNATURE))?;
        let signed_at = SignedAt::seconds(call, "telnyx-timestamp")?;
        let content = [Part::Text(&signed_at.text), Part::Text("|"), Part::Body];
        call.check_signature(Key::base64("public_key"), Algorithm::Ed25519, &content, &signature)?;
        let event = Event::new().signed_id(call.json("/data/id")).kind(call.json("/data/event_type"));
        Ok(event.timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(Telnyx);
