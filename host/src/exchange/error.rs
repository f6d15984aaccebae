//! Every way an exchange fails, and the one table that says how each is answered.

use std::time::Duration;

use http::{Method, StatusCode};

use crate::telemetry::labels::{Outcome, Reason};
use crate::upstream::body::BodyFault;
use crate::upstream::error::UpstreamError;

/// When to come back where there is no room for another WebSocket: nobody knows when one closes, and all who are turned
/// away should not be back at once.
const FULL_FOR: Duration = Duration::from_secs(5);

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client's.
    Client,
    /// The upstream's.
    Upstream,
    /// A plugin's.
    Plugin,
    /// Ours.
    Gateway,
}

/// A status of gRPC (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum GrpcCode {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Why an exchange has no response of its product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// It breaks HTTP's rules or could be read two ways.
    Malformed,
    /// Its path has no normal form.
    Path,
    /// Its Host is missing, doubled, malformed or contradicted.
    Host,
    /// Its head is larger than the limits.
    HeadTooLarge,
    /// No route serves it.
    NoRoute,
    /// The path has routes, for these methods.
    Method(Vec<Method>),
    /// HTTP allows it, the gateway does not do it.
    Unsupported,
    /// It expects something other than 100-continue.
    Expectation,
    /// Its head came too slowly.
    HeadTimeout,
    /// Its body is larger than the limit.
    TooLarge,
    /// Its body was cut short.
    Incomplete,
    /// Its body came too slowly.
    BodyTimeout,
    /// Too many of them.
    RateLimited {
        /// When to come back.
        retry_after: Duration,
    },
    /// A WebSocket's handshake in a version that is not spoken.
    WebsocketVersion,
    /// As many WebSockets are open as may be.
    WebsocketsFull,
    /// The webhook's signature is missing, malformed or wrong.
    Signature {
        /// What the route says is answered; 401 unless it does.
        status: StatusCode,
    },
    /// The webhook's timestamp is outside the tolerance, or missing where the route wants one.
    Stale {
        /// What the route says is answered; 401 unless it does.
        status: StatusCode,
    },
    /// A copy of the webhook is being forwarded.
    InProgress {
        /// When to come back.
        retry_after: Duration,
    },
    /// A plugin refused it.
    Refused {
        /// 400 to 499, the plugin's choice.
        status: StatusCode,
    },
    /// A plugin trapped, overran a limit, returned what it may not, or is missing.
    PluginFault,
    /// The store is full or failing, or too much is coming in.
    Store {
        /// When to come back.
        retry_after: Duration,
    },
    /// The upstream did not answer.
    Upstream(UpstreamError),
    /// The gateway's own fault.
    Internal,
}

/// How a failure is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// To HTTP.
    pub http: StatusCode,
    /// To gRPC.
    pub grpc: GrpcCode,
    /// The `code` of the answer and the `reason` of the metric.
    pub reason: Reason,
    /// Whose doing it is.
    pub blame: Blame,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl From<UpstreamError> for RequestError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Body(fault) => fault.into(),
            other => Self::Upstream(other),
        }
    }
}

impl From<BodyFault> for RequestError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Cut => Self::Incomplete,
            BodyFault::Slow => Self::BodyTimeout,
            BodyFault::TooLarge => Self::TooLarge,
        }
    }
}

impl RequestError {
    /// How it is answered. Exhaustive, and the only place that knows: a new failure does not compile until someone
    /// decides its answer.
    pub fn answer(&self) -> Answer {
        use Blame::{Client, Gateway, Plugin};
        use GrpcCode as G;
        use Reason as R;
        use StatusCode as S;
        let (http, grpc, reason, blame) = match self {
            Self::Malformed => (S::BAD_REQUEST, G::InvalidArgument, R::BadRequest, Client),
            Self::Path => (S::BAD_REQUEST, G::InvalidArgument, R::BadPath, Client),
            Self::Host => (S::BAD_REQUEST, G::InvalidArgument, R::BadHost, Client),
            Self::HeadTooLarge => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, G::ResourceExhausted, R::HeadTooLarge, Client),
            Self::NoRoute => (S::NOT_FOUND, G::Unimplemented, R::NoRoute, Client),
            Self::Method(_) => (S::METHOD_NOT_ALLOWED, G::Unimplemented, R::Method, Client),
            Self::Unsupported => (S::NOT_IMPLEMENTED, G::Unimplemented, R::Unsupported, Client),
            Self::Expectation => (S::EXPECTATION_FAILED, G::InvalidArgument, R::Expectation, Client),
            Self::HeadTimeout => (S::REQUEST_TIMEOUT, G::DeadlineExceeded, R::HeadTimeout, Client),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, G::ResourceExhausted, R::TooLarge, Client),
            Self::Incomplete => (S::BAD_REQUEST, G::Cancelled, R::Incomplete, Client),
            Self::BodyTimeout => (S::REQUEST_TIMEOUT, G::DeadlineExceeded, R::BodyTimeout, Client),
            Self::RateLimited { .. } => (S::TOO_MANY_REQUESTS, G::ResourceExhausted, R::RateLimited, Client),
            Self::WebsocketVersion => (S::UPGRADE_REQUIRED, G::Unimplemented, R::Unsupported, Client),
            Self::WebsocketsFull => (S::SERVICE_UNAVAILABLE, G::ResourceExhausted, R::WebsocketsFull, Gateway),
            Self::Signature { status } => (*status, G::Unauthenticated, R::Signature, Client),
            Self::Stale { status } => (*status, G::Unauthenticated, R::Stale, Client),
            Self::InProgress { .. } => (S::CONFLICT, G::Aborted, R::InProgress, Client),
            Self::Refused { status } => (*status, G::PermissionDenied, R::Refused, Client),
            Self::PluginFault => (S::SERVICE_UNAVAILABLE, G::Unavailable, R::PluginFault, Plugin),
            Self::Store { .. } => (S::SERVICE_UNAVAILABLE, G::Unavailable, R::Store, Gateway),
            Self::Upstream(error) => upstream(*error),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, G::Internal, R::Internal, Gateway),
        };
        Answer { http, grpc, reason, blame, retry_after: self.retry_after() }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::InProgress { retry_after } | Self::Store { retry_after } => {
                Some(*retry_after)
            }
            Self::Upstream(UpstreamError::Paused { retry_after }) => Some(*retry_after),
            Self::WebsocketsFull => Some(FULL_FOR),
            _ => None,
        }
    }
}

fn upstream(error: UpstreamError) -> (StatusCode, GrpcCode, Reason, Blame) {
    use Blame::Upstream;
    use GrpcCode as G;
    use Reason as R;
    use StatusCode as S;
    match error {
        UpstreamError::Name => (S::BAD_GATEWAY, G::Unavailable, R::UpstreamName, Upstream),
        UpstreamError::Address => (S::BAD_GATEWAY, G::Unavailable, R::UpstreamAddress, Upstream),
        UpstreamError::Connect => (S::BAD_GATEWAY, G::Unavailable, R::UpstreamConnect, Upstream),
        UpstreamError::ConnectTimeout => (S::GATEWAY_TIMEOUT, G::Unavailable, R::UpstreamConnect, Upstream),
        UpstreamError::Tls => (S::BAD_GATEWAY, G::Unavailable, R::UpstreamTls, Upstream),
        UpstreamError::Paused { .. } => (S::SERVICE_UNAVAILABLE, G::Unavailable, R::UpstreamPaused, Upstream),
        UpstreamError::Busy => (S::SERVICE_UNAVAILABLE, G::Unavailable, R::UpstreamBusy, Upstream),
        UpstreamError::Reset => (S::BAD_GATEWAY, G::Unavailable, R::UpstreamReset, Upstream),
        UpstreamError::Protocol => (S::BAD_GATEWAY, G::Internal, R::UpstreamProtocol, Upstream),
        UpstreamError::ResponseTimeout => (S::GATEWAY_TIMEOUT, G::DeadlineExceeded, R::UpstreamTimeout, Upstream),
        UpstreamError::Deadline => (S::GATEWAY_TIMEOUT, G::DeadlineExceeded, R::Deadline, Upstream),
        UpstreamError::Body(fault) => {
            let answer = RequestError::from(fault).answer();
            (answer.http, answer.grpc, answer.reason, answer.blame)
        }
    }
}

impl Answer {
    /// How an exchange that is answered so is counted.
    pub fn outcome(&self) -> Outcome {
        match self.blame {
            Blame::Client => Outcome::Rejected,
            Blame::Upstream if self.http == StatusCode::GATEWAY_TIMEOUT => Outcome::Timeout,
            Blame::Upstream => Outcome::UpstreamError,
            Blame::Plugin | Blame::Gateway => Outcome::GatewayError,
        }
    }

    /// What is said of it to the client: what it can act on, never a detail.
    pub fn message(&self) -> &'static str {
        match self.reason {
            Reason::BadRequest => "the request is malformed or ambiguous",
            Reason::BadPath => "the request's path is malformed",
            Reason::BadHost => "the request needs exactly one valid host",
            Reason::HeadTooLarge => "the request's head is too large",
            Reason::NoRoute => "no route serves this request",
            Reason::Method => "the method is not allowed here",
            Reason::Unsupported => "this is not supported",
            Reason::Expectation => "the expectation cannot be met",
            Reason::HeadTimeout => "the request's head came too slowly",
            Reason::TooLarge => "the request's body is too large",
            Reason::Incomplete => "the request's body was cut short",
            Reason::BodyTimeout => "the request's body came too slowly",
            Reason::RateLimited => "too many requests",
            Reason::WebsocketsFull => "too many WebSockets are open",
            Reason::MessageTooLarge => "the message is too large",
            Reason::Signature => "the signature was not accepted",
            Reason::Stale => "the timestamp was not accepted",
            Reason::InProgress => "a copy of this request is being processed",
            Reason::Refused => "the request was refused",
            Reason::PluginFault | Reason::Store => "the request cannot be processed now",
            Reason::UpstreamName
            | Reason::UpstreamAddress
            | Reason::UpstreamConnect
            | Reason::UpstreamTls
            | Reason::UpstreamPaused
            | Reason::UpstreamBusy
            | Reason::UpstreamReset
            | Reason::UpstreamProtocol => "the service did not answer",
            Reason::UpstreamTimeout | Reason::Deadline | Reason::IdleTimeout => "the service did not answer in time",
            Reason::Internal => "something went wrong",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_answers_are_those_of_the_contract() {
        let later = Duration::from_secs(1);
        let unauthorised = StatusCode::UNAUTHORIZED;
        for (error, status, code, retry) in [
            (RequestError::Signature { status: unauthorised }, 401, "signature", false),
            (RequestError::Stale { status: unauthorised }, 401, "stale", false),
            (RequestError::HeadTimeout, 408, "head_timeout", false),
            (RequestError::TooLarge, 413, "too_large", false),
            (RequestError::Incomplete, 400, "incomplete", false),
            (RequestError::BodyTimeout, 408, "body_timeout", false),
            (RequestError::Method(vec![]), 405, "method", false),
            (RequestError::RateLimited { retry_after: later }, 429, "rate_limited", true),
            (RequestError::PluginFault, 503, "plugin_fault", false),
            (RequestError::Store { retry_after: later }, 503, "store", true),
            (RequestError::InProgress { retry_after: later }, 409, "in_progress", true),
        ] {
            let answer = error.answer();
            assert_eq!(
                (answer.http.as_u16(), answer.reason.as_str(), answer.retry_after.is_some()),
                (status, code, retry)
            );
        }
    }

    #[test]
    fn the_outcome_follows_the_blame() {
        let outcome = |error: RequestError| error.answer().outcome();
        assert_eq!(outcome(RequestError::NoRoute), Outcome::Rejected);
        assert_eq!(outcome(UpstreamError::Reset.into()), Outcome::UpstreamError);
        assert_eq!(outcome(UpstreamError::ResponseTimeout.into()), Outcome::Timeout);
        assert_eq!(outcome(UpstreamError::Body(BodyFault::Slow).into()), Outcome::Rejected);
        assert_eq!(outcome(RequestError::PluginFault), Outcome::GatewayError);
    }
}
