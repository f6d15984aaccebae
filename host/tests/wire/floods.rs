//! The published ways to make an HTTP/2 server work for nothing. Of each: the connection that does it ends, or gets no more
//! than its share, and others are served.

use std::time::Duration;

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, End, GOAWAY, H2, HEADERS, PING, PRIORITY,
    PROTOCOL_ERROR, RST_STREAM, SETTINGS, STREAM_CLOSED, WHOLE, WINDOW_UPDATE, block, frame, get,
};
use crate::gateway;
use crate::support::{TestGateway, Upstream, plan, soon, with_timeouts, with_upstream};

/// Bytes of a flood that go unheeded at most: what the sockets between hold, before the gateway has looked at it.
const UNHEEDED: usize = 32 << 20;
const STREAMS: u32 = 40_000;

/// Floods a connection with `frames` until the gateway has had enough.
async fn flooded(gateway: &TestGateway, before: &[Vec<u8>], frames: &[u8]) {
    let mut client = H2::open(gateway).await;
    client.0.send(before.concat()).await;
    let at_once = frames.repeat(1 + (16 << 10) / frames.len());
    let most = UNHEEDED / at_once.len();
    let (sent, goodbye) = client.flood(&at_once, most).await;
    assert!(sent < most, "no end");
    assert!(goodbye.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{goodbye:?}");
    others_are_served(gateway).await;
}

async fn others_are_served(gateway: &TestGateway) {
    let mut other = H2::open(gateway).await;
    assert!(matches!(other.ask(1, &get("/echo/")).await, End::Answered(body) if body.contains("\"path\"")));
    let answer = gateway.ask("GET /echo/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

fn open(stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", path)];
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

/// CVE-2019-9512.
#[tokio::test]
async fn a_flood_of_pings_ends() {
    let (gateway, _upstream) = gateway().await;
    flooded(&gateway, &[], &frame(PING, 0, 0, b"12345678")).await;
    flooded(&gateway, &[], &frame(PING, ACK, 0, b"12345678")).await;
}

#[tokio::test]
async fn whoever_listens_is_told_to_calm_down() {
    let (gateway, _upstream) = gateway().await;
    let mut client = H2::open(&gateway).await;
    let mut said = None;
    let mut answered = 0;
    while answered < 100_000 && said.is_none() {
        client.send(PING, 0, 0, b"12345678").await;
        loop {
            let came = client.next().await.expect("a goodbye comes before the end");
            match came.kind {
                GOAWAY => said = Some(came.code()),
                PING => answered += 1,
                _ => continue,
            }
            break;
        }
    }
    assert_eq!(said, Some(ENHANCE_YOUR_CALM), "after {answered}");
    assert_eq!(client.next().await, None);
}

/// CVE-2019-9515.
#[tokio::test]
async fn a_flood_of_settings_ends() {
    let (gateway, _upstream) = gateway().await;
    flooded(&gateway, &[], &frame(SETTINGS, 0, 0, &[])).await;
    flooded(&gateway, &[], &frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).await;
}

/// CVE-2019-9513.
#[tokio::test]
async fn a_flood_of_priorities_ends() {
    let (gateway, _upstream) = gateway().await;
    flooded(&gateway, &[], &frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 16])).await;
    flooded(&gateway, &[], &frame(99, 0, 0, b"nobody knows")).await;
}

/// CVE-2019-9518.
#[tokio::test]
async fn a_flood_of_empty_frames_ends() {
    let (gateway, _upstream) = gateway().await;
    flooded(&gateway, &[open(1, "/")], &frame(DATA, 0, 1, &[])).await;
    flooded(&gateway, &[open(1, "/")], &frame(DATA, 8, 1, &[3, 0, 0, 0])).await;
    let head = frame(HEADERS, 0, 1, &get("/"));
    flooded(&gateway, &[head], &frame(CONTINUATION, 0, 1, &[])).await;
}

/// CVE-2024-27316 and its kin: a head that never ends.
#[tokio::test]
async fn a_flood_of_continuations_ends() {
    let (gateway, _upstream) = gateway().await;
    let head = frame(HEADERS, 0, 1, &get("/"));
    flooded(&gateway, &[head], &frame(CONTINUATION, 0, 1, &block(&[("x-a", "b")]))).await;
}

/// Windows that are opened a little at a time, for nothing.
#[tokio::test]
async fn a_flood_of_window_updates_ends() {
    let (gateway, _upstream) = gateway().await;
    flooded(&gateway, &[open(1, "/")], &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
    flooded(&gateway, &[open(1, "/")], &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
}

/// Opens streams, each with these frames, until the gateway has had enough. `paced` waits until it has seen those before, so
/// that none is reset unseen.
async fn opened(gateway: &TestGateway, frames: impl Fn(u32) -> Vec<u8>, paced: bool) {
    let mut client = H2::open(gateway).await;
    let mut goodbye = None;
    for first in (1..STREAMS).step_by(40) {
        let mut burst: Vec<_> = (first..first + 40).step_by(2).flat_map(&frames).collect();
        burst.extend(frame(PING, 0, 0, b"12345678"));
        let open = client.0.send_unless_closed(burst).await.is_ok();
        if open && paced {
            goodbye = client.until_ping().await;
        }
        if !open || goodbye.is_some() {
            let End::Closed(said) = client.end(u32::MAX).await else { panic!("the stream does not exist") };
            let said = goodbye.flatten().or(said);
            assert!(matches!(said, None | Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR | STREAM_CLOSED)), "{said:?}");
            return others_are_served(gateway).await;
        }
    }
    panic!("no end");
}

/// CVE-2023-44487 (rapid reset), also where it is slow enough for each request to begin.
#[tokio::test]
async fn opening_and_resetting_ends() {
    let (gateway, _upstream) = gateway().await;
    let reset =
        |stream| [frame(HEADERS, WHOLE, stream, &get("/")), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
    opened(&gateway, reset, false).await;
    opened(&gateway, reset, true).await;
}

/// CVE-2019-9514: streams that are malformed from the start.
#[tokio::test]
async fn malformed_streams_without_end_end() {
    let (gateway, _upstream) = gateway().await;
    let malformed = |stream| frame(HEADERS, WHOLE, stream, &block(&[("connection", "x")]));
    opened(&gateway, malformed, false).await;
    opened(&gateway, malformed, true).await;
}

/// CVE-2025-8671 (MadeYouReset): streams that the gateway has to reset itself, again and again.
#[tokio::test]
async fn making_the_gateway_reset_ends() {
    let (gateway, _upstream) = gateway().await;
    let bad: [fn(u32) -> Vec<u8>; 4] = [
        |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 0]),
        |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
        |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 1]),
        |stream| [frame(DATA, END_STREAM, stream, b"x"), frame(DATA, 0, stream, b"x")].concat(),
    ];
    for bad in bad {
        opened(&gateway, |stream| [open(stream, "/"), bad(stream)].concat(), true).await;
    }
}

/// CVE-2019-9516: fields without a name and without a value.
#[tokio::test]
async fn fields_of_no_length_are_refused() {
    let (gateway, _upstream) = gateway().await;
    let mut client = H2::open(&gateway).await;
    let empty = vec![("", ""); 10_000];
    client.send(HEADERS, WHOLE, 1, &block(&empty)[..16_000]).await;
    assert!(matches!(client.end(1).await, End::Reset(_) | End::Closed(Some(_))));
    others_are_served(&gateway).await;
}

/// A few bytes that stand for many (CVE-2016-6581 and its kin): one large field that the table remembers, named often.
#[tokio::test]
async fn a_head_that_unpacks_to_more_than_the_limit_is_refused() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = H2::open(&gateway).await;
    // Remember "x-a" with a value of 3000 bytes (RFC 7541, section 6.2.1), then name it by its place in the table.
    let mut bomb = vec![0x40, 3, b'x', b'-', b'a', 127, 0xb9, 0x16];
    bomb.extend([b'b'; 3000]);
    bomb.extend([0xbe; 10_000]);
    let head = [get("/"), bomb].concat();
    client.send(HEADERS, WHOLE, 1, &head).await;
    let end = client.end(1).await;
    assert!(!matches!(&end, End::Answered(body) if !body.is_empty()), "{end:?}");
    assert!(upstream.is_untouched());
    others_are_served(&gateway).await;
}

/// More streams at once than were announced.
#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    let mut upstream = Upstream::start().await;
    let mut plan = with_upstream(plan(), &[upstream.address]);
    plan.limits.h2_streams = 4;
    let gateway = TestGateway::start(&plan);
    let mut client = H2::open(&gateway).await;
    // The limit holds once it was acknowledged.
    while client.next().await.expect("open").kind != SETTINGS {}
    client.send(SETTINGS, ACK, 0, &[]).await;
    for at in 0..6 {
        client.0.send(open(2 * at + 1, "/")).await;
    }
    const REFUSED_STREAM: u32 = 7;
    assert_eq!(client.end(9).await, End::Reset(REFUSED_STREAM));
    assert_eq!(client.end(11).await, End::Reset(REFUSED_STREAM));
    for _ in 0..4 {
        drop(upstream.connection().await);
    }
    others_are_served(&gateway).await;
}

/// CVE-2019-9511 and 9517: a client that asks for much and takes nothing, or a byte at a time.
#[tokio::test]
async fn a_client_that_does_not_read_holds_little() {
    let (gateway, mut upstream) = gateway().await;
    // SETTINGS_INITIAL_WINDOW_SIZE of one byte.
    let mut client = H2::with(&gateway, &[0, 4, 0, 0, 0, 1]).await;
    client.send(HEADERS, WHOLE, 1, &get("/")).await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await;
    let chunk = vec![b'x'; 1 << 16];
    let mut written = 0;
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(500), inbound.0.send_unless_closed(&chunk)).await
    {
        written += chunk.len();
        assert!(written < 64 << 20, "{written} bytes went where nobody reads");
    }
    others_are_served(&gateway).await;
    // Each byte costs a frame; so many and no more.
    let update = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    let most = UNHEEDED / update.len();
    let given = soon(async {
        let mut given = 0;
        while given < most && client.0.send_unless_closed(&update.repeat(100)).await.is_ok() {
            given += 100;
            // Takes what comes, or the gateway would stop to read before it has had enough.
            while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, client.next()).await {}
        }
        given
    })
    .await;
    assert!(given < most, "{given} bytes one by one");
    assert!(inbound.closed().await, "the upstream is let go");
    others_are_served(&gateway).await;
}

/// Requests that are answered at once, one after the other, from a client that takes no answer: the next one waits until the
/// last answer is taken, and a client that never takes it is let go like one that asks for nothing more.
#[tokio::test]
async fn whoever_takes_no_answer_is_let_go() {
    let plan = with_timeouts(plan(), |timeouts| timeouts.keepalive = Some(Duration::from_millis(300)));
    let gateway = TestGateway::start(&plan);
    let mut client = gateway.connect().await;
    // Answered with as much again.
    let request = format!("GET /echo/ HTTP/1.1\r\nhost: a\r\nx-more: {}\r\n\r\n", "x".repeat(16_000));
    let mut written = 0;
    soon(async {
        while client.send_unless_closed(request.as_bytes()).await.is_ok() {
            written += request.len();
            assert!(written < 64 << 20, "{written} bytes of requests were taken");
        }
    })
    .await;
    others_are_served(&gateway).await;
}

/// What ordinary clients do, a lot of it, is not taken for a flood.
#[tokio::test]
async fn busy_clients_are_no_flood() {
    let (gateway, _upstream) = gateway().await;
    let mut client = H2::open(&gateway).await;
    let mut stream = 1;
    for _ in 0..3000 {
        client.0.send([open(stream, "/echo/"), frame(PING, 0, 0, b"12345678")].concat()).await;
        client.0.send([frame(DATA, 0, stream, b"x"), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 4, 0])].concat()).await;
        client.send(DATA, END_STREAM, stream, &[]).await;
        assert!(matches!(client.end(stream).await, End::Answered(_)));
        stream += 2;
    }
}
