//! Threads that read, each with a connection of its own: a slow list holds up neither a commit nor the event loop.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::super::StoreError;
use super::schema::{Role, connect};
use super::writer::closed;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// Questions waiting for a thread, at most.
const QUEUE_MAX: usize = 256;

/// Some threads and the queue before them. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Pool {
    queue: mpsc::Sender<Question>,
}

impl Pool {
    /// Starts `threads` threads.
    pub(super) fn start(path: &Path, name: &str, threads: usize) -> Result<Self, StoreError> {
        let (queue, questions) = mpsc::channel(QUEUE_MAX);
        let questions = Arc::new(Mutex::new(questions));
        for _ in 0..threads {
            let connection = connect(path, Role::Reader)?;
            let questions = questions.clone();
            let thread = thread::Builder::new().name(name.into());
            let started = thread.spawn(move || answer(&connection, &questions));
            started.map_err(|error| StoreError::Failed(format!("cannot start {name}: {error}")))?;
        }
        Ok(Self { queue })
    }

    /// Reads; refused when too many are waiting.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (question, answered) = question(read);
        self.queue.try_send(question).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        answered.await.unwrap_or_else(|_gone| Err(closed()))
    }

    /// Reads; waits for its turn however many there are before it.
    pub(super) async fn ask_patiently<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (question, answered) = question(read);
        self.queue.send(question).await.map_err(|_closed| closed())?;
        answered.await.unwrap_or_else(|_gone| Err(closed()))
    }
}

fn question<T: Send + 'static>(
    read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
) -> (Question, oneshot::Receiver<Result<T, StoreError>>) {
    let (answer, answered) = oneshot::channel();
    let question = Box::new(move |connection: &Connection| {
        if !answer.is_closed() {
            let _gone = answer.send(read(connection));
        }
    });
    (question, answered)
}

fn answer(connection: &Connection, questions: &Mutex<mpsc::Receiver<Question>>) {
    loop {
        // Held only while waiting for a question; a panic there cannot leave it half taken.
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(question) = next else { break };
        question(connection);
    }
}
