//! `t=…,v1=…`: a time and the HMACs of `time.body` in one header, as Stripe made common.

use super::mac::Digits;
use crate::crypto::{Hash, Key, Part};
use crate::encoding;
use crate::request::Request;
use crate::verdict::Refusal;

/// A header with a time and one or more HMAC-SHA256 of the time, a joint and the body. There are several while a secret
/// is rolled. Items of other names, and digests that are none, are passed over; a second time is refused, because nobody
/// could say which of them counts.
#[derive(Debug, Clone, Copy)]
pub struct Stamped {
    header: &'static str,
    separator: &'static str,
    time: &'static str,
    digest: &'static str,
    joint: &'static str,
    digits: Digits,
    millis: bool,
    spaced: bool,
}

impl Stamped {
    /// `t=seconds,v1=hex`, over `t.body`.
    pub const fn new(header: &'static str) -> Self {
        let (time, digest, digits) = ("t", "v1", Digits::Hex);
        Self { header, separator: ",", time, digest, joint: ".", digits, millis: false, spaced: false }
    }

    /// With other names for the two.
    pub const fn names(self, time: &'static str, digest: &'static str) -> Self {
        Self { time, digest, ..self }
    }

    /// With this between the items.
    pub const fn separator(self, separator: &'static str) -> Self {
        Self { separator, ..self }
    }

    /// With this between time and body in what is signed.
    pub const fn joint(self, joint: &'static str) -> Self {
        Self { joint, ..self }
    }

    /// With digests written so.
    pub const fn digits(self, digits: Digits) -> Self {
        Self { digits, ..self }
    }

    /// With a time in milliseconds.
    pub const fn millis(self) -> Self {
        Self { millis: true, ..self }
    }

    /// With a space after the separator, or without.
    pub const fn spaced(self) -> Self {
        Self { spaced: true, ..self }
    }

    /// Whether a digest is that of time, joint and body. Returns the time, in Unix seconds.
    pub fn check(&self, request: &Request<'_>, key: Key<'_>) -> Result<u64, Refusal> {
        let header = request.required(self.header)?;
        let (signed_at, seconds, digests) = self.parse(&header).ok_or_else(|| Refusal::malformed(self.header))?;
        let content = [Part::Text(signed_at), Part::Text(self.joint), Part::Body];
        request.check_hmac(key, Hash::Sha256, &content, &digests)?;
        Ok(seconds)
    }

    /// The one time, as text and in seconds, and every digest.
    fn parse<'a>(&self, header: &'a str) -> Option<(&'a str, u64, Vec<Vec<u8>>)> {
        let bare = |item: &'a str| if self.spaced { item.strip_prefix(' ').unwrap_or(item) } else { item };
        let items = || header.split(self.separator).filter_map(|item| bare(item).split_once('='));
        let mut times = items().filter(|(name, _)| *name == self.time);
        let (Some((_, signed_at)), None) = (times.next(), times.next()) else { return None };
        let seconds = encoding::decimal(signed_at)? / if self.millis { 1000 } else { 1 };
        let digests = items().filter(|(name, _)| *name == self.digest);
        let digests = digests.filter_map(|(_, digits)| self.digits.read(digits, Hash::Sha256.size()));
        Some((signed_at, seconds, digests.collect()))
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(time: u64, bytes in proptest::collection::vec(any::<[u8; 32]>(), 0..4)) {
            let mut header = format!("t={time}");
            for digest in &bytes {
                header += ",v1=";
                header.extend(digest.iter().map(|byte| format!("{byte:02x}")));
            }
            let (text, seconds, digests) = Stamped::new("s").parse(&header).unwrap();
            prop_assert_eq!((text.to_owned(), seconds), (time.to_string(), time));
            prop_assert_eq!(digests, bytes.iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>());
        }

        #[test]
        fn anything_else_has_one_time_or_none(header in "[t=v1,; a-f0-9é]{0,40}") {
            if let Some((text, seconds, _)) = Stamped::new("s").parse(&header) {
                let item = format!("t={text}");
                prop_assert_eq!(text, seconds.to_string());
                prop_assert_eq!(header.split(',').filter(|piece| *piece == item).count(), 1);
            }
        }
    }
}
