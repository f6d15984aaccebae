//! What is written down of an exchange: its metrics and one line, exactly once, when its last byte is gone or its client
//! is. An [`Access`] that is dropped early writes `cancelled`, because that is what being dropped means: hyper lets go of
//! an exchange when its client leaves.

use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::Peer;
use super::body::BrokenOff;
use super::error::Answer;
use super::grpc;
use super::identity::RequestId;
use crate::gateway::Route;
use crate::telemetry::labels::{Outcome, Protocol, Reason};
use crate::telemetry::product::{NO_PRODUCT, ProductMetrics};

/// The `tracing` target of the lines.
pub const TARGET: &str = "tollgate::access";

/// One exchange, to be written down when dropped.
#[derive(Debug)]
pub struct Access {
    id: RequestId,
    method: Option<Method>,
    peer: Peer,
    path: Option<Arc<str>>,
    route: Option<Arc<Route>>,
    metrics: Arc<ProductMetrics>,
    protocol: Protocol,
    started: Instant,
    status: Option<StatusCode>,
    /// How the call ended, when it is one.
    grpc: Option<grpc::Status>,
    /// How it counts if its response goes out whole.
    planned: Outcome,
    /// How it counts if it is dropped now.
    outcome: Outcome,
}

impl Access {
    /// A request that no route serves yet. It has no method when its head could not be read.
    pub fn new(
        id: RequestId,
        method: Option<Method>,
        peer: Peer,
        unrouted: Arc<ProductMetrics>,
        started: Instant,
    ) -> Self {
        Self {
            id,
            method,
            peer,
            path: None,
            route: None,
            metrics: unrouted,
            protocol: Protocol::Http,
            started,
            status: None,
            grpc: None,
            planned: Outcome::Cancelled,
            outcome: Outcome::Cancelled,
        }
    }

    /// What it speaks, as far as its head says.
    pub fn speaks(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Its path, once it has a normal form.
    pub fn path(&mut self, path: Arc<str>) {
        self.path = Some(path);
    }

    /// The route that serves it.
    pub fn serve(&mut self, route: Arc<Route>, protocol: Protocol) {
        self.metrics = Arc::clone(&route.product.metrics);
        self.metrics.begin(protocol);
        self.protocol = protocol;
        self.route = Some(route);
    }

    /// A router chose another product: `route` is the same with that one.
    pub fn redirect(&mut self, route: &Arc<Route>) {
        self.metrics.leave(self.protocol);
        self.serve(Arc::clone(route), self.protocol);
    }

    /// The product answered. `protocol` is what its response turned out to be.
    pub fn answered(&mut self, status: StatusCode, protocol: Protocol) {
        if protocol != self.protocol && self.route.is_some() {
            self.metrics.reclassify(self.protocol, protocol);
            self.protocol = protocol;
        }
        self.status = Some(status);
        self.planned = match status.as_u16() {
            ..400 => Outcome::Success,
            400..500 => Outcome::ClientError,
            _ => Outcome::UpstreamError,
        };
        if protocol.is_call() && self.planned == Outcome::Success {
            // Until it says how it ended, it ended in the middle.
            self.planned = Outcome::UpstreamError;
        }
    }

    /// The call says how it ended.
    pub fn told(&mut self, status: grpc::Status) {
        self.grpc = Some(status);
        self.planned = status.outcome();
    }

    /// The gateway answers with an error, in a response of this status.
    pub fn failed(&mut self, status: StatusCode, answer: &Answer) {
        self.metrics.error(self.protocol, answer.reason);
        self.status = Some(status);
        self.grpc = self.protocol.is_call().then(|| answer.grpc.into());
        self.planned = answer.outcome();
    }

    /// The response is broken off.
    pub fn broke_off(mut self, reason: Reason, outcome: Outcome) {
        let broken = BrokenOff { reason, outcome };
        self.metrics.error(self.protocol, reason);
        self.grpc = self.protocol.is_call().then(|| broken.grpc().into());
        self.outcome = outcome;
    }

    /// The response is out, to its last byte.
    pub fn finish(mut self) {
        self.outcome = self.planned;
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if self.route.is_none() {
            self.metrics.begin(self.protocol);
        }
        self.metrics.end(self.protocol, self.outcome, took);
        tracing::info!(
            target: TARGET,
            request_id = self.id.as_str(),
            client = %self.peer.client,
            scheme = self.peer.scheme(),
            method = self.method.as_ref().map(Method::as_str),
            path = self.path.as_deref(),
            route = self.route.as_ref().map(|route| route.name.as_str()),
            product = self.route.as_ref().map_or(NO_PRODUCT, |route| route.product.name.as_str()),
            protocol = self.protocol.as_str(),
            outcome = self.outcome.as_str(),
            status = self.status.map(|status| status.as_u16()),
            grpc_status = self.grpc.map(grpc::Status::code),
            ms = took.as_micros() as f64 / 1000.0,
            "request"
        );
    }
}
