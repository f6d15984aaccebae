//! What may happen to events inside one transaction: the steps of accepting, leasing, settling and changing. Each step
//! changes everything it has to or, with an error, is undone by the writer that called it.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::DeliveryState;
use super::keys::{KeyChanges, Keys};
use crate::base::clock::Timestamp;

/// How many deliveries moved into (or out of) each state, in the order of [`DeliveryState::ALL`].
pub(super) type Moves = [i64; 6];

/// Where numbers that are never given twice come from.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The key of the next event.
    pub(super) event: i64,
    /// The row of the next duplicate key.
    pub(super) key: i64,
    /// The token of the next lease.
    pub(super) token: i64,
}

/// An open transaction and what it comes to.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    pub(super) connection: &'a Connection,
    pub(super) numbers: &'a mut Numbers,
    pub(super) keys: &'a Keys,
    pub(super) key_changes: KeyChanges,
    /// Bytes that may still be taken in; what is settled is not asked.
    pub(super) room: u64,
    pub(super) moves: Moves,
    /// Whether something may be due sooner than it was.
    pub(super) wakes: bool,
}

/// The order a delivery stands in: only the first unfinished one of these three may be taken.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) product: String,
    pub(super) route: String,
    pub(super) key: String,
}

impl Line {
    /// From a row that begins with product, route and order key.
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Self>> {
        let Some(key) = row.get(2)? else { return Ok(None) };
        Ok(Some(Self { product: row.get(0)?, route: row.get(1)?, key }))
    }
}

/// The number of `state` in the tables.
pub(super) const fn code(state: DeliveryState) -> usize {
    match state {
        DeliveryState::Due => 0,
        DeliveryState::Leased => 1,
        DeliveryState::Delivered => 2,
        DeliveryState::Dead => 3,
        DeliveryState::Parked => 4,
        DeliveryState::Dropped => 5,
    }
}

/// The state of a number in the tables.
pub(super) fn state(code: i64) -> Option<DeliveryState> {
    DeliveryState::ALL.get(usize::try_from(code).ok()?).copied()
}

impl Ledger<'_> {
    pub(super) fn moved(&mut self, from: DeliveryState, to: DeliveryState) {
        self.moves[code(from)] -= 1;
        self.moves[code(to)] += 1;
    }

    /// Lets the first unfinished delivery of a line go, now that one before it is finished.
    pub(super) fn advance(&mut self, line: &Line) -> rusqlite::Result<()> {
        const FIRST: &str = "UPDATE delivery SET behind = 0 WHERE behind = 1 AND id = (
            SELECT id FROM delivery INDEXED BY delivery_ordered
            WHERE product = ?1 AND route = ?2 AND order_key = ?3 AND due IS NOT NULL ORDER BY id LIMIT 1)";
        self.connection.prepare_cached(FIRST)?.execute(params![line.product, line.route, line.key])?;
        self.wakes = true;
        Ok(())
    }

    /// Makes finished deliveries due: those of `ids` that are still finished. Returns how many.
    pub(super) fn replay(&mut self, now: Timestamp, ids: &[i64]) -> rusqlite::Result<u64> {
        use DeliveryState::{Dead, Delivered, Dropped, Due, Parked};
        const REPLAY: &str = "UPDATE delivery SET state = 0, due = ?2, behind = 0, scheduled = 0,
            replays = replays + 1, reason = NULL, changed = ?2 WHERE id = ?1";
        self.change(ids, &[Delivered, Dead, Parked, Dropped], Due, |ledger, id| {
            ledger.wakes = true;
            ledger.connection.prepare_cached(REPLAY)?.execute(params![id, now.millis()])
        })
    }

    /// Lets unfinished and dead deliveries go. Returns how many.
    pub(super) fn drop_deliveries(&mut self, now: Timestamp, ids: &[i64]) -> rusqlite::Result<u64> {
        use DeliveryState::{Dead, Dropped, Due, Parked};
        const DROP: &str = "UPDATE delivery SET state = 5, due = NULL, behind = 0, changed = ?2 WHERE id = ?1";
        self.change(ids, &[Due, Dead, Parked], Dropped, |ledger, id| {
            ledger.connection.prepare_cached(DROP)?.execute(params![id, now.millis()])
        })
    }

    /// Puts due deliveries aside because nobody serves them. Returns how many.
    pub(super) fn park(&mut self, now: Timestamp, ids: &[i64]) -> rusqlite::Result<u64> {
        use DeliveryState::{Due, Parked};
        const PARK: &str = "UPDATE delivery SET state = 4, due = NULL, behind = 0, changed = ?2,
            reason = 'route ' || route || ' no longer delivers to product ' || product WHERE id = ?1";
        self.change(ids, &[Due], Parked, |ledger, id| {
            ledger.connection.prepare_cached(PARK)?.execute(params![id, now.millis()])
        })
    }

    /// Makes parked deliveries due again. Returns how many.
    pub(super) fn unpark(&mut self, now: Timestamp, ids: &[i64]) -> rusqlite::Result<u64> {
        use DeliveryState::{Due, Parked};
        const UNPARK: &str = "UPDATE delivery SET state = 0, due = ?2, behind = 0, changed = ?2, reason = NULL
            WHERE id = ?1";
        self.change(ids, &[Parked], Due, |ledger, id| {
            ledger.wakes = true;
            ledger.connection.prepare_cached(UNPARK)?.execute(params![id, now.millis()])
        })
    }

    /// Applies `update` to those of `ids` that are in one of the states `from`. They were chosen outside this
    /// transaction, so each is looked at again.
    fn change(
        &mut self,
        ids: &[i64],
        from: &[DeliveryState],
        to: DeliveryState,
        mut update: impl FnMut(&mut Self, i64) -> rusqlite::Result<usize>,
    ) -> rusqlite::Result<u64> {
        const LOOK: &str = "SELECT product, route, order_key, state FROM delivery WHERE id = ?1";
        let mut changed = 0;
        for &id in ids {
            let look = |row: &rusqlite::Row<'_>| Ok((Line::read(row)?, state(row.get(3)?)));
            let found = self.connection.prepare_cached(LOOK)?.query_row([id], look).optional()?;
            let Some((line, Some(was))) = found else { continue };
            if !from.contains(&was) {
                continue;
            }
            changed += update(self, id)? as u64;
            self.moved(was, to);
            if let Some(line) = line.filter(|_| was == DeliveryState::Due) {
                self.advance(&line)?;
            }
        }
        Ok(changed)
    }
}
