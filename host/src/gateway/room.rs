//! How many WebSockets may be open: of the whole gateway, of a product, of a route.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for so many. The count is carried over from generation to generation, whatever becomes of the limit: sockets
/// outlive reloads.
#[derive(Clone, Debug, Default)]
pub struct Room {
    open: Arc<AtomicUsize>,
    limit: Option<usize>,
}

/// One place, until dropped.
#[derive(Debug)]
pub struct Taken(Arc<AtomicUsize>);

impl Room {
    /// Room for `limit`, beside those that are in `before`.
    pub fn new(limit: Option<usize>, before: Option<&Self>) -> Self {
        Self { open: before.map(|before| Arc::clone(&before.open)).unwrap_or_default(), limit }
    }

    /// A place, if one is free.
    pub fn take(&self) -> Option<Taken> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let more = |open: usize| (open < limit).then(|| open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Taken(Arc::clone(&self.open)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_left() {
        let room = Room::new(Some(2), None);
        let (first, _second) = (room.take().expect("free"), room.take().expect("free"));
        assert!(room.take().is_none());
        drop(first);
        assert!(room.take().is_some());
    }

    #[test]
    fn those_who_are_there_count_under_another_limit_too() {
        let before = Room::new(None, None);
        let taken: Vec<_> = (0..3).map(|_| before.take().expect("unlimited")).collect();
        let after = Room::new(Some(3), Some(&before));
        assert!(after.take().is_none());
        drop(taken);
        assert!(after.take().is_some());
    }
}
