//! Vonage's signed webhooks (Messages, Voice, Dispatch): `Authorization: Bearer` is a JSON Web Token, signed with
//! HS256, whose claim `payload_hash` is the hex SHA-256 of the body.
//!
//! Source: <https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks>. The secret is
//! the account's signature secret, used as text.
//!
//! Event: the claim `jti`, signed; there is no type that all products share. Fresh by `iat`, which is signed. A request
//! without a body signs nothing of its URL, so only POST is verified.

use tollgate_sdk::scheme::{Jws, SignedBy};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier, encoding,
};

/// Vonage's signed webhooks.
pub struct Vonage {
    api_key: Option<String>,
}

const TOKEN: &str = "authorization";

impl Verifier for Vonage {
    const ABOUT: About = About::new(
        "vonage",
        "https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks",
    )
    .roles(&[Role::required("signing", "the account's signature secret")])
    .settings(&[Setting::text("api_key", "the account's API key, to refuse tokens for another")]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        Ok(Self { api_key: settings.text("api_key").map(str::to_owned) })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let header = call.required(TOKEN)?;
        let token = header.strip_prefix("Bearer ").and_then(Jws::read).ok_or_else(|| Refusal::malformed(TOKEN))?;
        let claims = token.check(call, Key::text("signing"), SignedBy::HS256)?;
        if self.api_key.as_ref().is_some_and(|key| claims.text("api_key") != Some(key)) {
            return Err(Refusal::malformed("api_key"));
        }
        let digest = claims.text("payload_hash").and_then(|hex| encoding::hex(hex, 32));
        let digest = digest.ok_or_else(|| Refusal::malformed("payload_hash"))?;
        call.check_digest(Hash::Sha256, &[Part::Body], &[digest])?;
        let issued = claims.time("iat")?.ok_or_else(|| Refusal::missing("iat"))?;
        let id = claims.text("jti").map(str::to_owned);
        Ok(Event::new().signed_id(id).timestamp(issued).into())
    }
}

tollgate_sdk::verifier!(Vonage);
