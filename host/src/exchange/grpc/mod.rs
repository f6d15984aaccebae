//! What gRPC says in fields (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): how a call ended and how
//! long it may take. Messages are never looked into.

pub mod timeout;
pub mod web;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::GrpcCode;
use crate::telemetry::labels::Outcome;

/// How the call ended, a number.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Why, for people.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// How a call ended, as its product or the gateway says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u8);

impl Status {
    /// What `fields`, trailers or a response without any, say. A number that is none is UNKNOWN, as clients read it.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let value = fields.get(GRPC_STATUS)?;
        let code = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|code| *code <= 16);
        Some(Self(code.unwrap_or(GrpcCode::Unknown as u8)))
    }

    /// Its number.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// How a call that ended so counts: as the HTTP status that Google's APIs give it
    /// (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>).
    pub const fn outcome(self) -> Outcome {
        match self.0 {
            0 => Outcome::Success,
            1 => Outcome::Cancelled,
            4 => Outcome::Timeout,
            3 | 5..=11 | 16 => Outcome::ClientError,
            _ => Outcome::UpstreamError,
        }
    }
}

impl From<GrpcCode> for Status {
    fn from(code: GrpcCode) -> Self {
        Self(code as u8)
    }
}

/// How a call ends that the gateway ends.
pub fn trailers(code: GrpcCode, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, u16::from(code as u8).into());
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
    trailers
}

/// Whether a message's body is that of a gRPC call.
pub fn is_spoken(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|media| is_media(media.as_bytes(), b"application/grpc"))
}

/// Whether `field` names the media type `wanted`, with or without a suffix (`+proto`) and parameters.
pub fn is_media(field: &[u8], wanted: &[u8]) -> bool {
    suffix(field, wanted).is_some()
}

/// What follows the media type `wanted` in `field`: a suffix (`+proto`), parameters, or nothing.
fn suffix<'a>(field: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = field.split_at_checked(wanted.len())?;
    let ends = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
    (ends && start.eq_ignore_ascii_case(wanted)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_as_what_it_is_in_http() {
        let outcome = |said: &'static str| {
            let fields = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static(said))]);
            Status::of(&fields).map(Status::outcome)
        };
        for (said, counted) in [
            ("0", Outcome::Success),
            ("1", Outcome::Cancelled),
            ("4", Outcome::Timeout),
            ("5", Outcome::ClientError),
            ("8", Outcome::ClientError),
            ("12", Outcome::UpstreamError),
            ("14", Outcome::UpstreamError),
            ("16", Outcome::ClientError),
            ("17", Outcome::UpstreamError),
            ("-1", Outcome::UpstreamError),
            ("", Outcome::UpstreamError),
        ] {
            assert_eq!(outcome(said), Some(counted), "{said:?}");
        }
        assert_eq!(Status::of(&HeaderMap::new()), None);
    }
}
