//! Taking away what is past its time.

use rusqlite::OptionalExtension as _;

use super::super::{DeliveryState, Retention};
use super::ledger::{Ledger, code, state};
use super::schema::DELIVERIES_MAX;
use crate::base::clock::Timestamp;
use crate::base::ids::EventId;

/// What one step of a sweep took away.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) events: u64,
    pub(super) undelivered: u64,
    /// Events whose bodies are files, to be removed once this is on disk.
    pub(super) files: Vec<EventId>,
}

/// Whether a delivery that has been in `state` since `changed` is past its retention.
pub(super) fn is_past(retention: &Retention, now: Timestamp, state: DeliveryState, changed: Timestamp) -> bool {
    cutoff(retention, now, state).is_some_and(|cutoff| changed <= cutoff)
}

/// When a delivery must have come into `state` to be past its retention; `None` when it is kept forever.
pub(super) fn cutoff(retention: &Retention, now: Timestamp, state: DeliveryState) -> Option<Timestamp> {
    let kept = match state {
        DeliveryState::Delivered | DeliveryState::Dropped => retention.delivered,
        DeliveryState::Dead => retention.dead,
        DeliveryState::Due | DeliveryState::Leased | DeliveryState::Parked => None,
    };
    kept.map(|kept| now.before(kept))
}

impl Ledger<'_> {
    /// Removes those of `events` whose every delivery is past its retention.
    pub(super) fn remove(
        &mut self,
        now: Timestamp,
        retention: &Retention,
        events: &[i64],
    ) -> rusqlite::Result<Removed> {
        let mut removed = Removed::default();
        for &event in events {
            let states = self.states(event)?;
            let past = |(state, changed): &(DeliveryState, Timestamp)| is_past(retention, now, *state, *changed);
            if states.is_empty() || !states.iter().all(past) {
                continue;
            }
            let Some((id, in_file)) = self.forget(event)? else { continue };
            removed.events += 1;
            removed.undelivered += u64::from(states.iter().any(|(state, _)| *state != DeliveryState::Delivered));
            removed.files.extend(in_file.then_some(id));
            for (state, _) in states {
                self.moves[code(state)] -= 1;
            }
        }
        Ok(removed)
    }

    fn states(&self, event: i64) -> rusqlite::Result<Vec<(DeliveryState, Timestamp)>> {
        const STATES: &str = "SELECT state, changed FROM delivery WHERE id >= ?1 AND id < ?2";
        let mut statement = self.connection.prepare_cached(STATES)?;
        let read = |row: &rusqlite::Row<'_>| {
            // A state nobody knows is kept.
            let state = state(row.get(0)?).unwrap_or(DeliveryState::Parked);
            Ok((state, Timestamp::from_millis(row.get(1)?)))
        };
        statement.query_map(range(event), read)?.collect()
    }

    fn forget(&self, event: i64) -> rusqlite::Result<Option<(EventId, bool)>> {
        const ATTEMPTS: &str = "DELETE FROM attempt WHERE delivery >= ?1 AND delivery < ?2";
        const DELIVERIES: &str = "DELETE FROM delivery WHERE id >= ?1 AND id < ?2";
        const EVENT: &str = "DELETE FROM event WHERE key = ?1 RETURNING id, in_file";
        self.connection.prepare_cached(ATTEMPTS)?.execute(range(event))?;
        self.connection.prepare_cached(DELIVERIES)?.execute(range(event))?;
        let read = |row: &rusqlite::Row<'_>| Ok((EventId::from_bytes(row.get(0)?), row.get(1)?));
        self.connection.prepare_cached(EVENT)?.query_row([event], read).optional()
    }
}

fn range(event: i64) -> [i64; 2] {
    [event * DELIVERIES_MAX, (event + 1) * DELIVERIES_MAX]
}
