//! Layer 5: where client connections come in. [`Edge`] listens on every worker; [`serve`] speaks HTTP on a connection;
//! [`handle`] turns one request into one response.

pub mod check;
pub mod handle;
pub mod serve;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use self::handle::Handler;
use self::serve::Server;
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::names::ListenerName;
use crate::config::plan::Listener;
use crate::gateway::Current;
use crate::net::listener::{self, Bound};
use crate::net::workers::Workers;
use crate::webhook::ingest::Webhooks;

/// What every connection serves from.
#[derive(Clone, Debug)]
pub struct Served {
    /// Where routes are.
    pub current: Arc<Current>,
    /// Where webhooks go.
    pub webhooks: Arc<Webhooks>,
    /// The time of day.
    pub clock: Clock,
}

/// The listeners that serve.
#[derive(Debug)]
pub struct Edge {
    addresses: BTreeMap<ListenerName, SocketAddr>,
}

impl Edge {
    /// Binds every listener and serves what comes, on all `workers`, until `drain` starts; each open connection holds
    /// one of its guards. Binding is all or nothing. How many connections there may be is taken from the generation
    /// that is current now.
    pub fn start(
        listeners: &BTreeMap<ListenerName, Listener>,
        served: &Served,
        drain: &Drain,
        workers: &Workers,
    ) -> io::Result<Self> {
        let bind = |(name, listener): (&ListenerName, &Listener)| {
            let bound = Bound::bind(listener.address, workers.count());
            let about = |error: io::Error| io::Error::new(error.kind(), format!("listener {name}: {error}"));
            Ok::<_, io::Error>((name.clone(), bound.map_err(about)?))
        };
        let bound = listeners.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let permits = Arc::new(Semaphore::new(served.current.load().limits.connections.min(Semaphore::MAX_PERMITS)));
        let mut addresses = BTreeMap::new();
        for (name, bound) in bound {
            addresses.insert(name.clone(), bound.address());
            let handler = Handler::new(served, name, false);
            let server = Arc::new(Server::new(handler, drain.clone()));
            for (worker, socket) in bound.into_sockets().into_iter().enumerate() {
                let (server, permits, drain) = (Arc::clone(&server), Arc::clone(&permits), drain.clone());
                let serve = move |client| Arc::clone(&server).connection(client);
                workers.spawn_on(worker, listener::accept(socket, permits, drain, serve));
            }
        }
        Ok(Self { addresses })
    }

    /// Where each listener listens; with port 0 the port that was free.
    pub fn addresses(&self) -> &BTreeMap<ListenerName, SocketAddr> {
        &self.addresses
    }
}
