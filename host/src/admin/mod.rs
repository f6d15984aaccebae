//! Layer 5: the admin listener. Health, metrics and the API over what the other rooms know; it decides nothing itself.
//!
//! [`guard`] stands before everything: whom the listener answers, and who may change what.

mod api;
mod guard;
mod health;
mod jobs;
mod query;
mod view;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

pub use self::health::Health;
use self::jobs::Jobs;
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::ids;
use crate::base::names::SecretName;
use crate::base::secret::Secret;
use crate::config::plan;
use crate::config::problem::Problems;
use crate::gateway::Current;
use crate::plugin::registry::Plugins;
use crate::store::EventStore;
use crate::telemetry::registry::Metrics;
use crate::upstream::body::Outgoing;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// To send a request's head, and to stay silent between two.
const HEAD: Duration = Duration::from_secs(10);
/// What an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// After an accept that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What a reload gives back: the generation that serves now.
pub type Reloading = Pin<Box<dyn Future<Output = Result<u64, Problems>> + Send>>;

/// What the admin listener shows and changes.
pub struct Parts {
    /// Who may do what.
    pub plan: plan::Admin,
    /// The generation that serves.
    pub current: Arc<Current>,
    /// Plugins.
    pub plugins: Arc<Plugins>,
    /// Events.
    pub store: Arc<dyn EventStore>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The time of day.
    pub clock: Clock,
    /// Who is who.
    pub tokens: Arc<ArcSwap<Tokens>>,
    /// Whether the gateway is ready.
    pub health: Arc<Health>,
    /// Reads the configuration again.
    pub reload: Box<dyn Fn() -> Reloading + Send + Sync>,
}

/// The secrets that open the admin listener.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// May do everything.
    pub token: Option<Secret>,
    /// May look.
    pub read_token: Option<Secret>,
}

impl Tokens {
    /// Those that `[admin]` names.
    pub fn of(plan: &plan::Admin, secrets: &BTreeMap<SecretName, Secret>) -> Self {
        let named = |name: &Option<SecretName>| name.as_ref().and_then(|name| secrets.get(name)).cloned();
        Self { token: named(&plan.token), read_token: named(&plan.read_token) }
    }
}

/// The admin listener.
pub struct Admin {
    parts: Parts,
    jobs: Jobs,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

/// An answer that is an error: status, code, message.
#[derive(Debug)]
struct Refused(StatusCode, &'static str, String);

type Answer = Result<Response<Outgoing>, Refused>;

impl Admin {
    /// Over these parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts, jobs: Jobs::default() }
    }

    /// Serves `listener` until `drain` starts.
    pub async fn serve(self: Arc<Self>, listener: std::net::TcpListener, drain: Drain) {
        let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the admin listener does not listen"),
        };
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.wait() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let admin = self.clone();
                    tokio::spawn(async move {
                        admin.connection(stream).await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: tokio::net::TcpStream) {
        let admin = &self;
        let service = service_fn(|request| async move { Ok::<_, Infallible>(admin.answer(request).await) });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 * 1024);
        // A client that breaks off or speaks something else ends its own connection.
        let _ended = http.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let id = ids::request_id(self.parts.clock.now());
        let answered = match tokio::time::timeout(ANSWER, api::answer(self, request)).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(Refused(StatusCode::GATEWAY_TIMEOUT, "timeout", "this took too long".into())),
        };
        let mut response = answered.unwrap_or_else(|Refused(status, code, message)| {
            let body = serde_json::json!({ "error": { "code": code, "message": message, "request_id": id } });
            let mut response = api::json(&body);
            *response.status_mut() = status;
            if status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        });
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        response
    }
}
