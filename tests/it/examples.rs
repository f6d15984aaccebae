//! The examples, run as their READMEs say, on free ports and in a folder of their own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tollgate_tests::plugins;

use crate::BINARY;

/// A command that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The example's files, listening on free ports, its plugins built from the project's own sources.
fn copied(example: &Path, folder: &Path) {
    fs::create_dir(folder.join("secrets")).unwrap();
    for secret in fs::read_dir(example.join("secrets")).unwrap().map(Result::unwrap) {
        fs::copy(secret.path(), folder.join("secrets").join(secret.file_name())).unwrap();
    }
    fs::copy(example.join("send.sh"), folder.join("send.sh")).unwrap();
    let sources = plugins::root().join("plugins");
    let config = fs::read_to_string(example.join("tollgate.toml")).unwrap();
    assert!(config.contains("127.0.0.1:8080") && config.contains("\"../../plugins/"), "the example moved: {config}");
    let config = config
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("\"../../plugins/", &format!("\"{}/", sources.display()));
    fs::write(folder.join("tollgate.toml"), format!("{config}\n[admin]\naddress = \"127.0.0.1:0\"\n")).unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn is_there(tool: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().is_ok_and(|found| found.status.success())
}

#[test]
fn the_quickstart_does_what_its_readme_says() {
    if let Some(missing) = ["curl", "openssl"].into_iter().find(|tool| !is_there(tool)) {
        eprintln!("skipped: the quickstart's send.sh needs {missing}, which is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    copied(&plugins::root().join("examples/quickstart"), folder.path());
    let mut dev = Command::new(BINARY)
        .arg("dev")
        .arg(folder.path())
        .env("TOLLGATE_CACHE_DIR", plugins::cache())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Kept to the end: what reads the gateway's output must outlive what it says.
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines().map_while(Result::ok);
    let _dev = Running(dev);
    let (mut gateway, mut admin) = (None, None);
    for line in lines.by_ref() {
        let url = || line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned);
        if line.starts_with("tollgate serves") {
            gateway = url();
        } else if line.starts_with("admin") {
            admin = url();
            break;
        }
    }
    let (gateway, admin) =
        (gateway.expect("dev says where it serves"), admin.expect("and where its admin listener is"));

    let sent = Command::new("sh").arg(folder.path().join("send.sh")).arg(&gateway).output().unwrap();
    let sent = said(&sent);
    for (start, has) in [
        ("github: ", "\"status\":\"accepted\"} 202"),
        ("github again: ", "\"status\":\"duplicate\"} 202"),
        ("github forged: ", "\"code\":\"signature\""),
        ("stripe: ", "\"status\":\"accepted\"} 202"),
    ] {
        assert!(sent.lines().any(|line| line.starts_with(start) && line.contains(has)), "{start}{has} in\n{sent}");
    }

    let listed = Command::new(BINARY).args(["events", "--admin", &admin, "list", "--json"]).output().unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let routes: Vec<_> = listed["events"].as_array().unwrap().iter().map(|event| event["route"].clone()).collect();
    assert_eq!(routes, ["stripe", "github"]);
}

/// The first line that begins so; what follows that beginning.
fn line(lines: &mut impl Iterator<Item = String>, begins: &str) -> String {
    let found = lines.find_map(|line| line.strip_prefix(begins).map(str::to_owned));
    found.unwrap_or_else(|| panic!("no line begins with {begins:?}"))
}

#[test]
fn the_websocket_example_does_what_its_readme_says() {
    let recent = Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 10))"]).output();
    if !recent.is_ok_and(|found| found.status.success()) {
        eprintln!("skipped: the WebSocket example needs Python 3.10, which is not installed");
        return;
    }
    let example = plugins::root().join("examples/websocket");
    let echo = |words: &[&str]| {
        let mut command = Command::new("python3");
        command.arg(example.join("echo.py")).args(words).stdin(Stdio::null());
        command
    };
    let mut serve = echo(&["serve", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut served = BufReader::new(serve.stdout.take().unwrap()).lines().map_while(Result::ok);
    let _serve = Running(serve);
    let port = line(&mut served, "serves on ");

    let folder = tempfile::tempdir().unwrap();
    let config = fs::read_to_string(example.join("tollgate.toml")).unwrap();
    assert!(config.contains("127.0.0.1:8080") && config.contains("127.0.0.1:9001"), "the example moved: {config}");
    let config =
        config.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9001", &format!("127.0.0.1:{port}"));
    let file = folder.path().join("tollgate.toml");
    fs::write(&file, format!("{config}\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n")).unwrap();
    let mut run = Command::new(BINARY);
    let run = run.args(["run", "-c"]).arg(&file).env("TOLLGATE_CACHE_DIR", plugins::cache()).stdin(Stdio::null());
    let mut run = run.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(run.stderr.take().unwrap()).lines().map_while(Result::ok);
    let _run = Running(run);
    let serves = log.find(|line| line.contains("tollgate serves")).unwrap();
    let (_, rest) = serves.split_once("127.0.0.1:").unwrap();
    let gateway = format!("127.0.0.1:{}", rest.chars().take_while(char::is_ascii_digit).collect::<String>());

    let told = said(&echo(&["say", &gateway, "/chat", "hello", "again"]).output().unwrap());
    let mut lines = told.lines().map(str::to_owned);
    let id = line(&mut lines, "HTTP/1.1 101 Switching Protocols request id ");
    assert_eq!([line(&mut lines, "heard "), line(&mut lines, "heard ")], ["hello", "again"]);
    assert_eq!(line(&mut lines, "closed with code "), "1000");
    assert_eq!(line(&mut served, "GET /chat HTTP/1.1 request id "), id);
    assert_eq!(line(&mut served, "closed with code "), "1000");
    let written = log.find(|line| line.contains("\"protocol\":\"websocket\"")).unwrap();
    assert!(written.contains(&id) && written.contains("\"outcome\":\"success\""), "{written}");

    for (length, code) in [(16 << 10, "1000"), ((16 << 10) + 1, "1009")] {
        let told = said(&echo(&["say", &gateway, "/chat", &"x".repeat(length)]).output().unwrap());
        assert_eq!(line(&mut told.lines().map(str::to_owned), "closed with code "), code, "{length} bytes");
    }
}
