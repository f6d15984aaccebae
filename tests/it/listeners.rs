//! Listeners that come, go and change while the gateway serves.

use std::net::TcpListener;

use tollgate_tests::{Connection, Peer, Reply, Setup, TestGateway, Wire, eventually, soon};

const ECHO: &str = "[product.echo]\nbuiltin = \"echo\"\n[route.echo]\npath = \"/echo\"\nproduct = \"echo\"\n";
const GET: &str = "GET /echo HTTP/1.1\r\nhost: a\r\n\r\n";

fn listener(name: &str, address: &str) -> String {
    format!("[listener.{name}]\naddress = \"{address}\"\n")
}

async fn served(wire: &mut Wire) -> bool {
    wire.send(GET).await;
    wire.response().await.starts_with("HTTP/1.1 200 ")
}

#[tokio::test]
async fn a_new_listener_opens_and_the_others_keep_their_sockets_and_connections() {
    let gateway = TestGateway::start(Setup::new(ECHO)).await;
    let mut open = gateway.wire().await;
    assert!(served(&mut open).await);
    gateway.reload_with(&format!("{ECHO}{}", listener("more", "127.0.0.1:0"))).await.unwrap();
    assert_eq!(gateway.listener("public"), gateway.address());
    let mut other = Wire::open(gateway.listener("more")).await;
    assert!(served(&mut other).await && served(&mut open).await);
    // Nothing changes for either when nothing is said of them.
    let more = gateway.listener("more");
    gateway
        .reload_with(&format!("{ECHO}{}[timeouts]\ntotal = \"60s\"\n", listener("more", "127.0.0.1:0")))
        .await
        .unwrap();
    assert_eq!(gateway.listener("more"), more);
    assert!(served(&mut other).await && served(&mut open).await);
}

#[tokio::test]
async fn a_removed_listener_closes_and_its_connections_end_with_what_is_under_way() {
    let peer = Peer::scripted([Reply::Hold]).await;
    let toml = format!("{ECHO}{}[route.app]\npath = \"/app\"\nproduct = \"app\"\n", peer.product("app"));
    let gateway = TestGateway::start(Setup::new(&format!("{toml}{}", listener("more", "127.0.0.1:0")))).await;
    let address = gateway.listener("more");
    let (mut idle, mut busy, mut stays) = (Wire::open(address).await, Wire::open(address).await, gateway.wire().await);
    assert!(served(&mut idle).await && served(&mut stays).await);
    busy.send("GET /app HTTP/1.1\r\nhost: a\r\n\r\n").await;
    peer.holds(1).await;

    gateway.reload_with(&toml).await.unwrap();
    assert_eq!(gateway.find_listener("more"), None);
    assert_eq!(idle.rest().await, b"", "an idle connection ends");
    eventually("a closed listener", || async { Connection::open(address).await.is_err().then_some(()) }).await;
    peer.release();
    let answer = busy.response().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(busy.rest().await, b"");
    assert!(served(&mut stays).await);
    // Its end is waited for no longer: a stop is quick.
    gateway.stop().await;
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_a_problem_and_changes_nothing() {
    let gateway = TestGateway::start(Setup::new(ECHO)).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let toml = format!("{}{}", listener("free", "127.0.0.1:0"), listener("taken", &address));
    let problems = gateway.reload_with(&toml).await.unwrap_err().to_string();
    assert!(
        problems.contains(&format!("listener taken: cannot listen on {address}: Address already in use")),
        "{problems}"
    );
    assert!(problems.contains("tollgate.toml:8:11: "), "{problems}");
    assert_eq!((gateway.find_listener("free"), gateway.find_listener("taken")), (None, None));
    assert!(served(&mut gateway.wire().await).await, "its route is still there");
}

#[tokio::test]
async fn a_listener_that_moves_serves_at_its_new_address() {
    let gateway = TestGateway::start(Setup::new(&format!("{ECHO}{}", listener("more", "127.0.0.1:0")))).await;
    let before = gateway.listener("more");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    gateway.reload_with(&format!("{ECHO}{}", listener("more", &free.to_string()))).await.unwrap();
    assert_eq!(gateway.listener("more"), free);
    assert!(served(&mut Wire::open(free).await).await);
    eventually("a closed listener", || async { Connection::open(before).await.is_err().then_some(()) }).await;
}

#[tokio::test]
async fn the_number_of_connections_follows_a_reload() {
    let limit = |count: u32| format!("{ECHO}[limits]\nconnections = {count}\n");
    let gateway = TestGateway::start(Setup::new(&limit(1))).await;
    let (mut first, mut second) = (gateway.wire().await, gateway.wire().await);
    assert!(served(&mut first).await);
    second.send(GET).await;
    gateway.reload_with(&limit(2)).await.unwrap();
    assert!(second.response().await.starts_with("HTTP/1.1 200 "), "it waited for a place");
    gateway.reload_with(&limit(1)).await.unwrap();
    assert!(served(&mut first).await && served(&mut second).await, "nobody is turned out");
    drop(second);
    let mut third = gateway.wire().await;
    third.send(GET).await;
    drop(first);
    assert!(third.response().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn what_cannot_change_says_that_it_needs_a_restart() {
    let gateway = TestGateway::start(Setup::new(ECHO)).await;
    let problems =
        gateway.reload_with(&format!("{ECHO}[store]\nurl = \"sqlite:other.db\"\n")).await.unwrap_err().to_string();
    assert!(problems.contains("a change of `store.url` needs a restart (restart tollgate)"), "{problems}");
}

#[tokio::test]
async fn who_has_just_connected_is_served_though_a_drain_begins() {
    let gateway = TestGateway::start(Setup::new(ECHO)).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut wire = gateway.wire().await;
        wire.send(GET).await;
        waiting.push(wire);
    }
    let stopping = tokio::spawn(gateway.stop());
    for mut wire in waiting {
        let answer = wire.response().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    soon("a stop", stopping).await.unwrap();
}
