//! Upstreams that answer in two ways, or not to the end. The client gets one whole response, or sees that it did not.

use std::time::Duration;

use crate::support::{TestGateway, Upstream, plan, with_timeouts, with_upstream};
use crate::{gateway, lines};

const ASK: &str = "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close, te\r\n\r\n";

/// What a client gets to see of an upstream's answer, after which that connection is closed.
async fn passed(gateway: &TestGateway, upstream: &mut Upstream, answer: impl AsRef<[u8]>) -> String {
    let mut client = gateway.connect().await;
    client.send(ASK).await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send(answer).await;
    inbound.0.finish().await;
    client.rest().await
}

#[tokio::test]
async fn an_answer_that_has_two_readings_is_a_502() {
    let (gateway, mut upstream) = gateway().await;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nx-a: b\rx-c: d\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nx-a : b\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nx-a: b\0\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\n: b\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 99 Low\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "ICY 200 OK\r\n\r\nhi",
        "hi",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x01\x02",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
        "",
    ] {
        let got = passed(&gateway, &mut upstream, answer).await;
        assert!(got.starts_with("HTTP/1.1 502 "), "{answer:?}: {got}");
        assert!(got.contains("\"upstream_protocol\"") || got.contains("\"upstream_reset\""), "{answer:?}: {got}");
        assert!(!got.contains("hi") && !got.contains("127.0.0.1"), "{answer:?}: {got}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_a_502() {
    let (gateway, mut upstream) = gateway().await;
    for fields in [format!("x-a: {}\r\n", "a".repeat(1 << 20)), "x-a: b\r\n".repeat(5000)] {
        let mut client = gateway.connect().await;
        client.send(ASK).await;
        let mut inbound = upstream.connection().await;
        inbound.request().await;
        // The gateway may stop reading before the end.
        let _stopped = inbound.0.send_unless_closed(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).await;
        let got = client.rest().await;
        assert!(got.starts_with("HTTP/1.1 502 "), "{got}");
    }
}

#[tokio::test]
async fn what_is_cut_short_does_not_end_whole() {
    let (gateway, mut upstream) = gateway().await;
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nx-a: b\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalfX\r\n0\r\n\r\n",
    ] {
        let got = passed(&gateway, &mut upstream, answer).await;
        let (head, body) = got.split_once("\r\n\r\n").expect("a head");
        let whole = body.ends_with("0\r\n\r\n") || head.contains("content-length: 4\r\n");
        assert!(head.starts_with("HTTP/1.1 200 ") && !whole, "{answer:?}: {got:?}");
    }
}

#[tokio::test]
async fn what_is_whole_passes_framed_anew() {
    let (gateway, mut upstream) = gateway().await;
    for (answer, expected, body) in [
        (
            "HTTP/1.1 200 OK\r\n\r\nto the end",
            &["HTTP/1.1 200 OK", "connection: close", "transfer-encoding: chunked"][..],
            "A\r\nto the end\r\n0\r\n\r\n",
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\nold",
            &["HTTP/1.1 200 OK", "connection: close", "transfer-encoding: chunked"],
            "3\r\nold\r\n0\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\n\r\n",
            &["HTTP/1.1 200 OK", "connection: close", "transfer-encoding: chunked"],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nextra",
            &["HTTP/1.1 200 OK", "connection: close", "content-length: 2"],
            "hi",
        ),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", &["HTTP/1.1 204 No Content", "connection: close"], ""),
        (
            "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n",
            &["HTTP/1.1 304 Not Modified", "connection: close", "etag: \"x\""],
            "",
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: close, x-drop\r\nx-drop: 1\r\nx-keep: 2\r\nkeep-alive: 5\r\nproxy-connection: x\r\n\
             proxy-authenticate: Basic\r\nupgrade: h2c\r\nte: x\r\ncontent-length: 0\r\n\r\n",
            &["HTTP/1.1 200 OK", "connection: close", "content-length: 0", "x-keep: 2"],
            "",
        ),
        (
            "HTTP/1.1 200 OK\r\ntrailer: x-sum, set-cookie\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nset-cookie: a=b\r\nx-sum: 7\r\nx-other: 8\r\n\r\n",
            &["HTTP/1.1 200 OK", "connection: close", "trailer: x-sum, set-cookie", "transfer-encoding: chunked"],
            "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            &["HTTP/1.1 200 OK", "connection: close", "content-length: 2"],
            "hi",
        ),
    ] {
        let got = passed(&gateway, &mut upstream, answer).await;
        let (head, rest) = got.split_once("\r\n\r\n").expect("a head");
        assert_eq!(lines(head), expected, "{answer:?}");
        assert_eq!(rest, body, "{answer:?}");
    }
}

#[tokio::test]
async fn what_an_upstream_says_unasked_is_nobodys_answer() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut first = upstream.connection().await;
    first.request().await;
    first.ok("one").await;
    assert_eq!(client.response().await.1, "one");
    first.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstale").await;
    assert!(first.closed().await, "the gateway lets go of it");
    client.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut second = upstream.connection().await;
    second.request().await;
    second.ok("two").await;
    assert_eq!(client.response().await.1, "two");
}

#[tokio::test]
async fn interim_answers_without_end_are_a_504() {
    let mut upstream = Upstream::start().await;
    let plan = with_timeouts(with_upstream(plan(), &[upstream.address]), |timeouts| {
        timeouts.response = Some(Duration::from_millis(300));
    });
    let gateway = TestGateway::start(&plan);
    let mut client = gateway.connect().await;
    client.send(ASK).await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    let flooding = tokio::spawn(async move {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(100);
        while inbound.0.send_unless_closed(&interim).await.is_ok() {}
    });
    let got = client.rest().await;
    assert!(got.starts_with("HTTP/1.1 504 "), "{got}");
    crate::support::soon(flooding).await.expect("the gateway closes");
}

#[tokio::test]
async fn a_head_request_is_answered_with_a_head() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    let mut inbound = None;
    for (answer, field) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n", "content-length: 1234"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\n", "content-length: 9"),
    ] {
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut up = match inbound.take() {
            Some(inbound) => inbound,
            None => upstream.connection().await,
        };
        up.request().await;
        up.send(answer).await;
        let head = client.until("\r\n\r\n").await;
        assert!(lines(&head).iter().any(|line| line == field), "{field} in {head}");
        inbound = Some(up);
    }
    client.send("HEAD /\\ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let refused = client.rest().await;
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.ends_with("\r\n\r\n"), "{refused}");
    assert!(refused.contains("content-length: ") && !refused.contains("content-length: 0"), "{refused}");
}
