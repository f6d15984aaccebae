//! Why an upstream did not answer.

use std::fmt;

use super::body::BodyFault;

/// Why there is no response. What may be retried, and how it is answered, follows from the variant alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// The name does not resolve.
    Name,
    /// The name resolves to addresses that are not allowed, and to no other.
    Address,
    /// Nothing took the connection.
    Connect,
    /// Nothing took the connection in time.
    ConnectTimeout,
    /// Every connection the product may have stayed busy.
    Busy,
    /// The connection broke before a response came.
    Reset,
    /// What came is not HTTP, or a protocol switch nobody asked for.
    Protocol,
    /// No response head in time.
    ResponseTimeout,
    /// The exchange as a whole took too long.
    Deadline,
    /// The request's own body failed while it was sent.
    Body(BodyFault),
}

impl UpstreamError {
    /// Whether the upstream cannot have seen any of the request.
    pub fn nothing_was_sent(self) -> bool {
        matches!(self, Self::Name | Self::Address | Self::Connect | Self::ConnectTimeout | Self::Busy)
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the upstream's name does not resolve",
            Self::Address => "the upstream's name resolves to no address that is allowed",
            Self::Connect => "the upstream does not take connections",
            Self::ConnectTimeout => "the upstream took too long to take a connection",
            Self::Busy => "every connection the product may have is busy",
            Self::Reset => "the upstream closed the connection without a response",
            Self::Protocol => "the upstream's response is not HTTP",
            Self::ResponseTimeout => "the upstream took too long to respond",
            Self::Deadline => "the exchange took longer than it may",
            Self::Body(fault) => return fault.fmt(f),
        })
    }
}

impl std::error::Error for UpstreamError {}
