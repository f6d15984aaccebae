//! Upstreams that fail: left out, left alone, asked again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::peers::{plan_in, plan_with};
use crate::support::{Client, Inbound, TestGateway, Upstream, soon};

/// An upstream that answers every request with 200, and its checks as it is told.
struct Checked {
    address: SocketAddr,
    well: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    checked: Arc<Notify>,
}

impl Checked {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let started = Self {
            address: listener.local_addr().expect("an address"),
            well: Arc::new(AtomicBool::new(true)),
            checks: Arc::default(),
            requests: Arc::default(),
            checked: Arc::default(),
        };
        let (well, checks) = (started.well.clone(), started.checks.clone());
        let (requests, checked) = (started.requests.clone(), started.checked.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![];
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
                let status = if head.starts_with(b"GET /healthz ") {
                    checks.fetch_add(1, Ordering::Relaxed);
                    checked.notify_waiters();
                    if well.load(Ordering::Relaxed) { "200 OK" } else { "500 Not Well" }
                } else {
                    requests.fetch_add(1, Ordering::Relaxed);
                    "200 OK"
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _gone = stream.write_all(answer.as_bytes()).await;
            }
        });
        started
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn gauge(&self, value: u8) -> String {
        format!("gateway_upstream_healthy{{product=\"up\",upstream=\"{}\"}} {value}", self.url())
    }
}

async fn status(gateway: &TestGateway) -> String {
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    answer.lines().next().unwrap_or_default().to_owned()
}

async fn eventually(gateway: &TestGateway, line: &str) {
    soon(async {
        while !gateway.metric(line) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_fails_its_checks_gets_nothing_until_it_is_well() {
    let (sick, well) = (Checked::start().await, Checked::start().await);
    sick.well.store(false, Ordering::Relaxed);
    let health = "health = { path = \"/healthz\", every = \"50ms\" }";
    let gateway = TestGateway::start(&plan_with(&[sick.url(), well.url()], health));
    eventually(&gateway, &sick.gauge(0)).await;
    assert!(gateway.metric(&well.gauge(1)));
    let before = sick.requests.load(Ordering::Relaxed);
    for _ in 0..10 {
        assert_eq!(status(&gateway).await, "HTTP/1.1 200 OK");
    }
    assert_eq!(sick.requests.load(Ordering::Relaxed), before);
    assert_eq!(well.requests.load(Ordering::Relaxed), 10);

    sick.well.store(true, Ordering::Relaxed);
    eventually(&gateway, &sick.gauge(1)).await;
    well.well.store(false, Ordering::Relaxed);
    eventually(&gateway, &well.gauge(0)).await;
    for _ in 0..10 {
        assert_eq!(status(&gateway).await, "HTTP/1.1 200 OK");
    }
    assert_eq!(sick.requests.load(Ordering::Relaxed), before + 10);

    sick.well.store(false, Ordering::Relaxed);
    eventually(&gateway, &sick.gauge(0)).await;
    assert_eq!(status(&gateway).await, "HTTP/1.1 200 OK", "where all are out, all are in");
}

#[tokio::test]
async fn checks_and_their_outcome_outlive_a_reload_and_end_with_the_product() {
    let sick = Checked::start().await;
    sick.well.store(false, Ordering::Relaxed);
    let health = "health = { path = \"/healthz\", every = \"20ms\" }";
    let plan = plan_with(&[sick.url()], health);
    let gateway = TestGateway::start(&plan);
    eventually(&gateway, &sick.gauge(0)).await;
    gateway.reload(&plan);
    assert!(gateway.metric(&sick.gauge(0)), "it is not forgotten");
    gateway.reload(&crate::support::plan());
    eventually_gone(&gateway, &sick.gauge(0)).await;
}

async fn eventually_gone(gateway: &TestGateway, line: &str) {
    soon(async {
        while gateway.metric(line) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("an address")
}

#[tokio::test]
async fn an_upstream_that_keeps_failing_requests_is_ejected() {
    let well = Checked::start().await;
    let closed = closed().await;
    let gateway =
        TestGateway::start(&plan_with(&[format!("http://{closed}"), well.url()], "balance = \"round_robin\""));
    let out = format!("gateway_upstream_healthy{{product=\"up\",upstream=\"http://{closed}\"}} 0");
    for _ in 0..20 {
        assert_eq!(status(&gateway).await, "HTTP/1.1 200 OK");
    }
    assert!(gateway.metric(&out), "five failures in a row");
    assert!(gateway.metric("gateway_upstream_retries_total{product=\"up\",reason=\"connect\"} 5"));
}

const CLOSING: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

fn inbound(stream: TcpStream) -> Inbound {
    Inbound(Client { stream, read: vec![] })
}

#[tokio::test]
async fn a_product_that_fails_in_a_row_is_left_alone_and_then_tried_with_one_request() {
    let closed = closed().await;
    let breaker = "breaker = { failures = 3, pause = \"300ms\" }";
    let gateway = TestGateway::start(&plan_with(&[format!("http://{closed}")], breaker));
    for _ in 0..3 {
        assert_eq!(status(&gateway).await, "HTTP/1.1 502 Bad Gateway");
    }
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"upstream_paused\""), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    let listener = TcpListener::bind(closed).await.expect("its port is free again");
    // The first that passes is the one that tries; the others stay away until it is answered.
    let (mut tried, mut client) = soon(async {
        loop {
            let mut client = gateway.connect().await;
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            tokio::select! {
                accepted = listener.accept() => return (inbound(accepted.expect("accepts").0), client),
                line = client.line() => assert_eq!(line, "HTTP/1.1 503 Service Unavailable\r\n"),
            }
        }
    })
    .await;
    assert_eq!(status(&gateway).await, "HTTP/1.1 503 Service Unavailable");
    tried.request().await;
    tried.send(CLOSING).await;
    assert_eq!(client.line().await, "HTTP/1.1 200 OK\r\n");
    let serving = async {
        let mut inbound = inbound(soon(listener.accept()).await.expect("accepts").0);
        inbound.request().await;
        inbound.send(CLOSING).await;
    };
    assert_eq!(tokio::join!(status(&gateway), serving).0, "HTTP/1.1 200 OK", "it is well again");
}

#[tokio::test]
async fn without_a_budget_nothing_is_sent_again() {
    let mut upstream = Upstream::start().await;
    let gateway = TestGateway::start(&plan_with(&[format!("http://{}", upstream.address)], "retries = { budget = 0 }"));
    let mut client = gateway.connect().await;
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut first = upstream.connection().await;
    first.request().await;
    first.ok("one").await;
    client.response().await;
    client.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    first.request().await;
    drop(first);
    assert!(client.response().await.0.starts_with("HTTP/1.1 502 "));
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn a_name_of_a_webhook_product_leads_only_where_it_may() {
    let upstream = Checked::start().await;
    // Resolvers read 127.1 as 127.0.0.1, so as a name it is what a stranger would point at us.
    let url = format!("http://127.1:{}", upstream.address.port());
    let webhook = "[route.hook]\npath = \"/hook\"\nproduct = \"up\"\nwebhook = { verifier = \"missing\" }\n\
                   [route.up]\npath = \"/{*rest}\"\nproduct = \"up\"\n";
    for (allow, expected) in [("", "HTTP/1.1 502 Bad Gateway"), ("allow = [\"127.0.0.0/8\"]", "HTTP/1.1 200 OK")] {
        let toml = format!("{webhook}[product.up]\nupstreams = [{url:?}]\n{allow}\n");
        let gateway = TestGateway::start(&plan_in("/".as_ref(), &toml));
        assert_eq!(status(&gateway).await, expected, "{allow}");
    }
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 1);
}
