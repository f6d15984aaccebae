//! What verifying costs beside the HMAC alone: `cargo bench -p tollgate --bench verify`.
//!
//! The GitHub verifier, as `tollgate plugin build plugins/github` makes it: a fresh instance per call and a kept one,
//! against native HMAC-SHA256 of the same body. Each figure is the process's CPU time a call, over all its threads: the
//! smallest of many short rounds, in which the three take turns, so that a busy machine disturbs them alike. In brackets the time by the wall, where a body over 64 KiB also waits for the thread that
//! hashes it.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue};
use sha2::Sha256;
use tollgate::base::clock::Timestamp;
use tollgate::base::names::PluginName;
use tollgate::base::payload::Payload;
use tollgate::base::secret::{Secret, SecretText, SecretValue};
use tollgate::base::sizes::ByteSize;
use tollgate::cli::plugin_build::{self, Progress};
use tollgate::config::plan;
use tollgate::plugin::Roles;
use tollgate::plugin::call::Binding;
use tollgate::plugin::component::Kind;
use tollgate::plugin::engine::Engine;
use tollgate::plugin::registry::{Observer, Plugins};
use tollgate::plugin::request::{Protocol, RequestView};
use tollgate::plugin::verdict::Verdict;
use tollgate::telemetry::labels::PluginReload;

const SECRET: &[u8] = b"It's a Secret to Everybody";
const ROUNDS: usize = 60;
const ROUND: Duration = Duration::from_millis(20);
/// Calls between two looks at the clock.
const BATCH: u32 = 16;

struct Silent;

impl Observer for Silent {
    fn reloaded(&self, _: &PluginName, _: PluginReload) {}
}

fn main() {
    let directory = built();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // One body size when an argument names it: for profiling.
    let only = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    runtime.block_on(async {
        let engine = Engine::new(None).expect("an engine");
        let fresh = verifier(&engine, &directory, 1).await;
        let kept = verifier(&engine, &directory, 1_000_000).await;
        println!("{:>8}  {:>10}  {:>30}  {:>30}", "body", "native", "fresh instance", "kept instance");
        for (name, size) in [("1 KiB", 1 << 10), ("64 KiB", 1 << 16), ("1 MiB", 1 << 20)] {
            if only.as_ref().is_some_and(|only| only != name) {
                continue;
            }
            let body = vec![b'x'; size];
            let request = Arc::new(request(&sign(&body)));
            let body = Payload::Memory(body.into());
            let (mut alone, mut each, mut reused) = (Rounds(None), Rounds(None), Rounds(None));
            for _ in 0..ROUNDS {
                alone.note(native(&body));
                each.note(verify(&fresh, &request, &body).await);
                reused.note(verify(&kept, &request, &body).await);
            }
            let (native, fresh, kept) = (alone.best(), each.best(), reused.best());
            let shown = |cost: Cost| {
                let ratio = cost.cpu.as_secs_f64() / native.cpu.as_secs_f64();
                format!("{:.2} µs {ratio:>5.2}× ({:.2} µs)", micros(cost.cpu), micros(cost.wall))
            };
            println!("{name:>8}  {:>7.2} µs  {:>28}  {:>28}", micros(native.cpu), shown(fresh), shown(kept));
        }
    });
}

fn built() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned();
    let directory = root.join("target/bench-plugins");
    std::fs::create_dir_all(&directory).expect("a directory");
    plugin_build::build(&[root.join("plugins/github")], Some(&directory), &Progress::detect()).expect("builds");
    directory
}

async fn verifier(engine: &Arc<Engine>, directory: &Path, reuse: u32) -> Arc<Binding> {
    let limits =
        plan::PluginLimits { memory: ByteSize(32 << 20), deadline: Duration::from_millis(100), reuse, compare: 0 };
    let plan = plan::Plugins {
        directory: directory.to_owned(),
        sources: Vec::new(),
        defaults: limits,
        overrides: Default::default(),
    };
    let plugins = Plugins::new(engine.clone(), plan, Box::new(Silent));
    let value = SecretValue { text: SecretText::new(SECRET.to_vec()).expect("not empty"), until: None };
    let secret = Secret { name: "signing".into(), values: [value].into() };
    let roles: Roles = [("signing".to_owned(), secret)].into();
    let name = PluginName::new("github").expect("a name");
    let binding = plugins.bind(&name, Kind::Verifier, "bench", &serde_json::Map::new(), Arc::new(roles));
    plugins.scan().await;
    binding
}

fn sign(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    digest.iter().fold("sha256=".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn request(signature: &str) -> RequestView {
    let mut headers = HeaderMap::new();
    headers.insert("x-hub-signature-256", HeaderValue::from_str(signature).expect("ASCII"));
    headers.insert("x-github-event", HeaderValue::from_static("push"));
    headers.insert("x-github-delivery", HeaderValue::from_static("72d3162e-cc78-11e3-81ab-4c9367dc0958"));
    RequestView {
        id: "bench".into(),
        route: "github".into(),
        product: "inbox".into(),
        protocol: Protocol::Webhook,
        method: "POST".into(),
        scheme: "https".into(),
        authority: "hooks.example.test".into(),
        path: "/hooks/github".into(),
        target: "/hooks/github".into(),
        headers,
        client: "127.0.0.1".into(),
        event_type: None,
    }
}

/// What a call takes: CPU time of the process, and time by the wall.
#[derive(Clone, Copy)]
struct Cost {
    cpu: Duration,
    wall: Duration,
}

/// The cheapest round.
struct Rounds(Option<Cost>);

impl Rounds {
    fn note(&mut self, cost: Cost) {
        if self.0.is_none_or(|best| cost.cpu < best.cpu) {
            self.0 = Some(cost);
        }
    }

    fn best(self) -> Cost {
        self.0.expect("at least one round")
    }
}

/// A round under way, of at least one batch.
struct Round {
    started: Instant,
    spent: Duration,
    calls: u32,
}

impl Round {
    fn start() -> Self {
        Self { started: Instant::now(), spent: cpu(), calls: 0 }
    }

    /// Asked before each batch, which it counts unless the time is up.
    fn is_over(&mut self) -> bool {
        let over = self.calls > 0 && self.started.elapsed() >= ROUND;
        self.calls += if over { 0 } else { BATCH };
        over
    }

    fn cost(self) -> Cost {
        Cost { cpu: (cpu() - self.spent) / self.calls, wall: self.started.elapsed() / self.calls }
    }
}

fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(spent).expect("a process spends a positive time")
}

fn native(body: &Payload) -> Cost {
    let Payload::Memory(bytes) = body else { unreachable!("it was made in memory") };
    let mut round = Round::start();
    while !round.is_over() {
        for _ in 0..BATCH {
            black_box(sign_raw(black_box(bytes)));
        }
    }
    round.cost()
}

fn sign_raw(body: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

async fn verify(verifier: &Arc<Binding>, request: &Arc<RequestView>, body: &Payload) -> Cost {
    let mut round = Round::start();
    while !round.is_over() {
        for _ in 0..BATCH {
            let called = verifier.verify(request.clone(), body.clone(), Timestamp::from_seconds(0)).await;
            assert!(matches!(called.result, Ok(Verdict::Accept(_))), "{:?}", called.result);
        }
    }
    round.cost()
}

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}
