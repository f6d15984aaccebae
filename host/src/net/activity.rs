//! What a client connection is doing, and since when: between requests, sending a head, or busy. One timer a connection
//! looks at this now and then; a request sets no timer of its own.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::guard::Refusal;

/// What one connection is doing. Only its own worker writes it, so the orderings are relaxed.
#[derive(Debug)]
pub struct Activity {
    opened: Instant,
    /// Milliseconds after `opened` at which the present wait began.
    since: AtomicU64,
    exchanges: AtomicU32,
    in_head: AtomicBool,
    multiplexed: AtomicBool,
    tunnel: AtomicBool,
    refused: OnceLock<Refusal>,
    /// Who waits until the connection is no longer busy.
    parked: AtomicWaker,
}

/// How long a connection may wait.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// For the end of a head that began, and for the first head.
    pub header: Option<Duration>,
    /// For the next request.
    pub keepalive: Option<Duration>,
}

/// Held while an exchange of the connection is under way.
#[derive(Debug)]
pub struct Busy(Arc<Activity>);

impl Activity {
    /// A connection that was just accepted: its first head is due.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            since: AtomicU64::new(0),
            exchanges: AtomicU32::new(0),
            in_head: AtomicBool::new(true),
            multiplexed: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            refused: OnceLock::new(),
            parked: AtomicWaker::new(),
        })
    }

    /// The connection speaks HTTP/2, where bytes between requests need not be a head.
    pub fn multiplexed(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
        self.wait(false);
    }

    /// A request's head is complete.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Whether an exchange is under way.
    pub fn is_busy(&self) -> bool {
        self.exchanges.load(Ordering::Relaxed) > 0
    }

    /// Whether what it waits for is the end of a head.
    pub fn in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed)
    }

    /// When the connection will have waited too long as things stand; `None` while it is busy or may wait for ever.
    pub fn due(&self, waits: Waits) -> Option<Instant> {
        if self.is_busy() {
            return None;
        }
        let limit = if self.in_head.load(Ordering::Relaxed) { waits.header } else { waits.keepalive };
        limit.map(|limit| self.opened + Duration::from_millis(self.since.load(Ordering::Relaxed)) + limit)
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

    /// Wakes `waker` when the connection is no longer busy.
    pub(super) fn park(&self, waker: &Waker) {
        self.parked.register(waker);
    }

    /// Bytes of a head came.
    pub(super) fn received(&self) {
        let idle = !self.is_busy() && !self.multiplexed.load(Ordering::Relaxed);
        if idle && !self.in_head.load(Ordering::Relaxed) {
            self.wait(true);
        }
    }

    fn wait(&self, in_head: bool) {
        let since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
        self.in_head.store(in_head, Ordering::Relaxed);
    }
}

impl Busy {
    /// The exchange is answered with 101: from now on the connection speaks something else.
    pub fn tunnel(&self) {
        self.0.tunnel.store(true, Ordering::Relaxed);
        self.0.parked.wake();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.exchanges.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.wait(false);
            self.0.parked.wake();
        }
    }
}

/// A stream that notes in an [`Activity`] when bytes come. What was read ahead of it comes first.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    ahead: Vec<u8>,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    /// Watches `stream`; `ahead` is what was read from it already.
    pub fn new(stream: S, ahead: Vec<u8>, activity: Arc<Activity>) -> Self {
        Self { stream, ahead, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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

    const WAITS: Waits = Waits { header: Some(Duration::from_secs(10)), keepalive: Some(Duration::from_secs(75)) };

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let (mut client, server) = tokio::io::duplex(64);
        let activity = Activity::new();
        let opened = Instant::now();
        let mut watched = Watched::new(server, b"ahead".to_vec(), Arc::clone(&activity));
        let at = |seconds| Some(opened + Duration::from_secs(seconds));
        assert_eq!(activity.due(WAITS), at(10), "the first head");

        let busy = activity.begin();
        assert_eq!(activity.due(WAITS), None, "an exchange");
        tokio::time::advance(Duration::from_secs(100)).await;
        drop(busy);
        assert_eq!(activity.due(WAITS), at(175), "between requests");

        tokio::time::advance(Duration::from_secs(5)).await;
        let mut bytes = [0; 5];
        watched.read_exact(&mut bytes).await.expect("reads");
        assert_eq!(&bytes, b"ahead");
        client.write_all(b"G").await.expect("writes");
        watched.read_exact(&mut bytes[..1]).await.expect("reads");
        assert_eq!(activity.due(WAITS), at(115), "a head that began");

        activity.multiplexed();
        client.write_all(b"P").await.expect("writes");
        watched.read_exact(&mut bytes[..1]).await.expect("reads");
        assert_eq!(activity.due(WAITS), at(180), "bytes of h2 are no head");
    }
}
