//! Stopping in order: everyone who works holds a [`Guard`]; whoever stops the gateway [signals](Drain::start) and
//! [waits](Drain::done) until the last guard is gone.

use std::sync::Arc;

use tokio::sync::watch;

/// A phase of work that can be asked to end and waited for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    signal: Arc<watch::Sender<bool>>,
    guards: Arc<watch::Sender<usize>>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { signal: Arc::new(watch::Sender::new(false)), guards: Arc::new(watch::Sender::new(0)) }
    }
}

impl Drain {
    /// A part of the work that is asked to end on its own; this one's [`done`](Self::done) waits for it too.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { signal: Arc::new(watch::Sender::new(self.started())), guards: Arc::clone(&self.guards) }
    }

    /// A token to hold while working.
    pub fn guard(&self) -> Guard {
        self.guards.send_modify(|count| *count += 1);
        Guard { drain: self.clone() }
    }

    /// Asks everyone to finish.
    pub fn start(&self) {
        self.signal.send_replace(true);
    }

    /// Whether the end was asked for.
    pub fn started(&self) -> bool {
        *self.signal.borrow()
    }

    /// Returns once the end was asked for.
    pub async fn wait(&self) {
        // The sender lives in `self`, so the channel cannot close under us.
        let mut signal = self.signal.subscribe();
        let _started = signal.wait_for(|started| *started).await;
    }

    /// Returns once no guard is held.
    pub async fn done(&self) {
        let mut guards = self.guards.subscribe();
        let _done = guards.wait_for(|count| *count == 0).await;
    }

    /// How many guards are held.
    pub fn held(&self) -> usize {
        *self.guards.borrow()
    }
}

/// Held while something must not be cut off.
#[derive(Debug)]
pub struct Guard {
    drain: Drain,
}

impl Guard {
    /// The drain it holds open.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.drain.guards.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn done_waits_for_the_last_guard() {
        let drain = Drain::default();
        let guard = drain.guard();
        drain.start();
        drain.wait().await;
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.done().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(guard);
        waiting.await.expect("ends");
    }
}
