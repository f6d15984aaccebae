//! Connections: how they are made, how many there may be, and who gets one.
//!
//! Invariant: a connection that is handed back is outside of any transaction; one that is not handed back is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Statement};

use super::super::StoreError;
use super::failure::Failure;
use super::tls::{Encrypted, Tls};
use crate::base::secret::SecretText;
use crate::config::plan::{Postgres, PostgresHost, PostgresTls};

/// How long somebody waits for a connection while all are in use.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Between two tries to reach a database that is away: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What every connection is told first: nothing waits for ever, and what is committed is on disk.
const SESSION: &str = "SET statement_timeout = '15s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '30s'; SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit', true) = 'off';
    SELECT set_config('jit', 'off', false) WHERE current_setting('jit', true) = 'on'";

/// Makes connections.
pub(super) struct Connector {
    config: Config,
    /// Each is tried, the newest first; none at all for databases that need none.
    passwords: Vec<SecretText>,
    tls: Tls,
    timeout: Duration,
}

/// The half of a connection that reads and writes its socket.
pub(super) type Wire = tokio_postgres::Connection<tokio_postgres::Socket, Encrypted>;

impl Connector {
    pub(super) fn new(plan: &Postgres, passwords: Vec<SecretText>) -> Result<Self, StoreError> {
        let mut config = Config::new();
        for host in &plan.hosts {
            match host {
                PostgresHost::Tcp(host, port) => config.host(host).port(*port),
                PostgresHost::Unix(folder, port) => config.host_path(folder).port(*port),
            };
        }
        config.user(&plan.user).dbname(&plan.database).application_name(&plan.application_name);
        config.connect_timeout(plan.connect_timeout);
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(Duration::from_secs(20));
        config.ssl_mode(match plan.tls {
            PostgresTls::Disable => SslMode::Disable,
            PostgresTls::Require | PostgresTls::VerifyFull => SslMode::Require,
        });
        if plan.hosts.len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self { config, passwords, tls: Tls::of(plan)?, timeout: plan.connect_timeout * 2 })
    }

    /// A connection that is ready for use, and the half of it that has to be driven. Its task is `spawn`ed by whoever asks,
    /// before the first statement.
    pub(super) async fn connect(&self, drive: impl FnOnce(Wire)) -> Result<Client, Failure> {
        let connecting = async {
            let (client, wire) = self.log_in().await?;
            drive(wire);
            client.batch_execute(SESSION).await?;
            Ok(client)
        };
        tokio::time::timeout(self.timeout, connecting).await.unwrap_or_else(|_| Err(Failure::late()))
    }

    async fn log_in(&self) -> Result<(Client, Wire), Failure> {
        let mut config = self.config.clone();
        let mut refused = None;
        for password in self.passwords.iter().map(Some).chain(self.passwords.is_empty().then_some(None)) {
            if let Some(password) = password {
                config.password(password.expose());
            }
            match config.connect(self.tls.clone()).await {
                Ok(connected) => return Ok(connected),
                Err(error) if error.code() == Some(&SqlState::INVALID_PASSWORD) => refused = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused.map_or_else(Failure::late, Failure::from))
    }
}

/// A connection and the statements it knows.
pub(super) struct Connection {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Connection {
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// `sql`, made known to the database once for each connection.
    pub(super) async fn statement(&mut self, sql: &'static str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    pub(super) async fn begin(&self) -> Result<(), Failure> {
        Ok(self.client.batch_execute("BEGIN").await?)
    }

    /// Commits what came to something, undoes what failed.
    pub(super) async fn end<T>(&self, done: Result<T, Failure>) -> Result<T, Failure> {
        match done {
            Ok(done) => {
                self.client.batch_execute("COMMIT").await?;
                Ok(done)
            }
            Err(failure) if failure.spoils() => Err(failure),
            Err(failure) => {
                self.client.batch_execute("ROLLBACK").await?;
                Err(failure)
            }
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Events and deliveries.
    Work,
    /// What people wait for, which may take long: never the last connections.
    Search,
}

/// A connection in use, and the right to it.
pub(super) struct Held {
    pub(super) connection: Connection,
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

#[derive(Default)]
struct Idle {
    connections: Vec<Connection>,
    /// Nobody tries to connect before then, and what was said last.
    away: Option<(Instant, Duration, StoreError)>,
}

/// At most so many connections, made when they are needed.
pub(super) struct Pool {
    connector: Connector,
    idle: Mutex<Idle>,
    all: Arc<Semaphore>,
    searches: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(connector: Connector, most: usize) -> Self {
        let searches = (most / 3).max(1);
        Self {
            connector,
            idle: Mutex::default(),
            all: Arc::new(Semaphore::new(most)),
            searches: Arc::new(Semaphore::new(searches)),
        }
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// A connection, once there is one. Whoever asks while the database is away is told so at once.
    pub(super) async fn take(&self, purpose: Use) -> Result<Held, Failure> {
        let permits = async {
            let searching = match purpose {
                Use::Work => None,
                Use::Search => Some(self.searches.clone().acquire_owned().await?),
            };
            Ok::<_, tokio::sync::AcquireError>((self.all.clone().acquire_owned().await?, searching))
        };
        let permits = match tokio::time::timeout(WAIT_MAX, permits).await {
            Ok(Ok(permits)) => permits,
            Ok(Err(_closed)) => return Err(super::closed().into()),
            Err(_late) => return Err(StoreError::Busy.into()),
        };
        let connection = match self.idle()? {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Held { connection, _permits: permits })
    }

    /// One that is open already, if there is one.
    fn idle(&self) -> Result<Option<Connection>, Failure> {
        // Nothing panics while this is held.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.connections.pop() {
            if !connection.client.is_closed() {
                return Ok(Some(connection));
            }
        }
        match &idle.away {
            Some((until, _, error)) if Instant::now() < *until => Err(Failure::Other(error.clone())),
            _ => Ok(None),
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let drive = |wire: Wire| {
            // How it ended is what the next statement over it is told.
            tokio::spawn(async { drop(wire.await) });
        };
        let connected = self.connector.connect(drive).await;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match connected {
            Ok(client) => {
                if idle.away.take().is_some() {
                    tracing::info!("the database is back");
                }
                Ok(Connection { client, statements: HashMap::new() })
            }
            Err(failure) => {
                let wait = idle.away.as_ref().map_or(BACKOFF.0, |(_, wait, _)| (*wait * 2).min(BACKOFF.1));
                if idle.away.is_none() {
                    tracing::error!(error = %failure.error(), "the database is away");
                }
                let jittered = wait.mul_f64(1.0 + fastrand::f64() / 2.0);
                idle.away = Some((Instant::now() + jittered, wait, failure.error().clone()));
                Err(failure)
            }
        }
    }

    /// Takes a connection back, unless what was done with it broke it.
    pub(super) fn give<T>(&self, held: Held, done: Result<T, Failure>) -> Result<T, Failure> {
        let spoilt = done.as_ref().is_err_and(Failure::spoils);
        if !spoilt && !held.connection.client.is_closed() && !self.all.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).connections.push(held.connection);
        }
        done
    }

    /// Nobody gets one any more.
    pub(super) fn close(&self) {
        self.all.close();
        self.searches.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).connections.clear();
    }
}
