//! TLS towards upstreams.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::peers::{self, Asked, plan_in};
use crate::support::{TestGateway, soon};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A certificate for `names`, and its key, as PEM.
fn issued(issuer: &Issuer, names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let certificate = CertificateParams::new(names).expect("names").signed_by(&key, issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// What a secure upstream saw of a connection.
struct Handshake {
    alpn: Option<Vec<u8>>,
    server_name: Option<String>,
    client: bool,
}

struct Secure {
    port: u16,
    handshakes: mpsc::UnboundedReceiver<Handshake>,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Secure {
    /// One with a certificate for `names` that speaks `protocols` and, when given, takes only clients of `clients`.
    /// HTTP/1.1 it answers with 200 itself.
    async fn start(issuer: &Issuer, names: &[&str], protocols: &[&str], clients: Option<&Issuer>) -> Self {
        let (certificate, key) = issued(issuer, names);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(clients.der().clone()).expect("a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
        };
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let mut config = builder.with_single_cert(vec![certificate], key).expect("a pair");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let (seen, handshakes) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let (_, state) = stream.get_ref();
                let handshake = Handshake {
                    alpn: state.alpn_protocol().map(<[u8]>::to_vec),
                    server_name: state.server_name().map(str::to_owned),
                    client: state.peer_certificates().is_some(),
                };
                let multiplexed = handshake.alpn.as_deref() == Some(b"h2");
                let _nobody_looks = seen.send(handshake);
                if multiplexed {
                    let (_, orders) = mpsc::unbounded_channel();
                    tokio::spawn(peers::serve(stream, h2::server::Builder::new(), 1, asks.clone(), orders));
                } else {
                    let mut head = vec![];
                    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _gone = stream.write_all(answer).await;
                    let _gone = stream.shutdown().await;
                }
            }
        });
        Self { port, handshakes, asked }
    }

    async fn handshake(&mut self) -> Handshake {
        soon(self.handshakes.recv()).await.expect("the upstream runs")
    }
}

fn toml(port: u16, tls: &str) -> String {
    format!(
        "[route.up]\npath = \"/{{*rest}}\"\nproduct = \"up\"\n[product.up]\nupstreams = [\"https://127.0.0.1:{port}\"]\n\
         [product.up.tls]\n{tls}"
    )
}

async fn status(gateway: &TestGateway) -> (String, String) {
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    (answer.split(' ').nth(1).unwrap_or_default().to_owned(), answer)
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("writes");
}

#[tokio::test]
async fn http2_is_spoken_where_the_upstream_likes_it_else_http1() {
    let folder = tempfile::tempdir().expect("a folder");
    let issuer = authority();
    write(folder.path(), "ca.pem", &issuer.pem());
    let mut modern = Secure::start(&issuer, &["127.0.0.1"], &["h2", "http/1.1"], None).await;
    let gateway = TestGateway::start(&plan_in(folder.path(), &toml(modern.port, "ca = \"ca.pem\"")));
    let client = peers::client(&gateway).await;
    let asking: Vec<_> = (0..5).map(|_| peers::get(&client, "/")).collect();
    for _ in 0..5 {
        let asked = soon(modern.asked.recv()).await.expect("the upstream runs");
        assert_eq!(asked.request.uri().scheme_str(), Some("https"));
        asked.ok("secure");
    }
    for answer in asking {
        assert_eq!(soon(answer).await.expect("runs"), (200, "secure".into()));
    }
    assert_eq!(modern.handshake().await.alpn.as_deref(), Some(&b"h2"[..]));
    assert!(modern.handshakes.try_recv().is_err(), "one connection served them all");

    for protocols in [&["http/1.1"][..], &[]] {
        let mut plain = Secure::start(&issuer, &["127.0.0.1"], protocols, None).await;
        let gateway = TestGateway::start(&plan_in(folder.path(), &toml(plain.port, "ca = \"ca.pem\"")));
        assert_eq!(status(&gateway).await.0, "200");
        assert_ne!(plain.handshake().await.alpn.as_deref(), Some(&b"h2"[..]));
    }
}

#[tokio::test]
async fn who_is_not_trusted_or_has_another_name_gets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (issuer, stranger) = (authority(), authority());
    write(folder.path(), "ca.pem", &issuer.pem());
    write(folder.path(), "stranger.pem", &stranger.pem());
    for (names, tls) in [
        (&["127.0.0.1"][..], "ca = \"stranger.pem\""),
        (&["127.0.0.1"], ""),
        (&["ledger.internal"], "ca = \"ca.pem\""),
        (&["127.0.0.1"], "ca = \"ca.pem\"\nserver_name = \"ledger.internal\""),
    ] {
        let upstream = Secure::start(&issuer, names, &["http/1.1"], None).await;
        let gateway = TestGateway::start(&plan_in(folder.path(), &toml(upstream.port, tls)));
        let (code, answer) = status(&gateway).await;
        assert_eq!(code, "502", "{names:?} {tls}");
        assert!(answer.contains("\"upstream_tls\""), "{answer}");
    }
    let mut upstream = Secure::start(&issuer, &["ledger.internal"], &["http/1.1"], None).await;
    let named = toml(upstream.port, "ca = \"ca.pem\"\nserver_name = \"ledger.internal\"");
    let gateway = TestGateway::start(&plan_in(folder.path(), &named));
    assert_eq!(status(&gateway).await.0, "200");
    assert_eq!(upstream.handshake().await.server_name.as_deref(), Some("ledger.internal"));
}

#[tokio::test]
async fn an_upstream_that_asks_who_we_are_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let issuer = authority();
    let (certificate, key) = issued(&issuer, &["gateway"]);
    for (name, text) in [("ca.pem", issuer.pem()), ("gw.pem", certificate), ("gw.key", key)] {
        write(folder.path(), name, &text);
    }
    let mut upstream = Secure::start(&issuer, &["127.0.0.1"], &["http/1.1"], Some(&issuer)).await;
    let without = TestGateway::start(&plan_in(folder.path(), &toml(upstream.port, "ca = \"ca.pem\"")));
    assert_eq!(status(&without).await.0, "502");
    let tls = "ca = \"ca.pem\"\ncertificate = \"gw.pem\"\nkey = \"gw.key\"";
    let with = TestGateway::start(&plan_in(folder.path(), &toml(upstream.port, tls)));
    assert_eq!(status(&with).await.0, "200");
    assert!(upstream.handshake().await.client);
}

#[tokio::test]
async fn files_that_did_not_change_keep_their_connections_and_others_take_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let (issuer, stranger) = (authority(), authority());
    write(folder.path(), "ca.pem", &issuer.pem());
    let mut upstream = Secure::start(&issuer, &["127.0.0.1"], &["h2"], None).await;
    let plan = plan_in(folder.path(), &toml(upstream.port, "ca = \"ca.pem\""));
    let gateway = TestGateway::start(&plan);
    let client = peers::client(&gateway).await;
    for _ in 0..2 {
        let answer = peers::get(&client, "/");
        soon(upstream.asked.recv()).await.expect("the upstream runs").ok("same");
        assert_eq!(soon(answer).await.expect("runs").0, 200);
        gateway.reload(&plan);
    }
    upstream.handshake().await;
    assert!(upstream.handshakes.try_recv().is_err(), "the connection lives on");
    write(folder.path(), "ca.pem", &stranger.pem());
    gateway.reload(&plan);
    assert_eq!(soon(peers::get(&client, "/")).await.expect("runs").0, 502);
}
