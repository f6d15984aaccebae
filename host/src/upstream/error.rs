//! Why an upstream did not answer.

use std::fmt;
use std::time::Duration;

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
    /// TLS was not agreed on: its certificate is not trusted, it does not take ours, or it speaks something else.
    Tls,
    /// The breaker is open: the product failed too often in a row, and nothing is sent to it.
    Paused {
        /// When to come back.
        retry_after: Duration,
    },
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
    /// Whether the upstream is to blame, as breakers and ejections see it. A deadline is not: whoever asks sets it.
    pub(super) fn is_the_upstreams(self) -> bool {
        match self {
            Self::Name
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Tls
            | Self::Reset
            | Self::Protocol
            | Self::ResponseTimeout => true,
            Self::Address | Self::Paused { .. } | Self::Busy | Self::Deadline | Self::Body(_) => false,
        }
    }
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the upstream's name does not resolve",
            Self::Address => "the upstream's name resolves to no address that is allowed",
            Self::Connect => "the upstream does not take connections",
            Self::ConnectTimeout => "the upstream took too long to take a connection",
            Self::Tls => "TLS with the upstream was not agreed on",
            Self::Paused { .. } => "the product failed too often in a row and is left alone for a while",
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
