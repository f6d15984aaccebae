//! The words of `crypto`: keys by role, parts of signed content, hashes, algorithms. The gateway does the work.

/// A hash, or for `digest` the CRC-32 some providers sign with (big-endian, four bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
    Crc32,
}

impl Hash {
    /// Bytes of a digest.
    pub const fn size(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
            Self::Crc32 => 4,
        }
    }
}

/// How a digest becomes bytes of signed content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The bytes themselves.
    Raw,
    /// Lower-case hex.
    Hex,
    /// With padding.
    Base64,
    /// URL-safe, without padding.
    Base64Url,
    /// As one unsigned integer.
    Decimal,
}

/// A signature algorithm. `Der` and `Fixed` are the two ways an ECDSA signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Algorithm {
    Ed25519,
    EcdsaP256Sha256Der,
    EcdsaP256Sha256Fixed,
    EcdsaP384Sha384Der,
    EcdsaP384Sha384Fixed,
    EcdsaP521Sha512Fixed,
    RsaPkcs1Sha1,
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
}

/// How the configured text becomes key bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// The text's own bytes.
    Text,
    /// Decoded from hex.
    Hex,
    /// Decoded from base64.
    Base64,
    /// The SHA-1 of the text.
    Sha1OfText,
    /// The SHA-256 of the text.
    Sha256OfText,
    /// A public key or certificate in PEM.
    Pem,
    /// A public key as SubjectPublicKeyInfo, in base64.
    SpkiBase64,
    /// A JSON Web Key.
    Jwk,
}

/// A key: the role of a secret, and how its text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    pub(crate) role: &'a str,
    pub(crate) form: KeyForm,
    pub(crate) strip: Option<&'a str>,
}

impl<'a> Key<'a> {
    /// The secret of `role`, read as `form`.
    pub const fn new(role: &'a str, form: KeyForm) -> Self {
        Self { role, form, strip: None }
    }

    /// The secret's text is the key.
    pub const fn text(role: &'a str) -> Self {
        Self::new(role, KeyForm::Text)
    }

    /// The secret is written in hex.
    pub const fn hex(role: &'a str) -> Self {
        Self::new(role, KeyForm::Hex)
    }

    /// The secret is written in base64.
    pub const fn base64(role: &'a str) -> Self {
        Self::new(role, KeyForm::Base64)
    }

    /// The secret is a public key or certificate in PEM.
    pub const fn pem(role: &'a str) -> Self {
        Self::new(role, KeyForm::Pem)
    }

    /// With `prefix` taken off the front of the text, where it is there.
    pub const fn strip(self, prefix: &'a str) -> Self {
        Self { strip: Some(prefix), ..self }
    }
}

/// One piece of signed content. Content is the concatenation of its parts; at most 32 of them.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// The whole body, which stays in the gateway.
    Body,
    /// The digest of the body.
    BodyDigest(Hash, Encoding),
    /// The secret itself, for schemes that hash a secret with the content. Only in `check_digest`.
    Secret(Key<'a>),
}

impl<'a> From<&'a str> for Part<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

/// Why the gateway did not compute. All but `Refused` are faults of the plugin or of the configuration, not of the
/// sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CryptoError {
    /// The plugin did not declare this role, or the route does not give it.
    UnknownRole(String),
    /// The secret's text is not a key of this form.
    BadKey(String),
    /// The combination does not exist.
    Unsupported(String),
    /// More bytes, parts, candidates or calls than one call may use.
    OverBudget,
    /// The oracle guard: content of this shape is not signed, or compared, for a plugin that answers handshakes.
    Refused,
}
