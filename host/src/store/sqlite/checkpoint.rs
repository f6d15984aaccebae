//! Carrying the log into the database, on a thread of its own so that no commit waits for it.
//!
//! The log starts over only when all of it was carried over and nobody reads from it. Under steady load the thread
//! never quite catches up with the writer, so it goes as far as it can and leaves the last few pages to the writer,
//! between two commits.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::super::StoreError;
use super::schema::{Role, connect};

/// Pages in the log from which on it is carried over: 32 MiB.
const LOG_PAGES: i64 = 4_000;

/// Commits between two looks at the log.
const LOOK_EVERY: u32 = 16;

/// How often the thread runs after the writer before it leaves the rest to it.
const PASSES: usize = 3;

/// The thread, ended and joined on drop.
#[derive(Debug)]
pub(super) struct Checkpointer {
    look: Option<SyncSender<()>>,
    commits: AtomicU32,
    almost_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Log {
    pages: i64,
    carried: i64,
}

impl Checkpointer {
    /// Starts the thread with a connection of its own.
    pub(super) fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = connect(path, Role::Checkpoint)?;
        let (look, looks) = sync_channel(1);
        let almost_done = Arc::<AtomicBool>::default();
        let thread = thread::Builder::new().name("store-checkpoint".into());
        let started = thread.spawn({
            let almost_done = almost_done.clone();
            move || carry(&connection, &looks, &almost_done)
        });
        let thread = started.map_err(|error| StoreError::Failed(format!("cannot start the checkpoints: {error}")))?;
        Ok(Self { look: Some(look), commits: AtomicU32::new(0), almost_done, thread: Some(thread) })
    }

    /// To be told of every commit.
    pub(super) fn committed(&self) {
        if self.commits.fetch_add(1, Ordering::Relaxed) % LOOK_EVERY == LOOK_EVERY - 1
            && let Some(look) = &self.look
        {
            // Full: it is about to look anyway.
            let _looking = look.try_send(());
        }
    }

    /// Carries over the few pages the thread has left, so that the next commit starts the log over. Called between
    /// two commits of `writer`.
    pub(super) fn restart_log(&self, writer: &Connection) {
        if self.almost_done.swap(false, Ordering::Relaxed) {
            // A reader in the way, or a failing disk: the next time will do.
            let _left_for_later = checkpoint(writer, "PASSIVE");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.look.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn carry(connection: &Connection, looks: &Receiver<()>, almost_done: &AtomicBool) {
    while looks.recv().is_ok() {
        let Ok(log) = checkpoint(connection, "NOOP") else { continue };
        if log.pages < LOG_PAGES {
            continue;
        }
        for _ in 0..PASSES {
            match checkpoint(connection, "PASSIVE") {
                Ok(log) if log.carried < log.pages => {}
                _ => break,
            }
        }
        almost_done.store(true, Ordering::Relaxed);
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Log> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    statement.query_row([], |row| Ok(Log { pages: row.get(1)?, carried: row.get(2)? }))
}
