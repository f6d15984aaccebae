//! Twilio SendGrid's signed event webhook: `X-Twilio-Email-Event-Webhook-Signature` is the base64 ECDSA (P-256,
//! SHA-256) signature of `X-Twilio-Email-Event-Webhook-Timestamp` and the body.
//!
//! Source:
//! <https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features>
//! and SendGrid's own libraries. The key is the verification key of the settings page: base64, without PEM lines.
//!
//! Event: a body is a batch of events, so it has neither id nor type; what is signed tells copies apart. Fresh by the
//! timestamp, which is signed; SendGrid retries with the first timestamp, for up to a day, so a route that wants late
//! retries sets `tolerance`.

use tollgate_sdk::scheme::SignedAt;
use tollgate_sdk::{
    About, Algorithm, Call, Event, Key, KeyForm, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// SendGrid's event webhooks.
pub struct SendGrid;

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";

impl Verifier for SendGrid {
    const ABOUT: About = About::new(
        "sendgrid",
        "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
    )
    .roles(&[Role::required("public_key", "the verification key of the signed event webhook, in base64")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let signature = encoding::base64(&call.required(SIGNATURE)?).ok_or_else(|| Refusal::malformed(SIGNATURE))?;
        let signed_at = SignedAt::seconds(call, "x-twilio-email-event-webhook-timestamp")?;
        let key = Key::new("public_key", KeyForm::SpkiBase64);
        let content = [Part::Text(&signed_at.text), Part::Body];
        call.check_signature(key, Algorithm::EcdsaP256Sha256Der, &content, &signature)?;
        Ok(Event::new().timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(SendGrid);
