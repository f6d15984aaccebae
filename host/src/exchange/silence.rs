//! How long a body may be silent, and when it must be over. A frame costs no timer: the clock is looked at when nothing
//! comes, and the timer is set again only when it fires.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Watches one body.
#[derive(Debug, Default)]
pub struct Silence {
    limit: Option<Duration>,
    deadline: Option<Instant>,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What was overstepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Nothing came for the limit.
    Silent,
    /// The deadline passed.
    Deadline,
}

impl Silence {
    /// At most `limit` between two frames, and nothing after `deadline`.
    pub fn new(limit: Option<Duration>, deadline: Option<Instant>) -> Self {
        Self { limit, deadline, since: None, timer: None }
    }

    /// A frame came.
    pub fn broken(&mut self) {
        self.since = None;
    }

    /// Nothing came: ready once that has been so for too long.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        if self.limit.is_none() && self.deadline.is_none() {
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let silent = self.limit.map(|limit| since + limit);
        let Some(due) = silent.into_iter().chain(self.deadline).min() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(Overdue::Deadline);
            }
            if due <= now {
                return Poll::Ready(Overdue::Silent);
            }
            timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_frame_starts_the_silence_anew() {
        let started = Instant::now();
        let mut silence = Silence::new(Some(Duration::from_secs(10)), None);
        let wait = Duration::from_secs(6);
        assert!(tokio::time::timeout(wait, poll_fn(|cx| silence.poll(cx))).await.is_err());
        silence.broken();
        assert_eq!(poll_fn(|cx| silence.poll(cx)).await, Overdue::Silent);
        assert_eq!(started.elapsed(), Duration::from_secs(16));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_however_much_comes() {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut silence = Silence::new(Some(Duration::from_secs(60)), Some(deadline));
        assert_eq!(poll_fn(|cx| silence.poll(cx)).await, Overdue::Deadline);
        assert_eq!(Instant::now(), deadline);
    }
}
