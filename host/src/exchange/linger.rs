//! Reading on for a moment where a body is refused: a client in the middle of it gets to read the answer, instead of the
//! reset that closing on unread bytes brings.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use tokio::time::{Sleep, sleep};

/// What a client may still send while it has not read the answer.
const LINGER_BYTES: u64 = 1 << 20;
const LINGER: Duration = Duration::from_millis(500);

/// One such moment.
#[derive(Debug)]
pub struct Linger {
    left: u64,
    until: Pin<Box<Sleep>>,
}

impl Linger {
    /// It begins.
    pub fn new() -> Self {
        Self { left: LINGER_BYTES, until: Box::pin(sleep(LINGER)) }
    }

    /// Reads and forgets. Ready when `body` ended, sent more than it may, or took too long.
    pub fn poll(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Some(Ok(frame)) = ready!(Pin::new(&mut *body).poll_frame(cx)) else { return Poll::Ready(()) };
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(()),
            }
        }
    }
}

impl Default for Linger {
    fn default() -> Self {
        Self::new()
    }
}

/// Lingers over a body of which nothing is wanted.
pub async fn linger(mut body: Incoming) {
    let mut linger = Linger::new();
    poll_fn(|cx| linger.poll(&mut body, cx)).await;
}
