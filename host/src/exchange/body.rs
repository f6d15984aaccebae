//! Bodies between the client and an upstream: [`Upload`] on the way in, [`Body`] on the way out. Neither buffers.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::access::Access;
use super::expect::{Unwanted, Waiting, Wanted};
use super::headers::clean_trailers;
use super::linger::{Linger, linger};
use super::silence::{Overdue, Silence};
use super::tunnel::Tunnel;
use crate::telemetry::labels::{Outcome, Reason};
use crate::upstream::body::{BodyFault, Outgoing, Received};

/// A client's request body: counted, and not silent for long.
#[derive(Debug)]
pub struct Upload {
    body: Incoming,
    left: Option<u64>,
    silence: Silence,
    waiting: Option<Waiting>,
    /// There once it had more than it may.
    overrun: Option<Linger>,
    /// Trailers came, and nothing comes after them.
    ended: bool,
}

impl Upload {
    /// At most `limit` bytes when there is a limit.
    pub fn new(body: Incoming, limit: Option<u64>, silence: Silence) -> Self {
        Self { body, left: limit, silence, waiting: None, overrun: None, ended: false }
    }

    /// The same, not before it is wanted.
    pub fn when(mut self, wanted: Option<Wanted>) -> Self {
        self.waiting = wanted.map(Waiting::new);
        self
    }

    /// As it goes to an upstream.
    pub fn outgoing(self) -> Outgoing {
        if self.body.is_end_stream() { Outgoing::empty() } else { Outgoing::stream(Box::pin(self)) }
    }

    /// Whether `frame` is still within the limit. Trailers are cleaned.
    fn counts(&mut self, frame: &mut Frame<Bytes>) -> bool {
        if let Some(trailers) = frame.trailers_mut() {
            clean_trailers(trailers);
            self.ended = true;
        }
        let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) else { return true };
        let after = left.checked_sub(data.len() as u64);
        *left = after.unwrap_or_default();
        after.is_some()
    }
}

/// Refuses a body that says it has more than `limit` bytes.
pub async fn check_declared(head: &HeaderMap, body: Incoming, limit: Option<u64>) -> Result<Incoming, BodyFault> {
    if limit.is_none_or(|limit| body.size_hint().lower() <= limit) {
        return Ok(body);
    }
    // Nothing was read yet, so a client that waits for 100-continue never sends it.
    if !head.contains_key(header::EXPECT) {
        linger(body).await;
    }
    Err(BodyFault::TooLarge)
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        if let Some(linger) = &mut this.overrun {
            ready!(linger.poll(&mut this.body, cx));
            return Poll::Ready(Some(Err(BodyFault::TooLarge)));
        }
        if let Some(waiting) = &mut this.waiting {
            if ready!(waiting.poll(cx)).is_err() {
                return Poll::Ready(Some(Err(BodyFault::Cut)));
            }
            this.waiting = None;
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                if !self.counts(&mut frame) {
                    self.overrun = Some(Linger::new());
                    return self.poll_frame(cx);
                }
                self.silence.broken();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(BodyFault::Cut))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.silence.poll(cx).map(|_| Some(Err(BodyFault::Slow))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response on its way to the client.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Written down when the body ends, however it does.
    access: Option<Box<Access>>,
    /// The request's body, which nobody asked for.
    unwanted: Option<Unwanted>,
}

/// A body of some other kind: a WebSocket's, a plugin's.
pub type Boxed = Pin<Box<dyn HttpBody<Data = Bytes, Error = BrokenOff> + Send>>;

enum Kind {
    Empty,
    Full(Bytes),
    Received(Received, Silence),
    Boxed(Boxed),
    Tunnel(Box<Tunnel>),
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Received(..) => "Received",
            Self::Boxed(_) => "Boxed",
            Self::Tunnel(_) => "Tunnel",
        })
    }
}

/// A response that cannot be finished. The client must not take it for a whole one: h1 is cut, h2 reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenOff {
    /// Why.
    pub reason: Reason,
    /// How it counts.
    pub outcome: Outcome,
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the response was broken off: {}", self.reason)
    }
}

impl std::error::Error for BrokenOff {}

impl Body {
    const fn of(kind: Kind) -> Self {
        Self { kind, access: None, unwanted: None }
    }

    /// No body.
    pub const fn empty() -> Self {
        Self::of(Kind::Empty)
    }

    /// A body that is all here.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::of(if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) })
    }

    /// An upstream's, as it comes.
    pub fn received(body: Received, silence: Silence) -> Self {
        Self::of(Kind::Received(body, silence))
    }

    /// Some other.
    pub fn boxed(body: Boxed) -> Self {
        Self::of(Kind::Boxed(body))
    }

    /// None, and a tunnel in its place.
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self::of(Kind::Tunnel(Box::new(tunnel)))
    }

    /// The tunnel in its place, with what is to be written down at its end.
    pub fn take_tunnel(&mut self) -> Option<(Box<Tunnel>, Box<Access>)> {
        match std::mem::replace(&mut self.kind, Kind::Empty) {
            Kind::Tunnel(tunnel) => self.access.take().map(|access| (tunnel, access)),
            other => {
                self.kind = other;
                None
            }
        }
    }

    /// The same, writing `access` down at its end. `bare` says that the response has no body whatever this one says
    /// (HEAD, 204, 304), so that its head is its end.
    pub fn recorded(mut self, access: Access, bare: bool) -> Self {
        if bare || self.is_end_stream() {
            access.finish();
        } else {
            self.access = Some(Box::new(access));
        }
        self
    }

    /// The same, and with its end that of a request's body that nobody asked for.
    pub fn outlasting(mut self, unwanted: Unwanted) -> Self {
        self.unwanted = Some(unwanted);
        self
    }

    fn poll_kind(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Received(body, silence) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(mut frame))) => {
                    silence.broken();
                    if let Some(trailers) = frame.trailers_mut() {
                        clean_trailers(trailers);
                    }
                    Poll::Ready(Some(Ok(frame)))
                }
                Poll::Ready(Some(Err(_broken))) => {
                    Poll::Ready(Some(Err(BrokenOff { reason: Reason::UpstreamReset, outcome: Outcome::UpstreamError })))
                }
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => silence.poll(cx).map(|overdue| Some(Err(overdue.into()))),
            },
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
            // Whoever writes the response takes it out first.
            Kind::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn ended(&mut self) {
        if let Some(access) = self.access.take() {
            access.finish();
        }
    }
}

impl From<Overdue> for BrokenOff {
    fn from(overdue: Overdue) -> Self {
        let reason = match overdue {
            Overdue::Silent => Reason::IdleTimeout,
            Overdue::Deadline => Reason::Deadline,
        };
        Self { reason, outcome: Outcome::Timeout }
    }
}

impl From<Infallible> for BrokenOff {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let polled = ready!(self.poll_kind(cx));
        match &polled {
            Some(Ok(_)) if !self.is_end_stream() => {}
            Some(Ok(_)) | None => self.ended(),
            Some(Err(broken)) => {
                if let Some(access) = self.access.take() {
                    access.broke_off(broken.reason, broken.outcome);
                }
                self.kind = Kind::Empty;
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Received(body, _) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
            Kind::Tunnel(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Received(body, _) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
            Kind::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}
