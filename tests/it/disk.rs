//! What the disk does to a gateway: it is full, nothing can be written, or another gateway has the store.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::Command;

use tollgate_tests::{Answer, GatewayProcess, Peer, Reply, Setup, eventually, signing, turns};

use crate::BINARY;

const SECRET: &str = "a secret";

/// Becomes what follows, with a disk of its own at `store` that only it sees. More than the 32 MiB that are kept free.
const SMALL_DISK: [&str; 7] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs -o size=64m none store && exec \"$0\" \"$@\"",
];

/// Becomes what follows, which is told of a write beyond a limit instead of being killed for it.
const TOLD_OF_LIMITS: [&str; 3] = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];

fn setup(peer: &Peer) -> Setup {
    let toml = format!(
        "[store]\nurl = \"sqlite:store/events.db\"\n[secret.s]\nenv = \"SECRET\"\n{}[route.hook]\npath = \"/hook\"\n\
         product = \"app\"\n[route.hook.webhook]\nverifier = \"github\"\nsecrets = {{ signing = \"s\" }}\n\
         [route.hook.webhook.retry]\nschedule = [\"100ms\", \"100ms\", \"100ms\", \"100ms\"]\n",
        peer.product("app")
    );
    let setup = Setup::new(&toml).env("SECRET", SECRET);
    fs::create_dir(setup.folder().join("store")).unwrap();
    setup
}

async fn post(gateway: &GatewayProcess, body: &[u8]) -> Answer {
    gateway.connect().await.post("/hook", &signing::github(SECRET, body)).await.unwrap()
}

/// Sends a few events that are all taken. Returns their ids.
async fn taken(gateway: &GatewayProcess, name: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for nth in 0..5 {
        let answer = post(gateway, format!("{name} {nth}").as_bytes()).await;
        assert_eq!(answer.became(), (202, "accepted".into()));
        ids.push(answer.id());
    }
    ids
}

/// Sends small events and large ones, which go by way of a file, that are all refused.
async fn refused(gateway: &GatewayProcess) {
    for nth in 0..10 {
        let body = format!("{nth} {}", "x".repeat(if nth % 2 == 0 { 10 } else { 100_000 }));
        let answer = post(gateway, body.as_bytes()).await;
        assert_eq!(answer.code(), (503, "store".into()));
        assert!(answer.field("retry-after").parse::<u64>().unwrap() >= 1);
    }
}

/// Waits until an event is taken again, and returns its id.
async fn recovered(gateway: &GatewayProcess) -> String {
    eventually("an event that is taken again", async || {
        let answer = post(gateway, b"after all").await;
        (answer.status == 202).then(|| answer.id())
    })
    .await
}

async fn all_delivered(peer: &Peer, ids: &[String]) {
    eventually("every acknowledged event at the product", async || {
        let took = |id: &String| peer.deliveries_of(id).iter().any(|delivery| delivery.attempt() > 1);
        ids.iter().all(took).then_some(())
    })
    .await;
}

/// Writes into a file until the disk has no byte left.
fn fill(path: &PathBuf) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let piece = vec![0; size];
        let error = loop {
            if let Err(error) = file.write_all(&piece) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_a_byte_left_refuses_events_and_loses_none() {
    let mut probe = Command::new(SMALL_DISK[0]);
    probe.args(&SMALL_DISK[1..]).arg("true");
    let _turn = turns::shared().await;
    // Each attempt fails, so that there is something to settle and to do again while the disk is full.
    let peer = Peer::answering(Reply::Status(500)).await;
    let setup = setup(&peer);
    if !probe.current_dir(setup.folder()).status().is_ok_and(|status| status.success()) {
        println!("skipped: this machine does not let us mount a small disk");
        return;
    }
    let mut gateway = GatewayProcess::launch(&SMALL_DISK, BINARY.as_ref(), &setup);
    gateway.serves().await;
    let mut ids = taken(&gateway, "before").await;
    // The disk as the gateway sees it.
    let store = format!("/proc/{}/root{}", gateway.id(), setup.folder().join("store").display());
    let ballast = PathBuf::from(store).join("ballast");
    fill(&ballast);
    refused(&gateway).await;
    fs::remove_file(&ballast).unwrap();
    ids.push(recovered(&gateway).await);
    ids.extend(taken(&gateway, "after").await);
    all_delivered(&peer, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_fail_refuse_events_and_lose_none() {
    let _turn = turns::shared().await;
    let peer = Peer::answering(Reply::Status(500)).await;
    let setup = setup(&peer);
    let mut gateway = GatewayProcess::launch(&TOLD_OF_LIMITS, BINARY.as_ref(), &setup);
    gateway.serves().await;
    let mut ids = taken(&gateway, "before").await;
    for round in 0..3 {
        gateway.limit_files(Some(0));
        refused(&gateway).await;
        gateway.limit_files(None);
        ids.push(recovered(&gateway).await);
        ids.extend(taken(&gateway, &format!("after {round}")).await);
    }
    gateway.limit_files(Some(0));
    refused(&gateway).await;
    gateway.kill_9();
    let mut next = GatewayProcess::launch(&[], BINARY.as_ref(), &setup);
    next.serves().await;
    ids.extend(taken(&next, "next").await);
    all_delivered(&peer, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_says_who_has_the_store_and_waits_for_it() {
    let _turn = turns::shared().await;
    let peer = Peer::scripted([]).await;
    let setup = setup(&peer);
    let mut first = GatewayProcess::launch(&[], BINARY.as_ref(), &setup);
    first.serves().await;
    let mut second = GatewayProcess::launch(&[], BINARY.as_ref(), &setup);
    let line = second.line("waiting for the store").await;
    assert!(line.contains(&format!("pid {}", first.id())), "{line}");
    first.terminate();
    assert!(first.ended().await.success());
    second.serves().await;
    taken(&second, "second").await;
}
