//! What goes on beside the work: hearing from other gateways, telling them, and summing up counts.
//!
//! Notifications make waiting short; nothing depends on them. Where the database has none, or one is lost, the bell rings
//! every [`POLL`] and whoever waits looks for itself.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_postgres::{AsyncMessage, Client};

use super::failure::Failure;
use super::pool::{Use, Wire};
use super::{Inner, in_time};

/// How long something that became due elsewhere is unknown here, at most.
const POLL: Duration = Duration::from_secs(2);

/// Between two notifications: a commit that sends one takes a lock that all others wait for.
const TELL_EVERY: Duration = Duration::from_millis(25);

/// Between two tries to listen.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// Between two sums of the counts.
const SUM_EVERY: Duration = Duration::from_secs(10);

/// Where a gateway tells the others that something became due. They share it with other logs in the same database, who are
/// woken in vain.
const CHANNEL: &str = "tollgate";

/// Rings whether or not anybody tells us.
pub(super) async fn poll(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval_at(Instant::now() + POLL, POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        inner.bell.ring();
    }
}

/// Listens to the other gateways and tells them, over a connection of its own, made again when it breaks.
pub(super) async fn converse(inner: Arc<Inner>) {
    let mut listens = true;
    loop {
        let (ended, end) = tokio::sync::oneshot::channel();
        let drive = {
            let inner = inner.clone();
            move |wire: Wire| {
                tokio::spawn(async move {
                    hear(&inner, wire).await;
                    let _nobody_waits = ended.send(());
                });
            }
        };
        match inner.pool.connector().connect(drive).await {
            Ok(client) => {
                let listening = client.batch_execute(&format!("LISTEN {CHANNEL}")).await;
                if let Err(error) = listening
                    && std::mem::take(&mut listens)
                {
                    tracing::info!(%error, "the database has no notifications: looked for every {POLL:?}");
                }
                if listens {
                    tokio::select! {
                        () = tell(&inner, &client) => {}
                        _ended = end => {}
                    }
                    // What was said meanwhile is lost.
                    inner.bell.ring();
                }
            }
            Err(failure) => tracing::debug!(error = %failure.error(), "nothing is heard from the database"),
        }
        if !listens {
            return;
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

/// Drives the connection, and rings at each word of another gateway.
async fn hear(inner: &Inner, mut wire: Wire) {
    loop {
        match poll_fn(|cx| wire.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(said))) if said.payload() != inner.name => inner.bell.ring(),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// Tells the others, once for all that became due since it last did; returns when it cannot.
async fn tell(inner: &Inner, client: &Client) {
    const TELL: &str = "SELECT pg_notify($1, $2)";
    let Ok(statement) = client.prepare(TELL).await else { return };
    loop {
        inner.announced.notified().await;
        let told = Instant::now();
        if client.query(&statement, &[&CHANNEL, &inner.name]).await.is_err() {
            return;
        }
        tokio::time::sleep_until(told + TELL_EVERY).await;
    }
}

/// Sums the counts up, so that reading them stays quick.
pub(super) async fn sum(inner: Arc<Inner>) {
    loop {
        // Not all gateways at once.
        tokio::time::sleep(SUM_EVERY.mul_f64(0.5 + fastrand::f64())).await;
        if let Err(failure) = sum_once(&inner).await {
            tracing::debug!(error = %failure.error(), "the counts are summed up later");
        }
    }
}

async fn sum_once(inner: &Inner) -> Result<(), Failure> {
    const SUM: &str = "WITH gone AS (DELETE FROM tollgate_tally RETURNING state, delta)
        INSERT INTO tollgate_tally (state, delta) SELECT state, sum(delta) FROM gone GROUP BY state";
    let mut held = inner.pool.take(Use::Search).await?;
    let sum = async {
        let statement = held.connection.statement(SUM).await?;
        Ok(held.connection.client().execute(&statement, &[]).await?)
    };
    let done = in_time(sum).await;
    inner.pool.give(held, done).map(drop)
}
