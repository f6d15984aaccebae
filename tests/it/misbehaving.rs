//! Plugins that do wrong: the route closes, nothing is kept, and the gateway is as it was.

use std::time::{Duration, Instant};

use tollgate::telemetry::labels::FaultReason;
use tollgate_tests::signing::Signed;
use tollgate_tests::{GatewayProcess, Setup, TestGateway, plugins, soon, turns};

use crate::BINARY;

/// Every way of the guest to end in a fault once it is asked, and the reasons that may be counted: where it keeps the
/// gateway busy until then, an unoptimised gateway may reach the deadline first.
const MODES: [(&str, &[&str]); 10] = [
    ("spin", &["deadline"]),
    ("hog", &["memory", "deadline"]),
    ("trap", &["trap"]),
    ("bad_status", &["lie"]),
    ("bad_code", &["lie"]),
    ("oversized_reply", &["lie", "deadline"]),
    ("too_many_headers", &["lie", "deadline"]),
    ("forbidden_header", &["lie"]),
    ("many_host_calls", &["budget", "deadline"]),
    ("crypto_bomb", &["budget", "deadline"]),
];

const DEADLINE: Duration = Duration::from_millis(100);
/// What a test's machine may take on top of the quickest of three: the gateway is not optimised, and a thread that is
/// ready waits for its turn. A deadline that is not kept is off by seconds.
const SCHEDULING: Duration = Duration::from_millis(150);

/// A plugin name for each mode, so that each has metrics of its own.
fn plugin(mode: &str) -> String {
    mode.replace('_', "-")
}

fn route(name: &str, verifier: &str, mode: &str) -> String {
    format!(
        "[route.{name}]\npath = \"/{name}\"\nproduct = \"app\"\n[route.{name}.webhook]\n\
         verifier = \"{verifier}\"\noptions = {{ mode = \"{mode}\" }}\n"
    )
}

fn body(text: &str) -> Signed {
    Signed { headers: vec![], body: text.to_owned().into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misbehaving_verifier_fails_closed_and_harms_nobody() {
    let mut toml = "[plugins]\ndeadline = \"100ms\"\n[product.app]\nbuiltin = \"echo\"\n".to_owned();
    for (mode, _) in MODES {
        toml += &route(&plugin(mode), &plugin(mode), mode);
    }
    toml += &route("late", "late", "spin_in_configure");
    toml += &route("good", "guest-misbehaver", "ok");
    let setup = Setup::new(&toml);
    let guest = std::fs::read(plugins::component("guest-misbehaver")).unwrap();
    for (mode, _) in MODES {
        setup.place(&plugin(mode), &guest);
    }
    let gateway = TestGateway::start_alone(setup).await;
    let good = gateway.post("/good", &body("before")).await.id();

    for (mode, reasons) in MODES {
        closed(&gateway, &plugin(mode), reasons).await;
    }
    // One that never comes back from being configured does not go live at all.
    gateway.setup.place("late", &guest);
    let refused = || async {
        let labels = ["plugin=\"late\"", "outcome=\"refused\""];
        (gateway.metric("gateway_plugin_reloads_total", &labels) == 1.0).then_some(())
    };
    tollgate_tests::eventually("the refusal of a plugin", refused).await;
    closed(&gateway, "late", &["missing"]).await;

    let ids: Vec<String> = gateway.events().await.iter().map(|row| row.event.to_string()).collect();
    assert_eq!(ids, [good], "nothing is kept of what was faulty");
    serves_ten_thousand(&gateway).await;
}

/// The route called `name`, after its plugin, answers 503 in time, each time.
async fn closed(gateway: &TestGateway, name: &str, reasons: &[&str]) {
    let plugin = format!("plugin=\"{name}\"");
    let mut quickest = Duration::MAX;
    for nth in 1..=3 {
        let mut connection = gateway.connect().await;
        let asked = Instant::now();
        let answer = soon("an answer", connection.post(&format!("/{name}"), &body("{}"))).await.unwrap();
        quickest = quickest.min(asked.elapsed());
        assert_eq!(answer.code(), (503, "plugin_fault".into()), "{name}");
        let counted = counted(gateway, &plugin);
        assert!(counted.iter().all(|(reason, _)| reasons.contains(&reason.as_str())), "{name}: {counted:?}");
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<f64>(), f64::from(nth), "{name}: {counted:?}");
    }
    assert!(quickest < 2 * DEADLINE + SCHEDULING, "{name} took {quickest:?}");
    assert_eq!(gateway.outcomes(name, "plugin_fault"), 3.0, "{name}");
}

/// The reasons of a plugin's faults, with their counts.
fn counted(gateway: &TestGateway, plugin: &str) -> Vec<(String, f64)> {
    let of = |reason: &FaultReason| {
        let label = format!("reason=\"{}\"", reason.as_str());
        (reason.as_str().to_owned(), gateway.metric("gateway_plugin_faults_total", &[plugin, &label]))
    };
    FaultReason::ALL.iter().map(of).filter(|(_, count)| *count > 0.0).collect()
}

async fn serves_ten_thousand(gateway: &TestGateway) {
    const CONNECTIONS: usize = 16;
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|client| {
            let address = gateway.address();
            tokio::spawn(async move {
                let mut connection = tollgate_tests::Connection::open(address).await.unwrap();
                for nth in 0..10_000 / CONNECTIONS {
                    let answer = connection.post("/good", &body(&format!("{client} {nth}"))).await.unwrap();
                    assert_eq!(answer.became(), (202, "accepted".into()));
                }
            })
        })
        .collect();
    for client in clients {
        soon("ten thousand requests", client).await.unwrap();
    }
    assert_eq!(gateway.outcomes("good", "accepted"), 10_001.0);
}

#[tokio::test]
async fn a_time_that_nobody_signed_is_not_believed() {
    let route = route("liar", "guest-misbehaver", "lying_timestamp") + "tolerance = \"5m\"\n";
    let gateway = TestGateway::start(Setup::new(&format!("[product.app]\nbuiltin = \"echo\"\n{route}"))).await;
    assert_eq!(gateway.post("/liar", &body("{}")).await.code(), (401, "stale".into()));
    assert_eq!(gateway.events().await, []);
}

#[tokio::test]
async fn a_plugin_that_logs_without_end_is_cut_short() {
    let toml = "[log]\nformat = \"json\"\n[product.app]\nbuiltin = \"echo\"\n".to_owned();
    let _turn = turns::alone().await;
    let setup = Setup::new(&(toml + &route("loud", "guest-misbehaver", "huge_log")));
    let gateway = GatewayProcess::start(BINARY.as_ref(), &setup).await;
    let mut connection = gateway.connect().await;
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let asked = Instant::now();
        let answer = soon("an answer", connection.post("/loud", &body("{}"))).await.unwrap();
        quickest = quickest.min(asked.elapsed());
        // Writing too much is no reason to refuse an event; taking too long over it is.
        assert!(answer.status == 202 || answer.code() == (503, "plugin_fault".into()), "{answer:?}");
    }
    assert!(quickest < 2 * DEADLINE + SCHEDULING, "{quickest:?}");
    let lines = gateway.lines();
    let written: Vec<_> = lines.iter().filter(|line| line.contains("all work and no play")).collect();
    assert!(written.len() <= 3 * 16, "{} lines", written.len());
    assert!(written.iter().all(|line| line.len() < 2048), "{written:?}");
}
