//! What ships for those who watch a gateway, held against a loaded gateway and a real Prometheus.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tollgate_tests::tls::Authority;
use tollgate_tests::{Connection, GatewayProcess, Peer, Reply, Setup, eventually, plugins, signing, soon};

use crate::BINARY;

const SECRET: &str = "a secret";

fn shipped() -> PathBuf {
    plugins::root().join("examples/observability")
}

fn promtool(arguments: &[&str]) -> Option<Output> {
    let asked = Command::new("promtool").args(arguments).current_dir(shipped().join("rules")).output();
    if asked.is_err() {
        eprintln!("skipped: promtool is not installed (Debian's package prometheus)");
    }
    asked.ok()
}

fn passes(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_alert_rules_fire_when_they_should() {
    for arguments in [&["check", "rules", "alerts.yml"][..], &["test", "rules", "alerts_test.yml"]] {
        let Some(output) = promtool(arguments) else { return };
        passes(&output);
    }
}

#[test]
fn every_alert_is_tested_and_has_its_page() {
    let rules = fs::read_to_string(shipped().join("rules/alerts.yml")).unwrap();
    let tests = fs::read_to_string(shipped().join("rules/alerts_test.yml")).unwrap();
    let pages = fs::read_to_string(plugins::root().join("docs/runbooks.md")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(rules.contains(&format!("docs/runbooks.md#{}\n", alert.to_lowercase())), "{alert} names its page");
        assert!(pages.contains(&format!("\n## {alert}\n")), "{alert} has its page");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} is tested");
    }
}

/// A Prometheus that scrapes one gateway every second. Killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Prometheus {
    /// With the configuration that ships; `None` where there is none to start.
    fn start(gateway: &GatewayProcess, folder: &Path) -> Option<Self> {
        let shipped = shipped();
        let text = fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
        let (rules, target) = ("rules/alerts.yml", "\"127.0.0.1:9090\"");
        assert!(text.contains(rules) && text.contains(target) && text.contains("15s"), "the example moved: {text}");
        let text = text
            .replace(rules, &shipped.join(rules).display().to_string())
            .replace(target, &format!("\"{}\"", gateway.admin()))
            .replace("15s", "1s");
        let config = folder.join("prometheus.yml");
        fs::write(&config, text).unwrap();
        // It cannot say which port it was given, so it gets one that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self { child, address }),
            Err(_) => {
                eprintln!("skipped: prometheus is not installed (Debian's package prometheus)");
                None
            }
        }
    }

    /// What the query returns; `None` while it cannot be asked.
    async fn query(&self, query: &str) -> Option<Vec<Value>> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut connection = Connection::open(self.address).await.ok()?;
        let path = format!("/api/v1/query?query={escaped}");
        let asked = connection.request(Method::GET, &path, &[], Bytes::new());
        let answer = soon("an answer of Prometheus", asked).await.ok()?;
        assert!(answer.status != 400, "{query}: {}", String::from_utf8_lossy(&answer.body));
        Some(answer.json()["data"]["result"].as_array()?.clone())
    }
}

/// Where it stands and what it asks, of every panel and every rule. What an alert compares is asked for instead of whether
/// it holds, since nothing is wrong.
fn expressions() -> Vec<(String, String)> {
    let mut found = vec![];
    for file in fs::read_dir(shipped().join("dashboards")).unwrap() {
        let file = file.unwrap().path();
        let dashboard: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{}: {}", file.file_name().unwrap().display(), panel["title"]);
                let mut query = target["expr"].as_str().unwrap().replace("$__rate_interval", "30s");
                for variable in ["$product", "$route", "$plugin"] {
                    query = query.replace(variable, ".*");
                }
                assert!(!query.contains('$'), "{place} uses a variable that this test does not know: {query}");
                found.push((place, query));
            }
        }
    }
    let rules = fs::read_to_string(shipped().join("rules/alerts.yml")).unwrap();
    let lines: Vec<_> = rules.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("expr: ")) {
        let mut query = line["expr: ".len()..].to_owned();
        if query == "|" {
            let block =
                lines[at + 1..].iter().take_while(|line| !line.starts_with("for:") && !line.starts_with("labels:"));
            query = block.copied().collect::<Vec<_>>().join(" ");
        }
        let held = [" > ", " < ", " == "].into_iter().find(|comparison| query.contains(comparison));
        let held = held.unwrap_or_else(|| panic!("an alert compares: {query}"));
        found.push((lines[at - 1].to_owned(), query.replace(held, &format!("{held}bool "))));
    }
    found
}

#[tokio::test]
async fn every_panel_and_every_rule_has_data() {
    let peer = Peer::scripted([Reply::Status(500), Reply::Status(404)]).await;
    let setup = Setup::new(&format!(
        "[secret.s]\nvalues = [{{ env = \"SECRET\" }}, {{ env = \"OLD_SECRET\" }}]\n[listener.secure]\naddress = \"127.0.0.1:0\"\n[listener.secure.tls]\n\
         certificates = [{{ certificate = \"a.pem\", key = \"a.key\" }}]\n{}\
         [route.app]\npath = \"/app\"\nproduct = \"app\"\n[route.hook]\npath = \"/hook\"\nproduct = \"app\"\n\
         [route.hook.webhook]\nverifier = \"github\"\nsecrets = {{ signing = \"s\" }}\n",
        peer.product("app")
    ))
    .env("SECRET", SECRET)
    .env("OLD_SECRET", "an older secret");
    Authority::new("a").issue(&["a.test"]).write(setup.folder(), "a");
    let gateway = GatewayProcess::start(Path::new(BINARY), &setup).await;
    let Some(prometheus) = Prometheus::start(&gateway, setup.folder()) else { return };

    let expressions = expressions();
    assert!(expressions.len() > 50, "{expressions:?}");
    let mut client = gateway.connect().await;
    let mut left: Vec<_> = expressions.iter().collect();
    let mut turn = 0_u32;
    eventually("data for every expression", async || {
        turn += 1;
        for path in ["/app", "/nowhere"] {
            client.request(Method::GET, path, &[], Bytes::new()).await.expect("an answer");
        }
        let hook = signing::github(SECRET, format!("{{\"turn\":{turn}}}").as_bytes());
        client.post("/hook", &hook).await.expect("an answer");
        client.post("/hook", &hook.forged()).await.expect("an answer");
        while let Some((place, query)) = left.last() {
            let series = prometheus.query(query).await?;
            if series.is_empty() {
                if turn.is_multiple_of(200) {
                    eprintln!("still nothing for {place}: {query}");
                }
                return None;
            }
            left.pop();
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let setup = Setup::new("[product.app]\nbuiltin = \"echo\"\n[route.app]\npath = \"/app\"\nproduct = \"app\"\n");
    let gateway = GatewayProcess::start(Path::new(BINARY), &setup).await;
    let mut admin = gateway.connect_admin().await;
    let answer = admin.request(Method::GET, "/metrics", &[], Bytes::new()).await.unwrap();
    let file = setup.folder().join("metrics");
    fs::write(&file, &answer.body).unwrap();
    let checked = Command::new("promtool").args(["check", "metrics"]).stdin(fs::File::open(&file).unwrap()).output();
    let Ok(output) = checked else {
        eprintln!("skipped: promtool is not installed (Debian's package prometheus)");
        return;
    };
    passes(&output);
}
