//! Handing deliveries out. Nothing here waits for anybody: what others hold is passed over, so claims of many gateways
//! cannot block each other.

use std::collections::{BTreeSet, HashSet};

use super::super::{Lease, StoreError};
use super::Inner;
use super::failure::Failure;
use super::load;
use super::pool::{Connection, Use};
use super::settle::{End, Ending};
use super::{count, in_time, state};
use crate::base::clock::Timestamp;
use crate::base::names::ProductName;

/// The most deliveries one claim hands out.
const CLAIM_MAX: usize = 1000;

/// How many deliveries one statement puts behind another of their order key, at most.
const BEHIND_MAX: i64 = 1000;

/// How often one claim looks at a product whose deliveries wait behind each other.
const LOOKS_MAX: usize = 4;

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

struct Candidate {
    id: i64,
    was_due: bool,
    attempts: u32,
    scheduled: u32,
    replays: u32,
    /// The first unfinished one of its line, when it stands in one.
    head: Option<i64>,
}

impl Inner {
    /// Leases, then reads what was leased. What does not read back becomes a dead letter; when reading itself fails the
    /// leases are left to run out.
    pub(super) async fn hand_out(
        &self,
        now: Timestamp,
        room: Vec<(ProductName, u32)>,
        until: Timestamp,
    ) -> Result<Vec<Lease>, Failure> {
        let claimed = self.claim(now, &room, until).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let mut held = self.pool.take(Use::Work).await?;
        let loaded = load::leases(&mut held.connection, &self.spill, claimed.clone()).await;
        let loaded = match self.pool.give(held, loaded) {
            Ok(loaded) => loaded,
            Err(failure) => {
                self.give_back(now, &claimed).await;
                return Err(failure);
            }
        };
        if !loaded.left.is_empty() {
            self.give_back(now, &loaded.left).await;
        }
        for (claimed, why) in loaded.unreadable {
            let ending = ending(now, &claimed, End::Unreadable(why));
            // It is tried again when its lease has run out; the others must not wait for that.
            if let Err(error) = self.settle_all(&[&ending]).await {
                tracing::error!(%error, "an event that cannot be read stays leased");
            }
        }
        Ok(loaded.leases)
    }

    async fn give_back(&self, now: Timestamp, claimed: &[Claimed]) {
        use super::super::Settlement::Release;
        let release = |claimed| ending(now, claimed, End::Settled(Release { at: now }));
        let endings: Vec<_> = claimed.iter().map(release).collect();
        if let Err(error) = self.settle_all(&endings.iter().collect::<Vec<_>>()).await {
            tracing::warn!(%error, leases = claimed.len(), "leases are left to run out");
        }
    }

    async fn claim(
        &self,
        now: Timestamp,
        room: &[(ProductName, u32)],
        until: Timestamp,
    ) -> Result<Vec<Claimed>, Failure> {
        let mut held = self.pool.take(Use::Work).await?;
        let done = in_time(claim(&mut held.connection, now, room, until)).await;
        match self.pool.give(held, done) {
            // Undone; whoever asked looks again soon.
            Err(Failure::Again(error)) => {
                tracing::debug!(%error, "a claim gave way");
                self.bell.ring();
                Ok(Vec::new())
            }
            other => other,
        }
    }
}

fn ending(now: Timestamp, claimed: &Claimed, settlement: End) -> Ending {
    Ending {
        now,
        delivery: claimed.delivery,
        token: claimed.token,
        number: claimed.attempts.saturating_add(1),
        line: None,
        settlement,
    }
}

async fn claim(
    connection: &mut Connection,
    now: Timestamp,
    room: &[(ProductName, u32)],
    until: Timestamp,
) -> Result<Vec<Claimed>, Failure> {
    let mut claimed = Vec::new();
    for (product, room) in with_something_due(connection, now, room).await? {
        let most = (*room as usize).min(CLAIM_MAX - claimed.len());
        if most == 0 {
            continue;
        }
        connection.begin().await?;
        let leased = lease_of(connection, now, product, most, until).await;
        claimed.extend(connection.end(leased).await?);
    }
    Ok(claimed)
}

/// Those of the products that have something due: one look, however many products there are.
async fn with_something_due<'a>(
    connection: &mut Connection,
    now: Timestamp,
    room: &'a [(ProductName, u32)],
) -> Result<Vec<&'a (ProductName, u32)>, Failure> {
    const DUE: &str = "SELECT p.product FROM unnest($1::TEXT[]) AS p (product) WHERE EXISTS (
        SELECT 1 FROM tollgate_delivery d
        WHERE d.product = p.product AND d.due <= $2 AND d.due IS NOT NULL AND NOT d.behind)";
    let products: Vec<&str> = room.iter().map(|(product, _)| product.as_str()).collect();
    let statement = connection.statement(DUE).await?;
    let rows = connection.client().query(&statement, &[&products, &now.millis()]).await?;
    let due: HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(room.iter().filter(|(product, _)| due.contains(product.as_str())).collect())
}

async fn lease_of(
    connection: &mut Connection,
    now: Timestamp,
    product: &ProductName,
    most: usize,
    until: Timestamp,
) -> Result<Vec<Claimed>, Failure> {
    let mut free: Vec<Candidate> = Vec::new();
    for _ in 0..LOOKS_MAX {
        // What this transaction holds already is found again.
        let found = candidates(connection, now, product, most).await?;
        let (waiting, ready): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|it| it.head.is_some_and(|head| head < it.id));
        free = ready;
        if waiting.is_empty() || free.len() >= most {
            break;
        }
        let heads: BTreeSet<i64> = waiting.iter().filter_map(|candidate| candidate.head).collect();
        if put_behind(connection, now, product, &heads).await? == 0 {
            break;
        }
    }
    free.truncate(most);
    lease(connection, now, product, free, until).await
}

async fn candidates(
    connection: &mut Connection,
    now: Timestamp,
    product: &ProductName,
    most: usize,
) -> Result<Vec<Candidate>, Failure> {
    const DUE: &str = "SELECT d.id, d.state, d.attempts, d.scheduled, d.replays,
            CASE WHEN d.order_key IS NULL THEN NULL ELSE (SELECT min(e.id) FROM tollgate_delivery e
                WHERE e.product = d.product AND e.route = d.route AND e.order_key = d.order_key
                    AND e.order_key IS NOT NULL AND e.due IS NOT NULL) END
        FROM tollgate_delivery d
        WHERE d.product = $1 AND d.due <= $2 AND d.due IS NOT NULL AND NOT d.behind
        ORDER BY d.due, d.id LIMIT $3 FOR UPDATE OF d SKIP LOCKED";
    let statement = connection.statement(DUE).await?;
    let rows = connection.client().query(&statement, &[&product.as_str(), &now.millis(), &(most as i64)]).await?;
    let read = |row: &tokio_postgres::Row| Candidate {
        id: row.get(0),
        was_due: state(row.get(1)) == Some(super::super::DeliveryState::Due),
        attempts: count(row.get(2)),
        scheduled: count(row.get(3)),
        replays: count(row.get(4)),
        head: row.get(5),
    };
    Ok(rows.iter().map(read).collect())
}

/// Puts what is due behind the first unfinished one of its line, where no claim looks. Only where that one's row can be
/// held: nobody finishes it meanwhile.
async fn put_behind(
    connection: &mut Connection,
    now: Timestamp,
    product: &ProductName,
    heads: &BTreeSet<i64>,
) -> Result<u64, Failure> {
    const HOLD: &str = "SELECT id FROM tollgate_delivery WHERE id = ANY($1) AND due IS NOT NULL
        ORDER BY id FOR UPDATE SKIP LOCKED";
    const BEHIND: &str = "WITH found AS (
            SELECT d.id, d.state FROM tollgate_delivery h JOIN tollgate_delivery d
                ON d.product = h.product AND d.route = h.route AND d.order_key = h.order_key AND d.id > h.id
            WHERE h.id = ANY($1) AND d.product = $2 AND d.order_key IS NOT NULL AND d.due <= $3 AND d.due IS NOT NULL
                AND NOT d.behind
            ORDER BY d.id LIMIT $4 FOR UPDATE OF d SKIP LOCKED
        ), put AS (
            UPDATE tollgate_delivery d SET behind = true, state = 0 FROM found WHERE d.id = found.id
            RETURNING found.state
        ), counted AS (
            INSERT INTO tollgate_tally (state, delta)
            SELECT m.state, m.delta FROM (SELECT count(*) AS released FROM put WHERE state = 1) AS r,
                LATERAL (VALUES (0::SMALLINT, r.released), (1::SMALLINT, -r.released)) AS m (state, delta)
            WHERE m.delta <> 0
        )
        SELECT count(*) FROM put";
    let heads: Vec<i64> = heads.iter().copied().collect();
    let hold = connection.statement(HOLD).await?;
    let held: Vec<i64> = connection.client().query(&hold, &[&heads]).await?.iter().map(|row| row.get(0)).collect();
    if held.is_empty() {
        return Ok(0);
    }
    let behind = connection.statement(BEHIND).await?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&held, &product.as_str(), &now.millis(), &BEHIND_MAX];
    let put: i64 = connection.client().query_one(&behind, &parameters).await?.get(0);
    Ok(put.unsigned_abs())
}

async fn lease(
    connection: &mut Connection,
    now: Timestamp,
    product: &ProductName,
    candidates: Vec<Candidate>,
    until: Timestamp,
) -> Result<Vec<Claimed>, Failure> {
    const LEASE: &str = "WITH leased AS (
            UPDATE tollgate_delivery SET state = 1, due = $2, token = token + 1, changed = $3 WHERE id = ANY($1)
            RETURNING id, token
        ), counted AS (
            INSERT INTO tollgate_tally (state, delta)
            SELECT v.state, v.delta FROM (VALUES (0::SMALLINT, -$4::BIGINT), (1::SMALLINT, $4::BIGINT))
                AS v (state, delta) WHERE v.delta <> 0
        )
        SELECT id, token FROM leased";
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = candidates.iter().map(|candidate| candidate.id).collect();
    let moved = candidates.iter().filter(|candidate| candidate.was_due).count() as i64;
    let statement = connection.statement(LEASE).await?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&ids, &until.millis(), &now.millis(), &moved];
    let rows = connection.client().query(&statement, &parameters).await?;
    let tokens: std::collections::HashMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let claimed = |candidate: Candidate| {
        let lost = || StoreError::Failed("a delivery that was held is gone".into());
        let token = tokens.get(&candidate.id).copied().ok_or_else(lost)?;
        let Candidate { id, attempts, scheduled, replays, .. } = candidate;
        Ok(Claimed { delivery: id, token, product: product.clone(), attempts, scheduled, replays, until })
    };
    candidates.into_iter().map(claimed).collect()
}
