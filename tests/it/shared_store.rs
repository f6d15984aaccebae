//! Several gateways on one PostgreSQL: each takes webhooks in, each delivers what any of them took, and when one is killed
//! the others lose nothing and repeat nothing that was not under way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tollgate_tests::postgres::Server;
use tollgate_tests::{Connection, GatewayProcess, Peer, Reply, Setup, eventually, signing, soon, turns};

use crate::BINARY;

const SECRET: &str = "a secret";

/// What was acknowledged: the event's id and the digest of its body.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

fn toml(peer: &Peer, store: &str) -> String {
    format!(
        "[store]\nurl = \"{store}\"\n[secret.s]\nenv = \"SECRET\"\n{}[route.hook]\npath = \"/hook\"\n\
         product = \"app\"\n[route.hook.webhook]\nverifier = \"github\"\nsecrets = {{ signing = \"s\" }}\n\
         retry = {{ timeout = \"1s\" }}\n",
        peer.product("app")
    )
}

fn setup(peer: &Peer, store: &str) -> Setup {
    Setup::new(&toml(peer, store)).env("SECRET", SECRET)
}

async fn started(setup: &Setup) -> GatewayProcess {
    GatewayProcess::start(BINARY.as_ref(), setup).await
}

/// Sends one event after the other, each its own, to wherever the gateway is by now.
async fn send(name: usize, whither: watch::Receiver<SocketAddr>, over: Arc<AtomicBool>, taken: Acknowledged) -> usize {
    let mut nth = 0;
    while !over.load(Ordering::Relaxed) {
        let address = *whither.borrow();
        let Ok(mut connection) = Connection::open(address).await else { continue };
        while !over.load(Ordering::Relaxed) {
            nth += 1;
            // Now and then one that does not fit into a row.
            let padding = if nth % 50 == 0 { 100_000 } else { 100 };
            let body = format!("{name} {nth} {}", "x".repeat(padding));
            let Ok(answer) = connection.post("/hook", &signing::github(SECRET, body.as_bytes())).await else { break };
            assert_eq!(answer.became(), (202, "accepted".into()));
            taken.lock().await.insert(answer.id(), signing::sha256(body.as_bytes()));
        }
    }
    nth
}

/// The events that somebody has leased.
fn leased(server: &Server, database: &str) -> BTreeSet<String> {
    let leased =
        "SELECT 'evt_' || encode(e.id, 'hex') FROM tollgate_delivery d JOIN tollgate_event e ON e.key = d.id / 256
        WHERE d.state = 1";
    server.sql(database, leased).lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_on_one_database_lose_nothing_when_one_is_killed_again_and_again() {
    const KILLS: usize = 9;
    const CLIENTS: usize = 2;
    let Some(server) = Server::start(&[]).map(Arc::new) else { return };
    let _turn = turns::shared().await;
    let kills = std::env::var("TOLLGATE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let peer = Peer::scripted([]).await;
    let database = server.database();
    let setups: Vec<_> = (0..3).map(|_| setup(&peer, &server.url(&database))).collect();
    let mut gateways = Vec::new();
    for setup in &setups {
        gateways.push(started(setup).await);
    }
    let (over, taken) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
    let whither: Vec<_> = gateways.iter().map(|gateway| watch::Sender::new(gateway.address())).collect();
    let clients: Vec<_> = (0..3 * CLIENTS)
        .map(|client| tokio::spawn(send(client, whither[client % 3].subscribe(), over.clone(), taken.clone())))
        .collect();
    let started_at = Instant::now();
    let mut under_way = BTreeSet::new();
    for kill in 0..kills {
        // Somewhere in the middle of something.
        let enough = taken.lock().await.len() + fastrand::usize(100..300);
        eventually("load", || async { (taken.lock().await.len() >= enough).then_some(()) }).await;
        let victim = kill % 3;
        gateways[victim].kill_9();
        let (server, database) = (server.clone(), database.clone());
        under_way.extend(tokio::task::spawn_blocking(move || leased(&server, &database)).await.unwrap());
        gateways[victim] = started(&setups[victim]).await;
        whither[victim].send_replace(gateways[victim].address());
    }
    let lasted = started_at.elapsed();
    over.store(true, Ordering::Relaxed);
    for client in clients {
        soon("a client's end", client).await.unwrap();
    }
    let taken = taken.lock().await;
    assert!(taken.len() >= kills * 100, "only {} were acknowledged", taken.len());
    all_delivered(&peer, &taken).await;
    let mut times = BTreeMap::<String, usize>::new();
    for delivery in peer.deliveries() {
        *times.entry(delivery.id().to_owned()).or_default() += 1;
        assert!(
            taken.get(delivery.id()).is_none_or(|sent| *sent == delivery.sha256),
            "{} has another body",
            delivery.id()
        );
    }
    let repeated: Vec<_> = times.iter().filter(|(_, count)| **count > 1).collect();
    println!(
        "{} acknowledged within {lasted:.1?} and {kills} kills, {} under way at a kill, {} of them delivered twice",
        taken.len(),
        under_way.len(),
        repeated.len()
    );
    for (id, count) in repeated {
        assert!(under_way.contains(id), "{id} was delivered {count} times, and nobody who had it was killed");
    }
}

/// The leases of who was killed run out first.
async fn all_delivered(peer: &Peer, taken: &BTreeMap<String, String>) {
    let missing = AtomicUsize::new(0);
    let waiting = async {
        loop {
            let delivered: BTreeSet<String> = peer.deliveries().iter().map(|it| it.id().to_owned()).collect();
            missing.store(taken.keys().filter(|id| !delivered.contains(*id)).count(), Ordering::Relaxed);
            if missing.load(Ordering::Relaxed) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(120), waiting).await;
    assert!(waited.is_ok(), "{} acknowledged events never came", missing.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_copy_at_another_gateway_is_a_duplicate_and_a_database_that_is_away_is_a_503() {
    let Some(server) = Server::start(&[]) else { return };
    let _turn = turns::shared().await;
    let peer = Peer::scripted([]).await;
    let store = server.url(&server.database());
    let (one, other) = (setup(&peer, &store), setup(&peer, &store));
    let (one, other) = (started(&one).await, started(&other).await);
    let signed = signing::github(SECRET, b"{}");
    let first = one.connect().await.post("/hook", &signed).await.unwrap();
    let again = other.connect().await.post("/hook", &signed).await.unwrap();
    assert_eq!((first.became(), again.became()), ((202, "accepted".into()), (202, "duplicate".into())));
    assert_eq!(first.id(), again.id());
    peer.delivered(1).await;

    server.stop();
    let next = signing::github(SECRET, b"{\"n\":2}");
    let mut connection = one.connect().await;
    let away = connection.post("/hook", &next).await.unwrap();
    assert_eq!(away.status, 503);
    assert!(!away.field("retry-after").is_empty());
    server.start_again();
    eventually("an event is taken in again", || async {
        let answer = one.connect().await.post("/hook", &next).await.unwrap();
        (answer.status == 202).then_some(())
    })
    .await;
    peer.delivered(2).await;
    for gateway in [&one, &other] {
        assert!(!gateway.lines().iter().any(|line| line.contains("panicked")), "{:?}", gateway.lines());
    }
}

/// `tollgate store …` with the configuration of `setup`.
fn store(setup: &Setup, words: &[&str], file: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("store").args(words).arg(file).arg("-c").arg(setup.config());
    command.output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_whole_log_moves_to_another_engine_and_nothing_is_delivered_again() {
    let Some(server) = Server::start(&[]) else { return };
    let _turn = turns::shared().await;
    let peer = Peer::scripted([Reply::Status(200), Reply::Status(410)]).await;
    let setup = setup(&peer, "sqlite:old.db");
    let mut gateway = started(&setup).await;
    let mut connection = gateway.connect().await;
    let bodies = [b"{}".to_vec(), vec![b'x'; 1_500_000], b"{\"n\":3}".to_vec()];
    let mut ids = Vec::new();
    for (nth, body) in bodies.iter().enumerate() {
        ids.push(connection.post("/hook", &signing::github(SECRET, body)).await.unwrap().id());
        peer.delivered(nth + 1).await;
    }
    gateway.terminate();
    gateway.ended().await;
    let (old, new) = (setup.folder().join("old.jsonl"), setup.folder().join("new.jsonl"));
    let exported = store(&setup, &["export", "--out"], &old);
    assert!(said(&exported).contains("exported 3 events and 3 duplicate keys"), "{}", said(&exported));

    setup.write(&toml(&peer, &server.url(&server.database())));
    let lines = fs::read_to_string(&old).unwrap();
    let cut = setup.folder().join("cut.jsonl");
    fs::write(&cut, &lines[..lines.rfind("{\"end\"").unwrap()]).unwrap();
    let short = store(&setup, &["import"], &cut);
    assert!(!short.status.success() && said(&short).contains("cut short"), "{}", said(&short));
    let imported = store(&setup, &["import"], &old);
    assert!(imported.status.success(), "{}", said(&imported));
    assert!(said(&imported).contains("3 of the events were there already"), "{}", said(&imported));
    assert!(store(&setup, &["export", "--out"], &new).status.success());
    assert!(fs::read_to_string(&new).unwrap() == lines, "what comes out is what went in");

    let gateway = started(&setup).await;
    let again = gateway.connect().await.post("/hook", &signing::github(SECRET, &bodies[1])).await.unwrap();
    assert_eq!((again.became().1, again.id()), ("duplicate".into(), ids[1].clone()));
    let next = gateway.connect().await.post("/hook", &signing::github(SECRET, b"new")).await.unwrap();
    let delivered = peer.delivered(4).await;
    assert_eq!(delivered.iter().map(|it| it.id().to_owned()).collect::<Vec<_>>(), [ids, vec![next.id()]].concat());
}
