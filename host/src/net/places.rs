//! How many connections there may be at once; the number may change while they are open.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places that connections take.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    limit: Mutex<usize>,
    /// Places in use beyond the limit: they are gone when they are left.
    surplus: AtomicUsize,
}

/// A connection's place, until dropped.
#[derive(Debug)]
pub struct Place {
    permit: Option<OwnedSemaphorePermit>,
    places: Arc<Places>,
}

impl Places {
    /// So many of them.
    pub fn new(limit: usize) -> Arc<Self> {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Arc::new(Self { free: Arc::new(Semaphore::new(limit)), limit: Mutex::new(limit), surplus: AtomicUsize::new(0) })
    }

    /// From now on there are so many. Nobody loses a place: where more are taken, as many as are too many do not come
    /// back.
    pub fn set(&self, limit: usize) {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let mut before = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        if limit < *before {
            let less = *before - limit;
            self.surplus.fetch_add(less - self.free.forget_permits(less), Ordering::Relaxed);
        } else {
            let more = limit - *before;
            let kept = (0..more).take_while(|_| self.took_surplus()).count();
            self.free.add_permits(more - kept);
        }
        *before = limit;
    }

    /// Waits for a place.
    pub async fn take(self: &Arc<Self>) -> Place {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Place { permit: Some(permit.expect("the semaphore is never closed")), places: Arc::clone(self) }
    }

    /// A place, if one is free.
    pub fn take_now(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Place { permit: Some(permit), places: Arc::clone(self) })
    }

    fn took_surplus(&self) -> bool {
        let less = |surplus: usize| surplus.checked_sub(1);
        self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.places.took_surplus()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(places: &Arc<Places>) -> Vec<Place> {
        std::iter::from_fn(|| places.take_now()).collect()
    }

    #[test]
    fn fewer_places_turn_nobody_out_and_do_not_come_back() {
        let places = Places::new(3);
        let mut taken = all(&places);
        assert_eq!(taken.len(), 3);
        places.set(1);
        taken.truncate(1);
        assert!(places.take_now().is_none(), "one is taken, and there is one");
        drop(taken);
        assert_eq!(all(&places).len(), 1);
    }

    #[test]
    fn more_places_first_make_up_for_those_that_were_too_many() {
        let places = Places::new(4);
        let taken = all(&places);
        places.set(1);
        places.set(6);
        assert_eq!(all(&places).len(), 2, "four of the six are taken");
        drop(taken);
        assert_eq!(all(&places).len(), 6);
        places.set(2);
        assert_eq!(all(&places).len(), 2);
    }
}
