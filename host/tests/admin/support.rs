//! An admin listener over a real store and a real generation, and a client that sees every byte.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate::admin::{Access, Admin, Health, Parts, Reloading};
use tollgate::base::clock::{Clock, Timestamp};
use tollgate::base::drain::Drain;
use tollgate::base::ids::EventId;
use tollgate::base::names::{PluginName, ProductName, RouteName, SecretName};
use tollgate::base::payload::Payload;
use tollgate::base::secret::{Secret, SecretText, SecretValue};
use tollgate::config::plan::Plan;
use tollgate::config::problem::Problems;
use tollgate::gateway::{Current, build};
use tollgate::plugin::engine::Engine;
use tollgate::plugin::registry::{Observer, Plugins};
use tollgate::store::sqlite::{SqliteOptions, SqliteStore};
use tollgate::store::{Accepted, Attempt, EventStore, Head, Lease, NewEvent, Settlement};
use tollgate::telemetry::labels::PluginReload;
use tollgate::telemetry::registry::Metrics;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("takes too long")
}

pub const START: Timestamp = Timestamp::from_seconds(1_790_000_000);

const CONFIGURATION: &str = r#"
[listener.public]
address = "127.0.0.1:0"
[product.billing]
upstreams = ["http://127.0.0.1:9", "http://ledger.internal:7443"]
[product.inbox]
builtin = "echo"
[route.api]
host = ["*.example.com"]
path = "/v1/{*rest}"
method = ["GET"]
header = { x-key = "hunter2" }
product = "inbox"
[route.hooks]
path = "/hooks"
product = "billing"
[route.hooks.webhook]
verifier = "stripe"
[secret.operator]
env = "OPERATOR"
[secret.viewer]
env = "VIEWER"
"#;

struct Silent;

impl Observer for Silent {
    fn reloaded(&self, _: &PluginName, _: PluginReload) {}
}

/// An admin listener that serves.
pub struct Gateway {
    pub address: SocketAddr,
    pub store: Arc<dyn EventStore>,
    pub clock: Clock,
    pub health: Arc<Health>,
    pub access: Arc<ArcSwap<Access>>,
    pub drain: Drain,
    folder: tempfile::TempDir,
}

/// The plan with these keys in `[admin]`.
pub fn plan(admin: &str, folder: &std::path::Path) -> Plan {
    let text = format!("[admin]\naddress = \"127.0.0.1:0\"\n{admin}\n{CONFIGURATION}");
    tollgate::config::parse(&text, &folder.join("tollgate.toml")).expect("a good configuration")
}

/// `operator` and `viewer`, each with a value of its own name.
pub fn secrets() -> BTreeMap<SecretName, Secret> {
    let secret = |name: &str| {
        let text = SecretText::new(name.as_bytes().to_vec()).expect("not empty");
        let secret = Secret { name: name.into(), values: [SecretValue { text, until: None }].into() };
        (SecretName::new(name).expect("a name"), secret)
    };
    ["operator", "viewer"].map(secret).into()
}

impl Gateway {
    /// With these keys in `[admin]`; a reload makes generation 2, then finds a problem.
    pub async fn start(admin: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let plan = plan(admin, folder.path());
        let secrets = secrets();
        let metrics = Arc::new(Metrics::new());
        let store = SqliteStore::open(&folder.path().join("events.db"), SqliteOptions::default()).expect("opens");
        let engine = Engine::new(None).expect("an engine");
        let plugins = Plugins::new(engine, plan.plugins.clone(), Box::new(Silent));
        let ground = build::Ground {
            metrics: &metrics,
            workers: 1,
            plugins: &plugins,
            secrets: &secrets,
            tls: &BTreeMap::new(),
        };
        let current = Arc::new(Current::new(Arc::new(build::gateway(&plan, None, &ground))));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        let gateway = Self {
            address: listener.local_addr().expect("an address"),
            store,
            clock: Clock::manual(START),
            health: Arc::default(),
            access: Arc::new(ArcSwap::from_pointee(Access::of(&plan.admin, &secrets))),
            drain: Drain::default(),
            folder,
        };
        let parts = Parts {
            file: plan.file.clone(),
            access: gateway.access.clone(),
            current,
            plugins,
            store: gateway.store.clone(),
            metrics,
            clock: gateway.clock.clone(),
            health: gateway.health.clone(),
            reload: Box::new(reloads(plan)),
        };
        tokio::spawn(Arc::new(Admin::new(parts)).serve(listener, gateway.drain.clone()));
        gateway
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Sends `head` (without its Host and its end) and a body of JSON.
    pub async fn ask(&self, head: &str, body: &str) -> Answer {
        let length = body.len();
        let host = if head.to_ascii_lowercase().contains("\r\nhost:") { "" } else { "Host: localhost\r\n" };
        self.raw(format!("{head}\r\n{host}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.ask(&format!("GET {target} HTTP/1.1"), "").await
    }

    pub async fn post(&self, target: &str, body: &str) -> Answer {
        self.ask(&format!("POST {target} HTTP/1.1\r\nContent-Type: application/json"), body).await
    }

    async fn raw(&self, request: String) -> Answer {
        let mut stream = soon(TcpStream::connect(self.address)).await.expect("connects");
        soon(stream.write_all(request.as_bytes())).await.expect("sends");
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.expect("reads");
        Answer::read(&answer)
    }

    /// Posts a bulk change and returns its job's last words.
    pub async fn job(&self, target: &str, body: &str) -> Value {
        let started = self.post(target, body).await;
        assert_eq!(started.status, 202, "{}", started.text());
        let path = format!("/api/jobs/{}", started.json()["job"].as_str().expect("an id"));
        soon(async {
            loop {
                let seen = self.get(&path).await.json();
                if seen["done"] == true {
                    return seen;
                }
            }
        })
        .await
    }

    /// Runs the binary against this listener.
    pub async fn cli(&self, arguments: &[&str]) -> Output {
        let url = format!("http://{}", self.address);
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let run = move || tollgate().args(arguments).env("TOLLGATE_ADMIN_URL", url).output().expect("runs");
        soon(tokio::task::spawn_blocking(run)).await.expect("ends")
    }

    /// Accepts an event that `change` makes different.
    pub async fn accept(&self, change: impl FnOnce(&mut NewEvent)) -> EventId {
        let now = self.clock.now();
        let mut event = event(now);
        change(&mut event);
        match soon(self.store.accept(now, event)).await.expect("accepts") {
            Accepted::New(id) => id,
            Accepted::Duplicate(id) => panic!("a duplicate of {id}"),
        }
    }

    /// Leases up to `most` due deliveries and makes dead letters of them.
    pub async fn bury(&self, most: u32) {
        for lease in self.claim(most).await {
            let attempt = attempt(&lease, self.clock.now(), 500, b"\x1b[2Jno");
            let dead = Settlement::Dead { attempt, reason: "answered 500".into() };
            assert!(self.store.settle(self.clock.now(), &lease, dead).await.expect("settles"));
        }
    }

    pub async fn claim(&self, most: u32) -> Vec<Lease> {
        let room = [(ProductName::new("billing").expect("a name"), most)];
        self.store.claim(self.clock.now(), &room, Duration::from_secs(30)).await.expect("claims")
    }

    /// A product that takes whatever is due, at once, until the returned task is aborted.
    pub fn deliver(&self) -> tokio::task::JoinHandle<()> {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        tokio::spawn(async move {
            let room = [(ProductName::new("billing").expect("a name"), 100)];
            loop {
                let leases = store.claim(clock.now(), &room, Duration::from_secs(30)).await.expect("claims");
                if leases.is_empty() {
                    tokio::select! {
                        () = store.changed() => {}
                        () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    }
                }
                for lease in leases {
                    let delivered = Settlement::Delivered(attempt(&lease, clock.now(), 200, b"ok"));
                    store.settle(clock.now(), &lease, delivered).await.expect("settles");
                }
            }
        })
    }
}

/// The binary, with nothing of this process's environment that it would read.
pub fn tollgate() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_remove("TOLLGATE_ADMIN_URL").env_remove("TOLLGATE_ADMIN_TOKEN").env("NO_COLOR", "1");
    command
}

fn reloads(plan: Plan) -> impl Fn() -> Reloading + Send + Sync {
    let generation = AtomicU64::new(1);
    move || {
        let generation = generation.fetch_add(1, Ordering::Relaxed) + 1;
        let problem = plan.source.problem_with("admin.address", "a change of `admin.address` needs a restart");
        Box::pin(async move { if generation == 2 { Ok(generation) } else { Err(Problems::from(problem)) } })
    }
}

fn attempt(lease: &Lease, now: Timestamp, status: u16, answer: &'static [u8]) -> Attempt {
    Attempt {
        number: lease.attempt,
        at: now,
        took: Duration::from_millis(12),
        status: Some(status),
        error: (status >= 300).then(|| format!("answered {status}")),
        answer: Bytes::from_static(answer),
    }
}

fn event(now: Timestamp) -> NewEvent {
    NewEvent {
        id: EventId::new(now),
        route: RouteName::new("hooks").expect("a name"),
        verifier: PluginName::new("stripe").expect("a name"),
        received: now,
        request_id: "request-1".into(),
        traceparent: None,
        head: Head {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "example.com".into(),
            target: "/hooks?a=1&token=hunter2".into(),
            path: "/hooks".into(),
            headers: vec![
                ("x-event".into(), Bytes::from_static(b"paid")),
                ("authorization".into(), Bytes::from_static(b"Bearer hunter2")),
            ],
            client: "203.0.113.9".into(),
        },
        body: Payload::Memory(Bytes::from_static(b"{\"id\":1}")),
        identity: Some("evt_provider".into()),
        kind: Some("invoice.paid".into()),
        order_key: None,
        duplicate: None,
        products: vec![ProductName::new("billing").expect("a name")],
        redacted: vec!["authorization".into(), "?token".into()],
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text").to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The code of an error, which must have every part.
    pub fn code(&self) -> String {
        let error = &self.json()["error"];
        let id = error["request_id"].as_str().expect("a request id");
        assert!(self.head.contains(&format!("\r\nx-request-id: {id}")), "{}", self.head);
        assert!(error["message"].is_string());
        error["code"].as_str().expect("a code").to_owned()
    }
}
