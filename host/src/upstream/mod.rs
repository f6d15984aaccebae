//! Layer 2: bytes out. [`Upstream::send`] picks one of a product's upstreams, finds or makes a connection to it, sends
//! the request and gives back the response while its body still streams.
//!
//! Invariant: a request goes out a second time only when the upstream cannot have seen it, or when its method is
//! idempotent, its body is at hand and the connection it was lost on had waited idle.

pub mod body;
mod connect;
pub mod error;
pub mod guard;
mod pool;
mod send;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use prometheus::IntCounter;
use tokio::time::Instant;

use self::guard::AddressRule;
use self::pool::{Endpoint, Slots};
use crate::base::names::ProductName;
use crate::config::plan::{Balance, UpstreamUrl};
use crate::telemetry::registry::Metrics;

/// What an [`Upstream`] is made from; while this stays the same across a reload, so do its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPlan {
    /// The product it serves.
    pub product: ProductName,
    /// At least one.
    pub urls: Vec<UpstreamUrl>,
    /// Which is picked.
    pub balance: Balance,
    /// Sockets to all of them together; `None` is unlimited.
    pub connections: Option<usize>,
    /// What names may resolve to; `None` is anything.
    pub rule: Option<AddressRule>,
    /// The most a connection buffers in each direction.
    pub buffer_bytes: usize,
}

/// The upstreams of one product.
#[derive(Debug)]
pub struct Upstream {
    plan: UpstreamPlan,
    endpoints: Box<[Arc<Endpoint>]>,
    slots: Arc<Slots>,
    turn: AtomicUsize,
    stale_retries: IntCounter,
    connect_retries: IntCounter,
}

/// How one request is sent.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// The Host to send; `None` is the upstream's own.
    pub host: Option<HeaderValue>,
    /// To make a connection, or to wait for one when all are busy; `None` is unlimited.
    pub connect: Option<Duration>,
    /// From the last byte of the request to the head of the response; `None` is unlimited.
    pub response: Option<Duration>,
    /// When the exchange must be over.
    pub deadline: Option<Instant>,
}

impl Upstream {
    /// No connection is made before one is needed. `workers` is how many worker threads will use it.
    pub fn new(plan: UpstreamPlan, workers: usize, metrics: &Metrics) -> Self {
        let slots = Slots::new(plan.connections);
        let endpoint = |url: &UpstreamUrl| {
            let authority = HeaderValue::try_from(url.authority()).expect("a checked host is a field value");
            Arc::new(Endpoint::new(url.clone(), authority, Arc::clone(&slots), workers))
        };
        let retries = |reason| metrics.upstream_retries.with_label_values(&[plan.product.as_str(), reason]);
        Self {
            endpoints: plan.urls.iter().map(endpoint).collect(),
            turn: AtomicUsize::new(0),
            stale_retries: retries("stale"),
            connect_retries: retries("connect"),
            slots,
            plan,
        }
    }

    /// What it was made from.
    pub fn plan(&self) -> &UpstreamPlan {
        &self.plan
    }

    /// One of the upstreams, not `avoid` when there is another.
    fn pick(&self, avoid: Option<usize>) -> usize {
        let count = self.endpoints.len();
        if count == 1 {
            return 0;
        }
        let next = |at: usize| if Some(at) == avoid { (at + 1) % count } else { at };
        match self.plan.balance {
            Balance::RoundRobin => next(self.turn.fetch_add(1, Ordering::Relaxed) % count),
            Balance::P2c => {
                let first = fastrand::usize(..count);
                let second = (first + fastrand::usize(1..count)) % count;
                let (first, second) = (next(first), next(second));
                if self.endpoints[second].busy() < self.endpoints[first].busy() { second } else { first }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::UpstreamScheme;

    fn upstream(count: u16, balance: Balance) -> Upstream {
        let url = |port| UpstreamUrl { scheme: UpstreamScheme::Http, host: "127.0.0.1".into(), port };
        let plan = UpstreamPlan {
            product: ProductName::new("p").expect("a name"),
            urls: (1..=count).map(url).collect(),
            balance,
            connections: None,
            rule: None,
            buffer_bytes: 65_536,
        };
        Upstream::new(plan, 1, &Metrics::new())
    }

    #[test]
    fn round_robin_takes_turns() {
        let upstream = upstream(3, Balance::RoundRobin);
        let picked: Vec<_> = (0..6).map(|_| upstream.pick(None)).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_that_failed_is_avoided_when_there_is_another() {
        for balance in [Balance::RoundRobin, Balance::P2c] {
            let two = upstream(2, balance);
            assert!((0..50).all(|_| two.pick(Some(1)) == 0));
            assert_eq!(upstream(1, balance).pick(Some(0)), 0);
        }
    }

    #[test]
    fn p2c_reaches_every_upstream() {
        let upstream = upstream(3, Balance::P2c);
        let mut seen = [false; 3];
        (0..500).for_each(|_| seen[upstream.pick(None)] = true);
        assert_eq!(seen, [true; 3]);
    }
}
