//! The breaker of one product. After failures in a row it opens: nothing is sent for a while, so that the product can
//! recover and nobody waits for it. Then one request is let through to see; its end decides.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::plan::Breaker as Plan;

/// How often whoever waits looks whether the request that was let through has ended.
const PROBE_LOOK: Duration = Duration::from_millis(250);

/// The breaker of one product.
#[derive(Debug)]
pub(super) struct Breaker {
    plan: Option<Plan>,
    failures: AtomicU32,
    open: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    until: Instant,
    probing: bool,
}

/// What came of a request, as a breaker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The product answered.
    Well,
    /// It did not, or said that it cannot.
    Failed,
    /// Nothing was learnt of it.
    Neither,
}

/// How much a product takes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// What it is sent.
    All,
    /// One request, to see.
    One,
    /// Nothing before then.
    None(Instant),
}

/// The one request that is let through an open breaker. Dropped without a verdict, another may try.
#[derive(Debug)]
pub(super) struct Probe<'a>(&'a Breaker);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.state().probing = false;
    }
}

impl Breaker {
    /// `None` never opens.
    pub(super) fn new(plan: Option<Plan>) -> Self {
        let state = State { until: Instant::now(), probing: false };
        Self { plan, failures: AtomicU32::new(0), open: AtomicBool::new(false), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request through, or says how long to stay away.
    pub(super) fn admit(&self) -> Result<Option<Probe<'_>>, Duration> {
        if !self.open.load(Ordering::Acquire) {
            return Ok(None);
        }
        let now = Instant::now();
        let mut state = self.state();
        if state.until > now {
            return Err(state.until - now);
        }
        if std::mem::replace(&mut state.probing, true) {
            return Err(PROBE_LOOK);
        }
        Ok(Some(Probe(self)))
    }

    /// How much is let through now.
    pub(super) fn room(&self) -> Room {
        if !self.open.load(Ordering::Acquire) {
            return Room::All;
        }
        let now = Instant::now();
        let state = self.state();
        match state.probing {
            _ if state.until > now => Room::None(state.until),
            true => Room::None(now + PROBE_LOOK),
            false => Room::One,
        }
    }

    /// What came of a request; true when the breaker opened.
    pub(super) fn judge(&self, verdict: Verdict, probe: Option<&Probe<'_>>) -> bool {
        let Some(plan) = &self.plan else { return false };
        match verdict {
            Verdict::Neither => false,
            Verdict::Well => {
                // A probe closes it whatever the count says: another thread's success may have reset that just before
                // this one opened.
                let failing = self.failures.load(Ordering::Relaxed) != 0;
                if probe.is_some() || (failing && !self.open.load(Ordering::Relaxed)) {
                    self.failures.store(0, Ordering::Relaxed);
                    self.open.store(false, Ordering::Release);
                }
                false
            }
            Verdict::Failed => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                if failures < plan.failures {
                    return false;
                }
                let now = Instant::now();
                let mut state = self.state();
                let over = state.until <= now && !state.probing;
                if self.open.load(Ordering::Relaxed) && probe.is_none() && !over {
                    return false;
                }
                state.until = now + plan.pause;
                !self.open.swap(true, Ordering::AcqRel)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    fn breaker() -> Breaker {
        Breaker::new(Some(Plan { failures: 3, pause: PAUSE }))
    }

    fn fail(breaker: &Breaker, times: usize) -> Vec<bool> {
        (0..times).map(|_| breaker.judge(Verdict::Failed, None)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_for_the_pause() {
        let breaker = breaker();
        fail(&breaker, 2);
        breaker.judge(Verdict::Neither, None);
        assert_eq!(fail(&breaker, 2), [true, false], "it opens once");
        assert_eq!(breaker.admit().err(), Some(PAUSE));
        assert_eq!(breaker.room(), Room::None(Instant::now() + PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_in_between_starts_the_count_anew() {
        let breaker = breaker();
        for _ in 0..5 {
            assert_eq!(fail(&breaker, 2), [false, false]);
            breaker.judge(Verdict::Well, None);
        }
        assert_eq!(breaker.room(), Room::All);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_request_decides() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(PAUSE).await;
        assert_eq!(breaker.room(), Room::One);
        let probe = breaker.admit().expect("one may pass").expect("as a probe");
        assert!(breaker.admit().is_err(), "and no other");
        breaker.judge(Verdict::Well, None);
        assert!(breaker.admit().is_err(), "an old request does not decide");
        breaker.judge(Verdict::Failed, Some(&probe));
        drop(probe);
        assert_eq!(breaker.admit().err(), Some(PAUSE), "it failed: all over again");
        tokio::time::advance(PAUSE).await;
        drop(breaker.admit().expect("one may pass"));
        let probe = breaker.admit().expect("the one before ended without a verdict").expect("as a probe");
        breaker.judge(Verdict::Well, Some(&probe));
        drop(probe);
        assert_eq!(breaker.room(), Room::All);
        assert!(fail(&breaker, 2) == [false, false], "the count starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_closes_it_whatever_was_counted_while_it_opened() {
        let breaker = breaker();
        fail(&breaker, 3);
        // Another thread's success, in the moment between the last count and the opening.
        breaker.failures.store(0, Ordering::Relaxed);
        tokio::time::advance(PAUSE).await;
        let probe = breaker.admit().expect("one may pass").expect("as a probe");
        breaker.judge(Verdict::Well, Some(&probe));
        drop(probe);
        assert_eq!(breaker.room(), Room::All);
    }

    #[tokio::test]
    async fn one_that_is_off_never_opens() {
        let breaker = Breaker::new(None);
        assert!(!fail(&breaker, 100).contains(&true));
        assert_eq!(breaker.room(), Room::All);
    }
}
