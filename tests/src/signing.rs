//! Senders: what each provider would put on a request, written down from its documentation and apart from the verifiers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A signed request, less its path.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The provider's fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Signed {
    /// A request with these fields.
    pub fn new<const N: usize>(headers: [(&str, String); N], body: &[u8]) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { headers, body: Bytes::copy_from_slice(body) }
    }

    /// The same with one more field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same signature over another body.
    pub fn forged(mut self) -> Self {
        let mut body = self.body.to_vec();
        body.push(b' ');
        self.body = body.into();
        self
    }
}

fn hmac(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hex SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The hex HMAC-SHA256 of `body`.
pub fn hmac_sha256(secret: &str, body: &[u8]) -> String {
    hex(&hmac(secret.as_bytes(), &[body]))
}

/// <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
pub fn github(secret: &str, body: &[u8]) -> Signed {
    let signature = format!("sha256={}", hex(&hmac(secret.as_bytes(), &[body])));
    Signed::new([("x-hub-signature-256", signature), ("x-github-event", "push".into())], body)
}

/// <https://docs.stripe.com/webhooks/signature>
pub fn stripe(secret: &str, signed_at: i64, body: &[u8]) -> Signed {
    let time = signed_at.to_string();
    let digest = hex(&hmac(secret.as_bytes(), &[time.as_bytes(), b".", body]));
    Signed::new([("stripe-signature", format!("t={time},v1={digest}"))], body)
}

/// <https://docs.slack.dev/authentication/verifying-requests-from-slack>
pub fn slack(secret: &str, signed_at: i64, body: &[u8]) -> Signed {
    let time = signed_at.to_string();
    let digest = hex(&hmac(secret.as_bytes(), &[b"v0:", time.as_bytes(), b":", body]));
    Signed::new([("x-slack-request-timestamp", time), ("x-slack-signature", format!("v0={digest}"))], body)
}

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>; the secret is `whsec_` and
/// base64.
pub fn standardwebhooks(secret: &str, id: &str, signed_at: i64, body: &[u8]) -> Signed {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("a secret in base64");
    let time = signed_at.to_string();
    let digest = hmac(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", body]);
    let signature = format!("v1,{}", STANDARD.encode(digest));
    Signed::new([("webhook-id", id.to_owned()), ("webhook-timestamp", time), ("webhook-signature", signature)], body)
}
