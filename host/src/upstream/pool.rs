//! The connections to one upstream. Each worker has its own, found by its index, so a request never meets another
//! worker's lock; only the count of sockets is shared.
//!
//! Of HTTP/1.1 those are kept that wait for their next request; of HTTP/2 all, since one serves many requests.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::body::Outgoing;
use super::health::Standing;
use super::multiplex::{Shared, Stream};
use super::resolve::Names;
use super::slots::{Slot, Slots};
use crate::base::worker;
use crate::config::plan::{UpstreamScheme, UpstreamUrl};

/// HTTP/1.1 connections a worker keeps per upstream.
const IDLE_MAX: usize = 256;
/// HTTP/2 connections a worker has per upstream.
const SHARED_MAX: usize = 16;
/// How long a connection waits before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections looked at before a new one is made.
const LOOKS_MAX: usize = 4;

/// Which version of HTTP a request may go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1.
    Plain,
    /// HTTP/2.
    Multiplexed,
    /// What the upstream chooses in its TLS handshake.
    Negotiated,
}

/// One upstream and the connections to it.
pub(super) struct Endpoint {
    pub(super) url: UpstreamUrl,
    /// For a Host field.
    pub(super) host: HeaderValue,
    /// For `:authority`.
    pub(super) authority: Authority,
    pub(super) names: Names,
    pub(super) standing: Standing,
    slots: Arc<Slots>,
    busy: AtomicUsize,
    /// Counts up when an address of its name is gone.
    moved: AtomicU32,
    /// Over TLS it chose HTTP/1.1 the last time.
    chose_plain: AtomicBool,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Default)]
struct Shard {
    idle: VecDeque<Idle>,
    shared: Vec<Arc<Shared>>,
    /// There while one is being made that others wait for.
    connecting: Option<(Arc<Notify>, Queued)>,
    reaped: bool,
}

struct Idle {
    plain: Plain,
    since: Instant,
}

/// An HTTP/1.1 connection, which serves one request at a time.
pub(super) struct Plain {
    pub(super) sender: SendRequest<Outgoing>,
    peer: SocketAddr,
    moved: u32,
    slot: Slot,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Who makes the shared connection that is wanted.
pub(super) enum Turn {
    /// Whoever asked.
    Mine(Connecting),
    /// Another request of this worker: resolves when it is done, and whether it is queued meanwhile.
    Wait(OwnedNotified, Queued),
}

/// Whether a request waits for leave to make a connection, rather than for the upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Queued(Arc<AtomicBool>);

impl Queued {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, queued: bool) {
        self.0.store(queued, Ordering::Relaxed);
    }
}

/// Held while a shared connection is made; whoever waits for it looks again once this is dropped.
pub(super) struct Connecting {
    endpoint: Arc<Endpoint>,
    index: usize,
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some((waiting, _)) = self.endpoint.shard(self.index).connecting.take() {
            waiting.notify_waiters();
        }
    }
}

impl Endpoint {
    pub(super) fn new(url: UpstreamUrl, standing: Standing, slots: Arc<Slots>, workers: usize) -> Self {
        let authority = url.authority();
        Self {
            host: HeaderValue::try_from(&authority).expect("a checked host is a field value"),
            authority: Authority::try_from(authority).expect("a checked host and port are an authority"),
            names: Names::new(&url),
            url,
            standing,
            slots,
            busy: AtomicUsize::new(0),
            moved: AtomicU32::new(0),
            chose_plain: AtomicBool::new(false),
            // Index 0 is for every thread that is no worker.
            shards: (0..=workers).map(|_| Mutex::default()).collect(),
        }
    }

    /// Requests under way.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// What a request goes over; `multiplexed` says that it must be HTTP/2, `upgrade` that it must be HTTP/1.1.
    pub(super) fn version(&self, multiplexed: bool, upgrade: bool) -> Version {
        match self.url.scheme {
            UpstreamScheme::H2c => Version::Multiplexed,
            _ if upgrade => Version::Plain,
            _ if multiplexed => Version::Multiplexed,
            UpstreamScheme::Http => Version::Plain,
            UpstreamScheme::Https => Version::Negotiated,
        }
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of this worker that can take a request now.
    pub(super) fn take(self: &Arc<Self>, version: Version) -> Option<Checkout> {
        match version {
            Version::Plain => self.take_idle(),
            Version::Multiplexed => self.take_stream(worker::index()),
            Version::Negotiated => self.take_stream(worker::index()).or_else(|| self.take_idle()),
        }
    }

    /// The HTTP/1.1 connection that waited least, if one is well.
    fn take_idle(self: &Arc<Self>) -> Option<Checkout> {
        let index = worker::index();
        let mut shard = self.shard(index);
        for _ in 0..LOOKS_MAX {
            let Idle { plain, .. } = shard.idle.pop_back()?;
            // Not ready is one whose last response is still being tidied away: it closes when dropped.
            if plain.sender.is_ready() && !plain.sender.is_closed() {
                drop(shard);
                return Some(Checkout { load: Load::new(self), index, wire: Wire::Plain(plain) });
            }
        }
        None
    }

    /// A stream on the least busy HTTP/2 connection of a worker.
    fn take_stream(self: &Arc<Self>, index: usize) -> Option<Checkout> {
        let mut shard = self.shard(index);
        shard.shared.retain(|shared| !shared.is_over());
        let mut candidates: Vec<_> = shard.shared.iter().map(|shared| (shared.streams(), Arc::clone(shared))).collect();
        drop(shard);
        candidates.sort_by_key(|(streams, _)| *streams);
        let stream = candidates.iter().find_map(|(_, shared)| shared.open())?;
        Some(Checkout { load: Load::new(self), index, wire: Wire::Stream(stream) })
    }

    /// As [`take`](Self::take), of any worker: for when no more connections may be made. Only streams can be lent.
    pub(super) fn borrow(self: &Arc<Self>, version: Version) -> Option<Checkout> {
        if version == Version::Plain {
            return None;
        }
        (0..self.shards.len()).find_map(|index| self.take_stream(index))
    }

    /// Whether this worker has as many HTTP/2 connections as it may.
    pub(super) fn is_full(&self) -> bool {
        self.shard(worker::index()).shared.len() >= SHARED_MAX
    }

    /// Whether a new connection will probably serve one request at a time.
    pub(super) fn is_plain(&self, version: Version) -> bool {
        match version {
            Version::Plain => true,
            Version::Multiplexed => false,
            Version::Negotiated => self.chose_plain.load(Ordering::Relaxed),
        }
    }

    /// Whose turn it is to make a connection that many can share.
    pub(super) fn turn(self: &Arc<Self>, queued: &Queued) -> Turn {
        let index = worker::index();
        let mut shard = self.shard(index);
        if let Some((waiting, theirs)) = &shard.connecting {
            return Turn::Wait(Arc::clone(waiting).notified_owned(), theirs.clone());
        }
        shard.connecting = Some((Arc::default(), queued.clone()));
        Turn::Mine(Connecting { endpoint: Arc::clone(self), index })
    }

    /// A new connection speaks HTTP/1.1; where it had the choice, the next one will too.
    pub(super) fn chose_plain(&self, version: Version) {
        if version == Version::Negotiated {
            self.chose_plain.store(true, Ordering::Relaxed);
        }
    }

    /// An HTTP/1.1 connection just made by this worker. Its address may have gone while it was made, so that is looked at
    /// before it is kept.
    pub(super) fn adopt(self: &Arc<Self>, sender: SendRequest<Outgoing>, peer: SocketAddr, slot: Slot) -> Checkout {
        let plain = Plain { sender, peer, moved: self.moved.load(Ordering::Relaxed).wrapping_sub(1), slot };
        Checkout { load: Load::new(self), index: worker::index(), wire: Wire::Plain(plain) }
    }

    /// An HTTP/2 connection just made by this worker, and a stream on it; kept if its name still has its address.
    pub(super) fn share(self: &Arc<Self>, shared: Arc<Shared>) -> Option<Checkout> {
        self.chose_plain.store(false, Ordering::Relaxed);
        let index = worker::index();
        let stream = shared.open();
        let mut shard = self.shard(index);
        if self.names.has(shared.peer) {
            shard.shared.push(shared);
            self.reap_later(shard, index);
        }
        Some(Checkout { load: Load::new(self), index, wire: Wire::Stream(stream?) })
    }

    /// A stream on a connection that nobody else will find.
    pub(super) fn keep_apart(self: &Arc<Self>, shared: &Arc<Shared>) -> Option<Checkout> {
        let stream = shared.open()?;
        Some(Checkout { load: Load::new(self), index: worker::index(), wire: Wire::Stream(stream) })
    }

    /// Closes a connection that waits at any worker; true when there was one.
    pub(super) fn evict(&self) -> bool {
        (0..self.shards.len()).any(|index| {
            let mut shard = self.shard(index);
            if shard.idle.pop_front().is_some() {
                return true;
            }
            let quiet = shard.shared.iter().position(|shared| shared.streams() == 0);
            quiet.map(|at| shard.shared.swap_remove(at)).is_some()
        })
    }

    /// Lets go of connections to addresses that its name has no more; those in use end with their request.
    pub(super) fn forget(&self, gone: &[SocketAddr]) {
        self.moved.fetch_add(1, Ordering::Relaxed);
        for index in 0..self.shards.len() {
            let mut shard = self.shard(index);
            shard.idle.retain(|idle| !gone.contains(&idle.plain.peer));
            shard.shared.retain(|shared| !gone.contains(&shared.peer));
        }
    }

    fn put_idle(self: &Arc<Self>, index: usize, mut plain: Plain) {
        let moved = self.moved.load(Ordering::Relaxed);
        if plain.moved != moved && !self.names.has(plain.peer) {
            return;
        }
        plain.moved = moved;
        let mut shard = self.shard(index);
        if shard.idle.len() >= IDLE_MAX {
            shard.idle.pop_front();
        }
        shard.idle.push_back(Idle { plain, since: Instant::now() });
        self.reap_later(shard, index);
        self.slots.connection_is_idle();
    }

    fn reap_later(self: &Arc<Self>, mut shard: MutexGuard<'_, Shard>, index: usize) {
        if !shard.reaped {
            shard.reaped = true;
            drop(shard);
            tokio::spawn(reap(Arc::downgrade(self), index));
        }
    }

    /// Closes what waited too long; `None` once nothing is left, else when to look again.
    fn reap(&self, index: usize, now: Instant) -> Option<Instant> {
        let mut shard = self.shard(index);
        while shard.idle.front().is_some_and(|idle| idle.plain.sender.is_closed() || idle.since + IDLE_TIMEOUT <= now) {
            shard.idle.pop_front();
        }
        let over = |shared: &Shared| shared.idle_since().is_some_and(|since| since + IDLE_TIMEOUT <= now);
        shard.shared.retain(|shared| !shared.is_over() && !over(shared));
        let shared = shard.shared.iter().map(|shared| shared.idle_since().unwrap_or(now) + IDLE_TIMEOUT);
        let next = shared.chain(shard.idle.front().map(|idle| idle.since + IDLE_TIMEOUT)).min();
        shard.reaped = next.is_some();
        next
    }
}

async fn reap(endpoint: Weak<Endpoint>, index: usize) {
    while let Some(next) = endpoint.upgrade().and_then(|endpoint| endpoint.reap(index, Instant::now())) {
        tokio::time::sleep_until(next).await;
    }
}

/// A connection in use by a request.
pub(super) struct Checkout {
    pub(super) wire: Wire,
    index: usize,
    load: Load,
}

/// What the request goes over.
pub(super) enum Wire {
    /// A connection of its own.
    Plain(Plain),
    /// A stream of a shared one.
    Stream(Stream),
}

/// Counts one request under way.
struct Load(Arc<Endpoint>);

impl Load {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's place among the product's sockets, and its share of the upstream's load.
pub(super) struct Held {
    _slot: Option<Slot>,
    _load: Load,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl fmt::Debug for Checkout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").field("endpoint", &self.load.0).finish_non_exhaustive()
    }
}

impl Checkout {
    /// Where it leads.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.load.0
    }

    /// The connection speaks something else from now on: what is left of it is its place and its load.
    pub(super) fn hold(self) -> Held {
        let slot = match self.wire {
            Wire::Plain(plain) => Some(plain.slot),
            Wire::Stream(_) => None,
        };
        Held { _slot: slot, _load: self.load }
    }

    /// Its response is at its end. A connection that is still `sending` the request is of no use to the next one; on a
    /// shared one the stream is over either way.
    pub(super) fn give_back(self, sending: bool) {
        let Self { wire, index, load } = self;
        if let Wire::Plain(plain) = wire
            && !sending
            && !plain.sender.is_closed()
        {
            load.0.put_idle(index, plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;

    use super::*;
    use crate::telemetry::registry::Metrics;

    /// Whether a connection to `peer` that was just made, and used, is kept by an upstream at 127.0.0.1:80.
    async fn is_kept(peer: &str, version: Version) -> bool {
        let url = UpstreamUrl { scheme: UpstreamScheme::Http, host: "127.0.0.1".into(), port: 80 };
        let standing = Standing::new(Metrics::new().upstream_healthy.of("p", "http://127.0.0.1"));
        let slots = Slots::new(None);
        let endpoint = Arc::new(Endpoint::new(url, standing, Arc::clone(&slots), 1));
        let (ours, theirs) = tokio::io::duplex(65_536);
        let (peer, slot) = (peer.parse().unwrap(), slots.take().unwrap());
        let made = if version == Version::Plain {
            let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
            tokio::spawn(connection);
            sender.ready().await.unwrap();
            endpoint.adopt(sender, peer, slot)
        } else {
            let echo = hyper::service::service_fn(async |_| Ok::<_, hyper::Error>(http::Response::new(String::new())));
            let server = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(theirs), echo));
            endpoint.share(Shared::handshake(ours, peer, 65_536, &slots, slot).await.unwrap()).unwrap()
        };
        made.give_back(false);
        endpoint.take(version).is_some()
    }

    #[tokio::test]
    async fn a_connection_whose_address_went_while_it_was_made_is_not_kept() {
        for version in [Version::Plain, Version::Multiplexed] {
            assert!(is_kept("127.0.0.1:80", version).await, "{version:?}");
            assert!(!is_kept("127.0.0.2:80", version).await, "{version:?}");
        }
    }
}
