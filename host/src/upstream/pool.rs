//! Connections that wait for their next request. Each worker has its own, found by its index, so a request never meets
//! another worker's lock; only the count of sockets is shared.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::HeaderValue;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::Outgoing;
use crate::base::worker;
use crate::config::plan::UpstreamUrl;

/// Connections a worker keeps per upstream.
const IDLE_MAX: usize = 256;
/// How long a connection waits before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections looked at before a new one is made.
const LOOKS_MAX: usize = 4;

/// One upstream and the connections to it.
pub(super) struct Endpoint {
    pub(super) url: UpstreamUrl,
    pub(super) authority: HeaderValue,
    slots: Arc<Slots>,
    busy: AtomicUsize,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Default)]
struct Shard {
    idle: VecDeque<Idle>,
    reaped: bool,
}

struct Idle {
    sender: SendRequest<Outgoing>,
    slot: Slot,
    since: Instant,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(super) fn new(url: UpstreamUrl, authority: HeaderValue, slots: Arc<Slots>, workers: usize) -> Self {
        // Index 0 is for every thread that is no worker.
        let shards = (0..=workers).map(|_| Mutex::default()).collect();
        Self { url, authority, slots, busy: AtomicUsize::new(0), shards }
    }

    /// Requests under way.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that waited least, if one is well.
    pub(super) fn take_idle(self: &Arc<Self>) -> Option<Checkout> {
        let index = worker::index();
        let mut shard = self.shard(index);
        for _ in 0..LOOKS_MAX {
            let idle = shard.idle.pop_back()?;
            // Not ready is one whose last response is still being tidied away: it closes when dropped.
            if idle.sender.is_ready() && !idle.sender.is_closed() {
                drop(shard);
                return Some(Checkout::new(Arc::clone(self), index, idle.sender, idle.slot));
            }
        }
        None
    }

    /// A connection just made by this worker.
    pub(super) fn adopt(self: &Arc<Self>, sender: SendRequest<Outgoing>, slot: Slot) -> Checkout {
        Checkout::new(Arc::clone(self), worker::index(), sender, slot)
    }

    /// Closes a connection that waits at any worker; true when there was one.
    pub(super) fn evict(&self) -> bool {
        (0..self.shards.len()).any(|index| {
            let evicted = self.shard(index).idle.pop_front();
            evicted.is_some()
        })
    }

    fn put_idle(self: &Arc<Self>, index: usize, idle: Idle) {
        let mut shard = self.shard(index);
        if shard.idle.len() >= IDLE_MAX {
            shard.idle.pop_front();
        }
        shard.idle.push_back(idle);
        if !shard.reaped {
            shard.reaped = true;
            drop(shard);
            tokio::spawn(reap(Arc::downgrade(self), index));
        }
        self.slots.changed();
    }

    /// Closes what waited too long; `None` once nothing waits, else when the next will have.
    fn reap(&self, index: usize, now: Instant) -> Option<Instant> {
        let mut shard = self.shard(index);
        while shard.idle.front().is_some_and(|idle| idle.sender.is_closed() || idle.since + IDLE_TIMEOUT <= now) {
            shard.idle.pop_front();
        }
        let next = shard.idle.front().map(|idle| idle.since + IDLE_TIMEOUT);
        shard.reaped = next.is_some();
        next
    }
}

async fn reap(endpoint: Weak<Endpoint>, index: usize) {
    while let Some(next) = endpoint.upgrade().and_then(|endpoint| endpoint.reap(index, Instant::now())) {
        tokio::time::sleep_until(next).await;
    }
}

/// A connection in use.
pub(super) struct Checkout {
    pub(super) sender: SendRequest<Outgoing>,
    slot: Slot,
    index: usize,
    load: Load,
}

/// Counts one request under way.
struct Load(Arc<Endpoint>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Checkout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout").field("endpoint", &self.load.0).finish_non_exhaustive()
    }
}

impl Checkout {
    fn new(endpoint: Arc<Endpoint>, index: usize, sender: SendRequest<Outgoing>, slot: Slot) -> Self {
        endpoint.busy.fetch_add(1, Ordering::Relaxed);
        Self { sender, slot, index, load: Load(endpoint) }
    }

    /// Where it leads.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.load.0
    }

    /// Lets the connection wait for its next request.
    pub(super) fn give_back(self) {
        let Self { sender, slot, index, load } = self;
        if !sender.is_closed() {
            load.0.put_idle(index, Idle { sender, slot, since: Instant::now() });
        }
    }
}

/// How many sockets a product may have open.
#[derive(Debug)]
pub(super) struct Slots {
    max: Option<usize>,
    used: AtomicUsize,
    changed: Notify,
}

/// One socket's place.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Slots>>);

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = &self.0 {
            slots.used.fetch_sub(1, Ordering::AcqRel);
            slots.changed.notify_one();
        }
    }
}

impl Slots {
    pub(super) fn new(max: Option<usize>) -> Arc<Self> {
        Arc::new(Self { max, used: AtomicUsize::new(0), changed: Notify::new() })
    }

    /// A place, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let Some(max) = self.max else { return Some(Slot(None)) };
        let more = |used: usize| (used < max).then_some(used + 1);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot(Some(Arc::clone(self))))
    }

    /// Resolves when a place or a connection may have become free since it was made.
    pub(super) fn wait(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    fn changed(&self) {
        if self.max.is_some() {
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_has_no_more_sockets_than_it_may() {
        let slots = Slots::new(Some(2));
        let first = slots.take().expect("free");
        let _second = slots.take().expect("free");
        assert!(slots.take().is_none());
        drop(first);
        assert!(slots.take().is_some());
    }
}
