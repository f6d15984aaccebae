//! The data plane through its front door: a real gateway, real sockets, upstreams that see every byte.

#[path = "plane/support.rs"]
#[allow(unreachable_pub, dead_code)]
mod support;

#[path = "plane/streams.rs"]
mod streams;

use std::time::Duration;

use http::Method;
use tokio::net::TcpStream;

use support::{TestGateway, Upstream, plan, soon, with_route, with_timeouts, with_upstream};

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
async fn a_connection_that_waits_too_long_is_closed() {
    let gateway = TestGateway::start(&with_timeouts(plan(), |timeouts| {
        timeouts.header = Some(Duration::from_millis(50));
        timeouts.keepalive = Some(Duration::from_millis(50));
    }));
    assert_eq!(gateway.connect().await.rest().await, "", "says nothing");
    assert_eq!(gateway.ask("GET /echo/ HTT").await, "", "stops in the middle of a head");
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
    gateway.drain.start();
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
