//! Taking an event in: the duplicate key, the event, its body and its deliveries, all or nothing.

use bytes::Bytes;
use rusqlite::params;

use super::super::{Accepted, DeliveryState, NewEvent, Restored, StoreError, record};
use super::ledger::{Ledger, code};
use super::schema::DELIVERIES_MAX;
use crate::base::clock::Timestamp;
use crate::base::ids::EventId;

/// What the rows and index entries of an event take beside its head and body.
const ROW_BYTES: u64 = 1024;

/// Where an event's body is kept.
#[derive(Debug)]
pub(super) enum Kept {
    /// In the database.
    Row(Bytes),
    /// In a file that is on disk already.
    File {
        /// Its length in bytes.
        size: u64,
    },
}

/// An event ready to be written: all encoding is done, so that the writer only binds.
#[derive(Debug)]
pub(super) struct Entry {
    event: NewEvent,
    head: Vec<u8>,
    redacted: Option<Vec<u8>>,
    crc: u32,
    body: Kept,
}

impl Entry {
    /// The entry of `event`, whose body is at `body` and has the checksum `crc`.
    pub(super) fn new(mut event: NewEvent, body: Kept, crc: u32) -> Result<Self, StoreError> {
        if event.products.is_empty() || event.products.len() as i64 >= DELIVERIES_MAX {
            let expected = format!("expected 1 to {} products, not {}", DELIVERIES_MAX - 1, event.products.len());
            return Err(StoreError::Failed(expected));
        }
        let head = record::encode_head(&event.head);
        let redacted = record::encode_names(&event.redacted);
        // Freed here rather than by the writer, who would take turns for the allocator with everyone else.
        event.head.headers = Vec::new();
        event.redacted = Vec::new();
        Ok(Self { event, head, redacted, crc, body })
    }

    /// The event's id.
    pub(super) fn id(&self) -> EventId {
        self.event.id
    }

    /// As [`cost`](Self::cost), for the writer's queue.
    pub(super) fn weight(&self) -> usize {
        usize::try_from(self.cost()).unwrap_or(usize::MAX)
    }

    /// What it takes in memory while it waits, and about what it takes on disk.
    pub(super) fn cost(&self) -> u64 {
        let body = match &self.body {
            Kept::Row(bytes) => bytes.len() as u64,
            // Counted when the file was made.
            Kept::File { .. } => 0,
        };
        ROW_BYTES + self.head.len() as u64 + body
    }
}

impl Ledger<'_> {
    /// Keeps the event and its deliveries as they stand, unless it is here; false then. The inner error is a decision:
    /// nothing was written.
    pub(super) fn restore(
        &mut self,
        now: Timestamp,
        entry: &Entry,
        deliveries: &[Restored],
    ) -> rusqlite::Result<Result<bool, StoreError>> {
        const KNOWN: &str = "SELECT 1 FROM event WHERE id = ?1";
        if self.connection.prepare_cached(KNOWN)?.exists([&entry.event.id.bytes()[..]])? {
            return Ok(Ok(false));
        }
        if entry.cost() > self.room {
            return Ok(Err(StoreError::Full));
        }
        if let Some((key, until)) = entry.event.duplicate
            && self.first_with(&key, now)?.is_none()
        {
            self.remember(key, until, entry.event.id)?;
        }
        let key = self.numbers.event;
        self.numbers.event += 1;
        self.insert_event(key, entry)?;
        for (delivery, id) in deliveries.iter().zip(key * DELIVERIES_MAX..) {
            self.restore_delivery(now, id, entry, delivery)?;
        }
        self.room = self.room.saturating_sub(entry.cost());
        self.wakes = true;
        Ok(Ok(true))
    }

    fn restore_delivery(
        &mut self,
        now: Timestamp,
        id: i64,
        entry: &Entry,
        delivery: &Restored,
    ) -> rusqlite::Result<()> {
        const DELIVERY: &str = "INSERT INTO delivery (id, state, received, due, attempts, replays, changed, product,
            route, verifier, kind, order_key, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let event = &entry.event;
        let state = match delivery.state {
            DeliveryState::Leased => DeliveryState::Due,
            state => state,
        };
        let due = (state == DeliveryState::Due).then(|| delivery.due.unwrap_or(now));
        self.connection.prepare_cached(DELIVERY)?.execute(params![
            id,
            code(state) as i64,
            event.received.millis(),
            due.map(Timestamp::millis),
            delivery.attempts,
            delivery.replays,
            delivery.changed.millis(),
            delivery.product.as_str(),
            event.route.as_str(),
            event.verifier.as_str(),
            event.kind,
            event.order_key,
            delivery.reason,
        ])?;
        self.moves[code(state)] += 1;
        delivery.history.iter().try_for_each(|attempt| self.insert_attempt(id, attempt.number, attempt))
    }

    /// Keeps the event unless its duplicate key is known. The inner error is a decision: nothing was written.
    pub(super) fn accept(&mut self, now: Timestamp, entry: &Entry) -> rusqlite::Result<Result<Accepted, StoreError>> {
        if let Some((key, _)) = &entry.event.duplicate
            && let Some(first) = self.first_with(key, now)?
        {
            return Ok(Ok(Accepted::Duplicate(first)));
        }
        // After the look: a sender that repeats itself is told so even when there is no room.
        if entry.cost() > self.room {
            return Ok(Err(StoreError::Full));
        }
        if let Some((key, until)) = &entry.event.duplicate {
            self.remember(*key, *until, entry.event.id)?;
        }
        let key = self.numbers.event;
        self.numbers.event += 1;
        self.insert_event(key, entry)?;
        self.insert_deliveries(now, key, entry)?;
        self.room = self.room.saturating_sub(entry.cost());
        self.moves[code(DeliveryState::Due)] += entry.event.products.len() as i64;
        self.wakes = true;
        Ok(Ok(Accepted::New(entry.event.id)))
    }

    fn insert_event(&self, key: i64, entry: &Entry) -> rusqlite::Result<()> {
        const EVENT: &str = "INSERT INTO event (key, id, route, verifier, received, request_id, traceparent, head,
            size, crc, in_file, identity, kind, order_key, redacted, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
        let event = &entry.event;
        let (size, body) = match &entry.body {
            Kept::Row(bytes) => (bytes.len() as u64, Some(&bytes[..])),
            Kept::File { size } => (*size, None),
        };
        self.connection.prepare_cached(EVENT)?.execute(params![
            key,
            &event.id.bytes()[..],
            event.route.as_str(),
            event.verifier.as_str(),
            event.received.millis(),
            event.request_id,
            event.traceparent,
            entry.head,
            size,
            entry.crc,
            body.is_none(),
            event.identity,
            event.kind,
            event.order_key,
            entry.redacted,
            body,
        ])?;
        Ok(())
    }

    fn insert_deliveries(&self, now: Timestamp, key: i64, entry: &Entry) -> rusqlite::Result<()> {
        const DELIVERY: &str =
            "INSERT INTO delivery (id, state, received, due, changed, product, route, verifier, kind,
            order_key) VALUES (?1, 0, ?2, ?8, ?8, ?3, ?4, ?5, ?6, ?7)";
        let event = &entry.event;
        let mut statement = self.connection.prepare_cached(DELIVERY)?;
        for (product, id) in event.products.iter().zip(key * DELIVERIES_MAX..) {
            statement.execute(params![
                id,
                event.received.millis(),
                product.as_str(),
                event.route.as_str(),
                event.verifier.as_str(),
                event.kind,
                event.order_key,
                now.millis(),
            ])?;
        }
        Ok(())
    }
}
