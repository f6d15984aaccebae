//! The embedded engine: one SQLite file, one writing thread, group commit.
//!
//! Invariants:
//! - What is answered is on disk: write-ahead log, `synchronous = FULL`, the answer after COMMIT (`writer`).
//! - A body file is on disk before the commit that refers to it and goes after the one that forgets it (`bodies`).
//! - Every change goes through the writer, so that a look and the change that depends on it are one transaction
//!   (`ledger`). What is chosen by a long search is searched elsewhere and looked at again by the writer.
//! - A delivery is in the index `delivery_due` exactly while a worker may take it now or later; those behind an
//!   unfinished one of their order key are not (`lease`).
//! - One process: a lock beside the file (`lock`). So at open no lease is alive, and all are released.
//! - Nothing here runs on the caller's thread but encoding; bodies in files are synced by tokio's blocking threads.
//!
//! A crash at any point leaves a leased delivery (released at open), a body file without a row (swept), or nothing.

mod accept;
mod bodies;
mod checkpoint;
mod commit;
mod courier;
mod keys;
mod lease;
mod ledger;
mod load;
mod lock;
mod pool;
mod schema;
mod select;
mod sweep;
mod tally;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use self::accept::{Entry, Kept};
use self::bodies::Bodies;
use self::checkpoint::Checkpointer;
use self::commit::{Bounds, Committer};
use self::keys::Keys;
use self::lease::{Claimed, Fence};
use self::lock::Lock;
use self::pool::Pool;
use self::select::{LOOK_MAX, Order, Position, Search};
use self::tally::Tally;
use self::writer::{Writer, closed};
use super::{
    Accepted, DeliveryState, EventDetail, EventStore, Filter, KnownKey, Lease, NewEvent, Page, Pending, Reservation,
    Restored, Retention, Settlement, Stats, StoreError, Swept,
};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::names::{ProductName, RouteName};
use crate::base::payload::{MEMORY_MAX, Payload};

/// The longest page of a list.
const PAGE_MAX: u32 = 500;

/// How an embedded store is opened.
#[derive(Clone)]
pub struct SqliteOptions {
    /// New events are refused while pages in use and body files come to this; `None` is no bound. What is settled is
    /// not asked. The log beside the database (a few hundred MiB at most under load) is not counted.
    pub max_bytes: Option<u64>,
    /// New events are refused while less than this is free on the disk, so that what was accepted can be settled.
    pub reserve_bytes: u64,
    /// How long to wait for another process to let go of the store.
    pub lock_wait: Duration,
    /// How many askers share one commit, at most.
    pub batch_max: usize,
    /// Told how long each commit took and how many shared it. Called by the writing thread: must be quick.
    pub observe: Option<Arc<dyn Fn(Duration, usize) + Send + Sync>>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            max_bytes: None,
            reserve_bytes: 32 << 20,
            lock_wait: Duration::from_secs(30),
            batch_max: 256,
            observe: None,
        }
    }
}

impl fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("max_bytes", &self.max_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("lock_wait", &self.lock_wait)
            .field("batch_max", &self.batch_max)
            .finish_non_exhaustive()
    }
}

/// An open embedded store. Its threads end when it is closed or dropped.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    /// What workers wait for: claimed events, bodies, due times.
    loads: Pool,
    /// What people wait for, which may take long.
    searches: Pool,
    bodies: Arc<Bodies>,
    tally: Arc<Tally>,
    open: AtomicBool,
}

impl SqliteStore {
    /// Opens the store at `path`, making it when it is not there. Blocks: for the lock, and while leases of the last
    /// process are released and its leftovers removed.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Arc<Self>, StoreError> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory).map_err(|error| on_disk("make the store's folder", &error))?;
        let lock = Lock::take(&beside(path, ".lock"), options.lock_wait)?;
        let connection = schema::create(path)?;
        upkeep::release_leases(&connection).map_err(failure)?;
        let bodies = Bodies::open(beside(path, "-bodies")).map_err(|error| on_disk("open the bodies", &error))?;
        let bodies = Arc::new(bodies);
        upkeep::remove_orphans(&connection, &bodies, Duration::ZERO)?;
        let tally = Arc::new(Tally::count(&connection).map_err(failure)?);
        let numbers = upkeep::numbers(&connection).map_err(failure)?;
        let keys = Keys::load(&connection).map_err(failure)?;
        let bounds = Bounds {
            max_bytes: options.max_bytes,
            reserve_bytes: options.reserve_bytes,
            directory: directory.to_owned(),
        };
        let committer = Committer {
            connection,
            numbers,
            keys,
            bounds,
            bodies: bodies.clone(),
            tally: tally.clone(),
            checkpointer: Some(Checkpointer::start(path)?),
            observe: options.observe,
            lock: Some(lock),
        };
        let loads = Pool::start(path, "store-load", 1)?;
        let searches = Pool::start(path, "store-search", 2)?;
        let writer = Writer::start(committer, options.batch_max)?;
        Ok(Arc::new(Self { writer, loads, searches, bodies, tally, open: AtomicBool::new(true) }))
    }

    fn check_open(&self) -> Result<(), StoreError> {
        match self.open.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err(closed()),
        }
    }

    async fn load<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        self.loads.ask_patiently(read).await
    }

    async fn search<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_open()?;
        self.searches.ask(read).await
    }

    async fn take_in(&self, now: Timestamp, event: NewEvent) -> Result<Accepted, StoreError> {
        let (entry, in_file) = self.entry(event).await?;
        let (id, weight) = (entry.id(), entry.weight());
        let outcome = self.writer.ask(weight, move |ledger| ledger.accept(now, &entry)).await;
        let outcome = outcome.and_then(|decided| decided);
        // A commit that failed may yet turn out to be on disk; its file is left to the sweep.
        let refused = matches!(outcome, Ok(Accepted::Duplicate(_)) | Err(StoreError::Full | StoreError::Busy));
        if in_file && refused {
            self.remove_files(vec![id]).await?;
        }
        outcome
    }

    async fn take_back(
        &self,
        now: Timestamp,
        mut event: NewEvent,
        deliveries: Vec<Restored>,
    ) -> Result<bool, StoreError> {
        event.products = deliveries.iter().map(|delivery| delivery.product.clone()).collect();
        self.check_open()?;
        // The writer looks as well. A file of the same name must not be kept before.
        let id = event.id;
        if matches!(event.body, Payload::File(_))
            && self.load(move |connection| select::event_key(connection, id)).await?.is_some()
        {
            return Ok(false);
        }
        let (entry, _) = self.entry(event).await?;
        let restored = move |ledger: &mut ledger::Ledger<'_>| ledger.restore(now, &entry, &deliveries);
        // A file that a refused one leaves goes with the sweep.
        self.writer.ask(0, restored).await.and_then(|decided| decided)
    }

    /// What the writer keeps of `event`, and whether its body is a file, which is on disk then.
    async fn entry(&self, mut event: NewEvent) -> Result<(Entry, bool), StoreError> {
        self.check_open()?;
        let body = std::mem::replace(&mut event.body, Payload::Memory(bytes::Bytes::new()));
        let (kept, crc) = self.keep_body(event.id, body).await?;
        let in_file = matches!(kept, Kept::File { .. });
        Ok((Entry::new(event, kept, crc)?, in_file))
    }

    /// Puts a large body where it stays. What fits in memory is a row, wherever it comes from.
    async fn keep_body(&self, id: EventId, body: Payload) -> Result<(Kept, u32), StoreError> {
        let file = match body {
            Payload::Memory(bytes) => {
                let crc = crc32fast::hash(&bytes);
                return Ok((Kept::Row(bytes), crc));
            }
            Payload::File(file) => file,
        };
        let bodies = self.bodies.clone();
        off_the_loop(move || {
            let size = file.length();
            let body = Payload::File(file.clone());
            if size <= MEMORY_MAX as u64 {
                let bytes = body.read(0, MEMORY_MAX)?;
                let crc = crc32fast::hash(&bytes);
                return Ok((Kept::Row(bytes), crc));
            }
            let crc = load::checksum(&body)?;
            bodies.keep(id, &file)?;
            Ok((Kept::File { size }, crc))
        })
        .await
    }

    async fn remove_files(&self, events: Vec<EventId>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let bodies = self.bodies.clone();
        off_the_loop(move || {
            events.into_iter().for_each(|event| bodies.remove(event));
            Ok(())
        })
        .await
    }

    /// Leases, then reads what was leased. What does not read back becomes a dead letter; when reading itself fails
    /// the leases are given back.
    async fn hand_out(
        &self,
        now: Timestamp,
        room: Vec<(ProductName, u32)>,
        until: Timestamp,
    ) -> Result<Vec<Lease>, StoreError> {
        let claimed = self.writer.ask(0, move |ledger| ledger.claim(now, &room, until)).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let bodies = self.bodies.clone();
        let to_read = claimed.clone();
        let loaded = match self.load(move |connection| load::leases(connection, &bodies, to_read)).await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.give_back(now, claimed).await?;
                return Err(error);
            }
        };
        for (claimed, reason) in loaded.unreadable {
            let fence = fence(&claimed);
            let quarantined = self.writer.ask(0, move |ledger| ledger.quarantine(now, fence, &reason)).await;
            // It is tried again when its lease has run out; the others must not wait for that.
            if let Err(error) = quarantined {
                tracing::error!(%error, "an event that cannot be read stays leased");
            }
        }
        Ok(loaded.leases)
    }

    async fn give_back(&self, now: Timestamp, claimed: Vec<Claimed>) -> Result<(), StoreError> {
        let released = move |ledger: &mut ledger::Ledger<'_>| {
            for claimed in &claimed {
                ledger.settle(now, fence(claimed), &Settlement::Release { at: now })?;
            }
            Ok(())
        };
        self.writer.ask(0, released).await
    }

    async fn find(&self, filter: Filter, states: &'static [DeliveryState], limit: u32) -> Result<Vec<i64>, StoreError> {
        let search = move |connection: &Connection| {
            let search = Search {
                filter: &filter,
                states,
                order: Order::Oldest,
                after: None,
                most: limit.min(upkeep::CHANGES_MAX) as usize,
                look: usize::MAX,
            };
            let found = search.run(connection, |_| true)?;
            Ok(found.deliveries.iter().map(|delivery| delivery.id).collect())
        };
        self.search(search).await
    }
}

impl EventStore for SqliteStore {
    fn accept(&self, now: Timestamp, event: NewEvent) -> Pending<'_, Accepted> {
        Box::pin(self.take_in(now, event))
    }

    fn restore(&self, now: Timestamp, event: NewEvent, deliveries: Vec<Restored>) -> Pending<'_, bool> {
        Box::pin(self.take_back(now, event, deliveries))
    }

    fn reserve(&self, now: Timestamp, key: Digest, id: EventId, hold: Duration) -> Pending<'_, Reservation> {
        let until = now.after(hold);
        let reserved = self.writer.ask(0, move |ledger| ledger.reserve(now, key, id, until));
        Box::pin(async move { reserved.await.and_then(|decided| decided) })
    }

    fn conclude(&self, now: Timestamp, key: Digest, id: EventId, known: Option<Timestamp>) -> Pending<'_, bool> {
        Box::pin(self.writer.ask(0, move |ledger| ledger.conclude(now, key, id, known)))
    }

    fn claim<'a>(&'a self, now: Timestamp, room: &'a [(ProductName, u32)], hold: Duration) -> Pending<'a, Vec<Lease>> {
        Box::pin(self.hand_out(now, room.to_vec(), now.after(hold)))
    }

    fn settle<'a>(&'a self, now: Timestamp, lease: &'a Lease, settlement: Settlement) -> Pending<'a, bool> {
        let fence = Fence { delivery: lease.delivery, token: lease.token.cast_signed(), attempt: lease.attempt };
        Box::pin(self.writer.ask(0, move |ledger| ledger.settle(now, fence, &settlement)))
    }

    fn next_due<'a>(&'a self, products: &'a [ProductName]) -> Pending<'a, Option<Timestamp>> {
        self.tally.bell.hear();
        let products = products.to_vec();
        Box::pin(self.load(move |connection| {
            let mut next: Option<Timestamp> = None;
            for product in &products {
                let due = load::next_due(connection, product.as_str()).map_err(failure)?;
                next = next.into_iter().chain(due).min();
            }
            Ok(next)
        }))
    }

    fn adopt<'a>(&'a self, now: Timestamp, served: &'a [(RouteName, ProductName)]) -> Pending<'a, (u64, u64)> {
        Box::pin(self.adopt_served(now, served.iter().cloned().collect()))
    }

    fn list<'a>(&'a self, filter: &'a Filter, cursor: Option<&'a str>, limit: u32) -> Pending<'a, Page> {
        Box::pin(async move {
            let after = cursor.map(Position::parse).transpose()?;
            let filter = filter.clone();
            let search = move |connection: &Connection| {
                let states = &DeliveryState::ALL;
                let most = limit.clamp(1, PAGE_MAX) as usize;
                let search = Search { filter: &filter, states, order: Order::Newest, after, most, look: LOOK_MAX };
                let found = search.run(connection, |_| true)?;
                Ok(Page { rows: load::rows(connection, found.deliveries)?, next: found.next.map(Position::cursor) })
            };
            self.search(search).await
        })
    }

    fn show(&self, id: EventId) -> Pending<'_, Option<EventDetail>> {
        Box::pin(self.search(move |connection| load::detail(connection, id)))
    }

    fn body(&self, id: EventId) -> Pending<'_, Option<Payload>> {
        let bodies = self.bodies.clone();
        Box::pin(self.search(move |connection| load::body(connection, &bodies, id)))
    }

    fn replay<'a>(&'a self, now: Timestamp, filter: &'a Filter, limit: u32) -> Pending<'a, u64> {
        use DeliveryState::{Dead, Delivered, Dropped, Parked};
        Box::pin(async move {
            let ids = self.find(filter.clone(), &[Delivered, Dead, Parked, Dropped], limit).await?;
            self.writer.ask(0, move |ledger| ledger.replay(now, &ids)).await
        })
    }

    fn drop_deliveries<'a>(&'a self, now: Timestamp, filter: &'a Filter, limit: u32) -> Pending<'a, u64> {
        use DeliveryState::{Dead, Due, Parked};
        Box::pin(async move {
            let ids = self.find(filter.clone(), &[Due, Dead, Parked], limit).await?;
            self.writer.ask(0, move |ledger| ledger.drop_deliveries(now, &ids)).await
        })
    }

    fn walk(&self, after: i64, limit: u32) -> Pending<'_, Vec<(i64, EventId)>> {
        Box::pin(self.search(move |connection| load::walk(connection, after, limit).map_err(failure)))
    }

    fn known_keys(&self, after: Option<Digest>, limit: u32) -> Pending<'_, Vec<KnownKey>> {
        Box::pin(self.search(move |connection| load::known_keys(connection, after, limit).map_err(failure)))
    }

    fn stats(&self) -> Pending<'_, Stats> {
        Box::pin(async move {
            let oldest_due = self.search(|connection| load::oldest_due(connection).map_err(failure)).await?;
            Ok(Stats { states: self.tally.states(), oldest_due })
        })
    }

    fn sweep<'a>(&'a self, now: Timestamp, retention: &'a Retention) -> Pending<'a, Swept> {
        Box::pin(self.sweep_past(now, retention.clone()))
    }

    fn spill_directory(&self) -> &Path {
        self.bodies.spill()
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.tally.bell.rang())
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.open.store(false, Ordering::Release);
            self.writer.close().await
        })
    }
}

fn fence(claimed: &Claimed) -> Fence {
    Fence { delivery: claimed.delivery, token: claimed.token, attempt: claimed.attempts.saturating_add(1) }
}

/// `path` with `suffix` after its last part.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| on_disk("keep a body", &error)),
        Err(ended) => Err(StoreError::Failed(format!("cannot keep a body: {ended}"))),
    }
}

fn on_disk(what: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Failed(format!("cannot {what}: {error}")),
    }
}

fn failure(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(error.to_string()),
        Some(_) => StoreError::Failed(error.to_string()),
        // A column that is not of the type that was written.
        None => StoreError::Corrupt(error.to_string()),
    }
}
