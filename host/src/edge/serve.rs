//! One client connection: HTTP/1.1 or HTTP/2 by its first bytes, until it closes, waits too long, or is drained. What
//! goes wrong on it ends it and nothing else.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::handle::Handler;
use crate::base::drain::{Drain, Guard};
use crate::config::plan::{Limits, Timeouts};
use crate::exchange::access::Access;
use crate::exchange::body::{Body, BrokenOff};
use crate::exchange::tunnel::Tunnel;
use crate::net::activity::{Activity, Ahead, Busy, Waits};
use crate::net::entrance::{Entered, Entrance, Origin};
use crate::net::guard::{Guarded, HeadLimits, Refusal};
use crate::net::listener::Client;
use crate::net::stream::Stream;
use crate::proxy::websocket;
use crate::telemetry::labels::Closed;
use crate::telemetry::listener::ListenerMetrics;

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at first: enough for most heads.
const FIRST_READ: usize = 1024;
/// The least hyper takes for a connection's buffer.
const BUFFER_MIN: usize = 8192;
/// HTTP/2's own default, and the least it allows to be announced for a connection.
const WINDOW_MIN: u32 = 65_535;
/// The most that all streams of an HTTP/2 connection may have in flight to us.
const WINDOW_MAX: u32 = 1 << 20;
/// Streams a client may have reset before the gateway came to look at them (CVE-2023-44487); h2's own default.
const RESETS_UNSEEN: usize = 20;
/// Streams a client may make the gateway reset (CVE-2025-8671).
const RESETS_OWN: usize = 256;
/// A client is asked this often whether it is there, and has this long to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// A busy connection is looked at this often, and one that is closing gets this long to do so.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Heads wait at most this long where the configuration has no limit of its own for reading the first bytes.
const FIRST_BYTES: Duration = Duration::from_secs(60);
/// A drain lets whoever has just connected say something first.
const FRESH: Duration = Duration::from_secs(1);

/// Serves the connections of one listener.
#[derive(Debug)]
pub(super) struct Server {
    handler: Handler,
    drain: Drain,
    /// The connections that came in by the present entrance, and others that were asked no less.
    admitted: ArcSwap<Drain>,
    entrance: ArcSwap<Entrance>,
    metrics: ListenerMetrics,
}

impl Server {
    pub(super) fn new(handler: Handler, drain: Drain, entrance: Entrance, metrics: ListenerMetrics) -> Self {
        let admitted = ArcSwap::from_pointee(drain.part());
        Self { handler, drain, admitted, entrance: ArcSwap::from_pointee(entrance), metrics }
    }

    /// The way in, for connections that come now.
    pub(super) fn entrance(&self) -> Arc<Entrance> {
        self.entrance.load_full()
    }

    /// Another way in, for connections to come. Those that came in by one that asked clients for something else end as in a
    /// drain: what they are let do follows the configuration that serves now.
    pub(super) fn enter_by(&self, entrance: Entrance) {
        let before = self.entrance.swap(Arc::new(entrance));
        if !self.entrance.load().asks_as(&before) {
            self.admitted.swap(Arc::new(self.drain.part())).start();
        }
    }

    /// What asks it to take no more connections.
    pub(super) fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Asks it to take no more connections, and those it has to end.
    pub(super) fn end(&self) {
        self.drain.start();
        self.admitted.load().start();
    }

    /// To be held while a connection is served, from the moment it is accepted.
    pub(super) fn admit(&self) -> Guard {
        self.admitted.load().guard()
    }

    /// Serves one connection to its end.
    pub(super) async fn connection(self: Arc<Self>, client: Client, admitted: Guard) {
        let drain = admitted.drain();
        let Client { stream, address, place: _place } = client;
        let gateway = self.handler.gateway();
        let (limits, timeouts) = (gateway.limits.clone(), gateway.timeouts.clone());
        // A connection outlives generations; it must not keep one alive.
        drop(gateway);
        let closed = match self.opened(stream, address, &timeouts, drain).await {
            Ok(Some(opened)) => self.speak(opened, &limits, &timeouts, drain).await,
            Ok(None) => Ok(()),
            Err(closed) => Err(closed),
        };
        if let Err(reason) = closed {
            self.metrics.closed(reason);
        }
    }

    /// Up to the first byte of HTTP; `None` when the client left, or came too late for a drain.
    async fn opened(
        &self,
        stream: TcpStream,
        address: std::net::SocketAddr,
        timeouts: &Timeouts,
        drain: &Drain,
    ) -> Result<Option<Opened>, Closed> {
        let entrance = self.entrance();
        let opening = async {
            let entered = entrance.enter(stream, address, timeouts).await?;
            Opened::begin(entered, timeouts.header.unwrap_or(FIRST_BYTES)).await
        };
        let connected = Instant::now();
        let cut_short = async {
            drain.wait().await;
            sleep_until(connected + FRESH).await;
        };
        tokio::select! {
            biased;
            opened = opening => opened,
            () = cut_short => Ok(None),
        }
    }

    async fn speak(
        self: &Arc<Self>,
        opened: Opened,
        limits: &Limits,
        timeouts: &Timeouts,
        drain: &Drain,
    ) -> Result<(), Closed> {
        let Opened { stream, origin, multiplexed, ahead } = opened;
        let activity = Activity::new();
        let waits = Waits { header: timeouts.header, keepalive: timeouts.keepalive, stall: timeouts.idle };
        let stream = Ahead::new(stream, ahead);
        if multiplexed {
            activity.multiplexed();
            let io = TokioIo::new(Guarded::frames(stream, Arc::clone(&activity)));
            let service = service_fn(|request| {
                let (server, busy, activity) = (Arc::clone(self), activity.begin(), Arc::clone(&activity));
                let drain = drain.clone();
                async move {
                    let (response, tunnel) = server.exchange(request, origin, busy, None).await;
                    if let Some(tunnel) = tunnel {
                        // A stream of its own: it keeps the connection busy, and the drain waits for it.
                        let (guard, busy) = (drain.guard(), activity.begin());
                        tokio::spawn(async move {
                            tunnel.run(guard.drain()).await;
                            drop(busy);
                        });
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = multiplexed_builder(limits).serve_connection(io, service);
            return drive(connection, &activity, waits, drain).await;
        }
        let head = HeadLimits { bytes: limits.header_bytes.as_usize(), fields: limits.headers };
        let io = TokioIo::new(Guarded::plain(stream, head, Arc::clone(&activity)));
        let switched = Mutex::new(None);
        // Boxed, so that a connection that waits for its next request does not hold the place for one.
        let service = service_fn(|request| {
            Box::pin(async {
                let (busy, refused) = (activity.begin(), activity.refused());
                let (response, tunnel) = self.exchange(request, origin, busy, refused).await;
                if tunnel.is_some() {
                    *switched.lock().unwrap_or_else(PoisonError::into_inner) = tunnel;
                }
                Ok::<_, Infallible>(response)
            })
        });
        let connection = plain_builder(limits).serve_connection(io, service).with_upgrades();
        drive(connection, &activity, waits, drain).await?;
        // The rest of the connection: it keeps its place, and the drain waits for it.
        let switched = switched.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(tunnel) = switched {
            tunnel.run(drain).await;
        }
        Ok(())
    }

    async fn exchange(
        &self,
        request: Request<Incoming>,
        origin: Origin,
        busy: Busy,
        refused: Option<Refusal>,
    ) -> (Response<Held>, Option<Switched>) {
        let mut response = match refused {
            Some(refusal) => self.handler.refuse(refusal, origin),
            None => self.handler.request(request, origin).await,
        };
        let switched = response.body_mut().take_tunnel().map(|(tunnel, access)| Switched { tunnel, access });
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            busy.tunnel();
        }
        (response.map(|body| Held { body, busy }), switched)
    }
}

/// A connection, or a stream of one, that is no longer HTTP's.
struct Switched {
    tunnel: Box<Tunnel>,
    access: Box<Access>,
}

impl Switched {
    /// Boxed, so that connections without one do not pay for it.
    fn run(self, drain: &Drain) -> Pin<Box<impl Future<Output = ()> + Send>> {
        Box::pin(websocket::run(*self.tunnel, *self.access, drain))
    }
}

/// A connection whose first bytes of HTTP are there.
struct Opened {
    stream: Stream,
    origin: Origin,
    multiplexed: bool,
    ahead: Vec<u8>,
}

impl Opened {
    /// Waits for the first bytes; `None` when the client leaves without one, or does not speak what it agreed on.
    async fn begin(entered: Entered, wait: Duration) -> Result<Option<Self>, Closed> {
        let Entered { mut stream, origin, multiplexed: agreed } = entered;
        match timeout(wait, first_bytes(&mut stream)).await {
            Ok(Ok((multiplexed, ahead))) if agreed.is_none_or(|agreed| agreed == multiplexed) => {
                Ok(Some(Self { stream, origin, multiplexed, ahead }))
            }
            Ok(_) => Ok(None),
            Err(_elapsed) => Err(Closed::HeadTimeout),
        }
    }
}

/// Whether the connection speaks HTTP/2, and what was read to find out.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Vec<u8>)> {
    let mut ahead = Vec::with_capacity(FIRST_READ);
    loop {
        if stream.read_buf(&mut ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let compared = ahead.len().min(PREFACE.len());
        if ahead[..compared] != PREFACE[..compared] {
            return Ok((false, ahead));
        }
        if compared == PREFACE.len() {
            return Ok((true, ahead));
        }
    }
}

fn plain_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    let head = limits.header_bytes.as_usize();
    // Half of what a direction may hold: the rest of it is with the upstream's connection, and the part being handed over.
    let buffer = limits.buffer_bytes.as_usize() / 2;
    builder.max_buf_size(head.max(buffer).max(BUFFER_MIN)).max_header_size(head);
    // hyper's own limit is 100, and faster when left alone.
    if limits.headers != 100 {
        builder.max_headers(limits.headers);
    }
    builder
}

fn multiplexed_builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let buffer = limits.buffer_bytes.as_usize();
    let window = u32::try_from(buffer).unwrap_or(WINDOW_MAX).min(WINDOW_MAX);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.h2_streams)
        .max_pending_accept_reset_streams(RESETS_UNSEEN)
        .max_local_error_reset_streams(RESETS_OWN)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .initial_stream_window_size(window)
        .initial_connection_window_size(window.saturating_mul(limits.h2_streams).clamp(WINDOW_MIN, WINDOW_MAX))
        .max_send_buf_size(buffer)
        .max_header_list_size(u32::try_from(limits.header_bytes.as_usize()).unwrap_or(u32::MAX));
    builder
}

/// A connection that can be asked to end after what is under way.
trait Closing: Future {
    fn close(self: Pin<&mut Self>);
}

impl<I, S> Closing for http1::UpgradeableConnection<I, S>
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    S::ResBody: HttpBody + 'static,
    <S::ResBody as HttpBody>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Closing for http2::Connection<I, S, TokioExecutor>
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S::ResBody: HttpBody + Send + 'static,
    <S::ResBody as HttpBody>::Data: Send,
    <S::ResBody as HttpBody>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs `connection` until it ends, is drained, waits for the next request too long, or must be closed.
async fn drive(connection: impl Closing, activity: &Activity, waits: Waits, drain: &Drain) -> Result<(), Closed> {
    let mut connection = pin!(connection);
    let mut drained = pin!(drain.wait());
    let look = waits.stall.map_or(LOOK_AGAIN, |stall| stall.min(LOOK_AGAIN));
    let mut timer = pin!(sleep_until(Instant::now() + look));
    let mut watch = Watch { activity, waits, look, moved: None };
    let mut closing = None;
    let mut outcome = Ok(());
    poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(outcome);
            }
            if closing.is_none() && drained.as_mut().poll(cx).is_ready() {
                closing = Some(Instant::now());
                connection.as_mut().close();
                continue;
            }
            match watch.overdue(timer.as_mut(), closing, cx) {
                None => return Poll::Pending,
                // HTTP/1.1 gets an answer; within a head in frames there is no place for one.
                Some(Wait::Head) if outcome.is_ok() && activity.late() => outcome = Err(Closed::HeadTimeout),
                Some(Wait::Head) => return Poll::Ready(Err(Closed::HeadTimeout)),
                Some(Wait::Stalled) => return Poll::Ready(Err(Closed::Stalled)),
                Some(Wait::Request) if closing.is_some() => return Poll::Ready(outcome),
                Some(Wait::Request) => {
                    closing = Some(Instant::now());
                    connection.as_mut().close();
                }
            }
        }
    })
    .await
}

/// What a connection has waited for too long.
enum Wait {
    Head,
    Request,
    Stalled,
}

/// Looks at a connection when it may have waited too long, and now and then while it is busy.
struct Watch<'a> {
    activity: &'a Activity,
    waits: Waits,
    /// How often.
    look: Duration,
    /// How far stalled responses had come, and since when.
    moved: Option<(u32, Instant)>,
}

impl Watch<'_> {
    /// Whoever was asked to go has a while for that, and to take the end of the last answer, which is with the library
    /// already.
    fn due(&self, closing: Option<Instant>) -> Option<Instant> {
        let Some(asked) = closing else { return self.activity.due(self.waits) };
        let waits = Waits { keepalive: Some(LOOK_AGAIN), ..self.waits };
        self.activity.due(waits).map(|due| due.max(asked + LOOK_AGAIN))
    }

    fn overdue(&mut self, mut timer: Pin<&mut Sleep>, closing: Option<Instant>, cx: &mut Context<'_>) -> Option<Wait> {
        loop {
            // A head that began is due before what was waited for until now.
            let due = self.due(closing);
            if let Some(due) = due.filter(|due| *due < timer.deadline()) {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return None;
            }
            let now = Instant::now();
            match due {
                Some(due) if due <= now && self.activity.in_head() => return Some(Wait::Head),
                Some(due) if due <= now => return Some(Wait::Request),
                _ if self.is_stalled(now) => return Some(Wait::Stalled),
                _ => {}
            }
            timer.as_mut().reset(due.unwrap_or(now + self.look));
        }
    }

    /// Whether the client has taken nothing of any response for too long.
    fn is_stalled(&mut self, now: Instant) -> bool {
        let Some(moved) = self.activity.stalled_at() else {
            self.moved = None;
            return false;
        };
        let (_, since) = self.moved.take_if(|(before, _)| *before == moved).unwrap_or((moved, now));
        self.moved = Some((moved, since));
        self.waits.stall.is_some_and(|limit| since + limit <= now)
    }
}

/// A response's body that keeps its connection busy, and tells whether the client takes it.
struct Held {
    body: Body,
    busy: Busy,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.busy.asked();
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(Some(Ok(_)))) {
            self.busy.given();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_preface_is_recognised_however_it_is_cut() {
        for (sent, multiplexed) in
            [(PREFACE, true), (&b"PRI / HTTP/1.1\r\n"[..], false), (&b"GET / HTTP/1.1\r\n"[..], false)]
        {
            let (mut client, mut server) = tokio::io::duplex(1);
            let sending = tokio::spawn(async move {
                // One byte at a time; the reader may stop as soon as it knows.
                let _known = client.write_all(sent).await;
            });
            let (found, ahead) = first_bytes(&mut server).await.expect("reads");
            assert_eq!(found, multiplexed);
            assert!(sent.starts_with(&ahead));
            drop(server);
            sending.await.expect("ends");
        }
    }
}
