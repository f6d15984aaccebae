//! Routes, and what they add: paths, rates, pages of other origins, limits, timeouts. All of it as clients and products
//! see it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use tollgate_tests::{Answer, Peer, Reply, Setup, TestGateway, Wire, eventually, signing};

const SECRET: &str = "a secret";
const APP: &str = "https://app.example.com";

/// A gateway whose product `app` is `peer`.
async fn started(peer: &Peer, toml: &str) -> TestGateway {
    let secret = "[secret.s]\nenv = \"SECRET\"\n";
    TestGateway::start(Setup::new(&format!("{}{secret}{toml}", peer.product("app"))).env("SECRET", SECRET)).await
}

fn route(name: &str, path: &str, more: &str) -> String {
    format!("[route.{name}]\npath = \"{path}\"\nproduct = \"app\"\n{more}\n")
}

fn fields(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn ask(gateway: &TestGateway, method: Method, path: &str, with: &[(&str, &str)]) -> Answer {
    gateway.request(method, path, &fields(with), Bytes::new()).await
}

async fn get(gateway: &TestGateway, path: &str, with: &[(&str, &str)]) -> Answer {
    ask(gateway, Method::GET, path, with).await
}

#[tokio::test]
async fn a_product_sees_the_rewritten_path_and_the_query_as_it_came() {
    let peer = Peer::scripted([]).await;
    let toml = route("api", "/v1/{*rest}", "rewrite = { strip = \"/v1\", add = \"/api\" }")
        + &route(
            "hook",
            "/hooks/{name}",
            "rewrite = { strip = \"/hooks\" }\n[route.hook.webhook]\nverifier = \"github\"\nsecrets = { signing = \"s\" }",
        );
    let gateway = started(&peer, &toml).await;
    for (path, seen) in [
        ("/v1/users/7?page=2&x=%2e", "/api/users/7?page=2&x=%2e"),
        ("/v1", "/api"),
        ("/v1/?q", "/api/?q"),
        ("/./v1/x/../%7ey", "/api/~y"),
        ("/v1//x", "/api//x"),
    ] {
        let count = peer.deliveries().len();
        assert_eq!(get(&gateway, path, &[]).await.status, 200);
        assert_eq!(peer.deliveries()[count].target, seen, "{path}");
    }
    let count = peer.deliveries().len();
    gateway.post("/hooks/github?a=1", &signing::github(SECRET, b"{}")).await.id();
    assert_eq!(peer.delivered(count + 1).await[count].target, "/github?a=1");
}

#[tokio::test]
async fn each_client_has_a_rate_of_its_own_and_a_reload_gives_nobody_a_second_burst() {
    let peer = Peer::scripted([]).await;
    let toml = |rate: &str, more: &str| {
        peer.product("app") + &route("api", "/api", &format!("rate = {{ {rate} }}")) + &route("other", "/other", more)
    };
    let slow = "per_second = 0.001, burst = 2";
    let gateway = TestGateway::start(Setup::new(&toml(slow, ""))).await;
    let (one, other) = ([("x-forwarded-for", "192.0.2.1")], [("x-forwarded-for", "192.0.2.2")]);
    assert_eq!(get(&gateway, "/api", &one).await.status, 200);
    assert_eq!(get(&gateway, "/api", &one).await.status, 200);
    let refused = get(&gateway, "/api", &one).await;
    assert_eq!(refused.code(), (429, "rate_limited".into()));
    let wait: u64 = refused.field("retry-after").parse().expect("seconds");
    assert!((900..=1000).contains(&wait), "{wait}");
    assert_eq!(get(&gateway, "/api", &other).await.status, 200);
    assert_eq!(get(&gateway, "/other", &one).await.status, 200);
    assert_eq!(peer.deliveries().len(), 4, "what is refused does not reach the product");
    let labels = ["product=\"app\"", "outcome=\"rejected\""];
    gateway.counts("gateway_protocol_requests_total", &labels, 1.0).await;

    gateway.setup.write(&toml(slow, "method = \"GET\""));
    gateway.reload().await.expect("a good file");
    assert_eq!(get(&gateway, "/api", &one).await.status, 429, "the rate is the same, and so are the counts");
    gateway.setup.write(&toml("per_second = 0.001, burst = 3", ""));
    gateway.reload().await.expect("a good file");
    assert_eq!(get(&gateway, "/api", &one).await.status, 200, "another rate counts anew");
}

#[tokio::test]
async fn a_webhook_route_has_a_rate_too() {
    let peer = Peer::scripted([]).await;
    let rate = "rate = { per_second = 0.001, burst = 1, by = \"route\" }";
    let webhook = "[route.hook.webhook]\nverifier = \"github\"\nsecrets = { signing = \"s\" }\n";
    let gateway = started(&peer, &route("hook", "/hook", &format!("{rate}\n{webhook}"))).await;
    gateway.post("/hook", &signing::github(SECRET, b"1")).await.id();
    let refused = gateway.post("/hook", &signing::github(SECRET, b"2")).await;
    assert_eq!(refused.code(), (429, "rate_limited".into()));
    assert!(!refused.field("retry-after").is_empty());
    assert_eq!(gateway.events().await.len(), 1);
    assert_eq!((gateway.outcomes("hook", "accepted"), gateway.outcomes("hook", "rate_limited")), (1.0, 1.0));
    assert_eq!(ask(&gateway, Method::PUT, "/hook", &[]).await.code(), (405, "method".into()));
    assert_eq!(gateway.outcomes("hook", "method"), 1.0);
}

/// The fields of an answer that say who may read it.
fn leave(answer: &Answer) -> Vec<(String, String)> {
    let of = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let ours = name.as_str().starts_with("access-control-") || name == "vary";
        ours.then(|| (name.to_string(), value.to_str().expect("text").to_owned()))
    };
    let mut leave: Vec<_> = answer.headers.iter().filter_map(of).collect();
    leave.sort();
    leave
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_gateway_and_never_forwarded() {
    let peer = Peer::scripted([]).await;
    let cors = format!("cors = {{ origins = [\"{APP}\"], credentials = true, max_age = \"10m\" }}");
    let toml =
        route("read", "/api", &format!("method = [\"GET\", \"PUT\"]\nheader = {{ x-tenant = \"acme\" }}\n{cors}"))
            + &route("write", "/api", "method = \"POST\"")
            + &route("open", "/open", "cors = { origins = \"*\", headers = [\"X-A\"] }\nrate = { per_second = 0.001 }");
    let gateway = started(&peer, &toml).await;
    let preflight = |origin: &'static str, method: &'static str, headers: &'static str| {
        [("origin", origin), ("access-control-request-method", method), ("access-control-request-headers", headers)]
    };
    let vary = ("vary", "origin, access-control-request-method, access-control-request-headers");
    let answer = ask(&gateway, Method::OPTIONS, "/api", &preflight(APP, "PUT", "x-tenant,x-b")).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    assert_eq!(
        leave(&answer),
        fields(&[
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "x-tenant,x-b"),
            ("access-control-allow-methods", "GET, PUT, HEAD"),
            ("access-control-allow-origin", APP),
            ("access-control-max-age", "600"),
            vary,
        ])
    );
    let stranger = ask(&gateway, Method::OPTIONS, "/api", &preflight("https://evil.test", "PUT", "x-tenant")).await;
    assert_eq!((stranger.status.as_u16(), leave(&stranger)), (204, fields(&[vary])));
    for _ in 0..3 {
        let anybody = ask(&gateway, Method::OPTIONS, "/open", &preflight("https://evil.test", "DELETE", "x-b")).await;
        assert_eq!(
            leave(&anybody),
            fields(&[
                ("access-control-allow-headers", "x-a"),
                ("access-control-allow-methods", "DELETE"),
                ("access-control-allow-origin", "*"),
                vary,
            ]),
            "and it does not count against the rate"
        );
    }
    // What the announced request would not reach: another route's method, a field that is not announced.
    for no_route in [preflight(APP, "POST", "x-tenant"), preflight(APP, "PUT", "x-b")] {
        assert_eq!(ask(&gateway, Method::OPTIONS, "/api", &no_route).await.status, 405);
    }
    assert!(peer.deliveries().is_empty());
    let anybody = get(&gateway, "/open", &[]).await;
    assert_eq!(leave(&anybody), fields(&[("access-control-allow-origin", "*")]), "a cache may keep it for all");
}

#[tokio::test]
async fn a_route_gives_no_leave_for_what_another_serves() {
    let peer = Peer::scripted([]).await;
    let cors = format!("cors = {{ origins = [\"{APP}\"], credentials = true }}");
    let toml = route("all", "/api/{*rest}", &cors) + &route("admin", "/api/admin", "method = \"DELETE\"");
    let gateway = started(&peer, &toml).await;
    let preflight = |method| [("origin", APP), ("access-control-request-method", method)];
    let leave = ask(&gateway, Method::OPTIONS, "/api/admin", &preflight("PUT")).await;
    assert_eq!((leave.status.as_u16(), leave.field("access-control-allow-methods")), (204, "PUT"));
    let none = ask(&gateway, Method::OPTIONS, "/api/admin", &preflight("DELETE")).await;
    assert_eq!((none.status.as_u16(), none.field("access-control-allow-methods")), (200, ""));
    assert_eq!(peer.deliveries().len(), 1, "the product of the route that takes every method answers it");
}

#[tokio::test]
async fn who_may_read_an_answer_is_the_gateways_to_say_on_errors_too() {
    let theirs = Reply::With(200, "access-control-allow-origin", "https://evil.test".into());
    let peer =
        Peer::scripted([theirs.clone(), theirs.clone(), theirs, Reply::With(200, "vary", "accept, Origin".into())])
            .await;
    let cors = format!("cors = {{ origins = [\"{APP}\"], expose = [\"X-Total\"] }}");
    let gateway =
        started(&peer, &route("api", "/api", &format!("{cors}\nrate = {{ per_second = 0.001, burst = 5 }}"))).await;
    let allowed =
        [("access-control-allow-origin", APP), ("access-control-expose-headers", "x-total"), ("vary", "origin")];
    assert_eq!(leave(&get(&gateway, "/api", &[("origin", APP)]).await), fields(&allowed));
    let vary = fields(&[("vary", "origin")]);
    assert_eq!(leave(&get(&gateway, "/api", &[("origin", "https://evil.test")]).await), vary);
    assert_eq!(leave(&get(&gateway, "/api", &[]).await), vary, "caches are told also where no origin asked");
    let told = [allowed[0], allowed[1], ("vary", "accept, Origin")];
    assert_eq!(leave(&get(&gateway, "/api", &[("origin", APP)]).await), fields(&told));
    // Without what a preflight says, OPTIONS is a request like all.
    let options = ask(&gateway, Method::OPTIONS, "/api", &[("origin", APP)]).await;
    assert_eq!((options.status.as_u16(), peer.deliveries().len()), (200, 5));
    let error = get(&gateway, "/api", &[("origin", APP)]).await;
    assert_eq!(error.code(), (429, "rate_limited".into()));
    assert_eq!(leave(&error), fields(&allowed));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_a_413_that_its_sender_gets_to_read() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer, &route("api", "/api", "[route.api.limits]\nmax_body = \"1KiB\"")).await;
    let within = gateway.request(Method::PUT, "/api", &[], Bytes::from(vec![b'x'; 1024])).await;
    assert_eq!(within.status, 200);
    let chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    for (head, body) in [
        ("content-length: 204800", "x".repeat(200 << 10)),
        ("transfer-encoding: chunked", format!("{}0\r\n\r\n", chunk.repeat(3))),
        ("content-length: 204800\r\nexpect: 100-continue", String::new()),
    ] {
        let mut wire = Wire::open(gateway.address()).await;
        wire.send(format!("POST /api HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n{body}")).await;
        let answer = wire.response().await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"too_large\""), "{head}: {answer}");
    }
    assert_eq!(peer.deliveries().len(), 1, "none of them reached the product whole");
}

#[tokio::test]
async fn a_request_is_on_its_listener_or_nowhere_and_a_head_goes_where_a_get_does() {
    let peer = Peer::scripted([]).await;
    let toml = "[listener.inner]\naddress = \"127.0.0.1:0\"\n".to_owned()
        + &route("inner", "/x", "listeners = [\"inner\"]")
        + &route(
            "beta",
            "/y",
            "method = \"GET\"\nheader = { x-beta = { present = true } }\nrewrite = { add = \"/beta\" }",
        )
        + &route("read", "/y", "method = \"GET\"");
    let gateway = started(&peer, &toml).await;
    assert_eq!(get(&gateway, "/x", &[]).await.status, 404);
    let mut inner = Wire::open(gateway.listener("inner")).await;
    inner.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(inner.response().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(ask(&gateway, Method::HEAD, "/y", &[("x-beta", "1")]).await.status, 200);
    assert_eq!(get(&gateway, "/y", &[]).await.status, 200);
    let seen: Vec<_> = peer.deliveries().iter().map(|it| format!("{} {}", it.method, it.target)).collect();
    assert_eq!(seen, ["GET /x", "HEAD /beta/y", "GET /y"]);
    let wrong = ask(&gateway, Method::POST, "/y", &[("x-beta", "1")]).await;
    assert_eq!((wrong.status.as_u16(), wrong.field("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn a_product_sees_the_host_that_it_is_told_to_see() {
    let peer = Peer::scripted([]).await;
    let product = |name: &str, more: &str| format!("{}{more}\n", peer.product(name));
    let to = |name: &str| format!("[route.{name}]\npath = \"/{name}\"\nproduct = \"{name}\"\n");
    let toml = product("asked", "")
        + &product("own", "host = \"upstream\"")
        + &product("given", "host = \"billing.internal\"")
        + &to("asked")
        + &to("own")
        + &to("given");
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    for name in ["asked", "own", "given"] {
        get(&gateway, &format!("/{name}"), &[("host", "shop.example.com:81")]).await;
    }
    let hosts: Vec<_> = peer.deliveries().iter().map(|it| it.field("host").to_owned()).collect();
    assert_eq!(hosts, ["shop.example.com:81".to_owned(), peer.address().to_string(), "billing.internal".to_owned()]);
}

#[tokio::test]
async fn every_timeout_of_a_product_or_a_route_is_in_force() {
    const SHORT: Duration = Duration::from_millis(100);
    let hang = Peer::answering(Reply::Hang).await;
    let silent = Peer::answering(Reply::Events(None)).await;
    let mut toml = String::new();
    // One socket each, so that where it is taken a second request waits for leave to connect.
    for (key, peer) in [("response", &hang), ("total", &hang), ("idle", &silent), ("body", &hang), ("connect", &hang)] {
        let table = |table: &str, value: &str| format!("[{table}.timeouts]\n{key} = \"{value}\"\n");
        for by in ["product", "route"] {
            let name = format!("{key}-{by}");
            toml += &peer.product(&name);
            toml += &table(&format!("product.{name}"), if by == "product" { "100ms" } else { "1h" });
            toml += &format!("[product.{name}.limits]\nconnections = 1\n");
            toml += &format!("[route.{name}]\npath = \"/{name}\"\nproduct = \"{name}\"\n");
            if by == "route" {
                toml += &table(&format!("route.{name}"), "100ms");
            }
        }
    }
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    for by in ["product", "route"] {
        for (key, status, code) in [
            ("response", 504, "upstream_timeout"),
            ("total", 504, "deadline"),
            ("body", 408, "body_timeout"),
            ("connect", 503, "upstream_busy"),
        ] {
            let mut wire = Wire::open(gateway.address()).await;
            let mut holder = Wire::open(gateway.address()).await;
            if key == "connect" {
                let before = hang.deliveries().len();
                holder.send(format!("GET /{key}-{by} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
                hang.delivered(before + 1).await;
            }
            let body = if key == "body" { "content-length: 9\r\n\r\nhalf" } else { "\r\n" };
            let began = Instant::now();
            wire.send(format!("POST /{key}-{by} HTTP/1.1\r\nhost: a\r\n{body}")).await;
            let answer = wire.response().await;
            let took = began.elapsed();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code),
                "{key} {by}: {answer}"
            );
            assert!(took >= SHORT, "{key} {by} after {took:?}");
        }
        let mut wire = Wire::open(gateway.address()).await;
        wire.send(format!("GET /idle-{by} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let stream = String::from_utf8(wire.rest().await).expect("text");
        assert!(stream.contains("data: 1") && !stream.ends_with("0\r\n\r\n"), "idle {by}: {stream}");
        let labels = [format!("product=\"idle-{by}\""), "outcome=\"timeout\"".to_owned()];
        let cut = async || {
            (gateway.metric("gateway_protocol_requests_total", &[&labels[0], &labels[1]]) >= 1.0).then_some(())
        };
        eventually("a stream that was cut", cut).await;
    }
}
