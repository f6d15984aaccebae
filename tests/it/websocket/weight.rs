//! What WebSockets leave behind, and what they hold.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tollgate_tests::websocket::reset;
use tollgate_tests::{GatewayProcess, eventually, turns};

use super::*;
use crate::BINARY;

/// How many come and are killed, and how many of them at once.
const KILLED: usize = 10_000;
const AT_ONCE: usize = 100;
/// How many are held, and what one may cost the gateway.
const IDLE: u64 = 1000;
const HELD_MAX: u64 = 20 << 10;

/// Reads a head, and perhaps what follows.
async fn head(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    true
}

/// An upstream that does by turns one of five things; once it is calm it opens whatever comes.
async fn moody(calm: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for turn in 0_usize.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let turn = if calm.load(Ordering::Relaxed) { 3 } else { turn };
            tokio::spawn(async move {
                if !head(&mut stream).await || turn % 5 == 4 {
                    return reset(stream).unwrap();
                }
                let _gone = stream.write_all(OPENED.as_bytes()).await;
                match turn % 5 {
                    0 => return reset(stream).unwrap(),
                    1 => drop(stream.write_all(&[0x82, 0x7e, 0xff, 0xff, 1, 2, 3]).await),
                    2 => drop(stream.write_all(&[0x82; 100_000]).await),
                    _ => {}
                }
                let mut rest = Vec::new();
                let _gone = stream.read_to_end(&mut rest).await;
            });
        }
    });
    address
}

/// Comes and is gone, by turns in one of four ways.
async fn come_and_go(gateway: SocketAddr, turn: usize) {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    let _gone = stream.write_all(asking("/", "").as_bytes()).await;
    if turn.is_multiple_of(4) {
        return reset(stream).unwrap();
    }
    if !head(&mut stream).await {
        return;
    }
    match turn % 4 {
        1 => reset(stream).unwrap(),
        2 => drop(stream.write_all(b"\x82\xfe\xff").await),
        _ => {
            let _gone = stream.write_all(&[0x82; 100_000]).await;
            reset(stream).unwrap();
        }
    }
}

fn descriptors(gateway: &GatewayProcess) -> usize {
    fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_that_are_killed_leave_nothing() {
    let _turn = turns::alone().await;
    let calm = Arc::new(AtomicBool::new(false));
    let more = "[product.app.breaker]\nfailures = \"off\"\n[log]\nlevel = \"warn,tollgate::app=info\"";
    let toml = toml(moody(Arc::clone(&calm)).await, &format!("[limits]\nwebsockets = {AT_ONCE}\n{more}"));
    let gateway = GatewayProcess::start(BINARY.as_ref(), &Setup::new(&toml)).await;
    let address = gateway.address();
    let before = descriptors(&gateway);
    let killing = async {
        let mut going = tokio::task::JoinSet::new();
        for turn in 0..KILLED {
            if going.len() >= AT_ONCE {
                going.join_next().await.unwrap().unwrap();
            }
            going.spawn(come_and_go(address, turn));
        }
        going.join_all().await;
    };
    tokio::time::timeout(Duration::from_secs(120), killing).await.expect("they come and go");
    let series = format!("{ACTIVE}{{product=\"app\",protocol=\"websocket\"}}");
    eventually("no socket", async || (gateway.metric(&series).await == Some(0.0)).then_some(())).await;
    eventually("no descriptor", async || (descriptors(&gateway) <= before + 4).then_some(())).await;
    // Every place is free again.
    calm.store(true, Ordering::Relaxed);
    let mut open = Vec::new();
    for _ in 0..AT_ONCE {
        let mut client = Wire::open(address).await;
        client.send(asking("/", "")).await;
        let answer = client.response().await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        open.push(client);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_one_holds_little() {
    let _turn = turns::alone().await;
    let peer = EchoPeer::start().await;
    let gateway = GatewayProcess::start(BINARY.as_ref(), &Setup::new(&toml(peer.address(), ""))).await;
    let mut sockets = Vec::new();
    let mut open = async |count: u64| {
        for _ in 0..count {
            let (mut socket, _) = connect(gateway.address(), "/", &[]).await.unwrap();
            // Messages have come and gone.
            let message = Message::binary(vec![1; 10_000]);
            assert!(ask(&mut socket, message.clone()).await == message);
            sockets.push(socket);
        }
    };
    // The first few pay for what is there once.
    open(50).await;
    let before = gateway.memory("VmRSS");
    open(IDLE).await;
    let held = gateway.memory("VmRSS").saturating_sub(before) / IDLE;
    eprintln!("held for each idle WebSocket: {held} bytes");
    assert!(held < HELD_MAX, "{held} bytes");
}
