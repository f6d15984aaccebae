//! `Expect: 100-continue`, end to end.

use crate::gateway;
use crate::support::soon;

const ASK: &str = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test]
async fn the_client_goes_on_when_the_upstream_says_so() {
    let (gateway, mut upstream) = gateway().await;
    for coding in ["content-length: 2", "transfer-encoding: chunked"] {
        let mut client = gateway.connect().await;
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n{coding}\r\n\r\n")).await;
        let mut inbound = upstream.connection().await;
        let head = inbound.0.until("\r\n\r\n").await;
        assert!(head.contains("expect: 100-continue\r\n") && head.contains(coding), "{head}");
        inbound.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
        inbound.send(CONTINUE).await;
        assert_eq!(client.until("\r\n\r\n").await, CONTINUE);
        let body = if coding.starts_with('c') { "hi" } else { "2\r\nhi\r\n0\r\n\r\n" };
        client.send(body).await;
        assert_eq!(inbound.0.exactly(body.len()).await, body);
        inbound.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(client.response().await.1, "ok");
        client.send("GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(client.response().await.0.starts_with("HTTP/1.1 200 "), "the connection is good for more");
    }
}

#[tokio::test]
async fn a_refusal_comes_without_the_body_being_asked_for() {
    let (gateway, mut upstream) = gateway().await;
    for (status, body) in [("401 Unauthorized", "no"), ("417 Expectation Failed", "")] {
        let mut client = gateway.connect().await;
        client.send(ASK).await;
        let mut inbound = upstream.connection().await;
        inbound.0.until("\r\n\r\n").await;
        inbound.send(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.ends_with(body), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "what follows may be the body or a request: {answer}");
        assert_eq!(inbound.0.rest().await, "", "nothing of the body, and the end");
    }
}

#[tokio::test]
async fn a_refusal_that_takes_its_time_passes_whole() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send(ASK).await;
    let mut inbound = upstream.connection().await;
    inbound.0.until("\r\n\r\n").await;
    inbound.send("HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    // Longer than the gateway's patience with an upstream that says nothing.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    inbound.send("2\r\nno\r\n0\r\n\r\n").await;
    assert_eq!(client.rest().await, "2\r\nno\r\n0\r\n\r\n");
    assert_eq!(inbound.0.rest().await, "");
}

#[tokio::test]
async fn an_upstream_that_says_nothing_gets_the_body_after_a_second() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    let asked = std::time::Instant::now();
    client.send(ASK).await;
    let mut inbound = upstream.connection().await;
    inbound.0.until("\r\n\r\n").await;
    assert_eq!(client.until("\r\n\r\n").await, CONTINUE);
    assert!(asked.elapsed() >= std::time::Duration::from_secs(1));
    client.send("hi").await;
    assert_eq!(inbound.0.exactly(2).await, "hi");
    inbound.ok("ok").await;
    assert_eq!(client.response().await.1, "ok");
}

#[tokio::test]
async fn where_there_is_nothing_to_wait_for_nobody_waits() {
    let (gateway, mut upstream) = gateway().await;
    for ask in [
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi",
    ] {
        let mut client = gateway.connect().await;
        client.send(ask).await;
        let mut inbound = upstream.connection().await;
        let (head, _) = inbound.request().await;
        assert!(!head.contains("expect"), "{head}");
        inbound.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        let (head, body) = client.response().await;
        assert!(head.contains(" 200 OK\r\n") && body == "ok", "{head}");
    }
    let answer =
        gateway.ask("POST / HTTP/1.1\r\nhost: a\r\nexpect: 200-ok\r\nconnection: close\r\ncontent-length: 2\r\n\r\n");
    let answer = soon(answer).await;
    assert!(answer.starts_with("HTTP/1.1 417 ") && answer.contains("\"expectation\""), "{answer}");
}

#[tokio::test]
async fn a_gateway_that_refuses_does_not_ask_for_the_body() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send(ASK.replacen("POST /", "POST /%00", 1)).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(upstream.is_untouched());
}
