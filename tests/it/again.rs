//! Replaying what is verified again first: `--verify`.

use serde_json::json;
use tollgate::store::DeliveryState::{Dead, Delivered};
use tollgate_tests::{Peer, Reply, Setup, TestGateway, eventually, signing};

const OLD: &str = "the old secret";
const NEW: &str = "the new secret";

/// A route whose secret has these values.
fn toml(peer: &Peer, values: &str) -> String {
    format!(
        "[secret.s]\nvalues = [{values}]\n{}[route.hook]\npath = \"/hook\"\nproduct = \"app\"\n[route.hook.webhook]\n\
         verifier = \"stripe\"\nsecrets = {{ signing = \"s\" }}\nretry = {{ schedule = [] }}\n",
        peer.product("app")
    )
}

async fn dead(gateway: &TestGateway, secret: &str, id: &str) -> String {
    let body = json!({ "id": id }).to_string();
    let id = gateway.post("/hook", &signing::stripe(secret, gateway.now(), body.as_bytes())).await.id();
    gateway.settled(&id, Dead, 1).await;
    id
}

/// The secrets of the time it was received count, and so does its clock; a secret that is gone for good does not.
#[tokio::test]
async fn what_was_signed_with_a_secret_of_its_time_verifies_again() {
    let peer = Peer::scripted([Reply::Status(410), Reply::Status(410), Reply::Status(410)]).await;
    let both = r#"{ env = "NEW" }, { env = "OLD", until = 2026-09-21T15:00:00Z }"#;
    let setup = Setup::new(&toml(&peer, both)).env("NEW", NEW).env("OLD", OLD);
    let gateway = TestGateway::start(setup).await;
    let old = dead(&gateway, OLD, "evt_1").await;
    let new = dead(&gateway, NEW, "evt_2").await;
    gateway.advance(30 * 86_400);
    let replay =
        async |id: &str| gateway.operate(&format!("/api/events/{id}/replay"), &json!({ "verify": true })).await;
    assert_eq!(replay(&old).await.json(), json!({ "replayed": 1 }), "its secret was live when it came");
    gateway.settled(&old, Dead, 2).await;

    gateway.reload_with(&toml(&peer, r#"{ env = "NEW" }"#)).await.unwrap();
    let refused = replay(&old).await;
    assert_eq!(refused.code(), (409, "verify".into()));
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("stripe refuses it"), "{refused:?}");
    assert_eq!(replay(&new).await.json(), json!({ "replayed": 1 }));
    gateway.settled(&new, Delivered, 2).await;
    assert_eq!(gateway.event(&old).await.state, Dead);
    assert_eq!(gateway.operate(&format!("/api/events/{old}/replay"), &json!({})).await.status, 200, "unasked");
}

#[tokio::test]
async fn a_bulk_replay_passes_over_what_does_not_verify() {
    let peer = Peer::scripted([Reply::Status(410), Reply::Status(410), Reply::Status(410)]).await;
    let setup = Setup::new(&toml(&peer, r#"{ env = "NEW" }, { env = "OLD" }"#)).env("NEW", NEW).env("OLD", OLD);
    let gateway = TestGateway::start(setup).await;
    let old = dead(&gateway, OLD, "evt_1").await;
    let (second, third) = (dead(&gateway, NEW, "evt_2").await, dead(&gateway, NEW, "evt_3").await);
    gateway.reload_with(&toml(&peer, r#"{ env = "NEW" }"#)).await.unwrap();
    let wanted = json!({ "filter": { "state": "dead" }, "pace": 1000, "verify": true });
    let started = gateway.operate("/api/events/replay", &wanted).await;
    let job = format!("/api/jobs/{}", started.json()["job"].as_str().unwrap());
    let ended = || async { Some(gateway.ask_admin(&job).await.json()).filter(|job| job["done"] == true) };
    let job = eventually("the job ends", ended).await;
    assert_eq!((&job["changed"], &job["refused"], &job["error"]), (&json!(2), &json!(1), &json!(null)));
    gateway.settled(&second, Delivered, 2).await;
    gateway.settled(&third, Delivered, 2).await;
    assert_eq!(gateway.event(&old).await.state, Dead);
    let refused = gateway.operate("/api/events/drop", &wanted).await;
    assert_eq!(refused.code(), (400, "parameter".into()), "only what is replayed is verified");
}
