//! Duplicate keys that are held while their event is forwarded.
//!
//! Invariant: a key is held first and looked for among the known ones after that, and whoever concludes a hold makes the
//! key known in the statement that ends the hold. So whoever finds a key free of a hold finds it known.

use super::super::{Reservation, StoreError};
use super::failure::Failure;
use super::pool::{Connection, Use};
use super::{Inner, in_time};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;

const TRIES: usize = 4;

const HOLD: &str = "INSERT INTO tollgate_hold AS h (key, event, until) VALUES ($1, $2, $3)
    ON CONFLICT (key) DO UPDATE SET event = excluded.event, until = excluded.until
        WHERE h.until <= $4 OR h.event = excluded.event";
const KNOWN: &str = "SELECT event FROM tollgate_duplicate WHERE key = $1 AND until > $2";
const HELD_UNTIL: &str = "SELECT until FROM tollgate_hold WHERE key = $1";
const LET_GO: &str = "DELETE FROM tollgate_hold WHERE key = $1 AND event = $2";

/// Whether neither a hold nor a known key is another's.
const MINE: &str = "SELECT NOT EXISTS (SELECT 1 FROM tollgate_hold WHERE key = $1 AND event <> $2 AND until > $3)
    AND NOT EXISTS (SELECT 1 FROM tollgate_duplicate WHERE key = $1 AND event <> $2 AND until > $3)";

const CONCLUDE: &str = "WITH put AS (
        INSERT INTO tollgate_duplicate AS d (key, until, event) SELECT $1, $4, $2
        WHERE NOT EXISTS (SELECT 1 FROM tollgate_hold WHERE key = $1 AND event <> $2 AND until > $3)
        ON CONFLICT (key) DO UPDATE SET until = excluded.until, event = excluded.event
            WHERE d.until <= $3 OR d.event = excluded.event
        RETURNING 1
    ), gone AS (
        DELETE FROM tollgate_hold WHERE key = $1 AND event = $2
    )
    SELECT EXISTS (SELECT 1 FROM put)";

impl Inner {
    /// Holds `key` for `id` until then, unless it is known or another's.
    pub(super) async fn hold(
        &self,
        now: Timestamp,
        key: Digest,
        id: EventId,
        until: Timestamp,
    ) -> Result<Reservation, Failure> {
        let mut last = Failure::late();
        for _ in 0..TRIES {
            let mut held = self.pool.take(Use::Work).await?;
            let done = in_time(hold(&mut held.connection, now, key, id, until)).await;
            match self.pool.give(held, done) {
                Ok(reservation) => return Ok(reservation),
                Err(failure @ (Failure::Gone(_) | Failure::Again(_))) => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    /// Ends it. Done twice it comes to the same.
    pub(super) async fn end_hold(
        &self,
        now: Timestamp,
        key: Digest,
        id: EventId,
        known: Option<Timestamp>,
    ) -> Result<bool, Failure> {
        let mut last = Failure::late();
        for _ in 0..TRIES {
            let mut held = self.pool.take(Use::Work).await?;
            let done = in_time(end_hold(&mut held.connection, now, key, id, known)).await;
            match self.pool.give(held, done) {
                Ok(ended) => return Ok(ended),
                Err(failure @ (Failure::Gone(_) | Failure::Again(_))) => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }
}

async fn hold(
    connection: &mut Connection,
    now: Timestamp,
    key: Digest,
    id: EventId,
    until: Timestamp,
) -> Result<Reservation, Failure> {
    let (holding, knowing) = (connection.statement(HOLD).await?, connection.statement(KNOWN).await?);
    let (key, event) = (&key.0[..], &id.bytes()[..]);
    let (until, now) = (until.millis(), now.millis());
    let client = connection.client();
    let held = client.execute(&holding, &[&key, &event, &until, &now]).await? == 1;
    let known = client.query_opt(&knowing, &[&key, &now]).await?;
    if let Some(known) = known {
        if held {
            let let_go = connection.statement(LET_GO).await?;
            connection.client().execute(&let_go, &[&key, &event]).await?;
        }
        return Ok(Reservation::Duplicate(super::event_id(known.get(0))?));
    }
    if held {
        return Ok(Reservation::Held);
    }
    let statement = connection.statement(HELD_UNTIL).await?;
    let until = connection.client().query_opt(&statement, &[&key]).await?;
    // Ended between the two looks.
    let until = until.ok_or_else(|| Failure::Again(StoreError::Failed("its hold is gone".into())))?;
    Ok(Reservation::InProgress { until: Timestamp::from_millis(until.get(0)) })
}

async fn end_hold(
    connection: &mut Connection,
    now: Timestamp,
    key: Digest,
    id: EventId,
    known: Option<Timestamp>,
) -> Result<bool, Failure> {
    let (key, event, now) = (&key.0[..], &id.bytes()[..], now.millis());
    let Some(known) = known else {
        let statement = connection.statement(LET_GO).await?;
        let let_go = connection.client().execute(&statement, &[&key, &event]).await?;
        if let_go == 1 {
            return Ok(true);
        }
        let statement = connection.statement(MINE).await?;
        return Ok(connection.client().query_one(&statement, &[&key, &event, &now]).await?.get(0));
    };
    let statement = connection.statement(CONCLUDE).await?;
    Ok(connection.client().query_one(&statement, &[&key, &event, &now, &known.millis()]).await?.get(0))
}
