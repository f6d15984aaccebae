//! Taking webhooks in: receive, verify, judge freshness, and have the store keep it; the sender hears 2xx only after that
//! is on disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;
use serde_json::json;

use super::body::{self, Held};
use super::redact;
use crate::base::clock::{Clock, Timestamp};
use crate::base::ids::EventId;
use crate::base::payload::Payload;
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
    store: Arc<dyn EventStore>,
    clock: Clock,
    held: Held,
}

/// What became of a request, and what is answered.
type Taken = (WebhookOutcome, Response<Body>);

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
        let view = Arc::new(view(exchange, intake, &head, target));
        let now = self.clock.now();
        let called = intake.verifier.verify(view, body.clone(), now).await;
        drop(share);
        intake.called(&called);
        match called.result {
            Ok(Verdict::Accept(verified)) if verified.is_fresh(now, intake.plan.tolerance) => {
                self.keep(exchange, intake, &head, target, body, verified, now).await
            }
            Ok(Verdict::Accept(_)) => {
                note(exchange, intake, WebhookOutcome::Stale, "stale", None);
                Err(RequestError::Stale { status: intake.plan.refuse_status })
            }
            Ok(Verdict::Refuse(refusal)) => {
                note(exchange, intake, WebhookOutcome::Signature, &refusal.code, refusal.detail.as_deref());
                Err(RequestError::Signature { status: intake.plan.refuse_status })
            }
            Ok(Verdict::Respond(reply)) => {
                note(exchange, intake, WebhookOutcome::Handshake, "handshake", None);
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

    #[allow(clippy::too_many_arguments)]
    async fn keep(
        &self,
        exchange: &Exchange,
        intake: &Intake,
        head: &request::Parts,
        target: &str,
        body: Payload,
        verified: Verified,
        now: Timestamp,
    ) -> Result<Taken, RequestError> {
        let duplicate = match (&verified.sameness, intake.plan.duplicates) {
            (Some(sameness), Some(window)) => Some((sameness.key(intake.route.as_str()), now.after(window))),
            _ => None,
        };
        let query = target.split_once('?').map(|(_, query)| query);
        let event = NewEvent {
            id: EventId::new(now),
            route: intake.route.clone(),
            verifier: intake.verifier.name().clone(),
            received: now,
            request_id: exchange.id.as_str().to_owned(),
            traceparent: exchange.trace.field().to_str().ok().map(str::to_owned),
            redacted: redact::names(&head.headers, query, intake.verifier.roles(), now),
            head: kept_head(exchange, head, target),
            body,
            identity: verified.identity,
            kind: verified.kind,
            order_key: None,
            duplicate,
            products: vec![intake.product.name.clone()],
        };
        let (kind, size) = (event.kind.clone(), event.body.length());
        let accepted = self.store.accept(now, event).await.map_err(|error| not_kept(exchange, intake, &error))?;
        let (outcome, id, status) = match accepted {
            Accepted::New(id) => (WebhookOutcome::Accepted, id, "accepted"),
            Accepted::Duplicate(id) => (WebhookOutcome::Duplicate, id, "duplicate"),
        };
        tracing::info!(request_id = %exchange.id, event = %id, route = %intake.route, product = %intake.product.name, kind, size, "{status}");
        Ok((outcome, acknowledged(intake, verified.acknowledge, id, status)))
    }
}

/// What is answered to an event that is kept: what the route says, else what the plugin says, else which event it is.
fn acknowledged(intake: &Intake, plugin: Option<Reply>, id: EventId, status: &str) -> Response<Body> {
    let own = || {
        let body = json!({ "id": id.to_string(), "status": status }).to_string();
        with_body(StatusCode::ACCEPTED, Some(HeaderValue::from_static("application/json")), body)
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

fn view(exchange: &Exchange, intake: &Intake, head: &request::Parts, target: &str) -> RequestView {
    RequestView {
        id: exchange.id.as_str().to_owned(),
        route: intake.route.to_string(),
        product: intake.product.name.to_string(),
        protocol: Protocol::Webhook,
        method: head.method.as_str().to_owned(),
        scheme: exchange.peer.scheme().to_owned(),
        authority: exchange.authority.to_string(),
        path: exchange.path.to_string(),
        target: target.to_owned(),
        headers: head.headers.clone(),
        client: exchange.peer.client.to_string(),
        event_type: None,
    }
}

fn kept_head(exchange: &Exchange, head: &request::Parts, target: &str) -> Head {
    let field = |(name, value): (&http::HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))
    };
    Head {
        method: head.method.as_str().to_owned(),
        scheme: exchange.peer.scheme().to_owned(),
        authority: exchange.authority.to_string(),
        target: target.to_owned(),
        path: exchange.path.to_string(),
        headers: head.headers.iter().map(field).collect(),
        client: exchange.peer.client.to_string(),
    }
}

fn not_kept(exchange: &Exchange, intake: &Intake, error: &StoreError) -> RequestError {
    tracing::error!(request_id = %exchange.id, route = %intake.route, %error, "a verified webhook is not kept");
    RequestError::Store { retry_after: RETRY_AFTER }
}

fn note(exchange: &Exchange, intake: &Intake, outcome: WebhookOutcome, code: &str, detail: Option<&str>) {
    tracing::info!(request_id = %exchange.id, route = %intake.route, provider = %intake.verifier.name(), %outcome, code, detail, "webhook");
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
        RequestError::Store { .. } | RequestError::Internal | RequestError::Upstream(_) => WebhookOutcome::Store,
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
