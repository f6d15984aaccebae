//! The gateway's functions, in the SDK's words.

use super::imports::tollgate::plugin as wit;
use crate::crypto::{Algorithm, CryptoError, Encoding, Hash, Key, KeyForm, Part};
use crate::request::{Level, Protocol, TextError};

/// Ends the call: the plugin's fault, not the sender's. The reason goes to the log without the weight of a panic.
pub(crate) fn fault(reason: &str) -> ! {
    wit::log::write(wit::log::Level::Error, reason);
    core::arch::wasm32::unreachable()
}

#[derive(Clone, Copy)]
pub(crate) struct Handle<'a> {
    request: &'a wit::http::Request,
    body: Option<&'a wit::http::Body>,
}

type Checked<T> = Result<T, CryptoError>;

impl<'a> Handle<'a> {
    pub(super) fn new(request: &'a wit::http::Request, body: Option<&'a wit::http::Body>) -> Self {
        Self { request, body }
    }

    pub(crate) fn id(self) -> String {
        self.request.id()
    }

    pub(crate) fn route(self) -> String {
        self.request.route()
    }

    pub(crate) fn product(self) -> String {
        self.request.product()
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self.request.protocol() {
            wit::http::Protocol::Http => Protocol::Http,
            wit::http::Protocol::Grpc => Protocol::Grpc,
            wit::http::Protocol::GrpcWeb => Protocol::GrpcWeb,
            wit::http::Protocol::Websocket => Protocol::WebSocket,
            wit::http::Protocol::Webhook => Protocol::Webhook,
        }
    }

    pub(crate) fn method(self) -> String {
        self.request.method()
    }

    pub(crate) fn scheme(self) -> String {
        self.request.scheme()
    }

    pub(crate) fn authority(self) -> String {
        self.request.authority()
    }

    pub(crate) fn path(self) -> String {
        self.request.path()
    }

    pub(crate) fn query(self) -> Option<String> {
        self.request.query()
    }

    pub(crate) fn target(self) -> String {
        self.request.target()
    }

    pub(crate) fn client_address(self) -> String {
        self.request.client_address()
    }

    pub(crate) fn event_type(self) -> Option<String> {
        self.request.event_type()
    }

    pub(crate) fn text(self, name: &str) -> Result<Option<String>, TextError> {
        self.request.text(name).map_err(|error| match error {
            wit::http::TextError::Repeated => TextError::Repeated,
            wit::http::TextError::NotUtf8 => TextError::NotUtf8,
        })
    }

    pub(crate) fn header(self, name: &str) -> Option<Vec<u8>> {
        self.request.header(name)
    }

    pub(crate) fn values(self, name: &str) -> Vec<Vec<u8>> {
        self.request.values(name)
    }

    pub(crate) fn headers(self) -> Vec<(String, Vec<u8>)> {
        fields(self.request.headers())
    }

    fn body(self) -> &'a wit::http::Body {
        self.body.unwrap_or_else(|| fault("only a verifier has the body"))
    }

    pub(crate) fn body_size(self) -> u64 {
        self.body().size()
    }

    pub(crate) fn read_body(self, offset: u64, length: u32) -> Vec<u8> {
        self.body().read(offset, length)
    }

    pub(crate) fn json(self, pointer: &str) -> Option<String> {
        self.body().json(pointer)
    }

    pub(crate) fn hmac_matches(
        self,
        with: Key<'_>,
        by: Hash,
        content: &[Part<'_>],
        candidates: &[Vec<u8>],
    ) -> Checked<bool> {
        wit::crypto::hmac_matches(&key(with), hash(by), &self.parts(content), candidates).map_err(error)
    }

    pub(crate) fn signature_matches(
        self,
        with: Key<'_>,
        by: Algorithm,
        content: &[Part<'_>],
        signature: &[u8],
    ) -> Checked<bool> {
        wit::crypto::signature_matches(&key(with), algorithm(by), &self.parts(content), signature).map_err(error)
    }

    pub(crate) fn digest_matches(self, by: Hash, content: &[Part<'_>], candidates: &[Vec<u8>]) -> Checked<bool> {
        wit::crypto::digest_matches(hash(by), &self.parts(content), candidates).map_err(error)
    }

    pub(crate) fn token_matches(self, with: Key<'_>, candidate: &[u8]) -> Checked<bool> {
        wit::crypto::token_matches(&key(with), candidate).map_err(error)
    }

    pub(crate) fn digest(self, by: Hash, content: &[Part<'_>]) -> Checked<Vec<u8>> {
        wit::crypto::digest(hash(by), &self.parts(content)).map_err(error)
    }

    pub(crate) fn hmac(self, with: Key<'_>, by: Hash, content: &[Part<'_>]) -> Checked<Vec<u8>> {
        wit::crypto::hmac(&key(with), hash(by), &self.parts(content)).map_err(error)
    }

    pub(crate) fn now(self) -> u64 {
        wit::clock::now()
    }

    pub(crate) fn log(self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => wit::log::Level::Debug,
            Level::Info => wit::log::Level::Info,
            Level::Warn => wit::log::Level::Warn,
            Level::Error => wit::log::Level::Error,
        };
        wit::log::write(level, message);
    }

    fn parts(self, content: &[Part<'_>]) -> Vec<wit::crypto::Part<'a>> {
        let part = |part: &Part<'_>| match *part {
            Part::Text(text) => wit::crypto::Part::Text(text.to_owned()),
            Part::Bytes(bytes) => wit::crypto::Part::Bytes(bytes.to_vec()),
            Part::Body => wit::crypto::Part::Body(self.body()),
            Part::BodyDigest(by, as_) => wit::crypto::Part::BodyDigest((self.body(), hash(by), encoding(as_))),
            Part::Secret(with) => wit::crypto::Part::Secret(key(with)),
        };
        content.iter().map(part).collect()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct ResponseHandle<'a>(pub(super) &'a wit::http::Response);

impl ResponseHandle<'_> {
    pub(crate) fn status(self) -> u16 {
        self.0.status()
    }

    pub(crate) fn header(self, name: &str) -> Option<Vec<u8>> {
        self.0.header(name)
    }

    pub(crate) fn values(self, name: &str) -> Vec<Vec<u8>> {
        self.0.values(name)
    }

    pub(crate) fn headers(self) -> Vec<(String, Vec<u8>)> {
        fields(self.0.headers())
    }
}

fn fields(headers: Vec<wit::types::Header>) -> Vec<(String, Vec<u8>)> {
    headers.into_iter().map(|header| (header.name, header.value)).collect()
}

fn key(key: Key<'_>) -> wit::crypto::Key {
    let form = match key.form {
        KeyForm::Text => wit::crypto::KeyForm::Text,
        KeyForm::Hex => wit::crypto::KeyForm::Hex,
        KeyForm::Base64 => wit::crypto::KeyForm::Base64,
        KeyForm::Sha1OfText => wit::crypto::KeyForm::Sha1OfText,
        KeyForm::Sha256OfText => wit::crypto::KeyForm::Sha256OfText,
        KeyForm::Pem => wit::crypto::KeyForm::Pem,
        KeyForm::SpkiBase64 => wit::crypto::KeyForm::SpkiBase64,
        KeyForm::Jwk => wit::crypto::KeyForm::Jwk,
    };
    wit::crypto::Key { role: key.role.to_owned(), form, strip: key.strip.map(str::to_owned) }
}

fn hash(hash: Hash) -> wit::crypto::Hash {
    match hash {
        Hash::Md5 => wit::crypto::Hash::Md5,
        Hash::Sha1 => wit::crypto::Hash::Sha1,
        Hash::Sha256 => wit::crypto::Hash::Sha256,
        Hash::Sha384 => wit::crypto::Hash::Sha384,
        Hash::Sha512 => wit::crypto::Hash::Sha512,
        Hash::Crc32 => wit::crypto::Hash::Crc32,
    }
}

fn encoding(encoding: Encoding) -> wit::crypto::Encoding {
    match encoding {
        Encoding::Raw => wit::crypto::Encoding::Raw,
        Encoding::Hex => wit::crypto::Encoding::Hex,
        Encoding::Base64 => wit::crypto::Encoding::Base64,
        Encoding::Base64Url => wit::crypto::Encoding::Base64url,
        Encoding::Decimal => wit::crypto::Encoding::Decimal,
    }
}

fn algorithm(algorithm: Algorithm) -> wit::crypto::Algorithm {
    use wit::crypto::Algorithm as Wit;
    match algorithm {
        Algorithm::Ed25519 => Wit::Ed25519,
        Algorithm::EcdsaP256Sha256Der => Wit::EcdsaP256Sha256Der,
        Algorithm::EcdsaP256Sha256Fixed => Wit::EcdsaP256Sha256Fixed,
        Algorithm::EcdsaP384Sha384Der => Wit::EcdsaP384Sha384Der,
        Algorithm::EcdsaP384Sha384Fixed => Wit::EcdsaP384Sha384Fixed,
        Algorithm::EcdsaP521Sha512Fixed => Wit::EcdsaP521Sha512Fixed,
        Algorithm::RsaPkcs1Sha1 => Wit::RsaPkcs1Sha1,
        Algorithm::RsaPkcs1Sha256 => Wit::RsaPkcs1Sha256,
        Algorithm::RsaPkcs1Sha384 => Wit::RsaPkcs1Sha384,
        Algorithm::RsaPkcs1Sha512 => Wit::RsaPkcs1Sha512,
        Algorithm::RsaPssSha256 => Wit::RsaPssSha256,
        Algorithm::RsaPssSha384 => Wit::RsaPssSha384,
        Algorithm::RsaPssSha512 => Wit::RsaPssSha512,
    }
}

fn error(error: wit::crypto::CryptoError) -> CryptoError {
    use wit::crypto::CryptoError as Wit;
    match error {
        Wit::UnknownRole(role) => CryptoError::UnknownRole(role),
        Wit::BadKey(why) => CryptoError::BadKey(why),
        Wit::Unsupported(what) => CryptoError::Unsupported(what),
        Wit::OverBudget => CryptoError::OverBudget,
        Wit::Refused => CryptoError::Refused,
    }
}
