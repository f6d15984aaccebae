//! The admin listener through its front door, over a real store; and the commands that ask it.

#![allow(unreachable_pub)]

#[path = "admin/support.rs"]
mod support;

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::admin::Access;
use tollgate::base::ids::EventId;
use tollgate::base::payload::Payload;

use support::{Gateway, START, plan, secrets, soon, tollgate};

#[tokio::test]
async fn probes_say_how_the_gateway_stands() {
    let gateway = Gateway::start("").await;
    assert_eq!(gateway.get("/livez").await.status, 200);
    let starting = gateway.get("/readyz").await;
    assert_eq!((starting.status, starting.json()), (503, json!({ "status": "starting" })));
    gateway.health.ready();
    assert_eq!(gateway.get("/readyz").await.status, 200);
    gateway.health.draining();
    let draining = gateway.get("/readyz").await;
    assert_eq!((draining.status, draining.json()), (503, json!({ "status": "draining" })));
    assert_eq!(gateway.get("/livez").await.status, 200);
}

#[tokio::test]
async fn every_answer_is_kept_out_of_caches_and_pages() {
    let gateway = Gateway::start("").await;
    for target in ["/livez", "/api/routes", "/nothing"] {
        let answer = gateway.get(target).await;
        for line in [
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "content-security-policy: default-src 'none'",
        ] {
            assert!(answer.head.contains(line), "{target}: {}", answer.head);
        }
        assert!(!answer.head.contains("access-control-"), "{}", answer.head);
    }
}

#[tokio::test]
async fn foreign_hosts_and_foreign_changes_are_refused() {
    let gateway = Gateway::start("hosts = [\"gateway.internal\"]").await;
    let host = async |host: &str| gateway.ask(&format!("GET /livez HTTP/1.1\r\nHost: {host}"), "").await;
    assert_eq!(host("gateway.internal:9090").await.status, 200);
    let foreign = host("evil.test").await;
    assert_eq!((foreign.status, foreign.code().as_str()), (421, "host"));
    let absolute = gateway.ask("GET http://evil.test/livez HTTP/1.1", "").await;
    assert_eq!(absolute.status, 421);

    let form = gateway.ask("POST /api/reload HTTP/1.1\r\nContent-Type: text/plain", "{}").await;
    assert_eq!((form.status, form.code().as_str()), (403, "content_type"));
    let page = "POST /api/reload HTTP/1.1\r\nContent-Type: application/json\r\nOrigin: http://evil.test";
    let page = gateway.ask(page, "{}").await;
    assert_eq!((page.status, page.code().as_str()), (403, "origin"));
    let preflight = gateway.ask("OPTIONS /api/reload HTTP/1.1\r\nOrigin: http://evil.test", "").await;
    assert_eq!(preflight.status, 403);
}

#[tokio::test]
async fn tokens_open_what_they_are_for() {
    let gateway = Gateway::start("token = \"operator\"\nread_token = \"viewer\"\nmetrics = \"token\"").await;
    let asks = async |request: &str, token: &str| {
        let head = format!("{request} HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}");
        gateway.ask(&head, "{}").await.status
    };
    for (request, nobody, viewer, operator) in [
        ("GET /livez", 200, 200, 200),
        ("GET /readyz", 503, 503, 503),
        ("GET /metrics", 401, 200, 200),
        ("GET /api/events", 401, 200, 200),
        ("GET /nothing", 401, 404, 404),
        ("POST /api/reload", 401, 403, 200),
        ("DELETE /api/events", 401, 405, 405),
    ] {
        let seen = [asks(request, "wrong").await, asks(request, "viewer").await, asks(request, "operator").await];
        assert_eq!(seen, [nobody, viewer, operator], "{request}");
    }
    let refused = gateway.get("/api/config").await;
    assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
}

#[tokio::test]
async fn a_reload_changes_who_is_let_in() {
    let gateway = Gateway::start("").await;
    assert_eq!(gateway.get("/api/config").await.status, 200);
    let admin = plan("token = \"operator\"", gateway.folder()).admin;
    gateway.access.store(Access::of(&admin, &secrets()).into());
    assert_eq!(gateway.get("/api/config").await.status, 401);
}

#[tokio::test]
async fn metrics_count_what_is_in_the_store() {
    let gateway = Gateway::start("").await;
    for _ in 0..3 {
        gateway.accept(|_| {}).await;
    }
    gateway.bury(1).await;
    gateway.clock.advance(Duration::from_secs(90));
    let metrics = gateway.get("/metrics").await;
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    let text = metrics.text();
    for line in [
        "gateway_webhook_queue_depth{state=\"due\"} 2",
        "gateway_webhook_queue_depth{state=\"dead\"} 1",
        "gateway_webhook_dead_letters 1",
        "gateway_webhook_oldest_due_age_seconds 90",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}");
    }
}

#[tokio::test]
async fn events_are_listed_page_by_page() {
    let gateway = Gateway::start("").await;
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..5 {
        gateway.clock.advance(Duration::from_secs(1));
        ids.insert(0, gateway.accept(|_| {}).await.to_string());
    }
    let mut target = "/api/events?limit=2&state=due&route=hooks&provider=stripe&kind=invoice.paid".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = gateway.get(&target).await.json();
        for event in page["events"].as_array().expect("rows") {
            seen.push(event["id"].as_str().expect("an id").to_owned());
            assert_eq!((&event["product"], &event["attempts"]), (&json!("billing"), &json!(0)));
        }
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/api/events?limit=2&state=due&cursor={next}");
    }
    assert_eq!(seen, ids);
    let since = gateway.get("/api/events?since=2026-09-21T14:13:24Z").await.json();
    assert_eq!(since["events"].as_array().expect("rows").len(), 2, "{since}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let gateway = Gateway::start("").await;
    for (target, name) in [
        ("/api/events?colour=red", "colour"),
        ("/api/events?limit=501", "limit"),
        ("/api/events?since=yesterday", "since"),
        ("/api/events?cursor=x", "cursor"),
        ("/api/events/evt_12", "event id"),
    ] {
        let refused = gateway.get(target).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "parameter"), "{target}");
        assert!(refused.text().contains(name), "{}", refused.text());
    }
    for (body, name) in [
        ("{\"filter\":{}}", "filter"),
        ("{}", "filter"),
        ("{\"filter\":{\"colour\":\"red\"}}", "colour"),
        ("{\"filter\":{\"state\":\"lost\"}}", "state"),
        ("{\"filter\":{\"state\":\"dead\"},\"pace\":0}", "nonzero"),
        ("[", "EOF"),
    ] {
        let refused = gateway.post("/api/events/replay", body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(name), "{body}: {}", refused.text());
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_asked_wrongly_405() {
    let gateway = Gateway::start("").await;
    let unknown = EventId::new(START);
    for target in ["/nothing", "/api", "/api/jobs/1", "/api/jobs/x"] {
        assert_eq!(gateway.get(target).await.status, 404, "{target}");
    }
    assert_eq!(gateway.get(&format!("/api/events/{unknown}")).await.code(), "not_found");
    assert_eq!(gateway.get(&format!("/api/events/{unknown}/body")).await.code(), "not_found");
    assert_eq!(gateway.post(&format!("/api/events/{unknown}/replay"), "{}").await.code(), "not_found");
    let reading = gateway.get("/api/reload").await;
    assert_eq!(reading.status, 405);
    assert!(reading.head.contains("allow: post"), "{}", reading.head);
    assert_eq!(gateway.post("/api/events", "{}").await.status, 405);
    let large = format!("{{\"filter\":{{\"text\":\"{}\"}}}}", "x".repeat(70_000));
    assert_eq!(gateway.post("/api/events/drop", &large).await.status, 413);
}

#[tokio::test]
async fn an_event_shows_its_life_and_hides_what_is_secret() {
    let gateway = Gateway::start("").await;
    let id = gateway.accept(|_| {}).await;
    gateway.bury(1).await;
    let shown = gateway.get(&format!("/api/events/{id}")).await;
    assert!(!shown.text().contains("hunter2"), "{}", shown.text());
    let event = shown.json();
    assert_eq!(event["request"]["target"], "/hooks?a=1&token=[redacted]");
    assert_eq!(event["request"]["headers"], json!([["x-event", "paid"], ["authorization", "[redacted]"]]));
    let delivery = &event["deliveries"][0];
    assert_eq!((&delivery["state"], &delivery["reason"]), (&json!("dead"), &json!("answered 500")));
    let attempt = &delivery["history"][0];
    assert_eq!((&attempt["number"], &attempt["status"], &attempt["ms"]), (&json!(1), &json!(500), &json!(12)));

    let body = gateway.get(&format!("/api/events/{id}/body")).await;
    assert_eq!(body.body, b"{\"id\":1}");
    for line in ["content-type: application/octet-stream", "content-disposition: attachment;", "content-length: 8"] {
        assert!(body.head.contains(line), "{}", body.head);
    }
}

#[tokio::test]
async fn a_dead_event_is_replayed_and_one_on_its_way_is_not() {
    let gateway = Gateway::start("").await;
    let id = gateway.accept(|_| {}).await;
    let replay = format!("/api/events/{id}/replay");
    let due = gateway.post(&replay, "{}").await;
    assert_eq!((due.status, due.code().as_str()), (409, "state"));
    gateway.bury(1).await;
    assert_eq!(gateway.post(&replay, "{\"x\":1}").await.status, 400);
    assert_eq!(gateway.post(&replay, "{}").await.json(), json!({ "replayed": 1 }));
    let drop = format!("/api/events/{id}/drop");
    assert_eq!(gateway.post(&drop, "{}").await.json(), json!({ "dropped": 1 }));
    assert_eq!(gateway.post(&drop, "{}").await.status, 409);
}

#[tokio::test]
async fn a_bulk_replay_replays_each_delivery_once_however_fast_it_ends_again() {
    const EVENTS: usize = 600;
    let gateway = Gateway::start("").await;
    futures_util::future::join_all((0..EVENTS).map(|_| gateway.accept(|_| {}))).await;
    let product = gateway.deliver();
    soon(async { while !gateway.get("/metrics").await.text().contains("queue_depth{state=\"delivered\"} 600") {} })
        .await;
    let job = gateway.job("/api/events/replay", "{\"filter\":{\"route\":\"hooks\"},\"pace\":5000}").await;
    product.abort();
    assert_eq!((&job["changed"], &job["error"]), (&json!(EVENTS), &json!(null)), "{job}");
    let page = gateway.get("/api/events?limit=500").await.json();
    assert!(page["events"].as_array().expect("rows").iter().all(|row| row["replays"] == 1));
}

#[tokio::test]
async fn a_bulk_change_takes_what_its_filter_finds_and_nothing_else() {
    let gateway = Gateway::start("").await;
    for kind in ["invoice.paid", "invoice.void", "invoice.paid"] {
        gateway.accept(|event| event.kind = Some(kind.into())).await;
    }
    let job = gateway.job("/api/events/drop", "{\"filter\":{\"kind\":\"invoice.paid\"},\"pace\":1000}").await;
    assert_eq!((&job["changed"], &job["action"]), (&json!(2), &json!("drop")));
    let left = gateway.get("/api/events?state=due").await.json();
    assert_eq!(left["events"][0]["kind"], "invoice.void");
    assert_eq!(left["events"].as_array().expect("rows").len(), 1);
}

#[tokio::test]
async fn routes_products_and_plugins_are_told_without_secrets() {
    let gateway = Gateway::start("").await;
    let routes = gateway.get("/api/routes").await;
    assert!(!routes.text().contains("hunter2"));
    let route = &routes.json()["routes"][0];
    assert_eq!((&route["name"], &route["path"]), (&json!("api"), &json!("/v1/{*rest}")));
    assert_eq!(route["host"], json!(["*.example.com"]));
    let products = gateway.get("/api/products").await.json();
    let upstream = |url| json!({ "url": url, "health": "healthy" });
    let upstreams = json!([upstream("http://127.0.0.1:9"), upstream("http://ledger.internal:7443")]);
    assert_eq!(products["products"][0]["upstreams"], upstreams);
    assert_eq!(products["products"][0]["breaker"], "closed");
    let plugins = gateway.get("/api/plugins").await.json();
    assert_eq!(plugins["plugins"], json!([{ "name": "stripe", "live": null, "refused": null, "routes": ["hooks"] }]));
    let config = gateway.get("/api/config").await.json();
    assert_eq!(config["generation"], 1);
    assert!(config["file"].as_str().expect("a file").ends_with("tollgate.toml"));
}

#[tokio::test]
async fn a_reload_answers_its_generation_or_every_problem() {
    let gateway = Gateway::start("").await;
    assert_eq!(gateway.post("/api/reload", "{}").await.json(), json!({ "generation": 2 }));
    let refused = gateway.post("/api/reload", "{}").await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "configuration"));
    let problem = &refused.json()["error"]["problems"][0];
    assert_eq!(
        (&problem["line"], &problem["message"]),
        (&json!(2), &json!("a change of `admin.address` needs a restart"))
    );
}

#[tokio::test]
async fn a_drain_gives_the_last_answer_and_closes() {
    let gateway = Gateway::start("").await;
    let mut held = TcpStream::connect(gateway.address).await.expect("connects");
    held.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sends");
    let mut byte = [0; 1];
    soon(held.read_exact(&mut byte)).await.expect("answers");
    gateway.drain.start();
    let mut rest = Vec::new();
    soon(held.read_to_end(&mut rest)).await.expect("closes");
    soon(gateway.drain.done()).await;
    assert!(TcpStream::connect(gateway.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn the_command_line_lists_shows_and_replays() {
    let gateway = Gateway::start("").await;
    let id = gateway.accept(|event| event.kind = Some("a\u{1b}[2Jb".into())).await.to_string();
    gateway.bury(1).await;

    let list = gateway.cli(&["events", "list", "--state", "dead"]).await;
    let text = String::from_utf8(list.stdout).expect("text");
    assert!(list.status.success());
    assert!(text.lines().nth(1).expect("a row").starts_with(&id), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");

    let json: serde_json::Value = {
        let list = gateway.cli(&["events", "list", "--json"]).await;
        serde_json::from_slice(&list.stdout).expect("JSON")
    };
    assert_eq!(json["events"][0]["id"], id.as_str());

    let show = String::from_utf8(gateway.cli(&["events", "show", &id]).await.stdout).expect("text");
    assert!(show.contains("attempt  1") && show.contains("500") && !show.contains('\u{1b}'), "{show:?}");
    assert_eq!(gateway.cli(&["events", "show", &id, "--body"]).await.stdout, b"{\"id\":1}");

    let replayed = gateway.cli(&["events", "replay", "--state", "dead", "--route", "hooks"]).await;
    assert!(replayed.status.success(), "{replayed:?}");
    assert!(String::from_utf8_lossy(&replayed.stdout).contains("1 delivery"), "{replayed:?}");
    let again = gateway.cli(&["events", "replay", &id]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("on their way"), "{again:?}");
}

#[tokio::test]
async fn what_is_exported_is_imported_elsewhere_as_it_was() {
    let here = Gateway::start("").await;
    let dead = here.accept(|_| {}).await.to_string();
    here.bury(1).await;
    let large = here.accept(|event| event.body = Payload::Memory(vec![7; 200_000].into())).await.to_string();
    let bytes = Bytes::from_static(b"\xff\xfe");
    let odd = here.accept(|event| event.head.headers.push(("x-odd".into(), bytes))).await.to_string();
    let file = here.folder().join("events.jsonl");
    let file = file.to_str().expect("a path");
    let exported = here.cli(&["events", "export", "--route", "hooks", "--out", file]).await;
    assert!(exported.status.success(), "{exported:?}");
    let lines = std::fs::read_to_string(file).expect("a file");
    assert_eq!(lines.lines().count(), 3);
    assert!(lines.lines().next().expect("a line").contains(&dead), "oldest first");
    assert!(!lines.contains("hunter2"), "nothing redacted leaves");

    let elsewhere = Gateway::start("").await;
    for (imported, known) in [(3, 0), (0, 3)] {
        let import = elsewhere.cli(&["events", "import", file]).await;
        let said = String::from_utf8_lossy(&import.stdout).into_owned();
        assert_eq!(said, format!("imported: {imported} events; {known} were there already\n"), "{import:?}");
    }
    for id in [&dead, &large, &odd] {
        let shown = |event: serde_json::Value| {
            let mut event = event;
            // What is redacted is named, and was not taken along.
            let headers = event["request"]["headers"].as_array_mut().expect("fields");
            headers.retain(|field| field[0] != "authorization");
            event
        };
        let path = format!("/api/events/{id}");
        assert_eq!(shown(here.get(&path).await.json()), shown(elsewhere.get(&path).await.json()));
        let body = format!("/api/events/{id}/body");
        assert_eq!(here.get(&body).await.body, elsewhere.get(&body).await.body);
    }
}

#[tokio::test]
async fn an_import_is_taken_whole_or_not_at_all() {
    let gateway = Gateway::start("").await;
    let id = gateway.accept(|_| {}).await;
    let event = gateway.get(&format!("/api/events/{id}?body=true")).await.json();
    assert_eq!(event["body_base64"], "eyJpZCI6MX0=");
    let import = async |events: serde_json::Value| {
        gateway.post("/api/events/import", &json!({ "events": events }).to_string()).await
    };
    let other = |key: &str, value: serde_json::Value| {
        let mut other = event.clone();
        other["id"] = json!("evt_00000000000070008000000000000001");
        other[key] = value;
        other
    };
    for (key, wrong) in [
        ("id", json!("evt_1")),
        ("route", json!("no name")),
        ("received", json!("yesterday")),
        ("body_base64", json!("?")),
        ("deliveries", json!([])),
    ] {
        let refused = import(json!([other("kind", json!("x")), other(key, wrong)])).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "json"), "{key}");
        assert!(refused.text().contains("events[1]") && refused.text().contains(key), "{}", refused.text());
    }
    assert_eq!(gateway.get("/api/events").await.json()["events"].as_array().map(Vec::len), Some(1));
    let taken = import(json!([other("kind", json!("x")), event])).await;
    assert_eq!(taken.json(), json!({ "imported": 1, "known": 1 }));
    assert_eq!(gateway.get(&format!("/api/events/{id}?body=yes")).await.status, 400);
}

#[tokio::test]
async fn the_command_line_says_what_was_wrong_with_what_was_typed() {
    let gateway = Gateway::start("token = \"operator\"").await;
    let refused = gateway.cli(&["events", "list"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("TOLLGATE_ADMIN_TOKEN"), "{refused:?}");

    let file = gateway.folder().join("token");
    std::fs::write(&file, "operator\n").expect("writes");
    let file = file.to_str().expect("text");
    assert!(gateway.cli(&["events", "--token-file", file, "list"]).await.status.success());
    for bad in [&["list", "--since", "yesterday"][..], &["list", "--state", "lost"], &["replay"], &["show", "evt_1"]] {
        let refused = gateway.cli(&[&["events", "--token-file", file], bad].concat()).await;
        assert_eq!(refused.status.code(), Some(2), "{bad:?}: {refused:?}");
    }
}

#[test]
fn without_a_gateway_the_command_line_says_so() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let refused = tollgate().args(["events", "--admin", &format!("http://{free}"), "list"]).output().expect("runs");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is tollgate running"), "{refused:?}");
}
