//! WebSockets over HTTP/2: extended CONNECT (RFC 8441), HTTP/1.1 towards the upstream.

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tollgate_tests::websocket::tungstenite::protocol::Role;
use tollgate_tests::websocket::{Socket, WebSocketStream, unlimited};

use super::*;

async fn multiplexed(gateway: &TestGateway) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = soon("a handshake", handshake).await.unwrap();
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    // The server's SETTINGS, which allow extended CONNECT, come before the answer to anything.
    let mut first = sender.clone();
    let request = Request::get("http://a.test/").body(Empty::new()).unwrap();
    drop(soon("an answer", first.send_request(request)).await.unwrap());
    sender
}

async fn asked(
    sender: &mut SendRequest<Empty<Bytes>>,
    protocol: &'static str,
    path: &str,
    fields: &[(&str, &str)],
) -> Response<Incoming> {
    let mut request =
        Request::builder().method(Method::CONNECT).uri(format!("http://a.test{path}")).version(Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.extension(Protocol::from_static(protocol)).body(Empty::new()).unwrap();
    soon("an answer", sender.send_request(request)).await.unwrap()
}

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

async fn opened(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Socket {
    let response = asked(sender, "websocket", path, &[VERSION]).await;
    assert_eq!(response.status(), 200);
    let upgraded = soon("a stream", hyper::upgrade::on(response)).await.unwrap();
    let stream: Box<dyn Stream> = Box::new(TokioIo::new(upgraded));
    WebSocketStream::from_raw_socket(stream, Role::Client, Some(unlimited())).await
}

#[tokio::test]
async fn many_share_a_connection() {
    let peer = EchoPeer::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), "[timeouts]\nkeepalive = \"300ms\""))).await;
    let mut sender = multiplexed(&gateway).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(opened(&mut sender, "/chat").await);
    }
    // The connection is in use, though no request is under way.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    for (number, socket) in sockets.iter_mut().enumerate() {
        for message in [Message::text(format!("{number}")), Message::binary(vec![7; 1 << 20])] {
            assert!(ask(socket, message.clone()).await == message);
        }
    }
    assert_eq!(gateway.metric(ACTIVE, &[WEBSOCKET]), 5.0);
    for mut socket in sockets {
        let frame = CloseFrame { code: 4000.into(), reason: "".into() };
        assert_eq!(ask(&mut socket, Message::Close(Some(frame.clone()))).await, Message::Close(Some(frame)));
    }
    ended(&gateway, "success", 5.0).await;
    peer.has_open(0).await;
}

#[tokio::test]
async fn the_handshake_becomes_that_of_http_1() {
    let upstream = Upstream::start().await;
    let toml = toml(
        upstream.address(),
        "method = \"GET\"\n[route.first]\npath = \"/\"\nproduct = \"echo\"\n[product.echo]\nbuiltin = \"echo\"",
    );
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let mut sender = multiplexed(&gateway).await;
    let fields =
        [VERSION, ("sec-websocket-protocol", "a, b"), ("origin", "https://app.test"), ("sec-websocket-key", KEY)];
    let (response, ()) = tokio::join!(asked(&mut sender, "websocket", "/chat?x=1", &fields), async {
        let mut inbound = upstream.wire().await;
        let head = inbound.response().await;
        let line = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        assert!(head.starts_with("GET /chat?x=1 HTTP/1.1\r\n"), "{head}");
        assert_eq!([line("host: "), line("upgrade: "), line("connection: ")], ["a.test", "websocket", "Upgrade"]);
        assert_eq!([line("sec-websocket-protocol: "), line("origin: ")], ["a, b", "https://app.test"]);
        let key = line("sec-websocket-key: ");
        assert_ne!(key, KEY, "a client of HTTP/2 has none");
        let opened = OPENED.strip_suffix("\r\n").unwrap().replace(ACCEPT, &derive_accept_key(key.as_bytes()));
        inbound.send(format!("{opened}sec-websocket-protocol: b\r\n\r\n")).await;
        inbound.send(b"\x81\x02hi").await;
        tokio::spawn(async move { inbound.rest().await });
    });
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "b");
    for gone in ["sec-websocket-accept", "upgrade", "connection"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn an_answer_that_opens_nothing_passes_but_for_one_that_would_look_as_if_it_did() {
    let upstream = Upstream::start().await;
    let toml =
        toml(upstream.address(), "[route.first]\npath = \"/\"\nproduct = \"echo\"\n[product.echo]\nbuiltin = \"echo\"");
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let mut sender = multiplexed(&gateway).await;
    for (said, status, body) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno!", 403, "no!"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes", 502, "upstream_protocol"),
        (OPENED, 502, "upstream_protocol"),
    ] {
        let (response, inbound) = tokio::join!(asked(&mut sender, "websocket", "/chat", &[VERSION]), async {
            let mut inbound = upstream.wire().await;
            inbound.response().await;
            inbound.send(said).await;
            inbound
        });
        drop(inbound);
        assert_eq!(response.status(), status);
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&text).contains(body), "{text:?}");
    }
    for (protocol, fields, status) in [("websocket", &[][..], 426), ("connect-udp", &[VERSION], 501)] {
        assert_eq!(asked(&mut sender, protocol, "/chat", fields).await.status(), status);
    }
    tollgate_tests::eventually("nothing under way", async || (gateway.metric(ACTIVE, &[]) == 0.0).then_some(())).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_frees_its_place() {
    let peer = EchoPeer::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), "[limits]\nwebsockets = 1"))).await;
    let mut sender = multiplexed(&gateway).await;
    for _ in 0..10 {
        let mut socket = opened(&mut sender, "/").await;
        assert_eq!(ask(&mut socket, Message::text("hi")).await, Message::text("hi"));
        assert_eq!(asked(&mut sender, "websocket", "/", &[VERSION]).await.status(), 503);
        drop(socket);
        peer.has_open(0).await;
        tollgate_tests::eventually("a place", async || (gateway.metric(ACTIVE, &[]) == 0.0).then_some(())).await;
    }
}

#[tokio::test]
async fn a_drain_tells_them_too() {
    let peer = EchoPeer::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), ""))).await;
    let mut sender = multiplexed(&gateway).await;
    let mut socket = opened(&mut sender, "/").await;
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(closed(&mut socket).await, 1001);
    let end = soon("the end", futures_util::StreamExt::next(&mut socket)).await;
    assert!(end.is_none_or(|end| end.is_err()));
    drop((socket, sender));
    soon("a stop", stopping).await.unwrap();
}
