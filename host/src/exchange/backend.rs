//! Sending to a product, whatever serves it.

use std::time::Duration;

use http::{Request, Response, StatusCode, Version, header, response};
use tokio::time::Instant;

use super::body::Body;
use super::echo;
use super::error::RequestError;
use super::headers::{is_framed_once, strip_hop_by_hop};
use super::silence::Silence;
use crate::config::plan::HostPolicy;
use crate::gateway::product::{Backend, Product};
use crate::telemetry::labels::Protocol;
use crate::upstream::Sending;
use crate::upstream::body::{Outgoing, Received};
use crate::upstream::error::UpstreamError;
use crate::upstream::switched::Switched;

/// How long a product may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// To make a connection, or to wait for one when all are busy.
    pub connect: Option<Duration>,
    /// From the last byte of the request to the head of the response.
    pub response: Option<Duration>,
    /// Between two frames of the response's body.
    pub idle: Option<Duration>,
    /// When all of it must be over.
    pub deadline: Option<Instant>,
}

/// What a product says to a handshake.
#[derive(Debug)]
pub enum Handshake {
    /// It switches: the head of its 101, and the connection.
    Switched(response::Parts, Switched),
    /// It does not.
    Answered(Response<Body>),
}

/// Asks `product` to switch protocols. Its target is in origin form, its Host the client's.
pub async fn switch(
    product: &Product,
    request: Request<Outgoing>,
    patience: Patience,
) -> Result<Handshake, RequestError> {
    let upstream = match &product.backend {
        Backend::Upstream(upstream) if upstream.may_upgrade() => upstream,
        Backend::Upstream(_) | Backend::Echo => return Err(RequestError::Unsupported),
    };
    let sending = Sending { upgrade: true, ..sending(product, &request, patience) };
    let response = upstream.send(request, &sending).await?;
    Ok(if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (head, switched) = Switched::of(response);
        Handshake::Switched(head, switched)
    } else {
        Handshake::Answered(received(response, patience))
    })
}

/// Sends `request`, which speaks `protocol`, to `product`. Its target is in origin form, its Host the client's.
pub async fn send(
    product: &Product,
    request: Request<Outgoing>,
    protocol: Protocol,
    patience: Patience,
) -> Result<Response<Body>, UpstreamError> {
    let upstream = match &product.backend {
        Backend::Upstream(upstream) => upstream,
        Backend::Echo => return echo::answer(request).await,
    };
    let sending = Sending { multiplexed: protocol == Protocol::Grpc, ..sending(product, &request, patience) };
    let response = upstream.send(request, &sending).await?;
    Ok(received(response, patience))
}

fn sending(product: &Product, request: &Request<Outgoing>, patience: Patience) -> Sending {
    let host = match &product.host {
        HostPolicy::Client => request.headers().get(http::header::HOST).cloned(),
        HostPolicy::Upstream => None,
        HostPolicy::Literal(host) => Some(host.clone()),
    };
    Sending {
        host,
        connect: patience.connect,
        response: patience.response,
        deadline: patience.deadline,
        multiplexed: false,
        upgrade: false,
    }
}

fn received(response: Response<Received>, patience: Patience) -> Response<Body> {
    response.map(|body| Body::received(body, Silence::new(patience.idle, patience.deadline)))
}

/// A product's response as the client gets it: nothing of the connection it came over, and one way to read where it ends.
pub fn returned(mut response: Response<Body>) -> Result<Response<Body>, UpstreamError> {
    if !is_framed_once(response.headers()) {
        return Err(UpstreamError::Protocol);
    }
    strip_hop_by_hop(response.headers_mut());
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    *response.version_mut() = Version::HTTP_11;
    Ok(response)
}
