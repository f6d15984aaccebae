//! An HMAC in a header of its own.

use crate::crypto::{Hash, Key, Part};
use crate::encoding;
use crate::request::Request;
use crate::verdict::Refusal;

/// How the bytes of a signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digits {
    /// Lower-case hex.
    Hex,
    /// Upper-case hex.
    HexUpper,
    /// With padding.
    Base64,
    /// URL-safe, without padding.
    Base64Url,
}

impl Digits {
    /// Exactly `size` bytes, or nothing.
    pub fn read(self, text: &str, size: usize) -> Option<Vec<u8>> {
        let bytes = match self {
            Self::Hex => encoding::hex(text, size),
            Self::HexUpper => encoding::hex_upper(text, size),
            Self::Base64 => encoding::base64(text),
            Self::Base64Url => encoding::base64url(text),
        };
        bytes.filter(|bytes| bytes.len() == size)
    }
}

/// An HMAC in a header of its own, perhaps behind a fixed prefix.
#[derive(Debug, Clone, Copy)]
pub struct Mac {
    header: &'static str,
    prefix: &'static str,
    hash: Hash,
    digits: Digits,
    separator: Option<&'static str>,
}

impl Mac {
    /// In lower-case hex.
    pub const fn hex(header: &'static str, hash: Hash) -> Self {
        Self { header, prefix: "", hash, digits: Digits::Hex, separator: None }
    }

    /// In base64.
    pub const fn base64(header: &'static str, hash: Hash) -> Self {
        Self { digits: Digits::Base64, ..Self::hex(header, hash) }
    }

    /// Behind a prefix that is always there, such as `sha256=`.
    pub const fn prefix(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// One of several in a list. What is no digest behind the prefix is passed over there.
    pub const fn list(self, separator: &'static str) -> Self {
        Self { separator: Some(separator), ..self }
    }

    /// The header's digests, or a refusal where it is missing or written otherwise.
    pub fn read(&self, request: &Request<'_>) -> Result<Vec<Vec<u8>>, Refusal> {
        let written = request.required(self.header)?;
        self.parse(&written).ok_or_else(|| Refusal::malformed(self.header))
    }

    /// Whether the header is the HMAC of the content.
    pub fn check(&self, request: &Request<'_>, key: Key<'_>, content: &[Part<'_>]) -> Result<(), Refusal> {
        request.check_hmac(key, self.hash, content, &self.read(request)?)
    }

    fn parse(&self, written: &str) -> Option<Vec<Vec<u8>>> {
        let digest = |text: &str| self.digits.read(text.strip_prefix(self.prefix)?, self.hash.size());
        match self.separator {
            None => Some(vec![digest(written)?]),
            Some(separator) => Some(written.split(separator).filter_map(digest).collect()),
        }
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_read_only_at_its_exact_size(text in "[A-Za-z0-9+/=_-]{0,90}", size in 0usize..70) {
            for digits in [Digits::Hex, Digits::HexUpper, Digits::Base64, Digits::Base64Url] {
                if let Some(bytes) = digits.read(&text, size) {
                    prop_assert_eq!(bytes.len(), size);
                }
            }
        }

        #[test]
        fn a_list_holds_as_many_digests_as_were_written(digests in proptest::collection::vec("[0-9a-f]{64}", 0..4)) {
            let list = digests.iter().map(|digest| format!("v1={digest}")).collect::<Vec<_>>().join(",") + ",v0=00";
            let mac = Mac::hex("s", Hash::Sha256).prefix("v1=").list(",");
            prop_assert_eq!(mac.parse(&list).map(|found| found.len()), Some(digests.len()));
            prop_assert_eq!(Mac::hex("s", Hash::Sha256).prefix("v1=").parse(&list), None);
        }
    }
}
