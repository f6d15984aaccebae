//! WebSockets: the handshake, which is a plain request until the upstream says 101, and then two connections that are
//! copied into each other. Over HTTP/2 the handshake is an extended CONNECT (RFC 8441); towards the upstream it is always
//! that of RFC 6455.

mod frames;
mod handshake;
mod pipe;
mod tunnel;

use hyper::body::Incoming;
use hyper::upgrade;
use hyper_util::rt::TokioIo;

use ::http::{Request, Response};

use self::tunnel::{End, Terms};
use super::http::{outgoing, returned};
use crate::base::drain::Drain;
use crate::exchange::Exchange;
use crate::exchange::access::Access;
use crate::exchange::backend::{self, Handshake, Patience};
use crate::exchange::body::Body;
use crate::exchange::error::RequestError;
use crate::exchange::tunnel::Tunnel;
use crate::gateway::product::Product;
use crate::gateway::room::{Room, Taken};
use crate::telemetry::labels::{Outcome, Reason};
use crate::upstream::body::Outgoing;
use crate::upstream::error::UpstreamError;

/// RFC 6455, section 7.4.1: the gateway stops, or a side does.
const GOING_AWAY: u16 = 1001;
/// Where a drain has no limit.
const PATIENCE_MAX: std::time::Duration = std::time::Duration::from_secs(3600);

/// Takes a handshake to `product` and its answer back. Where the product opens the WebSocket, the response has a tunnel in
/// the place of its body.
pub async fn open(
    exchange: &Exchange,
    product: &Product,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, RequestError> {
    let client = upgrade::on(&mut request);
    let opening = handshake::read(&request)?;
    let taken = places(exchange, product)?;
    let (head, _empty) = request.into_parts();
    let version = head.version;
    let mut head = outgoing(exchange, head)?;
    opening.ask(&mut head);
    let timeouts = &exchange.route.timeouts;
    let patience = Patience {
        connect: timeouts.connect,
        response: timeouts.response,
        idle: timeouts.idle,
        deadline: exchange.deadline,
    };
    match backend::switch(product, Request::from_parts(head, Outgoing::empty()), patience).await? {
        Handshake::Answered(response) => {
            // Over HTTP/2 it would say that the WebSocket is open.
            if opening.is_extended() && response.status().is_success() {
                return Err(UpstreamError::Protocol.into());
            }
            returned(response, version, None)
        }
        Handshake::Switched(head, upstream) => {
            let head = opening.answer(head).ok_or(UpstreamError::Protocol)?;
            let tunnel = Tunnel {
                client,
                upstream,
                route: exchange.route.clone(),
                buffer: exchange.gateway.limits.buffer_bytes.as_usize(),
                patience: exchange.gateway.timeouts.drain.unwrap_or(PATIENCE_MAX),
                taken,
            };
            Ok(Response::from_parts(head, Body::tunnel(tunnel)))
        }
    }
}

/// A place in each room, or in none.
fn places(exchange: &Exchange, product: &Product) -> Result<[Taken; 3], RequestError> {
    let take = |room: &Room| room.take().ok_or(RequestError::WebsocketsFull);
    Ok([take(&exchange.gateway.websockets)?, take(&product.websockets)?, take(&exchange.route.websockets)?])
}

/// Runs a WebSocket to its end, and writes it down. Once `drain` starts, both sides are told to go.
pub async fn run(tunnel: Tunnel, access: Access, drain: &Drain) {
    let Tunnel { client, upstream, route, buffer, patience, taken: _taken } = tunnel;
    let Ok(from_upstream) = upstream.stream.await else {
        return access.broke_off(Reason::UpstreamReset, Outcome::UpstreamError);
    };
    // It left before the head was out.
    let Ok(from_client) = client.await else { return };
    let policy = &route.policy.websocket;
    let terms = Terms {
        buffer,
        idle: route.timeouts.idle,
        ping: policy.ping,
        message: policy.message_bytes.map(|bytes| bytes.0),
        patience,
    };
    let count = |direction, bytes| route.product.metrics.websocket_bytes(direction, bytes);
    let end = tunnel::run(TokioIo::new(from_client), TokioIo::new(from_upstream), terms, drain.wait(), count).await;
    match end {
        End::Closed => access.finish(),
        // Dropped, which means that the client left.
        End::Client => {}
        End::Upstream => access.broke_off(Reason::UpstreamReset, Outcome::UpstreamError),
        End::Silent => access.broke_off(Reason::IdleTimeout, Outcome::Timeout),
        End::ClientTooLarge => access.broke_off(Reason::MessageTooLarge, Outcome::Rejected),
        End::UpstreamTooLarge => access.broke_off(Reason::MessageTooLarge, Outcome::UpstreamError),
    }
}
