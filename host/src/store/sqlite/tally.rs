//! How many deliveries stand where, counted as they move, and the bell that rings when something may be due.

use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;

use super::super::bell::Bell;
use super::ledger::Moves;

/// Counts of committed state; exact from open on.
#[derive(Debug)]
pub(super) struct Tally {
    states: [AtomicI64; 6],
    /// Rings with each commit that may have made something due sooner.
    pub(super) bell: Bell,
}

impl Tally {
    /// Counts what is there.
    pub(super) fn count(connection: &Connection) -> rusqlite::Result<Self> {
        let tally = Self { states: Default::default(), bell: Bell::new() };
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
            self.bell.ring();
        }
    }

    /// Deliveries in each state.
    pub(super) fn states(&self) -> [u64; 6] {
        std::array::from_fn(|state| u64::try_from(self.states[state].load(Ordering::Relaxed)).unwrap_or(0))
    }
}
