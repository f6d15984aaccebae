//! Public-key signatures, for tests of plugins that use them.

use aws_lc_rs::signature::{self as lc, UnparsedPublicKey, VerificationAlgorithm};

use crate::crypto::{Algorithm, CryptoError};

/// `key` is a raw Ed25519 key, a SubjectPublicKeyInfo in DER, or a `PUBLIC KEY` in PEM.
pub(super) fn signature_matches(
    algorithm: Algorithm,
    key: &[u8],
    content: &[u8],
    signature: &[u8],
) -> Result<bool, CryptoError> {
    let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
        Algorithm::Ed25519 => &lc::ED25519,
        Algorithm::EcdsaP256Sha256Der => &lc::ECDSA_P256_SHA256_ASN1,
        Algorithm::EcdsaP256Sha256Fixed => &lc::ECDSA_P256_SHA256_FIXED,
        Algorithm::EcdsaP384Sha384Der => &lc::ECDSA_P384_SHA384_ASN1,
        Algorithm::EcdsaP384Sha384Fixed => &lc::ECDSA_P384_SHA384_FIXED,
        Algorithm::EcdsaP521Sha512Fixed => &lc::ECDSA_P521_SHA512_FIXED,
        Algorithm::RsaPkcs1Sha1 => &lc::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::RsaPkcs1Sha256 => &lc::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RsaPkcs1Sha384 => &lc::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RsaPkcs1Sha512 => &lc::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::RsaPssSha256 => &lc::RSA_PSS_2048_8192_SHA256,
        Algorithm::RsaPssSha384 => &lc::RSA_PSS_2048_8192_SHA384,
        Algorithm::RsaPssSha512 => &lc::RSA_PSS_2048_8192_SHA512,
    };
    let der = pem(key)?;
    Ok(UnparsedPublicKey::new(algorithm, der.as_deref().unwrap_or(key)).verify(content, signature).is_ok())
}

fn pem(key: &[u8]) -> Result<Option<Vec<u8>>, CryptoError> {
    let Some(text) = std::str::from_utf8(key).ok().filter(|text| text.starts_with("-----BEGIN")) else {
        return Ok(None);
    };
    let bad = || CryptoError::BadKey("expected one PUBLIC KEY in PEM".into());
    let inner = text.trim_end().strip_prefix("-----BEGIN PUBLIC KEY-----").ok_or_else(bad)?;
    let inner = inner.strip_suffix("-----END PUBLIC KEY-----").ok_or_else(bad)?;
    let digits: String = inner.split_ascii_whitespace().collect();
    crate::encoding::base64(&digits).map(Some).ok_or_else(bad)
}
