//! The metrics of one listener, resolved.

use prometheus::IntCounter;

use super::labels::Closed;
use super::registry::Metrics;

/// What is counted of a listener's connections.
#[derive(Debug)]
pub struct ListenerMetrics {
    closed: [IntCounter; Closed::COUNT],
}

impl ListenerMetrics {
    pub(super) fn resolve(metrics: &Metrics, listener: &str) -> Self {
        let closed = |at: usize| metrics.listener_closed.with_label_values(&[listener, Closed::ALL[at].as_str()]);
        Self { closed: std::array::from_fn(closed) }
    }

    /// A connection was closed because of this.
    pub fn closed(&self, reason: Closed) {
        self.closed[reason.index()].inc();
    }
}
