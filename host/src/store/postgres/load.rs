//! Reading whole events back, bodies checked.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;

use super::super::{Attempt, DeliveryRow, Event, EventDetail, KnownKey, Lease, StoreError, record};
use super::claim::Claimed;
use super::failure::Failure;
use super::pool::Connection;
use super::schema::DELIVERIES_MAX;
use super::{bodies, count, event_id, in_time, state};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::names::{PluginName, ProductName, RouteName};
use crate::base::payload::Payload;

macro_rules! event_columns {
    () => {
        "key, id, received, size, crc, in_pieces, route, verifier, request_id, traceparent, identity, kind, order_key,
        head, redacted"
    };
}

macro_rules! delivery_columns {
    () => {
        "d.id, d.received, d.due, d.changed, d.attempts, d.replays, d.state, d.product, d.route, d.verifier, d.kind,
        d.reason, e.id, e.identity, e.size"
    };
}
pub(super) use delivery_columns;

/// An event and where its body is.
pub(super) struct Kept {
    pub(super) event: Event,
    pub(super) key: i64,
    crc: u32,
    in_pieces: bool,
}

impl Kept {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let id = event_id(row.get(1))?;
        let read = || {
            Some(Self {
                key: row.get(0),
                crc: u32::try_from(row.get::<_, i64>(4)).ok()?,
                in_pieces: row.get(5),
                event: Event {
                    id,
                    received: Timestamp::from_millis(row.get(2)),
                    size: u64::try_from(row.get::<_, i64>(3)).ok()?,
                    route: RouteName::new(row.get(6))?,
                    verifier: PluginName::new(row.get(7))?,
                    request_id: row.get(8),
                    traceparent: row.get(9),
                    identity: row.get(10),
                    kind: row.get(11),
                    order_key: row.get(12),
                    head: record::decode_head(row.get(13))?,
                    redacted: record::decode_names(row.get(14))?,
                },
            })
        };
        read().ok_or_else(|| StoreError::Corrupt(format!("event {id}")))
    }

    /// Its body, when it stands in the row as column 15.
    fn body_in(&self, row: &Row) -> Result<Option<Payload>, StoreError> {
        if self.in_pieces {
            return Ok(None);
        }
        let corrupt = |why: &str| StoreError::Corrupt(format!("the body of {}: {why}", self.event.id));
        let bytes: Option<Vec<u8>> = row.get(15);
        let bytes = bytes.ok_or_else(|| corrupt("it is gone"))?;
        if bytes.len() as u64 != self.event.size || crc32fast::hash(&bytes) != self.crc {
            return Err(corrupt("its checksum does not match"));
        }
        Ok(Some(Payload::Memory(bytes.into())))
    }

    async fn body(&self, row: &Row, connection: &mut Connection, spill: &Path) -> Result<Payload, Failure> {
        match self.body_in(row)? {
            Some(body) => Ok(body),
            None => bodies::fetch(connection, spill, self.event.id, self.event.size, self.crc).await,
        }
    }
}

/// What a claim comes to once its events are read.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) leases: Vec<Lease>,
    /// Those that do not read back, and why.
    pub(super) unreadable: Vec<(Claimed, String)>,
    /// Those whose bodies were too much at once.
    pub(super) left: Vec<Claimed>,
}

/// Bytes of large bodies that one claim fetches, unless one is larger alone.
const FETCH_MAX: u64 = 256 << 20;

/// Reads what was claimed. One that does not read back does not keep the rest from being read.
pub(super) async fn leases(
    connection: &mut Connection,
    spill: &Path,
    claimed: Vec<Claimed>,
) -> Result<Loaded, Failure> {
    const EVENTS: &str = concat!("SELECT ", event_columns!(), ", body FROM tollgate_event WHERE key = ANY($1)");
    let mut keys: Vec<i64> = claimed.iter().map(|claimed| claimed.delivery / DELIVERIES_MAX).collect();
    keys.sort_unstable();
    keys.dedup();
    let rows = in_time(async {
        let statement = connection.statement(EVENTS).await?;
        Ok(connection.client().query(&statement, &[&keys]).await?)
    });
    let rows = rows.await?;
    let mut events = HashMap::new();
    let mut fetched = 0;
    for row in &rows {
        let read = match Kept::read(row) {
            Ok(kept) if kept.in_pieces && fetched > 0 && fetched + kept.event.size > FETCH_MAX => {
                events.insert(kept.key, None);
                continue;
            }
            Ok(kept) => match kept.body(row, connection, spill).await {
                Ok(body) => {
                    fetched += if kept.in_pieces { kept.event.size } else { 0 };
                    Ok((Arc::new(kept.event), body))
                }
                Err(Failure::Other(StoreError::Corrupt(what))) => Err(what),
                Err(other) => return Err(other),
            },
            Err(StoreError::Corrupt(what)) => Err(what),
            Err(other) => return Err(other.into()),
        };
        events.insert(row.get::<_, i64>(0), Some(read));
    }
    let mut loaded = Loaded::default();
    for claimed in claimed {
        match events.get(&(claimed.delivery / DELIVERIES_MAX)) {
            Some(None) => loaded.left.push(claimed),
            Some(Some(Ok((event, body)))) => loaded.leases.push(lease(claimed, event.clone(), body.clone())),
            Some(Some(Err(what))) => loaded.unreadable.push((claimed, what.clone())),
            None => loaded.unreadable.push((claimed, "its event is gone".into())),
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

/// The body of one event.
pub(super) async fn body(connection: &mut Connection, spill: &Path, id: EventId) -> Result<Option<Payload>, Failure> {
    const EVENT: &str = concat!("SELECT ", event_columns!(), ", body FROM tollgate_event WHERE id = $1");
    let statement = connection.statement(EVENT).await?;
    let Some(row) = connection.client().query_opt(&statement, &[&&id.bytes()[..]]).await? else { return Ok(None) };
    Kept::read(&row)?.body(&row, connection, spill).await.map(Some)
}

/// One event's life, as it stood at one moment.
pub(super) async fn detail(connection: &mut Connection, id: EventId) -> Result<Option<EventDetail>, Failure> {
    connection.client().batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let found = detail_within(connection, id).await;
    connection.end(found).await
}

async fn detail_within(connection: &mut Connection, id: EventId) -> Result<Option<EventDetail>, Failure> {
    const EVENT: &str = concat!("SELECT ", event_columns!(), " FROM tollgate_event WHERE id = $1");
    const DELIVERIES: &str = concat!(
        "SELECT ",
        delivery_columns!(),
        " FROM tollgate_delivery d JOIN tollgate_event e ON e.key = $1 WHERE d.id >= $2 AND d.id < $3 ORDER BY d.id"
    );
    const ATTEMPTS: &str = "SELECT delivery, number, at, took, status, error, answer FROM tollgate_attempt
        WHERE delivery >= $1 AND delivery < $2 ORDER BY delivery, number";
    let statement = connection.statement(EVENT).await?;
    let Some(row) = connection.client().query_opt(&statement, &[&&id.bytes()[..]]).await? else { return Ok(None) };
    let Kept { event, key, .. } = Kept::read(&row)?;
    let (from, to) = (key * DELIVERIES_MAX, (key + 1) * DELIVERIES_MAX);
    let statement = connection.statement(DELIVERIES).await?;
    let rows = connection.client().query(&statement, &[&key, &from, &to]).await?;
    let mut deliveries = Vec::with_capacity(rows.len());
    for row in &rows {
        deliveries.push((row.get::<_, i64>(0), delivery(row)?, Vec::new()));
    }
    let statement = connection.statement(ATTEMPTS).await?;
    for row in connection.client().query(&statement, &[&from, &to]).await? {
        let of: i64 = row.get(0);
        if let Some((_, _, attempts)) = deliveries.iter_mut().find(|(id, _, _)| *id == of) {
            attempts.push(attempt(&row));
        }
    }
    let deliveries = deliveries.into_iter().map(|(_, row, attempts)| (row, attempts)).collect();
    Ok(Some(EventDetail { event, deliveries }))
}

fn attempt(row: &Row) -> Attempt {
    Attempt {
        number: count(row.get(1)),
        at: Timestamp::from_millis(row.get(2)),
        took: Duration::from_micros(u64::try_from(row.get::<_, i64>(3)).unwrap_or(0)),
        status: row.get::<_, Option<i32>>(4).and_then(|status| u16::try_from(status).ok()),
        error: row.get(5),
        answer: row.get::<_, Vec<u8>>(6).into(),
    }
}

/// A delivery as it is listed, from [`delivery_columns`].
pub(super) fn delivery(row: &Row) -> Result<DeliveryRow, StoreError> {
    let read = || {
        let state = state(row.get(6))?;
        let due = row.get::<_, Option<i64>>(2).map(Timestamp::from_millis);
        Some(DeliveryRow {
            received: Timestamp::from_millis(row.get(1)),
            due: due.filter(|_| state == super::super::DeliveryState::Due),
            changed: Timestamp::from_millis(row.get(3)),
            attempts: count(row.get(4)),
            replays: count(row.get(5)),
            state,
            product: ProductName::new(row.get(7))?,
            route: RouteName::new(row.get(8))?,
            verifier: PluginName::new(row.get(9))?,
            kind: row.get(10),
            reason: row.get(11),
            event: event_id(row.get(12)).ok()?,
            identity: row.get(13),
            size: u64::try_from(row.get::<_, i64>(14)).ok()?,
        })
    };
    read().ok_or_else(|| StoreError::Corrupt(format!("delivery {}", row.get::<_, i64>(0))))
}

/// When the first delivery of one of these products may be taken.
pub(super) async fn next_due(
    connection: &mut Connection,
    products: &[ProductName],
) -> Result<Option<Timestamp>, Failure> {
    const NEXT: &str = "SELECT min((SELECT min(d.due) FROM tollgate_delivery d
        WHERE d.product = p.product AND d.due IS NOT NULL AND NOT d.behind)) FROM unnest($1::TEXT[]) AS p (product)";
    let products: Vec<&str> = products.iter().map(ProductName::as_str).collect();
    let statement = connection.statement(NEXT).await?;
    let next: Option<i64> = connection.client().query_one(&statement, &[&products]).await?.get(0);
    Ok(next.map(Timestamp::from_millis))
}

/// When the longest-waiting due delivery of all products was due: the products there are, each found by one step into the
/// index.
pub(super) async fn oldest_due(connection: &mut Connection) -> Result<Option<Timestamp>, Failure> {
    const OLDEST: &str = "WITH RECURSIVE p (product) AS (
            SELECT (SELECT min(product) FROM tollgate_delivery WHERE due IS NOT NULL AND NOT behind)
            UNION ALL
            SELECT (SELECT min(d.product) FROM tollgate_delivery d
                WHERE d.product > p.product AND d.due IS NOT NULL AND NOT d.behind)
            FROM p WHERE p.product IS NOT NULL
        )
        SELECT min((SELECT d.due FROM tollgate_delivery d
            WHERE d.product = p.product AND d.due IS NOT NULL AND NOT d.behind AND d.state = 0
            ORDER BY d.due LIMIT 1)) FROM p WHERE p.product IS NOT NULL";
    let statement = connection.statement(OLDEST).await?;
    let oldest: Option<i64> = connection.client().query_one(&statement, &[]).await?.get(0);
    Ok(oldest.map(Timestamp::from_millis))
}

/// Deliveries in each state.
pub(super) async fn states(connection: &mut Connection) -> Result<[u64; 6], Failure> {
    const STATES: &str = "SELECT state, sum(delta)::BIGINT FROM tollgate_tally GROUP BY state";
    let statement = connection.statement(STATES).await?;
    let mut states = [0; 6];
    for row in connection.client().query(&statement, &[]).await? {
        if let Some(slot) = usize::try_from(row.get::<_, i16>(0)).ok().and_then(|state| states.get_mut(state)) {
            *slot = u64::try_from(row.get::<_, i64>(1)).unwrap_or(0);
        }
    }
    Ok(states)
}

/// Events in the order they were accepted, from behind `after`.
pub(super) async fn walk(connection: &mut Connection, after: i64, limit: u32) -> Result<Vec<(i64, EventId)>, Failure> {
    const WALK: &str = "SELECT key, id FROM tollgate_event WHERE key > $1 ORDER BY key LIMIT $2";
    let statement = connection.statement(WALK).await?;
    let rows = connection.client().query(&statement, &[&after, &i64::from(limit)]).await?;
    rows.iter().map(|row| Ok((row.get(0), event_id(row.get(1))?))).collect()
}

/// Known keys in their own order, from behind `after`.
pub(super) async fn known_keys(
    connection: &mut Connection,
    after: Option<Digest>,
    limit: u32,
) -> Result<Vec<KnownKey>, Failure> {
    const KEYS: &str = "SELECT key, event, until FROM tollgate_duplicate WHERE key > $1 ORDER BY key LIMIT $2";
    let after = after.map_or_else(Vec::new, |after| after.0.to_vec());
    let statement = connection.statement(KEYS).await?;
    let rows = connection.client().query(&statement, &[&after, &i64::from(limit)]).await?;
    let corrupt = || StoreError::Corrupt("a duplicate key is not 32 bytes long".into());
    let read = |row: &Row| {
        let key: &[u8] = row.get(0);
        let key = Digest(key.try_into().map_err(|_| corrupt())?);
        Ok(KnownKey { key, event: event_id(row.get(1))?, until: Timestamp::from_millis(row.get(2)) })
    };
    rows.iter().map(read).collect()
}
