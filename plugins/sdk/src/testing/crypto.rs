//! The gateway's cryptography, for tests: real algorithms, but no constant time and no budget of bytes.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;

use crate::crypto::{CryptoError, Encoding, Hash, Key, KeyForm};

pub(super) fn key(key: Key<'_>, value: &str) -> Result<Vec<u8>, CryptoError> {
    let text = key.strip.and_then(|prefix| value.strip_prefix(prefix)).unwrap_or(value);
    let bad = |what: &str| CryptoError::BadKey(format!("role `{}`: expected {what}", key.role));
    match key.form {
        KeyForm::Text | KeyForm::Pem | KeyForm::Jwk => Ok(text.as_bytes().to_vec()),
        KeyForm::Hex => decode_hex(text).ok_or_else(|| bad("hex")),
        KeyForm::Base64 | KeyForm::SpkiBase64 => STANDARD.decode(text).map_err(|_| bad("base64")),
        KeyForm::Sha1OfText => Ok(digest(Hash::Sha1, text.as_bytes())),
        KeyForm::Sha256OfText => Ok(digest(Hash::Sha256, text.as_bytes())),
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    crate::encoding::hex(&text.to_ascii_lowercase(), text.len() / 2)
}

pub(super) fn digest(hash: Hash, content: &[u8]) -> Vec<u8> {
    match hash {
        Hash::Md5 => md5::Md5::digest(content).to_vec(),
        Hash::Sha1 => sha1::Sha1::digest(content).to_vec(),
        Hash::Sha256 => sha2::Sha256::digest(content).to_vec(),
        Hash::Sha384 => sha2::Sha384::digest(content).to_vec(),
        Hash::Sha512 => sha2::Sha512::digest(content).to_vec(),
        Hash::Crc32 => crc32fast::hash(content).to_be_bytes().to_vec(),
    }
}

pub(super) fn encode(encoding: Encoding, digest: &[u8]) -> Result<Vec<u8>, CryptoError> {
    match encoding {
        Encoding::Raw => Ok(digest.to_vec()),
        Encoding::Hex => Ok(digest.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()),
        Encoding::Base64 => Ok(STANDARD.encode(digest).into_bytes()),
        Encoding::Base64Url => Ok(URL_SAFE_NO_PAD.encode(digest).into_bytes()),
        Encoding::Decimal => match <[u8; 4]>::try_from(digest) {
            Ok(bytes) => Ok(u32::from_be_bytes(bytes).to_string().into_bytes()),
            Err(_) => Err(CryptoError::Unsupported("decimal of anything but crc32".into())),
        },
    }
}

macro_rules! with_hmac {
    ($hash:expr, $key:expr, $content:expr) => {
        match $hash {
            Hash::Md5 => mac::<Hmac<md5::Md5>>($key, $content),
            Hash::Sha1 => mac::<Hmac<sha1::Sha1>>($key, $content),
            Hash::Sha256 => mac::<Hmac<sha2::Sha256>>($key, $content),
            Hash::Sha384 => mac::<Hmac<sha2::Sha384>>($key, $content),
            Hash::Sha512 => mac::<Hmac<sha2::Sha512>>($key, $content),
            Hash::Crc32 => Err(CryptoError::Unsupported("hmac with crc32".into())),
        }
    };
}

fn mac<M: Mac + KeyInit>(key: &[u8], content: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mac = <M as KeyInit>::new_from_slice(key).map_err(|_| CryptoError::BadKey("expected a key for hmac".into()))?;
    Ok(mac.chain_update(content).finalize().into_bytes().to_vec())
}

pub(super) fn hmac(hash: Hash, key: &[u8], content: &[u8]) -> Result<Vec<u8>, CryptoError> {
    with_hmac!(hash, key, content)
}

pub(super) fn hmac_matches(
    hash: Hash,
    key: &[u8],
    content: &[u8],
    candidates: &[Vec<u8>],
) -> Result<bool, CryptoError> {
    Ok(candidates.contains(&hmac(hash, key, content)?))
}

#[cfg(feature = "asymmetric")]
pub(super) use super::asymmetric::signature_matches;

#[cfg(not(feature = "asymmetric"))]
pub(super) fn signature_matches(
    algorithm: crate::Algorithm,
    _: KeyForm,
    _: &[u8],
    _: &[u8],
    _: &[u8],
) -> Result<bool, CryptoError> {
    Err(CryptoError::Unsupported(format!("{algorithm:?} in tests needs tollgate-sdk's feature `asymmetric`")))
}
