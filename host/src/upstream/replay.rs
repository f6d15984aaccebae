//! A streamed request body whose beginning is remembered until the response comes. An upstream may refuse an HTTP/2
//! request without having looked at it; this is what lets it be sent again although its client sends it only once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use super::body::{BodyFault, Outgoing, Progress, Source};

/// What is remembered of one body. A longer one cannot be sent again once more of it is gone.
const REMEMBERED_MAX: usize = 64 * 1024;

/// A body that remembers, as one attempt reads it.
pub(super) struct Recorded {
    shared: Arc<Mutex<State>>,
    attempt: u32,
}

struct State {
    source: Source,
    length: SizeHint,
    parts: VecDeque<Part>,
    bytes: usize,
    /// How many parts the present attempt has read; 0 when nothing is remembered any more.
    read: usize,
    remembers: bool,
    /// Only the last attempt may read.
    attempt: u32,
}

#[derive(Clone)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl From<Part> for Frame<Bytes> {
    fn from(part: Part) -> Self {
        match part {
            Part::Data(bytes) => Self::data(bytes),
            Part::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

impl State {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if !self.remembers
            && let Some(part) = self.parts.pop_front()
        {
            return Poll::Ready(Some(Ok(part.into())));
        }
        if let Some(part) = self.parts.get(self.read) {
            self.read += 1;
            return Poll::Ready(Some(Ok(part.clone().into())));
        }
        let polled = ready!(self.source.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &polled {
            self.remember(frame);
        }
        Poll::Ready(polled)
    }

    fn remember(&mut self, frame: &Frame<Bytes>) {
        let part = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Part::Data(data.clone()),
            (None, Some(trailers)) => Part::Trailers(trailers.clone()),
            (None, None) => return,
        };
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        if !self.remembers || self.bytes > REMEMBERED_MAX {
            self.forget();
            return;
        }
        self.parts.push_back(part);
        self.read += 1;
    }

    /// Keeps what the present attempt has yet to read, and nothing from now on.
    fn forget(&mut self) {
        if self.remembers {
            self.parts.drain(..self.read);
            self.read = 0;
            self.remembers = false;
        }
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorded {
    pub(super) fn new(source: Source) -> Self {
        let length = source.size_hint();
        let state = State { source, length, parts: VecDeque::new(), bytes: 0, read: 0, remembers: true, attempt: 0 };
        Self { shared: Arc::new(Mutex::new(state)), attempt: 0 }
    }

    /// What sends it again.
    pub(super) fn again(&self, progress: Arc<Progress>) -> Again {
        Again { shared: Arc::clone(&self.shared), attempt: self.attempt, progress }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut state = lock(&self.shared);
        if state.attempt == self.attempt { state.poll_frame(cx) } else { Poll::Ready(Some(Err(BodyFault::Cut))) }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = lock(&self.shared);
        state.read == state.parts.len() && state.source.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let state = lock(&self.shared);
        if state.remembers && state.read == 0 { state.length } else { SizeHint::default() }
    }
}

/// Sends a body again, or lets its memory go when dropped.
pub(super) struct Again {
    shared: Arc<Mutex<State>>,
    attempt: u32,
    progress: Arc<Progress>,
}

impl Again {
    /// The body from its beginning; `None` when that is no longer remembered. The attempt before reads no further.
    pub(super) fn body(self) -> Option<Outgoing> {
        let mut state = lock(&self.shared);
        if !state.remembers {
            return None;
        }
        state.attempt += 1;
        state.read = 0;
        let recorded = Recorded { shared: Arc::clone(&self.shared), attempt: state.attempt };
        drop(state);
        Some(Outgoing::replayed(recorded, Arc::clone(&self.progress)))
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        if state.attempt == self.attempt {
            state.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn frames(sizes: &[usize]) -> Source {
        let frames = sizes.iter().map(|size| Ok(Frame::data(Bytes::from(vec![b'x'; *size])))).collect::<Vec<_>>();
        Box::pin(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn length(body: &mut Outgoing, frames: usize) -> usize {
        let mut read = 0;
        for _ in 0..frames {
            let frame = body.frame().await.expect("more").expect("good");
            read += frame.into_data().expect("data").len();
        }
        read
    }

    #[tokio::test]
    async fn what_was_sent_is_sent_again_and_the_rest_after_it() {
        let mut first = Outgoing::stream(frames(&[1, 10, 100]));
        let again = first.recorded().expect("a stream");
        assert_eq!(length(&mut first, 2).await, 11);
        let mut second = again.body().expect("remembered");
        let again = second.recorded().expect("still a stream");
        assert_eq!(first.frame().await.expect("a fault").expect_err("a fault"), BodyFault::Cut);
        assert_eq!(length(&mut second, 1).await, 1);
        let third = again.body().expect("remembered");
        assert_eq!(third.collect().await.expect("whole").to_bytes().len(), 111);
    }

    #[tokio::test]
    async fn a_long_body_is_sent_once() {
        let mut first = Outgoing::stream(frames(&[REMEMBERED_MAX, 1]));
        let again = first.recorded().expect("a stream");
        assert_eq!(length(&mut first, 2).await, REMEMBERED_MAX + 1);
        assert!(again.body().is_none());
    }

    #[tokio::test]
    async fn once_the_response_is_there_nothing_is_kept_but_what_is_still_to_be_sent() {
        let mut first = Outgoing::stream(frames(&[1, 10, 100]));
        let again = first.recorded().expect("a stream");
        length(&mut first, 2).await;
        let mut second = again.body().expect("remembered");
        let again = second.recorded().expect("a stream");
        assert_eq!(length(&mut second, 1).await, 1);
        let shared = Arc::clone(&again.shared);
        drop(again);
        assert_eq!(lock(&shared).parts.len(), 1);
        assert_eq!(second.collect().await.expect("whole").to_bytes().len(), 110);
        assert!(lock(&shared).parts.is_empty());
    }

    #[tokio::test]
    async fn what_is_at_hand_needs_no_memory() {
        assert!(Outgoing::empty().recorded().is_none());
        assert!(Outgoing::full("hi".into()).recorded().is_none());
    }
}
