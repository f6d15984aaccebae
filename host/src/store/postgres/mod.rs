//! The engine that gateways share: one PostgreSQL database, any number of processes.
//!
//! Invariants:
//! - What is answered is committed: intake waits for the COMMIT of its batch (`queue`, `accept`).
//! - A duplicate key, its event and its deliveries are one statement (`accept`).
//! - A delivery is in the index `tollgate_delivery_due` exactly while a worker may take it now or later; those behind an
//!   unfinished one of their order key are not (`line`).
//! - Claims wait for nobody (`claim`); a lease is fenced by its token (`settle`); a gateway that died loses its leases when
//!   they run out, and nothing else.
//! - Every wait has an end: for a connection, for a lock, for an answer. A statement without an answer costs its connection.
//! - Only what databases that speak PostgreSQL's language have in common is used; what is not there is done without
//!   (`keeper`, `schema`).
//!
//! Everything runs on a thread of the engine's own, to the end even when nobody waits for it any more: so no connection is
//! left in the middle of a transaction.

mod accept;
mod bodies;
mod change;
mod claim;
mod failure;
mod keeper;
mod line;
mod load;
mod pool;
mod queue;
mod reserve;
mod restore;
mod schema;
mod select;
mod settle;
mod spill;
mod sweep;
mod tls;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use self::accept::{Entry, Kept};
use self::change::Change;
use self::failure::Failure;
use self::pool::{Connection, Connector, Pool, Use};
use self::queue::Queue;
use self::restore::Restoring;
use self::settle::Ending;
use self::spill::Spill;
use super::bell::Bell;
use super::{
    Accepted, DeliveryState, EventDetail, EventStore, Filter, KnownKey, Lease, NewEvent, Page, Pending, Reservation,
    Restored, Retention, Settlement, Stats, StoreError, Swept,
};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::names::{ProductName, RouteName};
use crate::base::payload::{MEMORY_MAX, Payload};
use crate::base::secret::SecretText;
use crate::config::plan::Postgres;

/// The longest page of a list.
const PAGE_MAX: u32 = 500;

/// How long a step may take before its connection is given up; longer than the database gives a statement.
const STEP_MAX: Duration = Duration::from_secs(20);

/// Batches of new events that are written at once: while one waits for the disk, the next is sent.
const LANES: usize = 2;

/// Told how long each commit took and how many shared it. Must be quick.
pub(crate) type Observe = Arc<dyn Fn(Duration, usize) + Send + Sync>;

/// How a shared store is opened.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Where it is.
    pub plan: Postgres,
    /// The role's passwords; each is tried, the newest first.
    pub passwords: Vec<SecretText>,
    /// How long to wait for a database that is away.
    pub wait: Duration,
    /// Told how long each commit took and how many shared it.
    pub observe: Option<Observe>,
}

impl PostgresOptions {
    /// The database of `plan`, with what else is usual.
    pub fn new(plan: Postgres) -> Self {
        Self { plan, passwords: Vec::new(), wait: Duration::from_secs(30), observe: None }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// What all parts of the engine share.
struct Inner {
    pool: Pool,
    bell: Bell,
    /// Woken when the other gateways should hear of something.
    announced: Notify,
    /// This gateway among those that share the database.
    name: String,
    spill: PathBuf,
    served: ArcSwap<Vec<(RouteName, ProductName)>>,
    observe: Option<Observe>,
}

impl Inner {
    /// Lets the other gateways know that something may be due.
    fn announce(&self) {
        self.announced.notify_one();
    }
}

/// A step that does not end in time costs its connection.
async fn in_time<T>(step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(STEP_MAX, step).await.unwrap_or_else(|_| Err(Failure::late()))
}

/// An open shared store. Its thread ends when it is closed or dropped.
pub struct PostgresStore {
    inner: Arc<Inner>,
    runtime: tokio::runtime::Handle,
    intake: Arc<Queue<Entry, Accepted>>,
    settling: Arc<Queue<Ending, bool>>,
    restoring: Queue<Restoring, bool>,
    tasks: Vec<JoinHandle<()>>,
    spill: Spill,
    open: AtomicBool,
    /// Dropped to end the thread.
    _thread: tokio::sync::oneshot::Sender<()>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Opens the store, making its tables when they are not there. Waits for a database that is away.
    pub async fn open(options: PostgresOptions) -> Result<Arc<Self>, StoreError> {
        let PostgresOptions { plan, passwords, wait, observe } = options;
        let spill = Spill::make().map_err(|error| bodies::on_disk(&error))?;
        let pool = Pool::new(Connector::new(&plan, passwords)?, plan.connections);
        let inner = Arc::new(Inner {
            pool,
            bell: Bell::new(),
            announced: Notify::new(),
            name: format!("{:016x}", fastrand::u64(..)),
            spill: spill.path().to_owned(),
            served: ArcSwap::default(),
            observe,
        });
        let (runtime, thread) = thread()?;
        let migrated = {
            let inner = inner.clone();
            runtime.spawn(async move { migrate(&inner, wait).await }).await
        };
        migrated.map_err(|_ended| closed())??;
        let intake = {
            let inner = inner.clone();
            Queue::start(&runtime, LANES, move |batch| {
                let inner = inner.clone();
                async move { inner.accept_batch(batch).await }
            })
        };
        let settling = {
            let inner = inner.clone();
            Queue::start(&runtime, 1, move |batch| {
                let inner = inner.clone();
                async move { inner.settle_batch(batch).await }
            })
        };
        let restoring = {
            let inner = inner.clone();
            // One after the other, so that they are in line as they came.
            Queue::start(&runtime, 1, move |batch| {
                let inner = inner.clone();
                async move { inner.restore_batch(batch).await }
            })
        };
        let tasks = vec![
            runtime.spawn(keeper::poll(inner.clone())),
            runtime.spawn(keeper::converse(inner.clone())),
            runtime.spawn(keeper::sum(inner.clone())),
        ];
        let (intake, settling) = (Arc::new(intake), Arc::new(settling));
        Ok(Arc::new(Self {
            inner,
            runtime,
            intake,
            settling,
            restoring,
            tasks,
            spill,
            open: AtomicBool::new(true),
            _thread: thread,
        }))
    }

    /// Has it done on the engine's thread, to its end.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !self.open.load(Ordering::Acquire) {
            return Err(closed());
        }
        match self.runtime.spawn(work).await {
            Ok(done) => done.map_err(StoreError::from),
            Err(_ended) => Err(closed()),
        }
    }

    async fn take_in(&self, now: Timestamp, mut event: NewEvent) -> Result<Accepted, StoreError> {
        let id = event.id;
        let body = std::mem::replace(&mut event.body, Payload::Memory(bytes::Bytes::new()));
        let (kept, crc) = match body {
            Payload::Memory(bytes) => {
                let crc = crc32fast::hash(&bytes);
                (Kept::Row(bytes), crc)
            }
            Payload::File(_) => self.keep(id, body).await?,
        };
        let in_pieces = matches!(kept, Kept::Pieces(_));
        let entry = Entry::new(now, event, kept, crc)?;
        let weight = entry.weight();
        let outcome = self.intake.ask(entry, weight).await;
        // One that failed may yet turn out to be there; its pieces are left to the sweep.
        if in_pieces && matches!(outcome, Ok(Accepted::Duplicate(_)) | Err(StoreError::Busy | StoreError::Full)) {
            let inner = self.inner.clone();
            self.run(async move {
                inner.forget_pieces(id).await;
                Ok(())
            })
            .await?;
        }
        outcome
    }

    /// Puts a spilled body where it stays: what fits in memory is a row.
    async fn keep(&self, id: EventId, body: Payload) -> Result<(Kept, u32), StoreError> {
        if body.length() <= MEMORY_MAX as u64 {
            let bytes = off_the_loop(move || body.read(0, MEMORY_MAX)).await?;
            let crc = crc32fast::hash(&bytes);
            return Ok((Kept::Row(bytes), crc));
        }
        let inner = self.inner.clone();
        self.run(async move {
            let crc = inner.keep_pieces(id, &body).await?;
            Ok((Kept::Pieces(body.length()), crc))
        })
        .await
    }
}

/// A thread with a runtime of its own, and what ends it when dropped.
fn thread() -> Result<(tokio::runtime::Handle, tokio::sync::oneshot::Sender<()>), StoreError> {
    let failed = |error: io::Error| StoreError::Failed(format!("cannot start the store's thread: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime.handle().clone();
    let (sender, dropped) = tokio::sync::oneshot::channel::<()>();
    let run = move || {
        let _dropped = runtime.block_on(dropped);
        // A blocking read that hangs must not keep the thread.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("store-postgres".into()).spawn(run).map_err(failed)?;
    Ok((handle, sender))
}

async fn migrate(inner: &Inner, wait: Duration) -> Result<(), StoreError> {
    let given_up = tokio::time::Instant::now() + wait;
    loop {
        let failure = match inner.pool.take(Use::Work).await {
            Ok(mut held) => {
                let done = in_time(async { Ok(schema::migrate(&mut held.connection).await?) }).await;
                match inner.pool.give(held, done) {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                }
            }
            // Away, or not up yet; anything else does not mend itself.
            Err(failure @ (Failure::Gone(_) | Failure::Other(StoreError::Failed(_)))) => failure,
            Err(failure) => return Err(failure.into()),
        };
        if tokio::time::Instant::now() >= given_up || !(failure.spoils() || is_away(&failure)) {
            return Err(failure.into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the pool said again what it last heard of a database that is away.
fn is_away(failure: &Failure) -> bool {
    matches!(failure, Failure::Other(StoreError::Failed(_)))
}

impl EventStore for PostgresStore {
    fn accept(&self, now: Timestamp, event: NewEvent) -> Pending<'_, Accepted> {
        Box::pin(self.take_in(now, event))
    }

    fn restore(&self, now: Timestamp, event: NewEvent, deliveries: Vec<Restored>) -> Pending<'_, bool> {
        let restoring = Restoring { now, event, deliveries };
        let weight = restoring.weight();
        Box::pin(self.restoring.ask(restoring, weight))
    }

    fn reserve(&self, now: Timestamp, key: Digest, id: EventId, hold: Duration) -> Pending<'_, Reservation> {
        let inner = self.inner.clone();
        Box::pin(self.run(async move { inner.hold(now, key, id, now.after(hold)).await }))
    }

    fn conclude(&self, now: Timestamp, key: Digest, id: EventId, known: Option<Timestamp>) -> Pending<'_, bool> {
        let inner = self.inner.clone();
        Box::pin(self.run(async move { inner.end_hold(now, key, id, known).await }))
    }

    fn claim<'a>(&'a self, now: Timestamp, room: &'a [(ProductName, u32)], hold: Duration) -> Pending<'a, Vec<Lease>> {
        let (inner, room) = (self.inner.clone(), room.to_vec());
        Box::pin(self.run(async move { inner.hand_out(now, room, now.after(hold)).await }))
    }

    fn settle<'a>(&'a self, now: Timestamp, lease: &'a Lease, settlement: Settlement) -> Pending<'a, bool> {
        let ending = Ending::of(now, lease, settlement);
        let weight = ending.weight();
        Box::pin(self.settling.ask(ending, weight))
    }

    fn next_due<'a>(&'a self, products: &'a [ProductName]) -> Pending<'a, Option<Timestamp>> {
        self.inner.bell.hear();
        let (inner, products) = (self.inner.clone(), products.to_vec());
        Box::pin(self.run(async move {
            let mut held = inner.pool.take(Use::Work).await?;
            let found = in_time(load::next_due(&mut held.connection, &products)).await;
            inner.pool.give(held, found)
        }))
    }

    fn adopt<'a>(&'a self, now: Timestamp, served: &'a [(RouteName, ProductName)]) -> Pending<'a, (u64, u64)> {
        let (inner, served) = (self.inner.clone(), Arc::new(served.to_vec()));
        inner.served.store(served.clone());
        Box::pin(self.run(async move { inner.adopt_served(now, &served).await }))
    }

    fn list<'a>(&'a self, filter: &'a Filter, cursor: Option<&'a str>, limit: u32) -> Pending<'a, Page> {
        let (inner, filter, cursor) = (self.inner.clone(), filter.clone(), cursor.map(str::to_owned));
        let limit = limit.clamp(1, PAGE_MAX);
        Box::pin(self.run(async move {
            let mut held = inner.pool.take(Use::Search).await?;
            let found = select::page(&mut held.connection, &filter, cursor.as_deref(), limit);
            let found = in_time(found).await;
            inner.pool.give(held, found)
        }))
    }

    fn show(&self, id: EventId) -> Pending<'_, Option<EventDetail>> {
        let inner = self.inner.clone();
        Box::pin(self.run(async move {
            let mut held = inner.pool.take(Use::Search).await?;
            let found = in_time(load::detail(&mut held.connection, id)).await;
            inner.pool.give(held, found)
        }))
    }

    fn body(&self, id: EventId) -> Pending<'_, Option<Payload>> {
        let inner = self.inner.clone();
        Box::pin(self.run(async move {
            let mut held = inner.pool.take(Use::Search).await?;
            let found = load::body(&mut held.connection, &inner.spill, id).await;
            inner.pool.give(held, found)
        }))
    }

    fn replay<'a>(&'a self, now: Timestamp, filter: &'a Filter, limit: u32) -> Pending<'a, u64> {
        let (inner, filter) = (self.inner.clone(), filter.clone());
        Box::pin(self.run(async move { inner.change(now, &filter, limit, Change::Replay).await }))
    }

    fn drop_deliveries<'a>(&'a self, now: Timestamp, filter: &'a Filter, limit: u32) -> Pending<'a, u64> {
        let (inner, filter) = (self.inner.clone(), filter.clone());
        Box::pin(self.run(async move { inner.change(now, &filter, limit, Change::Drop).await }))
    }

    fn walk(&self, after: i64, limit: u32) -> Pending<'_, Vec<(i64, EventId)>> {
        let inner = self.inner.clone();
        Box::pin(self.run(async move {
            let mut held = inner.pool.take(Use::Search).await?;
            let found = in_time(load::walk(&mut held.connection, after, limit)).await;
            inner.pool.give(held, found)
        }))
    }

    fn known_keys(&self, after: Option<Digest>, limit: u32) -> Pending<'_, Vec<KnownKey>> {
        let inner = self.inner.clone();
        Box::pin(self.run(async move {
            let mut held = inner.pool.take(Use::Search).await?;
            let found = in_time(load::known_keys(&mut held.connection, after, limit)).await;
            inner.pool.give(held, found)
        }))
    }

    fn stats(&self) -> Pending<'_, Stats> {
        let inner = self.inner.clone();
        Box::pin(self.run(async move {
            let mut held = inner.pool.take(Use::Search).await?;
            let counted = async {
                let states = load::states(&mut held.connection).await?;
                Ok(Stats { states, oldest_due: load::oldest_due(&mut held.connection).await? })
            };
            let counted = in_time(counted).await;
            inner.pool.give(held, counted)
        }))
    }

    fn sweep<'a>(&'a self, now: Timestamp, retention: &'a Retention) -> Pending<'a, Swept> {
        let (inner, retention) = (self.inner.clone(), retention.clone());
        Box::pin(self.run(async move {
            let served = inner.served.load_full();
            if inner.unpark(now, &served).await? > 0 {
                tracing::info!("deliveries that another gateway put aside are due again");
            }
            inner.sweep_past(now, &retention).await
        }))
    }

    fn spill_directory(&self) -> &Path {
        self.spill.path()
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.inner.bell.rang())
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.open.store(false, Ordering::Release);
            self.intake.close().await;
            self.settling.close().await;
            self.restoring.close().await;
            self.tasks.iter().for_each(JoinHandle::abort);
            self.inner.pool.close();
            Ok(())
        })
    }
}

/// What a closed store answers.
fn closed() -> StoreError {
    StoreError::Failed("it is closed".into())
}

/// The number of `state` in the tables.
const fn code(state: DeliveryState) -> i16 {
    match state {
        DeliveryState::Due => 0,
        DeliveryState::Leased => 1,
        DeliveryState::Delivered => 2,
        DeliveryState::Dead => 3,
        DeliveryState::Parked => 4,
        DeliveryState::Dropped => 5,
    }
}

/// The state of a number in the tables.
fn state(code: i16) -> Option<DeliveryState> {
    DeliveryState::ALL.get(usize::try_from(code).ok()?).copied()
}

/// A count that never is negative.
fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn event_id(bytes: &[u8]) -> Result<EventId, StoreError> {
    let bytes = bytes.try_into().map_err(|_| StoreError::Corrupt("an event's id is not 16 bytes long".into()))?;
    Ok(EventId::from_bytes(bytes))
}

/// The key of an event.
async fn event_key(connection: &mut Connection, event: EventId) -> Result<Option<i64>, Failure> {
    const KEY: &str = "SELECT key FROM tollgate_event WHERE id = $1";
    let statement = connection.statement(KEY).await?;
    let found = connection.client().query_opt(&statement, &[&&event.bytes()[..]]).await?;
    Ok(found.map(|row| row.get(0)))
}

/// Text as PostgreSQL takes it: without the one character that it does not know.
fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| bodies::on_disk(&error)),
        Err(ended) => Err(StoreError::Failed(format!("cannot keep a body: {ended}"))),
    }
}
