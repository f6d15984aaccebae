//! Long responses: every flush reaches the client at once, nothing but silence ends a stream, and whoever leaves is
//! noticed on the other side.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tollgate_tests::{Setup, TestGateway, Wire, soon};

/// What a cancellation may take.
const SECOND: Duration = Duration::from_secs(1);

/// A product whose responses the test writes.
struct Product {
    address: SocketAddr,
    calls: mpsc::Receiver<Call>,
}

/// A request that reached the product; what is said is flushed at once.
struct Call {
    headers: HeaderMap,
    body: Incoming,
    say: mpsc::Sender<io::Result<Bytes>>,
}

impl Call {
    async fn say(&self, text: &str) {
        soon("a place", self.say.send(Ok(Bytes::copy_from_slice(text.as_bytes())))).await.unwrap();
    }

    /// What comes next of the request's body.
    async fn hears(&mut self) -> Bytes {
        soon("more of the request", self.body.frame()).await.unwrap().unwrap().into_data().unwrap()
    }

    /// Breaks off, as a product that crashes does.
    async fn abort(self) {
        self.say.send(Err(io::Error::other("gone"))).await.unwrap();
    }

    /// Waits until nobody reads any more.
    async fn cancelled(&self) {
        soon("a cancellation", self.say.closed()).await;
    }
}

impl Product {
    async fn start(multiplexed: bool, media: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (called, calls) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (io, called) = (TokioIo::new(stream), called.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let called = called.clone();
                    async move {
                        let (say, said) = mpsc::channel(1);
                        let (head, body) = request.into_parts();
                        called.send(Call { headers: head.headers, body, say }).await.unwrap();
                        let frames =
                            stream::unfold(said, async |mut said| Some((said.recv().await?.map(Frame::data), said)));
                        let response = Response::builder().header("content-type", media);
                        Ok::<_, Infallible>(response.body(StreamBody::new(frames)).unwrap())
                    }
                });
                tokio::spawn(async move {
                    // Whoever leaves leaves.
                    let _left = if multiplexed {
                        http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
                    } else {
                        http1::Builder::new().serve_connection(io, service).await
                    };
                });
            }
        });
        Self { address, calls }
    }

    async fn call(&mut self) -> Call {
        soon("a request", self.calls.recv()).await.unwrap()
    }
}

async fn gateway(multiplexed: bool, media: &'static str, more: &str) -> (TestGateway, Product) {
    let product = Product::start(multiplexed, media).await;
    let scheme = if multiplexed { "h2c" } else { "http" };
    let toml = format!(
        "[product.live]\nupstreams = [\"{scheme}://{}\"]\n[route.live]\npath = \"/live\"\nproduct = \"live\"\n{more}\n",
        product.address
    );
    (TestGateway::start(Setup::new(&toml)).await, product)
}

const EVENTS: &str = "text/event-stream";
const GET: &str = "GET /live HTTP/1.1\r\nhost: a.test\r\naccept: text/event-stream\r\nlast-event-id: 41\r\n\r\n";

/// A client over HTTP/1.1, which sees chunks.
struct Plain {
    wire: Wire,
    read: Vec<u8>,
}

impl Plain {
    async fn ask(gateway: &TestGateway) -> Self {
        let mut wire = gateway.wire().await;
        wire.send(GET).await;
        Self { wire, read: Vec::new() }
    }

    async fn head(&mut self) -> String {
        self.wire.head(&mut self.read).await
    }

    /// Reads until `text` is what came.
    async fn hears(&mut self, text: &str) {
        let chunk = format!("{:X}\r\n{text}\r\n", text.len());
        while self.read.len() < chunk.len() {
            let more = self.wire.some().await;
            assert!(!more.is_empty(), "expected {text:?}, not the end");
            self.read.extend(more);
        }
        assert_eq!(String::from_utf8_lossy(&self.read), chunk);
        self.read.clear();
    }

    /// Everything until the gateway closes.
    async fn rest(mut self) -> String {
        self.read.extend(self.wire.rest().await);
        String::from_utf8(self.read).unwrap()
    }
}

async fn multiplexed(gateway: &TestGateway) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get() -> Request<Empty<Bytes>> {
    Request::get("http://a.test/live").body(Empty::new()).unwrap()
}

#[tokio::test]
async fn every_flush_reaches_the_client_at_once() {
    for (over_h2, media) in
        [(false, EVENTS), (true, EVENTS), (false, "application/x-ndjson"), (false, "multipart/mixed; boundary=\"-\"")]
    {
        let (gateway, mut product) = gateway(over_h2, media, "").await;
        let mut client = Plain::ask(&gateway).await;
        let call = product.call().await;
        assert_eq!(
            (&call.headers["last-event-id"], &call.headers["accept"]),
            (&"41".parse().unwrap(), &EVENTS.parse().unwrap())
        );
        // Even the head comes before there is anything to say.
        let head = client.head().await;
        assert!(head.contains(&format!("content-type: {media}\r\n")), "{head}");
        let mut took = Vec::new();
        for number in 0..100 {
            // The next is said once the one before was heard.
            let event = format!("id: {number}\ndata: x\n\n");
            let said = Instant::now();
            call.say(&event).await;
            client.hears(&event).await;
            took.push(said.elapsed());
        }
        took.sort();
        eprintln!("{media}, HTTP/2 {over_h2}: said to heard p50 {:?}, p99 {:?}", took[49], took[98]);
        assert!(took[49] < Duration::from_millis(5), "{took:?}");
        drop(call);
        assert_eq!(client.wire.some().await, b"0\r\n\r\n");
    }
    let (gateway, mut product) = gateway(false, EVENTS, "").await;
    let mut sender = multiplexed(&gateway).await;
    let answer = tokio::spawn(sender.send_request(get()));
    let call = product.call().await;
    let mut answer = soon("a head", answer).await.unwrap().unwrap();
    for number in 0..20 {
        let event = format!("data: {number}\n\n");
        call.say(&event).await;
        assert_eq!(soon("an event", answer.frame()).await.unwrap().unwrap().into_data().unwrap(), event);
    }
}

#[tokio::test]
async fn only_silence_ends_a_stream() {
    let more = "[route.live.timeouts]\ntotal = \"300ms\"\nresponse = \"300ms\"\nidle = \"600ms\"";
    let (gateway, mut product) = gateway(false, EVENTS, more).await;
    let mut client = Plain::ask(&gateway).await;
    let call = product.call().await;
    client.head().await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        call.say(": still here\n\n").await;
        client.hears(": still here\n\n").await;
    }
    let silent = Instant::now();
    call.cancelled().await;
    assert!((Duration::from_millis(550)..SECOND * 2).contains(&silent.elapsed()), "{:?}", silent.elapsed());
    assert_eq!(client.rest().await, "", "it is cut, not ended");
    gateway.counts("gateway_protocol_requests_total", &["protocol=\"sse\"", "outcome=\"timeout\""], 1.0).await;
    gateway.counts("gateway_protocol_errors_total", &["protocol=\"sse\"", "reason=\"idle_timeout\""], 1.0).await;
}

#[tokio::test]
async fn a_silent_stream_is_cancelled_when_its_client_leaves() {
    for to_h2 in [false, true] {
        let (gateway, mut product) = gateway(to_h2, EVENTS, "").await;
        let mut client = Plain::ask(&gateway).await;
        let call = product.call().await;
        client.head().await;
        let left = Instant::now();
        drop(client);
        call.cancelled().await;
        assert!(left.elapsed() < SECOND, "HTTP/1.1: {:?}", left.elapsed());

        let mut sender = multiplexed(&gateway).await;
        let answer = tokio::spawn(sender.send_request(get()));
        let call = product.call().await;
        let answer = soon("a head", answer).await.unwrap().unwrap();
        let left = Instant::now();
        drop(answer);
        call.cancelled().await;
        assert!(left.elapsed() < SECOND, "HTTP/2: {:?}", left.elapsed());
        gateway.counts("gateway_protocol_requests_total", &["protocol=\"sse\"", "outcome=\"cancelled\""], 2.0).await;
        gateway.counts("gateway_protocol_active_connections", &["protocol=\"sse\""], 0.0).await;
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_has_no_end() {
    for to_h2 in [false, true] {
        let (gateway, mut product) = gateway(to_h2, EVENTS, "").await;
        let mut client = Plain::ask(&gateway).await;
        let call = product.call().await;
        client.head().await;
        call.say("data: 1\n\n").await;
        client.hears("data: 1\n\n").await;
        call.abort().await;
        assert_eq!(client.rest().await, "");

        let mut sender = multiplexed(&gateway).await;
        let answer = tokio::spawn(sender.send_request(get()));
        let call = product.call().await;
        let mut answer = soon("a head", answer).await.unwrap().unwrap();
        call.say("data: 1\n\n").await;
        soon("an event", answer.frame()).await.unwrap().unwrap();
        call.abort().await;
        let broken = soon("the end", answer.frame()).await.unwrap().unwrap_err();
        let reset = std::error::Error::source(&broken).unwrap().downcast_ref::<h2::Error>().unwrap();
        assert!(reset.is_remote() && reset.is_reset(), "{reset:?}");
        gateway
            .counts("gateway_protocol_requests_total", &["protocol=\"sse\"", "outcome=\"upstream_error\""], 2.0)
            .await;
    }
}

#[tokio::test]
async fn a_drain_ends_streams_between_events() {
    let (gateway, mut product) = gateway(false, EVENTS, "[timeouts]\ndrain = \"3s\"").await;
    let mut silent = Plain::ask(&gateway).await;
    let silent_call = product.call().await;
    silent.head().await;
    silent_call.say("data: 1\n\n").await;
    silent.hears("data: 1\n\n").await;
    let mut inside = Plain::ask(&gateway).await;
    let inside_call = product.call().await;
    inside.head().await;
    inside_call.say("data: ha").await;
    inside.hears("data: ha").await;

    let began = Instant::now();
    let stopping = tokio::spawn(gateway.stop());
    // Until the drain is nearly over it goes on.
    silent_call.say("data: 2\n\n").await;
    silent.hears("data: 2\n\n").await;
    assert_eq!(silent.rest().await, "0\r\n\r\n", "a whole response");
    let last_call = began.elapsed();
    assert!((SECOND * 2..SECOND * 3).contains(&last_call), "{last_call:?}");
    silent_call.cancelled().await;
    inside_call.say("lf\n\ndata: the ne").await;
    assert_eq!(inside.rest().await, "4\r\nlf\n\n\r\n0\r\n\r\n", "to the end of the event and no further");
    soon("a stop", stopping).await.unwrap();
    assert!(began.elapsed() < SECOND * 4, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_long_poll_may_take_as_long_as_its_route_says() {
    let product = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let toml = format!(
        "[product.poll]\nupstreams = [\"http://{}\"]\n[route.poll]\npath = \"/live\"\nproduct = \"poll\"\n\
         [route.poll.timeouts]\nresponse = \"5s\"\n[timeouts]\nresponse = \"200ms\"\n",
        product.local_addr().unwrap()
    );
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let mut client = Plain::ask(&gateway).await;
    let (stream, _) = soon("a connection", product.accept()).await.unwrap();
    let mut upstream = Wire::over(stream);
    upstream.head(&mut Vec::new()).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn two_way_streams_of_any_kind_pass_over_http2() {
    let (gateway, mut product) =
        gateway(true, "application/connect+proto", "[route.live.timeouts]\nbody = \"200ms\"").await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::post("http://a.test/live").header("content-type", "application/connect+proto");
    let (answer, mut said) = client.send_request(request.body(()).unwrap(), false).unwrap();
    said.send_data("1".into(), false).unwrap();
    let mut call = product.call().await;
    let mut heard = soon("a head", answer).await.unwrap().into_body();
    for number in 1..4 {
        assert_eq!(call.hears().await, number.to_string());
        call.say("heard").await;
        assert_eq!(soon("an answer", heard.data()).await.unwrap().unwrap(), "heard");
        // Longer than a request may pause before it is answered.
        tokio::time::sleep(Duration::from_millis(300)).await;
        said.send_data((number + 1).to_string().into(), false).unwrap();
    }
    said.send_reset(h2::Reason::CANCEL);
    call.cancelled().await;
}

#[tokio::test]
async fn upstreams_are_told_not_to_push() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let toml = format!(
        "[product.live]\nupstreams = [\"h2c://{}\"]\n[route.live]\npath = \"/live\"\nproduct = \"live\"\n",
        listener.local_addr().unwrap()
    );
    let gateway = TestGateway::start(Setup::new(&toml)).await;
    let _client = Plain::ask(&gateway).await;
    let (stream, _) = soon("a connection", listener.accept()).await.unwrap();
    let (mut upstream, mut read) = (Wire::over(stream), Vec::new());
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
    let settings = loop {
        read.extend(upstream.some().await);
        let Some(head) = read.get(preface..preface + 9) else { continue };
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        if let Some(settings) = read.get(preface + 9..preface + 9 + length) {
            break settings.to_vec();
        }
    };
    // SETTINGS_ENABLE_PUSH (RFC 9113, section 6.5.2) is 0.
    assert!(settings.chunks(6).any(|setting| setting == [0, 2, 0, 0, 0, 0]), "{settings:?}");
}
