//! Configurations that change while the gateway serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use tollgate_tests::{Connection, GatewayProcess, Peer, Reply, Setup, Wire, eventually, signing, soon, turns};

use crate::BINARY;

const SECRET: &str = "a secret";
const MIB: u64 = 1 << 20;

/// Routes of every kind, and what else is said.
fn toml(app: &Peer, stream: &Peer, more: &str) -> String {
    let route =
        |name: &str, path: &str, product: &str| format!("[route.{name}]\npath = \"{path}\"\nproduct = \"{product}\"\n");
    app.product("app")
        + &stream.product("stream")
        + "[secret.s]\nenv = \"SECRET\"\n"
        + &route("api", "/api/{*rest}", "app")
        + "rate = { per_second = 1000000 }\nrewrite = { strip = \"/api\" }\n"
        + &route("events", "/events", "stream")
        + &route("hook", "/hook", "app")
        + "[route.hook.webhook]\nverifier = \"github\"\nsecrets = { signing = \"s\" }\n"
        + more
}

/// Clients that ask without pause until told to stop; every answer must be a good one.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(gateway: &GatewayProcess) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let clients = [false, true].map(|webhooks| {
            let (address, stop, answered) = (gateway.address(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await.unwrap();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if webhooks {
                        let signed = signing::github(SECRET, format!("{number}").as_bytes());
                        connection.post("/hook", &signed).await.unwrap().id();
                    } else {
                        let asking = connection.request(Method::GET, "/api/x", &[], Bytes::new());
                        assert_eq!(soon("an answer", asking).await.unwrap().status, 200);
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Self { stop, answered, clients: clients.into() }
    }

    /// How many were answered, all of them well.
    async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            soon("a client's end", client).await.unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_fail_no_request_cut_no_stream_and_leave_no_memory_behind() {
    const RELOADS: u32 = 1000;
    /// After so many, whatever is made once is made.
    const WARM: u32 = 200;
    let _turn = turns::shared().await;
    let app = Peer::scripted([]).await;
    let stream = Peer::answering(Reply::Events(Some(Duration::from_millis(20)))).await;
    let versions =
        [toml(&app, &stream, ""), toml(&app, &stream, "[route.more]\npath = \"/more\"\nproduct = \"app\"\n")];
    let setup = Setup::new(&versions[0]).env("SECRET", SECRET);
    let gateway = GatewayProcess::start(BINARY.as_ref(), &setup).await;
    let mut wire = Wire::open(gateway.address()).await;
    wire.send("GET /events HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    stream.delivered(1).await;

    let mut admin = gateway.connect_admin().await;
    let mut load = Load::start(&gateway);
    let (mut before, mut answered) = (0, 0);
    let mut began = Instant::now();
    for reload in 0..RELOADS {
        if reload == WARM {
            // Measured at rest, as at the end.
            answered += load.stop().await;
            before = gateway.memory("VmRSS");
            load = Load::start(&gateway);
            began = Instant::now();
        }
        setup.write(&versions[reload as usize % 2]);
        let answer = gateway.reload(&mut admin).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let took = began.elapsed();
    answered += load.stop().await;
    let after = gateway.memory("VmRSS");
    println!(
        "{:.1} ms a reload, {answered} requests, RSS {before} -> {after}",
        took.as_secs_f64() * 1000.0 / f64::from(RELOADS - WARM)
    );
    assert!(answered > RELOADS / 10, "{answered} requests meanwhile");
    assert!(after < before + 16 * MIB, "{before} bytes before, {after} after");

    stream.release();
    let events = String::from_utf8(wire.rest().await).expect("text");
    assert!(events.ends_with("\r\n0\r\n\r\n"), "the stream ended whole: {events}");
    assert!(events.matches("data: ").count() > 10);
    eventually("old generations gone", || async {
        (gateway.metric("gateway_config_generations").await == Some(1.0)).then_some(())
    })
    .await;
    let succeeded = gateway.metric("gateway_config_reloads_total{outcome=\"success\"}").await;
    assert!(succeeded >= Some(f64::from(RELOADS)), "{succeeded:?}");
    assert_eq!(gateway.metric("gateway_config_reloads_total{outcome=\"failure\"}").await, Some(0.0));
}

#[tokio::test]
async fn a_changed_file_is_taken_up_and_a_bad_one_changes_nothing() {
    let _turn = turns::shared().await;
    let app = Peer::scripted([]).await;
    let version = |path: &str| format!("{}[route.r]\npath = \"{path}\"\nproduct = \"app\"\n", app.product("app"));
    let setup = Setup::new(&version("/one"));
    let gateway = GatewayProcess::start(BINARY.as_ref(), &setup).await;
    let mut client = gateway.connect().await;
    let mut status = async |path: &str| {
        let asking = client.request(Method::GET, path, &[], Bytes::new());
        soon("an answer", asking).await.unwrap().status.as_u16()
    };
    assert_eq!((status("/one").await, status("/two").await), (200, 404));
    let counted = async |outcome: &str| {
        let count = gateway.metric(&format!("gateway_config_reloads_total{{outcome=\"{outcome}\"}}")).await;
        (count, gateway.metric("gateway_config_last_reload_successful").await)
    };
    assert_eq!(counted("success").await, (Some(0.0), Some(1.0)), "both are there from the start");

    setup.write(&version("/two"));
    eventually("a changed file taken up", async || (status("/two").await == 200).then_some(())).await;
    assert_eq!(status("/one").await, 404);
    assert_eq!(counted("success").await, (Some(1.0), Some(1.0)));

    setup.write("[route.r]\npath = /three\n");
    eventually("a bad file refused", async || (counted("failure").await.0 == Some(1.0)).then_some(())).await;
    assert_eq!(counted("failure").await, (Some(1.0), Some(0.0)));
    assert!(gateway.line("the one before serves on").await.contains("tollgate.toml:6:"));
    assert_eq!(status("/two").await, 200, "the last good one serves on");
    gateway.hang_up();
    eventually("refused again", async || (counted("failure").await.0 == Some(2.0)).then_some(())).await;

    setup.write(&version("/four"));
    eventually("a mended file taken up", async || (status("/four").await == 200).then_some(())).await;
    assert_eq!(counted("success").await, (Some(2.0), Some(1.0)));
}
