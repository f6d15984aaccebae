//! A response's body while a client takes it. It keeps its connection busy, tells whether the client takes anything, and,
//! where it is a stream of events, ends between two of them when a drain makes its last call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::base::drain::Drain;
use crate::exchange::body::{Body, BrokenOff};
use crate::net::activity::Busy;

/// A response's body.
pub(super) struct Held {
    body: Body,
    busy: Busy,
    last: Option<Box<LastEvent>>,
}

impl Held {
    /// `last` is there when the body is a stream of events.
    pub(super) fn new(body: Body, busy: Busy, last: Option<LastEvent>) -> Self {
        Self { body, busy, last: last.map(Box::new) }
    }

    /// Ends the body if it is time and nothing of an event would be lost.
    fn ends(&mut self, cx: &mut Context<'_>) -> bool {
        let ends = self.last.as_mut().is_some_and(|last| last.is_called(cx) && last.events.is_between());
        if ends {
            self.last = None;
            self.body.end();
        }
        ends
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        // The library asks for more than the client takes, up to its own bound; what it is not given stays with the upstream.
        let mut polled = Poll::Pending;
        if self.busy.poll_taken(cx).is_ready() {
            self.busy.asked();
            polled = Pin::new(&mut self.body).poll_frame(cx);
        }
        if polled.is_pending() && self.ends(cx) {
            return Poll::Ready(None);
        }
        if let Poll::Ready(Some(Ok(frame))) = &mut polled {
            if let (Some(last), Some(data)) = (&mut self.last, frame.data_ref()) {
                let (called, end) = (last.drain.is_last_call(), last.events.end_in(data));
                let cut = end.filter(|_| called).map(|end| data.slice(..end));
                last.events.pass(cut.as_deref().unwrap_or(data));
                if let Some(cut) = cut {
                    *frame = Frame::data(cut);
                    self.last = None;
                    self.body.end();
                }
            }
            self.busy.given();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits for the last call of a drain, and knows where events end.
pub(super) struct LastEvent {
    drain: Drain,
    call: Pin<Box<dyn Future<Output = ()> + Send>>,
    called: bool,
    events: Events,
}

impl LastEvent {
    pub(super) fn new(drain: Drain) -> Self {
        let call = drain.clone();
        let call = Box::pin(async move { call.wait_for_last_call().await });
        Self { drain, call, called: false, events: Events::default() }
    }

    fn is_called(&mut self, cx: &mut Context<'_>) -> bool {
        self.called = self.called || self.call.as_mut().poll(cx).is_ready();
        self.called
    }
}

/// Where in a stream of events its bytes have got to. An event ends with an empty line
/// (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>).
#[derive(Clone, Copy, Debug, Default)]
struct Events {
    line: Line,
}

/// What the last bytes were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// An empty line, or nothing yet.
    #[default]
    Empty,
    /// An empty line that ended with CR; a LF after it belongs to it.
    EmptyCr,
    /// The end of a line.
    Ended,
    /// The end of a line with CR; a LF after it belongs to it.
    EndedCr,
    /// Something else.
    Inside,
}

impl Line {
    const fn after(self, byte: u8) -> Self {
        match (byte, self) {
            (b'\n', Self::EndedCr) => Self::Ended,
            (b'\n', Self::EmptyCr | Self::Empty | Self::Ended) => Self::Empty,
            (b'\n', Self::Inside) => Self::Ended,
            (b'\r', Self::Inside) => Self::EndedCr,
            (b'\r', _) => Self::EmptyCr,
            _ => Self::Inside,
        }
    }

    const fn is_between(self) -> bool {
        matches!(self, Self::Empty | Self::EmptyCr)
    }
}

impl Events {
    /// Whether no event has begun that has not ended.
    const fn is_between(self) -> bool {
        self.line.is_between()
    }

    /// Where in `data` the event under way ends, just behind it.
    fn end_in(self, data: &[u8]) -> Option<usize> {
        let mut line = self.line;
        let ends = |byte: &u8| {
            line = line.after(*byte);
            line.is_between()
        };
        data.iter().position(ends).map(|at| at + 1)
    }

    /// `data` passed. Only its last bytes tell where the stream is: an empty line is four bytes at most.
    fn pass(&mut self, data: &[u8]) {
        let tail = if data.len() > 4 { &data[data.len() - 4..] } else { data };
        if tail.len() < data.len() {
            self.line = Line::Inside;
        }
        self.line = tail.iter().fold(self.line, |line, byte| line.after(*byte));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(parts: &[&str]) -> Events {
        let mut events = Events::default();
        parts.iter().for_each(|part| events.pass(part.as_bytes()));
        events
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        for between in
            [&[][..], &["data: 1\n\n"], &["data: 1\n", "\n"], &["data: 1\r\n\r\n"], &["a\r", "\n\r", "\n"], &["a\r\r"]]
        {
            assert!(after(between).is_between(), "{between:?}");
        }
        for inside in [&["data"][..], &["data: 1\n"], &["data: 1\r\n"], &["a\n\n", "b"], &["a\r", "\n"]] {
            assert!(!after(inside).is_between(), "{inside:?}");
        }
        assert_eq!(after(&["data: ha"]).end_in(b"lf\n\ndata: next\n\n"), Some(4));
        assert_eq!(after(&["data: half\n"]).end_in(b"\ndata: next"), Some(1));
        assert_eq!(after(&["data: half"]).end_in(b" of it\n"), None);
    }

    proptest! {
        #[test]
        fn where_a_stream_is_does_not_depend_on_its_parts(text in "[a\r\n]{0,12}", cut in 0_usize..12) {
            let (one, other) = text.split_at(cut.min(text.len()));
            let whole = text.bytes().fold(Line::default(), Line::after);
            prop_assert_eq!(after(&[one, other]).is_between(), whole.is_between());
            prop_assert_eq!(after(&[&text]).is_between(), whole.is_between());
        }
    }
}
