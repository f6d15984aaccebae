//! A product as the gateway serves it.

use std::sync::Arc;

use super::room::Room;
use crate::base::names::ProductName;
use crate::base::secret::Secret;
use crate::config::plan::{Delivery, HostPolicy, Timeouts};
use crate::telemetry::product::ProductMetrics;
use crate::upstream::Upstream;

/// Where requests of a product go, and how.
#[derive(Debug)]
pub struct Product {
    /// Its name.
    pub name: ProductName,
    /// What serves it.
    pub backend: Backend,
    /// Which Host it sees.
    pub host: HostPolicy,
    /// Resolved against the gateway's.
    pub timeouts: Timeouts,
    /// Signs what webhook routes send to it (Standard Webhooks).
    pub sign: Option<Secret>,
    /// How webhook deliveries are paced.
    pub delivery: Delivery,
    /// For its WebSockets.
    pub websockets: Room,
    /// What is counted.
    pub metrics: Arc<ProductMetrics>,
}

/// What serves a product.
#[derive(Clone, Debug)]
pub enum Backend {
    /// Servers; carried over from generation to generation while unchanged.
    Upstream(Arc<Upstream>),
    /// The gateway itself, with what it received.
    Echo,
}
