//! What follows the head of a response that switches protocols.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;

use crate::gateway::Route;
use crate::gateway::room::Taken;
use crate::upstream::switched::Switched;

/// Two connections that speak the same from now on, and nothing that HTTP knows of. Whoever drops it closes both.
#[derive(Debug)]
pub struct Tunnel {
    /// The client's side: there once the head is out.
    pub client: OnUpgrade,
    /// The upstream's side.
    pub upstream: Switched,
    /// The route it goes by, as it was at the handshake.
    pub route: Arc<Route>,
    /// The most that is held in each direction.
    pub buffer: usize,
    /// How long the two sides get to end it in order.
    pub patience: Duration,
    /// Its places: the gateway's, the product's and the route's.
    pub taken: [Taken; 3],
}
