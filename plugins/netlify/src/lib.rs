//! Netlify's deploy notifications: `X-Webhook-Signature` is a JSON Web Token, signed with HS256, whose claim `sha256`
//! is the hex SHA-256 of the body and whose issuer is `netlify`.
//!
//! Source: <https://docs.netlify.com/deploy/deploy-notifications/#payload-signature>. The secret is the notification's
//! JWS secret token, used as text.
//!
//! Event: type from `X-Netlify-Event`, which is not signed; id and state of the deploy are in the body, together its
//! identity. No time is signed.

use tollgate_sdk::scheme::{Jws, SignedBy};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// Netlify's deploy notifications.
pub struct Netlify;

const TOKEN: &str = "x-webhook-signature";

impl Verifier for Netlify {
    const ABOUT: About = About::new("netlify", "https://docs.netlify.com/deploy/deploy-notifications/")
        .roles(&[Role::required("signing", "the notification's JWS secret token")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let token = Jws::read(&call.required(TOKEN)?).ok_or_else(|| Refusal::malformed(TOKEN))?;
        let claims = token.check(call, Key::text("signing"), SignedBy::HS256)?;
        if claims.text("iss") != Some("netlify") {
            return Err(Refusal::malformed("iss"));
        }
        let digest = claims.text("sha256").and_then(|hex| encoding::hex(hex, 32));
        let digest = digest.ok_or_else(|| Refusal::malformed("sha256"))?;
        call.check_digest(Hash::Sha256, &[Part::Body], &[digest])?;
        let (id, state) = (call.json("/id"), call.json("/state"));
        let id = id.and_then(|id| Some([&id, ":", &state?].concat()));
        Ok(Event::new().signed_id(id).kind(call.optional("x-netlify-event")?).into())
    }
}

tollgate_sdk::verifier!(Netlify);
