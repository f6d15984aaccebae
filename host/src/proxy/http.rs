//! Plain HTTP: one request in, one request out, the response as it comes. Bodies stream both ways, and nothing of either
//! connection crosses to the other.

use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::exchange::Exchange;
use crate::exchange::backend::{self, Patience};
use crate::exchange::body::{Body, Upload, check_declared};
use crate::exchange::error::RequestError;
use crate::exchange::expect::Wanted;
use crate::exchange::headers::{add_forwarded, join_cookies};
use crate::exchange::identity::{TRACEPARENT, TRACESTATE, X_REQUEST_ID};
use crate::exchange::silence::Silence;
use crate::gateway::product::{Backend, Product};
use crate::telemetry::labels::Protocol;

/// Forwards `request` to `product` and its response back.
pub async fn forward(
    exchange: &Exchange,
    product: &Product,
    request: Request<Incoming>,
) -> Result<Response<Body>, RequestError> {
    let (head, body) = request.into_parts();
    let limit = exchange.route.policy.max_body.map(|limit| limit.0);
    let body = check_declared(&head.headers, body, limit).await?;
    let version = head.version;
    let mut head = outgoing(exchange, head)?;
    let wanted = expectation(&mut head.headers, version, &body, product, exchange.protocol);
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // hyper takes the body of a GET for none unless it is told otherwise.
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let silence = Silence::new(exchange.route.timeouts.body, exchange.deadline);
    let upload = Upload::new(body, limit, silence).when(wanted.clone());
    let mut request = Request::from_parts(head, upload.outgoing());
    if let Some(wanted) = wanted.clone() {
        hyper::ext::on_informational(&mut request, move |said| {
            if said.status() == StatusCode::CONTINUE {
                wanted.ask();
            }
        });
    }
    let timeouts = &exchange.route.timeouts;
    let patience = Patience {
        connect: timeouts.connect,
        response: timeouts.response,
        idle: timeouts.idle,
        deadline: exchange.deadline,
    };
    let response = backend::send(product, request, exchange.protocol, patience).await?;
    returned(response, version, wanted.as_ref())
}

/// The client's expectation, which the upstream is to meet. Where there is no body to wait with, the client cannot mean
/// it (HTTP/1.0), or the upstream's word would not be heard (HTTP/2), it is dropped.
fn expectation(
    headers: &mut HeaderMap,
    version: Version,
    body: &Incoming,
    product: &Product,
    protocol: Protocol,
) -> Option<Wanted> {
    if !headers.contains_key(header::EXPECT) {
        return None;
    }
    let answers = match &product.backend {
        Backend::Upstream(upstream) => !upstream.may_multiplex(protocol == Protocol::Grpc),
        Backend::Echo => false,
    };
    let passes = version >= Version::HTTP_11 && !body.is_end_stream() && answers;
    if !passes {
        headers.remove(header::EXPECT);
    }
    passes.then(Wanted::default)
}

/// The response as the client gets it.
pub(super) fn returned(
    response: Response<Body>,
    version: Version,
    wanted: Option<&Wanted>,
) -> Result<Response<Body>, RequestError> {
    let mut response = backend::returned(response)?;
    let Some(unwanted) = wanted.and_then(Wanted::answered) else { return Ok(response) };
    if version == Version::HTTP_11 {
        // Whether the client sends its body now or not is its choice, so nothing may come after it.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| body.outlasting(unwanted)))
}

/// The head as the product gets it.
pub(super) fn outgoing(exchange: &Exchange, mut head: request::Parts) -> Result<request::Parts, RequestError> {
    head.uri = target(&exchange.route.path_upstream(&exchange.path), head.uri)?;
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    // Nothing that hyper noted of the client's connection (an upgrade above all) may reach the upstream's.
    head.extensions.clear();
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
    if !exchange.joined {
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
