//! Bulk changes, in steps in the background. The last few jobs are remembered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::clock::Clock;
use crate::store::{EventStore, Filter};

/// Jobs that are remembered.
const KEPT: usize = 32;
/// Jobs that run at once.
const RUNNING_MAX: usize = 4;
/// Deliveries changed in one step.
const STEP: u32 = 500;

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
}

#[derive(Debug)]
struct Job {
    id: u64,
    action: Action,
    changed: AtomicU64,
    ended: Mutex<Option<Result<(), String>>>,
}

/// The jobs of an admin listener.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    next: AtomicU64,
    list: Mutex<VecDeque<Arc<Job>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    /// Starts one; `None` when enough are running.
    pub(super) fn start(
        &self,
        action: Action,
        filter: Filter,
        pace: Option<u32>,
        store: Arc<dyn EventStore>,
        clock: Clock,
    ) -> Option<u64> {
        let job = {
            let mut list = lock(&self.list);
            if list.iter().filter(|job| lock(&job.ended).is_none()).count() >= RUNNING_MAX {
                return None;
            }
            let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
            let job = Arc::new(Job { id, action, changed: AtomicU64::new(0), ended: Mutex::new(None) });
            list.push_back(job.clone());
            while list.len() > KEPT {
                list.pop_front();
            }
            job
        };
        let id = job.id;
        tokio::spawn(async move {
            let ended = job.run(filter, pace, &*store, &clock).await;
            tracing::info!(
                job = job.id,
                action = action.as_str(),
                changed = job.changed.load(Ordering::Relaxed),
                ok = ended.is_ok(),
                "bulk change ended"
            );
            *lock(&job.ended) = Some(ended);
        });
        Some(id)
    }

    /// How a job stands.
    pub(super) fn show(&self, id: u64) -> Option<Value> {
        let job = lock(&self.list).iter().find(|job| job.id == id).cloned()?;
        let ended = lock(&job.ended).clone();
        Some(json!({
            "job": job.id.to_string(),
            "action": job.action.as_str(),
            "changed": job.changed.load(Ordering::Relaxed),
            "done": ended.is_some(),
            "error": ended.and_then(Result::err),
        }))
    }
}

impl Job {
    async fn run(
        &self,
        filter: Filter,
        pace: Option<u32>,
        store: &dyn EventStore,
        clock: &Clock,
    ) -> Result<(), String> {
        let step = pace.map_or(STEP, |pace| pace.clamp(1, STEP));
        loop {
            let now = clock.now();
            let changed = match self.action {
                Action::Replay => store.replay(now, &filter, step).await,
                Action::Drop => store.drop_deliveries(now, &filter, step).await,
            };
            let changed = changed.map_err(|error| error.to_string())?;
            self.changed.fetch_add(changed, Ordering::Relaxed);
            if changed < u64::from(step) {
                return Ok(());
            }
            if pace.is_some() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
