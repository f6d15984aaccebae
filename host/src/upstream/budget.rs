//! How many requests may be sent a second time. Retries help when few requests fail and hurt when most do, so each
//! request earns a share of a retry, and beside that a few a second are free.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::base::worker;

/// A retry, in the unit that requests earn.
const RETRY: u32 = 1000;
/// The most retries a worker saves up.
const SAVED_MAX: u32 = 100 * RETRY;
/// Retries a second that a worker need not earn, so that a product with few requests is helped too.
const FREE: u32 = 10;
const FREE_EVERY: Duration = Duration::from_secs(1);

/// The retries of one product.
#[derive(Debug)]
pub(super) struct Budget {
    share: u32,
    /// By worker, so that earning meets no other thread.
    purses: Box<[Purse]>,
}

/// On a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Purse {
    earned: AtomicU32,
    free: Mutex<(u32, Instant)>,
}

impl Budget {
    /// `share` of requests, 0 to 1; 0 is no retry at all.
    pub(super) fn new(share: f64, workers: usize) -> Self {
        let purse = || Purse { earned: AtomicU32::new(0), free: Mutex::new((FREE, Instant::now())) };
        Self { share: (share * f64::from(RETRY)) as u32, purses: (0..=workers).map(|_| purse()).collect() }
    }

    fn purse(&self) -> &Purse {
        &self.purses[worker::index() % self.purses.len()]
    }

    /// A request came.
    pub(super) fn earn(&self) {
        let earned = &self.purse().earned;
        // Two threads at once happen only off the workers; what one of them earns may be lost.
        let now = earned.load(Ordering::Relaxed);
        if now < SAVED_MAX {
            earned.store(now + self.share, Ordering::Relaxed);
        }
    }

    /// Whether one more may be sent again; counted if so.
    pub(super) fn spend(&self) -> bool {
        if self.share == 0 {
            return false;
        }
        let purse = self.purse();
        let less = |earned: u32| earned.checked_sub(RETRY);
        if purse.earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            return true;
        }
        let mut free = purse.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.1.elapsed() >= FREE_EVERY {
            *free = (FREE, Instant::now());
        }
        let left = free.0.checked_sub(1);
        free.0 = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget, most: usize) -> usize {
        (0..most).filter(|_| budget.spend()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_earn_retries_and_a_few_are_free() {
        let budget = Budget::new(0.2, 1);
        assert_eq!(spent(&budget, 100), FREE as usize);
        (0..50).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, 100), 10);
        tokio::time::advance(FREE_EVERY).await;
        assert_eq!(spent(&budget, 100), FREE as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_saved_has_a_bound() {
        let budget = Budget::new(1.0, 1);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, 10_000), 100 + FREE as usize);
    }

    #[tokio::test]
    async fn a_budget_of_nothing_allows_nothing() {
        let budget = Budget::new(0.0, 1);
        (0..100).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, 10), 0);
    }
}
