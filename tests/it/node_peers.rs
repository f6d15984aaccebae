//! What browsers run, under Node: clients and servers of GraphQL over streams, and the official client of gRPC-Web.

use std::path::Path;
use std::process::Command;

use tollgate_tests::elsewhere::{node, ran, serving, skipped};
use tollgate_tests::{Setup, TestGateway, plugins};

use crate::grpc::service::{Seen, serve};

/// Runs `script` of the Node project with the gateway's address, and is content when it is.
async fn content(project: &Path, script: &str, gateway: &TestGateway) {
    let mut client = Command::new("node");
    client.arg(project.join(script)).arg(format!("http://{}", gateway.address()));
    let said = tokio::task::spawn_blocking(move || ran(&mut client)).await.unwrap();
    assert_eq!(said.as_deref().map(str::trim), Ok("ok"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_for_browsers_are_served() {
    let project = match node(&plugins::root().join("tests/peers/node")) {
        Ok(project) => project,
        Err(why) => return skipped(&format!("no Node with its packages: {why}")),
    };
    let (_serving, graphql) = serving(Command::new("node").arg(project.join("serve.mjs")));
    let notes = serve(&Seen::default(), None).await;
    let toml = format!(
        "[product.graphql]\nupstreams = [\"http://{graphql}\"]\n[product.notes]\nupstreams = [\"http://{notes}\"]\n\
         [route.graphql]\npath = \"/graphql/{{*rest}}\"\nproduct = \"graphql\"\n\
         [route.notes]\npath = \"/test.Notes/{{*rest}}\"\nproduct = \"notes\"\n"
    );
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    // GraphQL over server-sent events in both of its modes, over a WebSocket, and delivered in parts.
    content(&project, "call.mjs", &gateway).await;
    for protocol in ["sse", "graphql", "websocket"] {
        let labels = [format!("protocol=\"{protocol}\""), "product=\"graphql\"".to_owned()];
        let [protocol, product] = labels.each_ref().map(String::as_str);
        assert!(gateway.metric("gateway_protocol_requests_total", &[protocol, product, "outcome=\"success\""]) > 0.0);
        gateway.counts("gateway_protocol_active_connections", &[protocol], 0.0).await;
    }
    content(&project, "web.mjs", &gateway).await;
    gateway.counts("gateway_protocol_requests_total", &["protocol=\"grpc_web\"", "outcome=\"success\""], 3.0).await;
}
