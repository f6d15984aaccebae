//! Stopping in order: everyone who works holds a [`Guard`]; whoever stops the gateway [signals](Drain::start) and
//! [waits](Drain::done) until the last guard is gone.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Working,
    /// What is under way comes to its end.
    Ending,
    /// What has no end of its own ends where it does the least harm.
    LastCall,
}

/// A phase of work that can be asked to end and waited for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain {
    signal: Arc<watch::Sender<Phase>>,
    guards: Arc<watch::Sender<usize>>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { signal: Arc::new(watch::Sender::new(Phase::Working)), guards: Arc::new(watch::Sender::new(0)) }
    }
}

impl Drain {
    /// A part of the work that is asked to end on its own; this one's [`done`](Self::done) waits for it too.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { signal: Arc::new(watch::Sender::new(self.phase())), guards: Arc::clone(&self.guards) }
    }

    /// A token to hold while working.
    pub fn guard(&self) -> Guard {
        self.guards.send_modify(|count| *count += 1);
        Guard { drain: self.clone() }
    }

    /// Asks everyone to finish.
    pub fn start(&self) {
        self.advance(Phase::Ending);
    }

    /// Asks whoever has no end of its own to stop at the next good place: the rest is cut off soon.
    pub fn last_call(&self) {
        self.advance(Phase::LastCall);
    }

    fn advance(&self, to: Phase) {
        self.signal.send_if_modified(|phase| {
            let advances = *phase < to;
            *phase = to.max(*phase);
            advances
        });
    }

    fn phase(&self) -> Phase {
        *self.signal.borrow()
    }

    /// Whether the end was asked for.
    pub fn started(&self) -> bool {
        self.phase() >= Phase::Ending
    }

    /// Whether the [last call](Self::last_call) was made.
    pub fn is_last_call(&self) -> bool {
        self.phase() == Phase::LastCall
    }

    /// Returns once the end was asked for.
    pub async fn wait(&self) {
        self.reaches(Phase::Ending).await;
    }

    /// Returns once the [last call](Self::last_call) was made.
    pub async fn wait_for_last_call(&self) {
        self.reaches(Phase::LastCall).await;
    }

    async fn reaches(&self, phase: Phase) {
        // The sender lives in `self`, so the channel cannot close under us.
        let mut signal = self.signal.subscribe();
        let _reached = signal.wait_for(|now| *now >= phase).await;
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

    #[tokio::test]
    async fn the_last_call_comes_after_the_start_and_is_not_taken_back() {
        let drain = Drain::default();
        drain.start();
        assert!(drain.started() && !drain.is_last_call());
        drain.last_call();
        drain.start();
        drain.wait_for_last_call().await;
        assert!(drain.started() && drain.part().is_last_call());
    }
}
