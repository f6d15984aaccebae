//! Hashes and HMAC (RFC 2104) by name.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::super::bindings::crypto::Hash;

/// A hash under way.
pub(super) enum Sum {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    Crc32(crc32fast::Hasher),
}

impl Sum {
    pub(super) fn new(hash: Hash) -> Self {
        match hash {
            Hash::Md5 => Self::Md5(Md5::new()),
            Hash::Sha1 => Self::Sha1(Sha1::new()),
            Hash::Sha256 => Self::Sha256(Sha256::new()),
            Hash::Sha384 => Self::Sha384(Sha384::new()),
            Hash::Sha512 => Self::Sha512(Sha512::new()),
            Hash::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(sum) => sum.update(bytes),
            Self::Sha1(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
            Self::Sha384(sum) => sum.update(bytes),
            Self::Sha512(sum) => sum.update(bytes),
            Self::Crc32(sum) => sum.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Md5(sum) => sum.finalize().to_vec(),
            Self::Sha1(sum) => sum.finalize().to_vec(),
            Self::Sha256(sum) => sum.finalize().to_vec(),
            Self::Sha384(sum) => sum.finalize().to_vec(),
            Self::Sha512(sum) => sum.finalize().to_vec(),
            Self::Crc32(sum) => sum.finalize().to_be_bytes().to_vec(),
        }
    }
}

/// Whether there is an HMAC of this hash.
pub(super) fn has_hmac(hash: Hash) -> bool {
    !matches!(hash, Hash::Crc32)
}

/// Shows the content to whom it is given, piece by piece.
pub(super) type Feed<'a> = dyn FnMut(&mut dyn FnMut(&[u8])) -> std::io::Result<()> + 'a;

/// The HMAC of what `feed` shows. The hash must [have one](has_hmac).
pub(super) fn hmac(hash: Hash, key: &[u8], feed: &mut Feed<'_>) -> wasmtime::Result<Vec<u8>> {
    match hash {
        Hash::Md5 => keyed::<Hmac<Md5>>(key, feed),
        Hash::Sha1 => keyed::<Hmac<Sha1>>(key, feed),
        Hash::Sha256 => keyed::<Hmac<Sha256>>(key, feed),
        Hash::Sha384 => keyed::<Hmac<Sha384>>(key, feed),
        Hash::Sha512 => keyed::<Hmac<Sha512>>(key, feed),
        Hash::Crc32 => wasmtime::bail!("there is no HMAC of a checksum"),
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8], feed: &mut Feed<'_>) -> wasmtime::Result<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|error| wasmtime::format_err!("{error}"))?;
    feed(&mut |piece| mac.update(piece))?;
    Ok(mac.finalize().into_bytes().to_vec())
}
