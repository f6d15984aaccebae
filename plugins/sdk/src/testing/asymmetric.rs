//! Public-key signatures, for tests of plugins that use them.

use aws_lc_rs::signature::{self as lc, UnparsedPublicKey, VerificationAlgorithm};

use crate::crypto::{Algorithm, CryptoError, KeyForm};

/// `key` is the secret's text, decoded where its form says hex or base64.
pub(super) fn signature_matches(
    algorithm: Algorithm,
    form: KeyForm,
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
    let bytes = bytes(form, key).ok_or_else(|| CryptoError::BadKey(format!("expected a public key as {form:?}")))?;
    Ok(UnparsedPublicKey::new(algorithm, bytes).verify(content, signature).is_ok())
}

/// What the algorithms take: the 32 bytes of an Ed25519 key, a SubjectPublicKeyInfo, or a bare point.
fn bytes(form: KeyForm, key: &[u8]) -> Option<Vec<u8>> {
    match form {
        KeyForm::Pem => pem(std::str::from_utf8(key).ok()?),
        KeyForm::Jwk => jwk(key),
        _ => Some(key.to_vec()),
    }
}

fn pem(text: &str) -> Option<Vec<u8>> {
    let inside = |label: &str| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        let (inside, _) = rest.split_once(&format!("-----END {label}-----"))?;
        crate::encoding::base64(&inside.split_ascii_whitespace().collect::<String>())
    };
    inside("PUBLIC KEY").or_else(|| spki(&inside("CERTIFICATE")?))
}

/// The SubjectPublicKeyInfo of a certificate (RFC 5280, section 4.1), found by the object identifier of RSA or of elliptic
/// curves that it begins with. Enough for certificates made for tests; the gateway reads the whole structure.
fn spki(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[6, 9, 42, 134, 72, 134, 247, 13, 1, 1, 1];
    const EC: &[u8] = &[6, 7, 42, 134, 72, 206, 61, 2, 1];
    let at = |id: &[u8]| certificate.windows(id.len()).position(|window| window == id);
    let id = at(RSA).or_else(|| at(EC))?;
    // Two headers stand before it: the key's, whose length has three, one or no byte more, and the algorithm's.
    let starts = [(6, 0x82, 2), (5, 0x81, 1), (4, 0, 0)];
    starts.into_iter().find_map(|(back, long, count)| {
        let key = certificate.get(id.checked_sub(back)?..)?;
        let whole = key.first() == Some(&0x30) && (count == 0 || key.get(1) == Some(&long));
        let length = key.get(if count == 0 { 1..2 } else { 2..2 + count })?.iter();
        let length = length.fold(0, |length, byte| length << 8 | usize::from(*byte));
        if whole { key.get(..2 + count + length).map(<[u8]>::to_vec) } else { None }
    })
}

fn jwk(text: &[u8]) -> Option<Vec<u8>> {
    let jwk: serde_json::Value = serde_json::from_slice(text).ok()?;
    let number = |name: &str| crate::encoding::base64url(jwk.get(name)?.as_str()?);
    match jwk.get("kty")?.as_str()? {
        "OKP" => number("x"),
        "EC" => Some([&[4], &number("x")?[..], &number("y")?[..]].concat()),
        _ => None,
    }
}
