//! How many requests a route takes: the generic cell rate algorithm, which needs one number for each counted party, the
//! time at which its bucket is full again.
//!
//! Invariant: memory is fixed. Of more clients than fit, those go first whose bucket is full the soonest; what they lose
//! is at most the memory of having asked, so a crowd of addresses can make the limit milder, never refuse anybody.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::plan::{Rate, RateBy};

/// Clients that one route remembers: `SETS` × `WAYS`, in 128 KiB.
pub const CLIENTS: usize = SETS * WAYS;
const SETS: usize = 1024;
const WAYS: usize = 8;

/// Nanoseconds since a limiter was made. Zero is a full bucket at any time.
type Nanos = u64;

/// A pace in the terms of the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// Between two requests at the steady pace.
    interval: Nanos,
    /// How far ahead of the steady pace one may be.
    ahead: Nanos,
}

impl Pace {
    fn of(rate: &Rate) -> Self {
        // The configuration's bounds keep it between a microsecond and a quarter of an hour.
        let interval = (1e9 / rate.per_second) as Nanos;
        Self { interval, ahead: interval.saturating_mul(Nanos::from(rate.burst.saturating_sub(1))) }
    }

    /// A request at `now`, when the bucket is full again at `full`: when it is full after it, or how long to wait.
    fn take(self, full: Nanos, now: Nanos) -> Result<Nanos, Duration> {
        match full.saturating_sub(now).checked_sub(self.ahead) {
            None | Some(0) => Ok(full.max(now).saturating_add(self.interval)),
            Some(early) => Err(Duration::from_nanos(early)),
        }
    }
}

/// Counts the requests of one route. Shared by all workers, and by the generations in which its rate is the same.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    pace: Pace,
    since: Instant,
    buckets: Buckets,
}

#[derive(Debug)]
enum Buckets {
    Route(AtomicU64),
    Clients(Box<Clients>),
}

impl Limiter {
    /// All buckets are full.
    pub fn new(rate: Rate) -> Self {
        let buckets = match rate.by {
            RateBy::Route => Buckets::Route(AtomicU64::new(0)),
            RateBy::Client => Buckets::Clients(Box::new(Clients::new())),
        };
        Self { pace: Pace::of(&rate), rate, since: Instant::now(), buckets }
    }

    /// What it was made of.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Takes a request of `client` at `now`, or says how long to wait.
    pub fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let now = Nanos::try_from(now.saturating_duration_since(self.since).as_nanos()).unwrap_or(Nanos::MAX);
        match &self.buckets {
            Buckets::Route(full) => take_shared(full, self.pace, now),
            Buckets::Clients(clients) => clients.take(key(client), self.pace, now),
        }
    }
}

fn take_shared(full: &AtomicU64, pace: Pace, now: Nanos) -> Result<(), Duration> {
    let mut seen = full.load(Ordering::Relaxed);
    loop {
        let next = pace.take(seen, now)?;
        match full.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(other) => seen = other,
        }
    }
}

/// A client in eight bytes: an IPv6 /64, which is what one subscriber has, or an IPv4 address below `ff00::/8`, which is
/// multicast and nobody's.
fn key(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => 0xff << 56 | u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// A table of `SETS` small sets, each with a lock of its own; a client has its place in one of them.
#[derive(Debug)]
struct Clients {
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
    /// Differs from process to process, so that nobody can choose addresses that fall into one set.
    hash: RandomState,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    key: u64,
    full: Nanos,
}

impl Clients {
    fn new() -> Self {
        Self { sets: (0..SETS).map(|_| Mutex::default()).collect(), hash: RandomState::new() }
    }

    fn take(&self, key: u64, pace: Pace, now: Nanos) -> Result<(), Duration> {
        let set = self.hash.hash_one(key) as usize % SETS;
        let mut set = self.sets[set].lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match set.iter().position(|bucket| bucket.key == key && bucket.full > now) {
            Some(at) => &mut set[at],
            None => {
                // One that is full already is as good as a new one, and so is the one that was full the longest.
                let oldest = set.iter_mut().min_by_key(|bucket| bucket.full);
                let bucket = oldest.expect("a set has buckets");
                *bucket = Bucket { key, full: 0 };
                bucket
            }
        };
        bucket.full = pace.take(bucket.full, now)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn rate(per_second: f64, burst: u32, by: RateBy) -> Rate {
        Rate { per_second, burst, by }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_at_a_time() {
        let pace = Pace::of(&rate(10.0, 3, RateBy::Route));
        let mut full = 0;
        for _ in 0..3 {
            full = pace.take(full, SECOND).expect("within the burst");
        }
        assert_eq!(pace.take(full, SECOND), Err(Duration::from_millis(100)));
        assert_eq!(pace.take(full, SECOND + SECOND / 20), Err(Duration::from_millis(50)));
        full = pace.take(full, SECOND + SECOND / 10).expect("one more");
        assert_eq!(pace.take(full, SECOND + SECOND / 10), Err(Duration::from_millis(100)));
        full = pace.take(full, 9 * SECOND).expect("after a rest");
        assert_eq!(full, 9 * SECOND + SECOND / 10, "a rest saves up no more than the burst");
    }

    #[test]
    fn clients_have_buckets_of_their_own_and_a_64_is_one_client() {
        let limiter = Limiter::new(rate(1.0, 1, RateBy::Client));
        let now = Instant::now();
        for (client, taken) in [
            ("192.0.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("::ffff:192.0.2.2", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
            ("2001:db8:0:1::1", true),
            ("::c000:201", true),
        ] {
            assert_eq!(limiter.take(address(client), now).is_ok(), taken, "{client}");
        }
    }

    #[test]
    fn a_route_counts_all_clients_together() {
        let limiter = Limiter::new(rate(1.0, 2, RateBy::Route));
        let now = Instant::now();
        assert_eq!(limiter.take(address("192.0.2.1"), now), Ok(()));
        assert_eq!(limiter.take(address("192.0.2.2"), now), Ok(()));
        assert!(limiter.take(address("192.0.2.3"), now).is_err());
        assert_eq!(limiter.take(address("192.0.2.3"), now + Duration::from_secs(2)), Ok(()));
    }

    #[test]
    fn a_crowd_beyond_the_table_refuses_nobody_who_asks_once() {
        let limiter = Limiter::new(rate(1.0, 1, RateBy::Client));
        let now = Instant::now();
        for client in 0..4 * CLIENTS as u32 {
            assert_eq!(limiter.take(IpAddr::V4(client.into()), now), Ok(()));
        }
        let Buckets::Clients(clients) = &limiter.buckets else { panic!("it counts clients") };
        assert_eq!(clients.sets.len() * WAYS, CLIENTS);
        assert_eq!(size_of::<[Bucket; WAYS]>() * SETS, 128 << 10);
    }

    #[test]
    fn as_many_clients_as_half_the_table_holds_are_nearly_all_remembered() {
        let limiter = Limiter::new(rate(0.1, 1, RateBy::Client));
        let now = Instant::now();
        let clients = || (0..CLIENTS as u32 / 2).map(|client| IpAddr::V4(client.into()));
        clients().for_each(|client| assert_eq!(limiter.take(client, now), Ok(())));
        let forgotten = clients().filter(|client| limiter.take(*client, now).is_ok()).count();
        assert!(forgotten < CLIENTS / 2 / 10, "{forgotten} of {} were forgotten", CLIENTS / 2);
    }

    #[test]
    fn threads_together_take_no_more_than_one_would() {
        let limiter = Limiter::new(rate(0.001, 1000, RateBy::Route));
        let now = Instant::now();
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| limiter.take(address("::1"), now).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("counts")).sum::<usize>()
        });
        assert_eq!(taken, 1000);
    }

    /// The bucket as the configuration describes it: it holds `burst`, fills by `per_second`, a request takes one.
    struct Described {
        held: f64,
        last: Nanos,
    }

    proptest! {
        #[test]
        fn it_takes_what_a_bucket_of_tokens_would(
            per_second in 0.5f64..2000.0,
            burst in 1u32..50,
            gaps in prop::collection::vec(0u64..SECOND, 1..200),
        ) {
            let rate = rate(per_second, burst, RateBy::Route);
            let pace = Pace::of(&rate);
            let (mut full, mut now) = (0, SECOND);
            let mut described = Described { held: f64::from(burst), last: now };
            for gap in gaps {
                now += gap / 1000 * u64::from(burst);
                let gained = (now - described.last) as f64 * 1e-9 * per_second;
                described.held = (described.held + gained).min(f64::from(burst));
                described.last = now;
                let taken = pace.take(full, now);
                // Where the two differ by rounding alone, either is right.
                if (described.held - 1.0).abs() > 1e-3 {
                    prop_assert_eq!(taken.is_ok(), described.held > 1.0, "held {}", described.held);
                }
                match taken {
                    Ok(next) => {
                        full = next;
                        described.held -= 1.0;
                    }
                    Err(wait) => {
                        let wait = u64::try_from(wait.as_nanos()).expect("short");
                        prop_assert!(pace.take(full, now + wait).is_ok(), "it says when to come back");
                        prop_assert!(wait <= pace.interval);
                        prop_assert!(pace.take(full, now + wait - 1).is_err(), "and not later than need be");
                    }
                }
            }
        }

        #[test]
        fn no_time_and_no_rate_overflow(
            per_second in 0.001f64..1_000_000.0, burst in 1u32..=1_000_000, full in any::<u64>(), now in any::<u64>(),
        ) {
            let _answered = Pace::of(&rate(per_second, burst, RateBy::Route)).take(full, now);
        }
    }
}
