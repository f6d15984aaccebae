//! What the stores do on this machine: `cargo bench -p tollgate --bench store`. Writes into the system's temporary folder,
//! or where `TMPDIR` says: measure on the disk that matters. `-- "64 producers"` runs some lines, `-- postgres` those of a
//! PostgreSQL server that is started here, with its usual settings, `-- pages` those of a long list.

#[path = "../../tests/src/postgres.rs"]
#[allow(dead_code, unreachable_pub)]
mod server;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate::base::clock::{Clock, Timestamp};
use tollgate::base::digest::Digest;
use tollgate::base::ids::EventId;
use tollgate::base::names::{PluginName, ProductName, RouteName};
use tollgate::base::payload::Payload;
use tollgate::config::plan::{Postgres, PostgresHost, PostgresTls};
use tollgate::store::postgres::{PostgresOptions, PostgresStore};
use tollgate::store::sqlite::{SqliteOptions, SqliteStore};
use tollgate::store::{Attempt, DeliveryState, EventStore, Filter, Head, NewEvent, Restored, Settlement};

const RUNTIMES: usize = 2;
const LASTS: Duration = Duration::from_secs(5);

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!(
        "{:<28} {:>10} {:>9} {:>9} {:>9} {:>10} {:>8}",
        "", "per second", "p50 ms", "p99 ms", "max ms", "per commit", "CPU µs"
    );
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|part| name.contains(part.as_str()));
    for (name, producers, batch_max) in [
        ("accept, one fsync each", 64, 1),
        ("accept, 1 producer", 1, 256),
        ("accept, 8 producers", 8, 256),
        ("accept, 64 producers", 64, 256),
        ("accept, 256 producers", 256, 256),
    ] {
        if is_asked(name) {
            accepts(open(&folder.path().join(format!("{producers}-{batch_max}.db")), batch_max), name, producers);
        }
    }
    if is_asked("claim 64 and settle each") {
        deliveries(open(&folder.path().join("deliveries.db"), 256), "claim 64 and settle each", 100_000);
    }
    if is_asked("pages") {
        pages(folder.path(), 1_000_000);
    }
    postgres(is_asked);
}

fn postgres(is_asked: impl Fn(&str) -> bool) {
    let lines = [1, 8, 64, 256].map(|producers| (format!("postgres, {producers} producers"), producers));
    let delivering = "postgres, claim and settle";
    let asked: Vec<_> = lines.iter().filter(|(name, _)| is_asked(name)).collect();
    if asked.is_empty() && !is_asked(delivering) {
        return;
    }
    let Some(server) = server::Server::start(&[]) else { return };
    for (name, producers) in asked {
        accepts(open_postgres(&server), name, *producers);
    }
    if is_asked(delivering) {
        deliveries(open_postgres(&server), delivering, 50_000);
    }
}

/// Pages of a list of so many dead letters: of ten routes, five products and twenty types, one in a thousand with a reason of
/// its own.
fn pages(folder: &Path, letters: usize) {
    let (store, commits) = open(&folder.join("pages.db"), 256);
    let name = format!("{letters} dead letters restored");
    let started = Started::now();
    let mut took = on_a_runtime(bury(&store, letters));
    report(&name, &mut took, &started, &commits.lock().expect("counted"));
    let dead = || Filter { state: Some(DeliveryState::Dead), ..Filter::default() };
    let text = |text: &str| Some(text.to_owned());
    let middle = Timestamp::from_millis(1_790_000_000_000 + letters as i64 / 2);
    for (name, filter) in [
        ("page of 500", dead()),
        ("page of 500, any state", Filter::default()),
        ("page of 500, from the middle", Filter { until: Some(middle), ..dead() }),
        ("page of 500, one route", Filter { route: text("route-3"), ..dead() }),
        ("page of 500, route and type", Filter { route: text("route-3"), kind: text("type.7"), ..dead() }),
        ("page of 500, text in most", Filter { text: text("answered 503"), ..dead() }),
        ("page of 500, text in few", Filter { text: text("refused"), ..dead() }),
        ("page of 500, text in none", Filter { text: text("nowhere"), ..dead() }),
        ("page of 500, route and text", Filter { route: text("route-3"), text: text("refused"), ..dead() }),
    ] {
        let started = Started::now();
        let mut took = on_a_runtime(turn(&store, &filter));
        report(name, &mut took, &started, &Commits::default());
    }
    on_a_runtime(async move { store.close().await }).expect("the store closes");
}

async fn bury(store: &Arc<dyn EventStore>, letters: usize) -> Vec<Duration> {
    const AT_ONCE: usize = 500;
    let start = 1_790_000_000_000;
    let mut took = Vec::new();
    for first in (0..letters).step_by(AT_ONCE) {
        let asked = Instant::now();
        let restored = (first..first + AT_ONCE).map(|nth| {
            let at = Timestamp::from_millis(start + nth as i64);
            let (event, letter) = dead_letter(at, nth);
            store.restore(at, event, vec![letter])
        });
        futures_util::future::try_join_all(restored).await.expect("restored");
        took.extend(std::iter::repeat_n(asked.elapsed(), AT_ONCE));
    }
    took
}

fn dead_letter(at: Timestamp, nth: usize) -> (NewEvent, Restored) {
    let event = NewEvent {
        route: RouteName::new(&format!("route-{}", nth % 10)).expect("a name"),
        kind: Some(format!("type.{}", nth % 20)),
        body: Payload::Memory(vec![b'x'; 256].into()),
        duplicate: None,
        ..event(at)
    };
    let why = if nth.is_multiple_of(1000) { "the connection was refused" } else { "the product answered 503" };
    let reason = format!("every attempt of the schedule failed: {why}");
    let attempt = Attempt {
        number: 10,
        at,
        took: Duration::from_millis(12),
        status: Some(503),
        error: Some(why.into()),
        answer: Bytes::from_static(b"come back later"),
    };
    let letter = Restored {
        product: ProductName::new(&format!("product-{}", nth % 5)).expect("a name"),
        state: DeliveryState::Dead,
        due: None,
        attempts: 10,
        replays: 0,
        reason: Some(reason),
        changed: at,
        history: vec![attempt],
    };
    (event, letter)
}

/// The first pages of the filter, one after the other.
async fn turn(store: &Arc<dyn EventStore>, filter: &Filter) -> Vec<Duration> {
    let (mut took, mut cursor): (_, Option<String>) = (Vec::new(), None);
    for _ in 0..20 {
        let asked = Instant::now();
        let page = store.list(filter, cursor.as_deref(), 500).await.expect("listed");
        took.push(asked.elapsed());
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    took
}

#[derive(Default)]
struct Commits {
    count: usize,
    jobs: usize,
}

type Opened = (Arc<dyn EventStore>, Arc<Mutex<Commits>>);

type Observe = Arc<dyn Fn(Duration, usize) + Send + Sync>;

fn counting() -> (Arc<Mutex<Commits>>, Observe) {
    let commits = Arc::<Mutex<Commits>>::default();
    let seen = commits.clone();
    let observe = move |_took: Duration, jobs: usize| {
        let mut commits = seen.lock().expect("no panic while counting");
        commits.count += 1;
        commits.jobs += jobs;
    };
    (commits, Arc::new(observe))
}

fn open(path: &Path, batch_max: usize) -> Opened {
    let (commits, observe) = counting();
    let options = SqliteOptions { batch_max, observe: Some(observe), ..SqliteOptions::default() };
    (SqliteStore::open(path, options).expect("the store opens"), commits)
}

fn open_postgres(server: &server::Server) -> Opened {
    let (commits, observe) = counting();
    let plan = Postgres {
        hosts: vec![PostgresHost::Tcp("127.0.0.1".into(), server.port())],
        user: "postgres".into(),
        database: server.database(),
        password: None,
        tls: PostgresTls::Disable,
        root_certificate: None,
        identity: None,
        application_name: "tollgate".into(),
        connect_timeout: Duration::from_secs(5),
        connections: 16,
    };
    let options = PostgresOptions { observe: Some(observe), ..PostgresOptions::new(plan) };
    (on_a_runtime(PostgresStore::open(options)).expect("the store opens"), commits)
}

fn accepts((store, commits): Opened, name: &str, producers: usize) {
    let started = Started::now();
    let threads: Vec<_> = (0..RUNTIMES.min(producers))
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || on_a_runtime(produce(store, producers.div_ceil(RUNTIMES))))
        })
        .collect();
    let mut took: Vec<Duration> = threads.into_iter().flat_map(|thread| thread.join().expect("a producer")).collect();
    report(name, &mut took, &started, &commits.lock().expect("counted"));
    on_a_runtime(async move { store.close().await }).expect("the store closes");
}

async fn produce(store: Arc<dyn EventStore>, tasks: usize) -> Vec<Duration> {
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                let started = Instant::now();
                while started.elapsed() < LASTS {
                    let now = Clock::System.now();
                    let event = event(now);
                    let asked = Instant::now();
                    store.accept(now, event).await.expect("accepted");
                    took.push(asked.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("a task"));
    }
    took
}

fn deliveries((store, commits): Opened, name: &str, events: usize) {
    on_a_runtime(async {
        for _ in 0..events / 200 {
            let now = Clock::System.now();
            let accepted = (0..200).map(|_| store.accept(now, event(now)));
            futures_util::future::try_join_all(accepted).await.expect("accepted");
        }
    });
    *commits.lock().expect("counted") = Commits::default();
    let started = Started::now();
    let mut took = on_a_runtime(work(&store));
    report(name, &mut took, &started, &commits.lock().expect("counted"));
    on_a_runtime(async { store.close().await }).expect("the store closes");
}

async fn work(store: &Arc<dyn EventStore>) -> Vec<Duration> {
    let room = [(product(), 64)];
    let mut took = Vec::new();
    loop {
        let now = Clock::System.now();
        let claimed = Instant::now();
        let leases = store.claim(now, &room, Duration::from_secs(60)).await.expect("claimed");
        if leases.is_empty() {
            return took;
        }
        let count = leases.len();
        let settled = leases.iter().map(|lease| {
            let attempt = Attempt {
                number: lease.attempt,
                at: now,
                took: Duration::from_millis(3),
                status: Some(200),
                error: None,
                answer: Bytes::from_static(b"ok"),
            };
            store.settle(now, lease, Settlement::Delivered(attempt))
        });
        futures_util::future::try_join_all(settled).await.expect("settled");
        took.extend(std::iter::repeat_n(claimed.elapsed(), count));
    }
}

fn event(now: Timestamp) -> NewEvent {
    let id = EventId::new(now);
    let header = |name: &str, value: &str| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
    NewEvent {
        id,
        route: RouteName::new("stripe").expect("a name"),
        verifier: PluginName::new("stripe").expect("a name"),
        received: now,
        request_id: "0199a3c8-7c1e-7000-8000-0123456789ab".into(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        head: Head {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "hooks.example.com".into(),
            target: "/hooks/stripe".into(),
            path: "/hooks/stripe".into(),
            headers: vec![
                header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
                header("content-type", "application/json; charset=utf-8"),
                header("cache-control", "no-cache"),
                header("accept", "*/*; q=0.5, application/xml"),
                header("accept-encoding", "gzip"),
                header("content-length", "1024"),
                header("stripe-signature", &format!("t=1790000000,v1={}", Digest::of(id.bytes()))),
            ],
            client: "203.0.113.9".into(),
        },
        body: Payload::Memory(vec![b'x'; 1024].into()),
        identity: Some(id.to_string()),
        kind: Some("payment_intent.succeeded".into()),
        order_key: None,
        duplicate: Some((Digest::of(id.bytes()), now.after(Duration::from_secs(86_400)))),
        products: vec![product()],
        redacted: Vec::new(),
    }
}

fn product() -> ProductName {
    ProductName::new("billing").expect("a name")
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

/// When a measurement began, by the wall and in CPU time of the process.
struct Started {
    at: Instant,
    cpu: Duration,
}

impl Started {
    fn now() -> Self {
        Self { at: Instant::now(), cpu: cpu() }
    }
}

/// CPU time of the process, over all its threads and the kernel's work for them.
fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(spent).expect("a process spends a positive time")
}

fn report(name: &str, took: &mut [Duration], started: &Started, commits: &Commits) {
    let (lasted, cpu) = (started.at.elapsed(), cpu() - started.cpu);
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{name:<28} {:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>10.1} {:>8.1}",
        took.len() as f64 / lasted.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        commits.jobs as f64 / commits.count.max(1) as f64,
        cpu.as_secs_f64() * 1e6 / took.len() as f64,
    );
}
