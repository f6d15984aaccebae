//! Taking events in: duplicate keys, events and deliveries of a whole batch in one statement, which is one commit and one
//! way to the database and back.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::{Accepted, NewEvent, StoreError, record};
use super::Inner;
use super::failure::Failure;
use super::pool::{Connection, Use};
use super::queue::{Asked, BATCH_MAX};
use super::schema::{BLOCK, DELIVERIES_MAX};
use super::{in_time, text};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;

/// What a waiting event takes beside its head and body.
const ENTRY_BYTES: usize = 1024;

/// How often a batch is done that somebody was in the way of, or whose connection broke.
const TRIES: usize = 4;

/// No further try begins after this long: senders wait for the answer.
const RETRY_MAX: Duration = Duration::from_secs(5);

// The events of a batch have their keys in one block.
const _: () = assert!(BATCH_MAX as i64 <= BLOCK);

/// Where an event's body is kept.
#[derive(Debug)]
pub(super) enum Kept {
    /// In its row.
    Row(Bytes),
    /// In pieces that are there already; how long they are together.
    Pieces(u64),
}

/// An event ready to be written.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) now: Timestamp,
    pub(super) event: NewEvent,
    pub(super) head: Vec<u8>,
    pub(super) redacted: Option<Vec<u8>>,
    pub(super) crc: u32,
    body: Kept,
}

impl Entry {
    pub(super) fn new(now: Timestamp, event: NewEvent, body: Kept, crc: u32) -> Result<Self, StoreError> {
        if event.products.is_empty() || event.products.len() as i64 >= DELIVERIES_MAX {
            let expected = format!("expected 1 to {} products, not {}", DELIVERIES_MAX - 1, event.products.len());
            return Err(StoreError::Failed(expected));
        }
        let head = record::encode_head(&event.head);
        let redacted = record::encode_names(&event.redacted);
        Ok(Self { now, event, head, redacted, crc, body })
    }

    /// What it takes in memory while it waits.
    pub(super) fn weight(&self) -> usize {
        let body = match &self.body {
            Kept::Row(bytes) => bytes.len(),
            Kept::Pieces(_) => 0,
        };
        ENTRY_BYTES + self.head.len() + body
    }

    fn key(&self) -> Option<Digest> {
        self.event.duplicate.map(|(key, _)| key)
    }
}

pub(super) type Intake = Asked<Entry, Accepted>;
type Outcome = Result<Accepted, StoreError>;

impl Inner {
    /// Does a batch and answers everyone in it.
    pub(super) async fn accept_batch(&self, batch: Vec<Intake>) {
        let started = Instant::now();
        let size = batch.len();
        let entries: Vec<&Entry> = batch.iter().map(|asked| &asked.input).collect();
        let outcomes = self.accept_all(&entries).await;
        if let Some(observe) = &self.observe {
            observe(started.elapsed(), size);
        }
        if outcomes.iter().any(|outcome| matches!(outcome, Ok(Accepted::New(_)))) {
            self.bell.ring();
            self.announce();
        }
        for (asked, outcome) in batch.into_iter().zip(outcomes) {
            asked.answer(outcome);
        }
    }

    /// Of several with one key the first is taken; the others are its duplicates.
    async fn accept_all(&self, entries: &[&Entry]) -> Vec<Outcome> {
        let mut first_with = HashMap::new();
        let mut leaders = Vec::new();
        let mut places = Vec::new();
        for entry in entries {
            let place = match entry.key() {
                Some(key) => *first_with.entry(key).or_insert(leaders.len()),
                None => leaders.len(),
            };
            let leads = place == leaders.len();
            if leads {
                leaders.push(*entry);
            }
            places.push((place, leads));
        }
        let outcomes = self.accept_distinct(&leaders).await;
        let of = |(place, leads): (usize, bool)| match &outcomes[place] {
            Ok(Accepted::New(id)) if !leads => Ok(Accepted::Duplicate(*id)),
            outcome => outcome.clone(),
        };
        places.into_iter().map(of).collect()
    }

    async fn accept_distinct(&self, entries: &[&Entry]) -> Vec<Outcome> {
        // Whether some try was committed, for all we know.
        let mut unsure = false;
        match self.accept_together(entries, &mut unsure).await {
            Ok(outcomes) => outcomes,
            Err(Failure::Refused(error)) if entries.len() > 1 => {
                tracing::debug!(%error, events = entries.len(), "a batch is done one by one");
                let mut outcomes = Vec::with_capacity(entries.len());
                for entry in entries {
                    let alone = self.accept_together(&[entry], &mut unsure).await;
                    outcomes.push(alone.map_or_else(|failure| Err(failure.into()), |mut one| one.remove(0)));
                }
                outcomes
            }
            Err(failure) => vec![Err(failure.into()); entries.len()],
        }
    }

    async fn accept_together(&self, entries: &[&Entry], unsure: &mut bool) -> Result<Vec<Outcome>, Failure> {
        let started = Instant::now();
        for again in 1.. {
            let may_retry = again < TRIES && started.elapsed() < RETRY_MAX;
            let failure = match self.accept_once(entries).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(failure) => failure,
            };
            match failure {
                Failure::Gone(error) if may_retry => {
                    tracing::debug!(%error, "a batch is tried again over another connection");
                    *unsure = true;
                }
                // A part of it may be there: only the look at its duplicates failed.
                Failure::Again(error) if may_retry => {
                    tracing::debug!(%error, "a batch is tried again");
                    *unsure = true;
                }
                // It broke while it was committed, and now is there already: by us.
                Failure::Refused(_) if *unsure && entries.len() == 1 && self.is_there(entries[0].event.id).await? => {
                    return Ok(vec![Ok(Accepted::New(entries[0].event.id))]);
                }
                other => return Err(other),
            }
        }
        Err(Failure::late())
    }

    async fn accept_once(&self, entries: &[&Entry]) -> Result<Vec<Outcome>, Failure> {
        let mut held = self.pool.take(Use::Work).await?;
        let done = in_time(accept(&mut held.connection, entries)).await;
        self.pool.give(held, done)
    }

    pub(super) async fn is_there(&self, id: EventId) -> Result<bool, Failure> {
        const THERE: &str = "SELECT 1::BIGINT FROM tollgate_event WHERE id = $1";
        let mut held = self.pool.take(Use::Work).await?;
        let there = async {
            let statement = held.connection.statement(THERE).await?;
            Ok(held.connection.client().query_opt(&statement, &[&&id.bytes()[..]]).await?.is_some())
        };
        let done = in_time(there).await;
        self.pool.give(held, done)
    }
}

/// `tollgate_duplicate` is asked first and in the order of its keys, so that two batches never wait for each other both
/// ways; a key whose time is over is taken over. What is left goes in with its deliveries.
const ACCEPT: &str = "
WITH given AS (
    SELECT * FROM unnest($1::INT[], $2::BYTEA[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::BIGINT[], $7::BOOL[],
        $8::INT[], $9::TEXT[], $10::TEXT[], $11::TEXT[], $12::TEXT[], $13::TEXT[], $14::TEXT[], $15::TEXT[],
        $16::BYTEA[], $17::BIGINT[])
    AS g (n, id, now, received, size, crc, in_pieces, deliveries, route, verifier, request_id, traceparent, identity,
        kind, order_key, dup, until)
), wide AS (
    SELECT * FROM unnest($1::INT[], $18::BYTEA[], $19::BYTEA[], $20::BYTEA[]) AS w (n, head, redacted, body)
), fresh AS (
    INSERT INTO tollgate_duplicate AS d (key, until, event)
    SELECT dup, until, id FROM given WHERE dup IS NOT NULL ORDER BY dup
    ON CONFLICT (key) DO UPDATE SET until = excluded.until, event = excluded.event WHERE d.until <= $21::BIGINT
    RETURNING event
), block AS (
    SELECT nextval('tollgate_block') AS number
), taken AS (
    INSERT INTO tollgate_event (key, id, received, size, crc, in_pieces, deliveries, route, verifier, request_id,
        traceparent, identity, kind, order_key, head, redacted, body)
    SELECT block.number * 1024 + g.n, id, received, size, crc, in_pieces, deliveries, route, verifier, request_id,
        traceparent, identity, kind, order_key, head, redacted, body
    FROM block, given g JOIN wide w ON w.n = g.n
    WHERE g.dup IS NULL OR g.id IN (SELECT event FROM fresh)
    RETURNING key, id
), sent AS (
    INSERT INTO tollgate_delivery (id, received, due, changed, state, product, route, verifier, kind, order_key)
    SELECT taken.key * 256 + p.n, g.received, g.now, g.now, 0, p.product, g.route, g.verifier, g.kind, g.order_key
    FROM taken JOIN given g ON g.id = taken.id
        JOIN unnest($22::INT[], $23::INT[], $24::TEXT[]) AS p (event, n, product) ON p.event = g.n
    RETURNING 1
), counted AS (
    INSERT INTO tollgate_tally (state, delta) SELECT 0, count(*) FROM sent HAVING count(*) > 0
)
SELECT id FROM taken";

const FIRST_WITH: &str = "SELECT key, event FROM tollgate_duplicate WHERE key = ANY($1)";

async fn accept(connection: &mut Connection, entries: &[&Entry]) -> Result<Vec<Outcome>, Failure> {
    let taken = insert(connection, entries).await?;
    let mut outcomes: Vec<Option<Outcome>> = entries
        .iter()
        .map(|entry| taken.contains(&entry.event.id.bytes()[..]).then_some(Ok(Accepted::New(entry.event.id))))
        .collect();
    let known: Vec<Digest> =
        entries.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_none()).filter_map(|(it, _)| it.key()).collect();
    let firsts = if known.is_empty() { HashMap::new() } else { first_with(connection, &known).await? };
    for (entry, outcome) in entries.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none()) {
        let first = entry.key().and_then(|key| firsts.get(&key.0[..]).copied());
        *outcome = Some(match first {
            // Its own key: an earlier try was committed after all.
            Some(first) if first == entry.event.id => Ok(Accepted::New(first)),
            Some(first) => Ok(Accepted::Duplicate(first)),
            // Swept between the two looks.
            None => return Err(Failure::Again(StoreError::Failed("its duplicate is gone".into()))),
        });
    }
    let lost = || Err(StoreError::Failed("it was not done".into()));
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect())
}

async fn insert(
    connection: &mut Connection,
    entries: &[&Entry],
) -> Result<std::collections::HashSet<Vec<u8>>, Failure> {
    let statement = connection.statement(ACCEPT).await?;
    let numbers: Vec<i32> = (0..).take(entries.len()).collect();
    let events = || entries.iter().map(|entry| &entry.event);
    let of = |read: fn(&Entry) -> i64| entries.iter().map(|entry| read(entry)).collect::<Vec<i64>>();
    let optional = |read: fn(&NewEvent) -> Option<&str>| events().map(|it| read(it).map(text)).collect::<Vec<_>>();
    let ids: Vec<&[u8]> = events().map(|event| &event.id.bytes()[..]).collect();
    let in_pieces: Vec<bool> = entries.iter().map(|entry| matches!(entry.body, Kept::Pieces(_))).collect();
    let deliveries: Vec<i32> = events().map(|event| event.products.len() as i32).collect();
    let routes: Vec<&str> = events().map(|event| event.route.as_str()).collect();
    let verifiers: Vec<&str> = events().map(|event| event.verifier.as_str()).collect();
    let request_ids: Vec<_> = events().map(|event| text(&event.request_id)).collect();
    let keys: Vec<Option<&[u8]>> = events().map(|event| event.duplicate.as_ref().map(|(key, _)| &key.0[..])).collect();
    let untils: Vec<Option<i64>> = events().map(|event| event.duplicate.map(|(_, until)| until.millis())).collect();
    let heads: Vec<&[u8]> = entries.iter().map(|entry| &entry.head[..]).collect();
    let redacted: Vec<Option<&[u8]>> = entries.iter().map(|entry| entry.redacted.as_deref()).collect();
    let bodies: Vec<Option<&[u8]>> = entries.iter().map(|entry| entry.row()).collect();
    let now = entries.iter().map(|entry| entry.now.millis()).min().unwrap_or_default();
    let (mut delivery_of, mut delivery_numbers, mut products) = (Vec::new(), Vec::<i32>::new(), Vec::new());
    for (number, event) in numbers.iter().zip(events()) {
        for (nth, product) in (0..).zip(&event.products) {
            delivery_of.push(*number);
            delivery_numbers.push(nth);
            products.push(product.as_str());
        }
    }
    let rows = connection
        .client()
        .query(
            &statement,
            &[
                &numbers,
                &ids,
                &of(|entry| entry.now.millis()),
                &of(|entry| entry.event.received.millis()),
                &of(Entry::size),
                &of(|entry| i64::from(entry.crc)),
                &in_pieces,
                &deliveries,
                &routes,
                &verifiers,
                &request_ids,
                &optional(|event| event.traceparent.as_deref()),
                &optional(|event| event.identity.as_deref()),
                &optional(|event| event.kind.as_deref()),
                &optional(|event| event.order_key.as_deref()),
                &keys,
                &untils,
                &heads,
                &redacted,
                &bodies,
                &now,
                &delivery_of,
                &delivery_numbers,
                &products,
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

impl Entry {
    pub(super) fn size(&self) -> i64 {
        match &self.body {
            Kept::Row(bytes) => bytes.len() as i64,
            Kept::Pieces(length) => i64::try_from(*length).unwrap_or(i64::MAX),
        }
    }

    pub(super) fn row(&self) -> Option<&[u8]> {
        match &self.body {
            Kept::Row(bytes) => Some(bytes),
            Kept::Pieces(_) => None,
        }
    }
}

async fn first_with(connection: &mut Connection, keys: &[Digest]) -> Result<HashMap<Vec<u8>, EventId>, Failure> {
    let statement = connection.statement(FIRST_WITH).await?;
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key.0[..]).collect();
    let rows = connection.client().query(&statement, &[&keys]).await?;
    rows.iter().map(|row| Ok((row.get(0), super::event_id(row.get(1))?))).collect()
}
