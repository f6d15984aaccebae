//! `Expect: 100-continue`, end to end (RFC 9110, section 10.1.1): the client's body is asked for when the upstream asks
//! for it. hyper tells the client to go on when its body is first polled, so not to poll it is all it takes.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Sleep, sleep};

/// An upstream that says nothing may not know the expectation: then the body goes without being asked for.
const SILENCE_MAX: Duration = Duration::from_secs(1);

const UNKNOWN: u8 = 0;
const WANTED: u8 = 1;
const UNWANTED: u8 = 2;
const OVER: u8 = 3;

/// What the upstream said of a body. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    said: AtomicU8,
    waiting: AtomicWaker,
}

/// The body is not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl Wanted {
    /// It asked for the body, or nobody knows.
    pub fn ask(&self) {
        let _said = self.0.said.compare_exchange(UNKNOWN, WANTED, Ordering::AcqRel, Ordering::Acquire);
        self.0.waiting.wake();
    }

    /// It answered. `Some` when it never asked: the body stays where it is, until that is dropped.
    pub fn answered(&self) -> Option<Unwanted> {
        let before = self.0.said.compare_exchange(UNKNOWN, UNWANTED, Ordering::AcqRel, Ordering::Acquire);
        before.is_ok().then(|| Unwanted(self.clone()))
    }
}

/// The rest of an exchange whose body nobody asked for. When it is over so is the body.
#[derive(Debug)]
pub struct Unwanted(Wanted);

impl Drop for Unwanted {
    fn drop(&mut self) {
        let Wanted(shared) = &self.0;
        shared.said.store(OVER, Ordering::Release);
        shared.waiting.wake();
    }
}

/// A body that waits to be wanted.
#[derive(Debug)]
pub struct Waiting {
    wanted: Wanted,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Waiting {
    /// Its patience begins with the first poll.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, patience: None }
    }

    /// Ready when the body may go, or will not.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        let Wanted(shared) = &self.wanted;
        shared.waiting.register(cx.waker());
        match shared.said.load(Ordering::Acquire) {
            WANTED => Poll::Ready(Ok(())),
            UNWANTED => Poll::Pending,
            OVER => Poll::Ready(Err(Over)),
            _ => {
                let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(SILENCE_MAX)));
                patience.as_mut().poll(cx).map(|()| {
                    self.wanted.ask();
                    Ok(())
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_goes_when_it_is_asked_for() {
        let wanted = Wanted::default();
        let mut waiting = Waiting::new(wanted.clone());
        let going = tokio::spawn(async move { poll_fn(|cx| waiting.poll(cx)).await });
        tokio::task::yield_now().await;
        assert!(!going.is_finished());
        wanted.ask();
        assert_eq!(going.await.unwrap(), Ok(()));
        assert!(wanted.answered().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_taken_for_consent() {
        let started = Instant::now();
        let mut waiting = Waiting::new(Wanted::default());
        assert_eq!(poll_fn(|cx| waiting.poll(cx)).await, Ok(()));
        assert_eq!(started.elapsed(), SILENCE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_asked_for_ends_with_the_exchange() {
        let wanted = Wanted::default();
        let mut waiting = Waiting::new(wanted.clone());
        let unwanted = wanted.answered().expect("nobody asked");
        let late = tokio::time::timeout(SILENCE_MAX * 10, poll_fn(|cx| waiting.poll(cx))).await;
        assert!(late.is_err(), "it does not go");
        drop(unwanted);
        assert_eq!(poll_fn(|cx| waiting.poll(cx)).await, Err(Over));
    }
}
