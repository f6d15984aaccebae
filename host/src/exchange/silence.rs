//! How long a body may be silent, and when it must be over. A frame costs no timer: the clock is looked at when nothing
//! comes, and the timer is set again only when it fires.
//!
//! A client that streams while it is answered may have nothing to say for long, and so may its product: then the two
//! directions have one [`Pulse`], and are silent only together.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The request waits longer than the response, which can tell the client why all ends.
const GRACE: Duration = Duration::from_millis(100);

/// Watches one body.
#[derive(Debug, Default)]
pub struct Silence {
    limit: Option<Duration>,
    deadline: Option<Instant>,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    pulse: Option<(Pulse, Side)>,
}

/// What was overstepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Nothing came for the limit.
    Silent,
    /// The deadline passed.
    Deadline,
}

/// A direction of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// Both directions of one exchange. All clones are one.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    idle: Option<Duration>,
    began: Instant,
    /// Milliseconds after `began` at which something last came, either way.
    last: AtomicU64,
    open: AtomicBool,
}

impl Pulse {
    /// Of an exchange that may be silent for `idle` once it is open both ways; until then each direction has its own
    /// limit.
    pub fn new(idle: Option<Duration>) -> Self {
        Self(Arc::new(Beats { idle, began: Instant::now(), last: AtomicU64::new(0), open: AtomicBool::new(false) }))
    }

    /// From now on the directions are silent only together.
    pub fn open(&self) {
        self.beat();
        self.0.open.store(true, Ordering::Relaxed);
    }

    fn beat(&self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::Relaxed);
    }

    /// When something last came, while it is open.
    fn last(&self) -> Option<Instant> {
        let open = self.0.open.load(Ordering::Relaxed);
        open.then(|| self.0.began + Duration::from_millis(self.0.last.load(Ordering::Relaxed)))
    }
}

impl Silence {
    /// At most `limit` between two frames, and nothing after `deadline`.
    pub fn new(limit: Option<Duration>, deadline: Option<Instant>) -> Self {
        Self { limit, deadline, since: None, timer: None, pulse: None }
    }

    /// The same for the request of an exchange with this pulse.
    pub fn of_request(mut self, pulse: Option<Pulse>) -> Self {
        if pulse.is_some() {
            self.deadline = self.deadline.map(|deadline| deadline + GRACE);
        }
        self.pulse = pulse.map(|pulse| (pulse, Side::Request));
        self
    }

    /// The same for the response of an exchange with this pulse.
    pub fn of_response(mut self, pulse: Option<Pulse>) -> Self {
        self.pulse = pulse.map(|pulse| (pulse, Side::Response));
        self
    }

    /// A frame came.
    pub fn broken(&mut self) {
        self.since = None;
        if let Some((pulse, _)) = &self.pulse {
            pulse.beat();
        }
    }

    /// Nothing came: ready once that has been so for too long.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        if self.limit.is_none() && self.deadline.is_none() {
            return Poll::Pending;
        }
        loop {
            let silent = self.silent_until();
            let Some(due) = silent.into_iter().chain(self.deadline).min() else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(Overdue::Deadline);
            }
            if silent.is_some_and(|until| until <= now) {
                return Poll::Ready(Overdue::Silent);
            }
            timer.as_mut().reset(due);
        }
    }

    /// When it will have been silent for too long.
    fn silent_until(&mut self) -> Option<Instant> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let shared = self.pulse.as_ref().and_then(|(pulse, side)| Some((pulse.last()?, pulse.0.idle, *side)));
        match shared {
            None => self.limit.map(|limit| since + limit),
            Some((last, idle, Side::Request)) => idle.map(|idle| since.max(last) + idle + GRACE),
            Some((last, idle, Side::Response)) => idle.map(|idle| since.max(last) + idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_frame_starts_the_silence_anew() {
        let started = Instant::now();
        let mut silence = Silence::new(Some(Duration::from_secs(10)), None);
        let wait = Duration::from_secs(6);
        assert!(tokio::time::timeout(wait, poll_fn(|cx| silence.poll(cx))).await.is_err());
        silence.broken();
        assert_eq!(poll_fn(|cx| silence.poll(cx)).await, Overdue::Silent);
        assert_eq!(started.elapsed(), Duration::from_secs(16));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_however_much_comes() {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut silence = Silence::new(Some(Duration::from_secs(60)), Some(deadline));
        assert_eq!(poll_fn(|cx| silence.poll(cx)).await, Overdue::Deadline);
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn two_directions_are_silent_together() {
        let second = Duration::from_secs(1);
        let pulse = Pulse::new(Some(second * 10));
        let started = Instant::now();
        let mut request = Silence::new(Some(second * 5), None).of_request(Some(pulse.clone()));
        let mut response = Silence::new(Some(second * 10), None).of_response(Some(pulse.clone()));
        pulse.open();
        assert!(tokio::time::timeout(second * 6, poll_fn(|cx| request.poll(cx))).await.is_err());
        response.broken();
        assert!(tokio::time::timeout(second * 6, poll_fn(|cx| request.poll(cx))).await.is_err());
        request.broken();
        let ends = async |silence: &mut Silence| {
            assert_eq!(poll_fn(|cx| silence.poll(cx)).await, Overdue::Silent);
            started.elapsed()
        };
        let (response, request) = tokio::join!(ends(&mut response), ends(&mut request));
        assert_eq!((response, request), (second * 22, second * 22 + GRACE), "the response says why");
    }

    #[tokio::test(start_paused = true)]
    async fn until_it_is_answered_a_request_has_its_own_limit() {
        let started = Instant::now();
        let pulse = Pulse::new(Some(Duration::from_secs(60)));
        let mut request = Silence::new(Some(Duration::from_secs(5)), None).of_request(Some(pulse));
        assert_eq!(poll_fn(|cx| request.poll(cx)).await, Overdue::Silent);
        assert_eq!(started.elapsed(), Duration::from_secs(5));
    }
}
