//! Bodies and streams: what passes, what is broken off, and what waits, over HTTP/1.1 and HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{PATIENCE, TestGateway, Upstream, plan, soon, with_timeouts, with_upstream};
use super::{fields, gateway};

#[tokio::test]
async fn trailers_pass() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound
        .send("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n")
        .await;
    client.until("\r\n\r\n").await;
    assert_eq!(client.until("x-sum: 7\r\n\r\n").await, "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n");
}

#[tokio::test]
async fn a_response_broken_in_the_middle_is_not_a_whole_one() {
    let (gateway, mut upstream) = gateway().await;
    for framing in ["transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "content-length: 10\r\n\r\nhello"] {
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut inbound = upstream.connection().await;
        inbound.request().await;
        inbound.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        client.until("hello").await;
        drop(inbound);
        let rest = client.rest().await;
        assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
    }
    assert!(
        gateway
            .metric("gateway_protocol_requests_total{outcome=\"upstream_error\",product=\"up\",protocol=\"http\"} 2")
    );
}

#[tokio::test]
async fn a_client_that_leaves_is_an_upstream_request_cancelled() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    drop(client);
    assert!(inbound.closed().await);
    assert!(
        gateway.metric("gateway_protocol_requests_total{outcome=\"cancelled\",product=\"up\",protocol=\"http\"} 1")
    );
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut_and_so_is_an_upload() {
    let mut upstream = Upstream::start().await;
    let plan = with_upstream(plan(), &[upstream.address]);
    let gateway = TestGateway::start(&with_timeouts(plan, |timeouts| {
        timeouts.idle = Some(Duration::from_millis(50));
        timeouts.body = Some(Duration::from_millis(50));
    }));
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").await;
    assert!(!client.rest().await.contains("0\r\n\r\n"));
    assert!(inbound.closed().await);
    assert!(gateway.metric("gateway_protocol_requests_total{outcome=\"timeout\",product=\"up\",protocol=\"sse\"} 1"));

    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("HTTP/1.1 408 ") && body.contains("\"body_timeout\""), "{head}{body}");
}

type H2 =
    hyper::client::conn::http2::SendRequest<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>;

async fn h2(gateway: &TestGateway) -> H2 {
    let stream = TcpStream::connect(gateway.address).await.expect("connects");
    stream.set_nodelay(true).expect("sets");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("shakes hands");
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn h2c_is_spoken_on_the_same_port() {
    let (gateway, mut upstream) = gateway().await;
    let mut sender = h2(&gateway).await;
    let request = Request::post("http://api.test/a?b")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Full::new(Bytes::from_static(b"hi")).boxed())
        .expect("a request");
    let response = tokio::spawn(sender.send_request(request));
    let mut inbound = upstream.connection().await;
    let (head, body) = inbound.request().await;
    assert!(head.starts_with("POST /a?b HTTP/1.1\r\n"), "{head}");
    for line in ["host: api.test", "cookie: a=1; b=2", "content-length: 2"] {
        assert!(fields(&head).contains(&line), "{line} in {head}");
    }
    assert_eq!(body, "hi");
    inbound.send("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nkeep-alive: 1\r\ncontent-length: 5\r\n\r\nhello").await;
    let response = soon(response).await.expect("runs").expect("answers");
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().get("keep-alive").is_none());
    assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "hello");
}

#[tokio::test]
async fn a_broken_response_resets_the_h2_stream_and_spares_the_connection() {
    let (gateway, mut upstream) = gateway().await;
    let mut sender = h2(&gateway).await;
    let get = |path: &str| Request::get(format!("http://a{path}")).body(Empty::new().boxed()).expect("a request");
    let response = tokio::spawn(sender.send_request(get("/")));
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    let mut response = soon(response).await.expect("runs").expect("answers");
    assert!(soon(response.frame()).await.expect("a frame").is_ok());
    drop(inbound);
    assert!(soon(response.frame()).await.expect("an end").is_err());
    let echo = soon(sender.send_request(get("/echo/"))).await.expect("answers");
    assert_eq!(echo.status(), StatusCode::OK);
}

const LARGE: usize = 32 << 20;

#[tokio::test]
async fn a_large_body_streams_down() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    let sending = tokio::spawn(async move {
        inbound.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
        inbound.send(vec![b'x'; LARGE]).await;
    });
    client.until("\r\n\r\n").await;
    let mut read = client.read.len();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match soon(client.stream.read(&mut buffer)).await.expect("reads") {
            0 => break,
            count => read += count,
        }
    }
    assert_eq!(read, LARGE);
    sending.await.expect("sent");
}

#[tokio::test]
async fn a_large_body_streams_up_over_h2_too() {
    let (gateway, mut upstream) = gateway().await;
    let mut sender = h2(&gateway).await;
    let chunk = Bytes::from(vec![b'x'; 1 << 16]);
    let frames = (0..LARGE >> 16).map(move |_| Ok(Frame::data(chunk.clone())));
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let response =
        tokio::spawn(sender.send_request(Request::post("http://a/").body(BodyExt::boxed(body)).expect("one")));
    let mut inbound = upstream.connection().await;
    inbound.0.until("\r\n\r\n").await;
    // Chunked: count what lies between the sizes.
    let mut total = 0;
    loop {
        let size = inbound.0.until("\r\n").await;
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
        total += size;
        while inbound.0.read.len() < size + 2 {
            soon(inbound.0.stream.read_buf(&mut inbound.0.read)).await.expect("reads");
        }
        inbound.0.read.drain(..size + 2);
        if size == 0 {
            break;
        }
    }
    assert_eq!(total, LARGE);
    inbound.ok("done").await;
    assert_eq!(soon(response).await.expect("runs").expect("answers").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_upstream() {
    let (gateway, mut upstream) = gateway().await;
    let mut client = gateway.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut inbound = upstream.connection().await;
    inbound.request().await;
    inbound.send("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await;
    let (chunk, mut written) = (vec![b'x'; 1 << 16], 0);
    let stalled = Duration::from_millis(500);
    while let Ok(Ok(())) = tokio::time::timeout(stalled, inbound.0.stream.write_all(&chunk)).await {
        written += chunk.len();
        assert!(written < 256 << 20, "a quarter of a GiB went where nobody reads");
    }
    // What the kernel's socket buffers hold on the four ends of two connections, and little more.
    assert!(written < 32 << 20, "{written} bytes went where nobody reads");
    assert!(stalled < PATIENCE);
    drop(client);
}
