//! How many sockets a product may have open, over all its upstreams and workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// How many sockets a product may have open.
#[derive(Debug)]
pub(super) struct Slots {
    max: Option<usize>,
    used: AtomicUsize,
    waiting: AtomicUsize,
    changed: Notify,
}

/// One socket's place.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Slots>>);

impl Slot {
    /// A place that does not count.
    pub(super) const fn free() -> Self {
        Self(None)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = &self.0 {
            slots.used.fetch_sub(1, Ordering::AcqRel);
            slots.changed.notify_one();
        }
    }
}

/// Counts one who waits for room.
pub(super) struct Waiting<'a>(&'a Slots);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Slots {
    pub(super) fn new(max: Option<usize>) -> Arc<Self> {
        Arc::new(Self { max, used: AtomicUsize::new(0), waiting: AtomicUsize::new(0), changed: Notify::new() })
    }

    /// A place, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let Some(max) = self.max else { return Some(Slot::free()) };
        let more = |used: usize| (used < max).then_some(used + 1);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot(Some(Arc::clone(self))))
    }

    /// Says that somebody may wait, for those who end streams to tell them.
    pub(super) fn waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(self)
    }

    /// Resolves when a place, a connection or a stream may have become free since it was made.
    pub(super) fn changes(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// A connection became idle, which whoever waits may use or close.
    pub(super) fn connection_is_idle(&self) {
        if self.max.is_some() {
            self.changed.notify_one();
        }
    }

    /// A stream ended. Which of those who wait can use its connection is not known here, so all look.
    pub(super) fn stream_ended(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.changed.notify_waiters();
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
