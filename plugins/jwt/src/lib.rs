//! Any provider that sends a JSON Web Token (RFC 7519), described by the route's options: which header, which
//! algorithm, which claims.
//!
//! The algorithm is configured, never taken from the token. `body_claim` names the claim with the body's digest;
//! without it nothing of the body is signed, and anyone who sees a token may send another body with it until it runs
//! out: then the token has to have `exp`. The secret `signing` serves `HS256` and its like; the key `public_key` all
//! others.
//!
//! Event: id from the claim `jti`, signed; type from where the options say. Fresh by `iat` where the token has it,
//! which is signed, and never beyond `exp`.

use tollgate_sdk::scheme::{Digits, Jws, SignedBy, Source};
use tollgate_sdk::{
    About, Call, Event, Hash, Key, KeyForm, Part, Problems, Refusal, Role, Setting, Settings, Verdict, Verifier,
};

/// Webhooks of any provider that sends a JSON Web Token, described by options.
pub struct Jwt {
    by: SignedBy,
    form: KeyForm,
    header: String,
    prefix: String,
    issuer: Option<String>,
    audience: Option<String>,
    subject: Option<String>,
    body: Option<(String, Digits)>,
    kind: Source,
}

impl Verifier for Jwt {
    const ABOUT: About = About::new("jwt", "https://www.rfc-editor.org/rfc/rfc7519")
        .roles(&[
            Role::optional("signing", "the shared secret, for HS256, HS384 and HS512"),
            Role::optional("public_key", "the public key, for all other algorithms"),
        ])
        .settings(&[
            Setting::text("algorithm", "`HS256`, `ES256`, `RS256`, `PS256`, `EdDSA` or another of RFC 7518").required(),
            Setting::text("header", "the header with the token (default: authorization)"),
            Setting::text("prefix", "what stands before the token (default: `Bearer ` in authorization, else nothing)"),
            Setting::text("key", "how the public key is written: `pem` (default), `jwk`, or base64 of its `spki`"),
            Setting::text("issuer", "what the claim `iss` must be"),
            Setting::text("audience", "what the claim `aud` must be or hold"),
            Setting::text("subject", "what the claim `sub` must be"),
            Setting::text("body_claim", "the claim with the SHA-256 of the body"),
            Setting::text("body_encoding", "of that claim: `hex` (default), `base64` or `base64url`"),
            Setting::text("type_header", "the header with the event's type"),
            Setting::text("type_pointer", "the event's type in the body, as a JSON Pointer"),
        ]);

    fn configure(settings: &Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let own = |key: &str| settings.text(key).map(str::to_owned);
        let algorithm = settings.text("algorithm").unwrap_or_default();
        let by = SignedBy::ALL.into_iter().find(|by| by.name() == algorithm).unwrap_or_else(|| {
            let names = SignedBy::ALL.map(SignedBy::name).join("`, `");
            problems.add("algorithm", ["expected one of `", &names, "`"].concat());
            SignedBy::HS256
        });
        let form = match settings.text("key").unwrap_or("pem") {
            "jwk" => KeyForm::Jwk,
            "spki" => KeyForm::SpkiBase64,
            other => {
                if other != "pem" {
                    problems.add("key", "expected `pem`, `jwk` or `spki`");
                }
                KeyForm::Pem
            }
        };
        let digits = match settings.text("body_encoding").unwrap_or("hex") {
            "base64" => Digits::Base64,
            "base64url" => Digits::Base64Url,
            other => {
                if other != "hex" {
                    problems.add("body_encoding", "expected `hex`, `base64` or `base64url`");
                }
                Digits::Hex
            }
        };
        let header = own("header").unwrap_or_else(|| "authorization".to_owned());
        for key in ["header", "issuer", "audience", "subject", "body_claim"] {
            if settings.text(key) == Some("") {
                problems.add(key, "expected a text that is not empty");
            }
        }
        let bearer = if header.eq_ignore_ascii_case("authorization") { "Bearer " } else { "" };
        let kind = Source::of(settings, "type_header", "type_pointer", &mut problems);
        if !problems.0.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            by,
            form,
            prefix: own("prefix").unwrap_or_else(|| bearer.to_owned()),
            header,
            issuer: own("issuer"),
            audience: own("audience"),
            subject: own("subject"),
            body: own("body_claim").map(|claim| (claim, digits)),
            kind,
        })
    }

    fn verify(&self, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let header = call.required(&self.header)?;
        let token = header.strip_prefix(self.prefix.as_str()).and_then(Jws::read);
        let token = token.ok_or_else(|| Refusal::malformed(&self.header))?;
        let claims = token.check(call, self.key(), self.by)?;
        for (claim, expected) in [("iss", &self.issuer), ("aud", &self.audience), ("sub", &self.subject)] {
            if expected.as_ref().is_some_and(|expected| !claims.names(claim, expected)) {
                return Err(Refusal::malformed(claim));
            }
        }
        match &self.body {
            Some((claim, digits)) => {
                let digest = claims.text(claim).and_then(|text| digits.read(text, Hash::Sha256.size()));
                let digest = digest.ok_or_else(|| Refusal::malformed(claim))?;
                call.check_digest(Hash::Sha256, &[Part::Body], &[digest])?;
            }
            None if !claims.has("exp") => return Err(Refusal::missing("exp")),
            None => {}
        }
        let event = Event::new().signed_id(claims.text("jti").map(str::to_owned)).kind(self.kind.read(call)?);
        Ok(claims.time("iat")?.into_iter().fold(event, Event::timestamp).into())
    }
}

impl Jwt {
    fn key(&self) -> Key<'_> {
        match self.by {
            SignedBy::Hmac(..) => Key::text("signing"),
            SignedBy::PublicKey(..) => Key::new("public_key", self.form),
        }
    }
}

tollgate_sdk::verifier!(Jwt);
