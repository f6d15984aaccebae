//! `mode = "sync"`: the product answers while the sender waits.

use std::time::Duration;

use tollgate_tests::signing::{self, Signed};
use tollgate_tests::{Peer, Reply, Setup, TestGateway, eventually, soon};

const SECRET: &str = "a secret";

fn toml(peer: &Peer, more: &str) -> String {
    format!(
        "[secret.s]\nenv = \"SECRET\"\n{}[route.hook]\npath = \"/hooks/{{name}}\"\nproduct = \"app\"\n{more}\n\
         [route.hook.webhook]\nverifier = \"github\"\nsecrets = {{ signing = \"s\" }}\nmode = \"sync\"\n",
        peer.product("app")
    )
}

async fn started(peer: &Peer, more: &str) -> TestGateway {
    TestGateway::start(Setup::new(&toml(peer, more)).env("SECRET", SECRET)).await
}

fn signed(body: &str) -> Signed {
    signing::github(SECRET, body.as_bytes())
}

#[tokio::test]
async fn the_products_answer_is_the_senders() {
    let peer = Peer::scripted([Reply::With(201, "x-from", "the product".into()), Reply::Status(422)]).await;
    let gateway = started(&peer, "").await;
    let event =
        signed("{\"a\":1}").with("x-shared-token", SECRET).with("authorization", "Bearer x").with("cookie", "a=b");
    let answer = gateway.post("/hooks/a?b=1&t=a%20secret", &event).await;
    assert_eq!((answer.status.as_u16(), answer.field("x-from"), &answer.body[..]), (201, "the product", &b"ok"[..]));
    assert_eq!(gateway.post("/hooks/a", &signed("{}")).await.status, 422, "whatever it is");
    let forwarded = &peer.deliveries()[0];
    assert_eq!((forwarded.target.as_str(), &forwarded.body[..]), ("/hooks/a?b=1", &b"{\"a\":1}"[..]));
    assert_eq!(forwarded.field("x-github-event"), "push");
    assert_eq!(forwarded.field("x-request-id"), answer.field("x-request-id"));
    assert_eq!(forwarded.field("x-forwarded-for"), "127.0.0.1");
    assert!(forwarded.id().starts_with("evt_") && forwarded.field("traceparent").starts_with("00-"));
    for secret in ["x-shared-token", "authorization", "cookie"] {
        assert_eq!(forwarded.field(secret), "", "{secret}");
    }
    assert_eq!(gateway.events().await, [], "nothing is kept");
    assert_eq!(gateway.outcomes("hook", "accepted"), 2.0);
}

#[tokio::test]
async fn what_is_not_verified_is_not_forwarded() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer, "").await;
    assert_eq!(gateway.post("/hooks/a", &signed("{}").forged()).await.code(), (401, "signature".into()));
    assert_eq!(gateway.post("/hooks/a", &signed("{}")).await.status, 200);
    assert_eq!(peer.deliveries().len(), 1);
}

#[tokio::test]
async fn a_copy_of_what_ended_well_is_not_forwarded_again() {
    let peer = Peer::scripted([Reply::Status(204)]).await;
    let gateway = started(&peer, "").await;
    assert_eq!(gateway.post("/hooks/a", &signed("{}")).await.status, 204);
    let id = peer.deliveries()[0].id().to_owned();
    let copy = gateway.post("/hooks/a", &signed("{}")).await;
    assert_eq!(copy.became(), (200, "duplicate".into()));
    assert_eq!(copy.json()["id"].as_str(), Some(&*id));
    assert_eq!((peer.deliveries().len(), gateway.outcomes("hook", "duplicate")), (1, 1.0));
    gateway.advance(24 * 3600);
    assert_eq!(gateway.post("/hooks/a", &signed("{}")).await.status, 200, "after the window it is another event");
    assert_eq!(peer.deliveries().len(), 2);
}

#[tokio::test]
async fn a_copy_of_what_failed_is_forwarded_again() {
    let peer = Peer::scripted([Reply::Status(500), Reply::Close, Reply::Status(302), Reply::Status(200)]).await;
    let gateway = started(&peer, "").await;
    let mut heard = Vec::new();
    for _ in 0..5 {
        heard.push(gateway.post("/hooks/a", &signed("{}")).await.status.as_u16());
    }
    assert_eq!(heard, [500, 502, 302, 200, 200]);
    assert_eq!(peer.deliveries().len(), 4, "the last was a duplicate");
    assert_eq!((gateway.outcomes("hook", "upstream"), gateway.outcomes("hook", "duplicate")), (1.0, 1.0));
}

#[tokio::test]
async fn a_copy_is_told_to_come_back_while_the_first_is_forwarded() {
    let peer = Peer::answering(Reply::Hold).await;
    let gateway = started(&peer, "").await;
    let (mut first, mut second) = (gateway.connect().await, gateway.connect().await);
    let (event, other) = (signed("{}"), signed("{\"other\":1}"));
    let both = async {
        let waiting = async { soon("the first", first.post("/hooks/a", &event)).await.unwrap() };
        let copies = async {
            peer.holds(1).await;
            for _ in 0..3 {
                let copy = gateway.post("/hooks/a", &signed("{}")).await;
                assert_eq!((copy.code(), copy.field("retry-after")), ((409, "in_progress".into()), "1"));
            }
            let beside = async { soon("another event", second.post("/hooks/a", &other)).await.unwrap() };
            let released = async {
                peer.holds(2).await;
                peer.release();
            };
            assert_eq!(tokio::join!(beside, released).0.status, 200);
        };
        tokio::join!(waiting, copies).0
    };
    assert_eq!(both.await.status, 200);
    assert_eq!(gateway.post("/hooks/a", &signed("{}")).await.became(), (200, "duplicate".into()));
    assert_eq!((peer.deliveries().len(), gateway.outcomes("hook", "in_progress")), (2, 3.0));
}

/// A storm of copies over many connections: the product gets one.
#[tokio::test]
async fn a_storm_of_copies_reaches_the_product_once() {
    let peer = Peer::answering(Reply::Hold).await;
    let gateway = started(&peer, "").await;
    let mut connections = Vec::new();
    for _ in 0..48 {
        connections.push(gateway.connect().await);
    }
    let event = signed("{}");
    let post = async |connection: &mut tollgate_tests::Connection| {
        connection.post("/hooks/a", &event).await.unwrap().status.as_u16()
    };
    let storm = futures_util::future::join_all(connections.iter_mut().map(post));
    let release = async {
        eventually("47 copies turned away", || async {
            (gateway.outcomes("hook", "in_progress") == 47.0).then_some(())
        })
        .await;
        peer.release();
    };
    let mut heard = soon("the storm", async { tokio::join!(storm, release).0 }).await;
    heard.sort_unstable();
    assert_eq!((heard[0], heard[1..].iter().all(|status| *status == 409)), (200, true), "{heard:?}");
    assert_eq!(peer.deliveries().len(), 1);
}

#[tokio::test]
async fn a_sender_that_leaves_does_not_leave_its_event_in_doubt() {
    let peer = Peer::answering(Reply::Hold).await;
    let gateway = started(&peer, "").await;
    let mut first = gateway.connect().await;
    let event = signed("{}");
    let left = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            _ = first.post("/hooks/a", &event) => panic!("it was answered"),
            () = peer.holds(1) => {}
        }
    });
    left.await.unwrap();
    drop(first);
    assert_eq!(gateway.post("/hooks/a", &event).await.status, 409, "it is still forwarded");
    peer.release();
    let duplicate = || async {
        let copy = gateway.post("/hooks/a", &event).await;
        (copy.became() == (200, "duplicate".to_owned())).then_some(())
    };
    eventually("the copy is a duplicate", duplicate).await;
    assert_eq!(peer.deliveries().len(), 1);
}

#[tokio::test]
async fn a_product_that_hangs_is_given_up_and_its_event_may_come_again() {
    let peer = Peer::scripted([Reply::Hang, Reply::Status(200)]).await;
    let gateway = started(&peer, "timeouts = { response = \"150ms\" }").await;
    assert_eq!(gateway.post("/hooks/a", &signed("{}")).await.code(), (504, "upstream_timeout".into()));
    assert_eq!(gateway.post("/hooks/a", &signed("{}")).await.status, 200);
    assert_eq!(peer.deliveries().len(), 2);
}

#[tokio::test]
async fn a_large_payload_is_verified_and_forwarded_whole() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer, "").await;
    let body = "large ".repeat(1_000_000);
    assert_eq!(gateway.post("/hooks/a", &signed(&body)).await.status, 200);
    let forwarded = &peer.deliveries()[0];
    assert_eq!((forwarded.length, &forwarded.sha256), (6_000_000, &signing::sha256(body.as_bytes())));
    let spilled = gateway.store().spill_directory().to_owned();
    let empty = || async { (std::fs::read_dir(&spilled).unwrap().count() == 0).then_some(()) };
    eventually("nothing of it is left on the disk", empty).await;
}

#[tokio::test]
async fn without_a_window_every_copy_is_forwarded() {
    let peer = Peer::scripted([]).await;
    let text = toml(&peer, "") + "duplicates = \"off\"\n";
    let gateway = TestGateway::start(Setup::new(&text).env("SECRET", SECRET)).await;
    for _ in 0..3 {
        assert_eq!(gateway.post("/hooks/a", &signed("{}")).await.status, 200);
    }
    assert_eq!(peer.deliveries().len(), 3);
}
