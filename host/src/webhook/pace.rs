//! How many attempts a second a product gets: a bucket of tokens that fills at the rate and holds a tenth of a second's, so
//! that a product that was left alone is not met by a burst. Counted per gateway.

use std::time::Duration;

use tokio::time::Instant;

/// The share of a second whose tokens the bucket holds.
const BURST: f64 = 0.1;

/// The pace of one product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    per_second: u32,
    tokens: f64,
    /// When `tokens` was so much.
    at: Instant,
}

impl Pace {
    /// A full bucket.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let mut pace = Self { per_second, tokens: 0.0, at: now };
        pace.tokens = pace.most();
        pace
    }

    /// The same bucket at another rate, when that changed.
    pub(super) fn at_rate(self, per_second: u32) -> Self {
        Self { per_second, ..self }
    }

    fn most(self) -> f64 {
        (f64::from(self.per_second) * BURST).max(1.0)
    }

    fn tokens_at(self, now: Instant) -> f64 {
        let filled = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(self.per_second);
        (self.tokens + filled).min(self.most())
    }

    /// Attempts that may start at `now`.
    pub(super) fn room(self, now: Instant) -> u32 {
        // At most a tenth of a u32; never negative.
        self.tokens_at(now) as u32
    }

    /// One starts.
    pub(super) fn spend(&mut self, now: Instant) {
        self.tokens = (self.tokens_at(now) - 1.0).max(0.0);
        self.at = now;
    }

    /// When the next may start; `None` when one may at `now`.
    pub(super) fn next(self, now: Instant) -> Option<Instant> {
        let missing = 1.0 - self.tokens_at(now);
        // A millisecond later than exact, because timers count in milliseconds.
        let wait = Duration::from_secs_f64((missing / f64::from(self.per_second)).max(0.0)) + Duration::from_millis(1);
        (missing > 0.0).then(|| now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_what_the_rate_says_and_at_most_a_burst_more() {
        for (rate, burst) in [(1, 1), (7, 1), (100, 10), (5_000, 500)] {
            let start = Instant::now();
            let (mut pace, mut now, mut started) = (Pace::new(rate, start), start, 0);
            let end = start + Duration::from_secs(10);
            while now < end {
                for _ in 0..pace.room(now) {
                    pace.spend(now);
                    started += 1;
                }
                now = pace.next(now).expect("it is empty");
            }
            assert!(started <= rate * 10 + burst, "{rate}: {started}");
            assert!(f64::from(started) >= f64::from(rate) * 9.0, "{rate}: {started}");
        }
    }

    #[test]
    fn time_that_nobody_used_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(pace.room(later), 10);
        (0..10).for_each(|_| pace.spend(later));
        assert_eq!(pace.room(later), 0);
        assert_eq!(pace.at_rate(1).room(later + Duration::from_millis(500)), 0);
    }
}
