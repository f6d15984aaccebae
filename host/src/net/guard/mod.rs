//! What a client may send, byte by byte, before the HTTP library sees it. `head` and `body` read HTTP/1.1 strictly, `plain`
//! hands on what they let pass, `frames` keeps HTTP/2 from being asked for work without end.
//!
//! Invariant: of HTTP/1.1, the library gets whole heads that have one reading, the next one once the last was answered.
//! In the place of a refused head it gets one that asks for the refusal ([`Activity::refused`]), so that a refusal is
//! answered, counted and logged like any other request; after it the connection ends.

mod body;
mod frames;
mod head;
mod plain;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::frames::FrameBudget;
pub use self::head::{HeadLimits, Refusal};
use self::plain::Plain;
use super::activity::Activity;

/// A client's stream, looked at as it is read.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    guard: Guard,
}

#[derive(Debug)]
enum Guard {
    Plain(Box<Plain>),
    Frames(Box<FrameBudget>, Arc<Activity>),
}

impl<S> Guarded<S> {
    /// Guards a connection that speaks HTTP/1.1.
    pub fn plain(stream: S, limits: HeadLimits, activity: Arc<Activity>) -> Self {
        Self { stream, guard: Guard::Plain(Box::new(Plain::new(limits, activity))) }
    }

    /// Guards a connection that speaks HTTP/2.
    pub fn frames(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, guard: Guard::Frames(Box::new(FrameBudget::new()), activity) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, guard } = &mut *self;
        let (budget, activity) = match guard {
            Guard::Plain(plain) => return plain.poll_read(stream, cx, buf),
            Guard::Frames(budget, activity) => (budget, activity),
        };
        let before = buf.filled().len();
        ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
        if let Ok(began) = budget.received(&buf.filled()[before..]) {
            activity.framed(began, budget.is_in_head());
            return Poll::Ready(Ok(()));
        }
        buf.set_filled(before);
        if let Some(goodbye) = budget.goodbye() {
            // A client that does not read it is told by the end of the connection.
            let _told = Pin::new(stream).poll_write(cx, &goodbye);
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        match (&mut self.guard, &polled) {
            (Guard::Plain(plain), _) => plain.wrote(polled.is_pending()),
            (Guard::Frames(budget, _), Poll::Ready(Ok(written))) => budget.sent(&buf[..*written]),
            (Guard::Frames(..), _) => {}
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, guard } = &mut *self;
        let owed = match guard {
            Guard::Plain(plain) if plain.is_owed() => plain,
            _ => return Pin::new(stream).poll_shutdown(cx),
        };
        if !owed.is_lingering() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        owed.poll_linger(stream, cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        match (&mut self.guard, &polled) {
            (Guard::Plain(plain), _) => plain.wrote(polled.is_pending()),
            (Guard::Frames(budget, _), Poll::Ready(Ok(written))) => {
                let mut left = *written;
                for buf in bufs {
                    let count = left.min(buf.len());
                    budget.sent(&buf[..count]);
                    left -= count;
                }
            }
            (Guard::Frames(..), _) => {}
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
