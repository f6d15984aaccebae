//! How many deliveries stand where, counted as they move, and the bell that rings when something may be due.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use rusqlite::Connection;
use tokio::sync::watch;

use super::ledger::Moves;

/// Counts of committed state; exact from open on.
#[derive(Debug)]
pub(super) struct Tally {
    states: [AtomicI64; 6],
    /// Rises with each commit that may have made something due sooner.
    rings: watch::Sender<u64>,
    /// What `rings` was when somebody last asked for the next due time.
    heard: AtomicU64,
}

impl Tally {
    /// Counts what is there.
    pub(super) fn count(connection: &Connection) -> rusqlite::Result<Self> {
        let tally = Self { states: Default::default(), rings: watch::Sender::new(0), heard: AtomicU64::new(0) };
        let mut counts = connection.prepare("SELECT state, count(*) FROM delivery GROUP BY state")?;
        let mut rows = counts.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(slot) = usize::try_from(row.get::<_, i64>(0)?).ok().and_then(|state| tally.states.get(state)) {
                slot.store(row.get(1)?, Ordering::Relaxed);
            }
        }
        drop(rows);
        drop(counts);
        Ok(tally)
    }

    /// Takes over what a commit came to.
    pub(super) fn apply(&self, moves: Moves, wakes: bool) {
        for (state, moved) in self.states.iter().zip(moves) {
            state.fetch_add(moved, Ordering::Relaxed);
        }
        if wakes {
            self.rings.send_modify(|rings| *rings += 1);
        }
    }

    /// Deliveries in each state.
    pub(super) fn states(&self) -> [u64; 6] {
        std::array::from_fn(|state| u64::try_from(self.states[state].load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// To be called before the next due time is looked up.
    pub(super) fn hear(&self) {
        self.heard.store(*self.rings.borrow(), Ordering::SeqCst);
    }

    /// Returns once it rang after the last [`hear`](Self::hear) before this call.
    pub(super) fn ring(&self) -> impl Future<Output = ()> + Send + 'static {
        let heard = self.heard.load(Ordering::SeqCst);
        let mut rings = self.rings.subscribe();
        async move {
            // An error means that the store is gone, and nothing will be due any more.
            if rings.wait_for(|rings| *rings > heard).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
