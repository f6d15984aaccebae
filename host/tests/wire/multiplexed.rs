//! HTTP/2 requests as they become HTTP/1.1: what HTTP/1.1 would read in another way is refused.

use crate::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, End, H2, HEADERS, PROTOCOL_ERROR, WHOLE, block};
use crate::support::{TestGateway, Upstream};
use crate::{gateway, lines};

const HEAD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// `HEAD`, with these in the place of what has the same name, and more.
fn head<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut head: Vec<_> = HEAD.to_vec();
    for (name, value) in fields {
        match head.iter_mut().find(|(named, _)| named == name) {
            Some(field) => field.1 = value,
            None => head.push((name, value)),
        }
    }
    head
}

/// That a stream ends so, and that its connection serves on unless it ends too.
async fn ends(gateway: &TestGateway, upstream: &mut Upstream, fields: &[(&str, &str)], check: impl Fn(&End) -> bool) {
    let mut client = H2::open(gateway).await;
    let end = client.ask(1, &block(fields)).await;
    assert!(check(&end), "{fields:?}: {end:?}");
    assert!(upstream.is_untouched(), "{fields:?} reached the upstream");
    if matches!(end, End::Closed(_)) {
        return;
    }
    let echo = client.ask(3, &block(&head(&[(":path", "/echo/")]))).await;
    assert!(matches!(echo, End::Answered(body) if body.contains("\"path\"")), "{fields:?}: the connection serves on");
}

#[tokio::test]
async fn a_malformed_request_is_a_stream_error() {
    let (gateway, mut upstream) = gateway().await;
    for fields in [
        &head(&[("x-a", "b\r\nx-c: d")])[..],
        &head(&[("x-a", "b\nc")]),
        &head(&[("x-a", "b\0c")]),
        &head(&[("x-a\r\nhost", "b")]),
        &head(&[("X-Upper", "b")]),
        &head(&[("", "b")]),
        &head(&[("x a", "b")]),
        &head(&[("connection", "close")]),
        &head(&[("transfer-encoding", "chunked")]),
        &head(&[("keep-alive", "5")]),
        &head(&[("proxy-connection", "keep-alive")]),
        &head(&[("upgrade", "h2c")]),
        &head(&[("te", "gzip")]),
        &head(&[(":unknown", "x")]),
        &head(&[(":status", "200")]),
        &head(&[(":path", "")]),
        &head(&[(":path", "/a b")]),
        &head(&[(":path", "/a\r\nx: y")]),
        &head(&[(":path", "a")]),
        &head(&[(":method", "GET /x HTTP/1.1\r\nx: y")]),
        &head(&[(":method", "")]),
        &head(&[(":scheme", "ht tp")]),
        &head(&[(":authority", "a b")]),
        &[HEAD[0], HEAD[1], HEAD[2], HEAD[3], (":path", "/other")],
        &[HEAD[0], HEAD[1], HEAD[2], ("x-a", "b"), HEAD[3]],
        &head(&[("content-length", "+0")]),
        &HEAD[1..],
        &HEAD[..3],
        &[HEAD[0], HEAD[2], HEAD[3]],
    ] {
        let malformed = |end: &End| *end == End::Reset(PROTOCOL_ERROR) || *end == End::Closed(Some(PROTOCOL_ERROR));
        ends(&gateway, &mut upstream, fields, malformed).await;
    }
}

#[tokio::test]
async fn a_request_that_has_two_readings_is_a_400() {
    let (gateway, mut upstream) = gateway().await;
    for (fields, code) in [
        (&head(&[("host", "b")])[..], "bad_host"),
        (&head(&[(":authority", "u@a")]), "bad_host"),
        (&head(&[(":authority", "a:x")]), "bad_host"),
        (&[HEAD[0], HEAD[1], HEAD[3]], "bad_host"),
        (&[HEAD[0], HEAD[1], HEAD[3], ("host", "a"), ("host", "a")], "bad_host"),
        (&head(&[(":path", "/%00")]), "bad_path"),
        (&head(&[(":path", "/a\\b")]), "bad_path"),
        (&head(&[(":path", "/../a")]), "bad_path"),
        (&head(&[(":path", "/\u{fc}")]), "bad_path"),
        (&head(&[(":path", "*")]), "bad_path"),
        (&head(&[(":scheme", "ftp")]), "bad_request"),
    ] {
        let wanted = format!("\"code\":\"{code}\"");
        let refused = |end: &End| matches!(end, End::Answered(body) if body.contains(&wanted));
        ends(&gateway, &mut upstream, fields, refused).await;
    }
}

#[tokio::test]
async fn a_length_that_is_not_true_is_a_stream_error() {
    let (gateway, _upstream) = gateway().await;
    for (length, data) in [("1", "hi"), ("3", "hi"), ("0", "hi"), ("1", "")] {
        let mut client = H2::open(&gateway).await;
        let fields = head(&[(":method", "POST"), (":path", "/echo/"), ("content-length", length)]);
        client.send(HEADERS, END_HEADERS, 1, &block(&fields)).await;
        client.send(DATA, END_STREAM, 1, data.as_bytes()).await;
        let end = client.end(1).await;
        let refused = matches!(&end, End::Answered(body) if body.contains("\"incomplete\""));
        assert!(end == End::Reset(PROTOCOL_ERROR) || refused, "{length}, {data:?}: {end:?}");
    }
    let mut client = H2::open(&gateway).await;
    let fields = head(&[(":method", "POST"), ("content-length", "5")]);
    assert_eq!(client.ask(1, &block(&fields)).await, End::Reset(PROTOCOL_ERROR), "no body at all");
}

#[tokio::test]
async fn connect_makes_no_tunnel() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = H2::open(&gateway).await;
    let end = client.ask(1, &block(&[(":method", "CONNECT"), (":authority", "a:80")])).await;
    assert!(matches!(&end, End::Answered(body) if body.contains("\"unsupported\"")), "{end:?}");
    // Of RFC 8441 a WebSocket is all there is.
    let extended = head(&[(":method", "CONNECT"), (":protocol", "connect-udp")]);
    let end = client.ask(3, &block(&extended)).await;
    assert!(matches!(&end, End::Answered(body) if body.contains("\"unsupported\"")), "{end:?}");
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn the_upstream_gets_one_request_in_its_own_words() {
    let (gateway, mut upstream) = gateway().await;
    let (mut client, mut inbound, mut stream) = (H2::open(&gateway).await, None, 1);
    let long = "x".repeat(300);
    for (fields, flags, data, expected, body) in [
        (
            head(&[(":path", "/a/../b?c=%2e"), ("cookie", "a=1"), ("te", "trailers"), ("x-a", &long)]),
            WHOLE,
            None,
            vec![
                "GET /b?c=%2e HTTP/1.1".to_owned(),
                "cookie: a=1".into(),
                "host: a".into(),
                "te: trailers".into(),
                format!("x-a: {long}"),
            ],
            "",
        ),
        (
            head(&[(":authority", "A.test:80"), ("host", "a.test:80"), (":method", "POST")]),
            END_HEADERS,
            Some("hi"),
            vec!["POST / HTTP/1.1".into(), "host: A.test:80".into(), "transfer-encoding: chunked".into()],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        (
            head(&[("content-length", "2")]),
            END_HEADERS,
            Some("hi"),
            vec!["GET / HTTP/1.1".into(), "content-length: 2".into(), "host: a".into()],
            "hi",
        ),
        (
            head(&[]),
            END_HEADERS,
            Some("hi"),
            vec!["GET / HTTP/1.1".into(), "host: a".into(), "transfer-encoding: chunked".into()],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
    ] {
        client.send(HEADERS, flags, stream, &block(&fields)).await;
        if let Some(data) = data {
            client.send(DATA, END_STREAM, stream, data.as_bytes()).await;
        }
        let mut up = match inbound.take() {
            Some(inbound) => inbound,
            None => upstream.connection().await,
        };
        let head = up.0.until("\r\n\r\n").await;
        assert_eq!(lines(&head), expected);
        assert_eq!(up.0.exactly(body.len()).await, body);
        up.ok("ok").await;
        assert_eq!(client.end(stream).await, End::Answered("ok".into()));
        inbound = Some(up);
        stream += 2;
    }
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn crumbs_of_a_cookie_become_one_and_fields_may_be_continued() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = H2::open(&gateway).await;
    let mut fields = head(&[]);
    fields.extend([("cookie", "a=1"), ("cookie", "b=2"), ("x-a", "1"), ("x-a", "2")]);
    let block = block(&fields);
    client.send(HEADERS, END_STREAM, 1, &block[..20]).await;
    client.send(CONTINUATION, 0, 1, &block[20..30]).await;
    client.send(CONTINUATION, END_HEADERS, 1, &block[30..]).await;
    let mut inbound = upstream.connection().await;
    let (head, _) = inbound.request().await;
    assert_eq!(lines(&head), ["GET / HTTP/1.1", "cookie: a=1; b=2", "host: a", "x-a: 1", "x-a: 2"]);
    inbound.ok("ok").await;
    assert_eq!(client.end(1).await, End::Answered("ok".into()));
}

#[tokio::test]
async fn trailers_do_not_become_fields() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = H2::open(&gateway).await;
    let fields = head(&[(":method", "POST"), ("trailer", "x-sum, host")]);
    client.send(HEADERS, END_HEADERS, 1, &block(&fields)).await;
    client.send(DATA, 0, 1, b"hi").await;
    client.send(HEADERS, WHOLE, 1, &block(&[("x-sum", "7"), ("host", "evil"), ("content-length", "9")])).await;
    let mut inbound = upstream.connection().await;
    inbound.0.until("\r\n\r\n").await;
    assert_eq!(inbound.0.until("x-sum: 7\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n");
    inbound.ok("ok").await;
    assert_eq!(client.end(1).await, End::Answered("ok".into()));
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let (gateway, _upstream) = gateway().await;
    let mut client = H2::open(&gateway).await;
    for (stream, path) in [(1, "/echo/"), (3, "/echo/%zz")] {
        let answer = client.ask(stream, &block(&head(&[(":method", "HEAD"), (":path", path)]))).await;
        assert!(matches!(&answer, End::Answered(body) if body.is_empty()), "{path}: {answer:?}");
    }
}
