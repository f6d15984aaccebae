//! Bodies on their way to and from an upstream. Nothing here buffers: a frame is asked for when the other side can take
//! it, so a slow reader slows the writer.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::pool::{Checkout, Held};
use super::replay::{Again, Recorded};
use crate::base::payload::Payload;

/// Why a request's body ended before its end. The client's doing, each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It was cut short, or broke its own framing.
    Cut,
    /// It came too slowly.
    Slow,
    /// It is larger than the limit.
    TooLarge,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "the request's body was cut short",
            Self::Slow => "the request's body came too slowly",
            Self::TooLarge => "the request's body is larger than the limit",
        })
    }
}

impl std::error::Error for BodyFault {}

/// Where a streamed request body comes from.
pub type Source = Pin<Box<dyn Body<Data = Bytes, Error = BodyFault> + Send>>;

/// A request body on its way to an upstream.
pub struct Outgoing(Kind);

enum Kind {
    Empty,
    Full(Option<Bytes>),
    Stream(Source, Arc<Progress>),
    Recorded(Recorded, Arc<Progress>),
}

impl Outgoing {
    /// No body.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is all here.
    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(Some(bytes))) }
    }

    /// A body that comes as it is sent.
    pub fn stream(source: Source) -> Self {
        Self(Kind::Stream(source, Arc::new(Progress::new())))
    }

    /// A kept body, read as it is sent.
    pub fn payload(payload: &Payload) -> Self {
        match payload {
            Payload::Memory(bytes) => Self::full(bytes.clone()),
            Payload::File(_) => Self::stream(Box::pin(Kept { payload: payload.clone(), offset: 0, reading: None })),
        }
    }

    /// The same body once more, where that is possible.
    pub(super) fn copy(&self) -> Option<Self> {
        match &self.0 {
            Kind::Empty => Some(Self(Kind::Empty)),
            Kind::Full(bytes) => Some(Self(Kind::Full(bytes.clone()))),
            Kind::Stream(..) | Kind::Recorded(..) => None,
        }
    }

    /// Of a body that comes as it is sent: remembers its beginning from now on, so that it can be sent again while that
    /// is all that was sent.
    pub(super) fn recorded(&mut self) -> Option<Again> {
        self.0 = match std::mem::replace(&mut self.0, Kind::Empty) {
            Kind::Stream(source, progress) => Kind::Recorded(Recorded::new(source), progress),
            other => other,
        };
        match &self.0 {
            Kind::Recorded(recorded, progress) => Some(recorded.again(Arc::clone(progress))),
            Kind::Empty | Kind::Full(_) | Kind::Stream(..) => None,
        }
    }

    pub(super) const fn replayed(recorded: Recorded, progress: Arc<Progress>) -> Self {
        Self(Kind::Recorded(recorded, progress))
    }

    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        match &self.0 {
            Kind::Empty | Kind::Full(_) => None,
            Kind::Stream(_, progress) | Kind::Recorded(_, progress) => Some(Arc::clone(progress)),
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outgoing")
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(source, progress) => {
                let polled = source.as_mut().poll_frame(cx);
                progress.note(Step::after(&polled, source.is_end_stream()));
                polled
            }
            Kind::Recorded(recorded, progress) => {
                let polled = recorded.poll_frame(cx);
                progress.note(Step::after(&polled, recorded.is_end_stream()));
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Stream(source, _) => source.is_end_stream(),
            Kind::Recorded(recorded, _) => recorded.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Stream(source, _) => source.size_hint(),
            Kind::Recorded(recorded, _) => recorded.size_hint(),
        }
    }
}

/// How much of a kept body is read at once.
const CHUNK: usize = 64 * 1024;

/// A body kept in a file on its way out, a chunk at a time. Reading may wait for the disk, so it is done off the runtime.
struct Kept {
    payload: Payload,
    offset: u64,
    reading: Option<tokio::task::JoinHandle<std::io::Result<Bytes>>>,
}

impl Body for Kept {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let (payload, offset) = (self.payload.clone(), self.offset);
        let reading =
            self.reading.get_or_insert_with(|| tokio::task::spawn_blocking(move || payload.read(offset, CHUNK)));
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(Ok(bytes)) if !bytes.is_empty() => {
                self.offset += bytes.len() as u64;
                Ok(Frame::data(bytes))
            }
            _ => Err(BodyFault::Cut),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.offset >= self.payload.length()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.payload.length().saturating_sub(self.offset))
    }
}

/// How far a streamed request body got; tells a slow client from a slow upstream.
#[derive(Debug)]
pub(super) struct Progress(Mutex<(Step, Instant)>);

/// What last happened to a streamed request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The client has yet to send more.
    Waiting,
    /// The upstream has yet to take more.
    Moving,
    /// All of it was handed over.
    Done,
    /// It failed.
    Failed(BodyFault),
}

impl Step {
    fn after(polled: &Poll<Option<Result<Frame<Bytes>, BodyFault>>>, at_end: bool) -> Self {
        match polled {
            Poll::Pending => Self::Waiting,
            Poll::Ready(Some(Ok(_))) if at_end => Self::Done,
            Poll::Ready(Some(Ok(_))) => Self::Moving,
            Poll::Ready(Some(Err(fault))) => Self::Failed(*fault),
            Poll::Ready(None) => Self::Done,
        }
    }
}

impl Progress {
    fn new() -> Self {
        Self(Mutex::new((Step::Moving, Instant::now())))
    }

    fn note(&self, step: Step) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (step, Instant::now());
    }

    /// The last step and when it was.
    pub(super) fn last(&self) -> (Step, Instant) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The upstream broke off in the middle of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the upstream broke off in the middle of its response")
    }
}

impl std::error::Error for Broken {}

/// A response body on its way from an upstream. Holds the connection; gives it back at the body's end, closes it when
/// dropped before.
#[derive(Debug)]
pub struct Received {
    body: Incoming,
    connection: Option<Checkout>,
    request: Option<Arc<Progress>>,
}

impl Received {
    pub(super) fn new(body: Incoming, connection: Checkout, request: Option<Arc<Progress>>) -> Self {
        let mut received = Self { body, connection: Some(connection), request };
        received.give_back_at_end();
        received
    }

    /// After a 101 there is no body, and the connection is not for another request.
    pub(super) fn switched(body: Incoming, connection: Checkout) -> Self {
        Self { body, connection: Some(connection), request: None }
    }

    /// What holds the connection's place from now on.
    pub(super) fn into_held(self) -> Option<Held> {
        self.connection.map(Checkout::hold)
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let sending = self.request.as_ref().is_some_and(|progress| progress.last().0 != Step::Done);
        if let Some(connection) = self.connection.take() {
            connection.give_back(sending);
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.give_back_at_end();
                Some(Ok(frame))
            }
            Some(Err(_)) => {
                self.connection = None;
                Some(Err(Broken))
            }
            None => {
                self.give_back();
                None
            }
        };
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
