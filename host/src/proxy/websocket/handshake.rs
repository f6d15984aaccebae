//! The opening handshake: RFC 6455, section 4, and RFC 8441 over HTTP/2. Extensions and subprotocols are the two ends' to
//! agree on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Body as _, Incoming};
use sha1::{Digest as _, Sha1};

use ::http::header::{
    self, CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use ::http::{Method, Request, StatusCode, Version, request, response};

use crate::exchange::error::RequestError;
use crate::exchange::headers::{strip_hop_by_hop, tokens};

/// Of the key, before it is encoded.
const KEY_BYTES: usize = 16;
/// What makes an answer to a key one that only a WebSocket server gives (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const SWITCH: HeaderValue = HeaderValue::from_static("Upgrade");

/// A client's wish for a WebSocket.
#[derive(Debug)]
pub(super) struct Opening {
    /// The client's own; over HTTP/2 it has none, so one is made for the upstream.
    key: HeaderValue,
    extended: bool,
}

/// Checks a handshake by the letter. Its connection's own fields are gone already.
pub(super) fn read(request: &Request<Incoming>) -> Result<Opening, RequestError> {
    let extended = *request.method() == Method::CONNECT;
    if (!extended && *request.method() != Method::GET) || !request.body().is_end_stream() {
        return Err(RequestError::Malformed);
    }
    opening(request.headers(), extended)
}

fn opening(headers: &HeaderMap, extended: bool) -> Result<Opening, RequestError> {
    if only(headers, &SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(RequestError::WebsocketVersion);
    }
    if extended {
        return Ok(Opening { key: made(), extended });
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(RequestError::Malformed)?;
    Ok(Opening { key: key.clone(), extended })
}

/// The field's only value.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_key(key: &HeaderValue) -> bool {
    STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == KEY_BYTES)
}

fn made() -> HeaderValue {
    let key = STANDARD.encode(fastrand::u128(..).to_be_bytes());
    HeaderValue::try_from(key).expect("base64 is a field value")
}

fn accept(key: &HeaderValue) -> String {
    STANDARD.encode(Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize())
}

impl Opening {
    /// Whether it came as an extended CONNECT.
    pub(super) fn is_extended(&self) -> bool {
        self.extended
    }

    /// Makes `head` the handshake of RFC 6455 that asks for the same.
    pub(super) fn ask(&self, head: &mut request::Parts) {
        head.method = Method::GET;
        head.version = Version::HTTP_11;
        head.headers.remove(EXPECT);
        head.headers.insert(CONNECTION, SWITCH);
        head.headers.insert(UPGRADE, WEBSOCKET);
        head.headers.insert(SEC_WEBSOCKET_KEY, self.key.clone());
    }

    /// The upstream's 101 as the client gets it; `None` when it does not answer this handshake.
    pub(super) fn answer(&self, mut head: response::Parts) -> Option<response::Parts> {
        if !self.is_answer(&head.headers) {
            return None;
        }
        strip_hop_by_hop(&mut head.headers);
        head.headers.remove(CONTENT_LENGTH);
        if self.extended {
            head.status = StatusCode::OK;
            head.headers.remove(SEC_WEBSOCKET_ACCEPT);
        } else {
            head.headers.insert(header::CONNECTION, SWITCH);
            head.headers.insert(header::UPGRADE, WEBSOCKET);
        }
        head.version = Version::HTTP_11;
        Some(head)
    }

    fn is_answer(&self, headers: &HeaderMap) -> bool {
        let has = |name, wanted| tokens(headers, name).any(|token: &str| token.eq_ignore_ascii_case(wanted));
        has(&UPGRADE, "websocket")
            && has(&CONNECTION, "upgrade")
            && only(headers, &SEC_WEBSOCKET_ACCEPT).is_some_and(|said| *said == accept(&self.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of RFC 6455, section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    fn asked(fields: &[(&str, &str)], extended: bool) -> Result<Opening, RequestError> {
        opening(&headers(fields), extended)
    }

    #[test]
    fn a_handshake_has_one_key_of_sixteen_bytes_and_version_13() {
        let (key, version) = (("sec-websocket-key", KEY), ("sec-websocket-version", "13"));
        assert!(asked(&[key, version], false).is_ok());
        for bad in [
            &[version][..],
            &[version, key, key],
            &[version, ("sec-websocket-key", "")],
            &[version, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")],
            &[version, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZWU=")],
            &[version, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==")],
        ] {
            assert_eq!(asked(bad, false).err(), Some(RequestError::Malformed), "{bad:?}");
        }
        for bad in [&[key][..], &[key, version, version], &[key, ("sec-websocket-version", "8")]] {
            assert_eq!(asked(bad, false).err(), Some(RequestError::WebsocketVersion), "{bad:?}");
        }
    }

    #[test]
    fn over_http_2_a_key_is_made() {
        let version = ("sec-websocket-version", "13");
        let opening = asked(&[version], true).expect("needs no key");
        assert!(is_key(&opening.key));
        assert_eq!(asked(&[], true).err(), Some(RequestError::WebsocketVersion));
    }

    #[test]
    fn only_the_answer_to_the_key_opens_it() {
        let (upgrade, connection) = (("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade"));
        let good = [upgrade, connection, ("sec-websocket-accept", ACCEPT), ("sec-websocket-protocol", "chat")];
        let answered = |fields: &[(&str, &str)], extended| {
            let opening = Opening { key: HeaderValue::from_static(KEY), extended };
            let mut response = ::http::Response::new(());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *response.headers_mut() = headers(fields);
            opening.answer(response.into_parts().0)
        };
        let plain = answered(&good, false).expect("opens");
        assert_eq!(plain.status, StatusCode::SWITCHING_PROTOCOLS);
        let expected = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", ACCEPT),
            ("sec-websocket-protocol", "chat"),
        ]);
        assert_eq!(plain.headers, expected);
        let extended = answered(&good, true).expect("opens");
        assert_eq!(extended.status, StatusCode::OK);
        assert_eq!(extended.headers, headers(&[("sec-websocket-protocol", "chat")]));
        for bad in [
            &good[1..],
            &[good[0], good[2]],
            &good[..2],
            &[upgrade, connection, ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=")],
            &[upgrade, connection, good[2], good[2]],
            &[("upgrade", "h2c"), connection, good[2]],
        ] {
            assert!(answered(bad, false).is_none(), "{bad:?}");
        }
    }
}
