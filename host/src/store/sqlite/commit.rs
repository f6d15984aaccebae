//! One batch, one transaction, one fsync; and what happens when it fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::StoreError;
use super::bodies::Bodies;
use super::checkpoint::Checkpointer;
use super::failure;
use super::keys::{KeyChanges, Keys};
use super::ledger::{Ledger, Moves, Numbers};
use super::lock::Lock;
use super::schema::PAGE_BYTES;
use super::tally::Tally;
use super::writer::{Job, refuse_all};

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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// The first failure ends the transaction.
    Together,
    /// Each job has a savepoint of its own.
    Apart,
}

impl Committer {
    /// Carries out a batch and answers everyone in it.
    pub(super) fn commit(&mut self, mut batch: Vec<Box<dyn Job>>) {
        if batch.is_empty() {
            return;
        }
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.restart_log(&self.connection);
        }
        let started = Instant::now();
        let failures = self.carry_out(&mut batch);
        if let Some(observe) = &self.observe {
            observe(started.elapsed(), batch.len());
        }
        for (job, failure) in batch.into_iter().zip(failures) {
            job.finish(failure);
        }
        // What fails here is tried again after the next batch; the keys stay where they are.
        let _later = self.keys.step(&self.connection);
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.committed();
        }
    }

    /// Why each job is not on disk; `None` for those that are.
    fn carry_out(&mut self, batch: &mut [Box<dyn Job>]) -> Vec<Option<StoreError>> {
        let mut failures = vec![None; batch.len()];
        if self.transact(batch, &mut failures, Care::Together).is_ok() {
            return failures;
        }
        let Err(error) = self.transact(batch, &mut failures, Care::Apart) else { return failures };
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
        if let Err(error) = self.transact(batch, &mut failures, Care::Apart) {
            refuse_all(&mut failures, error);
        }
        failures
    }

    fn transact(
        &mut self,
        batch: &mut [Box<dyn Job>],
        failures: &mut [Option<StoreError>],
        care: Care,
    ) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = self.run(batch, failures, care).and_then(|outcome| {
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

    fn run(
        &mut self,
        batch: &mut [Box<dyn Job>],
        failures: &mut [Option<StoreError>],
        care: Care,
    ) -> rusqlite::Result<(Moves, bool, KeyChanges)> {
        let intake = batch.iter().any(|job| job.weight() > 0);
        let room = if intake { self.room()? } else { 0 };
        let connection = &self.connection;
        let mut ledger = Ledger {
            connection,
            numbers: &mut self.numbers,
            keys: &self.keys,
            key_changes: KeyChanges::default(),
            room,
            moves: [0; 6],
            wakes: false,
        };
        for (job, slot) in batch.iter_mut().zip(failures).filter(|(_, slot)| slot.is_none()) {
            match care {
                Care::Together => job.run(&mut ledger)?,
                Care::Apart => *slot = run_apart(job.as_mut(), &mut ledger)?,
            }
        }
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

/// Why `job` failed, when it did and its neighbours did not. An error is of the whole transaction.
fn run_apart(job: &mut dyn Job, ledger: &mut Ledger<'_>) -> rusqlite::Result<Option<StoreError>> {
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
