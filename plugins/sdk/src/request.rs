//! The request as a plugin sees it. Nothing is copied into the plugin until it asks.

use std::ops::Deref;

use crate::crypto::{Algorithm, CryptoError, Hash, Key, Part};
use crate::host::{self, Handle};
use crate::verdict::Refusal;

/// As many signatures as one request may offer. A header with more is refused, not searched.
pub const CANDIDATES_MAX: usize = 16;

/// What kind of exchange it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Protocol {
    Http,
    Grpc,
    GrpcWeb,
    WebSocket,
    Webhook,
}

/// Why a field has no one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextError {
    /// It was sent more than once.
    Repeated,
    /// Its bytes are not UTF-8.
    NotUtf8,
}

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// The head of a request, and the cryptography that works on it.
///
/// The `check_…` functions compare in constant time against every live secret of the role and return `Ok` only where one
/// matched. They refuse the request where none did, where no candidate or more than [`CANDIDATES_MAX`] were offered, and
/// where the gateway declines to compare. A role or key that cannot work is not the sender's fault: it ends the call as
/// a fault of the plugin, which the gateway answers with 503.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub(crate) host: Handle<'a>,
}

/// A request with its body: what a verifier is asked about.
#[derive(Clone, Copy)]
pub struct Call<'a>(pub(crate) Request<'a>);

impl<'a> Deref for Call<'a> {
    type Target = Request<'a>;

    fn deref(&self) -> &Request<'a> {
        &self.0
    }
}

impl Request<'_> {
    /// The request id.
    pub fn id(&self) -> String {
        self.host.id()
    }

    /// The route's name.
    pub fn route(&self) -> String {
        self.host.route()
    }

    /// The product's name.
    pub fn product(&self) -> String {
        self.host.product()
    }

    /// The kind of exchange.
    pub fn protocol(&self) -> Protocol {
        self.host.protocol()
    }

    /// The method, as sent.
    pub fn method(&self) -> String {
        self.host.method()
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> String {
        self.host.scheme()
    }

    /// Host and port, as the client named them.
    pub fn authority(&self) -> String {
        self.host.authority()
    }

    /// The normal form of the path, which routes match and upstreams get.
    pub fn path(&self) -> String {
        self.host.path()
    }

    /// What follows the first `?`.
    pub fn query(&self) -> Option<String> {
        self.host.query()
    }

    /// Path and query exactly as received, for schemes that sign the URL.
    pub fn target(&self) -> String {
        self.host.target()
    }

    /// The address of the client.
    pub fn client_address(&self) -> String {
        self.host.client_address()
    }

    /// The event type a verifier found, on a webhook route once verified.
    pub fn event_type(&self) -> Option<String> {
        self.host.event_type()
    }

    /// The first value of a field, in any case of its name.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.host.header(name)
    }

    /// All values of a field, in order.
    pub fn values(&self, name: &str) -> Vec<Vec<u8>> {
        self.host.values(name)
    }

    /// Every field, in order, names in lower case.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.host.headers()
    }

    /// The one value of a field, as text. Refuses the request where the field is missing, sent twice (nobody could say
    /// which of them counts) or not UTF-8.
    pub fn required(&self, name: &str) -> Result<String, Refusal> {
        self.optional(name)?.ok_or_else(|| Refusal::missing(name))
    }

    /// The one value of a field, as text, if it was sent. Refuses the request where it was sent twice or is not UTF-8.
    pub fn optional(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.text(name).map_err(|_| Refusal::malformed(name))
    }

    /// As [`optional`](Self::optional), for a plugin that refuses in words of its own.
    pub fn text(&self, name: &str) -> Result<Option<String>, TextError> {
        self.host.text(name)
    }

    /// Whether a candidate is the HMAC of the content.
    pub fn check_hmac(
        &self,
        key: Key<'_>,
        hash: Hash,
        content: &[Part<'_>],
        candidates: &[Vec<u8>],
    ) -> Result<(), Refusal> {
        bounded(candidates)?;
        judge(self.host.hmac_matches(key, hash, content, candidates))
    }

    /// Whether the public key signed the content.
    pub fn check_signature(
        &self,
        key: Key<'_>,
        algorithm: Algorithm,
        content: &[Part<'_>],
        signature: &[u8],
    ) -> Result<(), Refusal> {
        judge(self.host.signature_matches(key, algorithm, content, signature))
    }

    /// Whether a candidate is the digest of the content, for schemes that hash a secret with it ([`Part::Secret`]).
    pub fn check_digest(&self, hash: Hash, content: &[Part<'_>], candidates: &[Vec<u8>]) -> Result<(), Refusal> {
        bounded(candidates)?;
        judge(self.host.digest_matches(hash, content, candidates))
    }

    /// Whether the candidate is the secret itself, for shared-token schemes.
    pub fn check_token(&self, key: Key<'_>, candidate: &[u8]) -> Result<(), Refusal> {
        judge(self.host.token_matches(key, candidate))
    }

    /// The digest of the content.
    pub fn digest(&self, hash: Hash, content: &[Part<'_>]) -> Result<Vec<u8>, Refusal> {
        blame(self.host.digest(hash, content))
    }

    /// The HMAC of a short text, for handshakes that prove possession of the secret. Only for a plugin that declares
    /// [`handshake`](crate::About::handshake), once per call, and such a call may only respond.
    pub fn hmac(&self, key: Key<'_>, hash: Hash, content: &[Part<'_>]) -> Result<Vec<u8>, Refusal> {
        blame(self.host.hmac(key, hash, content))
    }

    /// Seconds since the Unix epoch, by the gateway's clock.
    pub fn now(&self) -> u64 {
        self.host.now()
    }

    /// A line in the gateway's log.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }
}

impl Call<'_> {
    /// The size of the body in bytes.
    pub fn body_size(&self) -> u64 {
        self.host.body_size()
    }

    /// At most `length` bytes of the body from `offset`, for schemes that sign something inside it. Prefer
    /// [`Part::Body`]: hashing in the gateway is several times faster, and the plugin's memory is small.
    pub fn read_body(&self, offset: u64, length: u32) -> Vec<u8> {
        self.host.read_body(offset, length)
    }

    /// The string, number or boolean at a JSON Pointer (RFC 6901) in the body, as text.
    pub fn json(&self, pointer: &str) -> Option<String> {
        self.host.json(pointer)
    }
}

/// The head of a response, for propagators.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    pub(crate) host: host::ResponseHandle<'a>,
}

impl Response<'_> {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.host.status()
    }

    /// The first value of a field, in any case of its name.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.host.header(name)
    }

    /// All values of a field, in order.
    pub fn values(&self, name: &str) -> Vec<Vec<u8>> {
        self.host.values(name)
    }

    /// Every field, in order, names in lower case.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.host.headers()
    }
}

fn bounded(candidates: &[Vec<u8>]) -> Result<(), Refusal> {
    match candidates.len() {
        0 => Err(Refusal::missing("signature")),
        1..=CANDIDATES_MAX => Ok(()),
        _ => Err(Refusal::malformed("too many signatures")),
    }
}

fn judge(matched: Result<bool, CryptoError>) -> Result<(), Refusal> {
    if blame(matched)? { Ok(()) } else { Err(Refusal::mismatch()) }
}

/// The sender is to blame only for content that the oracle guard does not let through.
fn blame<T>(result: Result<T, CryptoError>) -> Result<T, Refusal> {
    match result {
        Ok(value) => Ok(value),
        Err(CryptoError::Refused) => Err(Refusal::malformed("signed content")),
        Err(CryptoError::UnknownRole(role)) => host::fault(&["no secret for role `", &role, "`"].concat()),
        Err(CryptoError::BadKey(why)) => host::fault(&["bad key: ", &why].concat()),
        Err(CryptoError::Unsupported(what)) => host::fault(&["unsupported: ", &what].concat()),
        Err(CryptoError::OverBudget) => host::fault("over the budget for cryptography"),
    }
}
