//! The metrics of one product, resolved once so that a request only adds to numbers.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::labels::{Direction, Outcome, Protocol, Reason};
use super::registry::Metrics;

/// The product label of a request that no route serves.
pub const NO_PRODUCT: &str = "none";

/// What is counted of one product's requests.
#[derive(Debug)]
pub struct ProductMetrics {
    websocket_bytes: [IntCounter; Direction::COUNT],
    protocols: [ProtocolMetrics; Protocol::COUNT],
}

#[derive(Debug)]
struct ProtocolMetrics {
    requests: [IntCounter; Outcome::COUNT],
    errors: [IntCounter; Reason::COUNT],
    active: IntGauge,
    duration: Histogram,
    stream: Histogram,
}

impl ProductMetrics {
    pub(super) fn resolve(metrics: &Metrics, product: &str) -> Self {
        let protocols = std::array::from_fn(|at| ProtocolMetrics::resolve(metrics, Protocol::ALL[at], product));
        let websocket_bytes = std::array::from_fn(|at| {
            metrics.websocket_bytes.with_label_values(&[product, Direction::ALL[at].as_str()])
        });
        Self { websocket_bytes, protocols }
    }

    /// So many bytes came over a WebSocket.
    pub fn websocket_bytes(&self, direction: Direction, count: u64) {
        self.websocket_bytes[direction.index()].inc_by(count);
    }

    /// An exchange began.
    pub fn begin(&self, protocol: Protocol) {
        self.protocols[protocol.index()].active.inc();
    }

    /// An exchange turned out to speak something else than it [began](Self::begin) as.
    pub fn reclassify(&self, from: Protocol, to: Protocol) {
        self.protocols[from.index()].active.dec();
        self.protocols[to.index()].active.inc();
    }

    /// The exchange ended that [began](Self::begin) as `protocol`.
    pub fn end(&self, protocol: Protocol, outcome: Outcome, took: Duration) {
        let of = &self.protocols[protocol.index()];
        of.active.dec();
        of.requests[outcome.index()].inc();
        of.duration.observe(took.as_secs_f64());
        if matches!(protocol, Protocol::Sse | Protocol::Graphql | Protocol::Websocket) {
            of.stream.observe(took.as_secs_f64());
        }
    }

    /// The gateway answered with an error, or broke a response off.
    pub fn error(&self, protocol: Protocol, reason: Reason) {
        self.protocols[protocol.index()].errors[reason.index()].inc();
    }
}

impl ProtocolMetrics {
    fn resolve(metrics: &Metrics, protocol: Protocol, product: &str) -> Self {
        let protocol = protocol.as_str();
        let requests = std::array::from_fn(|at| {
            metrics.requests.with_label_values(&[protocol, product, Outcome::ALL[at].as_str()])
        });
        let errors =
            std::array::from_fn(|at| metrics.errors.with_label_values(&[protocol, product, Reason::ALL[at].as_str()]));
        Self {
            requests,
            errors,
            active: metrics.active.with_label_values(&[protocol, product]),
            duration: metrics.duration.with_label_values(&[protocol, product]),
            stream: metrics.stream_duration.with_label_values(&[protocol, product]),
        }
    }
}
