//! What must hold of a request's head before anything is done with it. hyper has parsed it; here is refused what HTTP
//! allows to be read in two ways, because the upstream might read it in the other.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Version};

use crate::base::host::normalise_host;
use crate::config::plan::Limits;
use crate::exchange::error::RequestError;
use crate::exchange::headers::tokens;
use crate::telemetry::labels::Protocol;

/// What a head costs beside the text of its fields: `: ` and the line's end.
const FIELD_OVERHEAD: usize = 4;

/// Refuses a head that is too large, ambiguous, or asks for what is not done.
pub(super) fn head<B>(request: &Request<B>, limits: &Limits) -> Result<(), RequestError> {
    let headers = request.headers();
    if *request.method() == Method::CONNECT && !is_extended(request) {
        return Err(RequestError::Unsupported);
    }
    if request.uri().scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(RequestError::Malformed);
    }
    let fields: usize = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + FIELD_OVERHEAD).sum();
    let target = request.uri().path().len() + request.uri().query().map_or(0, str::len);
    if headers.len() > limits.headers || fields + target > limits.header_bytes.as_usize() {
        return Err(RequestError::HeadTooLarge);
    }
    framing(headers, request.version())?;
    expectation(headers)
}

/// One length, or chunked and nothing else. Other codings are legal, but then the upstream must know as many as we.
fn framing(headers: &HeaderMap, version: Version) -> Result<(), RequestError> {
    if let Some(coding) = only(headers, &header::TRANSFER_ENCODING).map_err(|_| RequestError::Malformed)? {
        if version != Version::HTTP_11 {
            return Err(RequestError::Malformed);
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(RequestError::Unsupported);
        }
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err(RequestError::Malformed);
        }
    }
    match only(headers, &header::CONTENT_LENGTH) {
        Ok(None) => Ok(()),
        Ok(Some(length)) if !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit) => Ok(()),
        Ok(Some(_)) | Err(Doubled) => Err(RequestError::Malformed),
    }
}

fn expectation(headers: &HeaderMap) -> Result<(), RequestError> {
    let met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().all(met) { Ok(()) } else { Err(RequestError::Expectation) }
}

struct Doubled;

/// The field's only value.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a HeaderValue>, Doubled> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Doubled) } else { Ok(first) }
}

/// The host that is asked: as the client wrote it, and in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// As written, with the port. Empty when HTTP/1.0 named none.
    pub(super) authority: String,
    /// As routes match it.
    pub(super) name: String,
}

/// The one host a request names. An absolute target or `:authority` and a Host field must agree.
pub(super) fn host<B>(request: &Request<B>) -> Result<Host, RequestError> {
    let field = only(request.headers(), &header::HOST).map_err(|_| RequestError::Host)?;
    let field = field.map(|value| value.to_str().map_err(|_| RequestError::Host)).transpose()?;
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    let authority = match (target, field) {
        (Some(target), Some(field)) if !target.eq_ignore_ascii_case(field) => return Err(RequestError::Host),
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) if request.version() == Version::HTTP_10 => {
            return Ok(Host { authority: String::new(), name: String::new() });
        }
        (None, None) => return Err(RequestError::Host),
    };
    let name = normalise_host(authority).ok_or(RequestError::Host)?;
    Ok(Host { authority: authority.to_owned(), name })
}

/// What a request on a plain route speaks. Its response may turn out to be a stream.
pub(super) fn protocol<B>(request: &Request<B>) -> Protocol {
    let headers = request.headers();
    let media = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if is_extended(request) || (is_websocket(headers) && request.version() == Version::HTTP_11) {
        Protocol::Websocket
    } else if is_media(media, b"application/grpc") {
        Protocol::Grpc
    } else if is_media(media, b"application/grpc-web") || is_media(media, b"application/grpc-web-text") {
        Protocol::GrpcWeb
    } else {
        Protocol::Http
    }
}

/// Whether `field` names the media type `wanted`, with or without a suffix (`+proto`) and parameters.
fn is_media(field: &[u8], wanted: &[u8]) -> bool {
    let Some((start, rest)) = field.split_at_checked(wanted.len()) else { return false };
    start.eq_ignore_ascii_case(wanted) && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
}

/// A WebSocket's handshake over HTTP/2 (RFC 8441, section 4). Nothing else is tunnelled.
fn is_extended<B>(request: &Request<B>) -> bool {
    let asked = request.extensions().get::<hyper::ext::Protocol>();
    *request.method() == Method::CONNECT
        && asked.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"))
}

/// The method that routes see: a WebSocket is a GET, however it is asked for.
pub(super) fn method<B>(request: &Request<B>) -> &Method {
    if *request.method() == Method::CONNECT { &Method::GET } else { request.method() }
}

/// Upgrade means something only where Connection names it (RFC 9110, section 7.8).
fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name, wanted| tokens(headers, name).any(|token: &str| token.eq_ignore_ascii_case(wanted));
    headers.contains_key(header::UPGRADE) && has(&header::UPGRADE, "websocket") && has(&header::CONNECTION, "upgrade")
}

/// What an exchange turned out to speak once its response's head is there.
pub(super) fn answered(protocol: Protocol, headers: &HeaderMap) -> Protocol {
    if protocol != Protocol::Http {
        return protocol;
    }
    let media = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is = |wanted: &[u8]| media.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted));
    if is(b"text/event-stream") {
        Protocol::Sse
    } else if is(b"multipart/mixed") || is(b"application/graphql-response+json") {
        Protocol::Graphql
    } else {
        Protocol::Http
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::get(uri).version(version);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request")
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let name =
            |version, uri: &str, fields: &[(&str, &str)]| host(&request(version, uri, fields)).map(|host| host.name);
        let named = |name: &str| Ok(name.to_owned());
        let v11 = Version::HTTP_11;
        assert_eq!(name(v11, "/", &[("host", "A.test:80")]), named("a.test"));
        assert_eq!(name(v11, "http://a.test/", &[("host", "A.test")]), named("a.test"));
        assert_eq!(name(Version::HTTP_2, "http://a.test/", &[]), named("a.test"));
        assert_eq!(name(Version::HTTP_10, "/", &[]), named(""));
        for bad in [
            name(v11, "/", &[]),
            name(v11, "/", &[("host", "a"), ("host", "a")]),
            name(v11, "/", &[("host", "")]),
            name(v11, "/", &[("host", "u@a")]),
            name(v11, "http://a.test/", &[("host", "b.test")]),
            name(Version::HTTP_2, "http://a.test/", &[("host", "b.test")]),
        ] {
            assert_eq!(bad, Err(RequestError::Host));
        }
    }

    #[test]
    fn framing_has_one_reading() {
        let framed = |version, fields: &[(&str, &str)]| framing(request(version, "/", fields).headers(), version);
        let v11 = Version::HTTP_11;
        assert_eq!(framed(v11, &[("transfer-encoding", "Chunked")]), Ok(()));
        assert_eq!(framed(v11, &[("content-length", "12")]), Ok(()));
        for (version, fields) in [
            (v11, &[("transfer-encoding", "chunked"), ("content-length", "1")][..]),
            (v11, &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            (v11, &[("content-length", "1"), ("content-length", "1")]),
            (v11, &[("content-length", "+1")]),
            (v11, &[("content-length", "1, 1")]),
            (v11, &[("content-length", "")]),
            (Version::HTTP_10, &[("transfer-encoding", "chunked")]),
            (Version::HTTP_2, &[("transfer-encoding", "chunked")]),
        ] {
            assert_eq!(framed(version, fields), Err(RequestError::Malformed), "{fields:?}");
        }
        assert_eq!(framed(v11, &[("transfer-encoding", "gzip, chunked")]), Err(RequestError::Unsupported));
    }

    #[test]
    fn the_protocol_is_the_first_that_fits() {
        let spoken = |fields: &[(&str, &str)]| protocol(&request(Version::HTTP_11, "/", fields));
        assert_eq!(spoken(&[("connection", "a, Upgrade"), ("upgrade", "foo, WebSocket")]), Protocol::Websocket);
        assert_eq!(spoken(&[("upgrade", "websocket")]), Protocol::Http);
        assert_eq!(spoken(&[("content-type", "application/grpc-web+proto")]), Protocol::GrpcWeb);
        assert_eq!(spoken(&[("content-type", "application/grpc-web-text")]), Protocol::GrpcWeb);
        assert_eq!(spoken(&[("content-type", "application/grpc")]), Protocol::Grpc);
        assert_eq!(spoken(&[("content-type", "Application/gRPC+json; a=b")]), Protocol::Grpc);
        assert_eq!(spoken(&[("content-type", "application/grpcs")]), Protocol::Http);
        assert_eq!(spoken(&[("upgrade", "h2c")]), Protocol::Http);
        let stream = request(Version::HTTP_11, "/", &[("content-type", "text/event-stream; charset=utf-8")]);
        assert_eq!(answered(Protocol::Http, stream.headers()), Protocol::Sse);
        assert_eq!(answered(Protocol::Webhook, stream.headers()), Protocol::Webhook);
    }
}
