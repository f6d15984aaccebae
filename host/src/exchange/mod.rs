//! Layer 4a: what every kind of exchange shares. An [`Exchange`] is one request on its way, as its handler needs it.

pub mod access;
pub mod backend;
pub mod body;
pub mod cors;
pub mod echo;
pub mod error;
pub mod expect;
pub mod headers;
pub mod identity;
pub mod linger;
pub mod respond;
pub mod silence;
pub mod tunnel;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::time::Instant;

use self::identity::RequestId;
use crate::gateway::{Gateway, Route};
use crate::telemetry::labels::Protocol;
use crate::telemetry::trace::TraceContext;

/// One request on its way.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// On every log line, upstream request, response and stored event.
    pub id: RequestId,
    /// The span of this exchange; what goes upstream is its child.
    pub trace: TraceContext,
    /// Whether the trace is the peer's, so that its `tracestate` belongs to it.
    pub joined: bool,
    /// The generation that serves it, to its end.
    pub gateway: Arc<Gateway>,
    /// The route that serves it.
    pub route: Arc<Route>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Who asks.
    pub peer: Peer,
    /// The Host the client asked for, as it wrote it; empty when it named none (HTTP/1.0).
    pub authority: Arc<str>,
    /// The path in normal form.
    pub path: Arc<str>,
    /// When its head was complete.
    pub started: Instant,
    /// When it must be over.
    pub deadline: Option<Instant>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// The client, which is the peer unless a trusted peer says otherwise.
    pub client: IpAddr,
    /// Whether the peer's word on the client, the request id and the trace is taken.
    pub trusted: bool,
    /// Whether the connection is encrypted.
    pub secure: bool,
}

impl Peer {
    /// `https` or `http`, as the client connected.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}
