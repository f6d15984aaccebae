//! An open WebSocket with both its ends in hand, on a clock that stands still.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::frames;
use super::*;

const PLAIN: Terms = Terms { buffer: 65_536, idle: None, ping: None, message: None, patience: Duration::from_secs(30) };
const SECOND: Duration = Duration::from_secs(1);

/// A frame with a payload of so many zeros, which a mask of zeros leaves alone.
fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
    let mut frame = vec![first];
    let mask = if masked { 0x80 } else { 0 };
    match u8::try_from(length).ok().filter(|length| *length < 126) {
        Some(short) => frame.push(short | mask),
        None => {
            frame.push(126 | mask);
            frame.extend(u16::try_from(length).expect("short enough").to_be_bytes());
        }
    }
    frame.resize(frame.len() + if masked { 4 } else { 0 } + length, 0);
    frame
}

struct Ends {
    client: DuplexStream,
    upstream: DuplexStream,
    drain: Option<oneshot::Sender<()>>,
    running: JoinHandle<End>,
    counted: Arc<Mutex<(u64, u64)>>,
}

impl Ends {
    /// `room` is what each end's connection takes of what is not read.
    fn open(terms: Terms, room: usize) -> Self {
        let ((client, from_client), (upstream, from_upstream)) = (duplex(room), duplex(room));
        let (drain, drained) = oneshot::channel::<()>();
        let counted = Arc::new(Mutex::new((0, 0)));
        let count = {
            let counted = Arc::clone(&counted);
            move |direction, bytes| {
                let mut counted = counted.lock().unwrap();
                match direction {
                    Direction::In => counted.0 += bytes,
                    Direction::Out => counted.1 += bytes,
                }
            }
        };
        let drained = async {
            if drained.await.is_err() {
                std::future::pending().await
            }
        };
        let running = tokio::spawn(run(from_client, from_upstream, terms, drained, count));
        Self { client, upstream, drain: Some(drain), running, counted }
    }

    fn drain(&mut self) {
        self.drain.take().expect("once").send(()).expect("it runs");
    }

    async fn ends(self) -> End {
        drop((self.client, self.upstream));
        self.running.await.expect("it ends")
    }
}

async fn exactly(end: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    end.read_exact(&mut bytes).await.expect("so many bytes");
    bytes
}

/// A Close for a client, or for a server, whose mask is another each time.
async fn told(end: &mut DuplexStream, code: u16, masked: bool) {
    let expected = frames::close(code, false);
    if !masked {
        return assert_eq!(exactly(end, expected.len()).await, expected);
    }
    let frame = exactly(end, expected.len() + 4).await;
    let unmasked: Vec<_> = frame[6..].iter().zip(&frame[2..6]).map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!((frame[0], frame[1], unmasked), (expected[0], 0x82, expected[2..].to_vec()));
}

#[tokio::test(start_paused = true)]
async fn bytes_pass_as_they_are_and_are_counted() {
    let mut ends = Ends::open(PLAIN, 1 << 20);
    let (there, back) = ([frame(0x01, 3, true), frame(0xc2, 7000, true)].concat(), frame(0x82, 40_000, false));
    // A head in two pieces is whole on the other side.
    ends.client.write_all(&there[..1]).await.unwrap();
    tokio::task::yield_now().await;
    ends.client.write_all(&there[1..]).await.unwrap();
    assert_eq!(exactly(&mut ends.upstream, there.len()).await, there);
    ends.upstream.write_all(&back).await.unwrap();
    assert_eq!(exactly(&mut ends.client, back.len()).await, back);
    assert_eq!(*ends.counted.lock().unwrap(), (there.len() as u64, back.len() as u64));
    assert_eq!(ends.ends().await, End::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_side_may_end_before_the_other() {
    let mut ends = Ends::open(PLAIN, 1 << 20);
    ends.client.write_all(&[0x81]).await.unwrap();
    ends.client.shutdown().await.unwrap();
    let mut all = vec![];
    ends.upstream.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [0x81], "half a head too");
    ends.upstream.write_all(&frame(0x82, 9, false)).await.unwrap();
    assert_eq!(exactly(&mut ends.client, 11).await, frame(0x82, 9, false));
    ends.upstream.shutdown().await.unwrap();
    assert_eq!(ends.client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(ends.running.await.unwrap(), End::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_writer_and_gets_everything() {
    let mut ends = Ends::open(Terms { buffer: 8192, ..PLAIN }, 1024);
    let message = frame(0x82, 60_000, false);
    let sent = message.clone();
    let mut upstream = ends.upstream;
    let writing = tokio::spawn(async move {
        upstream.write_all(&sent).await.unwrap();
        upstream
    });
    tokio::time::sleep(SECOND).await;
    assert!(!writing.is_finished());
    let held = ends.counted.lock().unwrap().1;
    assert!(held <= 1024 + 8192, "{held} bytes were read and none was taken");
    assert_eq!(exactly(&mut ends.client, message.len()).await, message);
    ends.upstream = writing.await.unwrap();
    assert!(!ends.running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_both_sides_between_two_frames_and_waits_for_them() {
    let mut ends = Ends::open(PLAIN, 1 << 20);
    let half = frame(0x02, 100, false);
    ends.upstream.write_all(&half[..50]).await.unwrap();
    assert_eq!(exactly(&mut ends.client, 50).await, half[..50]);
    ends.drain();
    told(&mut ends.upstream, 1001, true).await;
    ends.client.write_all(&frame(0x81, 5, true)).await.unwrap();
    ends.upstream.write_all(&[&half[50..], &frame(0x80, 5, false)[..]].concat()).await.unwrap();
    assert_eq!(exactly(&mut ends.client, 52).await, half[50..]);
    told(&mut ends.client, 1001, false).await;
    ends.client.write_all(&frames::close(1001, true)).await.unwrap();
    let mut rest: Vec<u8> = vec![];
    ends.upstream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "nothing follows a Close");
    assert!(!ends.running.is_finished());
    ends.upstream.write_all(&frames::close(1001, false)).await.unwrap();
    ends.client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    assert_eq!(ends.running.await.unwrap(), End::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_no_longer_than_it_may() {
    let mut ends = Ends::open(PLAIN, 1 << 20);
    let started = Instant::now();
    ends.drain();
    told(&mut ends.client, 1001, false).await;
    assert_eq!((&mut ends.running).await.unwrap(), End::Closed);
    assert_eq!(started.elapsed(), PLAIN.patience);
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_under_way_is_left_alone() {
    let mut ends = Ends::open(PLAIN, 1 << 20);
    let close = frames::close(4000, true);
    ends.client.write_all(&close).await.unwrap();
    assert_eq!(exactly(&mut ends.upstream, close.len()).await, close);
    ends.drain();
    tokio::time::sleep(SECOND).await;
    ends.upstream.write_all(&frames::close(4000, false)).await.unwrap();
    assert_eq!(exactly(&mut ends.client, 4).await, frames::close(4000, false), "and no other");
    let started = Instant::now();
    assert_eq!((&mut ends.running).await.unwrap(), End::Closed, "though nobody closes the connection");
    assert_eq!(started.elapsed(), CLOSE_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_goes_nowhere() {
    let terms = Terms { message: Some(1000), ..PLAIN };
    for from_client in [true, false] {
        let mut ends = Ends::open(terms, 1 << 20);
        let (sender, receiver) = match from_client {
            true => (&mut ends.client, &mut ends.upstream),
            false => (&mut ends.upstream, &mut ends.client),
        };
        let good = [frame(0x01, 600, from_client), frame(0x89, 4, from_client)].concat();
        sender.write_all(&good).await.unwrap();
        sender.write_all(&frame(0x80, 401, from_client)).await.unwrap();
        assert_eq!(exactly(receiver, good.len()).await, good);
        told(receiver, 1001, from_client).await;
        told(sender, 1009, !from_client).await;
        receiver.write_all(&frames::close(1001, !from_client)).await.unwrap();
        sender.write_all(&frames::close(1009, from_client)).await.unwrap();
        let end = if from_client { End::ClientTooLarge } else { End::UpstreamTooLarge };
        assert_eq!(ends.running.await.unwrap(), end);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_of_both_sides_ends_it() {
    let mut ends = Ends::open(Terms { idle: Some(10 * SECOND), ..PLAIN }, 1 << 20);
    let started = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(6 * SECOND).await;
        ends.client.write_all(&frame(0x81, 1, true)).await.unwrap();
        exactly(&mut ends.upstream, 7).await;
    }
    told(&mut ends.client, 1001, false).await;
    told(&mut ends.upstream, 1001, true).await;
    assert_eq!(started.elapsed(), 28 * SECOND);
    assert_eq!((&mut ends.running).await.unwrap(), End::Silent);
    assert_eq!(started.elapsed(), 28 * SECOND + CLOSE_WITHIN);
}

/// Answers a ping as a client or a server does; false when something else came.
async fn pong(end: &mut DuplexStream, masked: bool) {
    let asked = exactly(end, if masked { 10 } else { 14 }).await;
    assert_eq!((asked[0], asked[1] & 0x7f), (0x89, 8));
    let mut answer = vec![0x8a, asked[1] ^ 0x80];
    if masked {
        answer.extend([0; 4]);
        answer.extend(&asked[2..]);
    } else {
        answer.extend(asked[6..].iter().zip(asked[2..6].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    end.write_all(&answer).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_is_silent_is_pinged_and_the_pong_goes_no_further() {
    let terms = Terms { ping: Some(10 * SECOND), idle: Some(15 * SECOND), ..PLAIN };
    let mut ends = Ends::open(terms, 1 << 20);
    let started = Instant::now();
    for round in 1..=4 {
        tokio::join!(pong(&mut ends.client, true), pong(&mut ends.upstream, false));
        assert_eq!(started.elapsed(), round * 10 * SECOND);
    }
    let message = frame(0x81, 3, true);
    ends.client.write_all(&message).await.unwrap();
    assert_eq!(exactly(&mut ends.upstream, message.len()).await, message, "no pong came before it");
    pong(&mut ends.upstream, false).await;
    assert_eq!(started.elapsed(), 50 * SECOND);
    tokio::time::sleep(15 * SECOND).await;
    assert!(!ends.running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_answer_a_ping_is_gone() {
    let mut ends = Ends::open(Terms { ping: Some(10 * SECOND), ..PLAIN }, 1 << 20);
    let started = Instant::now();
    pong(&mut ends.upstream, false).await;
    tokio::time::sleep(SECOND).await;
    ends.upstream.write_all(&frame(0x82, 1, false)).await.unwrap();
    told(&mut ends.upstream, 1001, true).await;
    assert_eq!(started.elapsed(), 20 * SECOND);
    assert_eq!((&mut ends.running).await.unwrap(), End::Silent);
}

#[tokio::test(start_paused = true)]
async fn a_ping_waits_for_the_end_of_a_frame() {
    let mut ends = Ends::open(Terms { ping: Some(10 * SECOND), ..PLAIN }, 1 << 20);
    let message = frame(0x82, 100, false);
    ends.upstream.write_all(&message[..60]).await.unwrap();
    exactly(&mut ends.client, 60).await;
    exactly(&mut ends.upstream, 14).await;
    tokio::time::sleep(SECOND).await;
    ends.upstream.write_all(&message[60..]).await.unwrap();
    assert_eq!(exactly(&mut ends.client, 42).await, message[60..]);
    pong(&mut ends.client, true).await;
}
