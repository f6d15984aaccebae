//! Layer 2: bytes out. [`Upstream::send`] picks one of a product's upstreams, finds or makes a connection to it, sends
//! the request and gives back the response while its body still streams.
//!
//! Invariant: a request goes out a second time only when the upstream cannot have seen it or says that it did not look
//! at it, or when its method is idempotent, its body is at hand and its connection broke; and only within the product's
//! budget of retries.

mod attempt;
pub mod body;
mod breaker;
mod budget;
mod connect;
mod dial;
pub mod error;
pub mod guard;
mod health;
mod multiplex;
mod pool;
mod probe;
mod replay;
mod resolve;
mod send;
mod slots;
pub mod switched;
pub mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

pub use self::breaker::Room;
use self::breaker::{Breaker, Verdict};
use self::budget::Budget;
use self::guard::AddressRule;
use self::health::Standing;
use self::pool::Endpoint;
use self::slots::Slots;
use self::tls::Tls;
use crate::base::names::ProductName;
use crate::config::plan::{self, Balance, UpstreamScheme, UpstreamUrl};
use crate::telemetry::registry::Metrics;
use crate::telemetry::upstream::Retries;

/// What an [`Upstream`] is made from; while this stays the same across a reload, so do its connections.
#[derive(Clone, Debug, PartialEq)]
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
    /// There when one of the upstreams is `https`.
    pub tls: Option<Arc<Tls>>,
    /// How the upstreams are checked; `None` is not at all.
    pub health: Option<plan::Health>,
    /// The share of requests that may be sent a second time.
    pub retries: f64,
    /// When the product is left alone; `None` is never.
    pub breaker: Option<plan::Breaker>,
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
    breaker: Breaker,
    budget: Budget,
    retries: Retries,
    started: AtomicBool,
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
    /// It must go over HTTP/2, as gRPC does.
    pub multiplexed: bool,
    /// It asks for another protocol, so that it needs a connection of HTTP/1.1 to itself.
    pub upgrade: bool,
}

impl Upstream {
    /// No connection is made before one is needed. `workers` is how many worker threads will use it.
    pub fn new(plan: UpstreamPlan, workers: usize, metrics: &Metrics) -> Self {
        let slots = Slots::new(plan.connections);
        if plan.tls.as_ref().is_some_and(|tls| tls.insecure) {
            tracing::warn!(product = %plan.product, "certificates of its upstreams are NOT verified: anyone may answer for them");
        }
        let endpoint = |url: &UpstreamUrl| {
            let healthy = metrics.upstream_healthy.of(plan.product.as_str(), &url.to_string());
            Arc::new(Endpoint::new(url.clone(), Standing::new(healthy), Arc::clone(&slots), workers))
        };
        Self {
            endpoints: plan.urls.iter().map(endpoint).collect(),
            turn: AtomicUsize::new(0),
            breaker: Breaker::new(plan.breaker.clone()),
            budget: Budget::new(plan.retries, workers),
            retries: metrics.retries(plan.product.as_str()),
            started: AtomicBool::new(false),
            slots,
            plan,
        }
    }

    /// Whether requests may go over HTTP/2, where no interim response is seen; `multiplexed` ones must.
    pub fn may_multiplex(&self, multiplexed: bool) -> bool {
        multiplexed || self.plan.urls.iter().any(|url| url.scheme != UpstreamScheme::Http)
    }

    /// How much the breaker lets through now.
    pub fn room(&self) -> Room {
        self.breaker.room()
    }

    /// Whoever asked gave up waiting for a response: counted as a failure of the product.
    pub fn was_too_slow(&self) {
        self.breaker.judge(Verdict::Failed, None);
    }

    /// How each of the upstreams stands: `healthy`, `down` by its checks, or `ejected` for failing requests.
    pub fn health(&self) -> impl Iterator<Item = (&UpstreamUrl, &'static str)> {
        self.endpoints.iter().map(|endpoint| (&endpoint.url, endpoint.standing.as_str()))
    }

    /// What it was made from.
    pub fn plan(&self) -> &UpstreamPlan {
        &self.plan
    }

    /// Whether one of its upstreams may speak HTTP/1.1, over which protocols are switched.
    pub fn may_upgrade(&self) -> bool {
        self.plan.urls.iter().any(UpstreamUrl::may_upgrade)
    }

    /// As [`pick`](Self::pick), of those a request can be sent to.
    fn pick_for(&self, sending: &Sending, avoid: Option<usize>) -> usize {
        let picked = self.pick(avoid);
        let able = |at: &usize| !sending.upgrade || self.endpoints[*at].url.may_upgrade();
        let count = self.endpoints.len();
        (picked..count).chain(0..picked).find(able).unwrap_or(picked)
    }

    /// One of the upstreams that are well, not `avoid` when there is another. Where none is well, all are.
    fn pick(&self, avoid: Option<usize>) -> usize {
        let count = self.endpoints.len();
        if count == 1 {
            return 0;
        }
        let well = |at: &usize| Some(*at) != avoid && self.endpoints[*at].standing.is_available();
        let from = |first: usize| (first..count).chain(0..first);
        let first = match self.plan.balance {
            Balance::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) % count,
            Balance::P2c => fastrand::usize(..count),
        };
        let picked = from(first).find(well).or_else(|| from(first).find(|at| Some(*at) != avoid)).unwrap_or(first);
        match self.plan.balance {
            Balance::RoundRobin => picked,
            Balance::P2c => {
                let other = (picked + fastrand::usize(1..count)) % count;
                let less = self.endpoints[other].busy() < self.endpoints[picked].busy();
                if less && well(&other) { other } else { picked }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(count: u16, balance: Balance) -> Upstream {
        let url = |port| UpstreamUrl { scheme: UpstreamScheme::Http, host: "127.0.0.1".into(), port };
        let plan = UpstreamPlan {
            product: ProductName::new("p").expect("a name"),
            urls: (1..=count).map(url).collect(),
            balance,
            connections: None,
            rule: None,
            tls: None,
            health: None,
            retries: 0.2,
            breaker: None,
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
