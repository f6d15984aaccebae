//! Other people's WebSockets, where they are installed: Python's `websockets`, which compresses, and Autobahn's fuzzing
//! client (`wstest`), which has a case for every sentence of RFC 6455.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tollgate_tests::plugins::root;

use super::*;

/// Cases of the fuzzing client: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, some large messages.
const CASES: [&str; 10] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.*", "9.2.*", "10.*"];

/// Killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn runs(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    let tried = command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn compressed_messages_pass_between_pythons_websockets() {
    if !runs("python3", &["-c", "import websockets.asyncio.server, sys; sys.exit(sys.version_info < (3, 10))"]) {
        eprintln!("skipped: Python's websockets (13 or later) is not installed");
        return;
    }
    let script = root().join("tests/fixtures/websocket/deflate.py");
    let mut server = Command::new("python3").arg(&script).arg("serve").stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let _server = Running(server);
    let upstream = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
    let more = "[route.live.limits]\nping = \"10s\"\nmessage_bytes = \"1MiB\"";
    let gateway = TestGateway::start(Setup::new(&toml(upstream, more))).await;
    let url = format!("ws://{}/chat", gateway.address());
    let saying = move || Command::new("python3").arg(script).args(["say", &url]).output().unwrap();
    let said = soon("the client", tokio::task::spawn_blocking(saying)).await.unwrap();
    // 16 MiB of one letter are a few KiB on the wire, and that is what the limit is about.
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert_eq!(out.lines().collect::<Vec<_>>(), ["PerMessageDeflate", "4002 done"], "{err}");
    ended(&gateway, "success", 1.0).await;
}

/// What the fuzzing client saw in each case, by whom it asked. A case that allows two behaviours calls one of them not
/// strict; which it sees is a matter of time.
fn seen(report: &Value, agent: &str) -> BTreeMap<String, [String; 2]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().replace("NON-STRICT", "OK");
    let case =
        |(name, seen): (&String, &Value)| (name.clone(), [text(&seen["behavior"]), text(&seen["behaviorClose"])]);
    report[agent].as_object().unwrap_or_else(|| panic!("no report on {agent}")).iter().map(case).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fuzzing_client_sees_no_gateway() {
    if !runs("sh", &["-c", "command -v wstest"]) {
        eprintln!("skipped: Autobahn's wstest is not installed");
        return;
    }
    let peer = EchoPeer::start().await;
    let gateway = TestGateway::start(Setup::new(&toml(peer.address(), ""))).await;
    let folder = tempfile::tempdir().unwrap();
    let spec = json!({
        "outdir": folder.path().join("reports"),
        "servers": [
            { "agent": "direct", "url": format!("ws://{}", peer.address()) },
            { "agent": "gateway", "url": format!("ws://{}", gateway.address()) },
        ],
        "cases": CASES, "exclude-cases": [], "exclude-agent-cases": {},
    });
    fs::write(folder.path().join("spec.json"), spec.to_string()).unwrap();
    let mut wstest = Command::new("wstest");
    wstest.args(["-m", "fuzzingclient", "-s", "spec.json"]).current_dir(folder.path()).stdout(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || wstest.output()).await.unwrap().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let report = fs::read(folder.path().join("reports/index.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let (direct, through) = (seen(&report, "direct"), seen(&report, "gateway"));
    assert!(direct.len() > 250, "only {} cases ran", direct.len());
    let differ: Vec<_> = direct.iter().filter(|(case, seen)| through.get(*case) != Some(seen)).collect();
    assert!(
        differ.is_empty(),
        "{differ:?} became {:?}",
        differ.iter().map(|(case, _)| &through[*case]).collect::<Vec<_>>()
    );
}
