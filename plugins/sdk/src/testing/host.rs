//! What the gateway does for a plugin, done by a [`FakeRequest`].

use super::{FakeRequest, FakeResponse, crypto};
use crate::crypto::{Algorithm, CryptoError, Hash, Key, Part};
use crate::request::{Level, Protocol, TextError};

/// Where the component would trap, a test panics.
pub(crate) fn fault(reason: &str) -> ! {
    panic!("plugin fault: {reason}")
}

#[derive(Clone, Copy)]
pub(crate) struct Handle<'a>(pub(super) &'a FakeRequest);

type Checked<T> = Result<T, CryptoError>;

impl Handle<'_> {
    pub(crate) fn id(self) -> String {
        "req_00000000000000000000000000000000".into()
    }

    pub(crate) fn route(self) -> String {
        "test".into()
    }

    pub(crate) fn product(self) -> String {
        "test".into()
    }

    pub(crate) fn protocol(self) -> Protocol {
        self.0.protocol
    }

    pub(crate) fn method(self) -> String {
        self.0.method.clone()
    }

    pub(crate) fn scheme(self) -> String {
        self.0.scheme.clone()
    }

    pub(crate) fn authority(self) -> String {
        self.0.authority.clone()
    }

    pub(crate) fn path(self) -> String {
        self.0.target.split('?').next().unwrap_or_default().to_owned()
    }

    pub(crate) fn query(self) -> Option<String> {
        self.0.target.split_once('?').map(|(_, query)| query.to_owned())
    }

    pub(crate) fn target(self) -> String {
        self.0.target.clone()
    }

    pub(crate) fn client_address(self) -> String {
        "192.0.2.1".into()
    }

    pub(crate) fn event_type(self) -> Option<String> {
        self.0.event_type.clone()
    }

    pub(crate) fn text(self, name: &str) -> Result<Option<String>, TextError> {
        let mut values = self.values(name);
        match (values.pop(), values.is_empty()) {
            (None, _) => Ok(None),
            (Some(_), false) => Err(TextError::Repeated),
            (Some(value), true) => String::from_utf8(value).map(Some).map_err(|_| TextError::NotUtf8),
        }
    }

    pub(crate) fn header(self, name: &str) -> Option<Vec<u8>> {
        self.values(name).into_iter().next()
    }

    pub(crate) fn values(self, name: &str) -> Vec<Vec<u8>> {
        values(&self.0.headers, name)
    }

    pub(crate) fn headers(self) -> Vec<(String, Vec<u8>)> {
        lowered(&self.0.headers)
    }

    pub(crate) fn body_size(self) -> u64 {
        self.0.body.len() as u64
    }

    pub(crate) fn read_body(self, offset: u64, length: u32) -> Vec<u8> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.0.body.iter().skip(offset).take(length as usize).copied().collect()
    }

    pub(crate) fn json(self, pointer: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.0.body).ok()?;
        match body.pointer(pointer)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            serde_json::Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    pub(crate) fn hmac_matches(
        self,
        key: Key<'_>,
        hash: Hash,
        content: &[Part<'_>],
        candidates: &[Vec<u8>],
    ) -> Checked<bool> {
        let content = self.signed(content)?;
        let mut matched = false;
        for key in self.keys(key)? {
            matched |= crypto::hmac_matches(hash, &key, &content, candidates)?;
        }
        Ok(self.proven(matched))
    }

    pub(crate) fn signature_matches(
        self,
        key: Key<'_>,
        algorithm: Algorithm,
        content: &[Part<'_>],
        signature: &[u8],
    ) -> Checked<bool> {
        let content = self.signed(content)?;
        let mut matched = false;
        for public in self.keys(key)? {
            matched |= crypto::signature_matches(algorithm, key.form, &public, &content, signature)?;
        }
        Ok(self.proven(matched))
    }

    /// A secret among the parts is tried in each of its live values.
    pub(crate) fn digest_matches(self, hash: Hash, content: &[Part<'_>], candidates: &[Vec<u8>]) -> Checked<bool> {
        let secret = content.iter().find_map(|part| match part {
            Part::Secret(key) => Some(*key),
            _ => None,
        });
        let secrets = secret.map_or_else(|| Ok(vec![Vec::new()]), |key| self.keys(key))?;
        let mut matched = false;
        for secret in secrets {
            let digest = crypto::digest(hash, &self.content(content, Some(&secret))?);
            matched |= candidates.contains(&digest);
        }
        Ok(self.proven(matched))
    }

    pub(crate) fn token_matches(self, key: Key<'_>, candidate: &[u8]) -> Checked<bool> {
        let matched = self.keys(key)?.iter().any(|key| key == candidate);
        Ok(self.proven(matched))
    }

    pub(crate) fn digest(self, hash: Hash, content: &[Part<'_>]) -> Checked<Vec<u8>> {
        Ok(crypto::digest(hash, &self.content(content, None)?))
    }

    pub(crate) fn hmac(self, key: Key<'_>, hash: Hash, content: &[Part<'_>]) -> Checked<Vec<u8>> {
        let content = self.content(content, None)?;
        if !self.0.handshake || self.0.produced.replace(true) || !challenge(&content) {
            return Err(CryptoError::Refused);
        }
        let keys = self.keys(key)?;
        crypto::hmac(hash, keys.first().map_or(&[], Vec::as_slice), &content)
    }

    pub(crate) fn now(self) -> u64 {
        self.0.now
    }

    pub(crate) fn log(self, level: Level, message: &str) {
        self.0.log.borrow_mut().push((level, message.to_owned()));
    }

    fn proven(self, matched: bool) -> bool {
        self.0.proven.set(self.0.proven.get() || matched);
        matched
    }

    fn keys(self, key: Key<'_>) -> Checked<Vec<Vec<u8>>> {
        let secret = self.0.secrets.iter().find(|(role, _)| role == key.role);
        let (_, values) = secret.ok_or_else(|| CryptoError::UnknownRole(key.role.to_owned()))?;
        values.iter().map(|value| crypto::key(key, value)).collect()
    }

    /// The content of a `…_matches` call. The oracle guard: what `hmac` would sign is not compared.
    fn signed(self, content: &[Part<'_>]) -> Checked<Vec<u8>> {
        let content = self.content(content, None)?;
        if self.0.handshake && challenge(&content) { Err(CryptoError::Refused) } else { Ok(content) }
    }

    fn content(self, parts: &[Part<'_>], secret: Option<&[u8]>) -> Checked<Vec<u8>> {
        if parts.len() > 32 {
            return Err(CryptoError::OverBudget);
        }
        let mut content = Vec::new();
        for part in parts {
            match *part {
                Part::Text(text) => content.extend_from_slice(text.as_bytes()),
                Part::Bytes(bytes) => content.extend_from_slice(bytes),
                Part::Body => content.extend_from_slice(&self.0.body),
                Part::BodyDigest(hash, encoding) => {
                    content.extend(crypto::encode(encoding, &crypto::digest(hash, &self.0.body))?);
                }
                Part::Secret(_) => {
                    let secret =
                        secret.ok_or_else(|| CryptoError::Unsupported("a secret outside check_digest".into()))?;
                    content.extend_from_slice(secret);
                }
            }
        }
        Ok(content)
    }
}

fn challenge(content: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._~+/=-".contains(byte);
    content.len() <= 256 && content.iter().all(plain)
}

#[derive(Clone, Copy)]
pub(crate) struct ResponseHandle<'a>(pub(super) &'a FakeResponse);

impl ResponseHandle<'_> {
    pub(crate) fn status(self) -> u16 {
        self.0.status
    }

    pub(crate) fn header(self, name: &str) -> Option<Vec<u8>> {
        self.values(name).into_iter().next()
    }

    pub(crate) fn values(self, name: &str) -> Vec<Vec<u8>> {
        values(&self.0.headers, name)
    }

    pub(crate) fn headers(self) -> Vec<(String, Vec<u8>)> {
        lowered(&self.0.headers)
    }
}

fn values(headers: &[(String, Vec<u8>)], name: &str) -> Vec<Vec<u8>> {
    let found = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.clone()).collect()
}

fn lowered(headers: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}
