//! A time that is part of the signed content: as text, which is what was signed, and in seconds.

use crate::encoding;
use crate::request::Request;
use crate::verdict::Refusal;

/// A time as its provider wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAt {
    /// As written, which is what is under the signature.
    pub text: String,
    /// Unix seconds.
    pub seconds: u64,
}

impl SignedAt {
    /// A header of Unix seconds.
    pub fn seconds(request: &Request<'_>, header: &str) -> Result<Self, Refusal> {
        Self::by(request, header, encoding::decimal)
    }

    /// A header of Unix milliseconds.
    pub fn millis(request: &Request<'_>, header: &str) -> Result<Self, Refusal> {
        Self::by(request, header, |text| Some(encoding::decimal(text)? / 1000))
    }

    /// A header of RFC 3339.
    pub fn rfc3339(request: &Request<'_>, header: &str) -> Result<Self, Refusal> {
        Self::by(request, header, encoding::rfc3339)
    }

    fn by(request: &Request<'_>, header: &str, read: fn(&str) -> Option<u64>) -> Result<Self, Refusal> {
        let text = request.required(header)?;
        let seconds = read(&text).ok_or_else(|| Refusal::malformed(header))?;
        Ok(Self { text, seconds })
    }
}
