//! How one upstream stands: what its checks say of it ([`probe`](super::probe)) and what requests met. One that keeps
//! failing requests is ejected for a while, each time for longer. Where all of a product's upstreams are out, all are
//! in: guessing wrong then costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::pool::Endpoint;
use crate::telemetry::upstream::Healthy;

/// Failures in a row that eject an upstream.
pub(super) const EJECT_AFTER: u32 = 5;
/// How long the first ejection lasts; the n-th in a row lasts n times as long.
const EJECT_FOR: Duration = Duration::from_secs(10);
/// The longest ejection is this many times the first.
const EJECT_TIMES_MAX: u32 = 30;
/// Failed checks in a row that take an upstream out. One good check brings it back.
pub(super) const CHECKS_DOWN: u32 = 2;

/// How one upstream stands.
pub(super) struct Standing {
    available: AtomicBool,
    ejected: AtomicBool,
    /// By its checks.
    down: AtomicBool,
    failures: AtomicU32,
    ejections: AtomicU32,
    failed_checks: AtomicU32,
    healthy: Healthy,
}

impl Standing {
    pub(super) fn new(healthy: Healthy) -> Self {
        healthy.set(true);
        Self {
            available: AtomicBool::new(true),
            ejected: AtomicBool::new(false),
            down: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            failed_checks: AtomicU32::new(0),
            healthy,
        }
    }

    /// Whether it should get requests.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    /// `healthy`, `down` by its checks, or `ejected` for failing requests.
    pub(super) fn as_str(&self) -> &'static str {
        match (self.down.load(Ordering::Relaxed), self.ejected.load(Ordering::Relaxed)) {
            (true, _) => "down",
            (false, true) => "ejected",
            (false, false) => "healthy",
        }
    }

    /// A request came through.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// A check came back.
    pub(super) fn checked(&self, well: bool) {
        if well {
            self.failed_checks.store(0, Ordering::Relaxed);
            self.down.store(false, Ordering::Relaxed);
            self.readmit();
        } else if self.failed_checks.fetch_add(1, Ordering::Relaxed) + 1 >= CHECKS_DOWN {
            self.down.store(true, Ordering::Relaxed);
            self.weigh();
        }
    }

    /// Counts a failed request; says for how long it is ejected when it now is.
    fn failed(&self) -> Option<Duration> {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < EJECT_AFTER || self.ejected.swap(true, Ordering::Relaxed)
        {
            return None;
        }
        let times = (self.ejections.fetch_add(1, Ordering::Relaxed) + 1).min(EJECT_TIMES_MAX);
        self.weigh();
        Some(EJECT_FOR * times)
    }

    fn readmit(&self) {
        if self.ejected.swap(false, Ordering::Relaxed) {
            // One more failure is enough to send it out again.
            self.failures.store(EJECT_AFTER - 1, Ordering::Relaxed);
        }
        self.weigh();
    }

    fn weigh(&self) {
        let available = !self.ejected.load(Ordering::Relaxed) && !self.down.load(Ordering::Relaxed);
        if self.available.swap(available, Ordering::Relaxed) != available {
            self.healthy.set(available);
        }
    }
}

/// A request to `endpoint` failed, in a way that is the upstream's doing.
pub(super) fn failed(product: &str, endpoint: &Arc<Endpoint>) {
    let Some(time) = endpoint.standing.failed() else { return };
    tracing::warn!(product, upstream = %endpoint.url, seconds = time.as_secs(), "ejected: {EJECT_AFTER} failures in a row");
    let endpoint = Arc::downgrade(endpoint);
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        if let Some(endpoint) = endpoint.upgrade() {
            endpoint.standing.readmit();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::registry::Metrics;

    fn standing() -> Standing {
        Standing::new(Metrics::new().upstream_healthy.of("p", "http://a"))
    }

    fn times(standing: &Standing, count: u32) -> Option<Duration> {
        (0..count).fold(None, |_, _| standing.failed())
    }

    #[test]
    fn failures_in_a_row_eject_for_longer_each_time() {
        let standing = standing();
        assert_eq!(times(&standing, EJECT_AFTER - 1), None);
        assert!(standing.is_available());
        assert_eq!(standing.failed(), Some(EJECT_FOR));
        assert!(!standing.is_available());
        assert_eq!(standing.failed(), None, "it is out already");
        standing.readmit();
        assert!(standing.is_available());
        assert_eq!(standing.failed(), Some(EJECT_FOR * 2));
        standing.readmit();
        standing.succeeded();
        assert_eq!(times(&standing, EJECT_AFTER), Some(EJECT_FOR), "a success clears the past");
    }

    #[test]
    fn a_success_between_failures_keeps_it_in() {
        let standing = standing();
        for _ in 0..10 {
            assert_eq!(times(&standing, EJECT_AFTER - 1), None);
            standing.succeeded();
        }
        assert!(standing.is_available());
    }

    #[test]
    fn two_bad_checks_take_it_out_and_a_good_one_brings_it_back_also_from_an_ejection() {
        let standing = standing();
        standing.checked(false);
        assert!(standing.is_available());
        standing.checked(false);
        assert!(!standing.is_available());
        standing.checked(true);
        assert!(standing.is_available());
        times(&standing, EJECT_AFTER);
        assert!(!standing.is_available());
        standing.checked(true);
        assert!(standing.is_available());
    }
}
