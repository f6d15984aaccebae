//! Propagators and routers, through the front door: what travels, where it goes, and what a plugin that does wrong can do.

use std::fs;
use std::process::Command;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tollgate_tests::peers::{Peer, Reply};
use tollgate_tests::{Answer, Setup, TestGateway, eventually, plugins, soon};

/// A route `/p` to a product `app` with these plugin tables.
fn route(tables: &str) -> String {
    format!("[route.p]\npath = \"/p\"\nproduct = \"app\"\n{tables}")
}

fn stamper(stamp: &str) -> String {
    format!("[[route.p.plugin]]\nuse = \"guest-stamper\"\noptions = {{ stamp = \"{stamp}\" }}\n")
}

const MEDDLER: &str = "[[route.p.plugin]]\nuse = \"guest-meddler\"\n";
const CHOOSER: &str = "[[route.p.plugin]]\nuse = \"guest-chooser\"\ncandidates = [\"app\", \"other\"]\n";

async fn get(gateway: &TestGateway, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    gateway.request(Method::GET, "/p", &headers, Bytes::new()).await
}

fn values<'a>(headers: &'a http::HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn propagators_edit_both_heads_in_the_order_written() {
    let peer = Peer::scripted([Reply::With(201, "x-stamped", "upstream".into())]).await;
    let tables = stamper("first") + &stamper("second");
    let gateway = TestGateway::start(Setup::new(&(peer.product("app") + &route(&tables)))).await;
    let answer = get(&gateway, &[("x-stamp", "client"), ("x-secret-note", "psst"), ("x-kept", "1")]).await;
    assert_eq!(answer.status, 201);
    assert_eq!(values(&answer.headers, "x-stamped"), ["upstream", "201", "201"]);
    let seen = &peer.delivered(1).await[0].headers;
    assert_eq!(values(seen, "x-stamp"), ["second"]);
    assert_eq!(values(seen, "x-kept"), ["1"]);
    assert!(!seen.contains_key("x-secret-note"), "{seen:?}");
    // What the gateway says is said after them.
    assert!(seen.contains_key("x-forwarded-for") && seen.contains_key("traceparent"), "{seen:?}");
    for (hook, calls) in [("on_request", 2.0), ("on_response", 2.0), ("choose", 0.0)] {
        let labels = ["plugin=\"guest-stamper\"", &format!("hook=\"{hook}\""), "outcome=\"allow\""];
        assert_eq!(gateway.metric("gateway_plugin_calls_total", &labels), calls, "{hook}");
    }
}

#[tokio::test]
async fn a_refusal_is_the_clients_and_reaches_nobody() {
    let peer = Peer::scripted([]).await;
    let gateway = TestGateway::start(Setup::new(&(peer.product("app") + &route(&stamper("x"))))).await;
    let answer = get(&gateway, &[("x-unwanted", "1")]).await;
    assert_eq!(answer.code(), (403, "refused".into()));
    assert_eq!(peer.deliveries().len(), 0);
    let labels = ["plugin=\"guest-stamper\"", "outcome=\"refuse\""];
    assert_eq!(gateway.metric("gateway_plugin_calls_total", &labels), 1.0);
    assert_eq!(gateway.metric("gateway_protocol_requests_total", &["product=\"app\"", "outcome=\"rejected\""]), 1.0);
}

#[tokio::test]
async fn a_router_chooses_the_product_and_its_requests_count_there() {
    let (app, other) = (Peer::scripted([]).await, Peer::scripted([]).await);
    let toml = app.product("app") + &other.product("other") + &route(CHOOSER);
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    assert_eq!(get(&gateway, &[]).await.status, 200);
    assert_eq!(get(&gateway, &[("x-product", "app")]).await.status, 200);
    assert_eq!((app.deliveries().len(), other.deliveries().len()), (2, 0));
    assert_eq!(get(&gateway, &[("x-product", "other")]).await.status, 200);
    assert_eq!((app.deliveries().len(), other.deliveries().len()), (2, 1));
    assert_eq!(get(&gateway, &[("x-product", "nowhere")]).await.code(), (400, "refused".into()));
    for (product, requests) in [("app", 3.0), ("other", 1.0)] {
        let product = format!("product=\"{product}\"");
        gateway.counts("gateway_protocol_requests_total", &[&product], requests).await;
        assert_eq!(gateway.metric("gateway_protocol_active_connections", &[&product]), 0.0);
    }
}

#[tokio::test]
async fn a_router_that_chooses_what_it_may_not_closes_the_route() {
    let (app, other) = (Peer::scripted([]).await, Peer::scripted([]).await);
    let toml = app.product("app") + &other.product("other") + &route(CHOOSER);
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    for chosen in ["app,other", "elsewhere", "app,app"] {
        assert_eq!(get(&gateway, &[("x-blindly", chosen)]).await.code(), (503, "plugin_fault".into()), "{chosen}");
    }
    assert_eq!((app.deliveries().len(), other.deliveries().len()), (0, 0));
    assert_eq!(gateway.metric("gateway_plugin_faults_total", &["reason=\"lie\""]), 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_edit_discards_them_all_and_nothing_goes_on() {
    let peer = Peer::scripted([]).await;
    let gateway = TestGateway::start_alone(Setup::new(&(peer.product("app") + &route(MEDDLER)))).await;
    let mut reached = 0;
    for (mode, reason) in [
        ("field:host", "lie"),
        ("field:content-length", "lie"),
        ("field::authority", "lie"),
        ("field:transfer-encoding", "lie"),
        ("field:connection", "lie"),
        ("field:x-forwarded-for", "lie"),
        ("field:x-request-id", "lie"),
        ("field:sec-websocket-key", "lie"),
        ("field:grpc-timeout", "lie"),
        ("smuggle", "lie"),
        ("many", "lie"),
        ("large", "lie"),
        ("trap", "trap"),
    ] {
        for when in ["request", "response"] {
            // What takes long to make, a busy machine may cut off before it is judged.
            let counted = || {
                let of =
                    |reason: &str| gateway.metric("gateway_plugin_faults_total", &[&format!("reason=\"{reason}\"")]);
                of(reason) + of("deadline")
            };
            let before = counted();
            let answer = get(&gateway, &[("x-mode", mode), ("x-when", when)]).await;
            assert_eq!(answer.code(), (503, "plugin_fault".into()), "{mode} on the {when}");
            assert!(!answer.headers.contains_key("x-meddled"), "{mode}: nothing of a bad answer is made");
            assert_eq!(counted(), before + 1.0, "{mode} on the {when}");
            reached += usize::from(when == "response");
            assert_eq!(peer.deliveries().len(), reached, "{mode} on the {when}");
            // In between it does right, so that it is not parked.
            assert_eq!(get(&gateway, &[]).await.field("x-meddled"), "yes");
            reached += 1;
        }
    }
    assert_eq!(get(&gateway, &[("x-mode", "spin")]).await.code(), (503, "plugin_fault".into()));
    assert_eq!(get(&gateway, &[("x-mode", "refuse_200")]).await.code(), (503, "plugin_fault".into()));
}

#[tokio::test]
async fn a_stream_passes_with_its_head_edited() {
    let peer = Peer::answering(Reply::Events(None)).await;
    let gateway = TestGateway::start(Setup::new(&(peer.product("app") + &route(&stamper("x"))))).await;
    let mut wire = gateway.wire().await;
    wire.send("GET /p HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n").await;
    // The first event is here while the stream is open.
    let head = String::from_utf8(wire.until(b"data: 1\n\n").await).unwrap();
    assert!(head.contains("x-stamped: 200") && head.contains("content-type: text/event-stream"), "{head}");
    assert_eq!(gateway.metric("gateway_protocol_active_connections", &["protocol=\"sse\""]), 1.0);
    peer.release();
}

#[tokio::test]
async fn a_plugin_that_is_not_there_closes_its_route_and_no_other() {
    let toml = "[product.app]\nbuiltin = \"echo\"\n".to_owned()
        + &route("[[route.p.plugin]]\nuse = \"late\"\noptions = { stamp = \"late\" }\n")
        + "[route.q]\npath = \"/q\"\nproduct = \"app\"\n";
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    assert_eq!(get(&gateway, &[]).await.code(), (503, "plugin_fault".into()));
    assert_eq!(gateway.request(Method::GET, "/q", &[], Bytes::new()).await.status, 200);
    gateway.setup.place("late", &fs::read(plugins::component("guest-stamper")).unwrap());
    eventually("the plugin", async || (get(&gateway, &[]).await.status == 200).then_some(())).await;
    // A router in its place is refused: the route uses it otherwise.
    gateway.setup.place("late", &fs::read(plugins::component("guest-chooser")).unwrap());
    let labels = ["plugin=\"late\"", "outcome=\"refused\""];
    gateway.counts("gateway_plugin_reloads_total", &labels, 1.0).await;
    assert_eq!(get(&gateway, &[]).await.field("x-stamped"), "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_propagator_is_swapped_under_traffic_and_nobody_is_turned_away() {
    let toml = "[product.app]\nbuiltin = \"echo\"\n".to_owned()
        + &route("[[route.p.plugin]]\nuse = \"hot\"\noptions = { stamp = \"s\" }\n");
    let setup = Setup::new(&toml);
    setup.place("hot", &fs::read(plugins::component("guest-stamper")).unwrap());
    let gateway = TestGateway::start(setup).await;
    let mut connection = gateway.connect().await;
    for nth in 1..=3 {
        gateway.setup.place("hot", &plugins::never_compiled("guest-stamper"));
        let swapped = async {
            let labels = ["plugin=\"hot\"", "outcome=\"live\""];
            while gateway.metric("gateway_plugin_reloads_total", &labels) < f64::from(nth + 1) {
                let answer = connection.request(Method::GET, "/p", &[], Bytes::new()).await.unwrap();
                assert_eq!((answer.status.as_u16(), answer.field("x-stamped")), (200, "200"));
            }
        };
        soon("a swap", swapped).await;
    }
}

#[tokio::test]
async fn options_that_a_plugin_does_not_take_are_problems_with_their_place() {
    let toml = "[product.app]\nbuiltin = \"echo\"\n".to_owned() + &route(&stamper("x"));
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let bad = "[product.app]\nbuiltin = \"echo\"\n".to_owned()
        + &route(&(stamper("x") + "[[route.p.plugin]]\nuse = \"guest-stamper\"\noptions = { stamp = 7 }\n"));
    let problems = gateway.reload_with(&bad).await.unwrap_err().to_string();
    assert!(problems.contains("tollgate.toml:15:21: the plugin guest-stamper does not accept this"), "{problems}");
    assert!(problems.contains("option `stamp`: expected a string"), "{problems}");
    let router = "[product.app]\nbuiltin = \"echo\"\n".to_owned()
        + &route("[[route.p.plugin]]\nuse = \"guest-stamper\"\noptions = { stamp = \"x\" }\ncandidates = [\"app\"]\n");
    let problems = gateway.reload_with(&router).await.unwrap_err().to_string();
    assert!(problems.contains("`candidates` are for routers"), "{problems}");
    assert_eq!(get(&gateway, &[]).await.field("x-stamped"), "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_does_what_its_readme_says() {
    let installed = Command::new("sh").args(["-c", "command -v curl"]).output().unwrap();
    if !installed.status.success() {
        eprintln!("skipped: the example's send.sh needs curl, which is not installed");
        return;
    }
    let example = plugins::root().join("examples/plugins");
    let toml = fs::read_to_string(example.join("tollgate.toml")).unwrap();
    let setup = Setup::new(&toml);
    assert!(toml.contains("127.0.0.1:8080"), "the example moved");
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    setup.write_whole(&(toml.replace("127.0.0.1:8080", "127.0.0.1:0") + admin));
    let gateway = TestGateway::start(setup).await;
    let (url, admin) = (format!("http://{}", gateway.address()), format!("http://{}", gateway.admin_address()));
    let send = move || Command::new("sh").arg(example.join("send.sh")).args([url, admin]).output().unwrap();
    let sent = tokio::task::spawn_blocking(send).await.unwrap();
    let sent = String::from_utf8(sent.stdout).unwrap() + &String::from_utf8_lossy(&sent.stderr);
    let line = |start: &str| sent.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{sent}"));
    assert!(line("no tenant:").contains("\"code\":\"refused\"") && line("no tenant:").ends_with(" 400"), "{sent}");
    let tenant = line("tenant:");
    for (has, field) in [
        (true, "[\"x-auth-user\",\"ada\"]"),
        (true, "[\"x-via\",\"app/http\"]"),
        (false, "\"x-user\""),
        (false, "x-internal-role"),
    ] {
        assert_eq!(tenant.contains(field), has, "{field} in {tenant}");
    }
    assert!(line("by query:").contains("[\"x-tenant\",\"acme\"]"), "{sent}");
    let served = |product: &str| gateway.metric("gateway_protocol_requests_total", &["outcome=\"success\"", product]);
    let (app, next) = (served("product=\"app\""), served("product=\"app-next\""));
    assert_eq!(app + next, 103.0, "{sent}");
    assert!((3.0..=25.0).contains(&next), "a tenth of a hundred tenants, and the one that asked: {next}");
    assert_eq!(get_orders(&gateway).await.field("x-frame-options"), "DENY");
}

async fn get_orders(gateway: &TestGateway) -> Answer {
    let tenant = [("x-tenant".to_owned(), "acme".to_owned())];
    gateway.request(Method::GET, "/orders", &tenant, Bytes::new()).await
}

/// A server that speaks HTTP/2 without TLS: it answers what tenant it was told of, and gRPC's trailers.
async fn grpc_upstream() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                let tenant = request.headers().get("x-tenant").cloned().unwrap_or(HeaderValue::from_static("none"));
                let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
                let body = Full::new(Bytes::from_static(b"\0\0\0\0\0")).with_trailers(async { Some(Ok(trailers)) });
                let response = Response::builder().header("content-type", "application/grpc").header("x-seen", tenant);
                response.header("server", "old/1.0").body(body)
            });
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn grpcs_metadata_is_edited_and_its_trailers_pass() {
    let upstream = grpc_upstream().await;
    let toml = format!(
        "[product.app]\nupstreams = [\"http://{upstream}\"]\n{}",
        route(
            "[[route.p.plugin]]\nuse = \"request-context\"\n[route.p.plugin.options]\nrequire = [\"x-user\"]\n\
             set = { x-tenant = \"{protocol}-acme\" }\nresponse_drop = [\"server\"]\n"
        )
    );
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut call = async |user: Option<&str>| {
        let mut request = Request::post(format!("http://{}/p", gateway.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(user) = user {
            request = request.header("x-user", user);
        }
        let request = request.body(Full::new(Bytes::from_static(b"\0\0\0\0\0"))).unwrap();
        let (head, body) = soon("a response", sender.send_request(request)).await.unwrap().into_parts();
        (head, soon("a body", body.collect()).await.unwrap())
    };
    let (head, body) = call(Some("ada")).await;
    assert_eq!((head.status.as_u16(), head.headers["x-seen"].to_str().unwrap()), (200, "grpc-acme"));
    assert!(!head.headers.contains_key("server"));
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    // What a plugin refuses is gRPC's to read.
    let (head, _) = call(None).await;
    let status = head.headers.get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
    assert_eq!((head.status.as_u16(), status.as_deref()), (200, Some("3")));
}

#[tokio::test]
async fn a_websockets_handshake_carries_what_plugins_say_and_stays_one() {
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let toml = format!(
        "[product.app]\nbuiltin = \"echo\"\n[product.other]\nupstreams = [\"http://{}\"]\n{}",
        upstream.local_addr().unwrap(),
        route(
            "[[route.p.plugin]]\nuse = \"request-context\"\n[route.p.plugin.options]\nrequire = [\"x-tenant\"]\n\
             from_query = { x-tenant = \"tenant\" }\nset = { x-product = \"other\" }\nresponse_drop = [\"server\"]\n"
        ) + CHOOSER
    );
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let asking = |query: &str| {
        format!(
            "GET /p{query} HTTP/1.1\r\nhost: a.test\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let mut refused = gateway.wire().await;
    refused.send(asking("")).await;
    assert!(refused.response().await.starts_with("HTTP/1.1 400 "));

    let mut client = gateway.wire().await;
    client.send(asking("?tenant=acme")).await;
    let (stream, _) = soon("a connection of the gateway's", upstream.accept()).await.unwrap();
    let mut product = tollgate_tests::Wire::over(stream);
    let head = String::from_utf8(product.until(b"\r\n\r\n").await).unwrap();
    for line in ["x-tenant: acme\r\n", "x-product: other\r\n", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"] {
        assert!(head.contains(line), "{line} in {head}");
    }
    let opened = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nserver: old/1.0\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    product.send(opened).await;
    let answer = String::from_utf8(client.until(b"\r\n\r\n").await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("sec-websocket-accept: "), "{answer}");
    assert!(!answer.contains("server:"), "{answer}");
    // A short text frame of the server's, whole.
    product.send(b"\x81\x02hi").await;
    assert_eq!(client.exactly(4).await, b"\x81\x02hi");
}
