//! gRPC of other makes: grpcio, which is C underneath, and grpc-go.

use std::path::PathBuf;
use std::process::Command;

use tollgate_tests::elsewhere::{self, ran, serving, skipped};
use tollgate_tests::{GatewayProcess, Setup, plugins};

use crate::BINARY;

/// As pip wants it; one version, so that one installation serves every test.
pub(crate) const GRPCIO: &str = "grpcio==1.85.1";

fn python() -> Result<Vec<PathBuf>, String> {
    let python = elsewhere::python("python-grpc", &[GRPCIO])?;
    Ok(vec![python, plugins::root().join("tests/peers/raw.py")])
}

fn go() -> Result<Vec<PathBuf>, String> {
    Ok(vec![elsewhere::go(&plugins::root().join("tests/peers/raw.go"))?])
}

fn command(words: &[PathBuf]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// `client` calls `server` through a gateway and is content.
async fn call(client: &[PathBuf], server: &[PathBuf]) {
    let (_serving, address) = serving(command(server).arg("serve"));
    let toml = format!(
        "[product.raw]\nupstreams = [\"http://{address}\"]\n[route.raw]\npath = \"/test.Raw/{{*rest}}\"\nproduct = \"raw\"\n"
    );
    let gateway = GatewayProcess::start(BINARY.as_ref(), &Setup::new(&toml)).await;
    let mut client = command(client);
    client.arg("call").arg(gateway.address().to_string());
    let said = tokio::task::spawn_blocking(move || ran(&mut client)).await.unwrap();
    assert_eq!(said.as_deref().map(str::trim), Ok("ok"), "{}", gateway.lines().join("\n"));
}

#[tokio::test]
async fn grpcio_calls_grpcio() {
    match python() {
        Ok(python) => call(&python, &python).await,
        Err(why) => skipped(&format!("no Python with grpcio: {why}")),
    }
}

#[tokio::test]
async fn grpc_go_calls_grpc_go() {
    match go() {
        Ok(go) => call(&go, &go).await,
        Err(why) => skipped(&format!("no Go with grpc: {why}")),
    }
}
