//! gRPC through the gateway: tonic on both sides, and raw HTTP/2 where a client or a product must misbehave.

pub(super) mod service;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request as HttpRequest, Response as HttpResponse};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tollgate_tests::tls::{Authority, Issued};
use tollgate_tests::{GatewayProcess, Setup, TestGateway, soon, turns};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use self::service::{Client, Note, Seen, at_rest, connect, connect_tls, serve};
use crate::BINARY;

/// What a cancellation may take.
const SECOND: Duration = Duration::from_secs(1);

fn toml(address: SocketAddr, more: &str) -> String {
    format!(
        "[product.notes]\nupstreams = [\"http://{address}\"]\n\
         [route.notes]\npath = \"/test.Notes/{{*rest}}\"\nproduct = \"notes\"\n{more}\n"
    )
}

async fn gateway(more: &str) -> (TestGateway, Seen) {
    let seen = Seen::default();
    let address = serve(&seen, None).await;
    (TestGateway::start(Setup::new(&toml(address, more))).await, seen)
}

/// Metadata of a request that must arrive as it was.
fn with_metadata(mut request: Request<Note>) -> Request<Note> {
    let metadata = request.metadata_mut();
    metadata.append("x-text", "one".parse().unwrap());
    metadata.append("x-text", "two".parse().unwrap());
    metadata.insert_bin("x-bytes-bin", MetadataValue::from_bytes(&[0, 255, 10, 13]));
    request
}

/// One call of each kind.
async fn calls_of_each_kind(client: &Client) {
    let echoed = client.unary("Echo", with_metadata(Request::new(Note::new("hi", 1)))).await.unwrap();
    assert_eq!(echoed.get_ref(), &Note::new("hi", 2));
    let texts: Vec<_> = echoed.metadata().get_all("x-text").iter().collect();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(echoed.metadata().get_bin("x-bytes-bin").unwrap().to_bytes().unwrap(), &[0, 255, 10, 13][..]);

    let counted = client.server_stream("Count", Note::new("", 5)).await.unwrap().into_inner();
    let numbers: Vec<_> = counted.map(|note| note.unwrap().number).collect().await;
    assert_eq!(numbers, [0, 1, 2, 3, 4]);

    let summed = client.client_stream("Sum", stream::iter((1..=4).map(|number| Note::new("a", number)))).await.unwrap();
    assert_eq!(summed.get_ref(), &Note::new("aaaa", 10));

    // Each note is sent once the one before has come back: nothing waits for the end of a stream.
    let (say, said) = mpsc::unbounded_channel();
    say.send(Note::new("", 0)).unwrap();
    let said = stream::unfold(said, async |mut said| said.recv().await.map(|note| (note, said)));
    let mut heard = client.both_ways("Chat", said).await.unwrap().into_inner();
    for number in 0..20 {
        assert_eq!(soon("a note", heard.message()).await.unwrap().unwrap().number, number);
        say.send(Note::new("", number + 1)).unwrap();
    }
    drop(say);
    assert_eq!(soon("the last note", heard.message()).await.unwrap().unwrap().number, 20);
    assert_eq!(soon("the end", heard.message()).await.unwrap(), None);
}

#[tokio::test]
async fn calls_of_each_kind_pass_over_h2c() {
    let (gateway, _) = gateway("").await;
    calls_of_each_kind(&connect(gateway.address()).await).await;
    let counted = |outcome: &str| {
        let outcome = format!("outcome=\"{outcome}\"");
        gateway.metric("gateway_protocol_requests_total", &["protocol=\"grpc\"", "product=\"notes\"", &outcome])
    };
    gateway.counts("gateway_protocol_requests_total", &["protocol=\"grpc\"", "outcome=\"success\""], 4.0).await;
    assert_eq!((counted("client_error"), counted("upstream_error"), counted("cancelled")), (0.0, 0.0, 0.0));
}

fn acceptor(issued: &Issued) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn calls_of_each_kind_pass_over_tls() {
    let authority = Authority::new("a");
    let address = serve(&Seen::default(), Some(acceptor(&authority.issue(&["notes.internal"])))).await;
    let toml = format!(
        "[product.notes]\nupstreams = [\"https://{address}\"]\n\
         [product.notes.tls]\nca = \"ca.pem\"\nserver_name = \"notes.internal\"\n\
         [route.notes]\npath = \"/test.Notes/{{*rest}}\"\nproduct = \"notes\"\n\
         [listener.secure]\naddress = \"127.0.0.1:0\"\n\
         [listener.secure.tls]\ncertificates = [{{ certificate = \"a.pem\", key = \"a.key\" }}]\n"
    );
    let setup = Setup::new(&toml);
    authority.issue(&["a.test"]).write(setup.folder(), "a");
    std::fs::write(setup.folder().join("ca.pem"), authority.pem()).unwrap();
    let gateway = TestGateway::start(setup).await;
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = connect_tls(gateway.listener("secure"), "a.test", Arc::new(config)).await;
    calls_of_each_kind(&client).await;
}

#[tokio::test]
async fn how_a_call_ended_is_told_as_its_product_told_it() {
    let (gateway, _) = gateway("").await;
    let client = connect(gateway.address()).await;
    let failed = client.unary("Fail", Request::new(Note::default())).await.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::NotFound, "no \u{201c}note\u{201d}: 100 %"));
    assert_eq!(failed.details(), b"details");
    assert_eq!(failed.metadata().get("x-why").unwrap(), "because");
    assert_eq!(failed.metadata().get_bin("x-why-bin").unwrap().to_bytes().unwrap(), &[0, 255][..]);
    gateway.counts("gateway_protocol_requests_total", &["protocol=\"grpc\"", "outcome=\"client_error\""], 1.0).await;

    let mut counted = client.server_stream("Count", Note::new("lose", 2)).await.unwrap().into_inner();
    assert_eq!(counted.message().await.unwrap().unwrap().number, 0);
    assert_eq!(counted.message().await.unwrap().unwrap().number, 1);
    let lost = counted.message().await.unwrap_err();
    assert_eq!((lost.code(), lost.message()), (Code::DataLoss, "lost the rest"));
    assert_eq!(lost.metadata().get("x-lost").unwrap(), "7");
    gateway.counts("gateway_protocol_requests_total", &["protocol=\"grpc\"", "outcome=\"upstream_error\""], 1.0).await;
}

#[tokio::test]
async fn an_early_no_is_heard_while_the_client_still_sends() {
    let (gateway, _) = gateway("").await;
    let client = connect(gateway.address()).await;
    for _ in 0..20 {
        let endless = stream::repeat(Note::new(vec![b'x'; 16 << 10], 0));
        let refused = client.client_stream("Refuse", endless).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "not you"));
    }
    calls_of_each_kind(&client).await;
}

#[tokio::test]
async fn messages_of_ten_mebibytes_pass() {
    let (gateway, _) = gateway("").await;
    let client = connect(gateway.address()).await;
    let large: Vec<u8> = (0..10_u32 << 20).map(|at| (at % 251) as u8).collect();
    let echoed = client.unary("Echo", Request::new(Note::new(&large, 1))).await.unwrap().into_inner();
    assert!(echoed.payload == large && echoed.number == 2);
}

#[tokio::test]
async fn health_and_reflection_pass() {
    let seen = Seen::default();
    let address = serve(&seen, None).await;
    let toml = format!(
        "[product.notes]\nupstreams = [\"h2c://{address}\"]\n[route.all]\npath = \"/{{*rest}}\"\nproduct = \"notes\"\n"
    );
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let channel = Client::channel(gateway.address());
    let mut health = HealthClient::new(channel.clone());
    let HealthCheckResponse { status } =
        soon("health", health.check(HealthCheckRequest::default())).await.unwrap().into_inner();
    assert_eq!(status, ServingStatus::Serving as i32);
    let mut watched = soon("health", health.watch(HealthCheckRequest::default())).await.unwrap().into_inner();
    assert_eq!(soon("a state", watched.message()).await.unwrap().unwrap().status, status);

    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let asked = stream::iter([asked]);
    let mut answers = soon("services", reflection.server_reflection_info(asked)).await.unwrap().into_inner();
    let answer = soon("services", answers.message()).await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("expected a list, not {answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "grpc.health.v1.Health"), "{list:?}");
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_its_product() {
    let (gateway, seen) = gateway("").await;
    let client = connect(gateway.address()).await;
    let unary = tokio::spawn({
        let client = client.clone();
        async move { client.unary("Hang", Request::new(Note::default())).await }
    });
    seen.under_way(1).await;
    let left = Instant::now();
    unary.abort();
    seen.under_way(0).await;

    let flood = client.server_stream("Flood", Note::default()).await.unwrap();
    seen.under_way(1).await;
    drop(flood);
    seen.under_way(0).await;

    // Both directions open, and both silent.
    let stream = soon("a connection", TcpStream::connect(gateway.address())).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let (answer, mut said) = client.send_request(call("/test.Notes/Chat", []).map(drop), false).unwrap();
    said.send_data(message(b""), false).unwrap();
    let mut heard = soon("a head", answer).await.unwrap().into_body();
    soon("a note", heard.data()).await.unwrap().unwrap();
    seen.under_way(1).await;
    said.send_reset(h2::Reason::CANCEL);
    seen.under_way(0).await;
    connection.abort();
    assert!(left.elapsed() < SECOND * 3, "three cancellations took {:?}", left.elapsed());
    gateway.counts("gateway_protocol_requests_total", &["protocol=\"grpc\"", "outcome=\"cancelled\""], 3.0).await;
    gateway.counts("gateway_protocol_active_connections", &["protocol=\"grpc\""], 0.0).await;
}

#[tokio::test]
async fn a_deadline_ends_both_sides() {
    let (gateway, seen) = gateway("[route.notes.timeouts]\ntotal = \"2s\"").await;
    for (asked, ends_after, mut passed_on) in
        [(Some("250m"), Duration::from_millis(250), Duration::from_millis(250)), (None, SECOND * 2, SECOND * 2)]
    {
        let mut client = raw(gateway.address()).await;
        let began = Instant::now();
        let (head, trailers) =
            end_of(&mut client, "/test.Notes/Hang", asked.into_iter().map(|asked| ("grpc-timeout", asked))).await;
        assert_eq!((head.status().as_u16(), told(&trailers)), (200, "4".to_owned()), "{head:?}");
        assert_eq!(head.headers()["content-type"], "application/grpc");
        assert!((ends_after..ends_after + SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
        seen.under_way(0).await;
        let said = seen.metadata().get("grpc-timeout").unwrap().to_str().unwrap().to_owned();
        let (number, unit) = said.split_at(said.len() - 1);
        let left = Duration::from_nanos(number.parse::<u64>().unwrap() * if unit == "n" { 1 } else { 1_000 });
        assert!(left <= passed_on && left + SECOND / 5 > passed_on, "{said} is left of {passed_on:?}");
        passed_on = left;
        assert!(passed_on < ends_after);
    }
    gateway.counts("gateway_protocol_requests_total", &["protocol=\"grpc\"", "outcome=\"timeout\""], 2.0).await;
}

#[tokio::test]
async fn a_deadline_in_the_middle_of_a_stream_is_told_in_its_trailers() {
    let (gateway, seen) = gateway("").await;
    let mut client = raw(gateway.address()).await;
    let mut request = call("/test.Notes/Chat", [("grpc-timeout", "300m")]);
    let sent = stream::iter([Ok(Frame::data(message(b"")))]).chain(stream::pending());
    *request.body_mut() = BodyExt::boxed(StreamBody::new(sent));
    let answer = soon("a head", client.send_request(request)).await.unwrap();
    seen.under_way(1).await;
    let body = soon("the end", answer.into_body().collect()).await.unwrap();
    assert_eq!(told(body.trailers().unwrap()), "4");
    assert_eq!(body.to_bytes(), message(b""));
    seen.under_way(0).await;
    gateway.counts("gateway_protocol_errors_total", &["protocol=\"grpc\"", "reason=\"deadline\""], 1.0).await;
}

#[tokio::test]
async fn the_gateways_errors_are_told_in_trailers_only() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let more = "[route.notes.limits]\nmax_body = \"1KiB\"\n\
                [route.busy]\npath = \"/busy.Notes/{*rest}\"\nproduct = \"notes\"\nrate = { per_second = 1, burst = 1 }\n\
                [product.page]\nbuiltin = \"echo\"\n[route.get]\npath = \"/get.Only/Method\"\nmethod = \"GET\"\nproduct = \"page\"\n";
    let gateway = TestGateway::start(Setup::new(&toml(address, more))).await;
    let mut client = raw(gateway.address()).await;
    let mut ask = async |path: &str, timeout: Option<&'static str>, body: Bytes| {
        let mut request = call(path, timeout.map(|timeout| ("grpc-timeout", timeout)));
        *request.body_mut() = Full::new(body).boxed();
        let answer = soon("an answer", client.send_request(request)).await.unwrap();
        let (status, media) = (answer.status().as_u16(), answer.headers()["content-type"].clone());
        assert_eq!((status, media.to_str().unwrap()), (200, "application/grpc"), "{path}");
        assert!(answer.headers().contains_key("x-request-id") && answer.headers().contains_key("grpc-message"));
        assert!(hyper::body::Body::is_end_stream(answer.body()), "the head is the end");
        told(answer.headers())
    };
    assert_eq!(ask("/other.Service/Method", None, message(b"")).await, "12", "no route");
    assert_eq!(ask("/get.Only/Method", None, message(b"")).await, "12", "no such method");
    assert_eq!(ask("/test.Notes/Echo", None, message(b"")).await, "14", "no upstream");
    assert_eq!(ask("/test.Notes/Echo", None, message(&[b'x'; 2000])).await, "8", "too large");
    assert_eq!(ask("/busy.Notes/Echo", None, message(b"")).await, "14", "no upstream");
    assert_eq!(ask("/busy.Notes/Echo", None, message(b"")).await, "8", "too many");
    assert_eq!(ask("/test.Notes/Echo", Some("1s"), message(b"")).await, "3", "not a timeout");
    assert_eq!(ask("/test.Notes/..%2f", Some("0n"), message(b"")).await, "4", "no time at all");
    let rows = |product: &str, outcome: &str| {
        let labels = [format!("product=\"{product}\""), format!("outcome=\"{outcome}\"")];
        gateway.metric("gateway_protocol_requests_total", &["protocol=\"grpc\"", &labels[0], &labels[1]])
    };
    assert_eq!((rows("none", "rejected"), rows("notes", "rejected"), rows("notes", "upstream_error")), (2.0, 3.0, 2.0));
}

#[tokio::test]
async fn a_product_that_breaks_off_is_told_as_unavailable() {
    let half = message(b"half").slice(..7);
    let (address, reset) = breaks_off(half.clone()).await;
    let gateway = TestGateway::start(Setup::new(&toml(address, ""))).await;
    let mut client = raw(gateway.address()).await;
    let answer = soon("a head", client.send_request(call("/test.Notes/Any", []))).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(soon("half a message", body.frame()).await.unwrap().unwrap().into_data().unwrap(), half);
    reset.notify_one();
    let trailers = soon("the end", body.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(told(&trailers), "14");
    gateway.counts("gateway_protocol_errors_total", &["protocol=\"grpc\"", "reason=\"upstream_reset\""], 1.0).await;
}

/// A product that sends this, and resets the stream once it is told to.
pub(crate) async fn breaks_off(sent: Bytes) -> (SocketAddr, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reset = Arc::new(Notify::new());
    let told = reset.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (sent, told) = (sent.clone(), told.clone());
            let service = service_fn(move |_: HttpRequest<Incoming>| {
                let (sent, told) = (stream::iter([Ok(Frame::data(sent.clone()))]), told.clone());
                let broken = stream::once(async move {
                    told.notified().await;
                    Err(std::io::Error::other("gone"))
                });
                let answer = HttpResponse::builder().header("content-type", "application/grpc");
                async move { answer.body(StreamBody::new(sent.chain(broken))) }
            });
            tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, reset)
}

#[tokio::test]
async fn a_stream_lives_while_one_of_its_directions_does() {
    let (gateway, seen) =
        gateway("[route.notes.timeouts]\nbody = \"100ms\"\nidle = \"1s\"\nresponse = \"300ms\"").await;
    let client = connect(gateway.address()).await;
    let (say, said) = mpsc::unbounded_channel();
    say.send(Note::default()).unwrap();
    let said = stream::unfold(said, async |mut said| said.recv().await.map(|note| (note, said)));
    let mut heard = client.both_ways("Chat", said).await.unwrap().into_inner();
    for _ in 0..4 {
        soon("a note", heard.message()).await.unwrap().unwrap();
        // Longer than a request body may be silent, and than a response may take.
        tokio::time::sleep(Duration::from_millis(500)).await;
        say.send(Note::default()).unwrap();
    }
    soon("a note", heard.message()).await.unwrap().unwrap();
    let silent = Instant::now();
    let ended = soon("the end", heard.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended:?}");
    assert!(silent.elapsed() > SECOND - SECOND / 10, "{:?}", silent.elapsed());
    seen.under_way(0).await;
    gateway.counts("gateway_protocol_errors_total", &["reason=\"idle_timeout\""], 1.0).await;
}

/// What the gateway may hold of a call that nobody reads on.
const HELD_MAX: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_sender_waits_for_a_slow_reader() {
    let _turn = turns::alone().await;
    let seen = Seen::default();
    let address = serve(&seen, None).await;
    let gateway = GatewayProcess::start(BINARY.as_ref(), &Setup::new(&toml(address, ""))).await;
    let client = connect(gateway.address()).await;
    let mut flood = client.server_stream("Flood", Note::default()).await.unwrap().into_inner();
    soon("a note", flood.message()).await.unwrap().unwrap();
    let sent = at_rest(|| seen.sent()).await;
    assert!(sent < 64, "{sent} messages of 64 KiB went where nobody reads");
    let before = gateway.memory("VmRSS");
    for _ in 0..1000 {
        soon("a note", flood.message()).await.unwrap().unwrap();
    }
    assert!(seen.sent() >= 1000, "reading on lets the sender go on");

    let offered = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = offered.clone();
    let endless = stream::repeat(Note::new(vec![b'x'; 64 << 10], 0)).inspect(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.client_stream("Slow", endless).await }
    });
    seen.under_way(2).await;
    let offered = at_rest(|| offered.load(std::sync::atomic::Ordering::Relaxed)).await;
    assert!(seen.taken() == 1 && offered < 64, "{offered} messages of 64 KiB went where nobody reads");

    let held = gateway.memory("VmRSS").saturating_sub(before);
    eprintln!("held more after 64 MiB and for a second stopped stream: {} KiB", held >> 10);
    assert!(held < HELD_MAX, "{held} bytes are held for two streams");
    sending.abort();
    drop(flood);
    seen.under_way(0).await;
}

type Raw = SendRequest<BoxBody<Bytes, Infallible>>;

/// A client that knows nothing of gRPC.
async fn raw(address: SocketAddr) -> Raw {
    let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A message with its prefix.
fn message(payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0][..], &length, payload].concat().into()
}

fn call<'a>(
    path: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> HttpRequest<BoxBody<Bytes, Infallible>> {
    let mut request = HttpRequest::post(format!("http://a.test{path}")).header("content-type", "application/grpc");
    for (name, value) in fields {
        request = request.header(name, value);
    }
    request.body(Full::new(message(b"")).boxed()).unwrap()
}

/// The head of an answer and what ends it: its trailers, or the head itself.
async fn end_of<'a>(
    client: &mut Raw,
    path: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> (HttpResponse<()>, HeaderMap) {
    let answer = soon("an answer", client.send_request(call(path, fields))).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = soon("the end", body.collect()).await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_else(|| head.headers.clone());
    (HttpResponse::from_parts(head, ()), trailers)
}

fn told(fields: &HeaderMap) -> String {
    fields.get("grpc-status").unwrap_or_else(|| panic!("no status in {fields:?}")).to_str().unwrap().to_owned()
}
