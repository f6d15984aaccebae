//! Events as they leave one gateway and come into another: one JSON object each, what `GET /api/events/{id}?body=true`
//! shows. What is redacted is not in it, so an event that is verified by a shared token does not verify again elsewhere.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refused::Refused;
use super::view;
use crate::base::clock::Timestamp;
use crate::base::ids::EventId;
use crate::base::names::{PluginName, ProductName, RouteName};
use crate::base::payload::{MEMORY_MAX, Payload, SpillFile};
use crate::store::{Attempt, DeliveryState, EventDetail, EventStore, Head, NewEvent, Restored};

/// The largest body that is shown inside JSON; larger ones move with `tollgate store export`.
pub(super) const BODY_MAX: u64 = 32 << 20;
/// The most the body of one import may have.
pub(super) const IMPORT_MAX: usize = 64 << 20;
/// Events in one import.
const EVENTS_MAX: usize = 1000;

/// `POST /api/events/import`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    events: Vec<Line>,
}

/// One event, as it is exported. What is only for people is passed over.
#[derive(Deserialize)]
struct Line {
    id: String,
    route: String,
    provider: String,
    kind: Option<String>,
    identity: Option<String>,
    order_key: Option<String>,
    received: String,
    request_id: String,
    traceparent: Option<String>,
    request: Request,
    #[serde(default)]
    redacted: Vec<String>,
    body_base64: String,
    deliveries: Vec<Delivery>,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    scheme: String,
    authority: String,
    target: String,
    path: String,
    /// Name, text, and where it is no text its bytes.
    headers: Vec<Vec<Option<String>>>,
    client: String,
}

#[derive(Deserialize)]
struct Delivery {
    product: String,
    state: String,
    due: Option<String>,
    attempts: u32,
    replays: u32,
    reason: Option<String>,
    changed: String,
    #[serde(default)]
    history: Vec<Tried>,
}

#[derive(Deserialize)]
struct Tried {
    number: u32,
    at: String,
    ms: u64,
    status: Option<u16>,
    error: Option<String>,
    answer: Option<String>,
    answer_base64: Option<String>,
}

/// One event with its body.
pub(super) async fn whole(detail: &EventDetail, store: &dyn EventStore) -> Result<Value, Refused> {
    if detail.event.size > BODY_MAX {
        let message = format!("its body of {} bytes is more than fits into JSON ({BODY_MAX})", detail.event.size);
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
    }
    let body = store.body(detail.event.id).await?.ok_or_else(|| Refused::unknown("no such event"))?;
    let mut shown = view::detail(detail);
    shown["body_base64"] = blocking(move || Ok(STANDARD.encode(body.read(0, BODY_MAX as usize)?))).await?.into();
    Ok(shown)
}

/// Keeps what is not here yet; says how many were and were not.
pub(super) async fn import(body: Bytes, store: &dyn EventStore, now: Timestamp) -> Result<Value, Refused> {
    let directory = store.spill_directory().to_owned();
    let read = blocking(move || Ok(read(&body, &directory))).await??;
    // Asked for one after the other, so that they are in line as they came; on disk together.
    let restoring: Vec<_> = read.into_iter().map(|(event, deliveries)| store.restore(now, event, deliveries)).collect();
    let restored = futures_util::future::try_join_all(restoring).await?;
    let imported = restored.iter().filter(|new| **new).count();
    Ok(json!({ "imported": imported, "known": restored.len() - imported }))
}

/// Every event, or what is wrong with the first that is not one.
fn read(body: &[u8], directory: &Path) -> Result<Vec<(NewEvent, Vec<Restored>)>, Refused> {
    let refused = |message: String| Refused::new(StatusCode::BAD_REQUEST, "json", message);
    let import: Import = serde_json::from_slice(body).map_err(|error| refused(error.to_string()))?;
    if import.events.len() > EVENTS_MAX {
        return Err(refused(format!("expected at most {EVENTS_MAX} events")));
    }
    let lines = import.events.into_iter().enumerate();
    lines.map(|(at, line)| line.read(directory).map_err(|what| refused(format!("events[{at}]: {what}")))).collect()
}

impl Line {
    fn read(self, directory: &Path) -> Result<(NewEvent, Vec<Restored>), String> {
        let redacted = self.redacted;
        let body = STANDARD.decode(&self.body_base64).map_err(|_| "body_base64: expected base64")?;
        let event = NewEvent {
            id: EventId::parse(&self.id).ok_or("id: expected evt_ and 32 hex digits")?,
            route: RouteName::new(&self.route).ok_or("route: expected a name")?,
            verifier: PluginName::new(&self.provider).ok_or("provider: expected a name")?,
            received: time("received", &self.received)?,
            request_id: self.request_id,
            traceparent: self.traceparent,
            head: self.request.head(&redacted)?,
            body: payload(body, directory)?,
            identity: self.identity,
            kind: self.kind,
            order_key: self.order_key,
            duplicate: None,
            products: Vec::new(),
            redacted,
        };
        if self.deliveries.is_empty() {
            return Err("deliveries: expected at least one".into());
        }
        let deliveries = self.deliveries.into_iter().map(Delivery::read).collect::<Result<_, _>>()?;
        Ok((event, deliveries))
    }
}

impl Request {
    fn head(self, redacted: &[String]) -> Result<Head, String> {
        let mut headers = Vec::with_capacity(self.headers.len());
        for field in self.headers {
            let value = match field.as_slice() {
                [Some(_), Some(text)] | [Some(_), Some(text), None] => text.clone().into_bytes(),
                [Some(_), None, Some(base64)] => STANDARD.decode(base64).map_err(|_| "headers: expected base64")?,
                _ => return Err("headers: expected [name, text] or [name, null, base64]".into()),
            };
            let name = field.into_iter().next().flatten().unwrap_or_default();
            // What stands there is not its value.
            if !redacted.contains(&name) {
                headers.push((name, value.into()));
            }
        }
        let Self { method, scheme, authority, target, path, client, .. } = self;
        Ok(Head { method, scheme, authority, target, path, headers, client })
    }
}

impl Delivery {
    fn read(self) -> Result<Restored, String> {
        Ok(Restored {
            product: ProductName::new(&self.product).ok_or("product: expected a name")?,
            state: DeliveryState::parse(&self.state).ok_or("state: expected one of a delivery's states")?,
            due: self.due.map(|due| time("due", &due)).transpose()?,
            attempts: self.attempts,
            replays: self.replays,
            reason: self.reason,
            changed: time("changed", &self.changed)?,
            history: self.history.into_iter().map(Tried::read).collect::<Result<_, _>>()?,
        })
    }
}

impl Tried {
    fn read(self) -> Result<Attempt, String> {
        let answer = match (self.answer, self.answer_base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(base64)) => STANDARD.decode(base64).map_err(|_| "answer_base64: expected base64")?,
            (None, None) => Vec::new(),
        };
        Ok(Attempt {
            number: self.number,
            at: time("at", &self.at)?,
            took: Duration::from_millis(self.ms),
            status: self.status,
            error: self.error,
            answer: answer.into(),
        })
    }
}

fn time(name: &str, text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| format!("{name}: expected RFC 3339"))
}

/// Large bodies are files, as they are when they come from a provider.
fn payload(body: Vec<u8>, directory: &Path) -> Result<Payload, String> {
    if body.len() <= MEMORY_MAX {
        return Ok(Payload::Memory(body.into()));
    }
    let spill = || {
        let mut file = tempfile::Builder::new().prefix("import-").tempfile_in(PathBuf::from(directory))?;
        file.write_all(&body)?;
        let (file, path) = file.keep().map_err(|kept| kept.error)?;
        Ok(Payload::File(Arc::new(SpillFile::temporary(file, path, body.len() as u64))))
    };
    spill().map_err(|error: std::io::Error| format!("its body cannot be kept: {error}"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Refused> {
    let failed = |why: String| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "store", why);
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(error.to_string())),
        Err(ended) => Err(failed(ended.to_string())),
    }
}
