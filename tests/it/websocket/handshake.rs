//! The opening handshake over HTTP/1.1.

use super::*;

/// The value of a field in a head; empty when it is not there.
fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(named, _)| named.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

#[tokio::test]
async fn the_upstream_learns_who_asks_and_the_rest_is_between_the_ends() {
    let upstream = Upstream::start().await;
    let toml = toml(upstream.address(), "rewrite = { strip = \"/v1\" }\n[trust]\nproxies = []");
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let mut client = gateway.wire().await;
    let extensions = "permessage-deflate; client_max_window_bits, x-other";
    let more = format!(
        "connection: x-drop\r\nx-drop: 1\r\nsec-websocket-protocol: chat, graphql-transport-ws\r\n\
         sec-websocket-extensions: {extensions}\r\norigin: https://app.test\r\ncookie: a=b\r\nx-forwarded-for: 1.2.3.4\r\n"
    );
    client.send(asking("/v1/chat?x=1", &more)).await;
    let mut inbound = upstream.wire().await;
    let head = inbound.response().await;
    assert!(head.starts_with("GET /chat?x=1 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "a.test"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-protocol", "chat, graphql-transport-ws"),
        ("sec-websocket-extensions", extensions),
        ("origin", "https://app.test"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-drop", ""),
    ] {
        assert_eq!(field(&head, name), value, "{name} in {head}");
    }
    let (id, trace) = (field(&head, "x-request-id").to_owned(), field(&head, "traceparent"));
    assert_eq!((id.len(), trace.len()), (36, 55), "{head}");
    let opened = OPENED.strip_suffix("\r\n").unwrap();
    inbound
        .send(format!(
            "{opened}connection: x-mine\r\nx-mine: 1\r\nsec-websocket-protocol: chat\r\nset-cookie: c=d\r\n\
             sec-websocket-extensions: permessage-deflate\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
    let head = client.response().await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("set-cookie", "c=d"),
        ("x-request-id", id.as_str()),
        ("x-mine", ""),
        ("content-length", ""),
    ] {
        assert_eq!(field(&head, name), value, "{name} in {head}");
    }
}

#[tokio::test]
async fn the_subprotocol_is_the_upstreams_choice() {
    let peer = EchoPeer::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), ""))).await;
    let (_socket, response) =
        connect(gateway.address(), "/", &[("sec-websocket-protocol", "mqtt, v12.stomp")]).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "v12.stomp");
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused_before_the_upstream_hears_of_it() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), ""))).await;
    let good = asking("/", "");
    let key = format!("sec-websocket-key: {KEY}\r\n");
    for (bad, status, code) in [
        (good.replace(&key, ""), 400, "bad_request"),
        (good.replace(&key, &key.repeat(2)), 400, "bad_request"),
        (good.replace(KEY, "c2hvcnQ="), 400, "bad_request"),
        (good.replace(KEY, "not base64 at all!!!!=="), 400, "bad_request"),
        (good.replace("GET", "PUT"), 400, "bad_request"),
        (good.replace("Upgrade\r\n", "Upgrade, sec-websocket-key\r\n"), 400, "bad_request"),
        (good.replace("upgrade:", "content-length: 1\r\nupgrade:") + "x", 400, "bad_request"),
        (good.replace("version: 13", "version: 12"), 426, "unsupported"),
        (good.replace("sec-websocket-version: 13\r\n", ""), 426, "unsupported"),
    ] {
        let mut client = gateway.wire().await;
        client.send(&bad).await;
        let answer = client.response().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bad}\n{answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{bad}\n{answer}");
        assert_eq!(field(&answer, "sec-websocket-version"), if status == 426 { "13" } else { "" }, "{answer}");
    }
    // Neither of these asks for a WebSocket (RFC 9110, section 7.8).
    for plain in [good.replace("connection: Upgrade\r\n", ""), good.replace("HTTP/1.1", "HTTP/1.0")] {
        let mut client = gateway.wire().await;
        client.send(&plain).await;
        let mut inbound = upstream.wire().await;
        let head = inbound.response().await;
        assert_eq!(field(&head, "upgrade"), "", "{head}");
        inbound.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(client.response().await.contains(" 204 "));
    }
    assert_eq!(gateway.metric(ACTIVE, &[]), 0.0);
}

#[tokio::test]
async fn an_answer_that_is_no_101_passes_with_its_body_and_the_connection_serves_on() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), "[limits]\nwebsockets = 1"))).await;
    let mut client = gateway.wire().await;
    let mut inbound = None;
    for (said, status) in [
        ("HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 4\r\n\r\nwho?", " 401 "),
        ("HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 4\r\n\r\nwho?", " 302 "),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwho?\r\n0\r\n\r\n", " 200 "),
    ] {
        client.send(asking("/", "")).await;
        let mut upstream = match inbound.take() {
            Some(inbound) => inbound,
            None => upstream.wire().await,
        };
        upstream.response().await;
        upstream.send(said).await;
        let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
        assert!(head.contains(status), "{head}");
        assert_eq!(field(&head, "upgrade"), "");
        client.until(b"who?").await;
        if head.contains("chunked") {
            client.until(b"0\r\n\r\n").await;
        }
        inbound = Some(upstream);
    }
    ended(&gateway, "client_error", 1.0).await;
    ended(&gateway, "success", 2.0).await;
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_the_key_opens_nothing() {
    let upstream = Upstream::start().await;
    let gateway =
        TestGateway::start(Setup::new(&toml(upstream.address(), "[product.app.breaker]\nfailures = \"off\""))).await;
    for bad in [
        OPENED.replace(ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        OPENED.replace("sec-websocket-accept", "x-accept"),
        OPENED.replace("upgrade: websocket", "upgrade: h2c"),
        OPENED.replace("connection: Upgrade\r\n", ""),
    ] {
        let mut client = gateway.wire().await;
        client.send(asking("/", "")).await;
        let mut inbound = upstream.wire().await;
        inbound.response().await;
        inbound.send(&bad).await;
        let answer = client.response().await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_protocol"), "{bad}\n{answer}");
        assert_eq!(inbound.rest().await, b"", "its connection ends");
    }
    ended(&gateway, "upstream_error", 4.0).await;
}

#[tokio::test]
async fn what_cannot_switch_says_so() {
    for product in ["builtin = \"echo\"", "upstreams = [\"h2c://127.0.0.1:1\"]"] {
        let toml = format!("[product.app]\n{product}\n[route.live]\npath = \"/{{*rest}}\"\nproduct = \"app\"\n");
        let gateway = TestGateway::start(Setup::new(&toml)).await;
        let mut client = gateway.wire().await;
        client.send(asking("/", "")).await;
        let answer = client.response().await;
        assert!(answer.starts_with("HTTP/1.1 501 ") && answer.contains("unsupported"), "{answer}");
    }
}
