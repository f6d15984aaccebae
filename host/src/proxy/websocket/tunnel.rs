//! An open WebSocket: two directions, who is silent for how long, and how it ends.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::GOING_AWAY;
use super::frames::{Frames, PING};
use super::pipe::{Broken, News, Pipe};
use crate::telemetry::labels::Direction;

/// RFC 6455, section 7.4.1.
const MESSAGE_TOO_BIG: u16 = 1009;
/// Both sides said Close: so long their connections may take to close. Whoever broke a rule, or is silent, gets no longer
/// to say it.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Where nothing is due, a look now and then costs nothing.
const SELDOM: Duration = Duration::from_secs(3600);

/// What holds of a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// What waits for a slow reader in each direction at most, bytes.
    pub(super) buffer: usize,
    /// How long both sides may be silent.
    pub(super) idle: Option<Duration>,
    /// How long one side may be silent before it is pinged, and again before it is given up.
    pub(super) ping: Option<Duration>,
    /// The most a message may have, bytes.
    pub(super) message: Option<u64>,
    /// How long a drain waits for both sides to say Close.
    pub(super) patience: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In order, or as one side wanted.
    Closed,
    /// The client broke off.
    Client,
    /// The upstream broke off.
    Upstream,
    /// Nothing came for too long.
    Silent,
    /// A message of the client's was too large.
    ClientTooLarge,
    /// A message of the upstream's was.
    UpstreamTooLarge,
}

/// Copies both ways until both are over. Once `drained` is ready both sides are told to go. `count` hears of bytes as they
/// come.
pub(super) async fn run(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
    terms: Terms,
    drained: impl Future<Output = ()>,
    count: impl FnMut(Direction, u64),
) -> End {
    let now = Instant::now();
    let payload = fastrand::u64(..).to_be_bytes();
    let pipe = |masked| Pipe::new(Frames::new(terms.message, payload), terms.buffer, masked);
    let mut socket = Socket {
        client,
        upstream,
        inward: pipe(true),
        outward: pipe(false),
        from_client: Silence::since(now),
        from_upstream: Silence::since(now),
        moved: now,
        closing: None,
        terms,
        payload,
        count,
    };
    let mut drained = pin!(drained);
    let mut timer = pin!(sleep_until(socket.due(now)));
    poll_fn(|cx| {
        if socket.closing.is_none() && drained.as_mut().poll(cx).is_ready() {
            socket.close(GOING_AWAY, GOING_AWAY, End::Closed, terms.patience);
        }
        socket.poll(timer.as_mut(), cx)
    })
    .await
}

/// How long one side has been silent.
#[derive(Debug)]
struct Silence {
    since: Instant,
    asked: bool,
    /// When to look at it again.
    due: Instant,
}

impl Silence {
    fn since(now: Instant) -> Self {
        Self { since: now, asked: false, due: now }
    }

    fn broken(&mut self, now: Instant) {
        self.since = now;
        self.asked = false;
    }

    /// Asks whoever has been silent for long, if it can be asked; true when it was asked and stayed silent.
    fn look(&mut self, every: Duration, unread: bool, now: Instant, ask: impl FnOnce() -> bool) -> bool {
        if self.due > now || self.since + every > now {
            return false;
        }
        self.due = now + every;
        if unread {
            // What it may have said waits for its own reader, who is slow.
            self.asked = false;
            return false;
        }
        let gone = self.asked;
        self.asked = gone || ask();
        gone
    }
}

struct Socket<C, U, F> {
    client: C,
    upstream: U,
    inward: Pipe,
    outward: Pipe,
    from_client: Silence,
    from_upstream: Silence,
    /// When a byte last went anywhere.
    moved: Instant,
    /// It is to be over by then, and why.
    closing: Option<(Instant, End)>,
    terms: Terms,
    payload: [u8; PING],
    count: F,
}

impl<C, U, F> Socket<C, U, F>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Direction, u64),
{
    fn poll(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let inward = self.inward.poll(&mut self.client, &mut self.upstream, cx);
            let outward = self.outward.poll(&mut self.upstream, &mut self.client, cx);
            let told = self.hear();
            if let Some(end) = self.broken(inward, outward) {
                return Poll::Ready(end);
            }
            if self.inward.is_ended() && self.outward.is_ended() {
                return Poll::Ready(self.closing.map_or(End::Closed, |(_, end)| end));
            }
            if told {
                // There is something to say now.
                continue;
            }
            // What is due later than it was is looked at when the timer fires.
            if let Some((until, _)) = self.closing.filter(|(until, _)| *until < timer.deadline()) {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if let Some((_, end)) = self.closing.filter(|(until, _)| *until <= now) {
                return Poll::Ready(end);
            }
            self.look(now);
            timer.as_mut().reset(self.due(now));
        }
    }

    /// Takes up what happened; whether that changes what is to be said.
    fn hear(&mut self) -> bool {
        let News { read: inward, moved: in_moved, too_large: from_client } = std::mem::take(&mut self.inward.news);
        let News { read: outward, moved: out_moved, too_large: from_upstream } = std::mem::take(&mut self.outward.news);
        if !in_moved && !out_moved {
            return false;
        }
        let now = Instant::now();
        self.moved = now;
        if inward > 0 {
            self.from_client.broken(now);
            (self.count)(Direction::In, inward);
        }
        if outward > 0 {
            self.from_upstream.broken(now);
            (self.count)(Direction::Out, outward);
        }
        // Its reader was told to go by the pipe itself, in the place of the frame.
        if from_client {
            self.outward.close(MESSAGE_TOO_BIG);
            self.end_by(now + CLOSE_WITHIN, End::ClientTooLarge);
        }
        if from_upstream {
            self.inward.close(MESSAGE_TOO_BIG);
            self.end_by(now + CLOSE_WITHIN, End::UpstreamTooLarge);
        }
        if self.inward.is_closed() && self.outward.is_closed() {
            self.end_by(now + CLOSE_WITHIN, End::Closed);
        }
        from_client || from_upstream
    }

    /// The end, if a side broke. What breaks after a Close closes.
    fn broken(&self, inward: Poll<Result<(), Broken>>, outward: Poll<Result<(), Broken>>) -> Option<End> {
        let end = match (inward, outward) {
            (Poll::Ready(Err(Broken::Writer)), _) | (_, Poll::Ready(Err(Broken::Reader))) => End::Client,
            (Poll::Ready(Err(Broken::Reader)), _) | (_, Poll::Ready(Err(Broken::Writer))) => End::Upstream,
            _ => return None,
        };
        let closed = self.inward.is_closed() || self.outward.is_closed();
        Some(match self.closing {
            Some((_, end)) => end,
            None if closed => End::Closed,
            None => end,
        })
    }

    /// It is to be over by `until`; who said so first is right.
    fn end_by(&mut self, until: Instant, end: End) {
        let (before, end) = self.closing.unwrap_or((until, end));
        self.closing = Some((before.min(until), end));
    }

    /// Tells both sides to go, unless one has begun to close it.
    fn close(&mut self, client: u16, upstream: u16, end: End, within: Duration) {
        if !self.inward.is_closed() && !self.outward.is_closed() {
            self.outward.close(client);
            self.inward.close(upstream);
        }
        self.end_by(Instant::now() + within, end);
    }

    /// Something may be due.
    fn look(&mut self, now: Instant) {
        if self.terms.idle.is_some_and(|idle| self.moved + idle <= now) {
            return self.close(GOING_AWAY, GOING_AWAY, End::Silent, CLOSE_WITHIN);
        }
        let Some(every) = self.terms.ping else { return };
        let payload = self.payload;
        // Before one of them is given a ping to write.
        let unread = [self.inward.is_blocked(), self.outward.is_blocked()];
        let client = self.from_client.look(every, unread[0], now, || {
            let asked = self.outward.ping(payload);
            if asked {
                self.inward.expect_pong();
            }
            asked
        });
        let upstream = self.from_upstream.look(every, unread[1], now, || {
            let asked = self.inward.ping(payload);
            if asked {
                self.outward.expect_pong();
            }
            asked
        });
        if client || upstream {
            self.close(GOING_AWAY, GOING_AWAY, End::Silent, CLOSE_WITHIN);
        }
    }

    /// When something may be due next.
    fn due(&self, now: Instant) -> Instant {
        if let Some((until, _)) = self.closing {
            return until;
        }
        let idle = self.terms.idle.map(|idle| self.moved + idle);
        let ping = self.terms.ping.map(|every| {
            let next = |silence: &Silence| silence.due.max(silence.since + every);
            next(&self.from_client).min(next(&self.from_upstream))
        });
        idle.into_iter().chain(ping).min().unwrap_or(now + SELDOM)
    }
}

#[cfg(test)]
mod tests;
