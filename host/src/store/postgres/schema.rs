//! The tables, and how they come to be.
//!
//! Nothing here that databases which only speak PostgreSQL's language lack: no advisory locks, no triggers, no
//! partitions. A row of `tollgate_schema` is what gateways that start together wait for.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::super::StoreError;
use super::failure::Failure;
use super::pool::Connection;

/// Deliveries of one event have the ids `event.key * DELIVERIES_MAX + n`: ids rise in the order events were accepted.
pub(super) const DELIVERIES_MAX: i64 = 256;

/// Events of one commit have the keys `block * BLOCK + n`, with a block from the sequence for each commit: one step of the
/// sequence for all of them, and their order is ours.
pub(super) const BLOCK: i64 = 1024;

/// Step `n` takes a store from version `n` to `n + 1`. A step that was released is never edited. Each statement can be
/// done twice, because not every database undoes them with their transaction.
const MIGRATIONS: [&str; 1] = [
    // What is large is written once, in `tollgate_event`; what changes is narrow, in `tollgate_delivery`.
    // `due` is when a worker may take a delivery: its time while due, the lease's end while leased, else null.
    // `behind` is true while an earlier one of its order key is known to be unfinished.
    // `tollgate_tally` holds what was added to each state; now and then it is summed up.
    // `tollgate_body` holds bodies too large for a row, in pieces that are written before their event.
    "CREATE SEQUENCE IF NOT EXISTS tollgate_block;
    CREATE TABLE IF NOT EXISTS tollgate_event (
        key BIGINT PRIMARY KEY,
        id BYTEA NOT NULL UNIQUE,
        received BIGINT NOT NULL,
        size BIGINT NOT NULL,
        crc BIGINT NOT NULL,
        in_pieces BOOLEAN NOT NULL,
        deliveries INTEGER NOT NULL,
        route TEXT NOT NULL,
        verifier TEXT NOT NULL,
        request_id TEXT NOT NULL,
        traceparent TEXT,
        identity TEXT,
        kind TEXT,
        order_key TEXT,
        head BYTEA NOT NULL,
        redacted BYTEA,
        body BYTEA
    );
    CREATE TABLE IF NOT EXISTS tollgate_body (
        event BYTEA NOT NULL,
        n INTEGER NOT NULL,
        bytes BYTEA NOT NULL,
        PRIMARY KEY (event, n)
    );
    CREATE TABLE IF NOT EXISTS tollgate_delivery (
        id BIGINT PRIMARY KEY,
        received BIGINT NOT NULL,
        due BIGINT,
        changed BIGINT NOT NULL,
        token BIGINT NOT NULL DEFAULT 0,
        attempts BIGINT NOT NULL DEFAULT 0,
        scheduled BIGINT NOT NULL DEFAULT 0,
        replays BIGINT NOT NULL DEFAULT 0,
        state SMALLINT NOT NULL,
        behind BOOLEAN NOT NULL DEFAULT false,
        product TEXT NOT NULL,
        route TEXT NOT NULL,
        verifier TEXT NOT NULL,
        kind TEXT,
        order_key TEXT,
        reason TEXT
    );
    CREATE INDEX IF NOT EXISTS tollgate_delivery_due ON tollgate_delivery (product, due, id)
        WHERE due IS NOT NULL AND NOT behind;
    CREATE INDEX IF NOT EXISTS tollgate_delivery_ordered ON tollgate_delivery (product, route, order_key, id)
        WHERE order_key IS NOT NULL AND due IS NOT NULL;
    CREATE INDEX IF NOT EXISTS tollgate_delivery_listed ON tollgate_delivery (state, received, id);
    CREATE INDEX IF NOT EXISTS tollgate_delivery_dead_route ON tollgate_delivery (route, received, id) WHERE state = 3;
    CREATE INDEX IF NOT EXISTS tollgate_delivery_dead_product ON tollgate_delivery (product, received, id)
        WHERE state = 3;
    CREATE INDEX IF NOT EXISTS tollgate_delivery_dead_verifier ON tollgate_delivery (verifier, received, id)
        WHERE state = 3;
    CREATE INDEX IF NOT EXISTS tollgate_delivery_dead_kind ON tollgate_delivery (kind, received, id) WHERE state = 3;
    CREATE TABLE IF NOT EXISTS tollgate_attempt (
        delivery BIGINT NOT NULL,
        number BIGINT NOT NULL,
        at BIGINT NOT NULL,
        took BIGINT NOT NULL,
        status INTEGER,
        error TEXT,
        answer BYTEA NOT NULL,
        PRIMARY KEY (delivery, number)
    );
    CREATE TABLE IF NOT EXISTS tollgate_duplicate (
        key BYTEA PRIMARY KEY,
        until BIGINT NOT NULL,
        event BYTEA NOT NULL
    );
    CREATE INDEX IF NOT EXISTS tollgate_duplicate_until ON tollgate_duplicate (until);
    CREATE TABLE IF NOT EXISTS tollgate_hold (
        key BYTEA PRIMARY KEY,
        until BIGINT NOT NULL,
        event BYTEA NOT NULL
    );
    CREATE TABLE IF NOT EXISTS tollgate_tally (
        state SMALLINT NOT NULL,
        delta BIGINT NOT NULL
    );",
];

/// Told to PostgreSQL so that what is deleted or changed is used again soon; a database that takes none of it, or has no
/// need of it, is served all the same.
const TUNING: [&str; 6] = [
    "ALTER TABLE tollgate_delivery SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)",
    "ALTER TABLE tollgate_duplicate SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1)",
    "ALTER TABLE tollgate_event SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1)",
    "ALTER TABLE tollgate_hold SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500)",
    "ALTER TABLE tollgate_tally SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500)",
    "ALTER TABLE tollgate_event ALTER COLUMN body SET COMPRESSION lz4, ALTER COLUMN head SET COMPRESSION lz4",
];

/// Brings the tables up to date. Where they are, it needs no right to make any.
pub(super) async fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    migrate_to(connection, MIGRATIONS.len()).await
}

async fn migrate_to(connection: &mut Connection, known: usize) -> Result<(), StoreError> {
    let known = i64::try_from(known).unwrap_or(i64::MAX);
    let found = match version(connection).await {
        Ok(found) => found,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
            found_schema(connection).await?;
            0
        }
        Err(error) => return Err(Failure::from(error).into()),
    };
    refuse_newer(found, known)?;
    if found == known {
        return Ok(());
    }
    connection.begin().await?;
    let done = steps(connection, known).await;
    let from = connection.end(done).await?;
    if from == 0 {
        for tuning in TUNING {
            if let Err(error) = connection.client().batch_execute(tuning).await {
                tracing::debug!(%error, "the database takes no advice on its tables");
            }
        }
    }
    Ok(())
}

async fn version(connection: &Connection) -> Result<i64, tokio_postgres::Error> {
    let found = connection.client().query_opt("SELECT version FROM tollgate_schema WHERE id = 1", &[]).await?;
    Ok(found.map_or(0, |row| row.get(0)))
}

/// Makes the row that everybody who migrates locks. Several may try at once, which PostgreSQL answers with an error even
/// to `IF NOT EXISTS`.
async fn found_schema(connection: &Connection) -> Result<(), StoreError> {
    const FOUND: &str = "CREATE TABLE IF NOT EXISTS tollgate_schema (id BIGINT PRIMARY KEY, version BIGINT NOT NULL);
        INSERT INTO tollgate_schema (id, version) VALUES (1, 0) ON CONFLICT (id) DO NOTHING";
    let mut tries = 0;
    loop {
        match connection.client().batch_execute(FOUND).await {
            Ok(()) => return Ok(()),
            Err(error) if tries < 10 && error.code().is_some_and(met_another) => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(Failure::from(error).into()),
        }
    }
}

fn met_another(code: &SqlState) -> bool {
    [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::T_R_SERIALIZATION_FAILURE].contains(code)
}

/// All steps that are missing, within a transaction. Gives back the version that was found.
async fn steps(connection: &Connection, known: i64) -> Result<i64, Failure> {
    const LOCK: &str = "SELECT version FROM tollgate_schema WHERE id = 1 FOR UPDATE";
    let from: i64 = connection.client().query_one(LOCK, &[]).await?.get(0);
    refuse_newer(from, known)?;
    for step in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        connection.client().batch_execute(step).await?;
    }
    connection.client().execute("UPDATE tollgate_schema SET version = $1 WHERE id = 1", &[&known]).await?;
    Ok(from)
}

fn refuse_newer(found: i64, known: i64) -> Result<(), StoreError> {
    if found > known {
        let newer = format!("it was written by a newer tollgate (schema {found}, this one knows {known})");
        return Err(StoreError::Failed(newer));
    }
    Ok(())
}
