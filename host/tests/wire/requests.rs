//! Requests that one server reads in one way and the next in another. Each is refused, or reaches the upstream in one
//! form only; nothing of it becomes a request of its own.

use crate::support::{TestGateway, Upstream, soon};
use crate::{gateway, lines, seen};

/// Sent behind every refused request: what an attacker wants the upstream to serve.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

async fn refused(gateway: &TestGateway, upstream: &mut Upstream, request: &[u8], status: u16, code: &str) {
    let mut client = gateway.connect().await;
    client.send([request, SMUGGLED.as_bytes()].concat()).await;
    let answer = client.rest().await;
    let shown = String::from_utf8_lossy(&request[..request.len().min(80)]);
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
    assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{shown:?}: {answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{shown:?}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one answer, then the end: {shown:?}: {answer}");
    assert!(upstream.is_untouched(), "{shown:?} reached the upstream");
}

#[tokio::test]
async fn framing_that_has_two_readings_is_refused() {
    let (gateway, mut upstream) = gateway().await;
    for fields in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: x",
        "transfer-encoding: x\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: \x0bchunked",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding : chunked",
        "transfer\\encoding: chunked\r\n transfer-encoding: chunked",
        "x: y\rtransfer-encoding: chunked",
        "x: y\ntransfer-encoding: chunked",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5\r\ncontent-length: 5",
        "content-length: 5, 5",
        "content-length: 5,6",
        "content-length: +5",
        "content-length: -5",
        "content-length: 5 5",
        "content-length: 0x5",
        "content-length: 5.0",
        "content-length:",
        "content-length: 99999999999999999999",
        "content-length: 18446744073709551616",
        "content-length\t: 5",
        " content-length: 5",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
        refused(&gateway, &mut upstream, request.as_bytes(), 400, "bad_request").await;
    }
    let old = "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(&gateway, &mut upstream, old.as_bytes(), 400, "bad_request").await;
    let coded = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    refused(&gateway, &mut upstream, coded.as_bytes(), 501, "unsupported").await;
}

#[tokio::test]
async fn lines_and_fields_that_break_the_grammar_are_refused() {
    let (gateway, mut upstream) = gateway().await;
    for head in [
        &b"GET / HTTP/1.1\nhost: a\n\n"[..],
        b"GET / HTTP/1.1\r\nhost: a\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\n",
        b"GET / HTTP/1.1\rhost: a\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-a : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\x7f\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx\xc3\xbc: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx{}: b\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.2\r\nhost: a\r\n\r\n",
        b"GET / HTTP/3.0\r\nhost: a\r\n\r\n",
        b"GET / http/1.1\r\nhost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
        b"GET / / HTTP/1.1\r\nhost: a\r\n\r\n",
        b" GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"G(T / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    ] {
        refused(&gateway, &mut upstream, head, 400, "bad_request").await;
    }
}

#[tokio::test]
async fn targets_that_have_two_readings_are_refused() {
    let (gateway, mut upstream) = gateway().await;
    for target in [
        &b"/a#b"[..],
        b"/a?b#c",
        b"/#",
        b"/a\\b",
        b"/a\\..\\b",
        b"/%00",
        b"/a%zz",
        b"/a%4",
        b"/%",
        b"/..",
        b"/a/../..",
        b"/%2e%2e/a",
        b"/\xc3\xbc",
        b"/\xff",
        b"/a\x7f",
        b"/a\tb",
        b"/<a>",
        b"*",
        b"a",
        b"a:80",
        b"//a#",
        b"http:///a",
    ] {
        let request = [b"GET ", target, b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"].concat();
        refused(&gateway, &mut upstream, &request, 400, "bad_path").await;
    }
    let options = b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    refused(&gateway, &mut upstream, options, 400, "bad_path").await;
    for connect in ["CONNECT a:80", "CONNECT /"] {
        let request = format!("{connect} HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n");
        refused(&gateway, &mut upstream, request.as_bytes(), 501, "unsupported").await;
    }
    let scheme = b"GET ftp://a/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    refused(&gateway, &mut upstream, scheme, 400, "bad_request").await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    let (gateway, mut upstream) = gateway().await;
    for (target, fields) in [
        ("/", ""),
        ("/", "host: a\r\nhost: a\r\n"),
        ("/", "host: a\r\nhost: b\r\n"),
        ("/", "host:\r\n"),
        ("/", "host: a, b\r\n"),
        ("/", "host: a b\r\n"),
        ("/", "host: a/b\r\n"),
        ("/", "host: u@a\r\n"),
        ("/", "host: a:x\r\n"),
        ("/", "host: a:99999\r\n"),
        ("/", "host: a..b\r\n"),
        ("/", "host: a%2eb\r\n"),
        ("/", "host: [::1\r\n"),
        ("/", "host: \u{fc}\r\n"),
        ("http://a/", "host: b\r\n"),
        ("http://a/", "host: a:80\r\n"),
        ("http://a@b/", "host: a@b\r\n"),
        ("http://a/", "host: a\r\nhost: a\r\n"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\n{fields}connection: close\r\n\r\n");
        refused(&gateway, &mut upstream, request.as_bytes(), 400, "bad_host").await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (gateway, mut upstream) = gateway().await;
    let head = |line: &str, fields: String| format!("{line} HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into_bytes();
    for request in [
        head(&format!("GET /{}", "a".repeat(40_000)), String::new()),
        head("GET /", format!("x-a: {}\r\n", "a".repeat(40_000))),
        head("GET /", "x-a: b\r\n".repeat(101)),
        "a".repeat(40_000).into_bytes(),
        "\r\n".repeat(20_000).into_bytes(),
    ] {
        refused(&gateway, &mut upstream, &request, 431, "head_too_large").await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_its_framing_never_ends_whole() {
    let (gateway, mut upstream) = gateway().await;
    for body in [
        "2\r\nhix0\r\n\r\n",
        "2\r\nhi\n0\r\n\r\n",
        "2\nhi\r\n0\r\n\r\n",
        "2;a\nb\r\nhi\r\n0\r\n\r\n",
        "0x2\r\nhi\r\n0\r\n\r\n",
        "+2\r\nhi\r\n0\r\n\r\n",
        "2 \r\nhi\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhi",
        "10000000000000002\r\nhi\r\n0\r\n\r\n",
        "2\r\nhi\r\n0\r\nx-a : b\r\n\r\n",
        "2\r\nhi\r\n0\r\nx-a\r\n\r\n",
        "2\r\nhi\r\n0\r\n\nx\r\n\r\n",
        &format!("2;{}\r\nhi\r\n0\r\n\r\n", "a".repeat(5000)),
        &format!("2\r\nhi\r\n0\r\nx-a: {}\r\n\r\n", "a".repeat(40_000)),
    ] {
        let mut client = gateway.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}{SMUGGLED}")).await;
        let answer = client.rest().await;
        let shown = &body[..body.len().min(40)];
        assert!(answer.starts_with("HTTP/1.1 400 "), "{shown:?}: {answer}");
        assert!(answer.contains("\"code\":\"incomplete\""), "{shown:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {answer}");
        // The connection to the upstream may have been made; no whole request came over it.
        if let Some(inbound) = upstream.waiting() {
            let got = inbound.0.rest().await;
            assert!(!got.contains("0\r\n\r\n") && !got.contains("smuggled"), "{shown:?}: {got}");
        }
    }
}

#[tokio::test]
async fn what_may_be_written_in_many_ways_reaches_the_upstream_in_one() {
    let (gateway, mut upstream) = gateway().await;
    let (mut client, mut inbound) = (gateway.connect().await, None);
    for (request, line, fields, body) in [
        ("\r\nGET / HTTP/1.1\r\nHOST:A.test\r\n\r\n", "GET / HTTP/1.1", &["host: A.test"][..], ""),
        ("GET http://a.test:80/x?y HTTP/1.1\r\nhost: a.test:80\r\n\r\n", "GET /x?y HTTP/1.1", &["host: a.test:80"], ""),
        ("GET http://a.test HTTP/1.1\r\nhost: a.test\r\n\r\n", "GET / HTTP/1.1", &["host: a.test"], ""),
        (
            "GET /a/%2e%2e/%7eb%2fc?x=/../%zz HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /~b%2Fc?x=/../%zz HTTP/1.1",
            &["host: a"],
            "",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\nContent-Length:\t 002 \r\n\r\nhi",
            "POST / HTTP/1.1",
            &["content-length: 002", "host: a"],
            "hi",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;x=\"y\"\r\nhi\r\n000\r\n\r\n",
            "POST / HTTP/1.1",
            &["host: a", "transfer-encoding: chunked"],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi",
            "GET / HTTP/1.1",
            &["content-length: 2", "host: a"],
            "hi",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "GET / HTTP/1.1",
            &["host: a", "transfer-encoding: chunked"],
            "2\r\nhi\r\n0\r\n\r\n",
        ),
        (
            "DELETE / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
            "DELETE / HTTP/1.1",
            &["content-length: 0", "host: a"],
            "",
        ),
        (
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum, host\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\nhost: evil\r\ncontent-length: 9\r\nte: x\r\n\r\n",
            "POST / HTTP/1.1",
            &["host: a", "trailer: x-sum, host", "transfer-encoding: chunked"],
            "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nx-a: \u{fc}\t\u{fc}  \r\n\r\n",
            "GET / HTTP/1.1",
            &["host: a", "x-a: \u{fc}\t\u{fc}"],
            "",
        ),
        ("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n", "GET / HTTP/1.1", &["host: a"], ""),
    ] {
        client.send(request).await;
        let mut up = match inbound.take() {
            Some(inbound) => inbound,
            None => upstream.connection().await,
        };
        let head = up.0.until("\r\n\r\n").await;
        let mut expected = vec![line.to_owned()];
        expected.extend(fields.iter().map(|&field| field.to_owned()));
        assert_eq!(lines(&head), expected, "{request:?}");
        assert_eq!(up.0.exactly(body.len()).await, body, "{request:?}");
        up.ok("ok").await;
        assert!(client.response().await.0.contains(" 200 OK\r\n"), "{request:?}");
        inbound = Some(up);
    }
    assert!(upstream.is_untouched(), "one connection served them all, so every end was where it should be");
}

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    let post =
        |at: u8| format!("POST /{at} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{at}\r\n0\r\n\r\n");
    let get = |at: u8| format!("GET /{at} HTTP/1.1\r\nhost: a\r\n\r\n");
    client
        .send([get(1), post(2), post(3), get(4), "GET /5#x HTTP/1.1\r\nhost: a\r\n\r\n".into(), get(6)].concat())
        .await;
    let mut inbound = upstream.connection().await;
    for at in 1..=4 {
        let head = inbound.0.until("\r\n\r\n").await;
        assert!(head.contains(&format!(" /{at} HTTP/1.1\r\n")), "{head}");
        if head.starts_with("POST") {
            inbound.0.until("0\r\n\r\n").await;
        }
        assert_eq!(inbound.0.read, b"", "the next one waits");
        inbound.ok(&at.to_string()).await;
        assert_eq!(client.response().await.1, at.to_string());
    }
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("bad_path"), "{head}{body}");
    assert_eq!(client.rest().await, "", "nothing after it is served");
}

#[tokio::test]
async fn an_answer_reaches_a_client_that_is_still_sending() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 1000000\r\n\r\n").await;
    client.send(vec![b'x'; 100_000]).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with('}'), "{answer}");
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn connection_names_what_is_dropped_and_nothing_that_counts() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a\r\nconnection: close, x-request-id, host, content-length, x-forwarded-for\r\n\
             connection: traceparent, x-drop, transfer-encoding, upgrade, http2-settings\r\nx-drop: 1\r\nX-Keep: 2\r\n\
             keep-alive: 5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic eA==\r\nte: gzip, trailers\r\n\
             upgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ncontent-length: 2\r\n\r\nhi",
        )
        .await;
    let mut inbound = upstream.connection().await;
    let (head, body) = inbound.request().await;
    assert_eq!(lines(&head), ["POST / HTTP/1.1", "content-length: 2", "host: a", "te: trailers", "x-keep: 2"]);
    for made in ["x-request-id: ", "traceparent: ", "x-forwarded-for: 127.0.0.1\r\n", "x-forwarded-host: a\r\n"] {
        assert!(head.contains(made), "{made} in {head}");
    }
    assert_eq!(body, "hi");
    inbound.ok("ok").await;
    assert!(client.rest().await.ends_with("ok"), "and it closes");
}

#[tokio::test]
async fn a_field_that_connection_drops_matches_no_route() {
    use crate::support::{plan, with_upstream};
    let mut upstream = Upstream::start().await;
    let mut plan = with_upstream(plan(), &[upstream.address]);
    let route = plan.routes.values_mut().find(|route| route.product.as_str() == "up").expect("a route");
    let rule = tollgate::config::plan::HeaderPredicate::Present(true);
    route.matcher.headers = vec![(http::HeaderName::from_static("x-tenant"), rule)];
    let gateway = TestGateway::start(&plan);
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a\r\nx-tenant: b\r\nconnection: close, x-tenant\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn an_upgrade_nobody_knows_is_a_plain_request() {
    let (gateway, mut upstream) = gateway().await;
    for fields in [
        "connection: upgrade\r\nupgrade: h2c\r\n",
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        "connection: upgrade\r\nupgrade: foo/1, bar\r\n",
        "upgrade: websocket\r\n",
        "connection: upgrade\r\n",
    ] {
        let mut client = gateway.connect().await;
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{SMUGGLED}")).await;
        let mut inbound = upstream.connection().await;
        assert_eq!(seen(&mut inbound).await.0, ["GET / HTTP/1.1", "host: a"], "{fields:?}");
        inbound.ok("ok").await;
        assert_eq!(client.response().await.1, "ok", "{fields:?}");
        assert!(seen(&mut inbound).await.0[0].contains("/smuggled"), "the next request is one: {fields:?}");
        inbound.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nnext").await;
        assert_eq!(client.response().await.1, "next", "{fields:?}");
    }
}

#[tokio::test]
async fn http_1_0_gets_what_it_understands() {
    let (gateway, mut upstream) = gateway().await;
    for (fields, kept) in [("", false), ("connection: keep-alive\r\n", true)] {
        let mut client = gateway.connect().await;
        client.send(format!("GET / HTTP/1.0\r\nhost: a\r\n{fields}\r\n")).await;
        let mut inbound = upstream.connection().await;
        inbound.request().await;
        inbound
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
            .await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
        assert!(!answer.contains("transfer-encoding"), "{answer}");

        let mut client = gateway.connect().await;
        client.send(format!("GET / HTTP/1.0\r\nhost: a\r\n{fields}\r\n")).await;
        let mut inbound = upstream.connection().await;
        inbound.request().await;
        inbound.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi").await;
        let (head, body) = client.response().await;
        assert_eq!((head.contains("connection: keep-alive\r\n"), body.as_str()), (kept, "hi"), "{head}");
        if kept {
            client.send("GET /echo/ HTTP/1.0\r\nhost: a\r\n\r\n").await;
            assert!(client.rest().await.contains(" 200 OK\r\n"));
        } else {
            assert_eq!(client.rest().await, "");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let (gateway, mut upstream) = gateway().await;
    for sent in ["GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n", "\r\n"] {
        let mut client = gateway.connect().await;
        client.send(sent).await;
        client.finish().await;
        assert_eq!(client.rest().await, "", "{sent:?}");
    }
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    client.finish().await;
    let answer = client.rest().await;
    assert!(answer.is_empty() || answer.contains("\"incomplete\""), "{answer}");
    let inbound = soon(upstream.connection()).await;
    assert!(!inbound.0.rest().await.contains("halfGET"));
}

#[tokio::test]
async fn a_client_that_sent_too_much_and_left_is_known_to_be_gone() {
    let (gateway, mut upstream) = gateway().await;
    for more in ["\r\n", "GET /next HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut client = gateway.connect().await;
        client.send(format!("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n{more}")).await;
        let mut inbound = upstream.connection().await;
        inbound.request().await;
        drop(client);
        assert!(soon(inbound.closed()).await, "the upstream is let go after {more:?}");
    }
}
