//! Layer 5: where client connections come in. [`Edge`] listens on every worker; [`serve`] speaks HTTP on a connection;
//! [`handle`] turns one request into one response.

pub mod check;
pub mod handle;
pub mod serve;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use self::handle::Handler;
use self::serve::Server;
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::names::ListenerName;
use crate::config::plan::Plan;
use crate::config::problem::Problems;
use crate::gateway::Current;
use crate::net::entrance::Entrance;
use crate::net::listener::{self, Bound};
use crate::net::passed::Passed;
use crate::net::places::Places;
use crate::net::workers::Workers;
use crate::telemetry::registry::Metrics;
use crate::webhook::ingest::Webhooks;

/// Automatic renewal is done by then; where it is not, somebody should look.
const SOON: Duration = Duration::from_secs(7 * 86_400);

/// What every connection serves from.
#[derive(Clone, Debug)]
pub struct Served {
    /// Where routes are.
    pub current: Arc<Current>,
    /// Where webhooks go.
    pub webhooks: Arc<Webhooks>,
    /// The time of day.
    pub clock: Clock,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
}

/// The listeners that serve. Another set takes their place in three steps, of which only the last changes anything:
/// [`entrances`](Edge::entrances), [`bind`](Edge::bind), [`serve`](Edge::serve).
#[derive(Debug)]
pub struct Edge {
    served: Served,
    workers: Vec<Handle>,
    connections: Drain,
    passed: Passed,
    places: Arc<Places>,
    open: Mutex<BTreeMap<ListenerName, Open>>,
}

/// A listener that serves.
#[derive(Debug)]
struct Open {
    /// As it is configured.
    wanted: SocketAddr,
    /// As it is bound.
    address: SocketAddr,
    server: Arc<Server>,
}

/// The ways in that a plan describes.
pub type Entrances = BTreeMap<ListenerName, Entrance>;
/// Sockets of listeners that are new or have another address.
pub type Sockets = BTreeMap<ListenerName, Bound>;

/// A listener that cannot listen.
#[derive(Debug)]
pub struct Unbound {
    /// Which.
    pub listener: ListenerName,
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {}: cannot listen on {}: {}", self.listener, self.address, self.error)
    }
}

impl Edge {
    /// No listener yet. Each connection holds a guard of `connections`; sockets in `passed` are used before others are
    /// opened.
    pub fn new(served: Served, connections: Drain, workers: &Workers, passed: Passed) -> Self {
        let places = Places::new(served.current.load().limits.connections);
        let workers = workers.handles();
        Self { served, workers, connections, passed, places, open: Mutex::default() }
    }

    /// Reads the certificates and keys that `plan` names.
    pub fn entrances(&self, plan: &Plan) -> Result<Entrances, Problems> {
        entrances(plan, |name| self.open().get(name).map(|open| open.server.entrance()))
    }

    /// Binds the listeners of `plan` that are not bound: all or nothing.
    pub fn bind(&self, plan: &Plan) -> Result<Sockets, Vec<Unbound>> {
        let (mut sockets, mut unbound) = (Sockets::new(), Vec::new());
        let open = self.open();
        for (name, listener) in &plan.listeners {
            let address = listener.address;
            if open.get(name).is_some_and(|open| open.wanted == address) {
                continue;
            }
            let passed = self.passed.find(name.as_str(), address, self.workers.len());
            match passed.unwrap_or_else(|| Bound::bind(address, self.workers.len())) {
                Ok(bound) => drop(sockets.insert(name.clone(), bound)),
                Err(error) => unbound.push(Unbound { listener: name.clone(), address, error }),
            }
        }
        if unbound.is_empty() { Ok(sockets) } else { Err(unbound) }
    }

    /// Serves the listeners of `plan` from now on. Those that stay keep their sockets and connections, and let new ones in
    /// by their new entrance; those that are gone or have moved end as in a drain.
    pub fn serve(&self, plan: &Plan, entrances: Entrances, mut sockets: Sockets) {
        self.places.set(plan.limits.connections);
        self.show_expiry(&entrances);
        let mut open = self.open();
        for (name, entrance) in entrances {
            match (sockets.remove(&name), open.get(&name)) {
                (Some(bound), _) => {
                    let wanted = plan.listeners[&name].address;
                    let opened = self.listen(name.clone(), wanted, bound, entrance);
                    if let Some(moved) = open.insert(name, opened) {
                        moved.server.end();
                    }
                }
                (None, Some(stays)) => stays.server.enter_by(entrance),
                (None, None) => {}
            }
        }
        open.retain(|name, listener| {
            let stays = plan.listeners.contains_key(name);
            if !stays {
                listener.server.end();
            }
            stays
        });
    }

    fn listen(&self, name: ListenerName, wanted: SocketAddr, bound: Bound, entrance: Entrance) -> Open {
        let (address, metrics) = (bound.address(), self.served.metrics.listener(name.as_str()));
        let handler = Handler::new(&self.served, name);
        let server = Arc::new(Server::new(handler, self.connections.part(), entrance, metrics));
        for (worker, socket) in self.workers.iter().zip(bound.into_sockets()) {
            let (serving, places) = (Arc::clone(&server), Arc::clone(&self.places));
            // Whoever waits for the connections waits for those that are still to be accepted too.
            let accepting = server.drain().guard();
            let serve = move |client| Arc::clone(&serving).connection(client, serving.admit());
            worker.spawn(async move { listener::accept(socket, places, accepting.drain().clone(), serve).await });
        }
        Open { wanted, address, server }
    }

    /// A certificate that runs out is the operator's to see before its clients do.
    fn show_expiry(&self, entrances: &Entrances) {
        self.served.metrics.certificate_expiry.reset();
        let now = self.served.clock.now();
        for (name, entrance) in entrances {
            for certificate in entrance.tls().into_iter().flat_map(|tls| tls.certificates()) {
                let (file, Some(expires)) = (certificate.file.display().to_string(), certificate.expires) else {
                    continue;
                };
                let gauge = &self.served.metrics.certificate_expiry;
                gauge.with_label_values(&[name.as_str(), file.as_str()]).set(expires.seconds());
                if expires <= now {
                    tracing::error!(listener = %name, %file, %expires, "a certificate has run out; clients will refuse it");
                } else if expires <= now.after(SOON) {
                    tracing::warn!(listener = %name, %file, %expires, "a certificate runs out soon");
                }
            }
        }
    }

    /// Where each listener listens; with port 0 the port that was free.
    pub fn addresses(&self) -> BTreeMap<ListenerName, SocketAddr> {
        self.open().iter().map(|(name, open)| (name.clone(), open.address)).collect()
    }

    /// Closes every listener and asks every connection to end.
    pub fn drain(&self) {
        self.connections.start();
        for open in self.open().values() {
            open.server.end();
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<ListenerName, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the certificates and keys that `plan` names; `before` is what they replace.
pub fn entrances(plan: &Plan, before: impl Fn(&ListenerName) -> Option<Arc<Entrance>>) -> Result<Entrances, Problems> {
    let (mut entrances, mut problems) = (Entrances::new(), Vec::new());
    for (name, listener) in &plan.listeners {
        match Entrance::load(listener, before(name).as_deref()) {
            Ok(entrance) => drop(entrances.insert(name.clone(), entrance)),
            Err(unfit) => problems.extend(unfit.into_iter().map(|(at, why)| plan.source.problem(at, why))),
        }
    }
    Problems::new(problems).or(entrances)
}
