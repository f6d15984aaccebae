//! One request, one response. Infallible: whatever goes wrong is answered, so hyper never sees an error from us.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{Served, check};
use crate::base::clock::{Clock, Timestamp};
use crate::base::names::ListenerName;
use crate::base::path;
use crate::exchange::access::Access;
use crate::exchange::body::Body;
use crate::exchange::error::RequestError;
use crate::exchange::identity::{self, RequestId, X_REQUEST_ID};
use crate::exchange::{Exchange, Peer, headers, respond};
use crate::gateway::routes::{Asked, Miss};
use crate::gateway::{Current, Gateway, Target};
use crate::net::entrance::Origin;
use crate::proxy;
use crate::telemetry::labels::Protocol;
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

impl Handler {
    pub(super) fn new(served: &Served, listener: ListenerName) -> Self {
        let Served { current, webhooks, clock, metrics: _ } = served.clone();
        Self { current, webhooks, clock, listener }
    }

    /// The time of day.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The generation that serves now.
    pub(super) fn gateway(&self) -> Arc<Gateway> {
        self.current.load()
    }

    /// Answers `request`, which came from `origin`.
    pub(super) async fn request(&self, request: Request<Incoming>, origin: Origin) -> Response<Body> {
        let arrived = self.arrived(&request, origin);
        let id = arrived.id.clone();
        let (method, media) = (request.method().clone(), request.headers().get(header::CONTENT_TYPE).cloned());
        let mut access = Access::new(
            id.clone(),
            method.clone(),
            arrived.peer,
            Arc::clone(&arrived.gateway.unrouted),
            arrived.started,
        );
        let mut protocol = Protocol::Http;
        let answered = self.dispatch(arrived, request, &mut access, &mut protocol).await;
        let response = match answered {
            Ok(mut response) => {
                access.answered(response.status(), check::answered(protocol, response.headers()));
                response.headers_mut().insert(X_REQUEST_ID, id.field());
                response
            }
            Err(error) => refuse(&error, &id, protocol, media.as_ref(), &mut access),
        };
        let bare = method == Method::HEAD || is_bodiless(response.status());
        response.map(|body| body.recorded(access, bare))
    }

    fn arrived(&self, request: &Request<Incoming>, Origin { address, secure }: Origin) -> Arrived {
        let gateway = self.current.load();
        let trusted = gateway.trusts(address.ip());
        let said = if trusted { headers::client(request.headers(), |ip| gateway.trusts(ip)) } else { None };
        let client = said.unwrap_or_else(|| address.ip().to_canonical());
        let known = if trusted { RequestId::of(request.headers()) } else { None };
        let id = known.unwrap_or_else(|| RequestId::new(self.clock.now()));
        let peer = Peer { address, client, trusted, secure };
        Arrived { id, gateway, started: Instant::now(), peer }
    }

    async fn dispatch(
        &self,
        arrived: Arrived,
        request: Request<Incoming>,
        access: &mut Access,
        protocol: &mut Protocol,
    ) -> Result<Response<Body>, RequestError> {
        *protocol = check::protocol(&request);
        let exchange = self.exchange(arrived, &request, access, protocol)?;
        match &exchange.route.target {
            Target::Proxy(product) => proxy::http::forward(&exchange, product, request).await,
            Target::Webhook(intake) => self.webhooks.receive(&exchange, intake, request).await,
        }
    }

    /// Checks the head and finds its route.
    fn exchange(
        &self,
        arrived: Arrived,
        request: &Request<Incoming>,
        access: &mut Access,
        protocol: &mut Protocol,
    ) -> Result<Exchange, RequestError> {
        let Arrived { id, gateway, started, peer } = arrived;
        check::head(request, &gateway.limits)?;
        let path = path::normalise(request.uri().path()).map_err(|_| RequestError::Path)?;
        let path: Arc<str> = path.into();
        access.path(Arc::clone(&path));
        let host = check::host(request)?;
        let asked = Asked {
            listener: &self.listener,
            host: &host.name,
            path: &path,
            method: request.method(),
            headers: request.headers(),
        };
        let route = Arc::clone(&gateway.routes.find(asked).map_err(missed)?.target);
        if let Target::Webhook(_) = route.target {
            *protocol = Protocol::Webhook;
        }
        access.serve(Arc::clone(&route), *protocol);
        Ok(Exchange {
            trace: identity::trace(request.headers(), peer.trusted),
            deadline: route.timeouts.total.map(|total| started + total),
            authority: host.authority.into(),
            protocol: *protocol,
            id,
            gateway,
            route,
            peer,
            path,
            started,
        })
    }
}

fn missed(miss: Miss) -> RequestError {
    match miss {
        Miss::NoRoute => RequestError::NoRoute,
        Miss::Method(allow) => RequestError::Method(allow),
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

fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
