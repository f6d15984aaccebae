//! Mailgun webhooks: `signature.signature` in the body is the hex HMAC-SHA256 of `signature.timestamp` and
//! `signature.token`.
//!
//! Source: <https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks>. The secret is the
//! HTTP webhook signing key, used as text; for a domain of a subaccount the primary account's counts too
//! (`parent-signature`).
//!
//! Event: the token, signed, so that a captured signature serves once; type from `event-data.event`. Fresh by the
//! timestamp, which is signed. The event itself is not signed: anyone who sees one may change it, so keep the URL
//! secret and ask Mailgun's API before acting on it.

use tollgate_sdk::scheme::Table;
use tollgate_sdk::{
    About, Call, Event, Hash, Key, Part, Problems, Refusal, Role, Settings, Verdict, Verifier, encoding,
};

/// Mailgun's webhooks.
pub struct Mailgun;

/// A token is a random text of fifty characters.
const TOKEN_LENGTH: usize = 50;

impl Verifier for Mailgun {
    const ABOUT: About =
        About::new("mailgun", "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks")
            .roles(&[Role::required("signing", "the HTTP webhook signing key")]);

    fn configure(_: &Settings) -> Result<Self, Problems> {
        Ok(Self)
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let body = Table::body(call)?;
        let part = body.table("signature").ok_or_else(|| Refusal::missing("signature"))?;
        let value = |name: &str| part.scalar(name).ok_or_else(|| Refusal::missing(name));
        let (signed_at, token) = (value("timestamp")?, value("token")?);
        let timestamp = encoding::decimal(signed_at).ok_or_else(|| Refusal::malformed("timestamp"))?;
        // A token of digits could move the border between the two.
        if token.len() != TOKEN_LENGTH {
            return Err(Refusal::malformed("token"));
        }
        let digest = |text: &str| encoding::hex(text, 32).ok_or_else(|| Refusal::malformed("signature"));
        let mut digests = vec![digest(value("signature")?)?];
        digests.extend(part.text("parent-signature").map(digest).transpose()?);
        let content = [Part::Text(signed_at), Part::Text(token)];
        call.check_hmac(Key::text("signing"), Hash::Sha256, &content, &digests)?;
        let kind = body.table("event-data").and_then(|data| data.text("event").map(str::to_owned));
        Ok(Event::new().signed_id(token.to_owned()).kind(kind).timestamp(timestamp).into())
    }
}

tollgate_sdk::verifier!(Mailgun);
