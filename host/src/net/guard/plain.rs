//! One connection's HTTP/1.1 messages on their way to the library, whole and one at a time.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::body::{BodyReader, TrailerLimits};
use super::head::{HeadLimits, HeadReader, Refusal};
use crate::net::activity::Activity;

/// Stands for a head that is refused.
pub(super) const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Whoever is still sending when the connection ends is listened to for a while, so that it reads the answer and not a
/// reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What of HTTP/1.1 was passed on.
#[derive(Debug)]
pub(super) struct Plain {
    limits: HeadLimits,
    activity: Arc<Activity>,
    reading: Reading,
    /// Received and not passed on: of a head that is not whole, or of what comes after a message that is not answered.
    held: Vec<u8>,
    /// How many of them may go.
    ready: usize,
    /// All of them were looked at.
    looked: bool,
    ended: Option<Ended>,
    lingering: Option<Lingering>,
}

#[derive(Debug)]
enum Reading {
    Head(HeadReader),
    Body(BodyReader),
}

/// Why nothing more is passed on.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// A head was refused.
    Refused,
    /// A body broke its framing.
    Broken,
}

#[derive(Debug)]
struct Lingering {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Plain {
    pub(super) fn new(limits: HeadLimits, activity: Arc<Activity>) -> Self {
        let reading = Reading::Head(HeadReader::default());
        Self { limits, activity, reading, held: vec![], ready: 0, looked: true, ended: None, lingering: None }
    }

    /// Whether a message is whole and not answered, or its answer not taken.
    fn waits(&self) -> bool {
        self.is_between() && (self.activity.is_busy() || self.activity.is_blocked())
    }

    /// Whether a head is next, or at hand.
    fn is_between(&self) -> bool {
        matches!(self.reading, Reading::Head(_))
    }

    /// The library wrote, or was told to wait with it. One that goes on reading meanwhile would keep every answer.
    pub(super) fn wrote(&self, blocked: bool) {
        self.activity.wrote(blocked);
    }

    /// Whether more is on its way that nobody will read.
    pub(super) fn is_owed(&self) -> bool {
        !self.activity.is_tunnel()
            && (self.ended.is_some() || !self.held.is_empty() || matches!(self.reading, Reading::Body(_)))
    }

    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.activity.is_tunnel() {
            self.ready = self.held.len();
        }
        if self.activity.is_late() && self.is_between() && self.ended.is_none() {
            self.refuse(Refusal::Late);
        }
        loop {
            if self.ready > 0 {
                self.hand_out(buf);
                return Poll::Ready(Ok(()));
            }
            match self.ended {
                // The answer closes the connection; an end of the stream would take the answer away.
                Some(Ended::Refused) => return Poll::Pending,
                Some(Ended::Broken) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                None => {}
            }
            if !self.held.is_empty() {
                if self.waits() {
                    self.activity.park(cx.waker());
                    return self.poll_while_waiting(stream, cx, buf);
                }
                if !self.looked {
                    self.look();
                    continue;
                }
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
            if buf.filled().len() == before || self.activity.is_tunnel() {
                return Poll::Ready(Ok(()));
            }
            if !self.waits() {
                self.activity.received(self.is_between());
            }
            if self.take_in(before, buf) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Holds what comes, as far as a head may be long, and notices the end of it: a client that is gone is to be known of
    /// even if it sent more than it got answers to.
    fn poll_while_waiting<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        while self.held.len() < self.limits.bytes {
            ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(&buf.filled()[before..]);
            buf.set_filled(before);
            self.looked = false;
        }
        Poll::Pending
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.ready.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.drain(..count);
        self.ready -= count;
    }

    /// Leaves in `buf` what may go, and says whether anything did.
    fn take_in(&mut self, before: usize, buf: &mut ReadBuf<'_>) -> bool {
        let whole = self.held.is_empty() && !self.waits();
        let passed = if whole { self.pass(&buf.filled()[before..]) } else { 0 };
        if self.ended.is_none() || passed > 0 {
            self.looked = whole && passed == 0;
            self.held.extend_from_slice(&buf.filled()[before + passed..]);
        }
        buf.set_filled(before + passed);
        passed > 0
    }

    fn look(&mut self) {
        self.looked = true;
        let held = std::mem::take(&mut self.held);
        let passed = self.pass(&held);
        if passed > 0 || self.ended.is_none() {
            self.held = held;
            self.ready = passed;
            self.looked = passed == 0;
        }
        if passed == 0 {
            self.activity.received(true);
        }
    }

    /// How many of `bytes` belong to the present message and may go.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        if let Reading::Head(head) = &mut self.reading {
            match head.read(bytes, self.limits) {
                Ok(Some((length, framing))) => {
                    passed = length;
                    self.reading = Reading::Body(BodyReader::new(framing));
                }
                Ok(None) => return 0,
                Err(refusal) => {
                    self.refuse(refusal);
                    return 0;
                }
            }
        }
        if let Reading::Body(body) = &mut self.reading {
            let trailers = TrailerLimits { bytes: self.limits.bytes, lines: self.limits.fields };
            match body.read(&bytes[passed..], trailers) {
                Ok(more) => passed += more,
                Err(_) => self.ended = Some(Ended::Broken),
            }
            if body.is_done() {
                self.reading = Reading::Head(HeadReader::default());
            }
        }
        passed
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.activity.refuse(refusal);
        self.ended = Some(Ended::Refused);
        self.held = REFUSED.to_vec();
        self.ready = REFUSED.len();
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.is_some()
    }

    /// Reads on for a while and throws it away.
    pub(super) fn poll_linger<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        let lingering =
            self.lingering.get_or_insert_with(|| Lingering { until: Box::pin(sleep(LINGER)), left: LINGER_BYTES });
        let mut thrown = [0; 4096];
        while lingering.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut thrown);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf));
            lingering.left = lingering.left.saturating_sub(buf.filled().len());
            if read.is_err() || buf.filled().is_empty() || lingering.left == 0 {
                break;
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
impl Plain {
    /// The targets of the requests in `bytes` that pass.
    pub(super) fn targets(mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut targets = vec![];
        loop {
            let fresh = matches!(self.reading, Reading::Head(_));
            let passed = self.pass(bytes);
            if fresh && passed > 0 {
                let text = String::from_utf8_lossy(&bytes[..passed]).into_owned();
                targets.push(text.trim_start().split(' ').nth(1).unwrap_or_default().to_owned());
            }
            bytes = &bytes[passed..];
            if passed == 0 || bytes.is_empty() || self.ended.is_some() {
                return targets;
            }
        }
    }
}
