//! The real binary: killed, asked to stop, and given more than memory should hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use tokio::sync::Mutex;
use tollgate_tests::signing::{self, Signed};
use tollgate_tests::{Connection, GatewayProcess, Peer, Setup, Wire, eventually, soon, turns};

use crate::BINARY;

const SECRET: &str = "a secret";
const MIB: u64 = 1 << 20;

fn setup(peer: &Peer, route: &str) -> Setup {
    let toml = format!(
        "[secret.s]\nenv = \"SECRET\"\n{}[route.hook]\npath = \"/hook\"\nproduct = \"app\"\n[route.hook.webhook]\n\
         verifier = \"github\"\nsecrets = {{ signing = \"s\" }}\n{route}\n",
        peer.product("app")
    );
    Setup::new(&toml).env("SECRET", SECRET)
}

async fn started(setup: &Setup) -> GatewayProcess {
    GatewayProcess::start(BINARY.as_ref(), setup).await
}

/// What was acknowledged: the event's id and the digest of its body.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing() {
    const KILLS: u32 = 50;
    const CLIENTS: u32 = 3;
    let _turn = turns::shared().await;
    let peer = Peer::scripted([]).await;
    let setup = setup(&peer, "");
    let acknowledged = Acknowledged::default();
    for kill in 0..KILLS {
        let mut gateway = started(&setup).await;
        let taken = Arc::new(AtomicU32::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let name = format!("{kill} {client}");
                tokio::spawn(send_until_cut(gateway.address(), name, taken.clone(), acknowledged.clone()))
            })
            .collect();
        // Somewhere in the middle of something.
        let enough = fastrand::u32(1..40);
        eventually("load", || async { (taken.load(Ordering::Relaxed) >= enough).then_some(()) }).await;
        gateway.kill_9();
        for client in clients {
            soon("a client's end", client).await.unwrap();
        }
    }
    let _last = started(&setup).await;
    let acknowledged = acknowledged.lock().await;
    assert!(acknowledged.len() >= KILLS as usize, "{} were acknowledged", acknowledged.len());
    eventually("every acknowledged event at the product", || async {
        let delivered: BTreeMap<String, String> =
            peer.deliveries().iter().map(|delivery| (delivery.id().to_owned(), delivery.sha256.clone())).collect();
        let missing = acknowledged.iter().find(|(id, _)| !delivered.contains_key(*id));
        for (id, sha256) in delivered {
            assert!(acknowledged.get(&id).is_none_or(|sent| *sent == sha256), "{id} has another body");
        }
        missing.is_none().then_some(())
    })
    .await;
}

/// Sends one event after the other, each its own, until the connection breaks.
async fn send_until_cut(
    address: std::net::SocketAddr,
    name: String,
    taken: Arc<AtomicU32>,
    acknowledged: Acknowledged,
) {
    let Ok(mut connection) = Connection::open(address).await else { return };
    for nth in 0.. {
        // Every eighth does not fit into memory and goes by way of a file.
        let padding = if nth % 8 == 7 { 100_000 } else { 10 };
        let body = format!("{name} {nth} {}", "x".repeat(padding));
        let Ok(answer) = connection.post("/hook", &signing::github(SECRET, body.as_bytes())).await else { return };
        assert_eq!(answer.became(), (202, "accepted".into()));
        acknowledged.lock().await.insert(answer.id(), signing::sha256(body.as_bytes()));
        taken.fetch_add(1, Ordering::Relaxed);
    }
}

fn head(signed: &Signed, more: &str) -> String {
    let mut head = format!("POST /hook HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n{more}", signed.body.len());
    for (name, value) in &signed.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

#[tokio::test]
async fn a_gateway_can_be_told_to_stop_from_the_moment_it_serves() {
    let _turn = turns::shared().await;
    let peer = Peer::scripted([]).await;
    let setup = setup(&peer, "");
    for _ in 0..5 {
        let mut gateway = started(&setup).await;
        gateway.terminate();
        let status = gateway.ended().await;
        assert!(status.success(), "it ended with {status}");
    }
}

#[tokio::test]
async fn sigterm_finishes_what_is_under_way() {
    let _turn = turns::shared().await;
    let peer = Peer::scripted([]).await;
    let setup = setup(&peer, "");
    let mut gateway = started(&setup).await;
    let signed = signing::github(SECRET, b"under way");
    let mut wire = Wire::open(gateway.address()).await;
    wire.send(head(&signed, "expect: 100-continue\r\n")).await;
    assert_eq!(wire.response().await, "HTTP/1.1 100 Continue\r\n\r\n");
    let _idle = gateway.connect().await;

    gateway.terminate();
    gateway.line("draining").await;
    let address = gateway.address();
    eventually("closed listeners", || async { Connection::open(address).await.is_err().then_some(()) }).await;
    wire.send(&signed.body).await;
    let response = wire.response().await;
    assert!(response.starts_with("HTTP/1.1 202 "), "{response}");
    assert_eq!(wire.rest().await, b"", "the connection ends");
    assert!(gateway.ended().await.success());

    // Delivered before it stopped, or by the next one.
    let _next = started(&setup).await;
    let deliveries = peer.delivered(1).await;
    assert_eq!(deliveries[0].body, "under way");
    assert!(response.contains(deliveries[0].id()), "{response}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_100_mib_payload_is_verified_in_constant_memory() {
    let _turn = turns::alone().await;
    let peer = Peer::scripted([]).await;
    let setup = setup(&peer, "max_body = \"128MiB\"\n[route.hook.webhook.retry]\ntimeout = \"60s\"");
    let gateway = started(&setup).await;
    // Whatever is needed for any request is there after one of them, and after one that goes by way of a file.
    for length in [10, 1 << 20] {
        let signed = signing::github(SECRET, &vec![b'x'; length]);
        assert_eq!(gateway.connect().await.post("/hook", &signed).await.unwrap().became(), (202, "accepted".into()));
    }
    peer.delivered(2).await;
    let idle = gateway.memory("VmHWM");

    let body: Vec<u8> = (0..100 * MIB).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    let signed = signing::github(SECRET, &body);
    let mut connection = gateway.connect().await;
    let answer = soon("an answer", connection.post("/hook", &signed)).await.unwrap();
    assert_eq!(answer.became(), (202, "accepted".into()));
    let delivery = &peer.delivered(3).await[2];
    assert_eq!((delivery.id(), delivery.length), (answer.id().as_str(), 100 * MIB));
    assert_eq!(delivery.sha256, signing::sha256(&body), "byte for byte");

    let forged = soon("an answer", connection.post("/hook", &signed.forged())).await.unwrap();
    assert_eq!(forged.code(), (401, "signature".into()));
    let grown = gateway.memory("VmHWM").saturating_sub(idle);
    assert!(grown < 24 * MIB, "memory grew by {} MiB for a body of 100", grown / MIB);
    println!("memory at idle {} MiB, grown by {} KiB", idle / MIB, grown / 1024);
}

/// The components a compile cache holds, and when each was written. Beside them are counts of their use and hidden files.
fn compiled(cache: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![cache.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if !entry.file_name().to_string_lossy().starts_with('.') && path.extension().is_none() {
                found.insert(path, entry.metadata().and_then(|about| about.modified()).expect("a time"));
            }
        }
    }
    found
}

#[tokio::test]
async fn what_was_compiled_survives_a_restart() {
    let _turn = turns::shared().await;
    let peer = Peer::scripted([]).await;
    let cache = tempfile::tempdir().expect("a temporary folder");
    let setup = setup(&peer, "").env("TOLLGATE_CACHE_DIR", cache.path().to_str().expect("a path in UTF-8"));
    // A component that had to be compiled would be written, and written anew where it was there already.
    let mut seen = Vec::new();
    for start in 0..3 {
        let mut gateway = started(&setup).await;
        let signed = signing::github(SECRET, format!("{start}").as_bytes());
        assert_eq!(gateway.connect().await.post("/hook", &signed).await.unwrap().became(), (202, "accepted".into()));
        gateway.terminate();
        assert!(gateway.ended().await.success());
        seen.push(compiled(cache.path()));
    }
    assert_eq!(seen[0].len(), 1, "{seen:?}");
    assert!(seen.iter().all(|now| *now == seen[0]), "{seen:?}");

    // And what is not there is compiled.
    fs::remove_file(seen[0].keys().next().expect("one")).expect("it goes");
    let gateway = started(&setup).await;
    let signed = signing::github(SECRET, b"anew");
    assert_eq!(gateway.connect().await.post("/hook", &signed).await.unwrap().became(), (202, "accepted".into()));
    eventually("a component in the cache", || async { (compiled(cache.path()).len() == 1).then_some(()) }).await;
}
