//! Replay, drop, park: deliveries that somebody chose, looked at again under their locks.

use super::super::{DeliveryState, Filter, StoreError};
use super::Inner;
use super::failure::Failure;
use super::line::{Line, advance};
use super::pool::{Connection, Use};
use super::select;
use super::{code, in_time};
use crate::base::clock::Timestamp;
use crate::base::names::{ProductName, RouteName};

/// Deliveries one replay or drop changes, at most.
const CHANGES_MAX: u32 = 1000;

/// Rows one step of a long change takes.
const STEP: i64 = 500;

/// What becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Due again; the schedule restarts.
    Replay,
    /// Let go.
    Drop,
    /// Put aside because nobody serves them.
    Park,
    /// Taken back.
    Unpark,
}

impl Change {
    fn from(self) -> &'static [DeliveryState] {
        use DeliveryState::{Dead, Delivered, Dropped, Due, Parked};
        match self {
            Self::Replay => &[Delivered, Dead, Parked, Dropped],
            Self::Drop => &[Due, Dead, Parked],
            Self::Park => &[Due],
            Self::Unpark => &[Parked],
        }
    }

    fn to(self) -> DeliveryState {
        match self {
            Self::Replay | Self::Unpark => DeliveryState::Due,
            Self::Drop => DeliveryState::Dropped,
            Self::Park => DeliveryState::Parked,
        }
    }

    /// Everything in one statement: those that are still in a state it starts from, their change, and their count.
    fn statement(self) -> &'static str {
        macro_rules! change {
            ($set:literal) => {
                concat!(
                    "WITH was AS (
                        SELECT id, state FROM tollgate_delivery WHERE id = ANY($1) AND state = ANY($2)
                        ORDER BY id FOR UPDATE
                    ), put AS (
                        UPDATE tollgate_delivery d SET state = $3, changed = $4, behind = false, ",
                    $set,
                    " FROM was WHERE d.id = was.id
                        RETURNING was.state AS was, d.product, d.route, d.order_key
                    ), counted AS (
                        INSERT INTO tollgate_tally (state, delta)
                        SELECT m.state, sum(m.delta) FROM (
                            SELECT was AS state, -1 AS delta FROM put UNION ALL SELECT $3, 1 FROM put) AS m
                        GROUP BY m.state HAVING sum(m.delta) <> 0
                    )
                    SELECT was, product, route, order_key FROM put"
                )
            };
        }
        match self {
            Self::Replay => change!("due = $4, scheduled = 0, replays = replays + 1, reason = NULL"),
            Self::Drop => change!("due = NULL"),
            Self::Park => {
                change!("due = NULL, reason = 'route ' || d.route || ' no longer delivers to product ' || d.product")
            }
            Self::Unpark => change!("due = $4, reason = NULL"),
        }
    }
}

impl Inner {
    /// Changes what the filter finds, at most `limit` of it.
    pub(super) async fn change(
        &self,
        now: Timestamp,
        filter: &Filter,
        limit: u32,
        change: Change,
    ) -> Result<u64, Failure> {
        let mut held = self.pool.take(Use::Search).await?;
        let found = select::oldest(&mut held.connection, filter, change.from(), limit.min(CHANGES_MAX));
        let found = in_time(found).await;
        let ids = self.pool.give(held, found)?;
        self.change_these(now, &ids, change).await
    }

    async fn change_these(&self, now: Timestamp, ids: &[i64], what: Change) -> Result<u64, Failure> {
        const TRIES: usize = 4;
        if ids.is_empty() {
            return Ok(0);
        }
        for again in 1.. {
            let mut held = self.pool.take(Use::Search).await?;
            let done = in_time(change(&mut held.connection, now, ids, what)).await;
            match self.pool.give(held, done) {
                Ok(changed) => {
                    if changed > 0 {
                        self.bell.ring();
                        self.announce();
                    }
                    return Ok(changed);
                }
                Err(Failure::Again(_)) if again < TRIES => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::late())
    }

    /// Parks what is due and not served, and takes back what is.
    pub(super) async fn adopt_served(
        &self,
        now: Timestamp,
        served: &[(RouteName, ProductName)],
    ) -> Result<(u64, u64), Failure> {
        let parked = self.walk(now, DeliveryState::Due, served, Change::Park).await?;
        let unparked = self.unpark(now, served).await?;
        Ok((parked, unparked))
    }

    /// Takes back what is parked and served. Gateways with different configurations may share the log for a while, and
    /// one parks what another serves: so this is done now and then.
    pub(super) async fn unpark(&self, now: Timestamp, served: &[(RouteName, ProductName)]) -> Result<u64, Failure> {
        self.walk(now, DeliveryState::Parked, served, Change::Unpark).await
    }

    /// Goes through all deliveries in `state`, a step at a time.
    async fn walk(
        &self,
        now: Timestamp,
        state: DeliveryState,
        served: &[(RouteName, ProductName)],
        change: Change,
    ) -> Result<u64, Failure> {
        const SERVED: &str = "SELECT id, received FROM tollgate_delivery d
            WHERE state = $1 AND (received > $2 OR (received = $2 AND id > $3)) AND EXISTS (
                SELECT 1 FROM unnest($4::TEXT[], $5::TEXT[]) AS s (route, product)
                WHERE s.route = d.route AND s.product = d.product)
            ORDER BY received, id LIMIT $6";
        const UNSERVED: &str = "SELECT id, received FROM tollgate_delivery d
            WHERE state = $1 AND (received > $2 OR (received = $2 AND id > $3)) AND NOT EXISTS (
                SELECT 1 FROM unnest($4::TEXT[], $5::TEXT[]) AS s (route, product)
                WHERE s.route = d.route AND s.product = d.product)
            ORDER BY received, id LIMIT $6";
        let sql = if change == Change::Unpark { SERVED } else { UNSERVED };
        let routes: Vec<&str> = served.iter().map(|(route, _)| route.as_str()).collect();
        let products: Vec<&str> = served.iter().map(|(_, product)| product.as_str()).collect();
        let (mut received, mut id) = (i64::MIN, i64::MIN);
        let mut changed = 0;
        loop {
            let mut held = self.pool.take(Use::Search).await?;
            let step = async {
                let statement = held.connection.statement(sql).await?;
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                    [&code(state), &received, &id, &routes, &products, &STEP];
                Ok(held.connection.client().query(&statement, &parameters).await?)
            };
            let rows = in_time(step).await;
            let rows = self.pool.give(held, rows)?;
            let Some(last) = rows.last() else { return Ok(changed) };
            (id, received) = (last.get(0), last.get(1));
            let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            changed += self.change_these(now, &ids, change).await?;
        }
    }
}

async fn change(connection: &mut Connection, now: Timestamp, ids: &[i64], change: Change) -> Result<u64, Failure> {
    connection.begin().await?;
    let done = change_within(connection, now, ids, change).await;
    connection.end(done).await
}

async fn change_within(
    connection: &mut Connection,
    now: Timestamp,
    ids: &[i64],
    change: Change,
) -> Result<u64, Failure> {
    let from: Vec<i16> = change.from().iter().map(|state| code(*state)).collect();
    let statement = connection.statement(change.statement()).await?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&ids, &from, &code(change.to()), &now.millis()];
    let rows = connection.client().query(&statement, &parameters).await?;
    // Those that were due stood in the way of others.
    let due = rows.iter().filter(|row| row.get::<_, i16>(0) == code(DeliveryState::Due));
    let line = |row: &tokio_postgres::Row| {
        let key: Option<String> = row.get(3);
        Some(Line { product: row.get(1), route: row.get(2), key: key? })
    };
    let lines: Vec<Line> = due.filter_map(line).collect();
    advance(connection, &lines.iter().collect::<Vec<_>>()).await?;
    u64::try_from(rows.len()).map_err(|_| StoreError::Failed("too many rows".into()).into())
}
