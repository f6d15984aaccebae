//! MessageBird webhooks: `MessageBird-Signature-JWT` is a JSON Web Token, signed with HMAC, whose claims `url_hash` and
//! `payload_hash` are the hex SHA-256 of the URL and of the body.
//!
//! Source: <https://developers.messagebird.com/api/#verifying-http-requests> and MessageBird's own libraries. The
//! secret is the signing key, used as text. `payload_hash` is missing where there is no body.
//!
//! Event: the claim `jti`, signed; there is no type. Fresh by `nbf`, which is signed and the time of sending, or by `iat`
//! where a token has that instead, and never beyond `exp`, a minute later.

use tollgate_sdk::scheme::{Jws, PublicUrl, SignedBy};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// MessageBird's webhooks.
pub struct MessageBird {
    url: PublicUrl,
}

const TOKEN: &str = "messagebird-signature-jwt";

impl Verifier for MessageBird {
    const ABOUT: About = About::new("messagebird", "https://developers.messagebird.com/api/#verifying-http-requests")
        .roles(&[Role::required("signing", "the account's signing key")])
        .settings(&[PublicUrl::SETTING])
        .methods(&["GET"]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { url: PublicUrl::of(settings)? })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let token = Jws::read(&call.required(TOKEN)?).ok_or_else(|| Refusal::malformed(TOKEN))?;
        let by = SignedBy::ALL[..3].iter().find(|by| token.algorithm() == Some(by.name()));
        let by = by.ok_or_else(|| Refusal::malformed("alg"))?;
        let claims = token.check(call, Key::text("signing"), *by)?;
        if claims.text("iss") != Some("MessageBird") || !claims.has("exp") {
            return Err(Refusal::malformed("iss or exp"));
        }
        let digest = |name: &str| claims.text(name).and_then(|hex| encoding::hex(hex, 32));
        let signed = |name: &str| digest(name).ok_or_else(|| Refusal::malformed(name));
        let url = self.url.whole(call);
        call.check_digest(Hash::Sha256, &[Part::Text(&url)], &[signed("url_hash")?])?;
        if call.body_size() > 0 || claims.has("payload_hash") {
            call.check_digest(Hash::Sha256, &[Part::Body], &[signed("payload_hash")?])?;
        }
        let id = claims.text("jti").ok_or_else(|| Refusal::missing("jti"))?;
        let event = Event::new().signed_id(id.to_owned());
        let sent = claims.time("nbf")?.or(claims.time("iat")?);
        Ok(sent.into_iter().fold(event, Event::timestamp).into())
    }
}

tollgate_sdk::verifier!(MessageBird);
