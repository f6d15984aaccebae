//! Events of a route that a reload removed: never lost, always there to be seen, due again when it is back.

use serde_json::json;
use tollgate::store::DeliveryState::{Delivered, Due, Parked};
use tollgate_tests::{Peer, Reply, Setup, TestGateway, signing};

const SECRET: &str = "a secret";

fn toml(peer: &Peer, routes: &[&str]) -> String {
    let route = |name: &&str| {
        format!(
            "[route.{name}]\npath = \"/hooks/{name}\"\nproduct = \"app\"\n[route.{name}.webhook]\nverifier = \"github\"\n\
             secrets = {{ signing = \"s\" }}\nretry = {{ schedule = [\"1h\"], jitter = 0 }}\n"
        )
    };
    format!("[secret.s]\nenv = \"SECRET\"\n{}{}", peer.product("app"), routes.iter().map(route).collect::<String>())
}

#[tokio::test]
async fn what_a_removed_route_took_is_parked_and_delivered_when_it_is_back() {
    let peer = Peer::scripted([Reply::Status(500)]).await;
    let gateway = TestGateway::start(Setup::new(&toml(&peer, &["old", "new"])).env("SECRET", SECRET)).await;
    let id = gateway.post("/hooks/old", &signing::github(SECRET, b"{}")).await.id();
    gateway.settled(&id, Due, 1).await;
    gateway.reload_with(&toml(&peer, &["new"])).await.unwrap();
    let listed = gateway.ask_admin("/api/events?state=parked&route=old").await.json();
    assert_eq!(listed["events"][0]["id"].as_str(), Some(&*id), "{listed}");
    assert!(listed["events"][0]["reason"].as_str().unwrap().contains("route old"), "{listed}");
    gateway.advance(7200);
    let other = gateway.post("/hooks/new", &signing::github(SECRET, b"other")).await.id();
    gateway.settled(&other, Delivered, 1).await;
    assert_eq!(peer.deliveries_of(&id).len(), 1, "nothing more went out");

    // A replay while the route is gone comes back to where it was, and says why.
    let replay = gateway.operate(&format!("/api/events/{id}/replay"), &json!({})).await;
    assert_eq!(replay.json(), json!({ "replayed": 1 }));
    let row = gateway.settled(&id, Parked, 1).await;
    assert!(row.reason.unwrap().contains("no webhook route old"));

    gateway.reload_with(&toml(&peer, &["old", "new"])).await.unwrap();
    gateway.settled(&id, Delivered, 2).await;
    assert_eq!(peer.deliveries_of(&id)[1].field("tollgate-replay"), "1");
}
