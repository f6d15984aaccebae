//! Sending to a product, whatever serves it.

use std::time::Duration;

use http::{Request, Response, StatusCode, Version, header};
use tokio::time::Instant;

use super::body::Body;
use super::echo;
use super::headers::{is_framed_once, strip_hop_by_hop};
use super::silence::Silence;
use crate::config::plan::HostPolicy;
use crate::gateway::product::{Backend, Product};
use crate::telemetry::labels::Protocol;
use crate::upstream::Sending;
use crate::upstream::body::Outgoing;
use crate::upstream::error::UpstreamError;

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
    let host = match &product.host {
        HostPolicy::Client => request.headers().get(http::header::HOST).cloned(),
        HostPolicy::Upstream => None,
        HostPolicy::Literal(host) => Some(host.clone()),
    };
    let sending = Sending {
        host,
        connect: patience.connect,
        response: patience.response,
        deadline: patience.deadline,
        multiplexed: protocol == Protocol::Grpc,
    };
    let response = upstream.send(request, &sending).await?;
    Ok(response.map(|body| Body::received(body, Silence::new(patience.idle, patience.deadline))))
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
