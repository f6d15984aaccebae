//! Letting a plugin alone that only fails: what cannot serve should not cost every request its deadline.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use crate::base::clock::Timestamp;

/// Faults in a row after which a plugin is parked. One success in between starts the count anew.
const FAULTS_MAX: u32 = 10;
/// How long it is parked at first; twice as long each time it comes to nothing again.
const FIRST: Duration = Duration::from_secs(1);
/// The longest it is parked. Whoever mends it replaces the file, which ends it at once.
const LONGEST: Duration = Duration::from_secs(30);

/// Whether a plugin is asked at all, and what speaks against it.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    in_a_row: AtomicU32,
    times: AtomicU32,
    /// Milliseconds since the Unix epoch.
    until: AtomicI64,
}

impl Parking {
    /// Until when it is parked, if it is.
    pub(crate) fn until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.until.load(Ordering::Relaxed) {
            0 => None,
            until => Some(Timestamp::from_millis(until)).filter(|until| now < *until),
        }
    }

    /// A call came to its end. Costs one look where there was no fault.
    pub(crate) fn succeeded(&self) {
        if self.in_a_row.load(Ordering::Relaxed) > 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
            self.times.store(0, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// A call failed; says for how long the plugin is parked now, if it was not before.
    pub(crate) fn failed(&self, now: Timestamp) -> Option<Duration> {
        let faults = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        if !faults.is_multiple_of(FAULTS_MAX) {
            return None;
        }
        let times = self.times.fetch_add(1, Ordering::Relaxed);
        let pause = FIRST.saturating_mul(1 << times.min(10)).min(LONGEST);
        self.until.store(now.after(pause).millis(), Ordering::Relaxed);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(parking: &Parking, times: u32, now: Timestamp) -> Vec<Duration> {
        (0..times).filter_map(|_| parking.failed(now)).collect()
    }

    #[test]
    fn a_plugin_that_only_fails_is_parked_for_longer_each_time() {
        let (parking, mut now) = (Parking::default(), Timestamp::from_seconds(1_000));
        assert_eq!((fails(&parking, FAULTS_MAX - 1, now), parking.until(now)), (vec![], None));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(seconds);
            let needed = if seconds == 1 { 1 } else { FAULTS_MAX };
            assert_eq!(fails(&parking, needed, now), [pause]);
            assert_eq!(parking.until(now), Some(now.after(pause)));
            now = now.after(pause);
            assert_eq!(parking.until(now), None, "it is asked again");
        }
    }

    #[test]
    fn one_success_forgives_everything() {
        let (parking, now) = (Parking::default(), Timestamp::from_seconds(1_000));
        fails(&parking, FAULTS_MAX - 1, now);
        parking.succeeded();
        assert!(fails(&parking, FAULTS_MAX - 1, now).is_empty());
        assert_eq!(fails(&parking, 1, now), [FIRST]);
        parking.succeeded();
        assert_eq!(parking.until(now), None);
        assert_eq!(fails(&parking, FAULTS_MAX, now), [FIRST]);
    }
}
