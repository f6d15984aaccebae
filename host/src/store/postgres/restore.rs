//! Events that come from another store, with all that became of them.

use super::super::{ANSWER_MAX, Attempt, DeliveryState, NewEvent, Restored, StoreError};
use super::Inner;
use super::accept::{Entry, Kept};
use super::failure::Failure;
use super::pool::{Connection, Use};
use super::queue::Asked;
use super::{code, in_time, text};
use crate::base::clock::Timestamp;
use crate::base::payload::{MEMORY_MAX, Payload};

/// An event on its way in.
pub(super) struct Restoring {
    pub(super) now: Timestamp,
    pub(super) event: NewEvent,
    pub(super) deliveries: Vec<Restored>,
}

impl Restoring {
    /// About what it takes in memory while it waits.
    pub(super) fn weight(&self) -> usize {
        let body = match &self.event.body {
            Payload::Memory(bytes) => bytes.len(),
            Payload::File(_) => 0,
        };
        2048 + body
    }
}

impl Inner {
    /// Does a batch and answers everyone in it: together, or, where one is not acceptable, each alone.
    pub(super) async fn restore_batch(&self, batch: Vec<Asked<Restoring, bool>>) {
        let mut outcomes = self.restore_all(&batch.iter().map(|asked| &asked.input).collect::<Vec<_>>()).await;
        if matches!(outcomes.first(), Some(Err(Failure::Refused(_)))) && batch.len() > 1 {
            outcomes.clear();
            for asked in &batch {
                outcomes.extend(self.restore_all(&[&asked.input]).await);
            }
        }
        if outcomes.iter().any(Result::is_ok) {
            self.bell.ring();
            self.announce();
        }
        for (asked, outcome) in batch.into_iter().zip(outcomes) {
            asked.answer(outcome.map_err(StoreError::from));
        }
    }

    async fn restore_all(&self, batch: &[&Restoring]) -> Vec<Result<bool, Failure>> {
        let failed = |failure: &Failure| match failure {
            Failure::Refused(error) => Failure::Refused(error.clone()),
            other => Failure::Other(other.error().clone()),
        };
        match self.restore_together(batch).await {
            Ok(restored) => restored.into_iter().map(Ok).collect(),
            Err(failure) => batch.iter().map(|_| Err(failed(&failure))).collect(),
        }
    }

    async fn restore_together(&self, batch: &[&Restoring]) -> Result<Vec<bool>, Failure> {
        let mut entries = Vec::with_capacity(batch.len());
        for restoring in batch {
            entries.push(self.entry(restoring).await?);
        }
        let mut held = self.pool.take(Use::Search).await?;
        let work = async {
            held.connection.begin().await?;
            let done = restore(&mut held.connection, batch, &entries).await;
            held.connection.end(done).await
        };
        let done = in_time(work).await;
        self.pool.give(held, done)
    }

    /// What is written of an event; `None` when one with its id is there.
    async fn entry(&self, restoring: &Restoring) -> Result<Option<Entry>, Failure> {
        let count = restoring.deliveries.len();
        if count == 0 || count as i64 >= super::schema::DELIVERIES_MAX {
            return Err(Failure::Refused(StoreError::Failed(format!("expected 1 to 255 deliveries, not {count}"))));
        }
        if self.is_there(restoring.event.id).await? {
            return Ok(None);
        }
        let event = NewEvent {
            body: Payload::Memory(bytes::Bytes::new()),
            products: restoring.deliveries.iter().map(|delivery| delivery.product.clone()).collect(),
            ..restoring.event.clone()
        };
        let body = &restoring.event.body;
        let (kept, crc) = if body.length() > MEMORY_MAX as u64 {
            (Kept::Pieces(body.length()), self.keep_pieces(event.id, body).await?)
        } else {
            let body = body.clone();
            let bytes = super::off_the_loop(move || body.read(0, MEMORY_MAX)).await?;
            let crc = crc32fast::hash(&bytes);
            (Kept::Row(bytes), crc)
        };
        Ok(Some(Entry::new(restoring.now, event, kept, crc)?))
    }
}

const RESTORE: &str = "
WITH taken AS (
    INSERT INTO tollgate_event (key, id, received, size, crc, in_pieces, deliveries, route, verifier, request_id,
        traceparent, identity, kind, order_key, head, redacted, body)
    SELECT nextval('tollgate_block') * 1024, $1::BYTEA, $2::BIGINT, $3::BIGINT, $4::BIGINT, $5::BOOL, $6::INT, $7::TEXT,
        $8::TEXT, $9::TEXT, $10::TEXT, $11::TEXT, $12::TEXT, $13::TEXT, $14::BYTEA, $15::BYTEA, $16::BYTEA
    ON CONFLICT (id) DO NOTHING
    RETURNING key
), known AS (
    INSERT INTO tollgate_duplicate AS d (key, until, event)
    SELECT $17::BYTEA, $18::BIGINT, $1 FROM taken WHERE $17 IS NOT NULL
    ON CONFLICT (key) DO UPDATE SET until = excluded.until, event = excluded.event WHERE d.until <= $19::BIGINT
), sent AS (
    INSERT INTO tollgate_delivery (id, received, due, changed, attempts, replays, state, product, route, verifier, kind,
        order_key, reason)
    SELECT taken.key * 256 + p.n, $2, p.due, p.changed, p.attempts, p.replays, p.state, p.product, $7, $8, $12, $13,
        p.reason
    FROM taken, unnest($20::INT[], $21::BIGINT[], $22::BIGINT[], $23::BIGINT[], $24::BIGINT[], $25::SMALLINT[],
        $26::TEXT[], $27::TEXT[]) AS p (n, due, changed, attempts, replays, state, product, reason)
    RETURNING state
), counted AS (
    INSERT INTO tollgate_tally (state, delta) SELECT state, count(*) FROM sent GROUP BY state
)
SELECT key FROM taken";

const ATTEMPTS: &str = "INSERT INTO tollgate_attempt (delivery, number, at, took, status, error, answer)
    SELECT $1::BIGINT + a.n, a.number, a.at, a.took, a.status, a.error, a.answer
    FROM unnest($2::INT[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[], $6::INT[], $7::TEXT[], $8::BYTEA[])
        AS a (n, number, at, took, status, error, answer)
    ON CONFLICT (delivery, number) DO NOTHING";

async fn restore(
    connection: &mut Connection,
    batch: &[&Restoring],
    entries: &[Option<Entry>],
) -> Result<Vec<bool>, Failure> {
    let mut restored = Vec::with_capacity(batch.len());
    for (restoring, entry) in batch.iter().zip(entries) {
        let new = match entry {
            Some(entry) => restore_one(connection, restoring, entry).await?,
            None => false,
        };
        restored.push(new);
    }
    Ok(restored)
}

async fn restore_one(connection: &mut Connection, restoring: &Restoring, entry: &Entry) -> Result<bool, Failure> {
    let Restoring { now, deliveries, .. } = restoring;
    let event = &entry.event;
    let state = |delivery: &Restored| match delivery.state {
        DeliveryState::Leased => DeliveryState::Due,
        state => state,
    };
    let due = |it: &Restored| (state(it) == DeliveryState::Due).then(|| it.due.unwrap_or(*now).millis());
    let numbers: Vec<i32> = (0..).take(deliveries.len()).collect();
    let dues: Vec<Option<i64>> = deliveries.iter().map(due).collect();
    let changed: Vec<i64> = deliveries.iter().map(|it| it.changed.millis()).collect();
    let attempts: Vec<i64> = deliveries.iter().map(|it| i64::from(it.attempts)).collect();
    let replays: Vec<i64> = deliveries.iter().map(|it| i64::from(it.replays)).collect();
    let states: Vec<i16> = deliveries.iter().map(|it| code(state(it))).collect();
    let products: Vec<&str> = deliveries.iter().map(|it| it.product.as_str()).collect();
    let reasons: Vec<_> = deliveries.iter().map(|it| it.reason.as_deref().map(text)).collect();
    let statement = connection.statement(RESTORE).await?;
    let taken = connection
        .client()
        .query_opt(
            &statement,
            &[
                &&event.id.bytes()[..],
                &event.received.millis(),
                &entry.size(),
                &i64::from(entry.crc),
                &entry.row().is_none(),
                &(deliveries.len() as i32),
                &event.route.as_str(),
                &event.verifier.as_str(),
                &text(&event.request_id),
                &event.traceparent.as_deref().map(text),
                &event.identity.as_deref().map(text),
                &event.kind.as_deref().map(text),
                &event.order_key.as_deref().map(text),
                &entry.head,
                &entry.redacted,
                &entry.row(),
                &event.duplicate.as_ref().map(|(key, _)| &key.0[..]),
                &event.duplicate.map(|(_, until)| until.millis()),
                &now.millis(),
                &numbers,
                &dues,
                &changed,
                &attempts,
                &replays,
                &states,
                &products,
                &reasons,
            ],
        )
        .await?;
    let Some(taken) = taken else { return Ok(false) };
    restore_attempts(connection, taken.get(0), deliveries).await?;
    Ok(true)
}

async fn restore_attempts(connection: &mut Connection, key: i64, deliveries: &[Restored]) -> Result<(), Failure> {
    let made: Vec<(i32, &Attempt)> =
        (0..).zip(deliveries).flat_map(|(n, it)| it.history.iter().map(move |attempt| (n, attempt))).collect();
    if made.is_empty() {
        return Ok(());
    }
    let numbers: Vec<i32> = made.iter().map(|(n, _)| *n).collect();
    let of = |read: fn(&Attempt) -> i64| made.iter().map(|(_, attempt)| read(attempt)).collect::<Vec<i64>>();
    let statuses: Vec<Option<i32>> = made.iter().map(|(_, attempt)| attempt.status.map(i32::from)).collect();
    let errors: Vec<_> = made.iter().map(|(_, attempt)| attempt.error.as_deref().map(text)).collect();
    let answers: Vec<&[u8]> =
        made.iter().map(|(_, attempt)| &attempt.answer[..attempt.answer.len().min(ANSWER_MAX)]).collect();
    let statement = connection.statement(ATTEMPTS).await?;
    let took = of(|attempt| i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX));
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
        &(key * super::schema::DELIVERIES_MAX),
        &numbers,
        &of(|attempt| i64::from(attempt.number)),
        &of(|attempt| attempt.at.millis()),
        &took,
        &statuses,
        &errors,
        &answers,
    ];
    connection.client().execute(&statement, &parameters).await?;
    Ok(())
}
