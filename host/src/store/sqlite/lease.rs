//! Handing deliveries out and taking them back. A lease is fenced by its token: whoever has an older one changes nothing.

use rusqlite::{OptionalExtension as _, params};

use super::super::{ANSWER_MAX, Attempt, DeliveryState, Settlement};
use super::ledger::{Ledger, Line, state};
use crate::base::clock::Timestamp;
use crate::base::names::ProductName;

/// The most deliveries one claim hands out.
pub(super) const CLAIM_MAX: u32 = 1000;

/// How many deliveries one claim puts behind another of their order key before it leaves the rest to the next claim.
const BEHIND_MAX: usize = 1000;

/// A delivery that was leased, before its event was read.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub(super) delivery: i64,
    pub(super) token: i64,
    pub(super) product: ProductName,
    pub(super) attempts: u32,
    pub(super) scheduled: u32,
    pub(super) replays: u32,
    pub(super) until: Timestamp,
}

/// Which lease is settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub(super) delivery: i64,
    pub(super) token: i64,
    /// The attempt the lease was for.
    pub(super) attempt: u32,
}

struct Candidate {
    id: i64,
    was: Option<DeliveryState>,
    attempts: u32,
    scheduled: u32,
    replays: u32,
    line: Option<Line>,
}

/// The columns a settlement sets.
struct Change<'a> {
    to: DeliveryState,
    due: Option<Timestamp>,
    attempt: Option<&'a Attempt>,
    reason: Option<String>,
}

impl Ledger<'_> {
    /// Leases what is due, longest due first, until `until`.
    pub(super) fn claim(
        &mut self,
        now: Timestamp,
        room: &[(ProductName, u32)],
        until: Timestamp,
    ) -> rusqlite::Result<Vec<Claimed>> {
        let mut claimed = Vec::new();
        let mut behind = 0;
        for (product, room) in room {
            let full = claimed.len() + (*room).min(CLAIM_MAX) as usize;
            let full = full.min(CLAIM_MAX as usize);
            while claimed.len() < full && behind < BEHIND_MAX {
                let candidates = self.candidates(now, product, full - claimed.len())?;
                if candidates.is_empty() {
                    break;
                }
                for candidate in candidates {
                    if self.waits(&candidate)? {
                        behind += 1;
                    } else {
                        claimed.push(self.lease(now, product, candidate, until)?);
                    }
                }
            }
        }
        Ok(claimed)
    }

    fn candidates(&self, now: Timestamp, product: &ProductName, most: usize) -> rusqlite::Result<Vec<Candidate>> {
        const DUE: &str = "SELECT product, route, order_key, id, state, attempts, scheduled, replays
            FROM delivery INDEXED BY delivery_due
            WHERE product = ?1 AND due <= ?2 AND due IS NOT NULL AND behind = 0 ORDER BY due, id LIMIT ?3";
        let mut statement = self.connection.prepare_cached(DUE)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Candidate {
                id: row.get(3)?,
                was: state(row.get(4)?),
                attempts: row.get(5)?,
                scheduled: row.get(6)?,
                replays: row.get(7)?,
                line: Line::read(row)?,
            })
        };
        statement.query_map(params![product.as_str(), now.millis(), most as i64], read)?.collect()
    }

    /// Whether an earlier delivery of the same line is unfinished; then this one is put behind it, where no claim looks.
    fn waits(&mut self, candidate: &Candidate) -> rusqlite::Result<bool> {
        const EARLIER: &str = "SELECT 1 FROM delivery INDEXED BY delivery_ordered
            WHERE product = ?1 AND route = ?2 AND order_key = ?3 AND due IS NOT NULL AND id < ?4 LIMIT 1";
        const BEHIND: &str = "UPDATE delivery SET state = 0, behind = 1 WHERE id = ?1";
        let Some(line) = &candidate.line else { return Ok(false) };
        let earlier = params![line.product, line.route, line.key, candidate.id];
        let waits = self.connection.prepare_cached(EARLIER)?.exists(earlier)?;
        if waits {
            self.connection.prepare_cached(BEHIND)?.execute([candidate.id])?;
            if candidate.was == Some(DeliveryState::Leased) {
                self.moved(DeliveryState::Leased, DeliveryState::Due);
            }
        }
        Ok(waits)
    }

    fn lease(
        &mut self,
        now: Timestamp,
        product: &ProductName,
        candidate: Candidate,
        until: Timestamp,
    ) -> rusqlite::Result<Claimed> {
        const LEASE: &str = "UPDATE delivery SET state = 1, due = ?2, token = ?3, changed = ?4 WHERE id = ?1";
        let Candidate { id, was, attempts, scheduled, replays, line: _ } = candidate;
        let token = self.numbers.token;
        self.numbers.token += 1;
        let leased = params![id, until.millis(), token, now.millis()];
        self.connection.prepare_cached(LEASE)?.execute(leased)?;
        if was == Some(DeliveryState::Due) {
            self.moved(DeliveryState::Due, DeliveryState::Leased);
        }
        Ok(Claimed { delivery: id, token, product: product.clone(), attempts, scheduled, replays, until })
    }

    /// Writes down what became of a lease; false when it is no longer the one in force.
    pub(super) fn settle(&mut self, now: Timestamp, fence: Fence, settlement: &Settlement) -> rusqlite::Result<bool> {
        let change = match settlement {
            Settlement::Delivered(attempt) => {
                Change { to: DeliveryState::Delivered, due: None, attempt: Some(attempt), reason: None }
            }
            Settlement::Retry { attempt, at } => Change {
                to: DeliveryState::Due,
                due: Some(*at),
                attempt: Some(attempt),
                reason: attempt.error.clone().or_else(|| attempt.status.map(|status| format!("status {status}"))),
            },
            Settlement::Dead { attempt, reason } => {
                Change { to: DeliveryState::Dead, due: None, attempt: Some(attempt), reason: Some(reason.clone()) }
            }
            Settlement::Release { at } => return self.release(now, fence, *at),
            Settlement::Park { reason } => {
                Change { to: DeliveryState::Parked, due: None, attempt: None, reason: Some(reason.clone()) }
            }
        };
        self.put(now, fence, change)
    }

    /// Makes a dead letter of a leased delivery whose event does not read back.
    pub(super) fn quarantine(&mut self, now: Timestamp, fence: Fence, reason: &str) -> rusqlite::Result<bool> {
        let reason = Some(reason.to_owned());
        self.put(now, fence, Change { to: DeliveryState::Dead, due: None, attempt: None, reason })
    }

    fn put(&mut self, now: Timestamp, fence: Fence, change: Change<'_>) -> rusqlite::Result<bool> {
        const PUT: &str = "UPDATE delivery SET state = ?3, due = ?4, attempts = coalesce(?5, attempts),
            scheduled = scheduled + (?5 IS NOT NULL), reason = ?6, changed = ?7
            WHERE id = ?1 AND token = ?2 AND state = 1 RETURNING product, route, order_key";
        let line = self
            .connection
            .prepare_cached(PUT)?
            .query_row(
                params![
                    fence.delivery,
                    fence.token,
                    super::ledger::code(change.to) as i64,
                    change.due.map(Timestamp::millis),
                    change.attempt.map(|_| fence.attempt),
                    change.reason,
                    now.millis(),
                ],
                Line::read,
            )
            .optional()?;
        let Some(line) = line else { return Ok(false) };
        if let Some(attempt) = change.attempt {
            self.insert_attempt(fence.delivery, fence.attempt, attempt)?;
        }
        self.moved(DeliveryState::Leased, change.to);
        match line {
            Some(line) if change.due.is_none() => self.advance(&line)?,
            _ => self.wakes |= change.due.is_some(),
        }
        Ok(true)
    }

    fn release(&mut self, now: Timestamp, fence: Fence, at: Timestamp) -> rusqlite::Result<bool> {
        const RELEASE: &str = "UPDATE delivery SET state = 0, due = ?3, changed = ?4
            WHERE id = ?1 AND token = ?2 AND state = 1";
        let released = params![fence.delivery, fence.token, at.millis(), now.millis()];
        let held = self.connection.prepare_cached(RELEASE)?.execute(released)? == 1;
        if held {
            self.moved(DeliveryState::Leased, DeliveryState::Due);
            self.wakes = true;
        }
        Ok(held)
    }

    /// Writes down what one attempt came to.
    pub(super) fn insert_attempt(&self, delivery: i64, number: u32, attempt: &Attempt) -> rusqlite::Result<()> {
        const ATTEMPT: &str = "INSERT OR REPLACE INTO attempt (delivery, number, at, took, status, error, answer)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let answer = &attempt.answer[..attempt.answer.len().min(ANSWER_MAX)];
        self.connection.prepare_cached(ATTEMPT)?.execute(params![
            delivery,
            number,
            attempt.at.millis(),
            i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX),
            attempt.status,
            attempt.error,
            answer,
        ])?;
        Ok(())
    }
}
