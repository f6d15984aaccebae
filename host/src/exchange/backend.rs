//! Sending to a product, whatever serves it.

use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;

use super::body::Body;
use super::echo;
use super::silence::{Pulse, Silence};
use super::streams;
use crate::config::plan::HostPolicy;
use crate::gateway::product::{Backend, Product};
use crate::telemetry::labels::Protocol;
use crate::upstream::Sending;
use crate::upstream::body::Outgoing;
use crate::upstream::error::UpstreamError;

/// How long a product may take.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    /// To make a connection, or to wait for one when all are busy.
    pub connect: Option<Duration>,
    /// From the last byte of the request to the head of the response.
    pub response: Option<Duration>,
    /// Between two frames of the response's body.
    pub idle: Option<Duration>,
    /// When all of it must be over.
    pub deadline: Option<Instant>,
    /// There when the request may stream while it is answered.
    pub pulse: Option<Pulse>,
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
        multiplexed: protocol.is_call(),
    };
    let response = upstream.send(request, &sending).await?;
    if let Some(pulse) = &patience.pulse {
        pulse.open();
    }
    let deadline = patience.deadline.filter(|_| !streams::is_open(protocol, response.headers()));
    let silence = Silence::new(patience.idle, deadline).of_response(patience.pulse);
    Ok(response.map(|body| Body::received(body, silence)))
}
