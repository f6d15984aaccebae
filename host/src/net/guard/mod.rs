//! What a client may send, byte by byte, before the HTTP library sees it. [`head`] and [`body`] read HTTP/1.1 strictly,
//! [`frames`] keeps HTTP/2 from being asked for work without end.
//!
//! Invariant: of HTTP/1.1, the library gets whole heads that have one reading, the next one once the last was answered.
//! In the place of a refused head it gets one that asks for the refusal ([`Activity::refused`]), so that a refusal is
//! answered, counted and logged like any other request; after it the connection ends.

mod body;
mod frames;
mod head;

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use self::body::{BodyReader, TrailerLimits};
use self::frames::FrameBudget;
use self::head::HeadReader;
pub use self::head::{HeadLimits, Refusal};
use super::activity::Activity;

/// Stands for a head that is refused.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// Whoever is still sending when the connection ends is listened to for a while, so that it reads the answer and not a
/// reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// A client's stream, looked at as it is read.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    guard: Guard,
}

#[derive(Debug)]
enum Guard {
    Plain(Box<Plain>),
    Frames(Box<FrameBudget>),
}

impl<S> Guarded<S> {
    /// Guards a connection that speaks HTTP/1.1.
    pub fn plain(stream: S, limits: HeadLimits, activity: Arc<Activity>) -> Self {
        Self { stream, guard: Guard::Plain(Box::new(Plain::new(limits, activity))) }
    }

    /// Guards a connection that speaks HTTP/2.
    pub fn frames(stream: S) -> Self {
        Self { stream, guard: Guard::Frames(Box::new(FrameBudget::new())) }
    }
}

/// What of HTTP/1.1 was passed on.
#[derive(Debug)]
struct Plain {
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
    fn new(limits: HeadLimits, activity: Arc<Activity>) -> Self {
        let reading = Reading::Head(HeadReader::default());
        Self { limits, activity, reading, held: vec![], ready: 0, looked: true, ended: None, lingering: None }
    }

    /// Whether a message is whole and not answered.
    fn waits(&self) -> bool {
        matches!(self.reading, Reading::Head(_)) && self.activity.is_busy()
    }

    /// Whether more is on its way that nobody will read.
    fn is_owed(&self) -> bool {
        !self.activity.is_tunnel()
            && (self.ended.is_some() || !self.held.is_empty() || matches!(self.reading, Reading::Body(_)))
    }

    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.activity.is_tunnel() {
            self.ready = self.held.len();
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
                    return Poll::Pending;
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
            if self.take_in(before, buf) {
                return Poll::Ready(Ok(()));
            }
        }
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
            self.activity.received();
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

    /// Reads on for a while and throws it away.
    fn poll_linger<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, guard } = &mut *self;
        let budget = match guard {
            Guard::Plain(plain) => return plain.poll_read(stream, cx, buf),
            Guard::Frames(budget) => budget,
        };
        let before = buf.filled().len();
        ready!(Pin::new(&mut *stream).poll_read(cx, buf))?;
        if budget.received(&buf.filled()[before..]).is_ok() {
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
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        if let Guard::Frames(budget) = &mut self.guard {
            budget.sent(&buf[..written]);
        }
        Poll::Ready(Ok(written))
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
        if owed.lingering.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        owed.poll_linger(stream, cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        if let Guard::Frames(budget) = &mut self.guard {
            let mut left = written;
            for buf in bufs {
                let count = left.min(buf.len());
                budget.sent(&buf[..count]);
                left -= count;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 10 };
    const GET: &str = "GET / HTTP/1.1\r\n\r\n";

    fn guarded() -> (DuplexStream, Guarded<DuplexStream>, Arc<Activity>) {
        let (client, server) = duplex(1024);
        let activity = Activity::new();
        (client, Guarded::plain(server, LIMITS, Arc::clone(&activity)), activity)
    }

    /// What can be read now.
    async fn now(guarded: &mut Guarded<DuplexStream>) -> String {
        let mut read = [0; 256];
        let mut all = String::new();
        while let Some(Ok(count @ 1..)) = futures_util::FutureExt::now_or_never(guarded.read(&mut read)) {
            all.push_str(std::str::from_utf8(&read[..count]).unwrap());
        }
        all
    }

    #[tokio::test]
    async fn a_head_passes_when_it_is_whole() {
        let (mut client, mut guarded, _) = guarded();
        client.write_all(&GET.as_bytes()[..10]).await.unwrap();
        assert_eq!(now(&mut guarded).await, "");
        client.write_all(&GET.as_bytes()[10..]).await.unwrap();
        assert_eq!(now(&mut guarded).await, GET);
    }

    #[tokio::test]
    async fn the_next_message_passes_once_this_one_is_answered() {
        let (mut client, mut guarded, activity) = guarded();
        let post = "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi";
        client.write_all(format!("{post}{GET}{GET}").as_bytes()).await.unwrap();
        let mut read = [0; 256];
        let count = guarded.read(&mut read).await.unwrap();
        assert_eq!(&read[..count], post.as_bytes());
        let busy = activity.begin();
        assert_eq!(now(&mut guarded).await, "");
        let waiting = tokio::spawn(async move {
            let count = guarded.read(&mut read).await.unwrap();
            (String::from_utf8(read[..count].to_vec()).unwrap(), guarded)
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(busy);
        let (second, mut guarded) = waiting.await.unwrap();
        assert_eq!(second, GET);
        let _busy = activity.begin();
        assert_eq!(now(&mut guarded).await, "", "the third waits too");
    }

    #[tokio::test]
    async fn a_refused_head_is_replaced_and_nothing_follows_it() {
        let (mut client, mut guarded, activity) = guarded();
        client.write_all(format!("{GET}GET / HTTP/1.1\r\nx-a : b\r\n\r\n{GET}").as_bytes()).await.unwrap();
        let mut read = [0; 18];
        guarded.read_exact(&mut read).await.unwrap();
        assert_eq!((read.as_slice(), activity.refused()), (GET.as_bytes(), None));
        let busy = activity.begin();
        assert_eq!((now(&mut guarded).await.as_str(), activity.refused()), ("", None), "not before its turn");
        drop(busy);
        assert_eq!(now(&mut guarded).await.as_bytes(), REFUSED);
        assert_eq!(activity.refused(), Some(Refusal::Malformed));
        assert_eq!(now(&mut guarded).await, "");
    }

    #[tokio::test]
    async fn a_body_that_breaks_its_framing_is_an_error() {
        let (mut client, mut guarded, _) = guarded();
        let good = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi";
        client.write_all(format!("{good}GET / HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        let read = now(&mut guarded).await;
        assert!(good.starts_with(&read), "{read}");
        assert_eq!(guarded.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn in_a_tunnel_everything_passes() {
        let (mut client, mut guarded, activity) = guarded();
        client.write_all(format!("{GET}\x01").as_bytes()).await.unwrap();
        assert_eq!(now(&mut guarded).await, format!("{GET}"));
        let busy = activity.begin();
        busy.tunnel();
        client.write_all(b"\x02\r\n\x03").await.unwrap();
        assert_eq!(now(&mut guarded).await, "\x01\x02\r\n\x03");
    }

    /// The targets of the requests in `bytes`, as they pass here.
    fn ours(bytes: &[u8]) -> Vec<String> {
        let mut plain = Plain::new(LIMITS, Activity::new());
        let (mut targets, mut rest) = (vec![], bytes);
        loop {
            let fresh = matches!(plain.reading, Reading::Head(_));
            let passed = plain.pass(rest);
            if fresh && passed > 0 {
                let text = String::from_utf8_lossy(&rest[..passed]).into_owned();
                targets.push(text.trim_start().split(' ').nth(1).unwrap_or_default().to_owned());
            }
            rest = &rest[passed..];
            if passed == 0 || rest.is_empty() || plain.ended.is_some() {
                return targets;
            }
        }
    }

    /// The same as hyper reads them, which is told every end of a message by its own lights.
    async fn theirs(bytes: &[u8]) -> Vec<String> {
        use http_body_util::{BodyExt as _, Empty};
        let (client, server) = duplex(1 << 16);
        let (mut answers, mut asks) = tokio::io::split(client);
        asks.write_all(bytes).await.unwrap();
        asks.shutdown().await.unwrap();
        let targets = Arc::new(std::sync::Mutex::new(vec![]));
        let seen = Arc::clone(&targets);
        let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            seen.lock().unwrap().push(request.uri().to_string());
            async {
                let _whole = request.into_body().collect().await;
                Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<bytes::Bytes>::new()))
            }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        let serving = builder.half_close(true).serve_connection(hyper_util::rt::TokioIo::new(server), service);
        let mut thrown = vec![];
        let (_ended, _read) = tokio::join!(serving, answers.read_to_end(&mut thrown));
        let targets = targets.lock().unwrap();
        targets.clone()
    }

    proptest::proptest! {
        /// Whatever passes here, hyper finds the same requests in it: where one ends and the next begins is read in one way.
        #[test]
        fn hyper_reads_what_passes_as_we_do(
            requests in proptest::collection::vec(
                "(\r\n)?(GET|POST) /[a-z]{1,3} HTTP/1.[01]\r\n(content-length: ?[0-4]{1,2}\r\n|transfer-encoding: chunked\r\n|x: y\r\n|content-length: [+0-9, ]{1,3}\r\n|connection: keep-alive\r\n| x: y\r\n|x : y\n){0,2}\r\n([0-3](;a)?\r\n[a-z]{0,3}\r\n){0,2}(0\r\n(x: y\r\n)?\r\n)?",
                1..4,
            ),
        ) {
            let bytes = requests.concat();
            let ours = ours(bytes.as_bytes());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let theirs = runtime.block_on(theirs(bytes.as_bytes()));
            // hyper may go on where we refuse, and stop where the connection was to close; what both read is the same.
            let both = ours.len().min(theirs.len());
            proptest::prop_assert_eq!(&ours[..both], &theirs[..both]);
        }
    }
}
