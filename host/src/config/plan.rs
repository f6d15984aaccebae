//! What is true of a configuration once it was read and checked: no text left to parse, no default left to fill in,
//! no reference that leads nowhere. A [`Plan`] is pure data; making one opens no socket and reads no secret.

mod policy;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::names::{ListenerName, PluginName, ProductName, RouteName, SecretName};
use crate::base::sizes::ByteSize;

pub use self::policy::{Cors, Origins, Policy, Rate, RateBy, Rewrite, WebsocketPolicy};
use super::problem::Source;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The file it came from, absolute.
    pub file: PathBuf,
    /// Its text and the places of its keys, for problems found after it was read.
    pub source: Source,
    /// At least one.
    pub listeners: BTreeMap<ListenerName, Listener>,
    /// `[admin]`
    pub admin: Admin,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// `[trust] proxies`
    pub trusted: Vec<IpNet>,
    /// `[timeouts]`: those of the gateway as a whole; routes carry their own, resolved.
    pub timeouts: Timeouts,
    /// `[store]`
    pub store: Store,
    /// `[plugins]` and `[plugin.NAME]`
    pub plugins: Plugins,
    /// Every secret, used or not.
    pub secrets: BTreeMap<SecretName, SecretPlan>,
    /// Every product.
    pub products: BTreeMap<ProductName, Product>,
    /// Every route.
    pub routes: BTreeMap<RouteName, Route>,
}

/// `[listener.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to listen. Port 0 takes a free one.
    pub address: SocketAddr,
    /// `[listener.NAME.tls]`
    pub tls: Option<ListenerTls>,
    /// Peers that begin each connection with a PROXY protocol header; empty when nobody does.
    pub proxies: Vec<IpNet>,
}

/// `[listener.NAME.tls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first serves whoever names no host, or one that none of them is for.
    pub certificates: Vec<CertificateFiles>,
    /// Whom client certificates must come from; without it clients are not asked for one.
    pub client_ca: Option<PemFile>,
    /// Whether a client must have one.
    pub client_auth: ClientAuth,
}

impl ListenerTls {
    /// The files it is read from: what to watch for changes.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let pairs = self.certificates.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        pairs.chain(&self.client_ca).map(|file| &file.path)
    }
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM; the certificate itself first.
    pub certificate: PemFile,
    /// PEM
    pub key: PemFile,
}

/// A PEM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// Absolute.
    pub path: PathBuf,
    /// Where in the configuration it is written, for problems found when it is read.
    pub at: super::problem::Span,
}

/// Whether clients must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// The handshake fails without one.
    Required,
    /// One that comes must be good.
    Optional,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen.
    pub address: SocketAddr,
    /// May do everything; always there when the address is not loopback.
    pub token: Option<SecretName>,
    /// May look.
    pub read_token: Option<SecretName>,
    /// Whether `/metrics` needs a token too.
    pub metrics_need_token: bool,
    /// Hosts to answer to beside IP literals and `localhost`; lower case.
    pub hosts: Vec<String>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at once.
    pub connections: usize,
    /// WebSockets at once.
    pub websockets: usize,
    /// Bytes of a request head.
    pub header_bytes: ByteSize,
    /// Fields of a request head.
    pub headers: usize,
    /// Concurrent streams of one h2 connection.
    pub h2_streams: u32,
    /// Held per direction of a stream or a WebSocket.
    pub buffer_bytes: ByteSize,
    /// Sum of the webhook bodies not yet verified.
    pub intake_bytes: ByteSize,
}

/// `[timeouts]`; `None` is `"off"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TLS handshake.
    pub handshake: Option<Duration>,
    /// First byte to end of the request head.
    pub header: Option<Duration>,
    /// Between two reads of a request body.
    pub body: Option<Duration>,
    /// Between two requests.
    pub keepalive: Option<Duration>,
    /// To connect to an upstream.
    pub connect: Option<Duration>,
    /// From the last request byte to the final response head.
    pub response: Option<Duration>,
    /// Both directions of a stream silent.
    pub idle: Option<Duration>,
    /// A whole exchange.
    pub total: Option<Duration>,
    /// What a drain may take.
    pub drain: Option<Duration>,
    /// How long before listeners close `/readyz` fails.
    pub drain_delay: Option<Duration>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// A `tracing` filter: a level or directives.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which engine, and where.
    pub url: StoreUrl,
    /// Finished deliveries are kept this long; `None` is forever.
    pub retain_delivered: Option<Duration>,
    /// Dead letters are kept this long; `None` is forever.
    pub retain_dead: Option<Duration>,
    /// The most the store may hold.
    pub max_bytes: Option<ByteSize>,
}

/// Which engine keeps the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// The embedded one; the path is absolute.
    Sqlite(PathBuf),
    /// A database that any number of gateways share.
    Postgres(Postgres),
}

/// Without what is secret.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(postgres) => {
                let hosts: Vec<_> = postgres.hosts.iter().map(PostgresHost::to_string).collect();
                write!(f, "postgres://{}@{}/{}", postgres.user, hosts.join(","), postgres.database)
            }
        }
    }
}

/// A PostgreSQL database, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// Tried in this order until one takes writes; at least one.
    pub hosts: Vec<PostgresHost>,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// The role's password; each of its values is tried.
    pub password: Option<SecretName>,
    /// How the connection is protected.
    pub tls: PostgresTls,
    /// Whose certificates are trusted; `None` is the system's list. Absolute.
    pub root_certificate: Option<PathBuf>,
    /// Certificate and key to show; absolute.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// As shown in the server's list of connections.
    pub application_name: String,
    /// To make a connection.
    pub connect_timeout: Duration,
    /// The most connections, beside one that listens.
    pub connections: usize,
}

/// Where a PostgreSQL server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresHost {
    /// A name or address, and a port.
    Tcp(String, u16),
    /// The folder of its socket, and the number at the socket's end.
    Unix(PathBuf, u16),
}

impl PostgresHost {
    /// Whether nobody but this machine sees what is sent.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(..) => true,
            Self::Tcp(host, _) => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for PostgresHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(folder, port) => write!(f, "{}:{port}", folder.display()),
        }
    }
}

/// `sslmode`, without the modes that fall back to plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// Plain text.
    Disable,
    /// Encrypted; whoever answers is taken for the server.
    Require,
    /// Encrypted, and the certificate has to be the server's.
    VerifyFull,
}

/// `[plugins]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    /// Absolute.
    pub directory: PathBuf,
    /// Folders that `tollgate dev` builds plugins from; absolute.
    pub sources: Vec<PathBuf>,
    /// What holds for a plugin with no table of its own.
    pub defaults: PluginLimits,
    /// `[plugin.NAME]`, resolved.
    pub overrides: BTreeMap<PluginName, PluginOverride>,
}

impl Plugins {
    /// The limits of the plugin called `name`.
    pub fn limits(&self, name: &PluginName) -> &PluginLimits {
        self.overrides.get(name).map_or(&self.defaults, |own| &own.limits)
    }
}

/// What a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// An instance's linear memory.
    pub memory: ByteSize,
    /// Guest CPU of one call.
    pub deadline: Duration,
    /// Calls an instance serves; 1 is a fresh one each call.
    pub reuse: u32,
    /// The last requests of each route that are kept, for a changed file to be compared by; 0 is none.
    pub compare: usize,
}

/// `[plugin.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginOverride {
    /// Its limits.
    pub limits: PluginLimits,
    /// Only a file with this digest goes live.
    pub sha256: Option<Digest>,
}

/// `[secret.NAME]`: where its values are, newest first; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPlan {
    /// Newest first.
    pub values: Vec<SecretSource>,
}

/// One value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSource {
    /// Where it is.
    pub place: SecretPlace,
    /// Not used from then on.
    pub until: Option<Timestamp>,
    /// Where in the configuration it is written, for problems found when it is read.
    pub at: super::problem::Span,
}

/// Where a secret's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// An environment variable.
    Env(String),
    /// A file, absolute.
    File(PathBuf),
}

/// `[product.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Where its requests go.
    pub backend: Backend,
    /// Which Host upstreams see.
    pub host: HostPolicy,
    /// Which upstream is picked.
    pub balance: Balance,
    /// Addresses beside public ones that its names may resolve to, for webhook delivery.
    pub allow: Vec<IpNet>,
    /// Signs deliveries (Standard Webhooks).
    pub sign: Option<SecretName>,
    /// Sockets to the upstreams; `None` is unlimited.
    pub connections: Option<usize>,
    /// WebSockets at once; `None` is unlimited.
    pub websockets: Option<usize>,
    /// How its upstreams are checked; `None` is not at all.
    pub health: Option<Health>,
    /// TLS towards its upstreams; the environment may say otherwise.
    pub tls: UpstreamTls,
    /// The share of its requests that may be sent a second time.
    pub retries: f64,
    /// When it is left alone; `None` is never.
    pub breaker: Option<Breaker>,
    /// Resolved against `[timeouts]`.
    pub timeouts: Timeouts,
    /// How webhook deliveries are paced.
    pub delivery: Delivery,
}

impl Product {
    /// Whether one of its upstreams is `https`.
    pub fn is_secure(&self) -> bool {
        match &self.backend {
            Backend::Upstreams(urls) => urls.iter().any(|url| url.scheme == UpstreamScheme::Https),
            Backend::Echo => false,
        }
    }
}

/// What the environment variables of a product's TLS begin with: its name in upper case, `-` as `_`.
pub fn environment_name(product: &ProductName) -> String {
    product.as_str().to_ascii_uppercase().replace('-', "_")
}

/// What serves a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// At least one.
    Upstreams(Vec<UpstreamUrl>),
    /// Answers with what it received.
    Echo,
}

/// `scheme://host[:port]`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamUrl {
    /// The protocol spoken.
    pub scheme: UpstreamScheme,
    /// Lower-case name, or an IP literal (IPv6 without brackets).
    pub host: String,
    /// The port, the scheme's own when none was written.
    pub port: u16,
}

impl UpstreamUrl {
    /// As it goes into a Host field: brackets round IPv6, the port unless it is the scheme's own.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether HTTP/1.1 may be spoken with it, over which protocols are switched.
    pub fn may_upgrade(&self) -> bool {
        self.scheme != UpstreamScheme::H2c
    }
}

/// As it is written in the configuration.
impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            UpstreamScheme::Http => "http",
            UpstreamScheme::Https => "https",
            UpstreamScheme::H2c => "h2c",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// How an upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamScheme {
    /// HTTP/1.1; gRPC goes h2c.
    Http,
    /// h2 by ALPN, then HTTP/1.1.
    Https,
    /// Always HTTP/2 without TLS.
    H2c,
}

impl UpstreamScheme {
    /// The port when none is written.
    pub fn port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// Which Host upstreams see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// The client's.
    Client,
    /// The upstream's own.
    Upstream,
    /// This one.
    Literal(HeaderValue),
}

/// Which upstream is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The less busy of two at random.
    P2c,
    /// One after the other.
    RoundRobin,
}

/// `health = { path, every, timeout }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Asked with GET; 2xx and 3xx are well. With a query, if one is written.
    pub path: PathAndQuery,
    /// Between two checks.
    pub every: Duration,
    /// Of one check.
    pub timeout: Duration,
}

/// `[product.NAME.tls]`; paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Roots to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, for upstreams that ask for one.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The name in the upstreams' certificates; `None` is each upstream's own.
    pub server_name: Option<String>,
}

/// `[product.NAME.breaker]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// In a row.
    pub failures: u32,
    /// How long nothing is sent then.
    pub pause: Duration,
}

/// `[product.NAME.delivery]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Attempts under way at once.
    pub concurrency: u32,
    /// Attempts a second; `None` is unlimited.
    pub rate: Option<u32>,
}

/// `[route.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What it serves.
    pub matcher: Match,
    /// The product its requests go to.
    pub product: ProductName,
    /// Resolved against the product's.
    pub timeouts: Timeouts,
    /// What it adds of its own.
    pub policy: Policy,
    /// The plugins it asks, in order.
    pub plugins: Vec<PluginUse>,
    /// There when it takes webhooks.
    pub webhook: Option<Webhook>,
}

impl Route {
    /// Every plugin that it asks.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginName> {
        let verifier = self.webhook.iter().map(|webhook| &webhook.verifier);
        verifier.chain(self.plugins.iter().map(|plugin| &plugin.plugin))
    }

    /// Every product that its requests may go to.
    pub fn products(&self) -> impl Iterator<Item = &ProductName> {
        let candidates = self.plugins.iter().flat_map(|plugin| &plugin.candidates);
        std::iter::once(&self.product).chain(candidates.map(|candidate| &candidate.product))
    }
}

/// `[[route.NAME.plugin]]`
#[derive(Clone, Debug, PartialEq)]
pub struct PluginUse {
    /// Which.
    pub plugin: PluginName,
    /// The plugin's role → the secret.
    pub secrets: BTreeMap<String, SecretName>,
    /// The plugin's settings.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// What a router may choose among; empty for a propagator.
    pub candidates: Vec<Candidate>,
}

/// A product that a router may choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Which.
    pub product: ProductName,
    /// The route's, resolved against this product's.
    pub timeouts: Timeouts,
}

/// Which requests a route serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Empty is all.
    pub listeners: Vec<ListenerName>,
    /// Empty is any.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Empty is all (a webhook route: POST and what its plugin adds).
    pub methods: Vec<Method>,
    /// All must hold.
    pub headers: Vec<(HeaderName, HeaderPredicate)>,
}

/// Which hosts; names are lower case, without a port or a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// This one.
    Exact(String),
    /// `*.` and this: exactly one label before it.
    Wildcard(String),
}

/// As it is written in the configuration.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// A path pattern in normal form, split at its slashes. `/a/{b}/` is `[a, {b}, ""]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern {
    /// The segments after the first slash.
    pub segments: Vec<Segment>,
    /// Whether `{*rest}` (zero or more segments) follows them.
    pub rest: bool,
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// These bytes.
    Literal(String),
    /// Any one segment that is not empty; the name is for people.
    Any(String),
}

/// As it is written in the configuration.
impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Any(name) => write!(f, "/{{{name}}}")?,
            }
        }
        if self.rest { f.write_str("/{*rest}") } else { Ok(()) }
    }
}

/// What a header must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPredicate {
    /// There, or not there.
    Present(bool),
    /// One of its values is exactly this.
    Equals(HeaderValue),
}

/// `[route.NAME.webhook]`
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// The plugin that verifies.
    pub verifier: PluginName,
    /// The plugin's role → the secret.
    pub secrets: BTreeMap<String, SecretName>,
    /// The plugin's settings.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// Whether the sender waits for the product.
    pub mode: Mode,
    /// The most a body may have.
    pub max_body: ByteSize,
    /// How far a signed timestamp may be off.
    pub tolerance: Tolerance,
    /// How long a duplicate is known; `None` is off.
    pub duplicates: Option<Duration>,
    /// Where deliveries go instead of the request's own path and query.
    pub deliver_path: Option<String>,
    /// What keeps events in line; `None` is nothing.
    pub order_by: Option<OrderBy>,
    /// The gateway's own 2xx, unless the plugin says otherwise.
    pub answer: Option<FixedAnswer>,
    /// What a refused signature answers.
    pub refuse_status: StatusCode,
    /// How long refused requests are kept to be looked at; `None` is not at all.
    pub reject_log: Option<Duration>,
    /// How deliveries are retried.
    pub retry: Arc<Retry>,
}

/// `mode` of a webhook route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Kept, acknowledged, delivered behind the sender's back.
    Durable,
    /// Forwarded while the sender waits.
    Sync,
}

/// `order_by`: events of one route with the same key reach a product in the order they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderBy {
    /// The key that the verifier returns.
    Plugin,
    /// The first value of this field.
    Header(HeaderName),
    /// What is at this JSON Pointer (RFC 6901) in the body.
    Pointer(String),
}

/// How far a signed timestamp may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// Not checked.
    Off,
    /// Checked where the scheme signs a timestamp.
    Default(Duration),
    /// Written by the route: a request without a signed timestamp is refused as stale.
    Required(Duration),
}

/// `answer = { status, content_type, body }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAnswer {
    /// 2xx.
    pub status: StatusCode,
    /// With a body.
    pub content_type: Option<HeaderValue>,
    /// As written; `None` is the gateway's own JSON.
    pub body: Option<String>,
}

/// `[route.NAME.webhook.retry]`
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Entry i is the delay after failed attempt i.
    pub schedule: Vec<Duration>,
    /// × uniform(1, 1 + jitter).
    pub jitter: f64,
    /// Of one attempt.
    pub timeout: Duration,
    /// The most a Retry-After may ask for.
    pub retry_after_max: Duration,
    /// Attempts for a 4xx that will not change.
    pub rejected_tries: u32,
}
