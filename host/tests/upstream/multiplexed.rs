//! HTTP/2 towards upstreams: connections that many requests share, and what they may send again.

use std::collections::BTreeSet;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use tokio::net::TcpListener;

use crate::peers::{Asked, BoxBody, H2Upstream, Order, ask, client, get, plan_with};
use crate::support::{TestGateway, Upstream, soon};

async fn gateway(upstream: &H2Upstream) -> TestGateway {
    TestGateway::start(&plan_with(&[upstream.url()], ""))
}

fn post(body: BoxBody) -> Request<BoxBody> {
    Request::post("http://api.test/post").body(body).expect("a request")
}

/// A body of unknown length, with trailers.
fn streamed(parts: &[&'static str]) -> BoxBody {
    let mut frames: Vec<_> = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().expect("a value"));
    frames.push(Ok(Frame::trailers(trailers)));
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

#[tokio::test]
async fn requests_share_a_connection_and_name_their_host_as_http2_does() {
    let mut upstream = H2Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = client(&gateway).await;
    let asking: Vec<_> = (0..20).map(|n| get(&client, &format!("/{n}?x=%2e"))).collect();
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let asked = upstream.asked().await;
        assert_eq!(asked.connection, 1);
        let uri = asked.request.uri();
        assert_eq!((uri.scheme_str(), uri.authority().map(|a| a.as_str())), (Some("http"), Some("api.test")));
        assert_eq!(uri.query(), Some("x=%2e"));
        assert!(!asked.request.headers().contains_key(header::HOST));
        seen.insert(asked.path().to_owned());
        asked.ok("all at once");
    }
    assert_eq!(seen.len(), 20);
    for answer in asking {
        assert_eq!(soon(answer).await.expect("runs"), (200, "all at once".into()));
    }
}

#[tokio::test]
async fn a_full_connection_is_left_for_another() {
    let mut upstream = H2Upstream::at_most(2).await;
    let gateway = gateway(&upstream).await;
    let client = client(&gateway).await;
    // The first tells the gateway how many the upstream takes.
    let first = get(&client, "/first");
    let held = upstream.asked().await;
    let asking: Vec<_> = (0..4).map(|_| get(&client, "/")).collect();
    let mut asked: Vec<Asked> = vec![held];
    for _ in 0..4 {
        asked.push(upstream.asked().await);
    }
    let connections: Vec<_> = asked.iter().map(|asked| asked.connection).collect();
    assert_eq!(connections.iter().collect::<BTreeSet<_>>().len(), 3, "{connections:?}");
    asked.into_iter().for_each(|asked| asked.ok("done"));
    for answer in asking.into_iter().chain([first]) {
        assert_eq!(soon(answer).await.expect("runs").0, 200);
    }
}

#[tokio::test]
async fn one_socket_is_enough_for_every_worker() {
    let mut upstream = H2Upstream::start().await;
    let gateway = TestGateway::start(&plan_with(&[upstream.url()], "limits = { connections = 1 }"));
    let mut asking = vec![];
    for _ in 0..8 {
        // Connections are spread over the workers.
        let client = client(&gateway).await;
        asking.push((get(&client, "/"), client));
    }
    for _ in 0..8 {
        let asked = upstream.asked().await;
        assert_eq!(asked.connection, 1);
        asked.ok("shared");
    }
    for (answer, _client) in asking {
        assert_eq!(soon(answer).await.expect("runs").0, 200);
    }
}

#[tokio::test]
async fn a_connection_that_goes_away_ends_what_it_has_and_takes_nothing_new() {
    let mut upstream = H2Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = client(&gateway).await;
    let first = get(&client, "/first");
    let held = upstream.asked().await;
    upstream.connection().await.send(Order::GoAway).expect("it serves");
    // Requests after it go elsewhere, as soon as the gateway has heard.
    loop {
        let next = get(&client, "/next");
        let asked = upstream.asked().await;
        let connection = asked.connection;
        asked.ok("next");
        assert_eq!(soon(next).await.expect("runs"), (200, "next".into()));
        if connection == 2 {
            break;
        }
    }
    held.ok("first");
    assert_eq!(soon(first).await.expect("runs"), (200, "first".into()));
}

#[tokio::test]
async fn what_the_upstream_refused_is_sent_again_whatever_it_is() {
    let mut upstream = H2Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = client(&gateway).await;
    for body in [streamed(&["one ", "two ", "three"]), Full::from("one two three").boxed_unsync()] {
        let answer = ask(&client, post(body));
        upstream.asked().await.reset(Reason::REFUSED_STREAM);
        let mut again = upstream.asked().await;
        assert_eq!(again.body().await.0, b"one two three");
        again.ok("taken");
        assert_eq!(soon(answer).await.expect("runs"), (200, "taken".into()));
    }
    assert!(gateway.metric("gateway_upstream_retries_total{product=\"up\",reason=\"refused\"} 2"));
}

#[tokio::test]
async fn an_upstream_that_refuses_everything_is_not_asked_for_ever() {
    let mut upstream = H2Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = client(&gateway).await;
    let answer = get(&client, "/");
    for _ in 0..3 {
        upstream.asked().await.reset(Reason::REFUSED_STREAM);
    }
    let (status, body) = soon(answer).await.expect("runs");
    assert_eq!(status, 502);
    assert!(body.contains("upstream_reset"), "{body}");
    assert!(upstream.is_untouched());
}

#[tokio::test]
async fn a_post_that_broke_off_is_not_sent_again_and_a_get_is() {
    let mut upstream = H2Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = client(&gateway).await;
    let answer = ask(&client, post(Full::from("hi").boxed_unsync()));
    upstream.asked().await.reset(Reason::INTERNAL_ERROR);
    assert_eq!(soon(answer).await.expect("runs").0, 502);
    assert!(upstream.is_untouched());

    let answer = get(&client, "/get");
    let lost = upstream.asked().await;
    upstream.connection().await.send(Order::Cut).expect("it serves");
    let again = upstream.asked().await;
    assert_eq!((again.connection, again.path()), (2, "/get"));
    drop(lost);
    again.ok("again");
    assert_eq!(soon(answer).await.expect("runs"), (200, "again".into()));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let mut upstream = H2Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = client(&gateway).await;
    let mut request = post(streamed(&["up"]));
    request.headers_mut().insert(header::TE, "trailers".parse().expect("a value"));
    let answer = tokio::spawn(async move { client.send_request(request).await.expect("an answer") });
    let mut asked = upstream.asked().await;
    assert_eq!(asked.request.headers()[header::TE], "trailers");
    let (body, trailers) = asked.body().await;
    assert_eq!((body.as_slice(), trailers.expect("trailers")["x-sum"].as_bytes()), (&b"up"[..], &b"7"[..]));
    let mut stream = asked.respond.send_response(Response::new(()), false).expect("takes a head");
    stream.send_data("down".into(), false).expect("takes data");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    stream.send_trailers(trailers).expect("takes trailers");
    let answer = soon(soon(answer).await.expect("runs").into_body().collect()).await.expect("whole");
    assert_eq!(answer.trailers().expect("trailers")["grpc-status"], "0");
    assert_eq!(answer.to_bytes(), "down");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let mut upstream = H2Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    assert_eq!(client.line().await, "HTTP/1.1 100 Continue\r\n");
    client.send("hi").await;
    let mut asked = upstream.asked().await;
    assert!(!asked.request.headers().contains_key(header::EXPECT));
    assert_eq!(asked.body().await.0, b"hi");
    asked.ok("got it");
    client.until("got it").await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_stream_and_no_other() {
    let mut upstream = H2Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let staying = client(&gateway).await;
    let stays = get(&staying, "/stays");
    let kept = upstream.asked().await;
    let mut leaving = staying.clone();
    let leaves = tokio::spawn(async move {
        let body = http_body_util::Empty::new().boxed_unsync();
        leaving.send_request(Request::get("http://a/leaves").body(body).expect("a request")).await
    });
    let mut left = upstream.asked().await;
    leaves.abort();
    assert_eq!(left.given_up().await, Reason::CANCEL);
    kept.ok("kept");
    assert_eq!(soon(stays).await.expect("runs"), (200, "kept".into()));
}

#[tokio::test]
async fn grpc_goes_over_http2_where_all_else_goes_over_http1() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let gateway = TestGateway::start(&plan_with(&[format!("http://{address}")], ""));
    let client = client(&gateway).await;
    for (media, preface) in [("application/grpc+proto", "PRI * HTTP/2.0"), ("application/json", "POST /post HTTP/1.1")]
    {
        let mut request = post(Full::from("x").boxed_unsync());
        request.headers_mut().insert(header::CONTENT_TYPE, media.parse().expect("a value"));
        let mut client = client.clone();
        let asking = tokio::spawn(async move { client.send_request(request).await });
        let (stream, _) = soon(listener.accept()).await.expect("accepts");
        let mut inbound = crate::support::Client { stream, read: vec![] };
        assert_eq!(inbound.line().await, format!("{preface}\r\n"));
        asking.abort();
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http2_is_a_502() {
    let mut upstream = Upstream::start().await;
    let gateway = TestGateway::start(&plan_with(&[format!("h2c://{}", upstream.address)], ""));
    let client = client(&gateway).await;
    let answer = ask(&client, post(Full::from("x").boxed_unsync()));
    let mut inbound = upstream.connection().await;
    inbound.0.line().await;
    inbound.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let (status, body) = soon(answer).await.expect("runs");
    assert_eq!(status, 502, "{body}");
}
