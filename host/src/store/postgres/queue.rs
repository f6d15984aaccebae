//! Askers that share a commit: whatever waits when a lane is free is done in one transaction.
//!
//! Invariant: whoever asked is answered after the commit that holds the change, and what waits is bounded.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::StoreError;
use super::closed;

/// Askers waiting, at most; over it a new one is refused.
const WAITING_MAX: usize = 4096;

/// Bytes waiting, at most.
const BYTES_MAX: usize = 64 << 20;

/// Askers that share a commit, at most. Less than a block of keys holds.
pub(super) const BATCH_MAX: usize = 256;

/// Bytes that share a commit, unless one is larger alone.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// One wish, and where its answer goes.
pub(super) struct Asked<I, O> {
    pub(super) input: I,
    weight: usize,
    answer: oneshot::Sender<Result<O, StoreError>>,
}

impl<I, O> Asked<I, O> {
    /// Whoever asked may have gone; what was done stays done.
    pub(super) fn answer(self, outcome: Result<O, StoreError>) {
        let _gone = self.answer.send(outcome);
    }
}

/// The way to some lanes.
pub(super) struct Queue<I, O> {
    sender: StdMutex<Option<mpsc::Sender<Asked<I, O>>>>,
    bytes: Arc<AtomicUsize>,
    lanes: StdMutex<Vec<JoinHandle<()>>>,
}

impl<I: Send + 'static, O: Send + 'static> Queue<I, O> {
    /// Starts `lanes` lanes, each of which does one batch at a time with `work`.
    pub(super) fn start<F, W>(runtime: &Handle, lanes: usize, work: W) -> Self
    where
        W: Fn(Vec<Asked<I, O>>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(Waiting { receiver, kept: None }));
        let bytes = Arc::<AtomicUsize>::default();
        let start = |_| {
            let (waiting, bytes, work) = (waiting.clone(), bytes.clone(), work.clone());
            runtime.spawn(async move {
                loop {
                    let batch = waiting.lock().await.batch().await;
                    let taken = batch.iter().map(|asked| asked.weight).sum();
                    bytes.fetch_sub(taken, Ordering::Relaxed);
                    if batch.is_empty() {
                        return;
                    }
                    work(batch).await;
                }
            })
        };
        let lanes = (0..lanes).map(start).collect();
        Self { sender: StdMutex::new(Some(sender)), bytes, lanes: StdMutex::new(lanes) }
    }

    /// Has it done; returns once that is on disk.
    pub(super) async fn ask(&self, input: I, weight: usize) -> Result<O, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.put(Asked { input, weight, answer })?;
        answered.await.unwrap_or_else(|_gone| Err(closed()))
    }

    fn put(&self, asked: Asked<I, O>) -> Result<(), StoreError> {
        let weight = asked.weight;
        let before = self.bytes.fetch_add(weight, Ordering::Relaxed);
        // One of any size may wait alone.
        let put = if before > 0 && before + weight > BYTES_MAX {
            Err(StoreError::Busy)
        } else {
            // Nothing panics while this is held.
            match &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
                None => Err(closed()),
                Some(sender) => sender.try_send(asked).map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => StoreError::Busy,
                    mpsc::error::TrySendError::Closed(_) => closed(),
                }),
            }
        };
        if put.is_err() {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
        }
        put
    }

    /// Takes nothing more, and returns after what waits is done.
    pub(super) async fn close(&self) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner));
        for lane in lanes {
            if lane.await.is_err() {
                tracing::error!("a lane of the store ended early");
            }
        }
    }
}

struct Waiting<I, O> {
    receiver: mpsc::Receiver<Asked<I, O>>,
    /// One that did not fit into the last batch.
    kept: Option<Asked<I, O>>,
}

impl<I, O> Waiting<I, O> {
    /// What waits, at least one; none at the end.
    async fn batch(&mut self) -> Vec<Asked<I, O>> {
        let first = match self.kept.take() {
            Some(kept) => Some(kept),
            None => self.receiver.recv().await,
        };
        let mut batch: Vec<_> = first.into_iter().collect();
        let mut bytes: usize = batch.iter().map(|asked| asked.weight).sum();
        while !batch.is_empty() && batch.len() < BATCH_MAX {
            let Ok(next) = self.receiver.try_recv() else { break };
            bytes += next.weight;
            if bytes > BATCH_BYTES_MAX {
                self.kept = Some(next);
                break;
            }
            batch.push(next);
        }
        batch
    }
}
