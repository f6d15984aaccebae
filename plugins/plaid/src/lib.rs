//! Plaid webhooks: `Plaid-Verification` is a JSON Web Token, signed with ES256, whose claim `request_body_sha256` is
//! the hex SHA-256 of the body.
//!
//! Source: <https://plaid.com/docs/api/webhooks/webhook-verification/>. The key is the JWK that
//! `/webhook_verification_key/get` answers for the token's `kid`, fetched once and configured; give old and new ones
//! while Plaid rotates.
//!
//! Event: type from `/webhook_type` and `/webhook_code` of the body; there is no id. Fresh by the claim `iat`, which is
//! signed.

use tollgate_sdk::scheme::{Jws, SignedBy};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, KeyForm, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// Plaid's webhooks.
pub struct Plaid;

const TOKEN: &str = "plaid-verification";

impl Verifier for Plaid {
    const ABOUT: About = About::new("plaid", "https://plaid.com/docs/api/webhooks/webhook-verification/")
        .roles(&[Role::required("public_key", "the JWK of /webhook_verification_key/get, as JSON")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let token = Jws::read(&call.required(TOKEN)?).ok_or_else(|| Refusal::malformed(TOKEN))?;
        let claims = token.check(call, Key::new("public_key", KeyForm::Jwk), SignedBy::ES256)?;
        let issued = claims.time("iat")?.ok_or_else(|| Refusal::missing("iat"))?;
        let digest = claims.text("request_body_sha256").and_then(|hex| encoding::hex(hex, 32));
        let digest = digest.ok_or_else(|| Refusal::malformed("request_body_sha256"))?;
        call.check_digest(Hash::Sha256, &[Part::Body], &[digest])?;
        let (class, code) = (call.json("/webhook_type"), call.json("/webhook_code"));
        let kind = class.and_then(|class| Some([&class, ".", &code?].concat()));
        Ok(Event::new().kind(kind).timestamp(issued).into())
    }
}

tollgate_sdk::verifier!(Plaid);
