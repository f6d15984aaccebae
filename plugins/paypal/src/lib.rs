//! PayPal webhooks: `PAYPAL-TRANSMISSION-SIG` is the base64 RSA signature (PKCS #1, SHA-256) of `transmission
//! id|transmission time|webhook id|CRC-32 of the body`, the CRC as a decimal number.
//!
//! Source: <https://developer.paypal.com/api/rest/webhooks/rest/#link-verifywebhooksignature>. The certificate is the
//! one `PAYPAL-CERT-URL` names, downloaded once and configured: nothing is fetched here, whatever the header says.
//! While PayPal changes it, give both.
//!
//! Event: `PAYPAL-TRANSMISSION-ID`, signed; type from `/event_type` of the body. The body itself is only under a
//! checksum, which anybody can preserve while changing it: fetch what an event speaks of from PayPal's API before
//! acting on amounts. Fresh by the transmission time, which is signed.

use tollgate_sdk::scheme::SignedAt;
use tollgate_sdk::{
    About, Algorithm, Call, Encoding, Event, Hash, Key, Part, Problems, Refusal, Role, Setting, Settings, Verdict,
    Verifier, encoding,
};

/// PayPal's webhooks.
pub struct PayPal {
    webhook_id: String,
}

const SIGNATURE: &str = "paypal-transmission-sig";

impl Verifier for PayPal {
    const ABOUT: About = About::new("paypal", "https://developer.paypal.com/api/rest/webhooks/rest/")
        .roles(&[Role::required("certificate", "the certificate that PAYPAL-CERT-URL names, in PEM")])
        .settings(&[Setting::text("webhook_id", "the webhook's id, from the app's page or the API").required()]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        match settings.text("webhook_id") {
            Some(id) if !id.is_empty() && !id.contains('|') => Ok(Self { webhook_id: id.to_owned() }),
            _ => Err(Problems::of("webhook_id", "expected the webhook's id, such as \"5GP028458E2496506\"")),
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        if call.required("paypal-auth-algo")? != "SHA256withRSA" {
            return Err(Refusal::malformed("paypal-auth-algo"));
        }
        let id = call.required("paypal-transmission-id")?;
        let signed_at = SignedAt::rfc3339(call, "paypal-transmission-time")?;
        let signature = encoding::base64(&call.required(SIGNATURE)?).ok_or_else(|| Refusal::malformed(SIGNATURE))?;
        // Each border is where it seems to be: neither text may bring one.
        if id.is_empty() || id.contains('|') {
            return Err(Refusal::malformed("paypal-transmission-id"));
        }
        let content = [
            Part::Text(&id),
            Part::Text("|"),
            Part::Text(&signed_at.text),
            Part::Text("|"),
            Part::Text(&self.webhook_id),
            Part::Text("|"),
            Part::BodyDigest(Hash::Crc32, Encoding::Decimal),
        ];
        call.check_signature(Key::pem("certificate"), Algorithm::RsaPkcs1Sha256, &content, &signature)?;
        Ok(Event::new().signed_id(id).kind(call.json("/event_type")).timestamp(signed_at.seconds).into())
    }
}

tollgate_sdk::verifier!(PayPal);
