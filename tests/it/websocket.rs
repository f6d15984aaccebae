//! WebSockets through the gateway, with real peers and raw ones.

mod ends;
mod handshake;
mod limits;
mod multiplexed;
mod weight;

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tollgate_tests::client::Stream;
use tollgate_tests::websocket::tungstenite::handshake::derive_accept_key;
use tollgate_tests::websocket::tungstenite::protocol::CloseFrame;
use tollgate_tests::websocket::{EchoPeer, Message, ask, closed, connect, over};
use tollgate_tests::{Setup, TestGateway, Wire, soon};

/// Every path goes to `address`; `more` stands in the route's table and below it.
fn toml(address: SocketAddr, more: &str) -> String {
    with_upstream(&format!("http://{address}"), more)
}

fn with_upstream(upstream: &str, more: &str) -> String {
    format!(
        "[product.app]\nupstreams = [\"{upstream}\"]\n[route.live]\npath = \"/{{*rest}}\"\nproduct = \"app\"\n{more}\n"
    )
}

const ACTIVE: &str = "gateway_protocol_active_connections";
const WEBSOCKET: &str = "protocol=\"websocket\"";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const OPENED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A handshake, byte by byte; `more` are lines.
fn asking(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: a.test\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{more}\r\n"
    )
}

/// How many requests came to an end as `outcome`.
async fn ended(gateway: &TestGateway, outcome: &str, count: f64) {
    let labels = [WEBSOCKET, &format!("outcome=\"{outcome}\"")];
    gateway.counts("gateway_protocol_requests_total", &labels, count).await;
    assert_eq!(gateway.metric(ACTIVE, &[]), 0.0);
}

/// An upstream in the test's hand.
struct Upstream(TcpListener);

impl Upstream {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    async fn stream(&self) -> TcpStream {
        let (stream, _) = soon("a connection of the gateway's", self.0.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    async fn wire(&self) -> Wire {
        Wire::over(self.stream().await)
    }
}

/// Both ends of an open WebSocket, as bytes.
async fn opened(gateway: &TestGateway, upstream: &Upstream) -> (Wire, Wire) {
    let mut client = gateway.wire().await;
    client.send(asking("/", "")).await;
    let mut inbound = upstream.wire().await;
    inbound.response().await;
    inbound.send(OPENED).await;
    assert!(client.response().await.starts_with("HTTP/1.1 101 "));
    (client, inbound)
}

#[tokio::test]
async fn messages_pass_both_ways_and_so_does_the_code_of_a_close() {
    let peer = EchoPeer::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), ""))).await;
    let (mut socket, response) = connect(gateway.address(), "/chat", &[]).await.unwrap();
    assert_eq!(response.status(), 101);
    assert!(response.headers().contains_key("x-request-id"));
    for message in [
        Message::text(""),
        Message::text("grüß Gott"),
        Message::binary(vec![0; 125]),
        Message::binary(vec![1; 126]),
        Message::binary(vec![2; 65_535]),
        Message::binary(vec![3; 65_536]),
        Message::binary((0..16 << 20).map(|at: u32| at.to_le_bytes()[2]).collect::<Vec<_>>()),
    ] {
        assert!(ask(&mut socket, message.clone()).await == message, "{} bytes come back", message.len());
    }
    assert_eq!(ask(&mut socket, Message::Ping("there?".into())).await, Message::Pong("there?".into()));
    assert_eq!(gateway.metric(ACTIVE, &[WEBSOCKET, "product=\"app\""]), 1.0);
    let frame = CloseFrame { code: 4321.into(), reason: "enough".into() };
    let answer = ask(&mut socket, Message::Close(Some(frame.clone()))).await;
    assert_eq!(answer, Message::Close(Some(frame)));
    drop(socket);
    ended(&gateway, "success", 1.0).await;
    for direction in ["in", "out"] {
        let label = format!("direction=\"{direction}\"");
        let bytes = gateway.metric("gateway_websocket_bytes_total", &["product=\"app\"", &label]);
        assert!(bytes > f64::from(16 << 20), "{bytes} bytes {direction}");
    }
    peer.has_open(0).await;
}

#[tokio::test]
async fn many_messages_keep_their_order() {
    use futures_util::{SinkExt as _, StreamExt as _};
    let peer = EchoPeer::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), ""))).await;
    let (socket, _) = connect(gateway.address(), "/", &[]).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let sending = tokio::spawn(async move {
        for number in 0..2000_u32 {
            let message = Message::text(format!("{number} {}", "x".repeat(number as usize % 300)));
            sink.send(message).await.unwrap();
        }
        sink
    });
    for number in 0..2000_u32 {
        let message = soon("a message", stream.next()).await.unwrap().unwrap();
        assert!(message.to_text().unwrap().starts_with(&format!("{number} ")), "{number}: {message:?}");
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn over_tls_on_both_sides() {
    use std::sync::Arc;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tollgate_tests::tls::{self, Authority};

    let authority = Authority::new("a");
    let issued = authority.issue(&["a.test", "localhost"]);
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    // An upstream that would rather speak HTTP/2, if it were offered.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let peer = EchoPeer::start_with(Some(Arc::new(config).into())).await;
    let more = "[product.app.tls]\nca = \"ca.pem\"\n[listener.secure]\naddress = \"127.0.0.1:0\"\n\
                [listener.secure.tls]\ncertificates = [{ certificate = \"a.pem\", key = \"a.key\" }]";
    let upstream = format!("https://localhost:{}", peer.address().port());
    let setup = Setup::new(&with_upstream(&upstream, more));
    issued.write(setup.folder(), "a");
    tls::place(setup.folder().join("ca.pem"), &authority.pem());
    let gateway = TestGateway::start(setup).await;
    let stream = tls::connect(gateway.listener("secure"), "a.test", &Arc::new(authority.client())).await.unwrap();
    let (mut socket, _) = over(Box::new(stream) as Box<dyn Stream>, "/", &[]).await.unwrap();
    let message = Message::binary(vec![7; 300_000]);
    assert!(ask(&mut socket, message.clone()).await == message);
    assert_eq!(peer.handshakes()[0]["x-forwarded-proto"], "https");
}

/// A fragmented message, its first frame with a bit that an extension gave a meaning (permessage-deflate), in pieces that
/// end anywhere: what comes out is what went in.
#[tokio::test]
async fn bytes_of_frames_are_left_alone() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), ""))).await;
    let (mut client, mut inbound) = opened(&gateway, &upstream).await;
    let masked = b"\x41\x85\x01\x02\x03\x04abcde\x89\x80\x09\x08\x07\x06\x80\xfe\x00\x7e\x01\x02\x03\x04";
    let sent = [&masked[..], &[b'x'; 126]].concat();
    for piece in sent.chunks(3) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(inbound.exactly(sent.len()).await, sent);
    let back = b"\xc2\x03abc\x8a\x00";
    inbound.send(back).await;
    assert_eq!(client.exactly(back.len()).await, back);
}

#[tokio::test]
async fn who_has_said_all_may_still_listen() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), ""))).await;
    let (mut client, mut inbound) = opened(&gateway, &upstream).await;
    client.send(b"\x81\x80\0\0\0\0").await;
    client.finish().await;
    assert_eq!(inbound.rest().await, b"\x81\x80\0\0\0\0");
    inbound.send(b"\x81\x02ok").await;
    assert_eq!(client.exactly(4).await, b"\x81\x02ok");
    inbound.finish().await;
    assert_eq!(client.rest().await, b"");
    ended(&gateway, "success", 1.0).await;

    let (mut client, mut inbound) = opened(&gateway, &upstream).await;
    inbound.finish().await;
    assert_eq!(client.rest().await, b"");
    client.send(b"\x81\x80\0\0\0\0").await;
    assert_eq!(inbound.exactly(6).await, b"\x81\x80\0\0\0\0");
    client.finish().await;
    ended(&gateway, "success", 2.0).await;
}

/// The server's first words may come with its 101, the client's with its handshake.
#[tokio::test]
async fn nothing_is_lost_between_handshake_and_messages() {
    let upstream = Upstream::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(upstream.address(), ""))).await;
    let mut client = gateway.wire().await;
    client.send([asking("/", "").as_bytes(), b"\x81\x80\0\0\0\0"].concat()).await;
    let mut inbound = upstream.wire().await;
    let head = inbound.response().await;
    assert!(head.ends_with("\r\n\r\n"), "nothing is sent before the 101: {head}");
    inbound.send([OPENED.as_bytes(), b"\x81\x02hi"].concat()).await;
    assert_eq!(inbound.exactly(6).await, b"\x81\x80\0\0\0\0");
    let head = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client.exactly(4).await, b"\x81\x02hi");
}

#[test]
fn the_key_of_the_raw_handshakes_has_their_answer() {
    assert_eq!(derive_accept_key(KEY.as_bytes()), ACCEPT);
}
