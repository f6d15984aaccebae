//! The data plane through its front door: a real gateway, real sockets, upstreams that see every byte.

#[path = "plane/support.rs"]
#[allow(unreachable_pub)]
mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use support::{PATIENCE, TestGateway, Upstream, plan, soon, with_route, with_timeouts, with_upstream};

async fn gateway() -> (TestGateway, Upstream) {
    let upstream = Upstream::start().await;
    (TestGateway::start(&with_upstream(plan(), &[upstream.address])), upstream)
}

/// Field lines in the order of their names, which is the same for every reader.
fn fields(head: &str) -> Vec<&str> {
    let mut lines: Vec<_> = head.lines().skip(1).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn the_upstream_sees_one_clean_request() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client
        .send(
            "POST /a/./b/../%7ec?x=%2e&y HTTP/1.1\r\nHost: api.test:99\r\nConnection: keep-alive, X-Private\r\n\
             X-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\nTE: gzip, trailers\r\n\
             X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Port: 1\r\nX-Request-Id: forged\r\nX-Kept: a\r\nX-Kept: b\r\n\
             Content-Length: 2\r\n\r\nhi",
        )
        .await;
    let mut inbound = upstream.connection().await;
    let (head, body) = inbound.request().await;
    assert!(head.starts_with("POST /a/~c?x=%2e&y HTTP/1.1\r\n"), "{head}");
    let made = |line: &&str| !line.starts_with("x-request-id: ") && !line.starts_with("traceparent: ");
    assert_eq!(
        fields(&head).into_iter().filter(made).collect::<Vec<_>>(),
        [
            "content-length: 2",
            "host: api.test:99",
            "te: trailers",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: api.test:99",
            "x-forwarded-proto: http",
            "x-kept: a",
            "x-kept: b",
        ]
    );
    assert!(!head.contains("forged"));
    assert_eq!(body, "hi");
    inbound
        .send(
            "HTTP/1.1 201 Created\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=9\r\n\
             X-Open: 2\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
    let names: Vec<_> = fields(&head).into_iter().filter_map(|line| line.split_once(':')).map(|(n, _)| n).collect();
    assert_eq!(names, ["content-length", "date", "x-open", "x-request-id"]);
    assert_eq!(body, "ok");
}

#[tokio::test]
async fn a_trusted_peers_word_on_the_request_is_kept() {
    let upstream_side = Upstream::start().await;
    let mut plan = with_upstream(plan(), &[upstream_side.address]);
    plan.trusted = vec!["127.0.0.0/8".parse().expect("a range")];
    let gateway = TestGateway::start(&plan);
    let mut upstream = upstream_side;
    let mut client = gateway.connect().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    client
        .send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx-request-id: mine-1\r\nx-forwarded-for: 203.0.113.9\r\n\
             x-forwarded-proto: https\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n"
        ))
        .await;
    let mut inbound = upstream.connection().await;
    let (head, _) = inbound.request().await;
    for line in ["x-request-id: mine-1", "x-forwarded-for: 203.0.113.9, 127.0.0.1", "x-forwarded-proto: https"] {
        assert!(fields(&head).contains(&line), "{line} in {head}");
    }
    let span = fields(&head).into_iter().find_map(|line| line.strip_prefix("traceparent: ")).expect("a trace");
    assert!(span.contains(trace) && !span.contains("00f067aa0ba902b7"), "{span}");
    inbound.ok("").await;
    assert!(client.response().await.0.contains("x-request-id: mine-1\r\n"));
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    for round in 1..=3 {
        assert!(inbound.request().await.0.starts_with(&format!("GET /{round} ")));
        inbound.ok("same").await;
        assert_eq!(client.response().await.1, "same");
        client.send(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", round + 1)).await;
    }
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn a_get_lost_on_a_waiting_connection_is_sent_once_more() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut first = upstream.connection().await;
    first.request().await;
    first.ok("one").await;
    assert_eq!(client.response().await.1, "one");
    client.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    first.request().await;
    drop(first);
    let mut second = upstream.connection().await;
    assert!(second.request().await.0.starts_with("GET /2 "));
    second.ok("two").await;
    assert_eq!(client.response().await.1, "two");
    assert!(gateway.metric("gateway_upstream_retries_total{product=\"up\",reason=\"stale\"} 1"));
}

#[tokio::test]
async fn a_post_that_the_upstream_may_have_seen_is_not_sent_again() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut first = upstream.connection().await;
    first.request().await;
    first.ok("one").await;
    client.response().await;
    client.send("POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
    first.request().await;
    drop(first);
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(body.contains("\"upstream_reset\""), "{body}");
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502_and_another_is_tried() {
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        listener.local_addr().expect("an address")
    };
    let alone = TestGateway::start(&with_upstream(plan(), &[closed]));
    let answer = alone.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("\"upstream_connect\""), "{answer}");
    assert!(!answer.contains("127.0.0.1"), "an error never shows an address");

    let mut upstream = Upstream::start().await;
    let pair = TestGateway::start(&with_upstream(plan(), &[closed, upstream.address]));
    let serve = tokio::spawn(async move {
        for _ in 0..8 {
            let mut inbound = upstream.connection().await;
            inbound.request().await;
            inbound.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    for _ in 0..8 {
        let answer = pair.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    serve.await.expect("served");
}

#[tokio::test]
async fn what_could_be_read_two_ways_never_reaches_an_upstream() {
    let (gateway, mut upstream) = gateway().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a@b\r\n\r\n", 400),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET /../x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET /a\\b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\nx", 400),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nx-a : b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nexpect: 200-maybe\r\n\r\n", 417),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 501),
    ] {
        let mut client = gateway.connect().await;
        client.send(request).await;
        let answer = client.line().await;
        // hyper closes without a word where it cannot tell where the request ends.
        let closed = answer.is_empty() && status == 400;
        assert!(closed || answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn a_length_beside_chunked_does_not_reach_the_upstream() {
    let (gateway, mut upstream) = gateway().await;
    for order in ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let mut client = gateway.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{order}\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /evil")).await;
        let mut inbound = upstream.connection().await;
        let head = inbound.0.until("\r\n\r\n").await;
        assert!(head.contains("transfer-encoding: chunked\r\n") && !head.contains("content-length"), "{head}");
        assert_eq!(inbound.0.until("0\r\n\r\n").await, "2\r\nhi\r\n0\r\n\r\n");
        inbound.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        let answer = client.rest().await;
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "what follows is not a request: {answer}");
    }
}

#[tokio::test]
async fn no_route_and_no_method_are_said_so() {
    let plan = with_route(plan(), "read", "/read", &[Method::GET], "echo");
    let gateway = TestGateway::start(&plan);
    let mut client = gateway.connect().await;
    client.send("GET /none HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 404 ") && head.contains("content-type: application/json\r\n"), "{head}");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["error"]["code"], "no_route");
    assert!(head.contains(&format!("x-request-id: {}\r\n", body["error"]["request_id"].as_str().expect("an id"))));
    client.send("PUT /read HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
    let (head, _) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET, HEAD\r\n"), "{head}");
    let counted = |outcome, product, count| {
        let labels = format!("outcome=\"{outcome}\",product=\"{product}\",protocol=\"http\"");
        gateway.metric(&format!("gateway_protocol_requests_total{{{labels}}} {count}"))
    };
    assert!(counted("rejected", "none", 2));
}

#[tokio::test]
async fn echo_answers_with_what_a_product_would_get() {
    let gateway = TestGateway::start(&plan());
    let mut client = gateway.connect().await;
    client
        .send("PUT /echo/a?b HTTP/1.1\r\nhost: a\r\nconnection: x-gone\r\nx-gone: 1\r\ncontent-length: 2\r\n\r\nhi")
        .await;
    let (_, body) = client.response().await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&body["method"], &body["path"], &body["query"]), (&"PUT".into(), &"/echo/a".into(), &"b".into()));
    assert_eq!(body["body"], "hi");
    assert!(!body["headers"].to_string().contains("x-gone"));
    assert!(body["headers"].to_string().contains("x-forwarded-for"));
}

#[tokio::test]
async fn heads_without_bodies_are_kept_as_they_are() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("HEAD /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    for (response, lines) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n", "content-length: 1234"),
        ("HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n", "x-a: 1"),
        ("HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n", "etag: \"x\""),
    ] {
        inbound.0.until("\r\n\r\n").await;
        inbound.send(response).await;
        let head = client.until("\r\n\r\n").await;
        assert!(head.starts_with(response.lines().next().expect("a line")) && fields(&head).contains(&lines), "{head}");
        client.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    assert!(upstream.is_untouched(), "one connection served them all");
    assert!(gateway.metric("gateway_protocol_requests_total{outcome=\"success\",product=\"up\",protocol=\"http\"} 3"));
}

#[tokio::test]
async fn trailers_pass() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound
        .send("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n")
        .await;
    client.until("\r\n\r\n").await;
    assert_eq!(client.until("x-sum: 7\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n");
}

#[tokio::test]
async fn a_response_broken_in_the_middle_is_not_a_whole_one() {
    let (gateway, mut upstream) = gateway().await;
    for framing in ["transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "content-length: 10\r\n\r\nhello"] {
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut inbound = upstream.connection().await;
        inbound.request().await;
        inbound.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        client.until("hello").await;
        drop(inbound);
        let rest = client.rest().await;
        assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
    }
    assert!(
        gateway
            .metric("gateway_protocol_requests_total{outcome=\"upstream_error\",product=\"up\",protocol=\"http\"} 2")
    );
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_a_502() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: foo/2\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    let (head, _) = inbound.request().await;
    assert!(!head.contains("upgrade"), "{head}");
    inbound.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo/2\r\n\r\n").await;
    assert!(client.response().await.0.starts_with("HTTP/1.1 502 "));
    assert!(inbound.closed().await);
}

#[tokio::test]
async fn a_client_that_leaves_is_an_upstream_request_cancelled() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    drop(client);
    assert!(inbound.closed().await);
    assert!(
        gateway.metric("gateway_protocol_requests_total{outcome=\"cancelled\",product=\"up\",protocol=\"http\"} 1")
    );
}

#[tokio::test]
async fn a_silent_upstream_is_a_504() {
    let mut upstream = Upstream::start().await;
    let plan = with_upstream(plan(), &[upstream.address]);
    let gateway =
        TestGateway::start(&with_timeouts(plan, |timeouts| timeouts.response = Some(Duration::from_millis(50))));
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let inbound = upstream.connection().await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 504 ") && body.contains("\"upstream_timeout\""), "{head}{body}");
    drop(inbound);
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut_and_so_is_an_upload() {
    let mut upstream = Upstream::start().await;
    let plan = with_upstream(plan(), &[upstream.address]);
    let gateway = TestGateway::start(&with_timeouts(plan, |timeouts| {
        timeouts.idle = Some(Duration::from_millis(50));
        timeouts.body = Some(Duration::from_millis(50));
    }));
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").await;
    assert!(!client.rest().await.contains("0\r\n\r\n"));
    assert!(inbound.closed().await);
    assert!(gateway.metric("gateway_protocol_requests_total{outcome=\"timeout\",product=\"up\",protocol=\"sse\"} 1"));

    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 408 ") && body.contains("\"body_timeout\""), "{head}{body}");
}

#[tokio::test]
async fn a_connection_that_waits_too_long_is_closed() {
    let gateway = TestGateway::start(&with_timeouts(plan(), |timeouts| {
        timeouts.header = Some(Duration::from_millis(50));
        timeouts.keepalive = Some(Duration::from_millis(50));
    }));
    assert_eq!(gateway.connect().await.rest().await, "", "says nothing");
    let late = gateway.ask("GET /echo/ HTT").await;
    assert!(
        late.starts_with("HTTP/1.1 408 ") && late.contains("\"head_timeout\""),
        "stops in the middle of a head: {late}"
    );
    let mut client = gateway.connect().await;
    client.send("GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.response().await;
    assert_eq!(client.rest().await, "", "asks nothing more");
}

#[tokio::test]
async fn a_product_has_no_more_connections_than_it_may() {
    let mut upstream = Upstream::start().await;
    let mut plan = with_upstream(plan(), &[upstream.address]);
    plan.products.get_mut("up").expect("a product").connections = Some(1);
    let gateway = TestGateway::start(&plan);
    let mut clients = vec![];
    for _ in 0..4 {
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    // One connection at a time serves them all, wherever each came in.
    let serve = tokio::spawn(async move {
        let mut served = 0;
        while served < 4 {
            let mut inbound = upstream.connection().await;
            while served < 4 {
                let mut byte = [0; 1];
                if soon(inbound.0.stream.peek(&mut byte)).await.unwrap_or(0) == 0 {
                    break;
                }
                inbound.request().await;
                assert!(upstream.is_untouched(), "a second connection");
                inbound.ok("ok").await;
                served += 1;
            }
        }
    });
    for mut client in clients {
        assert_eq!(client.response().await.1, "ok");
    }
    serve.await.expect("served");
}

#[tokio::test]
async fn waiting_for_a_busy_product_ends_in_a_503() {
    let mut upstream = Upstream::start().await;
    let mut plan = with_timeouts(with_upstream(plan(), &[upstream.address]), |timeouts| {
        timeouts.connect = Some(Duration::from_millis(100));
    });
    plan.products.get_mut(&support::name("up")).expect("a product").connections = Some(1);
    let gateway = TestGateway::start(&plan);
    let mut first = gateway.connect().await;
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    let mut second = gateway.connect().await;
    second.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (head, body) = second.response().await;
    assert!(head.starts_with("HTTP/1.1 503 ") && body.contains("\"upstream_busy\""), "{head}{body}");
    inbound.ok("ok").await;
    assert_eq!(first.response().await.1, "ok");
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_closes() {
    let (gateway, mut upstream) = gateway().await;
    let mut idle = gateway.connect().await;
    idle.send("GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.response().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    gateway.edge.drain();
    assert_eq!(idle.rest().await, "");
    soon(async {
        while gateway.drain.held() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    inbound.ok("late").await;
    let answer = client.rest().await;
    assert!(answer.ends_with("late"), "{answer}");
    soon(gateway.drain.done()).await;
    soon(async {
        while TcpStream::connect(gateway.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reload_keeps_connections_that_did_not_change() {
    let mut upstream = Upstream::start().await;
    let first = with_upstream(plan(), &[upstream.address]);
    let gateway = TestGateway::start(&first);
    let mut client = gateway.connect().await;
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    gateway.reload(&with_route(first, "more", "/more", &[], "echo"));
    inbound.ok("one").await;
    assert_eq!(client.response().await.1, "one");
    client.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    inbound.request().await;
    inbound.ok("two").await;
    assert_eq!(client.response().await.1, "two");
    client.send("GET /more HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.response().await.0.starts_with("HTTP/1.1 200 "));
    assert!(upstream.is_untouched());
    assert!(gateway.metric("gateway_config_generations 1"));
}

type H2 =
    hyper::client::conn::http2::SendRequest<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>;

async fn h2(gateway: &TestGateway) -> H2 {
    let stream = TcpStream::connect(gateway.address).await.expect("connects");
    stream.set_nodelay(true).expect("sets");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("shakes hands");
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn h2c_is_spoken_on_the_same_port() {
    let (gateway, mut upstream) = gateway().await;
    let mut sender = h2(&gateway).await;
    let request = Request::post("http://api.test/a?b")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::new(Bytes::from_static(b"hi")).boxed())
        .expect("a request");
    let response = tokio::spawn(sender.send_request(request));
    let mut inbound = upstream.connection().await;
    let (head, body) = inbound.request().await;
    assert!(head.starts_with("POST /a?b HTTP/1.1\r\n"), "{head}");
    for line in ["host: api.test", "cookie: a=1; b=2", "content-length: 2"] {
        assert!(fields(&head).contains(&line), "{line} in {head}");
    }
    assert_eq!(body, "hi");
    inbound.send("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nkeep-alive: 1\r\ncontent-length: 5\r\n\r\nhello").await;
    let response = soon(response).await.expect("runs").expect("answers");
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().get("keep-alive").is_none());
    assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "hello");
}

#[tokio::test]
async fn a_broken_response_resets_the_h2_stream_and_spares_the_connection() {
    let (gateway, mut upstream) = gateway().await;
    let mut sender = h2(&gateway).await;
    let get = |path: &str| Request::get(format!("http://a{path}")).body(Empty::new().boxed()).expect("a request");
    let response = tokio::spawn(sender.send_request(get("/")));
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    let mut response = soon(response).await.expect("runs").expect("answers");
    assert!(soon(response.frame()).await.expect("a frame").is_ok());
    drop(inbound);
    assert!(soon(response.frame()).await.expect("an end").is_err());
    let echo = soon(sender.send_request(get("/echo/"))).await.expect("answers");
    assert_eq!(echo.status(), StatusCode::OK);
}

const LARGE: usize = 32 << 20;

#[tokio::test]
async fn a_large_body_streams_down() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    let sending = tokio::spawn(async move {
        inbound.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
        inbound.send(vec![b'x'; LARGE]).await;
    });
    client.until("\r\n\r\n").await;
    let mut read = client.read.len();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match soon(client.stream.read(&mut buffer)).await.expect("reads") {
            0 => break,
            count => read += count,
        }
    }
    assert_eq!(read, LARGE);
    sending.await.expect("sent");
}

#[tokio::test]
async fn a_large_body_streams_up_over_h2_too() {
    let (gateway, mut upstream) = gateway().await;
    let mut sender = h2(&gateway).await;
    let chunk = Bytes::from(vec![b'x'; 1 << 16]);
    let frames = (0..LARGE >> 16).map(move |_| Ok(Frame::data(chunk.clone())));
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let response =
        tokio::spawn(sender.send_request(Request::post("http://a/").body(BodyExt::boxed(body)).expect("one")));
    let mut inbound = upstream.connection().await;
    inbound.0.until("\r\n\r\n").await;
    // Chunked: count what lies between the sizes.
    let mut total = 0;
    loop {
        let size = inbound.0.until("\r\n").await;
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
        total += size;
        while inbound.0.read.len() < size + 2 {
            soon(inbound.0.stream.read_buf(&mut inbound.0.read)).await.expect("reads");
        }
        inbound.0.read.drain(..size + 2);
        if size == 0 {
            break;
        }
    }
    assert_eq!(total, LARGE);
    inbound.ok("done").await;
    assert_eq!(soon(response).await.expect("runs").expect("answers").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_upstream() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await;
    let (chunk, mut written) = (vec![b'x'; 1 << 16], 0);
    let stalled = Duration::from_millis(500);
    while let Ok(Ok(())) = tokio::time::timeout(stalled, inbound.0.stream.write_all(&chunk)).await {
        written += chunk.len();
        assert!(written < 256 << 20, "a quarter of a GiB went where nobody reads");
    }
    // What the kernel's socket buffers hold on the four ends of two connections, and little more.
    assert!(written < 32 << 20, "{written} bytes went where nobody reads");
    assert!(stalled < PATIENCE);
    drop(client);
}
