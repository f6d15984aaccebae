//! TLS as clients see it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::version::TLS12;
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use tollgate_tests::tls::{self, Authority, Issued, place};
use tollgate_tests::{Setup, TestGateway, Wire, eventually, soon};

const GET: &str = "GET /echo HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";

/// A listener `secure` with these certificates, and `more` in its table.
fn toml(certificates: &[&str], more: &str) -> String {
    let pair = |name: &&str| format!("{{ certificate = \"{name}.pem\", key = \"{name}.key\" }}");
    let pairs: Vec<_> = certificates.iter().map(pair).collect();
    format!(
        "[product.app]\nbuiltin = \"echo\"\n[route.echo]\npath = \"/echo\"\nproduct = \"app\"\n\
         [listener.secure]\naddress = \"127.0.0.1:0\"\n[listener.secure.tls]\ncertificates = [{}]\n{more}\n",
        pairs.join(", ")
    )
}

fn setup(files: &[(&str, Issued)], more: &str) -> Setup {
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    let setup = Setup::new(&toml(&names, more));
    for (name, issued) in files {
        issued.write(setup.folder(), name);
    }
    setup
}

type Stream = TlsStream<tokio::net::TcpStream>;

async fn connected(gateway: &TestGateway, host: &str, client: &Arc<ClientConfig>) -> Stream {
    let address = gateway.listener("secure");
    tls::connect(address, host, client).await.unwrap_or_else(|error| panic!("{host}: {error}"))
}

/// The certificate that whoever asks for `host` is shown; the client does not check that it is for `host`.
async fn shown(gateway: &TestGateway, host: &str, client: &Arc<ClientConfig>) -> Vec<u8> {
    connected(gateway, host, client).await.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn asked(stream: Stream, request: &str) -> String {
    let mut wire = Wire::over(stream);
    wire.send(request).await;
    String::from_utf8(wire.rest().await).unwrap()
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken_and_products_learn_of_it() {
    let authority = Authority::new("a");
    let gateway = TestGateway::start(setup(&[("a", authority.issue(&["a.test"]))], "")).await;
    let newest = Arc::new(authority.client());
    let stream = connected(&gateway, "a.test", &newest).await;
    assert_eq!(stream.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let answer = asked(stream, GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("[\"x-forwarded-proto\",\"https\"]"), "{answer}");

    let mut older = authority.client();
    older.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = connected(&gateway, "a.test", &Arc::new(older)).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(asked(stream, GET).await.starts_with("HTTP/1.1 200 OK\r\n"));

    let mut h2 = authority.client();
    h2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = connected(&gateway, "a.test", &Arc::new(h2)).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://a.test/echo").body(Full::new(Bytes::new())).unwrap();
    let answer = soon("an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("[\"x-forwarded-proto\",\"https\"]"));
    drop(sender);
    soon("the end", connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_agrees_on_h2_speaks_h2() {
    let authority = Authority::new("a");
    let gateway = TestGateway::start(setup(&[("a", authority.issue(&["a.test"]))], "")).await;
    let mut h2 = authority.client();
    h2.alpn_protocols = vec![b"h2".to_vec()];
    assert_eq!(asked(connected(&gateway, "a.test", &Arc::new(h2)).await, GET).await, "");
    let mut other = authority.client();
    other.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let refused = tls::connect(gateway.listener("secure"), "a.test", &Arc::new(other)).await;
    assert!(refused.unwrap_err().to_string().contains("NoApplicationProtocol"));
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let authority = Authority::new("a");
    let files = [
        ("first", authority.issue(&["first.test"])),
        ("wild", authority.issue(&["*.wild.test"])),
        ("exact", authority.issue(&["x.wild.test", "Y.test"])),
    ];
    let gateway = TestGateway::start(setup(&files, "")).await;
    let client = Arc::new(authority.client());
    for host in ["first.test", "any.wild.test", "x.wild.test", "y.test"] {
        connected(&gateway, host, &client).await;
    }
    assert_ne!(shown(&gateway, "x.wild.test", &client).await, shown(&gateway, "y.wild.test", &client).await);
    assert_eq!(shown(&gateway, "x.wild.test", &client).await, shown(&gateway, "y.test", &client).await);
    // The first one serves all others, and it is the client's to refuse it.
    for host in ["elsewhere.test", "a.b.wild.test", "127.0.0.1"] {
        let refused = tls::connect(gateway.listener("secure"), host, &client).await;
        assert!(refused.unwrap_err().to_string().contains("not valid for name"), "{host}");
    }
    gateway.counts("gateway_listener_closed_connections_total", &["secure", "\"handshake\""], 3.0).await;
}

#[tokio::test]
async fn a_client_must_show_a_certificate_of_the_authority_where_it_is_required() {
    let (authority, clients, strangers) = (Authority::new("a"), Authority::new("clients"), Authority::new("strangers"));
    let (known, strange) = (clients.issue(&["client"]), strangers.issue(&["client"]));
    for (auth, nobody_gets_in) in [("required", false), ("optional", true)] {
        let more = format!("client_ca = \"clients.pem\"\nclient_auth = \"{auth}\"");
        let setup = setup(&[("a", authority.issue(&["a.test"]))], &more);
        place(setup.folder().join("clients.pem"), &clients.pem());
        let gateway = TestGateway::start(setup).await;
        for (own, gets_in) in [(None, nobody_gets_in), (Some(&known), true), (Some(&strange), false)] {
            let client = Arc::new(authority.client_with(own));
            // In TLS 1.3 a client learns that it is refused with the first answer.
            let answer = asked(connected(&gateway, "a.test", &client).await, GET).await;
            assert_eq!(answer.starts_with("HTTP/1.1 200 "), gets_in, "{auth} {}: {answer}", own.is_some());
        }
    }
}

#[tokio::test]
async fn a_session_is_resumed_on_any_worker_and_by_the_next_generation() {
    let authority = Authority::new("a");
    let gateway = TestGateway::start(setup(&[("a", authority.issue(&["a.test"]))], "")).await;
    let mut roots = RootCertStore::empty();
    roots.add(der(&authority.pem())).unwrap();
    let older = ClientConfig::builder_with_provider(authority.client().crypto_provider().clone());
    let older = older.with_protocol_versions(&[&TLS12]).unwrap().with_root_certificates(roots).with_no_client_auth();
    for client in [Arc::new(authority.client()), Arc::new(older)] {
        let mut kinds = Vec::new();
        for round in 0..8 {
            if round == 4 {
                gateway.reload_with(&toml(&["a"], "")).await.unwrap();
            }
            let mut stream = connected(&gateway, "a.test", &client).await;
            kinds.push(stream.get_mut().1.handshake_kind().unwrap());
            // Tickets come with the answer.
            assert!(asked(stream, GET).await.starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{kinds:?}");
    }
    // Who is asked for more has to begin again.
    place(gateway.setup.folder().join("clients.pem"), &authority.pem());
    let client = Arc::new(authority.client());
    assert!(asked(connected(&gateway, "a.test", &client).await, GET).await.starts_with("HTTP/1.1 200 "));
    let mut used = Wire::over(connected(&gateway, "a.test", &client).await);
    used.send("GET /echo HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert!(used.response().await.starts_with("HTTP/1.1 200 "));
    gateway.reload_with(&toml(&["a"], "client_ca = \"clients.pem\"")).await.unwrap();
    assert_eq!(used.rest().await, b"", "a connection that showed none ends");
    assert_eq!(asked(connected(&gateway, "a.test", &client).await, GET).await, "", "a ticket is no certificate");
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_without_touching_a_connection() {
    let authority = Authority::new("a");
    let gateway = TestGateway::start(setup(&[("a", authority.issue_until(&["a.test"], 2040))], "")).await;
    let expiry = |gateway: &TestGateway| gateway.metric("gateway_tls_certificate_expiry_timestamp_seconds", &["a.pem"]);
    assert_eq!(expiry(&gateway), 2_208_988_800.0);
    let client = Arc::new(authority.client());
    let mut open = Wire::over(connected(&gateway, "a.test", &client).await);
    open.send("GET /echo HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    assert!(open.response().await.starts_with("HTTP/1.1 200 "));

    let renewed = authority.issue_until(&["a.test"], 2050);
    let folder = gateway.setup.folder();
    place(folder.join("a.pem"), &renewed.certificate);
    // The key is still the old one's.
    gateway.counts("gateway_config_reloads_total", &["failure"], 1.0).await;
    assert_eq!(gateway.metric("gateway_config_last_reload_successful", &[]), 0.0);
    assert_eq!(expiry(&gateway), 2_208_988_800.0);
    connected(&gateway, "a.test", &Arc::new(authority.client())).await;

    place(folder.join("a.key"), &renewed.key);
    eventually("the new certificate", || async { (expiry(&gateway) == 2_524_608_000.0).then_some(()) }).await;
    gateway.counts("gateway_config_reloads_total", &["success"], 1.0).await;
    assert_eq!(gateway.metric("gateway_config_last_reload_successful", &[]), 1.0);
    let shown = shown(&gateway, "a.test", &Arc::new(authority.client())).await;
    assert_eq!(shown, der(&renewed.certificate).to_vec());
    open.send(GET).await;
    assert!(open.response().await.starts_with("HTTP/1.1 200 "), "the open connection serves on");
}

#[tokio::test]
async fn every_problem_of_certificates_is_named_at_its_key() {
    let (authority, other) = (Authority::new("a"), Authority::new("b"));
    let good = authority.issue(&["a.test"]);
    let gateway = TestGateway::start(setup(&[("a", good.clone())], "")).await;
    let folder = gateway.setup.folder();
    other.issue(&["b.test"]).write(folder, "b");
    place(folder.join("b.key"), &good.key);
    place(folder.join("c.pem"), "no certificate\n");
    place(folder.join("c.key"), "no key\n");
    let toml = toml(&["a", "b", "c", "d"], "client_ca = \"c.pem\"");
    let problems = gateway.reload_with(&toml).await.unwrap_err();
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| {
            let excerpt = &problem.place.as_ref().unwrap().excerpt;
            let place = problem.place.as_ref().unwrap();
            let spot: String = excerpt.chars().skip(place.column - 1).take(place.width).collect();
            format!("{spot}: {}", problem.message.replace(&format!("{}/", folder.display()), ""))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "\"b.key\": the private key in b.key is not that of the certificate in b.pem",
            "\"c.pem\": the file c.pem has no certificate (-----BEGIN CERTIFICATE-----)",
            "\"d.pem\": the file d.pem cannot be read: No such file or directory (os error 2)",
            "\"c.pem\": the file c.pem has no certificate (-----BEGIN CERTIFICATE-----)",
        ]
    );
    let client = Arc::new(authority.client());
    assert!(asked(connected(&gateway, "a.test", &client).await, GET).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn who_does_not_shake_hands_is_let_go() {
    let authority = Authority::new("a");
    let more = "[timeouts]\nhandshake = \"100ms\"";
    let gateway = TestGateway::start(setup(&[("a", authority.issue(&["a.test"]))], more)).await;
    let address = gateway.listener("secure");
    let mut silent = Wire::open(address).await;
    let mut plain = Wire::open(address).await;
    plain.send(GET).await;
    assert!(!plain.rest().await.starts_with(b"HTTP"), "no answer without TLS");
    assert_eq!(silent.rest().await, b"");
    gateway.counts("gateway_listener_closed_connections_total", &["\"handshake\""], 1.0).await;
    gateway.counts("gateway_listener_closed_connections_total", &["\"handshake_timeout\""], 1.0).await;
    // Somebody who takes long keeps nobody else waiting.
    let _waiting = Wire::open(address).await;
    let client = Arc::new(authority.client());
    let served = async { asked(connected(&gateway, "a.test", &client).await, GET).await };
    let answer = tokio::time::timeout(Duration::from_secs(20), served).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_certificate_that_has_run_out_is_served_and_complained_of() {
    let authority = Authority::new("a");
    let setup = setup(&[("a", authority.issue_until(&["a.test"], 2020))], "");
    let mut check = std::process::Command::new(crate::BINARY);
    let checked = check.arg("check").arg("-c").arg(setup.config()).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(
        said.contains("warning: listener secure: ") && said.contains("ran out at 2020-01-01T00:00:00.000Z"),
        "{said}"
    );
    let gateway = TestGateway::start(setup).await;
    let refused = tls::connect(gateway.listener("secure"), "a.test", &Arc::new(authority.client())).await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("expired"), "{said}");
}

#[tokio::test]
async fn check_names_the_problems_of_certificates() {
    let setup = Setup::new(&toml(&["a"], ""));
    let check = |more: &[&str]| {
        let mut command = std::process::Command::new(crate::BINARY);
        command.arg("check").arg("-c").arg(setup.config()).args(more).output().unwrap()
    };
    let checked = check(&[]);
    assert_eq!(checked.status.code(), Some(2));
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(said.contains("a.pem cannot be read: No such file") && said.contains("tollgate.toml:13:33"), "{said}");
    assert!(check(&["--no-secrets"]).status.success());
}
