//! One request, one response. Infallible: whatever goes wrong is answered, so hyper never sees an error from us.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Served, check};
use crate::base::clock::Clock;
use crate::base::names::ListenerName;
use crate::base::path;
use crate::exchange::access::Access;
use crate::exchange::body::Body;
use crate::exchange::cors::Crossing;
use crate::exchange::error::RequestError;
use crate::exchange::identity::{self, RequestId, X_REQUEST_ID};
use crate::exchange::{Exchange, Peer, cors, headers, respond};
use crate::gateway::routes::{Asked, Miss, RouteTable};
use crate::gateway::{Current, Gateway, Route, Target};
use crate::net::entrance::Origin;
use crate::net::guard::Refusal;
use crate::proxy;
use crate::telemetry::labels::{Protocol, WebhookOutcome};
use crate::webhook::ingest::Webhooks;

/// Handles the requests of one listener.
#[derive(Debug)]
pub(super) struct Handler {
    current: Arc<Current>,
    webhooks: Arc<Webhooks>,
    clock: Clock,
    listener: ListenerName,
}

/// What a request is before anything is known of its route.
struct Arrived {
    id: RequestId,
    gateway: Arc<Gateway>,
    started: Instant,
    peer: Peer,
}

impl Arrived {
    /// What is written down of it.
    fn access(&self, method: Option<Method>) -> Access {
        Access::new(self.id.clone(), method, self.peer, Arc::clone(&self.gateway.unrouted), self.started)
    }
}

impl Handler {
    pub(super) fn new(served: &Served, listener: ListenerName) -> Self {
        let Served { current, webhooks, clock, metrics: _ } = served.clone();
        Self { current, webhooks, clock, listener }
    }

    /// The generation that serves now.
    pub(super) fn gateway(&self) -> Arc<Gateway> {
        self.current.load()
    }

    /// Answers `request`, which came from `origin`.
    pub(super) async fn request(&self, request: Request<Incoming>, origin: Origin) -> Response<Body> {
        let arrived = self.arrived(request.headers(), origin);
        let id = arrived.id.clone();
        let (method, media) = (request.method().clone(), request.headers().get(header::CONTENT_TYPE).cloned());
        let mut access = arrived.access(Some(method.clone()));
        let mut protocol = Protocol::Http;
        let mut crossing = None;
        let answered = self.dispatch(arrived, request, &mut access, &mut protocol, &mut crossing).await;
        let mut response = match answered {
            Ok(mut response) => {
                access.answered(response.status(), check::answered(protocol, response.headers()));
                response.headers_mut().insert(X_REQUEST_ID, id.field());
                response
            }
            Err(error) => refuse(&error, &id, protocol, media.as_ref(), &mut access),
        };
        if let Some(crossing) = crossing {
            crossing.mark(response.headers_mut());
        }
        if method == Method::HEAD {
            response = without_body(response);
        }
        let bare = method == Method::HEAD || is_bodiless(response.status());
        response.map(|body| body.recorded(access, bare))
    }

    /// Answers a request whose head was refused before it was read as one.
    pub(super) fn refuse(&self, refusal: Refusal, origin: Origin) -> Response<Body> {
        let error = match refusal {
            Refusal::Malformed => RequestError::Malformed,
            Refusal::Target => RequestError::Path,
            Refusal::TooLarge => RequestError::HeadTooLarge,
            Refusal::Coding => RequestError::Unsupported,
            Refusal::Late => RequestError::HeadTimeout,
        };
        let arrived = self.arrived(&HeaderMap::new(), origin);
        let mut access = arrived.access(None);
        refuse(&error, &arrived.id, Protocol::Http, None, &mut access).map(|body| body.recorded(access, false))
    }

    fn arrived(&self, fields: &HeaderMap, Origin { address, secure }: Origin) -> Arrived {
        let gateway = self.current.load();
        let trusted = gateway.trusts(address.ip());
        let said = if trusted { headers::client(fields, |ip| gateway.trusts(ip)) } else { None };
        let client = said.unwrap_or_else(|| address.ip().to_canonical());
        let known = if trusted { RequestId::of(fields) } else { None };
        let id = known.unwrap_or_else(|| RequestId::new(self.clock.now()));
        let peer = Peer { address, client, trusted, secure };
        Arrived { id, gateway, started: Instant::now(), peer }
    }

    async fn dispatch(
        &self,
        arrived: Arrived,
        mut request: Request<Incoming>,
        access: &mut Access,
        protocol: &mut Protocol,
        crossing: &mut Option<Crossing>,
    ) -> Result<Response<Body>, RequestError> {
        *protocol = check::protocol(&request);
        let (exchange, preflight) = self.exchange(arrived, &mut request, access, protocol)?;
        *crossing = Crossing::of(&exchange.route, &request, preflight);
        if let Some(answer) = crossing.as_ref().and_then(|crossing| crossing.preflight(request.headers())) {
            return Ok(answer);
        }
        admit(&exchange)?;
        match &exchange.route.target {
            Target::Proxy(product) if exchange.protocol == Protocol::Websocket => {
                Box::pin(proxy::websocket::open(&exchange, product, request)).await
            }
            Target::Proxy(product) => proxy::http::forward(&exchange, product, request).await,
            Target::Webhook(_) if *request.method() == Method::CONNECT => Err(RequestError::Unsupported),
            // Boxed, so that the future of a plain request, which is moved with each of them, stays small.
            Target::Webhook(intake) => Box::pin(self.webhooks.receive(&exchange, intake, request)).await,
        }
    }

    /// Checks the head and finds its route, and whether that is found as the route of a request that a preflight announces.
    fn exchange(
        &self,
        arrived: Arrived,
        request: &mut Request<Incoming>,
        access: &mut Access,
        protocol: &mut Protocol,
    ) -> Result<(Exchange, bool), RequestError> {
        let Arrived { id, gateway, started, peer } = arrived;
        check::head(request, &gateway.limits)?;
        let path = path::normalise(request.uri().path()).map_err(|_| RequestError::Path)?;
        let path: Arc<str> = path.into();
        access.path(Arc::clone(&path));
        let host = check::host(request)?;
        // What the upstream will not see decides nothing here either.
        headers::strip_hop_by_hop(request.headers_mut());
        let asked = Asked {
            listener: &self.listener,
            host: &host.name,
            path: &path,
            method: check::method(request),
            headers: request.headers(),
            preflight: false,
        };
        let announced = cors::asked_method(request.method(), request.headers());
        let asked = cors::standing_for(asked, announced.as_ref(), &gateway.routes, |route| route.policy.cors.as_ref());
        let preflight = asked.preflight;
        let found = gateway.routes.find(asked).map_err(|miss| missed(miss, asked, &gateway.routes));
        let route = Arc::clone(&found?.target);
        if let Target::Webhook(_) = route.target {
            *protocol = Protocol::Webhook;
        }
        access.serve(Arc::clone(&route), *protocol);
        let (trace, joined) = identity::trace(request.headers(), peer.trusted);
        let exchange = Exchange {
            trace,
            joined,
            deadline: route.timeouts.total.map(|total| started + total),
            authority: host.authority.into(),
            protocol: *protocol,
            id,
            gateway,
            route,
            peer,
            path,
            started,
        };
        Ok((exchange, preflight))
    }
}

/// Counts the request against its route's rate.
fn admit(exchange: &Exchange) -> Result<(), RequestError> {
    let route = &exchange.route;
    route.take(exchange.peer.client, exchange.started).map_err(|retry_after| {
        if let Target::Webhook(intake) = &route.target {
            intake.count(WebhookOutcome::RateLimited);
        }
        RequestError::RateLimited { retry_after }
    })
}

fn missed(miss: Miss, asked: Asked<'_>, routes: &RouteTable<Arc<Route>>) -> RequestError {
    match miss {
        Miss::NoRoute => RequestError::NoRoute,
        Miss::Method(allow) => {
            // The route that would have served it counts it, when it takes webhooks.
            let meant = allow.first().and_then(|method| routes.find(Asked { method, ..asked }).ok());
            if let Some(Target::Webhook(intake)) = meant.map(|entry| &entry.target.target) {
                intake.count(WebhookOutcome::Method);
            }
            RequestError::Method(allow)
        }
    }
}

fn refuse(
    error: &RequestError,
    id: &RequestId,
    protocol: Protocol,
    media: Option<&HeaderValue>,
    access: &mut Access,
) -> Response<Body> {
    let answer = error.answer();
    access.failed(answer.http, answer.reason, answer.outcome());
    respond::answer(error, id, protocol, media)
}

/// The answer to HEAD: the length that GET's would have, and no body, which over HTTP/2 nobody else takes off it (RFC 9110,
/// section 9.3.2).
fn without_body(response: Response<Body>) -> Response<Body> {
    if response.body().is_end_stream() {
        return response;
    }
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| Body::empty());
    if let (Some(length), false) = (length, is_bodiless(response.status())) {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
