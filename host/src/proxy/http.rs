//! Plain HTTP: one request in, one request out, the response as it comes. Bodies stream both ways, and nothing of either
//! connection crosses to the other.

use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, Request, Response, Uri, Version, header, request};
use hyper::body::Incoming;

use crate::exchange::Exchange;
use crate::exchange::backend::{self, Patience};
use crate::exchange::body::{Body, Upload};
use crate::exchange::error::RequestError;
use crate::exchange::headers::{add_forwarded, join_cookies, strip_hop_by_hop};
use crate::exchange::identity::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::exchange::silence::Silence;
use crate::gateway::product::Product;
use crate::telemetry::labels::Protocol;

/// Forwards `request` to `product` and its response back.
pub async fn forward(
    exchange: &Exchange,
    product: &Product,
    request: Request<Incoming>,
) -> Result<Response<Body>, RequestError> {
    // A handshake that is not understood must not become a plain request either.
    if exchange.protocol == Protocol::Websocket {
        return Err(RequestError::Unsupported);
    }
    let (head, body) = request.into_parts();
    let head = outgoing(exchange, head)?;
    let upload = Upload::new(body, None, Silence::new(exchange.route.timeouts.body, exchange.deadline));
    let request = Request::from_parts(head, upload.outgoing());
    let timeouts = &exchange.route.timeouts;
    let patience = Patience { response: timeouts.response, idle: timeouts.idle, deadline: exchange.deadline };
    let mut response = backend::send(product, request, exchange.protocol, patience).await?;
    strip_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    Ok(response)
}

/// The head as the product gets it.
fn outgoing(exchange: &Exchange, mut head: request::Parts) -> Result<request::Parts, RequestError> {
    head.uri = target(&exchange.path, head.uri)?;
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    // Nothing that hyper noted of the client's connection (an upgrade above all) may reach the upstream's.
    head.extensions.clear();
    strip_hop_by_hop(&mut head.headers);
    // hyper has asked the client for the body by itself.
    head.headers.remove(header::EXPECT);
    name(exchange, &mut head.headers);
    add_forwarded(&mut head.headers, &exchange.peer, &exchange.authority);
    Ok(head)
}

/// Who asks for what, in fields.
fn name(exchange: &Exchange, headers: &mut HeaderMap) {
    if !exchange.authority.is_empty()
        && let Ok(host) = exchange.authority.parse()
    {
        headers.insert(header::HOST, host);
    }
    if !exchange.peer.trusted {
        headers.remove(TRACESTATE);
    }
    headers.insert(X_REQUEST_ID, exchange.id.field());
    headers.insert(TRACEPARENT, exchange.trace.field());
}

/// Origin form: the path's normal form and the query as it came.
fn target(path: &str, uri: Uri) -> Result<Uri, RequestError> {
    let same = uri.path() == path;
    if same && uri.authority().is_none() {
        return Ok(uri);
    }
    let target = match uri.into_parts().path_and_query {
        Some(target) if same => target,
        Some(target) => {
            let query = target.query();
            let text = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
            PathAndQuery::try_from(text).map_err(|_| RequestError::Path)?
        }
        None => return Err(RequestError::Path),
    };
    Ok(Uri::from(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_gets_the_normal_form_and_the_query_as_it_came() {
        for (path, uri, expected) in [
            ("/a", "/a?x=%2e%2E", "/a?x=%2e%2E"),
            ("/b", "/a/../b?x=/../y", "/b?x=/../y"),
            ("/a", "http://h.test/a?q", "/a?q"),
            ("/a~", "http://h.test/a%7e", "/a~"),
            ("/", "http://h.test", "/"),
        ] {
            assert_eq!(target(path, uri.parse().expect("a URI")).expect("a target"), expected);
        }
    }
}
