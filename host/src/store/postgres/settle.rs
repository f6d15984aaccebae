//! Writing down what became of leases: a batch of them in one transaction, each fenced by its token.

use std::borrow::Cow;
use std::collections::HashSet;

use super::super::{ANSWER_MAX, Attempt, DeliveryState, Lease, Settlement, StoreError};
use super::Inner;
use super::failure::Failure;
use super::line::{Line, advance};
use super::pool::{Connection, Use};
use super::queue::Asked;
use super::{code, in_time, text};
use crate::base::clock::Timestamp;

const TRIES: usize = 4;

/// A lease's end, ready to be written.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) now: Timestamp,
    pub(super) delivery: i64,
    pub(super) token: i64,
    /// The attempt the lease was for.
    pub(super) number: u32,
    /// In which its delivery stands.
    pub(super) line: Option<Line>,
    pub(super) settlement: End,
}

/// What becomes of it.
#[derive(Debug)]
pub(super) enum End {
    /// As a worker said.
    Settled(Settlement),
    /// Its event does not read back.
    Unreadable(String),
}

impl Ending {
    pub(super) fn of(now: Timestamp, lease: &Lease, settlement: Settlement) -> Self {
        let line = lease.event.order_key.clone().map(|key| Line {
            product: lease.product.to_string(),
            route: lease.event.route.to_string(),
            key,
        });
        Self {
            now,
            delivery: lease.delivery,
            token: lease.token.cast_signed(),
            number: lease.attempt,
            line,
            settlement: End::Settled(settlement),
        }
    }

    pub(super) fn weight(&self) -> usize {
        512 + self.attempt().map_or(0, |attempt| attempt.answer.len())
    }

    fn attempt(&self) -> Option<&Attempt> {
        match &self.settlement {
            End::Settled(
                Settlement::Delivered(attempt) | Settlement::Retry { attempt, .. } | Settlement::Dead { attempt, .. },
            ) => Some(attempt),
            End::Settled(Settlement::Release { .. } | Settlement::Park { .. }) | End::Unreadable(_) => None,
        }
    }

    fn to(&self) -> DeliveryState {
        match &self.settlement {
            End::Settled(Settlement::Delivered(_)) => DeliveryState::Delivered,
            End::Settled(Settlement::Retry { .. } | Settlement::Release { .. }) => DeliveryState::Due,
            End::Settled(Settlement::Dead { .. }) | End::Unreadable(_) => DeliveryState::Dead,
            End::Settled(Settlement::Park { .. }) => DeliveryState::Parked,
        }
    }

    fn due(&self) -> Option<Timestamp> {
        match &self.settlement {
            End::Settled(Settlement::Retry { at, .. } | Settlement::Release { at }) => Some(*at),
            End::Settled(Settlement::Delivered(_) | Settlement::Dead { .. } | Settlement::Park { .. })
            | End::Unreadable(_) => None,
        }
    }

    fn reason(&self) -> Option<Cow<'_, str>> {
        match &self.settlement {
            End::Settled(Settlement::Retry { attempt, .. }) => {
                let status = || attempt.status.map(|status| Cow::Owned(format!("status {status}")));
                attempt.error.as_deref().map(text).or_else(status)
            }
            End::Settled(Settlement::Dead { reason, .. } | Settlement::Park { reason }) => Some(text(reason)),
            End::Unreadable(why) => Some(text(why)),
            End::Settled(Settlement::Delivered(_) | Settlement::Release { .. }) => None,
        }
    }

    fn keeps_reason(&self) -> bool {
        matches!(self.settlement, End::Settled(Settlement::Release { .. }))
    }
}

impl Inner {
    /// Does a batch and answers everyone in it.
    pub(super) async fn settle_batch(&self, batch: Vec<Asked<Ending, bool>>) {
        let started = tokio::time::Instant::now();
        let endings: Vec<&Ending> = batch.iter().map(|asked| &asked.input).collect();
        let outcome = self.settle_all(&endings).await;
        if let Some(observe) = &self.observe {
            observe(started.elapsed(), endings.len());
        }
        if endings.iter().any(|ending| ending.due().is_some() || ending.line.is_some()) {
            self.bell.ring();
            self.announce();
        }
        match outcome {
            Ok(held) => {
                for asked in batch {
                    let settled = held.contains(&(asked.input.delivery, asked.input.token));
                    asked.answer(Ok(settled));
                }
            }
            Err(error) => batch.into_iter().for_each(|asked| asked.answer(Err(error.clone()))),
        }
    }

    /// The deliveries and tokens of those whose lease was in force.
    pub(super) async fn settle_all(&self, endings: &[&Ending]) -> Result<HashSet<(i64, i64)>, StoreError> {
        let mut last = Failure::late();
        for _ in 0..TRIES {
            let mut held = match self.pool.take(Use::Work).await {
                Ok(held) => held,
                Err(failure) => return Err(failure.into()),
            };
            let done = in_time(settle(&mut held.connection, endings)).await;
            match self.pool.give(held, done) {
                Ok(settled) => return Ok(settled),
                // After a break nobody knows whether it was done. Whoever asked tries again, and if it was, is told that
                // the lease is no longer in force: the delivery stands where it should.
                Err(failure @ Failure::Again(_)) => last = failure,
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(last.into())
    }
}

const SETTLE: &str = "
WITH given AS (
    SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::SMALLINT[], $4::BIGINT[], $5::BIGINT[], $6::BOOL[], $7::TEXT[],
        $8::BIGINT[]) AS g (id, token, state, due, number, keeps, reason, now)
), put AS (
    UPDATE tollgate_delivery d SET state = g.state, due = g.due, attempts = coalesce(g.number, d.attempts),
        scheduled = d.scheduled + CASE WHEN g.number IS NULL THEN 0 ELSE 1 END,
        reason = CASE WHEN g.keeps THEN d.reason ELSE g.reason END, changed = g.now
    FROM given g WHERE d.id = g.id AND d.token = g.token AND d.state = 1
    RETURNING d.id, d.token, d.state
), kept AS (
    INSERT INTO tollgate_attempt (delivery, number, at, took, status, error, answer)
    SELECT a.delivery, a.number, a.at, a.took, a.status, a.error, a.answer
    FROM unnest($9::BIGINT[], $10::BIGINT[], $11::BIGINT[], $12::BIGINT[], $13::BIGINT[], $14::INT[], $15::TEXT[],
        $16::BYTEA[]) AS a (delivery, token, number, at, took, status, error, answer)
    JOIN put ON put.id = a.delivery AND put.token = a.token
    ON CONFLICT (delivery, number) DO UPDATE SET at = excluded.at, took = excluded.took, status = excluded.status,
        error = excluded.error, answer = excluded.answer
), counted AS (
    INSERT INTO tollgate_tally (state, delta)
    SELECT state, sum(delta) FROM (SELECT state, 1 AS delta FROM put UNION ALL SELECT 1::SMALLINT, -1 FROM put) AS moved
    GROUP BY state HAVING sum(delta) <> 0
)
SELECT id, token FROM put";

async fn settle(connection: &mut Connection, endings: &[&Ending]) -> Result<HashSet<(i64, i64)>, Failure> {
    let finished = endings.iter().filter(|ending| ending.due().is_none());
    let lines: Vec<&Line> = finished.filter_map(|ending| ending.line.as_ref()).collect();
    if lines.is_empty() {
        return put(connection, endings).await;
    }
    // Two statements, so that the second sees what came before the first got its rows.
    connection.begin().await?;
    let done = async {
        let settled = put(connection, endings).await?;
        advance(connection, &lines).await?;
        Ok(settled)
    };
    let done = done.await;
    connection.end(done).await
}

async fn put(connection: &mut Connection, endings: &[&Ending]) -> Result<HashSet<(i64, i64)>, Failure> {
    let statement = connection.statement(SETTLE).await?;
    let of = |read: fn(&Ending) -> i64| endings.iter().map(|ending| read(ending)).collect::<Vec<i64>>();
    let states: Vec<i16> = endings.iter().map(|ending| code(ending.to())).collect();
    let dues: Vec<Option<i64>> = endings.iter().map(|ending| ending.due().map(Timestamp::millis)).collect();
    let numbers: Vec<Option<i64>> =
        endings.iter().map(|ending| ending.attempt().map(|_| i64::from(ending.number))).collect();
    let keeps: Vec<bool> = endings.iter().map(|ending| ending.keeps_reason()).collect();
    let reasons: Vec<Option<Cow<'_, str>>> = endings.iter().map(|ending| ending.reason()).collect();

    let made = || endings.iter().filter_map(|ending| Some((*ending, ending.attempt()?)));
    let attempt = |read: fn(&Ending, &Attempt) -> i64| made().map(|(it, made)| read(it, made)).collect::<Vec<i64>>();
    let statuses: Vec<Option<i32>> = made().map(|(_, attempt)| attempt.status.map(i32::from)).collect();
    let errors: Vec<_> = made().map(|(_, attempt)| attempt.error.as_deref().map(text)).collect();
    let answers: Vec<&[u8]> =
        made().map(|(_, attempt)| &attempt.answer[..attempt.answer.len().min(ANSWER_MAX)]).collect();
    let rows = connection
        .client()
        .query(
            &statement,
            &[
                &of(|ending| ending.delivery),
                &of(|ending| ending.token),
                &states,
                &dues,
                &numbers,
                &keeps,
                &reasons,
                &of(|ending| ending.now.millis()),
                &attempt(|ending, _| ending.delivery),
                &attempt(|ending, _| ending.token),
                &attempt(|ending, _| i64::from(ending.number)),
                &attempt(|_, attempt| attempt.at.millis()),
                &attempt(|_, attempt| i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX)),
                &statuses,
                &errors,
                &answers,
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
