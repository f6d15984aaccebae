//! Taking away what is past its time, in short steps, whichever gateway comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{DeliveryState, Retention, Swept};
use super::failure::Failure;
use super::pool::{Connection, Use};
use super::schema::DELIVERIES_MAX;
use super::{Inner, code, in_time, state};
use crate::base::clock::Timestamp;
use crate::base::ids::EventId;

/// Rows one step looks at.
const LOOK: i64 = 2000;

/// Events one step takes away, at most.
const STEP: usize = 500;

/// Keys one step takes away, at most.
const KEYS: i64 = 2000;

/// Pieces without an event may belong to one that is just being accepted; after this long they do not.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// When a delivery must have come into `state` to be past its retention; `None` when it is kept forever.
fn cutoff(retention: &Retention, now: Timestamp, state: DeliveryState) -> Option<Timestamp> {
    let kept = match state {
        DeliveryState::Delivered | DeliveryState::Dropped => retention.delivered,
        DeliveryState::Dead => retention.dead,
        DeliveryState::Due | DeliveryState::Leased | DeliveryState::Parked => None,
    };
    kept.map(|kept| now.before(kept))
}

impl Inner {
    pub(super) async fn sweep_past(&self, now: Timestamp, retention: &Retention) -> Result<Swept, Failure> {
        let mut swept = Swept::default();
        for state in [DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Dropped] {
            if let Some(cutoff) = cutoff(retention, now, state) {
                self.sweep_state(now, retention, state, cutoff, &mut swept).await?;
            }
        }
        swept.duplicates = self.sweep_keys(now).await?;
        self.sweep_holds(now).await?;
        self.sweep_pieces(now).await?;
        Ok(swept)
    }

    async fn sweep_state(
        &self,
        now: Timestamp,
        retention: &Retention,
        state: DeliveryState,
        cutoff: Timestamp,
        swept: &mut Swept,
    ) -> Result<(), Failure> {
        // Whatever came into its state before the cutoff was received before it.
        const PAST: &str = "SELECT id, received, changed FROM tollgate_delivery
            WHERE state = $1 AND received <= $2 AND (received > $3 OR (received = $3 AND id > $4))
            ORDER BY received, id LIMIT $5";
        let (mut received, mut id) = (i64::MIN, i64::MIN);
        loop {
            let mut held = self.pool.take(Use::Search).await?;
            let look = async {
                let statement = held.connection.statement(PAST).await?;
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                    [&code(state), &cutoff.millis(), &received, &id, &LOOK];
                Ok(held.connection.client().query(&statement, &parameters).await?)
            };
            let rows = in_time(look).await;
            let rows = self.pool.give(held, rows)?;
            let Some(last) = rows.last() else { return Ok(()) };
            (id, received) = (last.get(0), last.get(1));
            let past = rows.iter().filter(|row| row.get::<_, i64>(2) <= cutoff.millis());
            let events: BTreeSet<i64> = past.map(|row| row.get::<_, i64>(0) / DELIVERIES_MAX).collect();
            let events: Vec<i64> = events.into_iter().collect();
            for step in events.chunks(STEP) {
                let mut held = self.pool.take(Use::Search).await?;
                let done = in_time(remove(&mut held.connection, now, retention, step)).await;
                let removed = self.pool.give(held, done)?;
                swept.events += removed.events;
                swept.undelivered += removed.undelivered;
            }
        }
    }

    async fn sweep_keys(&self, now: Timestamp) -> Result<u64, Failure> {
        const EXPIRED: &str = "DELETE FROM tollgate_duplicate WHERE until <= $1 AND key IN (
            SELECT key FROM tollgate_duplicate WHERE until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)";
        let mut gone = 0;
        loop {
            let mut held = self.pool.take(Use::Search).await?;
            let step = async {
                let statement = held.connection.statement(EXPIRED).await?;
                Ok(held.connection.client().execute(&statement, &[&now.millis(), &KEYS]).await?)
            };
            let done = in_time(step).await;
            let step = self.pool.give(held, done)?;
            gone += step;
            if step < KEYS.unsigned_abs() {
                return Ok(gone);
            }
        }
    }

    /// Holds that ran out so long ago that whoever had them will not come back.
    async fn sweep_holds(&self, now: Timestamp) -> Result<(), Failure> {
        const EXPIRED: &str = "DELETE FROM tollgate_hold WHERE until <= $1";
        let mut held = self.pool.take(Use::Search).await?;
        let sweep = async {
            let statement = held.connection.statement(EXPIRED).await?;
            Ok(held.connection.client().execute(&statement, &[&now.before(ORPHAN_AGE).millis()]).await?)
        };
        let done = in_time(sweep).await;
        self.pool.give(held, done).map(drop)
    }

    /// Pieces of bodies whose event was never written. Ids begin with the time they were made at.
    async fn sweep_pieces(&self, now: Timestamp) -> Result<(), Failure> {
        const ORPHANS: &str = "SELECT b.event FROM tollgate_body b WHERE b.n = 0 AND b.event < $1 AND b.event > $2
            AND NOT EXISTS (SELECT 1 FROM tollgate_event e WHERE e.id = b.event) ORDER BY b.event LIMIT 100";
        let before = EventId::new(now.before(ORPHAN_AGE));
        let mut after = vec![0u8];
        loop {
            let mut held = self.pool.take(Use::Search).await?;
            let look = async {
                let statement = held.connection.statement(ORPHANS).await?;
                Ok(held.connection.client().query(&statement, &[&&before.bytes()[..], &after]).await?)
            };
            let rows = in_time(look).await;
            let rows = self.pool.give(held, rows)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.get(0);
            for row in &rows {
                self.forget_pieces(super::event_id(row.get(0))?).await;
            }
        }
    }
}

#[derive(Default)]
struct Removed {
    events: u64,
    undelivered: u64,
}

/// Removes those of `events` whose every delivery is past its retention.
async fn remove(
    connection: &mut Connection,
    now: Timestamp,
    retention: &Retention,
    events: &[i64],
) -> Result<Removed, Failure> {
    connection.begin().await?;
    let done = remove_within(connection, now, retention, events).await;
    connection.end(done).await
}

async fn remove_within(
    connection: &mut Connection,
    now: Timestamp,
    retention: &Retention,
    events: &[i64],
) -> Result<Removed, Failure> {
    const EVENTS: &str = "SELECT key, deliveries FROM tollgate_event WHERE key = ANY($1) FOR UPDATE SKIP LOCKED";
    const DELIVERIES: &str = "SELECT id, state, changed FROM tollgate_delivery WHERE id = ANY($1) ORDER BY id
        FOR UPDATE";
    const ATTEMPTS: &str = "DELETE FROM tollgate_attempt WHERE delivery = ANY($1)";
    const GONE: &str = "WITH gone AS (DELETE FROM tollgate_delivery WHERE id = ANY($1) RETURNING state)
        INSERT INTO tollgate_tally (state, delta) SELECT state, -count(*) FROM gone GROUP BY state";
    const EVENT: &str = "WITH gone AS (DELETE FROM tollgate_event WHERE key = ANY($1) RETURNING id, in_pieces)
        DELETE FROM tollgate_body WHERE event IN (SELECT id FROM gone WHERE in_pieces)";
    let statement = connection.statement(EVENTS).await?;
    let rows = connection.client().query(&statement, &[&events]).await?;
    let all: Vec<i64> = rows
        .iter()
        .flat_map(|row| {
            let first = row.get::<_, i64>(0) * DELIVERIES_MAX;
            first..first + i64::from(row.get::<_, i32>(1))
        })
        .collect();
    // Looked at again while nobody can change them.
    let statement = connection.statement(DELIVERIES).await?;
    let mut kept: BTreeMap<i64, Vec<(DeliveryState, Timestamp)>> = BTreeMap::new();
    for row in connection.client().query(&statement, &[&all]).await? {
        // A state nobody knows is kept.
        let state = state(row.get(1)).unwrap_or(DeliveryState::Parked);
        let changed = Timestamp::from_millis(row.get(2));
        kept.entry(row.get::<_, i64>(0) / DELIVERIES_MAX).or_default().push((state, changed));
    }
    let is_past = |(state, changed): &(DeliveryState, Timestamp)| {
        cutoff(retention, now, *state).is_some_and(|cutoff| *changed <= cutoff)
    };
    kept.retain(|_, deliveries| deliveries.iter().all(is_past));
    let keys: Vec<i64> = kept.keys().copied().collect();
    let ids: Vec<i64> = all.into_iter().filter(|id| kept.contains_key(&(id / DELIVERIES_MAX))).collect();
    for (sql, which) in [(ATTEMPTS, &ids), (GONE, &ids), (EVENT, &keys)] {
        let statement = connection.statement(sql).await?;
        connection.client().execute(&statement, &[which]).await?;
    }
    let undelivered = |deliveries: &&Vec<(DeliveryState, Timestamp)>| {
        deliveries.iter().any(|(state, _)| *state != DeliveryState::Delivered)
    };
    Ok(Removed { events: keys.len() as u64, undelivered: kept.values().filter(undelivered).count() as u64 })
}
