//! Layer 3: what runs. A [`Gateway`] is one generation of everything the configuration says, immutable once built; a
//! request loads it once and keeps it to its end, so a reload never changes a request half-way.

pub mod build;
pub mod intake;
pub mod product;
pub mod rate;
mod rewrite;
pub mod room;
pub mod routes;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Method;
use ipnet::IpNet;
use prometheus::IntGauge;
use tokio::time::Instant;

use self::intake::Intake;
use self::product::{Backend, Product};
use self::rate::Limiter;
use self::room::Room;
use self::routes::RouteTable;
use crate::base::names::{ProductName, RouteName};
use crate::config::plan::{Limits, Policy, Timeouts};
use crate::telemetry::product::ProductMetrics;

/// The generation that serves new requests.
#[derive(Debug)]
pub struct Current(ArcSwap<Gateway>);

impl Current {
    /// Starts with this one.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self(ArcSwap::new(gateway))
    }

    /// The generation to serve a request with; called once per request.
    pub fn load(&self) -> Arc<Gateway> {
        self.0.load_full()
    }

    /// Serves new requests with `gateway`; those under way keep what they have.
    pub fn publish(&self, gateway: Arc<Gateway>) {
        self.0.store(gateway);
    }
}

/// One generation of everything the configuration says.
#[derive(Debug)]
pub struct Gateway {
    /// Counts up with every reload.
    pub generation: u64,
    /// Which route serves what.
    pub routes: RouteTable<Arc<Route>>,
    /// Of the gateway as a whole.
    pub limits: Limits,
    /// Of the gateway as a whole; routes carry their own.
    pub timeouts: Timeouts,
    /// Peers whose word on the client, the request id and the trace is taken.
    pub trusted: Vec<IpNet>,
    /// Every product.
    pub products: BTreeMap<ProductName, Arc<Product>>,
    /// What is counted of requests that no route serves.
    pub unrouted: Arc<ProductMetrics>,
    /// For WebSockets of all products.
    pub websockets: Room,
    /// Counts this generation as alive.
    pub alive: Alive,
}

impl Gateway {
    /// Starts what goes on beside requests: health checks and look-ups of names. What the generation before started goes
    /// on. Must run on a runtime that outlives the gateway.
    pub fn start(&self) {
        for product in self.products.values() {
            if let Backend::Upstream(upstream) = &product.backend {
                upstream.start();
            }
        }
    }

    /// Whether `peer`'s word is taken.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|range| range.contains(&peer))
    }
}

/// One route, ready to serve.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// Where its requests go.
    pub product: Arc<Product>,
    /// Resolved against the product's.
    pub timeouts: Timeouts,
    /// What it adds of its own.
    pub policy: Policy,
    /// There when it has a rate; carried over from generation to generation while that is unchanged.
    pub limiter: Option<Arc<Limiter>>,
    /// For its WebSockets.
    pub websockets: Room,
    /// What kind of exchange it serves.
    pub target: Target,
}

impl Route {
    /// Takes a request of `client` at `now`, or says how long to wait.
    pub fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        self.limiter.as_ref().map_or(Ok(()), |limiter| limiter.take(client, now))
    }

    /// `path`, which is in normal form, as the product sees it.
    pub fn path_upstream<'a>(&self, path: &'a str) -> Cow<'a, str> {
        self.policy.rewrite.as_ref().map_or(Cow::Borrowed(path), |rewrite| rewrite.apply(path))
    }
}

/// What kind of exchange a route serves.
#[derive(Debug)]
pub enum Target {
    /// Requests are forwarded to the product.
    Proxy(Arc<Product>),
    /// Webhooks are taken in.
    Webhook(Arc<Intake>),
}

/// Counted in a gauge while it exists.
pub struct Alive(IntGauge);

impl Alive {
    fn count(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl fmt::Debug for Alive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alive")
    }
}

/// The methods a webhook route takes that says none: POST, and those its plugin adds.
pub fn webhook_methods(extra: &[Method]) -> Vec<Method> {
    let mut methods = vec![Method::POST];
    for method in extra {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    methods
}
