//! One direction of a WebSocket. Bytes are read into a buffer that all sockets of a worker share and written from there; a
//! socket has one of its own only while its reader is slow.
//!
//! Invariant: on the wire our own frames stand between two others. So the beginning of a head is held back until the head
//! is whole, and a Close of ours waits for the end of the present frame.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{self, Frames, HEAD_MAX, PING, Then};

/// The most that is read at once.
const READ_MAX: usize = 64 * 1024;

thread_local! {
    /// What was held back of the bytes before goes in front of those that are read.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; HEAD_MAX + READ_MAX].into());
}

/// One direction.
#[derive(Debug)]
pub(super) struct Pipe {
    frames: Frames,
    /// The beginning of a head.
    held: ([u8; HEAD_MAX], usize),
    /// What the reader has yet to take, and how much of it it took.
    pending: (Vec<u8>, usize),
    /// Written, and perhaps not on the wire.
    unflushed: bool,
    state: State,
    read_max: usize,
    /// Whether the reader is a server.
    masked: bool,
    /// What happened since somebody last asked.
    pub(super) news: News,
}

/// What happened in a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Bytes that were read.
    pub(super) read: u64,
    /// Something was read or written.
    pub(super) moved: bool,
    /// A message is too large: its sender is to hear of it.
    pub(super) too_large: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes go on.
    Open,
    /// The present frame goes on, then a Close of ours with this code.
    Closing(u16),
    /// Nothing goes on; the writer's own Close is waited for.
    Closed,
    /// Nothing more comes: the reader is told.
    Ending,
    /// Over.
    Ended,
}

/// Which end of a direction broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Writer,
    Reader,
}

impl Pipe {
    /// At most `buffer` bytes wait for a slow reader.
    pub(super) fn new(frames: Frames, buffer: usize, masked: bool) -> Self {
        Self {
            frames,
            held: ([0; HEAD_MAX], 0),
            pending: (Vec::new(), 0),
            unflushed: false,
            state: State::Open,
            read_max: buffer.min(READ_MAX),
            masked,
            news: News::default(),
        }
    }

    /// Whether a Close went through.
    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// Whether nothing more goes this way.
    pub(super) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether bytes wait for the reader, so that none are read.
    pub(super) fn is_blocked(&self) -> bool {
        !self.pending.0.is_empty()
    }

    /// Sends the reader a Close as soon as a frame may be put in, and nothing after it.
    pub(super) fn close(&mut self, code: u16) {
        if self.state == State::Open {
            self.state = State::Closing(code);
        }
    }

    /// Sends the reader a ping, if a frame may be put in now.
    pub(super) fn ping(&mut self, payload: [u8; PING]) -> bool {
        let may = self.state == State::Open && self.frames.left() == 0 && !self.is_closed() && !self.is_blocked();
        if may {
            self.pending.0 = frames::ping(payload, self.masked);
        }
        may
    }

    /// The writer was pinged.
    pub(super) fn expect_pong(&mut self) {
        self.frames.expect_pong();
    }

    /// Moves what can be moved; ready when nothing more goes this way.
    pub(super) fn poll<W, R>(
        &mut self,
        writer: &mut W,
        reader: &mut R,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        W: AsyncRead + Unpin,
        R: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_pending(reader, cx))?;
            match self.state {
                State::Closing(code) if self.frames.left() == 0 => {
                    self.pending.0 = frames::close(code, self.masked);
                    self.state = State::Closed;
                }
                State::Closed if self.is_closed() => self.state = State::Ending,
                State::Open | State::Closing(_) | State::Closed => {
                    let read = SCRATCH.with_borrow_mut(|scratch| self.poll_read(writer, reader, scratch, cx));
                    if read.is_pending() && self.unflushed {
                        ready!(Pin::new(&mut *reader).poll_flush(cx)).map_err(|_| Broken::Reader)?;
                        self.unflushed = false;
                    }
                    ready!(read)?;
                }
                State::Ending => {
                    ready!(Pin::new(&mut *reader).poll_shutdown(cx)).map_err(|_| Broken::Reader)?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// What waits goes first.
    fn poll_pending(
        &mut self,
        reader: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        while self.pending.1 < self.pending.0.len() {
            let written = ready!(poll_write(reader, &self.pending.0[self.pending.1..], cx))?;
            self.pending.1 += written;
            self.unflushed = true;
            self.news.moved = true;
        }
        // An idle socket holds no buffer.
        if self.is_blocked() {
            self.pending = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        writer: &mut (impl AsyncRead + Unpin),
        reader: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let mut room = ReadBuf::new(&mut scratch[HEAD_MAX..HEAD_MAX + self.read_max]);
        ready!(Pin::new(writer).poll_read(cx, &mut room)).map_err(|_| Broken::Writer)?;
        let count = room.filled().len();
        let (held, length) = self.held;
        if count == 0 {
            if self.state == State::Open {
                self.pending.0 = held[..length].to_vec();
            }
            self.state = State::Ending;
            return Poll::Ready(Ok(()));
        }
        self.news.read += count as u64;
        self.news.moved = true;
        self.held.1 = 0;
        let start = HEAD_MAX - length;
        scratch[start..HEAD_MAX].copy_from_slice(&held[..length]);
        Poll::Ready(self.take_in(&scratch[start..HEAD_MAX + count], reader, cx))
    }

    /// Passes on of `bytes` what may go on.
    fn take_in(
        &mut self,
        mut bytes: &[u8],
        reader: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Result<(), Broken> {
        if let State::Closing(code) = self.state {
            let rest = self.frames.finish(bytes);
            self.pass(&bytes[..rest], reader, cx)?;
            bytes = &bytes[rest..];
            if !bytes.is_empty() {
                self.say_close(code);
            }
        }
        loop {
            let step = self.frames.walk(bytes);
            if self.state == State::Open {
                self.pass(&bytes[..step.pass], reader, cx)?;
            }
            bytes = &bytes[step.pass..];
            match step.then {
                Then::End => return Ok(()),
                Then::Hold => {
                    self.held.0[..bytes.len()].copy_from_slice(bytes);
                    self.held.1 = bytes.len();
                    return Ok(());
                }
                Then::Skip(size) => bytes = &bytes[size..],
                Then::TooLarge(size) => {
                    bytes = &bytes[size..];
                    if self.state == State::Open {
                        self.news.too_large = true;
                        self.say_close(super::GOING_AWAY);
                    }
                }
            }
        }
    }

    /// Between two frames.
    fn say_close(&mut self, code: u16) {
        self.pending.0.extend(frames::close(code, self.masked));
        self.state = State::Closed;
    }

    /// Writes `bytes`; what the reader does not take at once waits.
    fn pass(
        &mut self,
        mut bytes: &[u8],
        reader: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Result<(), Broken> {
        while !bytes.is_empty() && !self.is_blocked() {
            match poll_write(reader, bytes, cx) {
                Poll::Ready(written) => bytes = &bytes[written?..],
                Poll::Pending => break,
            }
            self.unflushed = true;
        }
        self.pending.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// At least one byte.
fn poll_write(
    reader: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    cx: &mut Context<'_>,
) -> Poll<Result<usize, Broken>> {
    let written: io::Result<usize> = ready!(Pin::new(reader).poll_write(cx, bytes));
    Poll::Ready(written.ok().filter(|written| *written > 0).ok_or(Broken::Reader))
}
