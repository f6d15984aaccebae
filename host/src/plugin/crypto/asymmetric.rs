//! Public-key signatures, through the TLS stack's crypto library (aws-lc).

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use super::super::bindings::crypto::{Algorithm, CryptoError};
use super::hash::Feed;
use super::keys::Public;

/// The signed content in the form its algorithm verifies.
pub(super) enum Message {
    /// Ed25519 signs the content itself (RFC 8032), twice hashed inside: it has to be in one piece.
    Whole(Vec<u8>),
    /// Everything else signs a digest.
    Digest(digest::Digest),
}

/// The largest content of an Ed25519 signature.
const WHOLE_MAX: usize = 4 << 20;

impl Message {
    pub(super) fn of(algorithm: Algorithm, feed: &mut Feed<'_>) -> wasmtime::Result<Self> {
        let Some(hash) = hash_of(algorithm) else {
            let mut whole = Vec::new();
            let mut over = false;
            feed(&mut |piece| {
                over |= whole.len() + piece.len() > WHOLE_MAX;
                if !over {
                    whole.extend_from_slice(piece);
                }
            })?;
            if over {
                wasmtime::bail!("an Ed25519 content of more than {WHOLE_MAX} bytes");
            }
            return Ok(Self::Whole(whole));
        };
        let mut context = digest::Context::new(hash);
        feed(&mut |piece| context.update(piece))?;
        Ok(Self::Digest(context.finish()))
    }
}

fn hash_of(algorithm: Algorithm) -> Option<&'static digest::Algorithm> {
    Some(match algorithm {
        Algorithm::Ed25519 => return None,
        Algorithm::RsaPkcs1Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::EcdsaP256Sha256Der
        | Algorithm::EcdsaP256Sha256Fixed
        | Algorithm::RsaPkcs1Sha256
        | Algorithm::RsaPssSha256 => &digest::SHA256,
        Algorithm::EcdsaP384Sha384Der
        | Algorithm::EcdsaP384Sha384Fixed
        | Algorithm::RsaPkcs1Sha384
        | Algorithm::RsaPssSha384 => &digest::SHA384,
        Algorithm::EcdsaP521Sha512Fixed | Algorithm::RsaPkcs1Sha512 | Algorithm::RsaPssSha512 => &digest::SHA512,
    })
}

fn named(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Ed25519 => &signature::ED25519,
        Algorithm::EcdsaP256Sha256Der => &signature::ECDSA_P256_SHA256_ASN1,
        Algorithm::EcdsaP256Sha256Fixed => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::EcdsaP384Sha384Der => &signature::ECDSA_P384_SHA384_ASN1,
        Algorithm::EcdsaP384Sha384Fixed => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EcdsaP521Sha512Fixed => &signature::ECDSA_P521_SHA512_FIXED,
        Algorithm::RsaPkcs1Sha1 => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
    }
}

/// Whether `signature` is one of `message` under `public`. An error is a key that the algorithm cannot use.
pub(super) fn verify(
    algorithm: Algorithm,
    public: &Public,
    message: &Message,
    signature: &[u8],
) -> Result<bool, CryptoError> {
    let bytes = match public {
        Public::Ed25519(bytes) | Public::Spki(bytes) | Public::Point(bytes) | Public::Rsa(bytes) => bytes,
    };
    let key = ParsedPublicKey::new(named(algorithm), bytes)
        .map_err(|_| CryptoError::BadKey("the key does not fit the algorithm".into()))?;
    let verified = match message {
        Message::Whole(whole) => key.verify_sig(whole, signature),
        Message::Digest(digest) => key.verify_digest_sig(digest, signature),
    };
    Ok(verified.is_ok())
}
