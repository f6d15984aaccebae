//! The main job, whole: a signed webhook comes in, is kept, and is delivered once.

use tollgate::store::DeliveryState;
use tollgate_tests::{Peer, Setup, TestGateway, signing, soon};

const SECRET: &str = "It's a Secret to Everybody";

fn toml(peer: &Peer) -> String {
    format!(
        r#"
        [secret.github]
        env = "GITHUB"
        {}
        [route.github]
        path = "/hooks/github"
        product = "app"
        [route.github.webhook]
        verifier = "github"
        secrets = {{ signing = "github" }}
        "#,
        peer.product("app")
    )
}

async fn started(peer: &Peer) -> TestGateway {
    TestGateway::start(Setup::new(&toml(peer)).env("GITHUB", SECRET)).await
}

#[tokio::test]
async fn what_is_accepted_is_delivered_as_it_came() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer).await;
    let body = br#"{"odd":  "spacing", "and": "\u00e9"}"#;
    let answer = gateway.post("/hooks/github?a=1&a=2", &signing::github(SECRET, body)).await;
    assert_eq!(answer.became(), (202, "accepted".into()));
    let deliveries = peer.delivered(1).await;
    assert_eq!(deliveries[0].id(), answer.id());
    assert_eq!(deliveries[0].body, body.as_slice());
    assert_eq!((deliveries[0].method.as_str(), deliveries[0].target.as_str()), ("POST", "/hooks/github?a=1&a=2"));
    gateway.settled(&answer.id(), DeliveryState::Delivered, 1).await;
    assert_eq!(gateway.outcomes("github", "accepted"), 1.0);
}

#[tokio::test]
async fn signature_mismatch_is_refused() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer).await;
    let good = signing::github(SECRET, b"{}");
    let unsigned = signing::Signed { headers: vec![], body: good.body.clone() };
    for (what, bad) in [
        ("another body", good.clone().forged()),
        ("another secret", signing::github("another secret", b"{}")),
        ("no signature", unsigned),
    ] {
        let answer = gateway.post("/hooks/github", &bad).await;
        assert_eq!(answer.code(), (401, "signature".into()), "{what}");
        assert_eq!(
            answer.json()["error"]["message"],
            "the signature was not accepted",
            "{what}: no detail helps a forger"
        );
        assert_eq!(answer.json()["error"]["request_id"], answer.field("x-request-id"), "{what}");
    }
    assert_eq!(gateway.events().await, [], "nothing is kept");
    assert_eq!(gateway.outcomes("github", "signature"), 3.0);
    // A good one that is delivered says that the others, which came before it, are not on their way.
    let id = gateway.post("/hooks/github", &good).await.id();
    gateway.settled(&id, DeliveryState::Delivered, 1).await;
    assert_eq!(peer.deliveries().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_delivered_once() {
    let peer = Peer::scripted([]).await;
    let gateway = started(&peer).await;

    let twice = signing::github(SECRET, br#"{"n":1}"#).with("x-github-delivery", "one");
    let first = gateway.post("/hooks/github", &twice).await;
    let second = gateway.post("/hooks/github", &twice).await;
    assert_eq!((first.became(), second.became()), ((202, "accepted".into()), (202, "duplicate".into())));
    assert_eq!(first.id(), second.id());
    // What is not signed may differ in a replay: it does not make it another event.
    let renamed = signing::github(SECRET, br#"{"n":1}"#).with("x-github-delivery", "two");
    assert_eq!(gateway.post("/hooks/github", &renamed).await.id(), first.id());

    let copies = signing::github(SECRET, br#"{"n":2}"#);
    let sending = (0..20).map(|_| {
        let (address, copies) = (gateway.address(), copies.clone());
        tokio::spawn(async move {
            let mut connection = tollgate_tests::Connection::open(address).await.unwrap();
            connection.post("/hooks/github", &copies).await.unwrap()
        })
    });
    let mut answers = Vec::new();
    for sent in sending.collect::<Vec<_>>() {
        answers.push(soon("an answer", sent).await.unwrap());
    }
    let id = answers[0].id();
    assert!(answers.iter().all(|answer| answer.id() == id), "{answers:?}");
    let accepted = answers.iter().filter(|answer| answer.became().1 == "accepted").count();
    assert_eq!(accepted, 1, "{answers:?}");

    gateway.settled(&first.id(), DeliveryState::Delivered, 1).await;
    gateway.settled(&id, DeliveryState::Delivered, 1).await;
    assert_eq!(gateway.events().await.len(), 2);
    let delivered: Vec<_> = peer.deliveries().iter().map(|delivery| delivery.id().to_owned()).collect();
    assert_eq!(delivered, [first.id(), id]);
}
