//! What a product with `sign` gets: a signature of the gateway's own (Standard Webhooks).

use tollgate::store::DeliveryState::{Delivered, Due};
use tollgate_tests::{Delivery, Peer, Reply, Setup, TestGateway, signing};

const SECRET: &str = "a secret";
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// A route whose product signs; `mode` goes into its webhook table.
fn setup(peer: &Peer, mode: &str) -> Setup {
    let product = peer.product("app").replacen("upstreams", "sign = \"out\"\nupstreams", 1);
    let toml = format!(
        "[secret.s]\nenv = \"SECRET\"\n\
         [secret.out]\nvalues = [{{ env = \"NEW\" }}, {{ env = \"OLD\", until = 2026-09-21T15:00:00Z }}]\n{product}\
         [route.hook]\npath = \"/hook\"\nproduct = \"app\"\n\
         [route.hook.webhook]\nverifier = \"github\"\nsecrets = {{ signing = \"s\" }}\n{mode}\n"
    );
    Setup::new(&toml).env("SECRET", SECRET).env("NEW", NEW).env("OLD", OLD)
}

/// Checks as a receiver's library does: any one of the signatures must be ours.
fn is_signed(delivery: &Delivery, key: &str) -> bool {
    let at = delivery.field("webhook-timestamp").parse().expect("Unix seconds");
    let ours = signing::standardwebhooks(key, delivery.field("webhook-id"), at, &delivery.body);
    let wanted = ours.headers.iter().find(|(name, _)| name == "webhook-signature").map(|(_, value)| value.clone());
    delivery.field("webhook-signature").split(' ').any(|signature| Some(signature) == wanted.as_deref())
}

#[tokio::test]
async fn a_delivery_is_signed_by_every_live_value() {
    let peer = Peer::scripted([Reply::Status(500)]).await;
    let gateway = TestGateway::start(setup(&peer, "retry = { schedule = [\"2h\"], jitter = 0 }")).await;
    let event =
        signing::github(SECRET, b"{\"paid\":true}").with("webhook-id", "the provider's").with("webhook-other", "1");
    let id = gateway.post("/hook", &event).await.id();
    gateway.settled(&id, Due, 1).await;
    let started = gateway.now();
    gateway.advance(7200);
    gateway.settled(&id, Delivered, 2).await;
    let [first, second] = &peer.deliveries()[..] else { panic!("two attempts") };
    for (attempt, at) in [(first, started), (second, started + 7200)] {
        assert_eq!(attempt.field("webhook-id"), id, "the same in every attempt");
        assert_eq!(attempt.field("webhook-timestamp"), at.to_string(), "of the attempt");
        assert!(is_signed(attempt, NEW));
        assert_eq!(attempt.field("provider-webhook-id"), "the provider's");
        assert_eq!((attempt.field("provider-webhook-other"), attempt.field("webhook-other")), ("1", ""));
    }
    assert!(is_signed(first, OLD) && !is_signed(second, OLD), "the old value is past its end");
}

#[tokio::test]
async fn what_is_forwarded_is_signed_too() {
    let peer = Peer::scripted([]).await;
    let gateway = TestGateway::start(setup(&peer, "mode = \"sync\"")).await;
    assert_eq!(gateway.post("/hook", &signing::github(SECRET, b"{}")).await.status, 200);
    let forwarded = &peer.deliveries()[0];
    assert!(is_signed(forwarded, NEW) && is_signed(forwarded, OLD));
    assert_eq!(forwarded.field("webhook-id"), forwarded.id());
}

#[tokio::test]
async fn a_secret_that_no_library_takes_is_a_problem() {
    let peer = Peer::scripted([]).await;
    let setup = setup(&peer, "").env("NEW", "a passphrase");
    let started = tollgate_tests::gateway::start(&setup, tollgate::base::clock::Clock::System).await;
    let problem = started.expect_err("it does not start").to_string();
    assert!(problem.contains("`sign` expects a Standard Webhooks secret"), "{problem}");
}
