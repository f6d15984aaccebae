//! Taking webhooks in: receive, verify, judge freshness, and have the store keep it; the sender hears 2xx only after that
//! is on disk. In sync mode the product answers instead (`forward`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;
use serde_json::json;

use super::body::{self, Held};
use super::{order, redact};
use crate::base::clock::{Clock, Timestamp};
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::payload::Payload;
use crate::config::plan::Mode;
use crate::exchange::Exchange;
use crate::exchange::body::{Body, Upload, check_declared};
use crate::exchange::error::RequestError;
use crate::exchange::silence::Silence;
use crate::gateway::intake::Intake;
use crate::plugin::request::{Protocol, RequestView};
use crate::plugin::verdict::{Reply, Verdict, Verified};
use crate::store::{Accepted, EventStore, Head, NewEvent, StoreError};
use crate::telemetry::labels::WebhookOutcome;

/// When to come back after the store was full or failing.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What taking webhooks in needs.
#[derive(Debug)]
pub struct Webhooks {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Clock,
    held: Held,
}

/// What became of a request, and what is answered.
pub(super) type Taken = (WebhookOutcome, Response<Body>);

impl Webhooks {
    /// Keeps events in `store`.
    pub fn new(store: Arc<dyn EventStore>, clock: Clock) -> Self {
        Self { store, clock, held: Held::default() }
    }

    /// Takes one request in.
    pub async fn receive(
        &self,
        exchange: &Exchange,
        intake: &Intake,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, RequestError> {
        match self.take(exchange, intake, request).await {
            Ok((outcome, response)) => {
                intake.count(outcome);
                Ok(response)
            }
            Err(error) => {
                intake.count(outcome_of(&error));
                Err(error)
            }
        }
    }

    async fn take(
        &self,
        exchange: &Exchange,
        intake: &Intake,
        request: Request<Incoming>,
    ) -> Result<Taken, RequestError> {
        let (head, incoming) = request.into_parts();
        let mut share = self.held.share(exchange.gateway.limits.intake_bytes.0);
        let body = self.body(exchange, intake, &head.headers, incoming, &mut share).await?;
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let now = self.clock.now();
        let arrived = Arrived { exchange, intake, head: &head, target, now };
        let called = intake.verifier.verify(Arc::new(arrived.view()), body.clone(), now).await;
        drop(share);
        intake.called(&called);
        match called.result {
            Ok(Verdict::Accept(verified)) if verified.is_fresh(now, intake.plan.tolerance) => match intake.plan.mode {
                Mode::Durable => self.keep(&arrived, body, verified).await,
                Mode::Sync => self.forward(&arrived, body, verified).await,
            },
            Ok(Verdict::Accept(_)) => {
                arrived.note(WebhookOutcome::Stale, "stale", None);
                Err(RequestError::Stale { status: intake.plan.refuse_status })
            }
            Ok(Verdict::Refuse(refusal)) => {
                arrived.note(WebhookOutcome::Signature, &refusal.code, refusal.detail.as_deref());
                Err(RequestError::Signature { status: intake.plan.refuse_status })
            }
            Ok(Verdict::Respond(reply)) => {
                arrived.note(WebhookOutcome::Handshake, "handshake", None);
                Ok((WebhookOutcome::Handshake, replied(reply)))
            }
            Err(fault) => {
                let plugin = intake.verifier.name();
                tracing::error!(request_id = %exchange.id, route = %intake.route, %plugin, reason = %fault.reason(), "plugin fault: {fault}");
                Err(RequestError::PluginFault)
            }
        }
    }

    async fn body(
        &self,
        exchange: &Exchange,
        intake: &Intake,
        headers: &HeaderMap,
        incoming: Incoming,
        share: &mut body::Share,
    ) -> Result<Payload, RequestError> {
        let limit = Some(intake.plan.max_body.0);
        let incoming = check_declared(headers, incoming, limit).await?;
        let mut upload = Upload::new(incoming, limit, Silence::new(exchange.route.timeouts.body, exchange.deadline));
        body::receive(&mut upload, share, self.store.spill_directory()).await
    }

    async fn keep(&self, arrived: &Arrived<'_>, body: Payload, verified: Verified) -> Result<Taken, RequestError> {
        let Arrived { exchange, intake, head, now, .. } = *arrived;
        let event = NewEvent {
            id: EventId::new(now),
            route: intake.route.clone(),
            verifier: intake.verifier.name().clone(),
            received: now,
            request_id: exchange.id.as_str().to_owned(),
            traceparent: exchange.trace.field().to_str().ok().map(str::to_owned),
            redacted: arrived.redacted(),
            head: arrived.kept_head(),
            order_key: order::key(intake.plan.order_by.as_ref(), &head.headers, &body, &verified).await,
            duplicate: arrived.duplicate_key(&verified),
            body,
            identity: verified.identity,
            kind: verified.kind,
            products: vec![intake.product.name.clone()],
        };
        let (kind, size) = (event.kind.clone(), event.body.length());
        let accepted = self.store.accept(now, event).await.map_err(|error| not_kept(exchange, intake, &error))?;
        let (outcome, id, status) = match accepted {
            Accepted::New(id) => (WebhookOutcome::Accepted, id, "accepted"),
            Accepted::Duplicate(id) => (WebhookOutcome::Duplicate, id, "duplicate"),
        };
        tracing::info!(request_id = %exchange.id, event = %id, route = %intake.route, product = %intake.product.name, kind, size, "{status}");
        Ok((outcome, acknowledged(intake, verified.acknowledge, StatusCode::ACCEPTED, id, status)))
    }
}

/// A request whose body is here.
#[derive(Clone, Copy)]
pub(super) struct Arrived<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) intake: &'a Intake,
    pub(super) head: &'a request::Parts,
    /// Path and query as received.
    pub(super) target: &'a str,
    pub(super) now: Timestamp,
}

impl Arrived<'_> {
    /// The key by which a copy is known, and until when.
    pub(super) fn duplicate_key(&self, verified: &Verified) -> Option<(Digest, Timestamp)> {
        let (sameness, window) = (verified.sameness.as_ref()?, self.intake.plan.duplicates?);
        Some((sameness.key(self.intake.route.as_str()), self.now.after(window)))
    }

    /// What of it may be neither shown nor passed on.
    pub(super) fn redacted(&self) -> Vec<String> {
        let query = self.target.split_once('?').map(|(_, query)| query);
        redact::names(&self.head.headers, query, self.intake.verifier.roles(), self.now)
    }

    fn view(&self) -> RequestView {
        let Self { exchange, intake, head, target, .. } = self;
        RequestView {
            id: exchange.id.as_str().to_owned(),
            route: intake.route.to_string(),
            product: intake.product.name.to_string(),
            protocol: Protocol::Webhook,
            method: head.method.as_str().to_owned(),
            scheme: exchange.peer.scheme().to_owned(),
            authority: exchange.authority.to_string(),
            path: exchange.path.to_string(),
            target: (*target).to_owned(),
            headers: head.headers.clone(),
            client: exchange.peer.client.to_string(),
            event_type: None,
        }
    }

    fn kept_head(&self) -> Head {
        let Self { exchange, head, target, .. } = self;
        let field = |(name, value): (&http::HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))
        };
        Head {
            method: head.method.as_str().to_owned(),
            scheme: exchange.peer.scheme().to_owned(),
            authority: exchange.authority.to_string(),
            target: (*target).to_owned(),
            path: exchange.path.to_string(),
            headers: head.headers.iter().map(field).collect(),
            client: exchange.peer.client.to_string(),
        }
    }

    fn note(&self, outcome: WebhookOutcome, code: &str, detail: Option<&str>) {
        let Self { exchange, intake, .. } = self;
        tracing::info!(request_id = %exchange.id, route = %intake.route, provider = %intake.verifier.name(), %outcome, code, detail, "webhook");
    }
}

/// What is answered to an event that is known: what the route says, else what the plugin says, else which event it is,
/// with the status `own`.
pub(super) fn acknowledged(
    intake: &Intake,
    plugin: Option<Reply>,
    own: StatusCode,
    id: EventId,
    status: &str,
) -> Response<Body> {
    let own = || {
        let body = json!({ "id": id.to_string(), "status": status }).to_string();
        with_body(own, Some(HeaderValue::from_static("application/json")), body)
    };
    match (&intake.plan.answer, plugin) {
        (Some(answer), _) => match &answer.body {
            Some(body) => with_body(answer.status, answer.content_type.clone(), body.clone()),
            None => {
                let mut response = own();
                *response.status_mut() = answer.status;
                response
            }
        },
        (None, Some(reply)) => replied(reply),
        (None, None) => own(),
    }
}

fn with_body(status: StatusCode, content_type: Option<HeaderValue>, body: String) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}

fn replied(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::full(reply.body));
    *response.status_mut() = reply.status;
    for (name, value) in reply.headers {
        response.headers_mut().append(name, value);
    }
    response
}

pub(super) fn not_kept(exchange: &Exchange, intake: &Intake, error: &StoreError) -> RequestError {
    tracing::error!(request_id = %exchange.id, route = %intake.route, %error, "a verified webhook is not kept");
    RequestError::Store { retry_after: RETRY_AFTER }
}

fn outcome_of(error: &RequestError) -> WebhookOutcome {
    match error {
        RequestError::Signature { .. } | RequestError::Refused { .. } => WebhookOutcome::Signature,
        RequestError::Stale { .. } => WebhookOutcome::Stale,
        RequestError::InProgress { .. } => WebhookOutcome::InProgress,
        RequestError::TooLarge => WebhookOutcome::TooLarge,
        RequestError::Method(_) => WebhookOutcome::Method,
        RequestError::RateLimited { .. } => WebhookOutcome::RateLimited,
        RequestError::PluginFault => WebhookOutcome::PluginFault,
        RequestError::Store { .. } | RequestError::Internal => WebhookOutcome::Store,
        RequestError::Upstream(_) => WebhookOutcome::Upstream,
        RequestError::Incomplete
        | RequestError::HeadTimeout
        | RequestError::BodyTimeout
        | RequestError::Malformed
        | RequestError::Path
        | RequestError::Host
        | RequestError::HeadTooLarge
        | RequestError::NoRoute
        | RequestError::Unsupported
        | RequestError::WebsocketVersion
        | RequestError::WebsocketsFull
        | RequestError::Expectation => WebhookOutcome::Incomplete,
    }
}
