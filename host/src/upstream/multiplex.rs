//! HTTP/2 connections, each shared by many requests. How many it takes at once is the upstream's to say
//! (SETTINGS_MAX_CONCURRENT_STREAMS); a full one is left for another rather than queued behind.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::body::Outgoing;
use super::slots::{Slot, Slots};

/// Streams of one connection at most, whatever the upstream would take: beyond it another connection spreads the load
/// over more of the upstream's threads.
const STREAMS_MAX: usize = 256;
/// HTTP/2's own default and least.
const WINDOW_MIN: u32 = 65_535;
/// The most HTTP/2 allows (RFC 9113, section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// Fields of a response, as HTTP/2 counts them.
const HEAD_MAX: u32 = 64 * 1024;
/// Between two pings while streams are open. Servers of gRPC close a connection that pings more often than every five
/// minutes without data; TCP's own keepalive notices a dead peer sooner.
const PING_EVERY: Duration = Duration::from_secs(310);
/// How long a ping may stay unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// One HTTP/2 connection. It closes once this and all its streams are gone.
pub(super) struct Shared {
    sender: SendRequest<Outgoing>,
    capacity: Box<dyn Capacity>,
    /// Which of the name's addresses it leads to.
    pub(super) peer: std::net::SocketAddr,
    streams: AtomicUsize,
    retired: AtomicBool,
    idle_since: Mutex<Instant>,
    slots: Arc<Slots>,
    _slot: Slot,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("streams", &self.streams).finish_non_exhaustive()
    }
}

/// How many streams the peer takes.
trait Capacity: Send + Sync {
    fn streams(&self) -> usize;
}

/// A connection until it ended; what waits on it is told by its going.
type Driven<T> = Mutex<Option<Connection<TokioIo<T>, Outgoing, TokioExecutor>>>;

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Capacity for Arc<Driven<T>> {
    fn streams(&self) -> usize {
        let connection = self.lock().unwrap_or_else(PoisonError::into_inner);
        connection.as_ref().map_or(0, Connection::current_max_send_streams)
    }
}

impl Shared {
    /// Speaks HTTP/2 over `io`. `buffer` is what each stream may have in flight to us, read or not.
    pub(super) async fn handshake<T>(
        io: T,
        peer: std::net::SocketAddr,
        buffer: usize,
        slots: &Arc<Slots>,
        slot: Slot,
    ) -> Result<Arc<Self>, hyper::Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = u32::try_from(buffer).unwrap_or(WINDOW_MAX).clamp(WINDOW_MIN, WINDOW_MAX);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(stream)
            // Were it less than all streams together, readers that are slow would stop those that are not.
            .initial_connection_window_size(stream.saturating_mul(STREAMS_MAX as u32).min(WINDOW_MAX))
            .max_send_buf_size(buffer)
            .max_header_list_size(HEAD_MAX)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(io))
            .await?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        tokio::spawn(drive(Arc::clone(&connection)));
        Ok(Arc::new(Self {
            sender,
            capacity: Box::new(connection),
            peer,
            streams: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            idle_since: Mutex::new(Instant::now()),
            slots: Arc::clone(slots),
            _slot: slot,
        }))
    }

    /// Takes no more streams.
    pub(super) fn is_over(&self) -> bool {
        self.retired.load(Ordering::Relaxed) || self.sender.is_closed()
    }

    /// Streams under way.
    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// A place for one more stream, if the upstream takes one.
    pub(super) fn open(self: &Arc<Self>) -> Option<Stream> {
        let most = self.capacity.streams().min(STREAMS_MAX);
        let more = |streams: usize| (streams < most).then_some(streams + 1);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Stream { sender: self.sender.clone(), connection: Arc::clone(self) })
    }

    /// Since when it has had no stream; `None` while it has.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.streams() == 0).then(|| *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs the connection to its end; what went wrong is told to the streams.
async fn drive<T>(connection: Arc<Driven<T>>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    poll_fn(|cx| {
        let mut driven = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = driven.as_mut() else { return Poll::Ready(()) };
        let ended = Pin::new(connection).poll(cx).map(drop);
        if ended.is_ready() {
            *driven = None;
        }
        ended
    })
    .await;
}

/// A place on a shared connection for one request.
pub(super) struct Stream {
    pub(super) sender: SendRequest<Outgoing>,
    connection: Arc<Shared>,
}

impl Stream {
    /// The connection takes no more streams: the upstream said so, or it is broken.
    pub(super) fn retire(&self) {
        self.connection.retired.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.connection.streams.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.connection.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        self.connection.slots.stream_ended();
    }
}
