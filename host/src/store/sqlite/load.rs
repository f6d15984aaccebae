//! Reading whole events back, bodies checked.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::super::{Attempt, DeliveryRow, Event, EventDetail, KnownKey, Lease, StoreError, record};
use super::bodies::Bodies;
use super::failure;
use super::lease::Claimed;
use super::schema::DELIVERIES_MAX;
use super::select::{Delivery, event_key, of_event};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::names::{PluginName, RouteName};
use crate::base::payload::Payload;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// An event and where its body is.
struct Kept {
    event: Event,
    crc: u32,
    in_file: bool,
}

/// What a claim comes to once its events are read.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) leases: Vec<Lease>,
    /// Those that do not read back, and why.
    pub(super) unreadable: Vec<(Claimed, String)>,
}

/// Reads what was claimed. One that does not read back does not keep the rest from being read.
pub(super) fn leases(connection: &Connection, bodies: &Bodies, claimed: Vec<Claimed>) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    // Several deliveries of one event share it.
    let mut events = HashMap::new();
    for claimed in claimed {
        let key = claimed.delivery / DELIVERIES_MAX;
        let read = match events.get(&key) {
            Some(read) => Clone::clone(read),
            None => {
                let read = event_and_body(connection, bodies, key);
                events.insert(key, read.clone());
                read
            }
        };
        match read {
            Ok((event, body)) => loaded.leases.push(lease(claimed, event, body)),
            Err(StoreError::Corrupt(what)) => loaded.unreadable.push((claimed, what)),
            Err(other) => return Err(other),
        }
    }
    Ok(loaded)
}

fn lease(claimed: Claimed, event: Arc<Event>, body: Payload) -> Lease {
    let Claimed { delivery, token, product, attempts, scheduled, replays, until } = claimed;
    Lease {
        event,
        body,
        product,
        attempt: attempts.saturating_add(1),
        scheduled_attempt: scheduled.saturating_add(1),
        replay: replays,
        until,
        delivery,
        token: token.cast_unsigned(),
    }
}

fn event_and_body(connection: &Connection, bodies: &Bodies, key: i64) -> Result<(Arc<Event>, Payload), StoreError> {
    let kept = event(connection, key)?.ok_or_else(|| StoreError::Corrupt("its event is gone".into()))?;
    let body = body_of(connection, bodies, key, &kept)?;
    Ok((Arc::new(kept.event), body))
}

/// The body of one event.
pub(super) fn body(connection: &Connection, bodies: &Bodies, id: EventId) -> Result<Option<Payload>, StoreError> {
    let Some(key) = event_key(connection, id)? else { return Ok(None) };
    let Some(kept) = event(connection, key)? else { return Ok(None) };
    body_of(connection, bodies, key, &kept).map(Some)
}

fn body_of(connection: &Connection, bodies: &Bodies, key: i64, kept: &Kept) -> Result<Payload, StoreError> {
    const BODY: &str = "SELECT body FROM event WHERE key = ?1";
    let corrupt = |why: &str| StoreError::Corrupt(format!("the body of {}: {why}", kept.event.id));
    let body = if kept.in_file {
        bodies.read(kept.event.id).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => corrupt("its file is gone"),
            _ => StoreError::Failed(format!("cannot read the body of {}: {error}", kept.event.id)),
        })?
    } else {
        let mut statement = connection.prepare_cached(BODY).map_err(failure)?;
        let bytes = statement.query_row([key], |row| row.get::<_, Option<Vec<u8>>>(0)).optional().map_err(failure)?;
        Payload::Memory(bytes.flatten().ok_or_else(|| corrupt("it is gone"))?.into())
    };
    let read = checksum(&body).map_err(|error| corrupt(&error.to_string()))?;
    if body.length() != kept.event.size || read != kept.crc {
        return Err(corrupt("its checksum does not match"));
    }
    Ok(body)
}

/// The CRC-32 of a body.
pub(super) fn checksum(body: &Payload) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    body.for_each(|piece| hasher.update(piece))?;
    Ok(hasher.finalize())
}

fn event(connection: &Connection, key: i64) -> Result<Option<Kept>, StoreError> {
    const EVENT: &str = "SELECT id, route, verifier, received, request_id, traceparent, head, size, crc, in_file,
        identity, kind, order_key, redacted FROM event WHERE key = ?1";
    let mut statement = connection.prepare_cached(EVENT).map_err(failure)?;
    let kept = statement.query_row([key], read_event).optional().map_err(failure)?;
    match kept {
        None => Ok(None),
        Some(Some(kept)) => Ok(Some(kept)),
        Some(None) => Err(StoreError::Corrupt(format!("event {key}"))),
    }
}

/// `None` when a name or a blob is not what was written.
fn read_event(row: &Row<'_>) -> rusqlite::Result<Option<Kept>> {
    let (route, verifier): (String, String) = (row.get(1)?, row.get(2)?);
    let head = row.get_ref(6)?.as_blob().ok().and_then(record::decode_head);
    let redacted = row.get_ref(13)?.as_blob_or_null().ok().and_then(record::decode_names);
    let (Some(route), Some(verifier), Some(head), Some(redacted)) =
        (RouteName::new(&route), PluginName::new(&verifier), head, redacted)
    else {
        return Ok(None);
    };
    let event = Event {
        id: EventId::from_bytes(row.get(0)?),
        route,
        verifier,
        received: Timestamp::from_millis(row.get(3)?),
        request_id: row.get(4)?,
        traceparent: row.get(5)?,
        head,
        size: row.get(7)?,
        identity: row.get(10)?,
        kind: row.get(11)?,
        order_key: row.get(12)?,
        redacted,
    };
    Ok(Some(Kept { event, crc: row.get(8)?, in_file: row.get(9)? }))
}

/// One event's life.
pub(super) fn detail(connection: &Connection, id: EventId) -> Result<Option<EventDetail>, StoreError> {
    // One snapshot for all that is read here.
    let transaction = connection.unchecked_transaction().map_err(failure)?;
    let Some(key) = event_key(&transaction, id)? else { return Ok(None) };
    let Some(Kept { event, .. }) = event(&transaction, key)? else { return Ok(None) };
    let mut deliveries = Vec::new();
    for delivery in of_event(&transaction, key)? {
        let attempts = attempts(&transaction, delivery.id).map_err(failure)?;
        deliveries.push((delivery.row(event.id, event.identity.clone(), event.size), attempts));
    }
    Ok(Some(EventDetail { event, deliveries }))
}

fn attempts(connection: &Connection, delivery: i64) -> rusqlite::Result<Vec<Attempt>> {
    const ATTEMPTS: &str = "SELECT number, at, took, status, error, answer FROM attempt WHERE delivery = ?1
        ORDER BY number";
    let mut statement = connection.prepare_cached(ATTEMPTS)?;
    let read = |row: &Row<'_>| {
        Ok(Attempt {
            number: row.get(0)?,
            at: Timestamp::from_millis(row.get(1)?),
            took: Duration::from_micros(row.get(2)?),
            status: row.get(3)?,
            error: row.get(4)?,
            answer: row.get::<_, Vec<u8>>(5)?.into(),
        })
    };
    statement.query_map([delivery], read)?.collect()
}

/// Deliveries as they are listed. An event that was swept meanwhile takes its deliveries off the list.
pub(super) fn rows(connection: &Connection, deliveries: Vec<Delivery>) -> Result<Vec<DeliveryRow>, StoreError> {
    const EVENT: &str = "SELECT id, identity, size FROM event WHERE key = ?1";
    let mut statement = connection.prepare_cached(EVENT).map_err(failure)?;
    let mut rows = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let read = |row: &Row<'_>| Ok((EventId::from_bytes(row.get(0)?), row.get(1)?, row.get(2)?));
        let found = statement.query_row([delivery.event()], read).optional().map_err(failure)?;
        rows.extend(found.map(|(id, identity, size)| delivery.row(id, identity, size)));
    }
    Ok(rows)
}

/// When the first of one product's deliveries may be taken.
pub(super) fn next_due(connection: &Connection, product: &str) -> rusqlite::Result<Option<Timestamp>> {
    const NEXT: &str = "SELECT min(due) FROM delivery INDEXED BY delivery_due
        WHERE product = ?1 AND due IS NOT NULL AND behind = 0";
    let mut statement = connection.prepare_cached(NEXT)?;
    let next: Option<i64> = statement.query_row([product], |row| row.get(0))?;
    Ok(next.map(Timestamp::from_millis))
}

/// When the longest-waiting due delivery of all products was due.
pub(super) fn oldest_due(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    // The products there are, each found by one step into the index.
    const PRODUCTS: &str = "SELECT min(product) FROM delivery INDEXED BY delivery_due
        WHERE product > ?1 AND due IS NOT NULL AND behind = 0";
    const OLDEST: &str = "SELECT due FROM delivery INDEXED BY delivery_due
        WHERE product = ?1 AND due IS NOT NULL AND behind = 0 AND state = 0 ORDER BY due LIMIT 1";
    let mut products = connection.prepare_cached(PRODUCTS)?;
    let mut oldest = connection.prepare_cached(OLDEST)?;
    let mut found: Option<i64> = None;
    let mut product = String::new();
    while let Some(next) = products.query_row([&product], |row| row.get::<_, Option<String>>(0))? {
        let due = oldest.query_row([&next], |row| row.get(0)).optional()?;
        found = found.into_iter().chain(due).min();
        product = next;
    }
    Ok(found.map(Timestamp::from_millis))
}

/// Events in the order they were accepted, from behind `after`.
pub(super) fn walk(connection: &Connection, after: i64, limit: u32) -> rusqlite::Result<Vec<(i64, EventId)>> {
    const WALK: &str = "SELECT key, id FROM event WHERE key > ?1 ORDER BY key LIMIT ?2";
    let mut statement = connection.prepare_cached(WALK)?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, EventId::from_bytes(row.get(1)?)));
    statement.query_map((after, limit), read)?.collect()
}

/// Known keys in their own order, from behind `after`. A recent one counts before one that was written long ago.
pub(super) fn known_keys(
    connection: &Connection,
    after: Option<Digest>,
    limit: u32,
) -> rusqlite::Result<Vec<KnownKey>> {
    const KEYS: &str = "SELECT key, event, max(until) FROM (
            SELECT key, event, until FROM (SELECT * FROM duplicate WHERE key > ?1 ORDER BY key LIMIT ?2)
            UNION ALL
            SELECT key, event, until FROM duplicate_recent WHERE key > ?1
        ) GROUP BY key ORDER BY key LIMIT ?2";
    let mut statement = connection.prepare_cached(KEYS)?;
    let read = |row: &Row<'_>| {
        Ok(KnownKey {
            key: Digest(row.get(0)?),
            event: EventId::from_bytes(row.get(1)?),
            until: Timestamp::from_millis(row.get(2)?),
        })
    };
    let after = after.map_or_else(Vec::new, |after| after.0.to_vec());
    statement.query_map((after, limit), read)?.collect()
}
