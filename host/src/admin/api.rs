//! Answering: the guard, then what the endpoint means.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Collected, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::endpoint::{Endpoint, INDEX};
use super::guard::{self, Role};
use super::jobs::Action;
use super::query::{self, Again, Bulk};
use super::refused::{Answer, Refused, json, text};
use super::{Admin, transfer, view};
use crate::base::ids::{self, EventId};
use crate::store::Filter;
use crate::telemetry::registry;
use crate::upstream::body::Outgoing;
use crate::webhook::again;

/// What an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// The most a request's body may have.
const BODY_MAX: usize = 64 * 1024;
/// Deliveries of one event.
const DELIVERIES_MAX: u32 = 500;

/// The body of a change that needs nothing said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Admin {
    /// Answers one request, whatever it is.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Outgoing> {
        let id = ids::request_id(self.parts.clock.now());
        let answered = match tokio::time::timeout(ANSWER, self.decide(request, &id)).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(Refused::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "this took too long")),
        };
        let mut response = answered.unwrap_or_else(|refused| refused.response(&id));
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        if let Ok(id) = HeaderValue::try_from(id) {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        response
    }

    async fn decide(&self, request: Request<Incoming>, request_id: &str) -> Answer {
        let (head, body) = request.into_parts();
        let access = self.parts.access.load_full();
        access.check_host(&head)?;
        guard::check_change(&head)?;
        let role = access.role(&head, self.parts.clock.now());
        let Some(endpoint) = Endpoint::find(head.uri.path()) else {
            role.allow(Role::Reader)?;
            return Err(Refused::unknown("there is nothing here; `GET /` lists what there is"));
        };
        let needed = endpoint.needs(access.metrics_need_token);
        role.allow(needed)?;
        endpoint.check_method(&head.method)?;
        if needed != Role::Operator {
            return self.read(endpoint, head.uri.query()).await;
        }
        let changed = self.change(endpoint, body).await;
        let status = changed.as_ref().map_or_else(|refused| refused.status, Response::status).as_u16();
        let path = head.uri.path();
        tracing::info!(request_id, path, status, role = role.as_str(), "change through the admin listener");
        changed
    }

    async fn read(&self, endpoint: Endpoint<'_>, query: Option<&str>) -> Answer {
        let parts = &self.parts;
        Ok(match endpoint {
            Endpoint::Index => text(INDEX, "text/plain; charset=utf-8"),
            Endpoint::Live => json(&json!({ "status": "alive" })),
            Endpoint::Ready => self.ready(),
            Endpoint::Metrics => text(self.scrape.text(parts).await, registry::CONTENT_TYPE),
            Endpoint::Events => self.list(query).await?,
            Endpoint::Event(id) => self.show(query::event(id)?, query::with_body(query)?).await?,
            Endpoint::Body(id) => self.download(query::event(id)?).await?,
            Endpoint::Job(id) => {
                let job = id.parse().ok().and_then(|id| self.jobs.show(id));
                json(&job.ok_or_else(|| Refused::unknown("no such job, or it is forgotten"))?)
            }
            Endpoint::Routes => json(&view::routes(&parts.current.load())),
            Endpoint::Products => json(&view::products(&parts.current.load())),
            Endpoint::Plugins => json(&view::plugins(&parts.plugins.status(), &parts.current.load())),
            Endpoint::Config => json(&view::config(&parts.current.load(), &parts.file)),
            Endpoint::Reload | Endpoint::Import | Endpoint::Bulk(_) | Endpoint::One(..) => {
                return Err(Refused::method("POST"));
            }
        })
    }

    async fn change(&self, endpoint: Endpoint<'_>, body: Incoming) -> Answer {
        if let Endpoint::Import = endpoint {
            return self.import(body).await;
        }
        let body = received(body, BODY_MAX).await?;
        match endpoint {
            Endpoint::Reload => {
                let Nothing {} = parsed(&body)?;
                match (self.parts.reload)().await {
                    Ok(generation) => Ok(json(&json!({ "generation": generation }))),
                    Err(problems) => Err(Refused::problems(problems)),
                }
            }
            Endpoint::Bulk(action) => self.bulk(action, parsed(&body)?),
            Endpoint::One(Action::Replay, id) => {
                let Again { verify } = parsed(&body)?;
                self.one(Action::Replay, query::event(id)?, verify).await
            }
            Endpoint::One(Action::Drop, id) => {
                let Nothing {} = parsed(&body)?;
                self.one(Action::Drop, query::event(id)?, false).await
            }
            Endpoint::Index
            | Endpoint::Live
            | Endpoint::Ready
            | Endpoint::Metrics
            | Endpoint::Events
            | Endpoint::Event(_)
            | Endpoint::Body(_)
            | Endpoint::Job(_)
            | Endpoint::Routes
            | Endpoint::Products
            | Endpoint::Plugins
            | Endpoint::Import
            | Endpoint::Config => Err(Refused::method("GET, HEAD")),
        }
    }

    fn ready(&self) -> Response<Outgoing> {
        let (ready, word) = self.parts.health.state();
        let mut response = json(&json!({ "status": word }));
        if !ready {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }

    async fn list(&self, query: Option<&str>) -> Answer {
        let listing = query::listing(query)?;
        let page = self.parts.store.list(&listing.filter, listing.cursor.as_deref(), listing.limit).await?;
        Ok(json(&view::page(&page)))
    }

    async fn show(&self, id: EventId, with_body: bool) -> Answer {
        let store = &*self.parts.store;
        let detail = store.show(id).await?.ok_or_else(|| Refused::unknown("no such event"))?;
        Ok(json(&if with_body { transfer::whole(&detail, store).await? } else { view::detail(&detail) }))
    }

    async fn import(&self, body: Incoming) -> Answer {
        let Ok(_alone) = self.importing.try_lock() else {
            let message = "another import is under way: wait for it to end";
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "jobs", message));
        };
        let body = received(body, transfer::IMPORT_MAX).await?;
        let parts = &self.parts;
        Ok(json(&transfer::import(body, &*parts.store, parts.clock.now()).await?))
    }

    async fn download(&self, id: EventId) -> Answer {
        let payload = self.parts.store.body(id).await?.ok_or_else(|| Refused::unknown("no such event"))?;
        let mut response = Response::new(Outgoing::payload(&payload));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(header::CONTENT_LENGTH, payload.length().into());
        if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"{id}\"")) {
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }

    async fn one(&self, action: Action, id: EventId, verify: bool) -> Answer {
        let store = &*self.parts.store;
        if store.show(id).await?.is_none() {
            return Err(Refused::unknown("no such event"));
        }
        if verify && let Err(why) = again::verifies(&self.parts.current.load(), store, id).await? {
            return Err(Refused::new(StatusCode::CONFLICT, "verify", format!("not replayed: {why}")));
        }
        let filter = Filter { event: Some(id), ..Filter::default() };
        let changed = action.change(store, &self.parts.clock, &filter, DELIVERIES_MAX).await?;
        let (key, refused) = match action {
            Action::Replay => ("replayed", "none of its deliveries has ended: due and leased ones are on their way"),
            Action::Drop => ("dropped", "none of its deliveries can be dropped: each is delivered, dropped or leased"),
        };
        match changed {
            0 => Err(Refused::new(StatusCode::CONFLICT, "state", refused)),
            changed => Ok(json(&json!({ key: changed }))),
        }
    }

    fn bulk(&self, action: Action, bulk: Bulk) -> Answer {
        let filter = bulk.filter.filter()?;
        if filter == Filter::default() {
            return Err(Refused::parameter("filter: expected at least one key, because everything is rarely meant"));
        }
        if bulk.verify && action != Action::Replay {
            return Err(Refused::parameter("verify: only what is replayed is verified"));
        }
        let verify = bulk.verify.then(|| self.parts.current.clone());
        let (store, clock) = (self.parts.store.clone(), self.parts.clock.clone());
        let Some(job) = self.jobs.start(action, filter, bulk.pace, verify, store, clock) else {
            let message = "enough jobs are running: wait for one to end";
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "jobs", message));
        };
        let mut response = json(&json!({ "job": job.to_string() }));
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }
}

/// Nothing at all is read as `{}`.
fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "json", error.to_string()))
}

async fn received(body: Incoming, most: usize) -> Result<Bytes, Refused> {
    match Limited::new(body, most).collect().await.map(Collected::to_bytes) {
        Ok(body) => Ok(body),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("expected a body of at most {most} bytes");
            Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
        }
        Err(_cut) => Err(Refused::new(StatusCode::BAD_REQUEST, "incomplete", "the body was cut short")),
    }
}
