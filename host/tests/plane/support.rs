//! A gateway in this process, upstreams that are scripted byte by byte, and clients that see every byte.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tollgate::base::clock::Clock;
use tollgate::base::drain::Drain;
use tollgate::base::names::{PluginName, ProductName, RouteName};
use tollgate::config::plan::{
    Backend, Match, PathPattern, Plan, Policy, Product, Route, Segment, Timeouts, UpstreamScheme, UpstreamUrl,
};
use tollgate::edge::{Edge, Served};
use tollgate::gateway::{Current, Gateway, build};
use tollgate::net::passed::Passed;
use tollgate::net::workers::Workers;
use tollgate::plugin::engine::Engine;
use tollgate::plugin::registry::{Observer, Plugins};
use tollgate::store::sqlite::{SqliteOptions, SqliteStore};
use tollgate::telemetry::labels::PluginReload;
use tollgate::telemetry::registry::Metrics;
use tollgate::upstream::tls;
use tollgate::webhook::ingest::Webhooks;

/// Nothing here takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Fails instead of hanging.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("takes too long")
}

pub fn name(text: &str) -> ProductName {
    ProductName::new(text).expect("a name")
}

/// One listener on a free port, an `echo` product at `/echo/{*rest}`, and nobody trusted.
pub const BASE: &str = r#"
[listener.public]
address = "127.0.0.1:0"
[trust]
proxies = []
[product.echo]
builtin = "echo"
[route.echo]
path = "/echo/{*rest}"
product = "echo"
"#;

/// The plan of [`BASE`]; the rest is added to it.
pub fn plan() -> Plan {
    tollgate::config::parse(BASE, Path::new("/tollgate.toml")).expect("a good configuration")
}

fn pattern(path: &str) -> PathPattern {
    let mut segments: Vec<_> = path[1..].split('/').map(|text| Segment::Literal(text.into())).collect();
    let rest = segments.last() == Some(&Segment::Literal("{*rest}".into()));
    if rest {
        segments.pop();
    }
    PathPattern { segments, rest }
}

pub fn with_route(mut plan: Plan, route: &str, path: &str, methods: &[Method], product: &str) -> Plan {
    let matcher =
        Match { listeners: vec![], hosts: vec![], path: pattern(path), methods: methods.to_vec(), headers: vec![] };
    let timeouts = plan.products[product].timeouts.clone();
    let served =
        Route { matcher, product: name(product), timeouts, policy: Policy::default(), plugins: vec![], webhook: None };
    plan.routes.insert(RouteName::new(route).expect("a name"), served);
    plan
}

/// Adds product `up` at `addresses`, serving every path.
pub fn with_upstream(mut plan: Plan, addresses: &[SocketAddr]) -> Plan {
    let url = |address: &SocketAddr| UpstreamUrl {
        scheme: UpstreamScheme::Http,
        host: address.ip().to_string(),
        port: address.port(),
    };
    let backend = Backend::Upstreams(addresses.iter().map(url).collect());
    // Scripted upstreams fail as often as their test likes.
    let up = Product { backend, breaker: None, ..plan.products["echo"].clone() };
    plan.products.insert(name("up"), up);
    with_route(plan, "up", "/{*rest}", &[], "up")
}

/// Changes the timeouts of product `up` and its route.
pub fn with_timeouts(mut plan: Plan, change: impl Fn(&mut Timeouts)) -> Plan {
    change(&mut plan.timeouts);
    plan.products.values_mut().for_each(|product| change(&mut product.timeouts));
    plan.routes.values_mut().for_each(|route| change(&mut route.timeouts));
    plan
}

/// Nothing listens to what becomes of plugins: there are none here.
struct Nobody;

impl Observer for Nobody {
    fn reloaded(&self, _: &PluginName, _: PluginReload) {}
}

fn built(plan: &Plan, previous: Option<&Gateway>, metrics: &Metrics, plugins: &Plugins) -> Gateway {
    let tls = tls::load(plan, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    let ground = build::Ground { metrics, workers: 2, plugins, secrets: &BTreeMap::new(), tls: &tls };
    let gateway = build::gateway(plan, previous, &ground);
    gateway.start();
    gateway
}

/// A running gateway.
pub struct TestGateway {
    pub address: SocketAddr,
    pub drain: Drain,
    pub edge: Edge,
    pub metrics: Arc<Metrics>,
    pub current: Arc<Current>,
    plugins: Arc<Plugins>,
    workers: Option<Workers>,
    _folder: tempfile::TempDir,
}

impl TestGateway {
    pub fn start(plan: &Plan) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = Arc::new(Metrics::new());
        let workers = Workers::start(NonZeroUsize::new(2).expect("not zero")).expect("starts");
        let engine = Engine::new(None).expect("an engine");
        let plugins = Plugins::new(engine, plan.plugins.clone(), Box::new(Nobody));
        let gateway = built(plan, None, &metrics, &plugins);
        let current = Arc::new(Current::new(Arc::new(gateway)));
        let store = SqliteStore::open(&folder.path().join("events.db"), SqliteOptions::default()).expect("a store");
        let served = Served {
            current: current.clone(),
            webhooks: Arc::new(Webhooks::new(store, Clock::System)),
            clock: Clock::System,
            metrics: metrics.clone(),
        };
        let drain = Drain::default();
        let edge = Edge::new(served, drain.clone(), &workers, Passed::default());
        edge.serve(plan, edge.entrances(plan).expect("no certificates"), edge.bind(plan).expect("listens"));
        let address = *edge.addresses().values().next().expect("a listener");
        Self { address, drain, edge, metrics, current, plugins, workers: Some(workers), _folder: folder }
    }

    /// Serves `plan` from now on.
    pub fn reload(&self, plan: &Plan) {
        let previous = self.current.load();
        self.current.publish(Arc::new(built(plan, Some(&previous), &self.metrics, &self.plugins)));
    }

    pub async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.expect("connects"), read: vec![] }
    }

    /// One request on a connection of its own; all that comes back.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }

    pub fn metric(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.encode()).expect("text").lines().any(|has| has == line)
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
    }
}

/// A client that writes and reads bytes.
pub struct Client {
    pub stream: TcpStream,
    pub read: Vec<u8>,
}

impl Client {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.expect("writes");
    }

    /// Up to and with `end`.
    pub async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = find(&self.read, end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return text(std::mem::replace(&mut self.read, rest));
            }
            let read = soon(self.stream.read_buf(&mut self.read)).await.expect("reads");
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Sends what the gateway may no longer want to read.
    pub async fn send_unless_closed(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        soon(self.stream.write_all(bytes.as_ref())).await
    }

    /// The first `count` bytes of what is not taken yet; `None` when the gateway closes before.
    pub async fn at_least(&mut self, count: usize) -> Option<&[u8]> {
        while self.read.len() < count {
            if soon(self.stream.read_buf(&mut self.read)).await.unwrap_or(0) == 0 {
                return None;
            }
        }
        Some(&self.read[..count])
    }

    /// So many bytes.
    pub async fn exactly(&mut self, count: usize) -> String {
        while self.read.len() < count {
            let read = soon(self.stream.read_buf(&mut self.read)).await.expect("reads");
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
        }
        let rest = self.read.split_off(count);
        text(std::mem::replace(&mut self.read, rest))
    }

    /// Sends no more.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("a socket");
    }

    /// The first line of what comes, or nothing when the gateway closes.
    pub async fn line(&mut self) -> String {
        while find(&self.read, b"\r\n").is_none() {
            if soon(self.stream.read_buf(&mut self.read)).await.unwrap_or(0) == 0 {
                return String::new();
            }
        }
        self.until("\r\n").await
    }

    /// A head, and a body of the length it says.
    pub async fn response(&mut self) -> (String, String) {
        let head = self.until("\r\n\r\n").await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        while self.read.len() < length {
            let read = soon(self.stream.read_buf(&mut self.read)).await.expect("reads");
            assert_ne!(read, 0, "closed in the middle of a body");
        }
        let rest = self.read.split_off(length);
        (head, text(std::mem::replace(&mut self.read, rest)))
    }

    /// Everything until the gateway closes, also by a reset.
    pub async fn rest(mut self) -> String {
        let _closed = soon(self.stream.read_to_end(&mut self.read)).await;
        text(self.read)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

/// A connection that an upstream got.
pub struct Inbound(pub Client);

impl Inbound {
    /// The next request: head and body of its stated length.
    pub async fn request(&mut self) -> (String, String) {
        self.0.response().await
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes).await;
    }

    pub async fn ok(&mut self, body: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    }

    /// Whether the gateway closed it.
    pub async fn closed(mut self) -> bool {
        matches!(soon(self.0.stream.read(&mut [0; 1])).await, Ok(0) | Err(_))
    }
}

/// An upstream whose connections the test answers by hand.
pub struct Upstream {
    pub address: SocketAddr,
    connections: mpsc::UnboundedReceiver<TcpStream>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let (sender, connections) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(stream).is_err() {
                    break;
                }
            }
        });
        Self { address, connections }
    }

    /// The next connection the gateway makes.
    pub async fn connection(&mut self) -> Inbound {
        let stream = soon(self.connections.recv()).await.expect("the upstream runs");
        Inbound(Client { stream, read: vec![] })
    }

    /// The next connection, if the gateway made one.
    pub fn waiting(&mut self) -> Option<Inbound> {
        let stream = self.connections.try_recv().ok()?;
        Some(Inbound(Client { stream, read: vec![] }))
    }

    /// Whether the gateway made no connection that was not asked for.
    pub fn is_untouched(&mut self) -> bool {
        self.connections.try_recv().is_err()
    }
}
