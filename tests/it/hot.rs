//! Plugins that come, change and go while the gateway serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use tokio::task::JoinHandle;
use tollgate_tests::signing::{self, Signed};
use tollgate_tests::{Connection, Setup, TestGateway, eventually, plugins, soon};

const SECRET: &str = "a secret";
const SECOND: Duration = Duration::from_secs(1);

/// Routes `hot` and `new-N` with plugins of their own names, and what else is said.
fn toml(more: &str) -> String {
    let hook = |name: &str, verifier: &str| {
        format!(
            "[route.{name}]\npath = \"/hooks/{name}\"\nproduct = \"app\"\n[route.{name}.webhook]\n\
             verifier = \"{verifier}\"\nsecrets = {{ signing = \"s\" }}\nduplicates = \"off\"\n"
        )
    };
    "[product.app]\nbuiltin = \"echo\"\n[secret.s]\nenv = \"SECRET\"\n".to_owned()
        + "[route.echo]\npath = \"/echo\"\nproduct = \"app\"\n"
        + &hook("hot", "hot")
        + &hook("new-1", "new-1")
        + &hook("new-2", "new-2")
        + &hook("new-3", "new-3")
        + &hook("github", "github")
        + more
}

fn setup(more: &str) -> Setup {
    Setup::new(&toml(more)).env("SECRET", SECRET)
}

fn component(name: &str) -> Vec<u8> {
    fs::read(plugins::component(name)).unwrap()
}

fn old_scheme() -> Signed {
    signing::github(SECRET, b"{}")
}

fn new_scheme(gateway: &TestGateway) -> Signed {
    signing::stripe(SECRET, gateway.now(), b"{}")
}

async fn status(gateway: &TestGateway, signed: &Signed) -> u16 {
    gateway.post("/hooks/hot", signed).await.status.as_u16()
}

/// Waits until so many files were refused.
async fn refused(gateway: &TestGateway, count: f64) {
    let labels = ["plugin=\"hot\"", "outcome=\"refused\""];
    let look = || async { (gateway.metric("gateway_plugin_reloads_total", &labels) >= count).then_some(()) };
    eventually("a refused plugin", look).await;
}

/// Requests at a steady pace on other routes, until told to stop.
struct Load {
    sent: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    started: Instant,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    const CLIENTS: u32 = 4;

    fn start(gateway: &TestGateway, per_second: u32) -> Self {
        let (sent, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let every = SECOND * Self::CLIENTS / per_second;
        let client = |nth| {
            let (address, sent, stop) = (gateway.address(), sent.clone(), stop.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await.unwrap();
                let (mut pace, mut errors) = (tokio::time::interval(every), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    pace.tick().await;
                    let answer = match nth % 2 {
                        0 => connection.request(Method::GET, "/echo", &[], "".into()).await,
                        _ => connection.post("/hooks/github", &old_scheme()).await,
                    };
                    if !answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
                        errors.push(format!("{answer:?}"));
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                errors
            })
        };
        Self {
            sent: sent.clone(),
            stop: stop.clone(),
            started: Instant::now(),
            clients: (0..Self::CLIENTS).map(client).collect(),
        }
    }

    /// Waits until so many more were answered.
    async fn goes_on_for(&self, more: u32) {
        let until = self.sent.load(Ordering::Relaxed) + more;
        let look = || async { (self.sent.load(Ordering::Relaxed) >= until).then_some(()) };
        eventually("more load", look).await;
    }

    /// The errors, and requests a second.
    async fn stop(self) -> (Vec<String>, f64) {
        self.stop.store(true, Ordering::Relaxed);
        let mut errors = Vec::new();
        for client in self.clients {
            errors.extend(soon("a client's end", client).await.unwrap());
        }
        (errors, f64::from(self.sent.load(Ordering::Relaxed)) / self.started.elapsed().as_secs_f64())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_verifier_serves_within_a_second_while_others_are_under_load() {
    let gateway = TestGateway::start_alone(setup("").without_compile_cache()).await;
    let load = Load::start(&gateway, 200);
    load.goes_on_for(100).await;
    let mut took = Vec::new();
    for name in ["new-1", "new-2", "new-3"] {
        let mut connection = gateway.connect().await;
        let path = format!("/hooks/{name}");
        assert_eq!(connection.post(&path, &new_scheme(&gateway)).await.unwrap().status, 503);
        gateway.setup.place(name, &plugins::never_compiled("stripe"));
        let dropped = Instant::now();
        eventually("the new verifier", async || {
            let answer = connection.post(&path, &new_scheme(&gateway)).await.unwrap();
            assert!([202, 503].contains(&answer.status.as_u16()), "{answer:?}");
            (answer.status == 202).then_some(())
        })
        .await;
        took.push(dropped.elapsed());
    }
    println!("a verifier that was never compiled served after {took:?}");
    // The quickest: the machine may be busy with others, and the compiler of this gateway's build is not the release's.
    assert!(took.iter().min().is_some_and(|quickest| *quickest <= SECOND), "new verifiers served after {took:?}");

    load.goes_on_for(200).await;
    let (errors, rate) = load.stop().await;
    assert!(errors.is_empty(), "{} errors on other routes, the first {}", errors.len(), errors[0]);
    assert!(rate > 100.0, "the load was {rate:.0} requests a second, not 200");
}

#[tokio::test]
async fn a_changed_file_is_swapped_in_and_nobody_is_turned_away() {
    let setup = setup("");
    setup.place("hot", &component("github"));
    let gateway = TestGateway::start(setup).await;
    assert_eq!((status(&gateway, &old_scheme()).await, status(&gateway, &new_scheme(&gateway)).await), (202, 401));
    // Under way while the plugin is replaced.
    let body = b"{}";
    let signed = signing::stripe(SECRET, gateway.now(), body);
    let mut wire = gateway.wire().await;
    let signature = &signed.headers[0].1;
    wire.send(format!("POST /hooks/hot HTTP/1.1\r\nhost: a\r\nstripe-signature: {signature}\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")).await;
    assert_eq!(wire.response().await, "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send(&body[..1]).await;

    gateway.setup.place("hot", &plugins::never_compiled("stripe"));
    soon("the swap", async {
        loop {
            match (status(&gateway, &old_scheme()).await, status(&gateway, &new_scheme(&gateway)).await) {
                (202, 401) => {}
                (202 | 401, 202) => break,
                other => panic!("expected the old one or the new one to serve, not {other:?}"),
            }
        }
    })
    .await;
    assert_eq!((status(&gateway, &old_scheme()).await, status(&gateway, &new_scheme(&gateway)).await), (401, 202));
    wire.send(&body[1..]).await;
    assert!(wire.response().await.starts_with("HTTP/1.1 202 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_plugin_stops_serving_after_a_second() {
    let setup = setup("");
    setup.place("hot", &component("github"));
    let gateway = TestGateway::start_alone(setup).await;
    assert_eq!(status(&gateway, &old_scheme()).await, 202);
    fs::remove_file(gateway.setup.plugin("hot")).unwrap();
    let removed = Instant::now();
    soon("the removal", async { while status(&gateway, &old_scheme()).await == 202 {} }).await;
    let took = removed.elapsed();
    assert_eq!(gateway.post("/hooks/hot", &old_scheme()).await.code(), (503, "plugin_fault".into()));
    assert!(took >= SECOND.mul_f32(0.9) && took <= SECOND * 2, "it stopped after {took:?}");
    // And comes back.
    gateway.setup.place("hot", &component("github"));
    eventually("its return", || async { (status(&gateway, &old_scheme()).await == 202).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_removed_and_copied_back_is_never_missed() {
    let setup = setup("");
    setup.place("hot", &component("github"));
    let gateway = TestGateway::start_alone(setup).await;
    fs::remove_file(gateway.setup.plugin("hot")).unwrap();
    let removed = Instant::now();
    let serves_for = async |time: Duration| {
        while removed.elapsed() < time {
            assert_eq!(status(&gateway, &old_scheme()).await, 202, "after {:?}", removed.elapsed());
        }
    };
    serves_for(SECOND / 2).await;
    fs::write(gateway.setup.plugin("hot"), component("github")).unwrap();
    serves_for(SECOND * 2).await;
}

#[tokio::test]
async fn half_a_file_and_garbage_change_nothing() {
    let setup = setup("");
    setup.place("hot", &component("github"));
    let gateway = TestGateway::start(setup).await;
    let whole = component("stripe");
    let file = gateway.setup.plugin("hot");
    let core_module = b"\0asm\x01\0\0\0".to_vec();
    let other_kind = component("guest-stamper");
    for (nth, bad) in [&whole[..whole.len() / 2], b"garbage", b"", &core_module, &other_kind].into_iter().enumerate() {
        fs::write(&file, bad).unwrap();
        refused(&gateway, nth as f64 + 1.0).await;
        assert_eq!((status(&gateway, &old_scheme()).await, status(&gateway, &new_scheme(&gateway)).await), (202, 401));
    }
    // Written slowly, in place: whole in the end.
    fs::write(&file, &whole).unwrap();
    eventually("the new one", || async { (status(&gateway, &new_scheme(&gateway)).await == 202).then_some(()) }).await;
}

#[tokio::test]
async fn a_symlink_that_points_elsewhere_is_a_change() {
    let setup = setup("");
    let versions = setup.folder().join("versions");
    fs::create_dir(&versions).unwrap();
    for name in ["github", "stripe"] {
        fs::write(versions.join(name), component(name)).unwrap();
    }
    symlink(versions.join("github"), setup.plugin("hot")).unwrap();
    let gateway = TestGateway::start(setup).await;
    assert_eq!(status(&gateway, &old_scheme()).await, 202);
    let draft = gateway.setup.plugins().join(".draft");
    symlink(versions.join("stripe"), &draft).unwrap();
    fs::rename(draft, gateway.setup.plugin("hot")).unwrap();
    eventually("the new one", || async { (status(&gateway, &new_scheme(&gateway)).await == 202).then_some(()) }).await;
}

#[tokio::test]
async fn a_file_that_is_not_the_pinned_one_does_not_serve() {
    let pinned = signing::sha256(&component("github"));
    let setup = setup(&format!("[plugin.hot]\nsha256 = \"{pinned}\"\n"));
    setup.place("hot", &component("github"));
    let gateway = TestGateway::start(setup).await;
    gateway.setup.place("hot", &component("stripe"));
    refused(&gateway, 1.0).await;
    assert_eq!((status(&gateway, &old_scheme()).await, status(&gateway, &new_scheme(&gateway)).await), (202, 401));
}

#[tokio::test]
async fn a_file_that_was_never_the_pinned_one_serves_nobody() {
    let pinned = signing::sha256(&component("github"));
    let setup = setup(&format!("[plugin.hot]\nsha256 = \"{pinned}\"\n"));
    setup.place("hot", &component("stripe"));
    let gateway = TestGateway::start(setup).await;
    assert_eq!(status(&gateway, &new_scheme(&gateway)).await, 503);
    gateway.setup.place("hot", &component("github"));
    eventually("the pinned one", || async { (status(&gateway, &old_scheme()).await == 202).then_some(()) }).await;
}
