//! One client connection: HTTP/1.1 or HTTP/2 by its first bytes, until it closes, waits too long, or is drained. What
//! goes wrong on it ends it and nothing else.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::handle::Handler;
use crate::base::drain::Drain;
use crate::config::plan::Limits;
use crate::exchange::body::{Body, BrokenOff};
use crate::net::activity::{Activity, Busy, Waits, Watched};
use crate::net::guard::{Guarded, HeadLimits, Refusal};
use crate::net::listener::Client;

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

/// Serves the connections of one listener.
#[derive(Debug)]
pub(super) struct Server {
    handler: Handler,
    drain: Drain,
}

impl Server {
    pub(super) fn new(handler: Handler, drain: Drain) -> Self {
        Self { handler, drain }
    }

    /// Serves one connection to its end.
    pub(super) async fn connection(self: Arc<Self>, client: Client) {
        let _guard = self.drain.guard();
        let Client { mut stream, address, permit } = client;
        let gateway = self.handler.gateway();
        let (limits, timeouts) = (gateway.limits.clone(), gateway.timeouts.clone());
        // A connection outlives generations; it must not keep one alive.
        drop(gateway);
        let first = timeout(timeouts.header.unwrap_or(FIRST_BYTES), first_bytes(&mut stream));
        let first = tokio::select! {
            first = first => first,
            () = self.drain.wait() => return,
        };
        let Ok(Ok((multiplexed, ahead))) = first else { return };
        let activity = Activity::new();
        let waits = Waits { header: timeouts.header, keepalive: timeouts.keepalive };
        let stream = Watched::new(stream, ahead, Arc::clone(&activity));
        if multiplexed {
            activity.multiplexed();
            let io = TokioIo::new(Guarded::frames(stream));
            let service = service_fn(|request| {
                let (server, busy) = (Arc::clone(&self), activity.begin());
                async move { server.exchange(request, address, busy, None).await }
            });
            let connection = multiplexed_builder(&limits).serve_connection(io, service);
            drive(connection, &activity, waits, &self.drain).await;
        } else {
            let head = HeadLimits { bytes: limits.header_bytes.as_usize(), fields: limits.headers };
            let io = TokioIo::new(Guarded::plain(stream, head, Arc::clone(&activity)));
            let service = service_fn(|request| self.exchange(request, address, activity.begin(), activity.refused()));
            let connection = plain_builder(&limits).serve_connection(io, service);
            drive(connection, &activity, waits, &self.drain).await;
        }
        drop(permit);
    }

    async fn exchange(
        &self,
        request: Request<Incoming>,
        address: SocketAddr,
        busy: Busy,
        refused: Option<Refusal>,
    ) -> Result<Response<Held>, Infallible> {
        let response = match refused {
            Some(refusal) => self.handler.refuse(refusal, address),
            None => self.handler.request(request, address).await,
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            busy.tunnel();
        }
        Ok(response.map(|body| Held { body, _busy: busy }))
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
    builder.max_buf_size(head.max(limits.buffer_bytes.as_usize()).max(BUFFER_MIN)).max_header_size(head);
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

impl<I, S> Closing for http1::Connection<I, S>
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
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

/// Runs `connection` until it ends, waits too long, or is drained.
async fn drive(connection: impl Closing, activity: &Activity, waits: Waits, drain: &Drain) {
    let mut connection = pin!(connection);
    let mut drained = pin!(drain.wait());
    let mut timer = pin!(sleep_until(activity.due(waits).unwrap_or_else(|| Instant::now() + LOOK_AGAIN)));
    let mut closing = false;
    poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !closing && drained.as_mut().poll(cx).is_ready() {
                closing = true;
                connection.as_mut().close();
                continue;
            }
            match overdue(timer.as_mut(), activity, waits, closing, cx) {
                None => return Poll::Pending,
                Some(Wait::Head) => return Poll::Ready(()),
                Some(Wait::Request) if closing => return Poll::Ready(()),
                Some(Wait::Request) => {
                    closing = true;
                    timer.as_mut().reset(Instant::now() + LOOK_AGAIN);
                    connection.as_mut().close();
                }
            }
        }
    })
    .await;
}

/// What a connection has waited for too long.
enum Wait {
    Head,
    Request,
}

fn overdue(
    mut timer: Pin<&mut Sleep>,
    activity: &Activity,
    waits: Waits,
    closing: bool,
    cx: &mut Context<'_>,
) -> Option<Wait> {
    while timer.as_mut().poll(cx).is_ready() {
        let now = Instant::now();
        let due = activity.due(waits);
        match due {
            Some(due) if due <= now && activity.in_head() => return Some(Wait::Head),
            Some(due) if due <= now || closing => return Some(Wait::Request),
            _ => timer.as_mut().reset(due.unwrap_or(now + LOOK_AGAIN)),
        }
    }
    None
}

/// A response's body that keeps its connection busy.
struct Held {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        Pin::new(&mut self.body).poll_frame(cx)
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
