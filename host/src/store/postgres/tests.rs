//! What only this engine does: a database that goes away and comes back, gateways that share it, and its plans. The rest
//! is the conformance suite.

mod faults;
mod plans;
mod secure;
#[path = "../../../../tests/src/postgres.rs"]
#[allow(dead_code, unreachable_pub)]
mod server;
mod sharing;

use std::sync::Arc;
use std::time::Duration;

use self::server::Server;
use super::super::StoreError;
use super::super::conformance::Fixture;
use super::{PostgresOptions, PostgresStore};
use crate::config::plan::{Postgres, PostgresHost, PostgresTls};

super::super::conformance::conformance!(crate::store::postgres::tests::fixture);

async fn fixture() -> Option<Fixture> {
    let server = Server::shared()?;
    Some(Fixture { store: open(plan(server)).await, _keep: Box::new(()) })
}

/// A database of its own on `server`.
fn plan(server: &Server) -> Postgres {
    Postgres {
        hosts: vec![PostgresHost::Unix(server.folder().to_owned(), server.port())],
        user: "postgres".into(),
        database: server.database(),
        password: None,
        tls: PostgresTls::Disable,
        root_certificate: None,
        identity: None,
        application_name: "tollgate".into(),
        connect_timeout: Duration::from_secs(5),
        connections: 6,
    }
}

async fn open(plan: Postgres) -> Arc<PostgresStore> {
    try_open(plan).await.unwrap()
}

async fn try_open(plan: Postgres) -> Result<Arc<PostgresStore>, StoreError> {
    PostgresStore::open(PostgresOptions::new(plan)).await
}
