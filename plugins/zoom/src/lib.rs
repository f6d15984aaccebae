//! Zoom webhooks: `x-zm-signature` is `v0=` and the hex HMAC-SHA256 of `v0:timestamp:body`, the timestamp from
//! `x-zm-request-timestamp`.
//!
//! Source: <https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events>. The secret is the app's secret token,
//! used as text.
//!
//! Event: type from `/event` of the body; there is no id. Fresh by the timestamp, which is signed.
//! `endpoint.url_validation`, signed like everything else, is answered with the HMAC of its token.

use tollgate_sdk::scheme::{Mac, SignedAt};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Reply, Role, Settings, Verdict, Verifier, encoding,
};

/// Zoom's webhooks.
pub struct Zoom;

const SIGNATURE: Mac = Mac::hex("x-zm-signature", Hash::Sha256).prefix("v0=");

impl Verifier for Zoom {
    const ABOUT: About = About::new("zoom", "https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events")
        .roles(&[Role::required("signing", "the app's secret token, under Access")])
        .handshake();

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let signed_at = SignedAt::seconds(call, "x-zm-request-timestamp")?;
        let content = [Part::Text("v0:"), Part::Text(&signed_at.text), Part::Text(":"), Part::Body];
        SIGNATURE.check(call, Key::text("signing"), &content)?;
        let kind = call.json("/event");
        if kind.as_deref() == Some("endpoint.url_validation") {
            return prove(call);
        }
        Ok(Event::new().kind(kind).timestamp(signed_at.seconds).into())
    }
}

fn prove(call: &Call<'_>) -> Result<Verdict, Refusal> {
    let token = call.json("/payload/plainToken").ok_or_else(|| Refusal::malformed("plainToken"))?;
    // The gateway signs nothing but a short text without quotes or backslashes, so the token needs no escapes.
    let proof = call.hmac(Key::text("signing"), Hash::Sha256, &[Part::Text(&token)])?;
    let proof = encoding::to_hex(&proof);
    Ok(Reply::json([r#"{"plainToken":""#, &token, r#"","encryptedToken":""#, &proof, r#""}"#].concat()).into())
}

tollgate_sdk::verifier!(Zoom);
