//! The PROXY protocol: believed where it is expected, read nowhere else.

use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tollgate_tests::tls::{self, Authority};
use tollgate_tests::{Setup, TestGateway, Wire};

const GET: &str = "GET /echo HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 192.0.2.1\r\nconnection: close\r\n\r\n";
const LINE: &str = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n";

fn toml(from: &str, more: &str) -> String {
    format!(
        "[product.app]\nbuiltin = \"echo\"\n[route.echo]\npath = \"/echo\"\nproduct = \"app\"\n[timeouts]\nheader = \"300ms\"\n\
         [listener.proxied]\naddress = \"127.0.0.1:0\"\n{more}\n[listener.proxied.proxy_protocol]\nfrom = [\"{from}\"]\n"
    )
}

async fn answer(gateway: &TestGateway, pieces: &[&[u8]]) -> String {
    let mut wire = Wire::open(gateway.listener("proxied")).await;
    for piece in pieces {
        // Whoever is refused in the middle is refused.
        let _closed = wire.send_unless_closed(piece).await;
        tokio::task::yield_now().await;
    }
    String::from_utf8(wire.rest().await).unwrap()
}

fn forwarded_for(answer: &str) -> &str {
    let (_, rest) = answer.split_once("[\"x-forwarded-for\",\"").unwrap_or_else(|| panic!("{answer}"));
    rest.split_once('"').unwrap().0
}

#[tokio::test]
async fn a_listed_peer_says_whose_connection_it_is() {
    let gateway = TestGateway::start(Setup::new(&toml("127.0.0.0/8", ""))).await;
    // The client is no trusted proxy, so that what it says itself is dropped.
    assert_eq!(forwarded_for(&answer(&gateway, &[LINE.as_bytes(), GET.as_bytes()]).await), "203.0.113.9");
    let together = [LINE, GET].concat();
    assert_eq!(forwarded_for(&answer(&gateway, &[together.as_bytes()]).await), "203.0.113.9");
    let pieces: Vec<_> = together.as_bytes().chunks(7).collect();
    assert_eq!(forwarded_for(&answer(&gateway, &pieces).await), "203.0.113.9");
    let binary = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f"[..],
        &[198, 51, 100, 4, 10, 0, 0, 1, 0, 80, 1, 187],
        b"\x04\0\0",
        GET.as_bytes(),
    ];
    assert_eq!(forwarded_for(&answer(&gateway, &[&binary.concat()]).await), "198.51.100.4");
    // The proxy's own connections are its own, and it is trusted.
    let own = answer(&gateway, &[b"PROXY UNKNOWN\r\n", GET.as_bytes()]).await;
    assert_eq!(forwarded_for(&own), "192.0.2.1, 127.0.0.1");
    let own = answer(&gateway, &[b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", GET.as_bytes()]).await;
    assert_eq!(forwarded_for(&own), "192.0.2.1, 127.0.0.1");
}

#[tokio::test]
async fn a_listed_peer_that_says_nothing_good_is_let_go() {
    let gateway = TestGateway::start(Setup::new(&toml("127.0.0.0/8", ""))).await;
    let bad: [&[u8]; 4] = [GET.as_bytes(), b"PROXY TCP4 a b 1 2\r\n", &LINE.as_bytes()[..20], b"PROXY TCP4\n"];
    for (count, said) in bad.iter().enumerate() {
        assert_eq!(answer(&gateway, &[said]).await, "", "{}", String::from_utf8_lossy(said));
        let labels = ["listener=\"proxied\"", "reason=\"proxy_protocol\""];
        gateway.counts("gateway_listener_closed_connections_total", &labels, count as f64 + 1.0).await;
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let gateway = TestGateway::start(Setup::new(&toml("10.0.0.0/8", ""))).await;
    assert!(answer(&gateway, &[LINE.as_bytes(), GET.as_bytes()]).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(forwarded_for(&answer(&gateway, &[GET.as_bytes()]).await), "192.0.2.1, 127.0.0.1");
}

#[tokio::test]
async fn it_comes_before_tls() {
    let authority = Authority::new("a");
    let more = "tls = { certificates = [{ certificate = \"a.pem\", key = \"a.key\" }] }";
    let setup = Setup::new(&toml("127.0.0.1", more));
    authority.issue(&["a.test"]).write(setup.folder(), "a");
    let gateway = TestGateway::start(setup).await;
    let mut stream = TcpStream::connect(gateway.listener("proxied")).await.unwrap();
    stream.write_all(LINE.as_bytes()).await.unwrap();
    let mut wire = Wire::over(tls::over(stream, "a.test", &Arc::new(authority.client())).await.unwrap());
    wire.send(GET).await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert_eq!(forwarded_for(&answer), "203.0.113.9");
    assert!(answer.contains("[\"x-forwarded-proto\",\"https\"]"), "{answer}");
}
