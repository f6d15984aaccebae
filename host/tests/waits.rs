//! Clients that keep the gateway waiting, seen from the wire.
#![allow(clippy::unwrap_used, dead_code, reason = "tests")]

#[path = "plane/support.rs"]
#[allow(unreachable_pub)]
mod support;

use std::time::Duration;

use support::{Client, TestGateway, Upstream, plan, soon, with_upstream};
use tokio::io::AsyncReadExt as _;
use tollgate::config::plan::Plan;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 0x4;
const HEADERS: u8 = 0x1;
const GOAWAY: u8 = 0x7;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
/// `GET http://a/`, as HPACK writes it with its static table.
const GET: &[u8] = b"\x82\x86\x84\x41\x01a";

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

fn request(stream: u8) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, GET)
}

/// Reads frames until one of this kind comes, or the end.
async fn comes(client: &mut Client, kind: u8) -> bool {
    soon(async {
        loop {
            let mut header = [0; 9];
            if client.stream.read_exact(&mut header).await.is_err() {
                return false;
            }
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            if client.stream.read_exact(&mut vec![0; length as usize]).await.is_err() {
                return false;
            }
            if header[3] == kind {
                return true;
            }
        }
    })
    .await
}

async fn closed(gateway: &TestGateway, reason: &str) {
    let line = format!("gateway_listener_closed_connections_total{{listener=\"public\",reason=\"{reason}\"}} 1");
    soon(async {
        while !gateway.metric(&line) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Only the connection's own limits are short.
fn with(upstream: &Upstream, change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = with_upstream(plan(), &[upstream.address]);
    change(&mut plan);
    plan
}

const SHORT: Option<Duration> = Some(Duration::from_millis(200));

#[tokio::test]
async fn a_head_that_comes_too_late_on_a_kept_connection_is_answered_408() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(&with(&upstream, |plan| plan.timeouts.header = SHORT));
    let mut client = gateway.connect().await;
    client.send("GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.response().await;
    client.send("GET /echo/ HTTP/1.1\r\nho").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 408 ") && head.contains("connection: close\r\n"), "{head}");
    assert!(body.contains("\"head_timeout\""), "{body}");
    assert_eq!(client.rest().await, "");
    closed(&gateway, "head_timeout").await;
}

#[tokio::test]
async fn a_head_in_frames_that_never_ends_is_cut_though_another_exchange_is_under_way() {
    let mut upstream = Upstream::start().await;
    let gateway = TestGateway::start(&with(&upstream, |plan| plan.timeouts.header = SHORT));
    let mut client = gateway.connect().await;
    client.send([PREFACE, &frame(SETTINGS, 0, 0, b""), &request(1)].concat()).await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    client.send(frame(HEADERS, 0, 3, &GET[..3])).await;
    assert!(!comes(&mut client, HEADERS).await, "it is closed without an answer");
    closed(&gateway, "head_timeout").await;
    assert!(inbound.closed().await, "the other exchange is given up");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed() {
    let mut upstream = Upstream::start().await;
    let gateway = TestGateway::start(&with(&upstream, |plan| plan.timeouts.idle = SHORT));
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
    let sending = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        // Until the gateway has enough of it.
        while inbound.0.stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
    });
    closed(&gateway, "stalled").await;
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_closed() {
    let mut upstream = Upstream::start().await;
    let gateway = TestGateway::start(&with(&upstream, |plan| plan.timeouts.idle = SHORT));
    let mut client = gateway.connect().await;
    // SETTINGS_INITIAL_WINDOW_SIZE (4) of one byte.
    let settings = frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x01");
    client.send([PREFACE, &settings, &request(1)].concat()).await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await;
    inbound.send("x".repeat(100_000)).await;
    closed(&gateway, "stalled").await;
}

#[tokio::test]
async fn a_slow_upstream_is_no_stalled_client() {
    let mut upstream = Upstream::start().await;
    let gateway = TestGateway::start(&with(&upstream, |plan| plan.timeouts.idle = SHORT));
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na").await;
    assert!(client.until("\r\n\r\na").await.starts_with("HTTP/1.1 200 "));
    // Five times as long as a client may take nothing.
    let more = tokio::time::timeout(Duration::from_secs(1), client.stream.read_buf(&mut client.read)).await;
    assert!(more.is_err(), "the connection was closed");
    inbound.send("b").await;
    client.until("b").await;
}

#[tokio::test]
async fn a_drain_says_goodbye_in_both_protocols() {
    let mut upstream = Upstream::start().await;
    let gateway = TestGateway::start(&with(&upstream, |_| {}));
    let mut plain = gateway.connect().await;
    plain.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut first = upstream.connection().await;
    first.request().await;
    let mut multiplexed = gateway.connect().await;
    multiplexed.send([PREFACE, &frame(SETTINGS, 0, 0, b""), &request(1)].concat()).await;
    let mut second = upstream.connection().await;
    second.request().await;

    gateway.edge.drain();
    assert!(comes(&mut multiplexed, GOAWAY).await);
    first.ok("one").await;
    let (head, body) = plain.response().await;
    assert!(head.contains("connection: close\r\n") && body == "one", "{head}");
    assert_eq!(plain.rest().await, "");
    second.ok("two").await;
    assert!(comes(&mut multiplexed, HEADERS).await, "what is under way is answered");
    soon(gateway.drain.done()).await;
}
