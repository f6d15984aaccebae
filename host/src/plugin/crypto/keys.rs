//! From the text an operator configured to key bytes. Strict: what does not decode is a bad key, never a shorter one.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::super::bindings::crypto::{CryptoError, Key, KeyForm};
use super::super::state::Roles;
use crate::base::secret::{Secret, SecretText};

/// A public key as the TLS stack's crypto library takes it.
#[derive(Debug)]
pub(super) enum Public {
    /// Ed25519: the 32 bytes.
    Ed25519(Vec<u8>),
    /// A SubjectPublicKeyInfo in DER.
    Spki(Vec<u8>),
    /// A point of an elliptic curve, uncompressed (SEC 1, section 2.3.3).
    Point(Vec<u8>),
    /// An RSAPublicKey in DER (RFC 8017, appendix A.1.1).
    Rsa(Vec<u8>),
}

/// The secret that has the key's role.
pub(super) fn role<'a>(roles: &'a Roles, key: &Key) -> Result<&'a Secret, CryptoError> {
    roles.get(&key.role).ok_or_else(|| CryptoError::UnknownRole(key.role.clone()))
}

/// The bytes of a shared key. An empty key is a bad one.
pub(super) fn derive(key: &Key, text: &SecretText) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let text = stripped(key, text)?;
    let bytes = Zeroizing::new(match key.form {
        KeyForm::Text => text.to_vec(),
        KeyForm::Hex => unhex(text).ok_or_else(|| bad(key, "hex digits"))?,
        KeyForm::Base64 => STANDARD.decode(text).map_err(|_| bad(key, "base64"))?,
        KeyForm::Sha1OfText => Sha1::digest(text).to_vec(),
        KeyForm::Sha256OfText => Sha256::digest(text).to_vec(),
        KeyForm::Pem | KeyForm::SpkiBase64 | KeyForm::Jwk => {
            return Err(CryptoError::Unsupported("a public key where a shared one is needed".into()));
        }
    });
    if bytes.is_empty() { Err(bad(key, "something")) } else { Ok(bytes) }
}

/// A public key: PEM (a SubjectPublicKeyInfo or a certificate), the base64 of a SubjectPublicKeyInfo, a JWK, or the bare
/// 32 bytes of an Ed25519 key in hex or base64.
pub(super) fn public(key: &Key, text: &SecretText) -> Result<Public, CryptoError> {
    let text = stripped(key, text)?;
    match key.form {
        KeyForm::Hex => unhex(text).and_then(ed25519).ok_or_else(|| bad(key, "64 hex digits")),
        KeyForm::Base64 => STANDARD.decode(text).ok().and_then(ed25519).ok_or_else(|| bad(key, "base64 of 32 bytes")),
        KeyForm::SpkiBase64 => STANDARD.decode(text).map(Public::Spki).map_err(|_| bad(key, "base64")),
        KeyForm::Pem => pem(text).map(Public::Spki).ok_or_else(|| bad(key, "a PEM public key or certificate")),
        KeyForm::Jwk => jwk(text).ok_or_else(|| bad(key, "a JWK of an Ed25519, P-256, P-384, P-521 or RSA key")),
        KeyForm::Text | KeyForm::Sha1OfText | KeyForm::Sha256OfText => {
            Err(CryptoError::Unsupported("a shared key where a public one is needed".into()))
        }
    }
}

fn stripped<'a>(key: &Key, text: &'a SecretText) -> Result<&'a [u8], CryptoError> {
    match &key.strip {
        None => Ok(text.expose()),
        Some(front) => Ok(text.expose().strip_prefix(front.as_bytes()).unwrap_or(text.expose())),
    }
}

/// Says what was expected, never what is there.
fn bad(key: &Key, expected: &str) -> CryptoError {
    CryptoError::BadKey(format!("the secret of role {} is not {expected}", key.role))
}

fn ed25519(bytes: Vec<u8>) -> Option<Public> {
    (bytes.len() == 32).then_some(Public::Ed25519(bytes))
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(*pair.get(1)?)?).ok();
    text.chunks(2).map(pair).collect()
}

fn pem(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let inside = |label: &str| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        let (inside, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let joined: String = inside.split_ascii_whitespace().collect();
        STANDARD.decode(joined).ok()
    };
    inside("PUBLIC KEY").or_else(|| spki_of_certificate(&inside("CERTIFICATE")?))
}

/// The SubjectPublicKeyInfo of an X.509 certificate (RFC 5280, section 4.1): the seventh field of its TBSCertificate when
/// the version is written, else the sixth.
fn spki_of_certificate(der: &[u8]) -> Option<Vec<u8>> {
    let (certificate, _) = element(der, 0x30)?;
    let (mut rest, _) = element(certificate, 0x30)?;
    if rest.first() == Some(&0xa0) {
        rest = skip(rest)?;
    }
    // serialNumber, signature, issuer, validity, subject
    for _ in 0..5 {
        rest = skip(rest)?;
    }
    let after = skip(rest)?;
    Some(rest[..rest.len() - after.len()].to_vec())
}

/// The content of the DER element at the front, which must have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = length(rest)?;
    rest.split_at_checked(length)
}

fn skip(der: &[u8]) -> Option<&[u8]> {
    element(der, *der.first()?).map(|(_, after)| after)
}

fn length(der: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = der.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(count)?;
    Some((bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest))
}

/// RFC 7518, section 6 (EC and RSA), and RFC 8037 (OKP).
fn jwk(text: &[u8]) -> Option<Public> {
    let jwk: serde_json::Value = serde_json::from_slice(text).ok()?;
    let field = |name: &str| jwk.get(name)?.as_str();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(field(name)?).ok().filter(|bytes| !bytes.is_empty());
    match field("kty")? {
        "OKP" if field("crv") == Some("Ed25519") => ed25519(number("x")?),
        "EC" => {
            let size = match field("crv")? {
                "P-256" => 32,
                "P-384" => 48,
                "P-521" => 66,
                _ => return None,
            };
            let (x, y) = (number("x")?, number("y")?);
            (x.len() == size && y.len() == size).then(|| Public::Point([&[4], &x[..], &y[..]].concat()))
        }
        "RSA" => {
            let numbers = [integer(&number("n")?), integer(&number("e")?)].concat();
            Some(Public::Rsa(tagged(0x30, &numbers)))
        }
        _ => None,
    }
}

/// An INTEGER in DER: no zeros in front but the one that keeps it positive.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    match bytes.first() {
        Some(0..=0x7f) => tagged(2, bytes),
        _ => tagged(2, &[&[0], bytes].concat()),
    }
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let head = match length {
        [] => vec![tag, 0],
        [short @ 0..=0x7f] => vec![tag, *short],
        long => [&[tag, 0x80 | u8::try_from(long.len()).unwrap_or(0x7f)], long].concat(),
    };
    [&head, content].concat()
}
