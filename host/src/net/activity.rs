//! What a client connection is doing, and since when: between requests, sending a head, or busy. One timer a connection
//! looks at this now and then; a request sets no timer of its own.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::guard::Refusal;

/// No head has begun.
const NEVER: u64 = u64::MAX;

/// What one connection is doing. Only its own worker writes it, so the orderings are relaxed.
#[derive(Debug)]
pub struct Activity {
    opened: Instant,
    /// Milliseconds after `opened` at which it was last busy.
    idle_since: AtomicU64,
    /// Milliseconds after `opened` at which a head began that has not ended; or [`NEVER`].
    head_since: AtomicU64,
    exchanges: AtomicU32,
    multiplexed: AtomicBool,
    /// Responses of which a part was given and the next was not asked for: the client takes none.
    stalled: AtomicU32,
    /// Counts parts that were asked for.
    moved: AtomicU32,
    late: AtomicBool,
    tunnel: AtomicBool,
    /// The client takes nothing of what HTTP/1.1 last had to say.
    blocked: AtomicBool,
    refused: OnceLock<Refusal>,
    /// Who waits until the connection is no longer busy, or the client takes what it is given.
    parked: AtomicWaker,
}

/// How long a connection may wait.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// For the end of a head that began, and for the first head.
    pub header: Option<Duration>,
    /// For the next request.
    pub keepalive: Option<Duration>,
    /// For the client to take what is sent to it.
    pub stall: Option<Duration>,
}

/// Held while an exchange of the connection is under way.
#[derive(Debug)]
pub struct Busy {
    activity: Arc<Activity>,
    given: bool,
}

impl Activity {
    /// A connection that was just accepted: its first head is due.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            exchanges: AtomicU32::new(0),
            multiplexed: AtomicBool::new(false),
            stalled: AtomicU32::new(0),
            moved: AtomicU32::new(0),
            late: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            refused: OnceLock::new(),
            parked: AtomicWaker::new(),
        })
    }

    /// The connection speaks HTTP/2, where only frames tell whether bytes are part of a head.
    pub fn multiplexed(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
        self.idle();
    }

    /// A request's head is complete.
    pub fn begin(self: &Arc<Self>) -> Busy {
        add(&self.exchanges, 1);
        if !self.multiplexed.load(Ordering::Relaxed) {
            self.head_since.store(NEVER, Ordering::Relaxed);
        }
        Busy { activity: Arc::clone(self), given: false }
    }

    /// Whether an exchange is under way.
    pub fn is_busy(&self) -> bool {
        self.exchanges.load(Ordering::Relaxed) > 0
    }

    /// Whether a head began and has not ended.
    pub fn in_head(&self) -> bool {
        self.head_since.load(Ordering::Relaxed) != NEVER
    }

    /// When the connection will have waited too long as things stand; `None` while it is busy or may wait for ever.
    pub fn due(&self, waits: Waits) -> Option<Instant> {
        let at = |since: u64, limit: Duration| self.opened + Duration::from_millis(since) + limit;
        match self.head_since.load(Ordering::Relaxed) {
            NEVER if self.is_busy() => None,
            NEVER => waits.keepalive.map(|limit| at(self.idle_since.load(Ordering::Relaxed), limit)),
            since => waits.header.map(|limit| at(since, limit)),
        }
    }

    /// How many parts of responses were asked for, while there is one whose next part is not; it stays the same while the
    /// client takes nothing.
    pub fn stalled_at(&self) -> Option<u32> {
        (self.stalled.load(Ordering::Relaxed) > 0).then(|| self.moved.load(Ordering::Relaxed))
    }

    /// The head that began has taken too long: the next read finds it refused. False where heads come in frames.
    pub fn late(&self) -> bool {
        let plain = !self.multiplexed.load(Ordering::Relaxed);
        self.late.store(plain, Ordering::Relaxed);
        plain
    }

    /// Whether the head at hand is refused because it is late.
    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// Why the request that is handed over now stands for one that is refused.
    pub fn refused(&self) -> Option<Refusal> {
        self.refused.get().copied()
    }

    /// The next request stands for one that is refused, and is the last.
    pub(super) fn refuse(&self, refusal: Refusal) {
        // The first one ends the connection, so there is no second.
        let _first = self.refused.set(refusal);
    }

    /// Whether the connection speaks something other than HTTP by now.
    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    /// Whether the client takes nothing of what was last written.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Something was written, or has to wait until the client takes what was.
    pub(super) fn wrote(&self, blocked: bool) {
        let before = self.is_blocked();
        self.blocked.store(blocked, Ordering::Relaxed);
        if before && !blocked {
            self.parked.wake();
        }
    }

    /// Wakes `waker` when the connection is no longer busy, or the client takes something again.
    pub(super) fn park(&self, waker: &Waker) {
        self.parked.register(waker);
    }

    /// Bytes of HTTP/1.1 came: of a `head`, or of the body of a request that is answered.
    pub(super) fn received(&self, head: bool) {
        match head {
            _ if self.is_busy() => {}
            true if self.in_head() => {}
            true => self.head_since.store(self.now(), Ordering::Relaxed),
            false => self.idle_since.store(self.now(), Ordering::Relaxed),
        }
    }

    /// Frames came: whether a head `began` among them, and whether the last one has not ended.
    pub(super) fn framed(&self, began: bool, inside: bool) {
        if !inside {
            self.head_since.store(NEVER, Ordering::Relaxed);
        } else if began || !self.in_head() {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn idle(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        if !self.multiplexed.load(Ordering::Relaxed) {
            self.head_since.store(NEVER, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }
}

impl Busy {
    /// Whether the client takes what it was given; if not, wakes the task when it does. Another part would only wait.
    pub fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.activity.is_blocked() {
            self.activity.park(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// A part of the response was given, and more is to come.
    pub fn given(&mut self) {
        if !self.given {
            self.given = true;
            add(&self.activity.stalled, 1);
        }
    }

    /// Another part is asked for.
    pub fn asked(&mut self) {
        if self.given {
            self.given = false;
            add(&self.activity.stalled, -1);
            add(&self.activity.moved, 1);
        }
    }
}

impl Busy {
    /// The exchange is answered with 101: from now on the connection speaks something else.
    pub fn tunnel(&self) {
        self.activity.tunnel.store(true, Ordering::Relaxed);
        self.activity.parked.wake();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.asked();
        add(&self.activity.exchanges, -1);
        if !self.activity.is_busy() {
            self.activity.idle();
            self.activity.parked.wake();
        }
    }
}

/// With one writer a load and a store are enough, and cost no lock of the bus.
fn add(count: &AtomicU32, change: i32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add_signed(change), Ordering::Relaxed);
}

/// A stream of which something was read already; that comes first.
#[derive(Debug)]
pub struct Ahead<S> {
    stream: S,
    ahead: Vec<u8>,
}

impl<S> Ahead<S> {
    /// `ahead` is what was read from `stream` already.
    pub fn new(stream: S, ahead: Vec<u8>) -> Self {
        Self { stream, ahead }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        if self.ahead.is_empty() {
            // A connection may wait for long; what it was read into need not.
            self.ahead = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const WAITS: Waits = Waits {
        header: Some(Duration::from_secs(10)),
        keepalive: Some(Duration::from_secs(75)),
        stall: Some(Duration::from_secs(300)),
    };

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let (mut client, server) = tokio::io::duplex(64);
        let activity = Activity::new();
        let opened = Instant::now();
        let mut stream = Ahead::new(server, b"ahead".to_vec());
        let at = |seconds| Some(opened + Duration::from_secs(seconds));
        assert_eq!(activity.due(WAITS), at(10), "the first head");

        let busy = activity.begin();
        assert_eq!(activity.due(WAITS), None, "an exchange");
        tokio::time::advance(Duration::from_secs(100)).await;
        drop(busy);
        assert_eq!(activity.due(WAITS), at(175), "between requests");

        tokio::time::advance(Duration::from_secs(5)).await;
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.expect("reads");
        assert_eq!(&bytes, b"ahead");
        client.write_all(b"G").await.expect("writes");
        stream.read_exact(&mut bytes[..1]).await.expect("reads");
        activity.received(true);
        assert_eq!(activity.due(WAITS), at(115), "a head that began");

        let busy = activity.begin();
        assert_eq!(activity.due(WAITS), None, "the head ended");
        drop(busy);
        assert_eq!(activity.due(WAITS), at(180), "between requests again");
    }

    #[test]
    fn a_response_whose_next_part_nobody_asks_for_is_stalled() {
        let activity = Activity::new();
        let (mut one, mut other) = (activity.begin(), activity.begin());
        assert_eq!(activity.stalled_at(), None);
        one.given();
        other.given();
        assert_eq!(activity.stalled_at(), Some(0));
        other.asked();
        assert_eq!(activity.stalled_at(), Some(1), "one of them moves");
        drop(one);
        assert_eq!(activity.stalled_at(), None);
    }
}
