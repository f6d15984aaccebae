//! What a reader that does not read costs: the gateway stops reading too, and holds little.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tollgate_tests::{GatewayProcess, Setup, Wire, eventually, turns};

use crate::BINARY;

const READERS: u64 = 20;
/// Of one body.
const LENGTH: u64 = 100 << 20;
const CHUNK: usize = 64 << 10;
/// What the gateway may hold for one reader, everything counted.
const HELD_MAX: u64 = 160 << 10;
/// What nothing has moved for is at rest.
const REST: Duration = Duration::from_millis(500);

/// Sends a long body to whoever asks and counts what was taken of it.
async fn producer(multiplexed: bool) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (io, counted) = (TokioIo::new(stream), counted.clone());
            let service = service_fn(move |_: Request<Incoming>| {
                let counted = counted.clone();
                let chunk = move |_| {
                    counted.fetch_add(CHUNK as u64, Ordering::Relaxed);
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; CHUNK])))
                };
                let chunks = futures_util::stream::iter((0..LENGTH / CHUNK as u64).map(chunk));
                async move { Ok::<_, Infallible>(Response::new(StreamBody::new(chunks))) }
            });
            tokio::spawn(async move {
                if multiplexed {
                    let _cut = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
                } else {
                    let _cut = http1::Builder::new().serve_connection(io, service).await;
                }
            });
        }
    });
    (address, sent)
}

/// Waits until nothing moves any more.
async fn at_rest(sent: &AtomicU64) {
    eventually("a rest", async || {
        let before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(REST).await;
        (sent.load(Ordering::Relaxed) == before).then_some(())
    })
    .await;
}

async fn held_per_reader(scheme: &str, multiplexed: bool) -> u64 {
    let (address, sent) = producer(multiplexed).await;
    let toml = format!(
        "[product.app]\nupstreams = [\"{scheme}://{address}\"]\n[route.app]\npath = \"/{{*rest}}\"\nproduct = \"app\"\n"
    );
    let gateway = GatewayProcess::start(BINARY.as_ref(), &Setup::new(&toml)).await;
    let mut readers = Vec::new();
    let mut ask = async || {
        let mut reader = Wire::open(gateway.address()).await;
        reader.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        readers.push(reader);
    };
    // The first few pay for what is there once.
    for _ in 0..4 {
        ask().await;
    }
    at_rest(&sent).await;
    let (before, taken) = (gateway.memory("VmRSS"), sent.load(Ordering::Relaxed));
    for _ in 0..READERS {
        ask().await;
    }
    at_rest(&sent).await;
    assert!(sent.load(Ordering::Relaxed) > taken, "the readers were served");
    let held = gateway.memory("VmRSS").saturating_sub(before);
    // Who reads on is sent all of it.
    let mut reader = readers.swap_remove(0);
    let (mut taken, mut end) = (0, vec![]);
    while !end.ends_with(b"0\r\n\r\n") {
        let some = reader.some().await;
        assert!(!some.is_empty(), "the body broke off after {taken} bytes");
        taken += some.len() as u64;
        end.extend_from_slice(&some);
        end.drain(..end.len().saturating_sub(8));
    }
    assert!(taken > LENGTH, "{taken} bytes with their framing");
    held / READERS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_holds_little() {
    let _turn = turns::alone().await;
    let (plain, multiplexed) = (held_per_reader("http", false).await, held_per_reader("h2c", true).await);
    eprintln!("held for each slow reader: {} KiB over HTTP/1.1, {} KiB over HTTP/2", plain >> 10, multiplexed >> 10);
    assert!(plain < HELD_MAX && multiplexed < HELD_MAX, "{plain} and {multiplexed} bytes");
}
