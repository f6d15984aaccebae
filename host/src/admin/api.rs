//! What is where.

use bytes::Bytes;
use http::request::Parts as Head;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::{self, Role};
use super::jobs::Action;
use super::query::{self, Bulk};
use super::{Admin, Answer, Refused, view};
use crate::base::ids::EventId;
use crate::plugin::component::WIT;
use crate::store::{DeliveryState, Filter, StoreError};
use crate::telemetry::registry;
use crate::upstream::body::Outgoing;

/// The most a request's body may have.
const BODY_MAX: usize = 64 * 1024;
/// Deliveries of one event.
const DELIVERIES_MAX: u32 = 500;

const INDEX: &str = "tollgate\n\n/metrics\n/livez\n/readyz\n/api/events\n/api/events/{id}\n/api/events/{id}/body\n\
/api/routes\n/api/products\n/api/plugins\n/api/config\n/api/jobs/{id}\n";

/// Answers one request.
pub(super) async fn answer(admin: &Admin, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    guard::host(&head, &admin.parts.plan)?;
    guard::change(&head)?;
    let role = guard::role(&head, &admin.parts.tokens.load(), admin.parts.clock.now());
    let path = head.uri.path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let reading = head.method == Method::GET || head.method == Method::HEAD;
    match (reading, segments.as_slice()) {
        (true, ["livez"]) => Ok(json(&json!({ "status": "alive" }))),
        (true, ["readyz"]) => Ok(ready(admin)),
        (true, ["metrics"]) => {
            let open = !admin.parts.plan.metrics_need_token;
            guard::allow(role, if open { Role::Nobody } else { Role::Reader })?;
            metrics(admin).await
        }
        (true, rest) => {
            guard::allow(role, Role::Reader)?;
            read(admin, &head, rest).await
        }
        (false, rest) => {
            guard::allow(role, Role::Operator)?;
            if head.method != Method::POST {
                return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "method", "expected GET or POST".into()));
            }
            let body = received(body).await?;
            let said = change(admin, rest, &body).await;
            let status = said.as_ref().map_or_else(|refused| refused.0, Response::status);
            tracing::info!(path, status = status.as_u16(), "admin change");
            said
        }
    }
}

async fn read(admin: &Admin, head: &Head, segments: &[&str]) -> Answer {
    let gateway = admin.parts.current.load();
    match segments {
        [""] => Ok(text(INDEX.into(), "text/plain; charset=utf-8")),
        ["api", "events"] => list(admin, head.uri.query()).await,
        ["api", "events", id] => show(admin, query::event(id)?).await,
        ["api", "events", id, "body"] => download(admin, query::event(id)?).await,
        ["api", "jobs", id] => {
            let job = id.parse().ok().and_then(|id| admin.jobs.show(id));
            job.map(|job| json(&job)).ok_or_else(|| unknown("no such job"))
        }
        ["api", "routes"] => Ok(json(&json!({ "routes": gateway.routes.iter().map(view::route).collect::<Vec<_>>() }))),
        ["api", "products"] => {
            let products: Vec<Value> = gateway.products.values().map(|product| view::product(product)).collect();
            Ok(json(&json!({ "products": products })))
        }
        ["api", "plugins"] => {
            let plugins: Vec<Value> = admin.parts.plugins.status().iter().map(view::plugin).collect();
            Ok(json(&json!({ "plugins": plugins })))
        }
        ["api", "config"] => Ok(json(&view::config(&gateway))),
        _ => Err(unknown("there is nothing here; `/` lists what there is")),
    }
}

async fn change(admin: &Admin, segments: &[&str], body: &[u8]) -> Answer {
    match segments {
        ["api", "reload"] => match (admin.parts.reload)().await {
            Ok(generation) => Ok(json(&json!({ "generation": generation }))),
            Err(problems) => Err(Refused(StatusCode::UNPROCESSABLE_ENTITY, "configuration", problems.to_string())),
        },
        ["api", "events", "replay"] => bulk(admin, Action::Replay, body),
        ["api", "events", "drop"] => bulk(admin, Action::Drop, body),
        ["api", "events", id, "replay"] => one(admin, Action::Replay, query::event(id)?).await,
        ["api", "events", id, "drop"] => one(admin, Action::Drop, query::event(id)?).await,
        _ => Err(unknown("there is nothing to change here")),
    }
}

fn ready(admin: &Admin) -> Response<Outgoing> {
    let (ready, word) = admin.parts.health.state();
    let mut response = json(&json!({ "status": word }));
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn metrics(admin: &Admin) -> Answer {
    let (metrics, parts) = (&admin.parts.metrics, &admin.parts);
    match parts.store.stats().await {
        Ok(stats) => {
            for (state, count) in DeliveryState::ALL.iter().zip(stats.states) {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                metrics.webhook_queue_depth.with_label_values(&[state.as_str()]).set(count);
                if *state == DeliveryState::Dead {
                    metrics.webhook_dead_letters.set(count);
                }
            }
            let age = stats.oldest_due.map_or(0, |due| parts.clock.now().since(due).as_secs());
            metrics.webhook_oldest_due_age.set(i64::try_from(age).unwrap_or(i64::MAX));
        }
        // What else there is to see may say why.
        Err(error) => tracing::error!(%error, "the store's figures are not to be had"),
    }
    metrics.plugin_info.reset();
    for status in parts.plugins.status() {
        if let Some(plugin) = &status.live {
            let digest = plugin.digest.to_string();
            metrics.plugin_info.with_label_values(&[status.name.as_str(), &digest, WIT]).set(1);
        }
    }
    Ok(text(metrics.encode().into(), registry::CONTENT_TYPE))
}

async fn list(admin: &Admin, query: Option<&str>) -> Answer {
    let listing = query::listing(query)?;
    let page = admin.parts.store.list(&listing.filter, listing.cursor.as_deref(), listing.limit).await;
    let page = page.map_err(failed)?;
    Ok(json(&json!({ "events": page.rows.iter().map(view::row).collect::<Vec<_>>(), "next": page.next })))
}

async fn show(admin: &Admin, id: EventId) -> Answer {
    let detail = admin.parts.store.show(id).await.map_err(failed)?;
    detail.map(|detail| json(&view::detail(&detail))).ok_or_else(|| unknown("no such event"))
}

async fn download(admin: &Admin, id: EventId) -> Answer {
    let payload = admin.parts.store.body(id).await.map_err(failed)?.ok_or_else(|| unknown("no such event"))?;
    let mut response = Response::new(Outgoing::payload(&payload));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"{id}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

async fn one(admin: &Admin, action: Action, id: EventId) -> Answer {
    let (store, now) = (&admin.parts.store, admin.parts.clock.now());
    if store.show(id).await.map_err(failed)?.is_none() {
        return Err(unknown("no such event"));
    }
    let filter = Filter { event: Some(id), ..Filter::default() };
    let (changed, key, refused) = match action {
        Action::Replay => {
            let why = "none of its deliveries has ended: due and leased ones are on their way";
            (store.replay(now, &filter, DELIVERIES_MAX).await, "replayed", why)
        }
        Action::Drop => {
            let why = "none of its deliveries can be dropped: they are delivered, dropped or being attempted";
            (store.drop_deliveries(now, &filter, DELIVERIES_MAX).await, "dropped", why)
        }
    };
    match changed.map_err(failed)? {
        0 => Err(Refused(StatusCode::CONFLICT, "state", refused.into())),
        changed => Ok(json(&json!({ key: changed }))),
    }
}

fn bulk(admin: &Admin, action: Action, body: &[u8]) -> Answer {
    let Bulk { filter, pace } = parsed(body)?;
    let filter = filter.filter()?;
    if filter == Filter::default() {
        let message = "expected a filter with at least one key: everything is rarely meant";
        return Err(Refused(StatusCode::BAD_REQUEST, "parameter", message.into()));
    }
    let (store, clock) = (admin.parts.store.clone(), admin.parts.clock.clone());
    match admin.jobs.start(action, filter, pace, store, clock) {
        Some(job) => {
            let mut response = json(&json!({ "job": job.to_string() }));
            *response.status_mut() = StatusCode::ACCEPTED;
            Ok(response)
        }
        None => Err(Refused(StatusCode::TOO_MANY_REQUESTS, "jobs", "enough jobs are running: wait for one".into())),
    }
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused(StatusCode::BAD_REQUEST, "json", error.to_string()))
}

async fn received(body: Incoming) -> Result<Bytes, Refused> {
    let collected = Limited::new(body, BODY_MAX).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|_| {
        Refused(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("expected a body of at most {BODY_MAX} bytes"))
    })
}

fn failed(error: StoreError) -> Refused {
    let status = match error {
        StoreError::Cursor => StatusCode::BAD_REQUEST,
        StoreError::Failed(_)
        | StoreError::Corrupt(_)
        | StoreError::Locked(_)
        | StoreError::Full
        | StoreError::Busy => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refused(status, "store", error.to_string())
}

fn unknown(message: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, "not_found", message.into())
}

/// A JSON answer.
pub(super) fn json(value: &Value) -> Response<Outgoing> {
    text(value.to_string().into(), "application/json")
}

fn text(body: Bytes, media: &'static str) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
