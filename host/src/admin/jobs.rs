//! Bulk changes, in the background. A job walks the log once, newest event first, and changes what it meets, one
//! delivery at a time: what it replays may have ended again, and match again, before the job is through, and must not be
//! replayed twice. The last few jobs are remembered.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior};

use crate::base::clock::Clock;
use crate::base::ids::EventId;
use crate::gateway::Current;
use crate::store::{DeliveryRow, DeliveryState, EventStore, Filter, Pending, StoreError};
use crate::webhook::again;

/// Jobs that are remembered.
const KEPT: usize = 32;
/// Jobs that run at once.
const RUNNING_MAX: usize = 4;
/// Deliveries listed at once.
const PAGE: u32 = 200;
/// Deliveries changed at once; the store makes one commit of those that arrive together.
const BATCH: u32 = 32;
/// After the store said that it is busy.
const BUSY_AGAIN: Duration = Duration::from_millis(100);
/// How often a busy store is asked again.
const BUSY_TRIES: u32 = 100;

/// What a job does with each delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Replay,
    Drop,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Drop => "drop",
        }
    }

    /// Whether a delivery in this state can be changed so. The store has the last word.
    fn takes(self, state: DeliveryState) -> bool {
        use DeliveryState::{Dead, Delivered, Dropped, Due, Leased, Parked};
        match (self, state) {
            (_, Leased) | (Self::Replay, Due) | (Self::Drop, Delivered | Dropped) => false,
            (Self::Replay, Delivered | Dead | Parked | Dropped) | (Self::Drop, Due | Dead | Parked) => true,
        }
    }

    pub(super) fn change<'a>(
        self,
        store: &'a dyn EventStore,
        clock: &Clock,
        filter: &'a Filter,
        limit: u32,
    ) -> Pending<'a, u64> {
        match self {
            Self::Replay => store.replay(clock.now(), filter, limit),
            Self::Drop => store.drop_deliveries(clock.now(), filter, limit),
        }
    }
}

#[derive(Debug)]
struct Job {
    id: u64,
    action: Action,
    looked_at: AtomicU64,
    changed: AtomicU64,
    /// Passed over because they do not verify.
    refused: AtomicU64,
    ended: Mutex<Option<Result<(), StoreError>>>,
}

/// The jobs of an admin listener.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    last: u64,
    jobs: VecDeque<Arc<Job>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    /// Starts one; `None` when enough are running. A closed store ends it.
    pub(super) fn start(
        &self,
        action: Action,
        filter: Filter,
        pace: Option<NonZeroU32>,
        verify: Option<Arc<Current>>,
        store: Arc<dyn EventStore>,
        clock: Clock,
    ) -> Option<u64> {
        let job = lock(&self.list).add(action)?;
        let id = job.id;
        tokio::spawn(async move {
            let ended = job.run(filter, pace, verify.as_deref(), &*store, &clock).await;
            let changed = job.changed.load(Ordering::Relaxed);
            match &ended {
                Ok(()) => tracing::info!(job = id, changed, "bulk {} ended", action.as_str()),
                Err(error) => tracing::error!(job = id, changed, %error, "bulk {} broke off", action.as_str()),
            }
            *lock(&job.ended) = Some(ended);
        });
        Some(id)
    }

    /// How a job stands.
    pub(super) fn show(&self, id: u64) -> Option<Value> {
        let job = lock(&self.list).jobs.iter().find(|job| job.id == id).cloned()?;
        let ended = lock(&job.ended).clone();
        Some(json!({
            "job": job.id.to_string(),
            "action": job.action.as_str(),
            "looked_at": job.looked_at.load(Ordering::Relaxed),
            "changed": job.changed.load(Ordering::Relaxed),
            "refused": job.refused.load(Ordering::Relaxed),
            "done": ended.is_some(),
            "error": ended.and_then(Result::err).map(|error| error.to_string()),
        }))
    }
}

impl List {
    fn add(&mut self, action: Action) -> Option<Arc<Job>> {
        let ended = |job: &Arc<Job>| lock(&job.ended).is_some();
        if self.jobs.iter().filter(|job| !ended(job)).count() >= RUNNING_MAX {
            return None;
        }
        if self.jobs.len() >= KEPT
            && let Some(oldest) = self.jobs.iter().position(ended)
        {
            self.jobs.remove(oldest);
        }
        self.last += 1;
        let job = Arc::new(Job {
            id: self.last,
            action,
            looked_at: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ended: Mutex::default(),
        });
        self.jobs.push_back(job.clone());
        Some(job)
    }
}

impl Job {
    async fn run(
        &self,
        filter: Filter,
        pace: Option<NonZeroU32>,
        verify: Option<&Current>,
        store: &dyn EventStore,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let (batch, mut ticks) = match pace {
            Some(pace) => paced(pace),
            None => (BATCH, None),
        };
        let mut cursor = None;
        loop {
            let page = patiently(|| store.list(&filter, cursor.as_deref(), PAGE)).await?;
            let wanted: Vec<&DeliveryRow> = page.rows.iter().filter(|row| self.action.takes(row.state)).collect();
            for rows in wanted.chunks(batch as usize) {
                if let Some(ticks) = &mut ticks {
                    ticks.tick().await;
                }
                try_join_all(rows.iter().map(|row| self.change(row, verify, store, clock))).await?;
            }
            self.looked_at.fetch_add(page.rows.len() as u64, Ordering::Relaxed);
            cursor = Some(match page.next {
                Some(next) => next,
                None => return Ok(()),
            });
        }
    }

    async fn change(
        &self,
        row: &DeliveryRow,
        verify: Option<&Current>,
        store: &dyn EventStore,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        if let Some(current) = verify
            && let Err(why) = verified(current, store, row.event).await?
        {
            tracing::warn!(job = self.id, event = %row.event, "not replayed: {why}");
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let filter = Filter {
            event: Some(row.event),
            product: Some(row.product.to_string()),
            state: Some(row.state),
            ..Filter::default()
        };
        let changed = patiently(|| self.action.change(store, clock, &filter, 1)).await?;
        self.changed.fetch_add(changed, Ordering::Relaxed);
        Ok(())
    }
}

/// How many deliveries to change at a time, and when, for `pace` a second.
fn paced(pace: NonZeroU32) -> (u32, Option<Interval>) {
    let batch = (pace.get() / 10).clamp(1, BATCH);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) * batch / pace.get());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    (batch, Some(ticks))
}

async fn verified(current: &Current, store: &dyn EventStore, id: EventId) -> Result<Result<(), String>, StoreError> {
    patiently(|| Box::pin(async move { again::verifies(&current.load(), store, id).await })).await
}

/// Asks the store, and asks it again while it is busy.
async fn patiently<'a, T>(ask: impl Fn() -> Pending<'a, T>) -> Result<T, StoreError> {
    for _ in 1..BUSY_TRIES {
        match ask().await {
            Err(StoreError::Busy) => tokio::time::sleep(BUSY_AGAIN).await,
            answered => return answered,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_jobs_that_ended_are_forgotten() {
        let mut list = List::default();
        let running = list.add(Action::Drop).expect("starts");
        for _ in 0..KEPT * 2 {
            let job = list.add(Action::Replay).expect("starts");
            *lock(&job.ended) = Some(Ok(()));
        }
        assert_eq!(list.jobs.len(), KEPT);
        assert_eq!(list.jobs[0].id, running.id);
    }

    #[test]
    fn no_more_than_a_few_run_at_once() {
        let mut list = List::default();
        let running: Vec<_> = (0..RUNNING_MAX).filter_map(|_| list.add(Action::Drop)).collect();
        assert!(list.add(Action::Drop).is_none());
        *lock(&running[0].ended) = Some(Ok(()));
        assert!(list.add(Action::Drop).is_some());
    }

    #[tokio::test]
    async fn a_pace_is_kept_in_small_batches() {
        for (pace, batch, millis) in [(1, 1, 1000), (7, 1, 142), (100, 10, 100), (10_000, BATCH, 3)] {
            let (size, ticks) = paced(NonZeroU32::new(pace).expect("not zero"));
            assert_eq!((size, ticks.map(|ticks| ticks.period().as_millis())), (batch, Some(millis)), "{pace}");
        }
    }
}
