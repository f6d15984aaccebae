//! The one thread that writes.
//!
//! Invariant: whoever asked is answered after the COMMIT that holds the change has returned, and everything one commit
//! holds was asked for by up to [`SqliteOptions::batch_max`](super::SqliteOptions) askers that share its fsync. One that
//! fails does not fail its neighbours: the batch is undone and done again with a savepoint round each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::StoreError;
use super::commit::Committer;
use super::courier::{Couriers, Way};
use super::ledger::Ledger;

/// Events waiting to be written, at most; over it a new one is refused.
const INTAKE_MAX: usize = 4096;

/// Bytes of events waiting to be written, at most.
const INTAKE_BYTES_MAX: usize = 64 << 20;

/// Places kept for everything that is not an event: settling must go on while intake is refused.
const QUEUE_MAX: usize = 2 * INTAKE_MAX;

/// How long a batch is held open for more to come, at most.
const LINGER_MAX: Duration = Duration::from_millis(2);

/// One step somebody asked for.
pub(super) trait Job: Send {
    /// Bytes taken in; zero for what is not an event.
    fn weight(&self) -> usize;
    /// Does it, within the open transaction. May run again after the transaction was undone.
    fn run(&mut self, ledger: &mut Ledger<'_>) -> rusqlite::Result<()>;
    /// The way back to the runtime that asked; `None` when there was none.
    fn way(&self) -> Option<&Way>;
    /// Answers: with what the last run came to, or with why it is not on disk.
    fn finish(self: Box<Self>, failure: Option<StoreError>);
}

struct Asked<F, T> {
    weight: usize,
    work: F,
    outcome: Option<T>,
    way: Option<Way>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Asked<F, T>
where
    F: Fn(&mut Ledger<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn weight(&self) -> usize {
        self.weight
    }

    fn run(&mut self, ledger: &mut Ledger<'_>) -> rusqlite::Result<()> {
        self.outcome = Some((self.work)(ledger)?);
        Ok(())
    }

    fn way(&self) -> Option<&Way> {
        self.way.as_ref()
    }

    fn finish(self: Box<Self>, failure: Option<StoreError>) {
        let outcome = match (failure, self.outcome) {
            (None, Some(outcome)) => Ok(outcome),
            (None, None) => Err(StoreError::Failed("it was not done".into())),
            (Some(failure), _) => Err(failure),
        };
        // Whoever asked may have gone; what was done stays done.
        let _gone = self.answer.send(outcome);
    }
}

enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
}

/// The way to the writing thread. The thread ends when this is dropped, after what is queued.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<Message>,
    waiting: Arc<Waiting>,
    couriers: Couriers,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(committer: Committer, batch_max: usize) -> Result<Self, StoreError> {
        let (queue, messages) = sync_channel(QUEUE_MAX);
        let waiting = Arc::<Waiting>::default();
        let ends = Queue {
            messages,
            waiting: waiting.clone(),
            most: batch_max.max(1),
            last: 0,
            taken: 0,
            deadline: Instant::now(),
            closing: None,
        };
        let thread = thread::Builder::new().name("store-writer".into());
        let started = thread.spawn(move || write(committer, ends));
        started.map_err(|error| StoreError::Failed(format!("cannot start the writer: {error}")))?;
        Ok(Self { queue, waiting, couriers: Couriers::default() })
    }

    /// Has `work` done in a transaction; returns once that is on disk. An event says its `weight` in bytes.
    /// Queued when this is called, not when the future is first polled. The answer comes by the runtime this is called
    /// in, so that has to go on.
    pub(super) fn ask<T, F>(
        &self,
        weight: usize,
        work: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        F: Fn(&mut Ledger<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let queued = self.queue(Box::new(Asked { weight, work, outcome: None, way: self.couriers.here(), answer }));
        async move {
            queued?;
            answered.await.unwrap_or_else(|_gone| Err(closed()))
        }
    }

    fn queue(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let weight = job.weight();
        let jobs = self.waiting.jobs.fetch_add(1, Ordering::Relaxed);
        let bytes = self.waiting.bytes.fetch_add(weight, Ordering::Relaxed);
        // One event of any size may wait alone.
        let refused = weight > 0 && (jobs >= INTAKE_MAX || (bytes > 0 && bytes + weight > INTAKE_BYTES_MAX));
        let queued = match refused {
            true => Err(StoreError::Busy),
            false => self.queue.try_send(Message::Job(job)).map_err(|error| match error {
                TrySendError::Full(_) => StoreError::Busy,
                TrySendError::Disconnected(_) => closed(),
            }),
        };
        if queued.is_err() {
            self.waiting.leave(weight);
        }
        queued
    }

    /// Ends the thread after what is queued, and returns once the database is closed.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        match self.queue.try_send(Message::Close(answer)) {
            Ok(()) => answered.await.map_err(|_gone| closed()),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(closed()),
        }
    }
}

impl Waiting {
    fn leave(&self, weight: usize) {
        self.jobs.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
    }
}

/// What a closed store answers.
pub(super) fn closed() -> StoreError {
    StoreError::Failed("it is closed".into())
}

fn write(mut committer: Committer, mut queue: Queue) {
    while let Some(first) = queue.first() {
        committer.commit(first, &mut queue);
    }
    let closing = queue.closing.take();
    // Whoever still waits behind the close is told by the queue's end.
    drop(queue);
    committer.close();
    if let Some(closing) = closing {
        let _gone = closing.send(());
    }
}

/// The writer's end of the queue, cut into batches.
///
/// A batch is everything queued, up to the most. While the last batch shows that more askers are about to come back,
/// it is held open for them a little: an fsync for half of them would only make the other half wait for a second one.
pub(super) struct Queue {
    messages: Receiver<Message>,
    waiting: Arc<Waiting>,
    most: usize,
    /// How many the last batch held, and how many this one does.
    last: usize,
    taken: usize,
    /// When this batch is closed at the latest.
    deadline: Instant,
    /// Who waits for the end.
    closing: Option<oneshot::Sender<()>>,
}

impl Queue {
    /// Waits for the first job of the next batch; `None` at the end.
    fn first(&mut self) -> Option<Box<dyn Job>> {
        if self.closing.is_some() {
            return None;
        }
        self.last = self.taken;
        self.taken = 0;
        let message = self.messages.recv().ok()?;
        self.deadline = Instant::now() + LINGER_MAX;
        self.take(message)
    }

    /// The next job of this batch; `None` when it is closed.
    pub(super) fn next(&mut self) -> Option<Box<dyn Job>> {
        if self.taken >= self.most || self.closing.is_some() {
            return None;
        }
        let message = match self.messages.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Empty) if self.taken < self.last => {
                let left = self.deadline.saturating_duration_since(Instant::now());
                self.messages.recv_timeout(left.min(LINGER_MAX / 10)).ok()?
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
        };
        self.take(message)
    }

    fn take(&mut self, message: Message) -> Option<Box<dyn Job>> {
        match message {
            Message::Job(job) => {
                self.taken += 1;
                self.waiting.leave(job.weight());
                Some(job)
            }
            Message::Close(answer) => {
                self.closing = Some(answer);
                None
            }
        }
    }
}
