//! Delivering: by the schedule, as often as it takes, across restarts, and never what is nobody's business.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tollgate::base::clock::Timestamp;
use tollgate::store::DeliveryState::{Dead, Delivered, Due};
use tollgate_tests::{Peer, Reply, Setup, TestGateway, signing};

const SECRET: &str = "a secret";

fn route(name: &str, product: &str, more: &str) -> String {
    format!(
        "[route.{name}]\npath = \"/hooks/{name}\"\nproduct = \"{product}\"\n[route.{name}.webhook]\n\
         verifier = \"github\"\nsecrets = {{ signing = \"s\" }}\n{more}\n"
    )
}

/// A route `hook` to the peer, its schedule and what else is said of it.
fn toml(peer: &Peer, schedule: &str, more: &str) -> String {
    let retry = format!("[route.hook.webhook.retry]\njitter = 0\nschedule = {schedule}");
    format!(
        "[secret.s]\nenv = \"SECRET\"\n{}{}",
        peer.product("app"),
        route("hook", "app", &format!("{more}\n{retry}"))
    )
}

fn setup(toml: &str) -> Setup {
    Setup::new(toml).env("SECRET", SECRET)
}

async fn accepted(gateway: &TestGateway, route: &str, body: &str) -> String {
    gateway.post(&format!("/hooks/{route}"), &signing::github(SECRET, body.as_bytes())).await.id()
}

#[tokio::test]
async fn a_failed_attempt_is_made_again_when_the_schedule_says() {
    let peer = Peer::scripted([Reply::Status(500), Reply::Close, Reply::Status(429)]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["5s", "5m", "2h"]"#, ""))).await;
    let id = accepted(&gateway, "hook", "{}").await;
    let received = gateway.clock.now();
    for (attempt, delay) in [(1, 5), (2, 300), (3, 7200)] {
        let row = gateway.settled(&id, Due, attempt).await;
        let due = row.due.unwrap();
        assert_eq!(due.since(gateway.clock.now()).as_secs(), delay, "after attempt {attempt}");
        gateway.clock.set(due);
    }
    gateway.settled(&id, Delivered, 4).await;
    let deliveries = peer.deliveries();
    assert_eq!(deliveries.iter().map(|delivery| delivery.attempt()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(deliveries.iter().all(|delivery| delivery.id() == id), "the id stays");
    assert!(deliveries.iter().all(|delivery| delivery.field("tollgate-received") == received.to_string()));
    gateway.counts("gateway_webhook_deliveries_total", &["outcome=\"retry\""], 3.0).await;
    gateway.counts("gateway_webhook_deliveries_total", &["outcome=\"delivered\""], 1.0).await;
}

#[tokio::test]
async fn a_product_that_is_left_alone_costs_no_attempt() {
    const PAUSE: Duration = Duration::from_millis(700);
    let peer = Peer::scripted([Reply::Status(503), Reply::Status(503)]).await;
    let breaker = "breaker = { failures = 2, pause = \"700ms\" }\nupstreams =";
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["1h"]"#, "").replacen("upstreams =", breaker, 1))).await;
    let first = accepted(&gateway, "hook", "1").await;
    gateway.settled(&first, Due, 1).await;
    let before = Instant::now();
    let second = accepted(&gateway, "hook", "2").await;
    gateway.settled(&second, Due, 1).await;
    let third = accepted(&gateway, "hook", "3").await;
    let row = gateway.settled(&third, Delivered, 1).await;
    assert!(before.elapsed() >= PAUSE, "{row:?} was sent while the breaker was open");
    assert_eq!(peer.deliveries().len(), 3);
}

#[tokio::test]
async fn an_attempt_is_not_made_before_its_time() {
    let peer = Peer::scripted([Reply::Status(500)]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["1h"]"#, ""))).await;
    let late = accepted(&gateway, "hook", "1").await;
    gateway.settled(&late, Due, 1).await;
    gateway.advance(3599);
    // Another event goes through while the first waits: the worker has looked.
    let other = accepted(&gateway, "hook", "2").await;
    gateway.settled(&other, Delivered, 1).await;
    assert_eq!(peer.deliveries_of(&late).len(), 1);
    gateway.advance(1);
    gateway.settled(&late, Delivered, 2).await;
}

#[tokio::test]
async fn a_product_that_never_answers_is_tried_again() {
    let peer = Peer::scripted([Reply::Hang]).await;
    let gateway =
        TestGateway::start(setup(&toml(&peer, r#"["1m"]"#, "").replace("jitter", "timeout = \"100ms\"\njitter"))).await;
    let id = accepted(&gateway, "hook", "{}").await;
    let row = gateway.settled(&id, Due, 1).await;
    assert_eq!(row.reason.as_deref(), Some("no answer within 100 ms"));
    gateway.advance(60);
    gateway.settled(&id, Delivered, 2).await;
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let date = "Mon, 21 Sep 2026 15:13:20 GMT";
    let peer = Peer::scripted([
        Reply::With(429, "retry-after", "600".into()),
        Reply::With(503, "retry-after", date.into()),
        Reply::With(503, "retry-after", "1".into()),
        Reply::With(503, "retry-after", "999999999".into()),
    ])
    .await;
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["5s", "5s", "5s", "5s"]"#, ""))).await;
    let id = accepted(&gateway, "hook", "{}").await;
    let start = gateway.clock.now();
    assert_eq!(start.to_string(), "2026-09-21T14:13:20.000Z", "the date above is an hour later");
    let due = async |attempt| gateway.settled(&id, Due, attempt).await.due.unwrap();
    let first = due(1).await;
    assert_eq!(first.since(start).as_secs(), 600, "seconds");
    gateway.clock.set(first);
    let second = due(2).await;
    assert_eq!(second.since(start).as_secs(), 3600, "a date");
    gateway.clock.set(second);
    let third = due(3).await;
    assert_eq!(third.since(second).as_secs(), 5, "a shorter wish does not shorten the schedule");
    gateway.clock.set(third);
    let fourth = due(4).await;
    assert_eq!(fourth.since(third).as_secs(), 86_400, "at most a day");
}

#[tokio::test]
async fn a_410_is_dead_at_once() {
    let peer = Peer::scripted([Reply::Status(410)]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["5s"]"#, ""))).await;
    let id = accepted(&gateway, "hook", "{}").await;
    let row = gateway.settled(&id, Dead, 1).await;
    assert_eq!(row.due, None);
    gateway.counts("gateway_webhook_deliveries_total", &["outcome=\"dead\""], 1.0).await;
}

#[tokio::test]
async fn a_product_may_say_that_it_wants_no_more_attempts() {
    let peer = Peer::scripted([Reply::With(503, "webhook-delivery", "disable".into())]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["5s"]"#, ""))).await;
    let id = accepted(&gateway, "hook", "{}").await;
    let row = gateway.settled(&id, Dead, 1).await;
    assert!(row.reason.is_some_and(|reason| reason.starts_with("the product answered webhook-delivery: disable")));
}

#[tokio::test]
async fn a_product_gets_no_more_a_second_than_it_wants() {
    let peer = Peer::scripted([]).await;
    let rated = format!("[product.app.delivery]\nrate = 20\n{}", route("hook", "app", ""));
    let text = format!("[secret.s]\nenv = \"SECRET\"\n{}{rated}", peer.product("app"));
    let gateway = TestGateway::start(setup(&text)).await;
    let before = Instant::now();
    for nth in 0..12 {
        accepted(&gateway, "hook", &format!("{nth}")).await;
    }
    peer.delivered(12).await;
    // Two at once, then one each 50 ms.
    assert!(before.elapsed() >= Duration::from_millis(500), "{:?}", before.elapsed());
}

/// A receiver that answers without end is read no further than it takes to know what it said.
#[tokio::test]
async fn a_product_that_floods_has_still_answered() {
    let peer = Peer::scripted([Reply::Events(Some(Duration::ZERO)), Reply::Events(None)]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, "[]", ""))).await;
    for body in ["floods", "never ends"] {
        let id = accepted(&gateway, "hook", body).await;
        gateway.settled(&id, Delivered, 1).await;
        let attempts = gateway.attempts(&id).await;
        assert!(attempts[0].answer.starts_with(b"data: 1") && attempts[0].answer.len() <= tollgate::store::ANSWER_MAX);
    }
}

/// An answer that comes after the timeout changes nothing: the attempt has failed, and the event comes again.
#[tokio::test]
async fn an_answer_after_the_timeout_does_not_count() {
    let peer = Peer::scripted([Reply::Hold]).await;
    let text = toml(&peer, r#"["1m"]"#, "").replace("jitter", "timeout = \"100ms\"\njitter");
    let gateway = TestGateway::start(setup(&text)).await;
    let id = accepted(&gateway, "hook", "{}").await;
    gateway.settled(&id, Due, 1).await;
    peer.release();
    let other = accepted(&gateway, "hook", "another").await;
    gateway.settled(&other, Delivered, 1).await;
    assert_eq!(gateway.event(&id).await.state, Due);
    gateway.advance(60);
    gateway.settled(&id, Delivered, 2).await;
}

/// The wall clock may be set: what is due comes late or early, and nothing is lost or done twice.
#[tokio::test]
async fn a_clock_that_steps_back_and_forth_loses_nothing() {
    let peer = Peer::scripted([Reply::Status(500)]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["5m"]"#, ""))).await;
    let failed = accepted(&gateway, "hook", "failed").await;
    let due = gateway.settled(&failed, Due, 1).await.due.unwrap();
    let start = gateway.clock.now();
    // Back by a day: new events are delivered at once, the waiting one waits on.
    gateway.clock.set(start.before(Duration::from_secs(86_400)));
    let early = accepted(&gateway, "hook", "early").await;
    gateway.settled(&early, Delivered, 1).await;
    assert_eq!(gateway.event(&failed).await.state, Due);
    // Far ahead: it is due, and so is everything else, once.
    gateway.clock.set(due.after(Duration::from_secs(30 * 86_400)));
    gateway.settled(&failed, Delivered, 2).await;
    gateway.clock.set(start);
    let late = accepted(&gateway, "hook", "late").await;
    gateway.settled(&late, Delivered, 1).await;
    assert_eq!(peer.deliveries().len(), 4);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_404_is_tried_a_few_times() {
    let elsewhere = Peer::scripted([]).await;
    let peer = Peer::scripted([
        Reply::With(302, "location", format!("http://{}/", elsewhere.address())),
        Reply::Status(404),
        Reply::Status(404),
    ])
    .await;
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["0s", "0s", "0s", "0s", "0s"]"#, ""))).await;
    let id = accepted(&gateway, "hook", "{}").await;
    gateway.settled(&id, Dead, 3).await;
    assert_eq!((peer.deliveries().len(), elsewhere.deliveries().len()), (3, 0));
}

#[tokio::test]
async fn a_dead_letter_that_is_replayed_is_delivered() {
    let peer = Peer::scripted([Reply::Status(500), Reply::Status(500), Reply::Status(500)]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, r#"["0s"]"#, ""))).await;
    let id = accepted(&gateway, "hook", "{}").await;
    gateway.settled(&id, Dead, 2).await;
    assert_eq!(gateway.replay(&id).await, 1);
    // The schedule starts again: a failure is not the end.
    gateway.settled(&id, Delivered, 4).await;
    assert_eq!(gateway.replay(&id).await, 1, "what was delivered may be delivered again");
    gateway.settled(&id, Delivered, 5).await;
    let deliveries = peer.deliveries();
    let replays: Vec<_> =
        deliveries.iter().map(|delivery| (delivery.attempt(), delivery.field("tollgate-replay"))).collect();
    assert_eq!(replays, [(1, ""), (2, ""), (3, "1"), (4, "1"), (5, "2")]);
    assert!(deliveries.iter().all(|delivery| delivery.id() == id && delivery.body == "{}"));
}

#[tokio::test]
async fn a_product_gets_no_more_at_once_than_it_wants() {
    let slow = Peer::answering(Reply::Hold).await;
    let quick = Peer::scripted([]).await;
    let products = slow.product("slow") + "[product.slow.delivery]\nconcurrency = 2\n" + &quick.product("quick");
    let toml =
        format!("[secret.s]\nenv = \"SECRET\"\n{products}{}{}", route("slow", "slow", ""), route("quick", "quick", ""));
    let gateway = TestGateway::start(setup(&toml)).await;
    let mut ids = Vec::new();
    for nth in 0..6 {
        ids.push(accepted(&gateway, "slow", &format!("slow {nth}")).await);
    }
    slow.holds(2).await;
    // Whatever the slow product may have is under way once a later event of another product is delivered.
    let other = accepted(&gateway, "quick", "quick").await;
    gateway.settled(&other, Delivered, 1).await;
    assert_eq!(slow.deliveries().len(), 2);
    slow.release();
    for id in &ids {
        gateway.settled(id, Delivered, 1).await;
    }
    assert_eq!((slow.most_at_once(), slow.deliveries().len()), (2, 6));
}

#[tokio::test]
async fn an_event_goes_to_the_path_its_route_says() {
    let peer = Peer::scripted([]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, "[]", "deliver_path = \"/events?from=github\""))).await;
    let signed = signing::github(SECRET, b"{}");
    let answer = gateway.post("/hooks/hook?their=own", &signed).await;
    gateway.settled(&answer.id(), Delivered, 1).await;
    assert_eq!(peer.deliveries()[0].target, "/events?from=github");
}

#[tokio::test]
async fn the_product_gets_the_providers_fields_and_no_secrets() {
    let peer = Peer::scripted([]).await;
    let gateway = TestGateway::start(setup(&toml(&peer, "[]", ""))).await;
    let signed = signing::github(SECRET, b"{}")
        .with("host", "hooks.example.test")
        .with("content-type", "application/json")
        .with("x-more", "one")
        .with("x-more", "another")
        .with("authorization", "Bearer of bad news")
        .with("cookie", "a=b")
        .with("x-api-key", "a key")
        .with("x-shared-token", SECRET)
        .with("accept-encoding", "gzip")
        .with("connection", "x-hop")
        .with("x-hop", "ends here")
        .with("tollgate-id", "evt_forged")
        .with("tollgate-replay", "7")
        .with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let answer = gateway.post("/hooks/hook?a=1&token=a%20secret&b=2", &signed).await;
    gateway.settled(&answer.id(), Delivered, 1).await;
    let delivery = &peer.deliveries()[0];
    assert_eq!(delivery.target, "/hooks/hook?a=1&b=2");
    let values =
        |name: &str| delivery.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(values("host"), [peer.address().to_string()]);
    assert_eq!(values("content-type"), ["application/json"]);
    assert_eq!(values("x-github-event"), ["push"]);
    assert_eq!(values("x-more"), ["one", "another"]);
    assert_eq!(values("x-hub-signature-256"), [signed.headers[0].1.as_str()]);
    assert_eq!(values("tollgate-id"), [answer.id()]);
    assert_eq!(values("tollgate-attempt"), ["1"]);
    assert_eq!(values("tollgate-received"), ["2026-09-21T14:13:20.000Z"]);
    assert_eq!(values("x-request-id"), [answer.field("x-request-id")]);
    let trace = delivery.field("traceparent");
    assert!(
        trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && !trace.contains("b7ad6b7169203331"),
        "{trace}"
    );
    let gone =
        ["authorization", "cookie", "x-api-key", "x-shared-token", "accept-encoding", "x-hop", "tollgate-replay"];
    for name in gone {
        assert_eq!(values(name), Vec::<&str>::new(), "{name}");
    }
}

#[tokio::test]
async fn what_was_pending_is_delivered_after_a_restart() {
    // A port that nobody listens on, until somebody does.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let product = format!("[secret.s]\nenv = \"SECRET\"\n[product.app]\nupstreams = [\"http://{address}\"]\n");
    let retry = "[route.hook.webhook.retry]\njitter = 0\nschedule = [\"1h\", \"1h\"]";
    let gateway = TestGateway::start(setup(&format!("{product}{}", route("hook", "app", retry)))).await;
    let small = accepted(&gateway, "hook", "small").await;
    let large = accepted(&gateway, "hook", &"large ".repeat(50_000)).await;
    for id in [&small, &large] {
        gateway.settled(id, Due, 1).await;
    }
    let stopped_at = gateway.clock.now();
    let setup = gateway.stop().await;

    let peer = Peer::at(address).await;
    let later = Timestamp::from_seconds(stopped_at.seconds() + 3600);
    let gateway = TestGateway::start_at(setup, later).await;
    for id in [&small, &large] {
        gateway.settled(id, Delivered, 2).await;
    }
    let sizes: Vec<_> = [&small, &large].map(|id| peer.deliveries_of(id)[0].length).into();
    assert_eq!(sizes, [5, 300_000]);
    // It still knows what it took before.
    let again = gateway.post("/hooks/hook", &signing::github(SECRET, b"small")).await;
    assert_eq!((again.became().1.as_str(), again.id()), ("duplicate", small));
}
