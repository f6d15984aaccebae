//! One batch, one transaction, one fsync; and what happens when it fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::StoreError;
use super::bodies::Bodies;
use super::checkpoint::Checkpointer;
use super::courier;
use super::failure;
use super::keys::{KeyChanges, Keys};
use super::ledger::{Ledger, Moves, Numbers};
use super::lock::Lock;
use super::schema::PAGE_BYTES;
use super::tally::Tally;
use super::writer::{Job, Queue};

/// Told how long each commit took and how many askers shared it.
pub(crate) type Observe = Arc<dyn Fn(Duration, usize) + Send + Sync>;

/// How much the store may take.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Of pages in use and body files; `None` is no bound.
    pub(super) max_bytes: Option<u64>,
    /// Left free on the disk, so that what was accepted can still be settled.
    pub(super) reserve_bytes: u64,
    /// Where the database is.
    pub(super) directory: PathBuf,
}

/// The writing connection and all that goes with it.
pub(super) struct Committer {
    pub(super) connection: Connection,
    pub(super) numbers: Numbers,
    pub(super) keys: Keys,
    pub(super) bounds: Bounds,
    pub(super) bodies: Arc<Bodies>,
    pub(super) tally: Arc<Tally>,
    pub(super) checkpointer: Option<Checkpointer>,
    pub(super) observe: Option<Observe>,
    /// Let go of last.
    pub(super) lock: Option<Lock>,
}

/// What a transaction comes to once it is committed.
type Outcome = (Moves, bool, KeyChanges);

impl Committer {
    /// Carries out a batch, the first job and what follows it in the queue, and answers everyone in it.
    pub(super) fn commit(&mut self, first: Box<dyn Job>, queue: &mut Queue) {
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.restart_log(&self.connection);
        }
        let started = Instant::now();
        let mut batch = vec![first];
        // Jobs are done as they arrive, while the next are still on their way.
        let failures = match self.transact(|ledger| run_together(&mut batch, queue, ledger)) {
            Ok(()) => vec![None; batch.len()],
            Err(_one_spoiled_it) => self.redo(&mut batch),
        };
        if let Some(observe) = &self.observe {
            observe(started.elapsed(), batch.len());
        }
        courier::answer(batch.into_iter().zip(failures));
        // What fails here is tried again after the next batch; the keys stay where they are.
        let _later = self.keys.step(&self.connection);
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.committed();
        }
    }

    /// Carries out a batch of which one failed, so that only that one fails. Gives back why each job is not on disk.
    fn redo(&mut self, batch: &mut [Box<dyn Job>]) -> Vec<Option<StoreError>> {
        let mut failures = vec![None; batch.len()];
        let Err(error) = self.transact(|ledger| run_apart(batch, &mut failures, ledger)) else { return failures };
        // The transaction itself does not go through. What is new gives way to what has to be settled.
        let refused = failure(error);
        for (job, slot) in batch.iter().zip(&mut failures) {
            if job.weight() > 0 && slot.is_none() {
                *slot = Some(refused.clone());
            }
        }
        if failures.iter().all(Option::is_some) {
            return failures;
        }
        if let Err(error) = self.transact(|ledger| run_apart(batch, &mut failures, ledger)) {
            let error = failure(error);
            failures.iter_mut().filter(|slot| slot.is_none()).for_each(|slot| *slot = Some(error.clone()));
        }
        failures
    }

    /// One transaction around `work`: on disk, or undone.
    fn transact(&mut self, work: impl FnOnce(&mut Ledger<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = self.work(work).and_then(|outcome| {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(outcome)
        });
        match done {
            Ok((moves, wakes, key_changes)) => {
                self.keys.apply(key_changes);
                self.tally.apply(moves, wakes);
                Ok(())
            }
            Err(error) => {
                // SQLite may have rolled back already; then there is nothing left to undo.
                if !self.connection.is_autocommit() {
                    self.connection.prepare_cached("ROLLBACK")?.execute([])?;
                }
                Err(error)
            }
        }
    }

    fn work(&mut self, work: impl FnOnce(&mut Ledger<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<Outcome> {
        let mut ledger = Ledger {
            room: self.room()?,
            connection: &self.connection,
            numbers: &mut self.numbers,
            keys: &self.keys,
            key_changes: KeyChanges::default(),
            moves: [0; 6],
            wakes: false,
        };
        work(&mut ledger)?;
        Ok((ledger.moves, ledger.wakes, ledger.key_changes))
    }

    /// Bytes that may still be taken in.
    fn room(&self) -> rusqlite::Result<u64> {
        let free = rustix::fs::statvfs(&self.bounds.directory)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let on_disk = free.saturating_sub(self.bounds.reserve_bytes);
        let Some(max_bytes) = self.bounds.max_bytes else { return Ok(on_disk) };
        let number = |pragma: &str| -> rusqlite::Result<u64> {
            self.connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))
        };
        let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
        let used = pages * PAGE_BYTES + self.bodies.bytes();
        Ok(on_disk.min(max_bytes.saturating_sub(used)))
    }

    /// Ends orderly: the log is carried into the database, then the lock is let go of.
    pub(super) fn close(mut self) {
        drop(self.checkpointer.take());
        // Without it the next open reads the log; nothing depends on it.
        let _log_stays = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        drop(self.connection);
        drop(self.lock.take());
    }
}

/// Runs the batch and what the queue adds to it. The first failure ends it.
fn run_together(batch: &mut Vec<Box<dyn Job>>, queue: &mut Queue, ledger: &mut Ledger<'_>) -> rusqlite::Result<()> {
    let mut done = 0;
    loop {
        for job in &mut batch[done..] {
            job.run(ledger)?;
        }
        done = batch.len();
        match queue.next() {
            Some(job) => batch.push(job),
            None => return Ok(()),
        }
    }
}

/// Runs those that have not failed, each behind a savepoint of its own. An error is of the whole transaction.
fn run_apart(
    batch: &mut [Box<dyn Job>],
    failures: &mut [Option<StoreError>],
    ledger: &mut Ledger<'_>,
) -> rusqlite::Result<()> {
    for (job, slot) in batch.iter_mut().zip(failures).filter(|(_, slot)| slot.is_none()) {
        *slot = run_alone(job.as_mut(), ledger)?;
    }
    Ok(())
}

/// Why `job` failed, when it did and its neighbours did not.
fn run_alone(job: &mut dyn Job, ledger: &mut Ledger<'_>) -> rusqlite::Result<Option<StoreError>> {
    let connection = ledger.connection;
    let (moves, wakes, room) = (ledger.moves, ledger.wakes, ledger.room);
    let keys = ledger.key_changes.mark();
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let Err(error) = job.run(ledger) else {
        connection.prepare_cached("RELEASE job")?.execute([])?;
        return Ok(None);
    };
    if connection.is_autocommit() {
        return Err(error);
    }
    connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    connection.prepare_cached("RELEASE job")?.execute([])?;
    (ledger.moves, ledger.wakes, ledger.room) = (moves, wakes, room);
    ledger.key_changes.back_to(keys);
    Ok(Some(failure(error)))
}
