//! Propagators and routers, through the front door: what travels, where it goes, and what a plugin that does wrong can do.

use bytes::Bytes;
use http::Method;
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
            let label = format!("reason=\"{reason}\"");
            let before = gateway.metric("gateway_plugin_faults_total", &[&label]);
            let answer = get(&gateway, &[("x-mode", mode), ("x-when", when)]).await;
            assert_eq!(answer.code(), (503, "plugin_fault".into()), "{mode} on the {when}");
            assert!(!answer.headers.contains_key("x-meddled"), "{mode}: nothing of a bad answer is made");
            assert_eq!(gateway.metric("gateway_plugin_faults_total", &[&label]), before + 1.0, "{mode} on the {when}");
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
    let head = wire.until("data: 1\n\n").await;
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
    gateway.setup.place("late", &std::fs::read(plugins::component("guest-stamper")).unwrap());
    eventually("the plugin", async || (get(&gateway, &[]).await.status == 200).then_some(())).await;
    // A router in its place is refused: the route uses it otherwise.
    gateway.setup.place("late", &std::fs::read(plugins::component("guest-chooser")).unwrap());
    let labels = ["plugin=\"late\"", "outcome=\"refused\""];
    gateway.counts("gateway_plugin_reloads_total", &labels, 1.0).await;
    assert_eq!(get(&gateway, &[]).await.field("x-stamped"), "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_propagator_is_swapped_under_traffic_and_nobody_is_turned_away() {
    let toml = "[product.app]\nbuiltin = \"echo\"\n".to_owned()
        + &route("[[route.p.plugin]]\nuse = \"hot\"\noptions = { stamp = \"s\" }\n");
    let setup = Setup::new(&toml);
    setup.place("hot", &std::fs::read(plugins::component("guest-stamper")).unwrap());
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
