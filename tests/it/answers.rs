//! What a sender hears in every situation, as the table in the documentation has it, and what is counted.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tollgate::store::DeliveryState;
use tollgate_tests::signing::{self, Signed};
use tollgate_tests::{Answer, Setup, TestGateway, soon};

const SECRET: &str = "a secret";

/// A product that takes everything, and a secret.
const GROUND: &str = "[product.app]\nbuiltin = \"echo\"\n[secret.s]\nenv = \"SECRET\"\n";

fn route(name: &str, verifier: &str, more: &str) -> String {
    format!(
        "[route.{name}]\npath = \"/hooks/{name}\"\nproduct = \"app\"\n\
         [route.{name}.webhook]\nverifier = \"{verifier}\"\nsecrets = {{ signing = \"s\" }}\n{more}\n"
    )
}

async fn started(toml: &str) -> TestGateway {
    TestGateway::start(Setup::new(&format!("{GROUND}{toml}")).env("SECRET", SECRET)).await
}

/// The first line of a response, and the code in its body.
fn said(response: &str) -> (&str, &str) {
    let status = response.split("\r\n").next().unwrap_or_default();
    let code = response.split_once("\"code\":\"").and_then(|(_, rest)| rest.split('"').next());
    (status, code.unwrap_or_default())
}

async fn nothing_is_kept(gateway: &TestGateway) {
    assert_eq!(gateway.events().await, [], "nothing is kept");
}

#[tokio::test]
async fn a_copy_hears_the_first_ones_id() {
    let gateway = started(&route("stripe", "stripe", "")).await;
    let signed = signing::stripe(SECRET, gateway.now(), br#"{"id":"evt_1"}"#);
    let first = gateway.post("/hooks/stripe", &signed).await;
    assert_eq!(first.became(), (202, "accepted".into()));
    assert_eq!(first.field("content-type"), "application/json");
    // Signed again, a second later: the same event by its signed id, whatever else it says.
    gateway.advance(1);
    let again = signing::stripe(SECRET, gateway.now(), br#"{"id":"evt_1","again":true}"#);
    let second = gateway.post("/hooks/stripe", &again).await;
    assert_eq!((second.became(), second.id()), ((202, "duplicate".into()), first.id()));
    assert_eq!(gateway.events().await.len(), 1);
    assert_eq!((gateway.outcomes("stripe", "accepted"), gateway.outcomes("stripe", "duplicate")), (1.0, 1.0));
}

#[tokio::test]
async fn a_copy_after_the_window_is_another_event() {
    let gateway = started(&route("github", "github", "duplicates = \"10m\"")).await;
    let signed = signing::github(SECRET, b"{}");
    let first = gateway.post("/hooks/github", &signed).await.id();
    gateway.advance(599);
    assert_eq!(gateway.post("/hooks/github", &signed).await.became().1, "duplicate");
    gateway.advance(2);
    let later = gateway.post("/hooks/github", &signed).await;
    assert_eq!(later.became().1, "accepted");
    assert_ne!(later.id(), first);
}

#[tokio::test]
async fn a_route_may_answer_in_its_own_words() {
    let own = "answer = { status = 200, content_type = \"text/plain\", body = \"thanks\" }";
    let gateway = started(&route("github", "github", own)).await;
    for _ in 0..2 {
        let answer = gateway.post("/hooks/github", &signing::github(SECRET, b"{}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.field("content-type"), &answer.body[..]),
            (200, "text/plain", &b"thanks"[..])
        );
    }
    assert_eq!(gateway.events().await.len(), 1);
}

#[tokio::test]
async fn a_route_may_refuse_with_its_own_status() {
    let gateway = started(&route("stripe", "stripe", "refuse_status = 400")).await;
    let forged = signing::stripe(SECRET, gateway.now(), b"{}").forged();
    assert_eq!(gateway.post("/hooks/stripe", &forged).await.code(), (400, "signature".into()));
    let stale = signing::stripe(SECRET, gateway.now() - 301, b"{}");
    assert_eq!(gateway.post("/hooks/stripe", &stale).await.code(), (400, "stale".into()));
}

#[tokio::test]
async fn a_timestamp_outside_the_tolerance_is_stale() {
    let gateway = started(&route("stripe", "stripe", "")).await;
    let at = |offset: i64| {
        let body = format!("{{\"id\":\"evt_{offset}\"}}");
        signing::stripe(SECRET, gateway.now() + offset, body.as_bytes())
    };
    for offset in [-301, 301, -1_000_000_000, 1_000_000_000] {
        assert_eq!(gateway.post("/hooks/stripe", &at(offset)).await.code(), (401, "stale".into()), "{offset} s");
    }
    nothing_is_kept(&gateway).await;
    for offset in [-300, 300] {
        assert_eq!(gateway.post("/hooks/stripe", &at(offset)).await.became(), (202, "accepted".into()), "{offset} s");
    }
    assert_eq!((gateway.outcomes("stripe", "stale"), gateway.outcomes("stripe", "accepted")), (4.0, 2.0));
}

#[tokio::test]
async fn a_tolerance_that_is_off_takes_any_time() {
    let gateway = started(&route("stripe", "stripe", "tolerance = \"off\"")).await;
    let old = signing::stripe(SECRET, gateway.now() - 1_000_000, b"{}");
    assert_eq!(gateway.post("/hooks/stripe", &old).await.became(), (202, "accepted".into()));
}

#[tokio::test]
async fn a_tolerance_that_is_written_wants_a_signed_time() {
    let toml = route("insists", "github", "tolerance = \"5m\"") + &route("default", "github", "");
    let gateway = started(&toml).await;
    let timeless = signing::github(SECRET, b"{}");
    assert_eq!(gateway.post("/hooks/insists", &timeless).await.code(), (401, "stale".into()));
    nothing_is_kept(&gateway).await;
    assert_eq!(gateway.post("/hooks/default", &timeless).await.became(), (202, "accepted".into()));
}

#[tokio::test]
async fn a_handshake_is_answered_and_never_kept() {
    let gateway = started(&route("slack", "slack", "")).await;
    let body = br#"{"type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}"#;
    let answer = gateway.post("/hooks/slack", &signing::slack(SECRET, gateway.now(), body)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (200, &b"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"[..])
    );
    let forged = signing::slack("another secret", gateway.now(), body);
    assert_eq!(
        gateway.post("/hooks/slack", &forged).await.code(),
        (401, "signature".into()),
        "a challenge is signed too"
    );
    nothing_is_kept(&gateway).await;
    assert_eq!(gateway.outcomes("slack", "handshake"), 1.0);
}

#[tokio::test]
async fn what_is_refused_can_be_looked_at_where_the_route_asks_for_it() {
    let toml = route("stripe", "stripe", "reject_log = \"10m\"") + &route("quiet", "github", "");
    let gateway = started(&toml).await;
    let forged = signing::stripe(SECRET, gateway.now(), b"{\"a\":1}").forged().with("x-token", SECRET);
    gateway.post("/hooks/stripe?t=a%20secret&u=1", &forged.with("authorization", "Bearer x")).await;
    gateway.advance(1);
    gateway.post("/hooks/stripe", &signing::stripe(SECRET, gateway.now() - 400, &[b'x'; 9000])).await;
    let log = gateway.ask_admin("/api/routes/stripe/rejected").await;
    assert!(
        !String::from_utf8_lossy(&log.body).contains(SECRET) && !String::from_utf8_lossy(&log.body).contains("Bearer")
    );
    let log = log.json();
    let [stale, forged] = log["rejected"].as_array().unwrap().as_slice() else { panic!("two: {log}") };
    assert_eq!((stale["outcome"].as_str(), stale["size"].as_u64()), (Some("stale"), Some(9000)));
    assert_eq!(stale["body"].as_str().map(str::len), Some(4096));
    assert_eq!((forged["outcome"].as_str(), forged["code"].as_str()), (Some("signature"), Some("mismatch")));
    assert_eq!((forged["target"].as_str(), forged["body"].as_str()), (Some("/hooks/stripe?u=1"), Some("{\"a\":1} ")));
    gateway.advance(599);
    let left = gateway.ask_admin("/api/routes/stripe/rejected").await.json();
    assert_eq!(left["rejected"].as_array().map(Vec::len), Some(1), "the first is forgotten");
    for nothing in ["/api/routes/quiet/rejected", "/api/routes/none/rejected"] {
        assert_eq!(gateway.ask_admin(nothing).await.code(), (404, "not_found".into()));
    }
}

/// The same event over many connections at once is one event, and everybody hears its id.
#[tokio::test]
async fn a_storm_of_copies_is_one_event() {
    let gateway = started(&route("github", "github", "")).await;
    let signed = signing::github(SECRET, b"{}");
    let heard = futures_util::future::join_all((0..48).map(|_| gateway.post("/hooks/github", &signed))).await;
    let first = heard.iter().find(|answer| answer.became().1 == "accepted").unwrap().id();
    assert!(heard.iter().all(|answer| answer.id() == first), "{heard:?}");
    assert_eq!((gateway.outcomes("github", "accepted"), gateway.outcomes("github", "duplicate")), (1.0, 47.0));
    assert_eq!(gateway.events().await.len(), 1);
}

#[tokio::test]
async fn a_body_declared_too_large_is_refused_before_it_is_asked_for() {
    let gateway = started(&route("github", "github", "max_body = \"1KiB\"")).await;
    let mut wire = gateway.wire().await;
    wire.send("POST /hooks/github HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1025\r\n\r\n").await;
    let response = wire.response().await;
    assert_eq!(said(&response), ("HTTP/1.1 413 Payload Too Large", "too_large"));
    assert!(!response.contains("100 Continue"), "{response}");
    assert_eq!(wire.rest().await, b"", "the connection is closed: the body may still be on its way");
    assert_eq!(gateway.outcomes("github", "too_large"), 1.0);

    // One byte less is asked for.
    let signed = signing::github(SECRET, &[b'x'; 1024]);
    let mut wire = gateway.wire().await;
    let signature = &signed.headers[0].1;
    wire.send(format!("POST /hooks/github HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1024\r\nx-hub-signature-256: {signature}\r\n\r\n")).await;
    assert_eq!(wire.response().await, "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send(&signed.body).await;
    assert_eq!(said(&wire.response().await).0, "HTTP/1.1 202 Accepted");
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused_as_it_is_counted() {
    let gateway = started(&route("github", "github", "max_body = \"100KiB\"")).await;
    let mut wire = gateway.wire().await;
    wire.send("POST /hooks/github HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
    for _ in 0..25 {
        wire.send(&chunk).await;
    }
    wire.send("1\r\nx\r\n").await;
    assert_eq!(said(&wire.response().await), ("HTTP/1.1 413 Payload Too Large", "too_large"));
    // The sender may go on a little, then the connection is closed.
    let _may_be_closed = wire.send_unless_closed("0\r\n\r\n").await;
    wire.rest().await;
    nothing_is_kept(&gateway).await;
    assert_eq!(gateway.outcomes("github", "too_large"), 1.0);
    assert!(spilled(&gateway).is_empty(), "nothing is left on disk: {:?}", spilled(&gateway));
}

/// Files of bodies on their way in.
fn spilled(gateway: &TestGateway) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(gateway.store().spill_directory()).unwrap();
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("intake-"))).collect()
}

#[tokio::test]
async fn a_body_cut_short_is_incomplete() {
    let gateway = started(&route("github", "github", "")).await;
    let mut wire = gateway.wire().await;
    wire.send("POST /hooks/github HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nonly this").await;
    wire.finish().await;
    assert_eq!(said(&wire.response().await), ("HTTP/1.1 400 Bad Request", "incomplete"));
    assert_eq!(gateway.outcomes("github", "incomplete"), 1.0);
    nothing_is_kept(&gateway).await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up_on() {
    let gateway = started(&format!("[timeouts]\nbody = \"200ms\"\n{}", route("github", "github", ""))).await;
    let mut wire = gateway.wire().await;
    wire.send("POST /hooks/github HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nonly this").await;
    assert_eq!(said(&wire.response().await), ("HTTP/1.1 408 Request Timeout", "body_timeout"));
    assert_eq!(gateway.outcomes("github", "incomplete"), 1.0);
    nothing_is_kept(&gateway).await;
}

#[tokio::test]
async fn another_method_is_told_which_is_right() {
    let gateway = started(&route("github", "github", "")).await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = gateway.request(method.clone(), "/hooks/github", &[], Bytes::new()).await;
        assert_eq!((answer.code(), answer.field("allow")), ((405, "method".into()), "POST"), "{method}");
    }
    assert_eq!(gateway.post("/hooks/gitlab", &signing::github(SECRET, b"{}")).await.code(), (404, "no_route".into()));
}

#[tokio::test]
async fn without_its_plugin_a_route_is_closed_and_the_others_serve() {
    let toml = route("absent", "nowhere", "") + &route("github", "github", "");
    let gateway = started(&toml).await;
    let signed = signing::github(SECRET, b"{}");
    assert_eq!(gateway.post("/hooks/absent", &signed).await.code(), (503, "plugin_fault".into()));
    nothing_is_kept(&gateway).await;
    assert_eq!(gateway.outcomes("absent", "plugin_fault"), 1.0);
    assert_eq!(gateway.metric("gateway_plugin_faults_total", &["plugin=\"nowhere\"", "reason=\"missing\""]), 1.0);
    assert_eq!(gateway.post("/hooks/github", &signed).await.became(), (202, "accepted".into()));
}

#[tokio::test]
async fn a_full_store_says_when_to_come_back() {
    let store = "[store]\nmax_bytes = \"512KiB\"\n";
    let gateway = started(&format!("{store}{}", route("github", "github", ""))).await;
    let mut accepted = Vec::new();
    let refused: Answer = soon("a full store", async {
        loop {
            let body = vec![b'x'; 32 * 1024 + accepted.len()];
            let answer = gateway.post("/hooks/github", &signing::github(SECRET, &body)).await;
            if answer.status != 202 {
                return answer;
            }
            accepted.push(answer.id());
            assert!(accepted.len() < 100, "a store of 512 KiB took {} bodies of 32 KiB", accepted.len());
        }
    })
    .await;
    assert_eq!(refused.code(), (503, "store".into()));
    assert!(refused.field("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(gateway.outcomes("github", "store"), 1.0);
    // What was accepted before is delivered all the same.
    for id in &accepted {
        gateway.settled(id, DeliveryState::Delivered, 1).await;
    }
    assert_eq!(gateway.events().await.len(), accepted.len());
}

#[tokio::test]
async fn more_than_may_be_held_at_once_is_told_to_come_back() {
    let limits = "[limits]\nintake_bytes = \"100KiB\"\n";
    let gateway = started(&format!("{limits}{}", route("github", "github", "max_body = \"80KiB\""))).await;
    let first = signing::github(SECRET, &[b'1'; 60 * 1024]);
    let second = signing::github(SECRET, &[b'2'; 60 * 1024]);
    let last = first.body.len() - 1;
    // Which of two comes first is theirs to race for: they are sent until the one that waits for its last byte did.
    let refused = tollgate_tests::eventually("a refusal beside a body that is held", || async {
        let mut wire = gateway.wire().await;
        wire.send(head(&first)).await;
        wire.send(&first.body[..last]).await;
        let _while_the_bytes_are_on_their_way = gateway.post("/hooks/github", &second).await;
        let answer = gateway.post("/hooks/github", &second).await;
        wire.send_unless_closed(&first.body[last..]).await.ok()?;
        let held = said(&wire.response().await).0 == "HTTP/1.1 202 Accepted";
        (held && answer.status != 202).then_some(answer)
    })
    .await;
    assert_eq!(refused.code(), (503, "store".into()));
    assert!(refused.field("retry-after").parse::<u64>().unwrap() >= 1);
    let third = signing::github(SECRET, &[b'3'; 60 * 1024]);
    assert_eq!(gateway.post("/hooks/github", &third).await.became(), (202, "accepted".into()));
}

fn head(signed: &Signed) -> String {
    let mut head = format!("POST /hooks/github HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n", signed.body.len());
    for (name, value) in &signed.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

#[tokio::test]
async fn whoever_goes_before_the_answer_may_come_again() {
    let gateway = started(&route("github", "github", "")).await;
    let signed = signing::github(SECRET, b"{}");
    let mut wire = gateway.wire().await;
    wire.send(head(&signed)).await;
    wire.send(&signed.body).await;
    drop(wire);
    // Kept or not, the sender who heard nothing sends it again and gets an id.
    let again = tokio::time::timeout(Duration::from_secs(10), gateway.post("/hooks/github", &signed)).await.unwrap();
    gateway.settled(&again.id(), DeliveryState::Delivered, 1).await;
    assert_eq!(gateway.events().await.len(), 1);
}
