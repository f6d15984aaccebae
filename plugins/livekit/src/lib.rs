//! LiveKit webhooks: `Authorization` is a JSON Web Token (without `Bearer`), signed with HS256, whose claim `sha256` is
//! the base64 SHA-256 of the body and whose issuer is the API key.
//!
//! Source: <https://docs.livekit.io/home/server/webhooks/> and LiveKit's own libraries. The secret is the API secret,
//! used as text; the option `api_key` is the key it belongs to.
//!
//! Event: `/id` and `/event` of the body, both signed. Never beyond the token's `exp`, which it has to have; fresh by
//! `nbf` where the token has it.

use tollgate_sdk::scheme::{Digits, Jws, SignedBy};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier,
};

/// LiveKit's webhooks.
pub struct LiveKit {
    api_key: String,
}

impl Verifier for LiveKit {
    const ABOUT: About = About::new("livekit", "https://docs.livekit.io/home/server/webhooks/")
        .roles(&[Role::required("signing", "the API secret")])
        .settings(&[Setting::text("api_key", "the API key that the secret belongs to").required()]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        match settings.text("api_key") {
            Some(key) if !key.is_empty() => Ok(Self { api_key: key.to_owned() }),
            _ => Err(Problems::of("api_key", "expected the API key")),
        }
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let token = Jws::read(&call.required("authorization")?).ok_or_else(|| Refusal::malformed("authorization"))?;
        let claims = token.check(call, Key::text("signing"), SignedBy::HS256)?;
        if claims.text("iss") != Some(&self.api_key) || !claims.has("exp") {
            return Err(Refusal::malformed("iss or exp"));
        }
        let digest = claims.text("sha256").and_then(|text| Digits::Base64.read(text, 32));
        let digest = digest.ok_or_else(|| Refusal::malformed("sha256"))?;
        call.check_digest(Hash::Sha256, &[Part::Body], &[digest])?;
        let event = Event::new().signed_id(call.json("/id")).kind(call.json("/event"));
        Ok(claims.time("nbf")?.into_iter().fold(event, Event::timestamp).into())
    }
}

tollgate_sdk::verifier!(LiveKit);
