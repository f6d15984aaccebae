//! `mode = "sync"`: the product answers while the sender waits.
//!
//! The event's key is held while it is forwarded, so that a copy is told to come back (409) instead of reaching the
//! product twice. A 2xx makes the copy a duplicate from then on, anything else lets go of the key. A sender that leaves
//! changes nothing of that: once its key is held an event is forwarded to its end.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use super::ingest::{Arrived, Taken, Webhooks, acknowledged, not_kept};
use super::{parcel, sign};
use crate::base::clock::{Clock, Timestamp};
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::payload::Payload;
use crate::exchange::Exchange;
use crate::exchange::backend::{self, Patience};
use crate::exchange::body::Body;
use crate::exchange::error::RequestError;
use crate::exchange::headers::add_forwarded;
use crate::exchange::identity::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::gateway::product::Product;
use crate::plugin::verdict::Verified;
use crate::store::{EventStore, Reservation};
use crate::telemetry::labels::WebhookOutcome;
use crate::upstream::body::Outgoing;
use crate::upstream::error::UpstreamError;

/// The longest that a product may take to answer, whatever the route's timeouts say: a held key has to come free.
const ANSWER_MAX: Duration = Duration::from_secs(900);
/// For the request to be sent, beside the timeouts of the connection and the response.
const SEND: Duration = Duration::from_secs(30);
/// A hold outlives the answer's last moment by this, for what came of it to be written down.
const HOLD_MARGIN: Duration = Duration::from_secs(10);
/// When a copy is to come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// A verified event on its way to its product.
struct Passing {
    exchange: Exchange,
    product: Arc<Product>,
    id: EventId,
    request: Request<Outgoing>,
    answer_within: Duration,
}

/// The key an event is known by, and until when.
struct Held {
    key: Digest,
    id: EventId,
    known: Timestamp,
}

impl Webhooks {
    /// Forwards a verified event, unless it is a copy.
    pub(super) async fn forward(
        &self,
        arrived: &Arrived<'_>,
        body: Payload,
        verified: Verified,
    ) -> Result<Taken, RequestError> {
        let Arrived { exchange, intake, now, .. } = *arrived;
        let id = EventId::new(now);
        let passing = passing(arrived, id, body).await?;
        let Some((key, known)) = arrived.duplicate_key(&verified) else {
            return Ok((WebhookOutcome::Accepted, passing.send().await?));
        };
        let hold = passing.answer_within + HOLD_MARGIN;
        let reserved = self.store.reserve(now, key, id, hold).await;
        match reserved.map_err(|error| not_kept(exchange, intake, &error))? {
            Reservation::Held => {}
            Reservation::InProgress { .. } => return Err(RequestError::InProgress { retry_after: COME_BACK }),
            Reservation::Duplicate(first) => {
                tracing::info!(request_id = %exchange.id, event = %first, route = %intake.route, "duplicate");
                let answer = acknowledged(intake, verified.acknowledge, StatusCode::OK, first, "duplicate");
                return Ok((WebhookOutcome::Duplicate, answer));
            }
        }
        let (store, clock, held) = (Arc::clone(&self.store), self.clock.clone(), Held { key, id, known });
        // A task of its own, so that a sender who leaves does not leave the key held.
        let forwarded = tokio::spawn(async move { passing.conclude(&*store, &clock, held).await });
        match forwarded.await {
            Ok(answered) => answered.map(|response| (WebhookOutcome::Accepted, response)),
            Err(_panicked) => Err(RequestError::Internal),
        }
    }
}

impl Passing {
    /// Forwards it, and says what became of its key before the answer is given.
    async fn conclude(self, store: &dyn EventStore, clock: &Clock, held: Held) -> Result<Response<Body>, RequestError> {
        let id = self.exchange.id.clone();
        let answered = self.send().await;
        let Held { key, id: event, known } = held;
        let known = answered.as_ref().is_ok_and(|response| response.status().is_success()).then_some(known);
        match store.conclude(clock.now(), key, event, known).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(request_id = %id, %event, "a copy was forwarded beside it: it took too long"),
            Err(error) => tracing::error!(request_id = %id, %event, %error, "a copy may be forwarded again"),
        }
        answered
    }

    async fn send(self) -> Result<Response<Body>, RequestError> {
        let Self { exchange, product, id, request, answer_within } = self;
        let timeouts = &exchange.route.timeouts;
        let patience = Patience {
            connect: timeouts.connect,
            response: timeouts.response,
            idle: timeouts.idle,
            deadline: exchange.deadline,
        };
        let sending = backend::send(&product, request, exchange.protocol, patience);
        let response = match tokio::time::timeout(answer_within, sending).await {
            Ok(answered) => backend::returned(answered?)?,
            Err(_elapsed) => return Err(UpstreamError::ResponseTimeout.into()),
        };
        let status = response.status().as_u16();
        tracing::info!(request_id = %exchange.id, event = %id, route = %exchange.route.name, product = %product.name, status, "forwarded");
        Ok(response)
    }
}

/// The event as a request to its product.
async fn passing(arrived: &Arrived<'_>, id: EventId, body: Payload) -> Result<Passing, RequestError> {
    let Arrived { exchange, intake, head, target, now } = *arrived;
    let product = Arc::clone(&intake.product);
    let redacted = arrived.redacted();
    let target = match &intake.plan.deliver_path {
        Some(path) => path.clone(),
        None => parcel::target(&exchange.path, target, exchange.route.policy.rewrite.as_ref(), &redacted),
    };
    let mut request = Request::new(Outgoing::payload(&body));
    *request.method_mut() = Method::clone(&head.method);
    *request.uri_mut() = Uri::try_from(target).map_err(|_| RequestError::Path)?;
    let headers = request.headers_mut();
    for (name, value) in &head.headers {
        let ends_here =
            matches!(*name, header::EXPECT | header::CONTENT_LENGTH | header::COOKIE | header::AUTHORIZATION);
        if !ends_here && !redacted.iter().any(|redacted| redacted == name.as_str()) && !parcel::is_ours(name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    add_forwarded(headers, &exchange.peer, &exchange.authority);
    if let Ok(host) = HeaderValue::try_from(&*exchange.authority) {
        headers.insert(header::HOST, host);
    }
    if let Some(state) = head.headers.get(TRACESTATE).filter(|_| exchange.joined) {
        headers.insert(TRACESTATE, state.clone());
    }
    headers.insert(X_REQUEST_ID, exchange.id.field());
    headers.insert(TRACEPARENT, exchange.trace.field());
    for (name, value) in [("tollgate-id", id.to_string()), ("tollgate-received", now.to_string())] {
        // An id and a time are field values.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(secret) = &product.sign {
        sign::sign(headers, secret, id, now, &body).await.map_err(|error| {
            tracing::error!(request_id = %exchange.id, product = %product.name, "the event is not forwarded: {error}");
            RequestError::Internal
        })?;
    }
    Ok(Passing { exchange: exchange.clone(), product, id, request, answer_within: answer_within(exchange) })
}

/// How long the product has until the head of its answer.
fn answer_within(exchange: &Exchange) -> Duration {
    let timeouts = &exchange.route.timeouts;
    let said = timeouts.response.map(|response| response + timeouts.connect.unwrap_or_default() + SEND);
    said.unwrap_or(ANSWER_MAX).min(ANSWER_MAX)
}
