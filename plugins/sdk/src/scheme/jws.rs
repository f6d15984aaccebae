//! Signed tokens: a JWS in compact form (RFC 7515) whose payload is a table of claims (RFC 7519).

use super::table::Table;
use crate::crypto::{Algorithm, Hash, Key, Part};
use crate::encoding;
use crate::request::Request;
use crate::verdict::Refusal;

/// How far clocks may be apart, in seconds, where a token says from when or until when it holds.
const SKEW: u64 = 60;

/// What may have signed a token. The caller names one; what the token says of itself must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedBy {
    /// `HS256`, `HS384`, `HS512`.
    Hmac(&'static str, Hash),
    /// `ES256`, `RS256`, `EdDSA` and their like.
    PublicKey(&'static str, Algorithm),
}

impl SignedBy {
    /// All that are known, by the names of RFC 7518 and RFC 8037.
    pub const ALL: [Self; 13] = [
        Self::Hmac("HS256", Hash::Sha256),
        Self::Hmac("HS384", Hash::Sha384),
        Self::Hmac("HS512", Hash::Sha512),
        Self::PublicKey("ES256", Algorithm::EcdsaP256Sha256Fixed),
        Self::PublicKey("ES384", Algorithm::EcdsaP384Sha384Fixed),
        Self::PublicKey("ES512", Algorithm::EcdsaP521Sha512Fixed),
        Self::PublicKey("RS256", Algorithm::RsaPkcs1Sha256),
        Self::PublicKey("RS384", Algorithm::RsaPkcs1Sha384),
        Self::PublicKey("RS512", Algorithm::RsaPkcs1Sha512),
        Self::PublicKey("PS256", Algorithm::RsaPssSha256),
        Self::PublicKey("PS384", Algorithm::RsaPssSha384),
        Self::PublicKey("PS512", Algorithm::RsaPssSha512),
        Self::PublicKey("EdDSA", Algorithm::Ed25519),
    ];
    /// HMAC-SHA256.
    pub const HS256: Self = Self::ALL[0];
    /// ECDSA over P-256.
    pub const ES256: Self = Self::ALL[3];

    /// The name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hmac(name, _) | Self::PublicKey(name, _) => name,
        }
    }
}

/// A token that was read, not yet checked.
#[derive(Debug)]
pub struct Jws {
    signed: String,
    signature: Vec<u8>,
    header: Table,
    claims: Table,
}

impl Jws {
    /// Reads a token: three parts in base64url, the first two of them JSON tables.
    pub fn read(token: &str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = table(header)?;
        // Extensions that must be understood are not.
        if header.has("crit") {
            return None;
        }
        let signature = encoding::base64url(signature)?;
        Some(Self { signed: signed.to_owned(), signature, header, claims: table(claims)? })
    }

    /// What the token says it is signed with. To choose among algorithms of one kind of key, and for nothing else.
    pub fn algorithm(&self) -> Option<&str> {
        self.header.text("alg")
    }

    /// The claims, where the token is by `key` and holds now.
    pub fn check(self, request: &Request<'_>, key: Key<'_>, by: SignedBy) -> Result<Table, Refusal> {
        if self.header.text("alg") != Some(by.name()) {
            return Err(Refusal::malformed("alg"));
        }
        let content = [Part::Text(&self.signed)];
        match by {
            SignedBy::Hmac(_, hash) => request.check_hmac(key, hash, &content, &[self.signature])?,
            SignedBy::PublicKey(_, algorithm) => {
                request.check_signature(key, algorithm, &content, &self.signature)?;
            }
        }
        let now = request.now();
        let over = self.claims.time("exp")?.is_some_and(|until| now >= until.saturating_add(SKEW));
        let early = self.claims.time("nbf")?.is_some_and(|from| now.saturating_add(SKEW) < from);
        if over || early {
            return Err(Refusal::new(401, "stale").detail("the token does not hold now"));
        }
        Ok(self.claims)
    }
}

fn table(part: &str) -> Option<Table> {
    Table::read(&String::from_utf8(encoding::base64url(part)?).ok()?)
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn anything_is_read_or_refused(token in "[A-Za-z0-9_.=-]{0,60}") {
            if let Some(jws) = Jws::read(&token) {
                prop_assert!(token.starts_with(&jws.signed));
            }
        }

        #[test]
        fn claims_come_back_as_written(issuer in ".{0,20}", issued in 0u64..1 << 53) {
            let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
            let claims = serde_json::json!({ "iss": issuer, "iat": issued, "aud": ["a", issuer] });
            let token = [part(serde_json::json!({ "alg": "HS256" })), part(claims), "AAAA".into()].join(".");
            let jws = Jws::read(&token).unwrap();
            prop_assert_eq!(jws.claims.text("iss"), Some(issuer.as_str()));
            prop_assert_eq!(jws.claims.time("iat"), Ok(Some(issued)));
            prop_assert!(jws.claims.names("aud", &issuer) && jws.claims.names("iss", &issuer));
        }
    }

    #[test]
    fn a_token_with_extensions_that_must_be_understood_is_none() {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let token = |header: &str| [part(header), part("{}"), "AAAA".into()].join(".");
        assert!(Jws::read(&token(r#"{"alg":"HS256"}"#)).is_some());
        assert!(Jws::read(&token(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#)).is_none());
        assert!(Jws::read(&token(r#"["HS256"]"#)).is_none());
        assert!(Jws::read("a.b").is_none());
    }
}
