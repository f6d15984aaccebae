//! The threads that serve. Each runs its own single-threaded runtime with its own listeners and its own connections to
//! upstreams, so that a request is served where it came in and meets no other thread.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::thread::JoinHandle as Thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::worker;

/// Running workers; they stop when this is dropped.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    stop: watch::Sender<bool>,
    threads: Vec<Thread<()>>,
}

impl Workers {
    /// Starts `count` of them.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let mut workers = Self { handles: vec![], stop: watch::Sender::new(false), threads: vec![] };
        for index in 1..=count.get() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let mut stop = workers.stop.subscribe();
            workers.handles.push(runtime.handle().clone());
            let run = move || {
                worker::become_worker(index);
                // An error means that the sender is gone, which is a stop too.
                let _stopped = runtime.block_on(stop.wait_for(|stop| *stop));
            };
            workers.threads.push(std::thread::Builder::new().name(format!("worker-{index}")).spawn(run)?);
        }
        Ok(workers)
    }

    /// As many as the machine has cores.
    pub fn cores() -> NonZeroUsize {
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Runs `future` on worker `at`, counted from 0, modulo their number.
    pub fn spawn_on<F>(&self, at: usize, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handles[at % self.handles.len()].spawn(future)
    }

    /// The runtime of worker `at`, counted from 0, modulo their number.
    pub fn handle(&self, at: usize) -> &Handle {
        &self.handles[at % self.handles.len()]
    }

    /// The runtime of each.
    pub fn handles(&self) -> Vec<Handle> {
        self.handles.clone()
    }

    /// Stops them and waits for their threads. What still runs on them is dropped.
    pub fn stop(mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A worker that panicked has stopped as well.
            let _ended = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_knows_which_it_is() {
        let workers = Workers::start(NonZeroUsize::new(2).expect("not zero")).expect("starts");
        let index = |at| {
            let (sender, receiver) = std::sync::mpsc::channel();
            workers.spawn_on(at, async move { sender.send(worker::index()) });
            receiver.recv().expect("answers")
        };
        assert_eq!([index(0), index(1), index(2)], [1, 2, 1]);
        workers.stop();
    }
}
