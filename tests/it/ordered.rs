//! `order_by`: events with one key reach the product in the order they came, and hold up nobody else.

use tollgate::store::DeliveryState::{Dead, Delivered, Due};
use tollgate_tests::signing::{self, Signed};
use tollgate_tests::{Peer, Reply, Setup, TestGateway};

const SECRET: &str = "a secret";

async fn started(peer: &Peer, order_by: &str) -> TestGateway {
    let toml = format!(
        "[secret.s]\nenv = \"SECRET\"\n{}[route.hook]\npath = \"/hook\"\nproduct = \"app\"\n\
         [route.hook.webhook]\nverifier = \"guest-handshaker\"\nsecrets = {{ signing = \"s\", verify = \"s\" }}\n\
         order_by = {order_by}\nretry = {{ schedule = [\"1m\"], jitter = 0 }}\n",
        peer.product("app")
    );
    TestGateway::start(Setup::new(&toml).env("SECRET", SECRET)).await
}

async fn accepted(gateway: &TestGateway, account: &str, nth: u32) -> String {
    let body = format!("{{\"account\":\"{account}\",\"nth\":{nth}}}");
    let signature = signing::hmac_sha256(SECRET, body.as_bytes());
    let event = Signed::new([("x-signature", signature), ("x-account", account.to_owned())], body.as_bytes());
    gateway.post("/hook", &event).await.id()
}

fn reached(peer: &Peer) -> Vec<String> {
    peer.deliveries().iter().map(|delivery| delivery.id().to_owned()).collect()
}

#[tokio::test]
async fn a_failing_event_holds_up_its_own_key_only() {
    for order_by in ["\"plugin\"", "{ header = \"x-account\" }", "{ pointer = \"/account\" }"] {
        let peer = Peer::scripted([Reply::Status(500)]).await;
        let gateway = started(&peer, order_by).await;
        let first = accepted(&gateway, "a", 1).await;
        gateway.settled(&first, Due, 1).await;
        let second = accepted(&gateway, "a", 2).await;
        let third = accepted(&gateway, "a", 3).await;
        let other = accepted(&gateway, "b", 1).await;
        gateway.settled(&other, Delivered, 1).await;
        assert_eq!(reached(&peer), [&*first, &*other], "{order_by}");
        gateway.advance(60);
        gateway.settled(&third, Delivered, 1).await;
        assert_eq!(reached(&peer), [&*first, &*other, &*first, &*second, &*third], "{order_by}");
    }
}

#[tokio::test]
async fn a_dead_letter_lets_the_rest_of_its_key_go_and_returns_in_front() {
    let peer = Peer::scripted([Reply::Status(500), Reply::Status(500), Reply::Status(500)]).await;
    let gateway = started(&peer, "\"plugin\"").await;
    let first = accepted(&gateway, "a", 1).await;
    gateway.settled(&first, Due, 1).await;
    gateway.advance(60);
    gateway.settled(&first, Dead, 2).await;
    let second = accepted(&gateway, "a", 2).await;
    gateway.settled(&second, Due, 1).await;
    // The second waits for its retry; the first, replayed, goes before it.
    assert_eq!(gateway.replay(&first).await, 1);
    gateway.settled(&first, Delivered, 3).await;
    gateway.advance(60);
    gateway.settled(&second, Delivered, 2).await;
    assert_eq!(reached(&peer), [&*first, &*first, &*second, &*first, &*second]);
}
