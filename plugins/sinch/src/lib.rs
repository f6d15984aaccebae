//! Webhooks of Sinch's Conversation API: `x-sinch-webhook-signature` is the base64 HMAC-SHA256 of
//! `body.nonce.timestamp`, the nonce and the timestamp from `x-sinch-webhook-signature-nonce` and `-timestamp`.
//!
//! Source: <https://developers.sinch.com/docs/conversation/callbacks> and Sinch's own libraries. The secret is the
//! webhook's, used as text. Voice callbacks are signed otherwise: `sinch-voice`.
//!
//! Event: there is neither id nor type that all callbacks share; what is signed tells copies apart. Fresh by the
//! timestamp, which is signed.

use tollgate_sdk::scheme::{Mac, SignedAt};
use tollgate_sdk::{About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier};

/// Webhooks of Sinch's Conversation API.
pub struct Sinch;

const SIGNATURE: Mac = Mac::base64("x-sinch-webhook-signature", Hash::Sha256);

impl Verifier for Sinch {
    const ABOUT: About = About::new("sinch", "https://developers.sinch.com/docs/conversation/callbacks")
        .roles(&[Role::required("signing", "the webhook's secret")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.required("x-sinch-webhook-signature-algorithm")? != "HmacSHA256" {
            return Err(Refusal::malformed("x-sinch-webhook-signature-algorithm"));
        }
        let signed_at = SignedAt::seconds(call, "x-sinch-webhook-signature-timestamp")?;
        let nonce = call.required("x-sinch-webhook-signature-nonce")?;
        if nonce.is_empty() || nonce.contains('.') {
            return Err(Refusal::malformed("x-sinch-webhook-signature-nonce"));
        }
        let content = [Part::Body, Part::Text("."), Part::Text(&nonce), Part::Text("."), Part::Text(&signed_at.text)];
        SIGNATURE.check(call, Key::text("signing"), &content)?;
        Ok(Event::new().timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(Sinch);
