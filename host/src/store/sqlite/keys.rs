//! Duplicate keys. They are digests, so in an index each new one lies on a page of its own, and writing that page would
//! cost more than the event. So a new key is a row at the end of `duplicate_recent`, found through a map in memory; once
//! there are many they are moved into the index in its order, many to a page, a few at a time between two batches.
//!
//! Invariant: a key is in the map exactly when its row in `duplicate_recent` is committed and was not moved away. A key
//! that is in both tables counts as it stands in the map, which is the younger.
//!
//! Holds on keys live in memory only: the process that has one is the only one on the store, and what it was about to do
//! ends with it.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{Reservation, StoreError};
use super::ledger::Ledger;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;

/// Keys in memory from which on they are moved: about six MiB. Few in tests, so that these see moves.
const RECENT_MAX: usize = if cfg!(test) { 50 } else { 65_536 };

/// Keys moved, or rows cleared, in one transaction.
const STEP: usize = if cfg!(test) { 20 } else { 1024 };

/// Holds in memory at once. Each belongs to a request that is being forwarded.
const HOLDS_MAX: usize = 65_536;

/// A duplicate key that somebody holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    until: Timestamp,
    event: EventId,
}

/// A duplicate key that was written down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) until: Timestamp,
    pub(super) event: EventId,
    /// Its row in `duplicate_recent`. Rises: a row that is being moved away must not be taken for a new one.
    row: i64,
}

/// What the writer remembers of the keys.
#[derive(Debug)]
pub(super) struct Keys {
    recent: HashMap<Digest, Known>,
    holds: HashMap<Digest, Hold>,
    moving: Option<Move>,
}

/// A move under way.
#[derive(Debug)]
struct Move {
    /// In falling order: the next to move is the last.
    left: Vec<Digest>,
    /// The rows up to here are being moved.
    through: i64,
}

/// Changes of the keys within a transaction, for [`Keys`] once it is committed.
#[derive(Debug, Default)]
pub(super) struct KeyChanges {
    added: Vec<(Digest, Known)>,
    /// Those not in force after this time were removed.
    expired: Option<Timestamp>,
    /// Holds taken and, without one, ended.
    held: Vec<(Digest, Option<Hold>)>,
    /// When the last of them was taken; those that ran out before are forgotten.
    held_at: Option<Timestamp>,
}

/// A point to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    added: usize,
    expired: Option<Timestamp>,
    held: usize,
}

impl KeyChanges {
    /// To be given to [`back_to`](Self::back_to).
    pub(super) fn mark(&self) -> Mark {
        Mark { added: self.added.len(), expired: self.expired, held: self.held.len() }
    }

    /// Forgets what came after the mark.
    pub(super) fn back_to(&mut self, Mark { added, expired, held }: Mark) {
        self.added.truncate(added);
        self.held.truncate(held);
        self.expired = expired;
    }
}

impl Keys {
    /// Reads the recent ones.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut recent = HashMap::new();
        // In order: of two rows for a key the younger counts.
        let mut rows = connection.prepare("SELECT n, key, until, event FROM duplicate_recent ORDER BY n")?;
        let read = |row: &rusqlite::Row<'_>| {
            let until = Timestamp::from_millis(row.get(2)?);
            let known = Known { until, event: EventId::from_bytes(row.get(3)?), row: row.get(0)? };
            Ok((Digest(row.get(1)?), known))
        };
        for row in rows.query_map([], read)? {
            let (key, known) = row?;
            recent.insert(key, known);
        }
        Ok(Self { recent, holds: HashMap::new(), moving: None })
    }

    /// Takes over what a commit came to.
    pub(super) fn apply(&mut self, changes: KeyChanges) {
        // What the same batch added is younger, and does no harm when it has expired: it no longer counts.
        if let Some(now) = changes.expired {
            self.recent.retain(|_, known| known.until > now);
        }
        self.recent.extend(changes.added);
        for (key, hold) in changes.held {
            match hold {
                Some(hold) => self.holds.insert(key, hold),
                None => self.holds.remove(&key),
            };
        }
        if let Some(now) = changes.held_at.filter(|_| self.holds.len() >= HOLDS_MAX / 2) {
            self.holds.retain(|_, hold| hold.until > now);
        }
    }

    /// One step of moving keys into the index, when it is time. Called between two batches.
    pub(super) fn step(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.moving.is_none() && self.recent.len() >= RECENT_MAX {
            let mut left: Vec<_> = self.recent.keys().copied().collect();
            left.sort_unstable_by(|a, b| b.cmp(a));
            let through = self.recent.values().map(|known| known.row).max().unwrap_or(0);
            self.moving = Some(Move { left, through });
        }
        let Some(moving) = &mut self.moving else { return Ok(()) };
        let transaction = connection.unchecked_transaction()?;
        if moving.left.is_empty() {
            let done = clear(&transaction, moving.through)?;
            transaction.commit()?;
            if done {
                let through = moving.through;
                self.recent.retain(|_, known| known.row > through);
                self.moving = None;
            }
            return Ok(());
        }
        let rest = moving.left.len().saturating_sub(STEP);
        for key in moving.left[rest..].iter().rev() {
            // Gone when it expired meanwhile.
            if let Some(known) = self.recent.get(key) {
                index(&transaction, key, known)?;
            }
        }
        transaction.commit()?;
        moving.left.truncate(rest);
        Ok(())
    }
}

fn index(connection: &Connection, key: &Digest, known: &Known) -> rusqlite::Result<()> {
    const INDEX: &str = "INSERT INTO duplicate (key, until, event) VALUES (?1, ?2, ?3)
        ON CONFLICT (key) DO UPDATE SET until = excluded.until, event = excluded.event";
    let values = params![&key.0[..], known.until.millis(), &known.event.bytes()[..]];
    connection.prepare_cached(INDEX)?.execute(values)?;
    Ok(())
}

/// Removes the first few rows that were moved; true when none are left.
fn clear(connection: &Connection, through: i64) -> rusqlite::Result<bool> {
    const CLEAR: &str = "DELETE FROM duplicate_recent WHERE n <= ?1
        AND n < (SELECT min(n) FROM duplicate_recent) + ?2";
    const LEFT: &str = "SELECT 1 FROM duplicate_recent WHERE n <= ?1 LIMIT 1";
    connection.prepare_cached(CLEAR)?.execute(params![through, STEP as i64])?;
    Ok(!connection.prepare_cached(LEFT)?.exists([through])?)
}

impl Ledger<'_> {
    /// The event that carried `key` first, while that counts.
    pub(super) fn first_with(&self, key: &Digest, now: Timestamp) -> rusqlite::Result<Option<EventId>> {
        const KNOWN: &str = "SELECT event FROM duplicate WHERE key = ?1 AND until > ?2";
        let added = self.key_changes.added.iter().rev().find(|(added, _)| added == key).map(|(_, known)| known);
        if let Some(known) = added.or_else(|| self.keys.recent.get(key)) {
            return Ok((known.until > now).then_some(known.event));
        }
        let mut statement = self.connection.prepare_cached(KNOWN)?;
        let first = statement.query_row(params![&key.0[..], now.millis()], |row| row.get(0)).optional()?;
        Ok(first.map(EventId::from_bytes))
    }

    /// Who holds `key`, if somebody does.
    fn held(&self, key: &Digest, now: Timestamp) -> Option<Hold> {
        let changed = self.key_changes.held.iter().rev().find(|(changed, _)| changed == key).map(|(_, hold)| *hold);
        changed.unwrap_or_else(|| self.keys.holds.get(key).copied()).filter(|hold| hold.until > now)
    }

    /// Holds `key` for `event`, when it is free. The inner error is a decision: nothing changed.
    pub(super) fn reserve(
        &mut self,
        now: Timestamp,
        key: Digest,
        event: EventId,
        until: Timestamp,
    ) -> rusqlite::Result<Result<Reservation, StoreError>> {
        if let Some(first) = self.first_with(&key, now)? {
            return Ok(Ok(Reservation::Duplicate(first)));
        }
        if let Some(hold) = self.held(&key, now).filter(|hold| hold.event != event) {
            return Ok(Ok(Reservation::InProgress { until: hold.until }));
        }
        self.key_changes.held_at = Some(now);
        if self.keys.holds.len() + self.key_changes.held.len() >= HOLDS_MAX {
            return Ok(Err(StoreError::Busy));
        }
        self.key_changes.held.push((key, Some(Hold { until, event })));
        Ok(Ok(Reservation::Held))
    }

    /// Ends the hold of `event` on `key`: known from now on until `known`, or free.
    pub(super) fn conclude(
        &mut self,
        now: Timestamp,
        key: Digest,
        event: EventId,
        known: Option<Timestamp>,
    ) -> rusqlite::Result<bool> {
        let theirs = self.held(&key, now).is_some_and(|hold| hold.event != event);
        if theirs || self.first_with(&key, now)?.is_some_and(|first| first != event) {
            return Ok(false);
        }
        if let Some(until) = known {
            self.remember(key, until, event)?;
        }
        self.key_changes.held.push((key, None));
        Ok(true)
    }

    /// Writes down that `event` carries `key`.
    pub(super) fn remember(&mut self, key: Digest, until: Timestamp, event: EventId) -> rusqlite::Result<()> {
        const REMEMBER: &str = "INSERT INTO duplicate_recent (n, key, until, event) VALUES (?1, ?2, ?3, ?4)";
        let row = self.numbers.key;
        self.numbers.key += 1;
        let values = params![row, &key.0[..], until.millis(), &event.bytes()[..]];
        self.connection.prepare_cached(REMEMBER)?.execute(values)?;
        self.key_changes.added.push((key, Known { until, event, row }));
        Ok(())
    }

    /// Removes recent keys that no longer count. Returns how many.
    pub(super) fn expire_recent(&mut self, now: Timestamp) -> rusqlite::Result<u64> {
        const EXPIRE: &str = "DELETE FROM duplicate_recent WHERE until <= ?1";
        let gone = self.connection.prepare_cached(EXPIRE)?.execute([now.millis()])?;
        self.key_changes.expired = Some(now);
        Ok(gone as u64)
    }

    /// Removes those of `keys` from the index that no longer count. Returns how many.
    pub(super) fn expire(&mut self, now: Timestamp, keys: &[Digest]) -> rusqlite::Result<u64> {
        const EXPIRE: &str = "DELETE FROM duplicate WHERE key = ?1 AND until <= ?2";
        let mut statement = self.connection.prepare_cached(EXPIRE)?;
        let mut gone = 0;
        for key in keys {
            gone += statement.execute(params![&key.0[..], now.millis()])? as u64;
        }
        Ok(gone)
    }
}

/// Keys of the index after `after` that no longer count, at most `look` looked at; and where to go on.
pub(super) fn expired(
    connection: &Connection,
    now: Timestamp,
    after: Option<Digest>,
    look: usize,
) -> rusqlite::Result<(Vec<Digest>, Option<Digest>)> {
    const NEXT: &str = "SELECT key, until FROM duplicate WHERE key > ?1 ORDER BY key LIMIT ?2";
    let after = after.map_or(Vec::new(), |key| key.0.to_vec());
    let mut statement = connection.prepare_cached(NEXT)?;
    let mut rows = statement.query(params![after, look as i64])?;
    let (mut found, mut last, mut looked) = (Vec::new(), None, 0);
    while let Some(row) = rows.next()? {
        let key = Digest(row.get(0)?);
        if row.get::<_, i64>(1)? <= now.millis() {
            found.push(key);
        }
        looked += 1;
        last = Some(key);
    }
    Ok((found, last.filter(|_| looked == look)))
}

#[cfg(test)]
mod tests {
    use super::super::super::conformance::{accept, at, event, key};
    use super::super::super::{Accepted, EventStore, NewEvent, Retention};
    use super::super::tests::{folder, open};
    use super::*;

    fn with_key(n: usize, until: i64) -> NewEvent {
        NewEvent { duplicate: Some((key(&n.to_string()), at(until))), ..event(at(0)) }
    }

    fn counts(path: &std::path::Path) -> (i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM duplicate_recent), (SELECT count(*) FROM duplicate)";
        let connection = Connection::open(path).unwrap();
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    #[tokio::test]
    async fn keys_are_known_before_during_and_after_their_move() {
        let (_folder, path) = folder();
        let mut store = open(&path);
        let mut first = Vec::new();
        for n in 0..RECENT_MAX * 6 {
            first.push(accept(&*store, at(0), with_key(n, 1000)).await);
            if n % 97 == 0 {
                drop(store);
                store = open(&path);
            }
            for known in [0, n / 2, n] {
                let again = store.accept(at(1), with_key(known, 1000)).await.unwrap();
                assert_eq!(again, Accepted::Duplicate(first[known]), "{known} after {n}");
            }
        }
        store.close().await.unwrap();
        let (recent, indexed) = counts(&path);
        assert!(recent < 3 * RECENT_MAX as i64 && indexed >= 3 * RECENT_MAX as i64, "{recent} {indexed}");
    }

    #[tokio::test]
    async fn a_moved_key_counts_again_with_its_new_window() {
        let (_folder, path) = folder();
        let store = open(&path);
        for n in 0..RECENT_MAX * 3 {
            accept(&*store, at(0), with_key(n, 10)).await;
        }
        let again = accept(&*store, at(10), with_key(0, 20)).await;
        for n in RECENT_MAX * 3..RECENT_MAX * 6 {
            accept(&*store, at(11), with_key(n, 20)).await;
            assert_eq!(store.accept(at(12), with_key(0, 30)).await.unwrap(), Accepted::Duplicate(again));
        }
        let swept = store.sweep(at(15), &Retention::default()).await.unwrap();
        assert_eq!(swept.duplicates, RECENT_MAX as u64 * 3 - 1);
        assert_eq!(store.accept(at(15), with_key(0, 30)).await.unwrap(), Accepted::Duplicate(again));
        assert_eq!(store.sweep(at(20), &Retention::default()).await.unwrap().duplicates, RECENT_MAX as u64 * 3 + 1);
        let (recent, indexed) = counts(&path);
        assert_eq!((recent, indexed), (0, 0));
    }
}
