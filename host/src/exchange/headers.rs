//! Fields that belong to one connection, and fields that say who forwarded what.
//!
//! Invariant: what goes out in either direction carries no field of the connection it came in on, nor one that its
//! `Connection` named (RFC 9110, section 7.6.1).

use http::header::{self, Entry};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Peer;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Which removable fields a head has, found in one pass.
#[derive(Default)]
struct Found {
    connection: bool,
    framing: bool,
    te: bool,
    rare: bool,
}

impl Found {
    fn look(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => found.connection = true,
                "transfer-encoding" => found.framing = true,
                "te" => found.te = true,
                "keep-alive"
                | "upgrade"
                | "proxy-connection"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "http2-settings" => found.rare = true,
                _ => {}
            }
        }
        found
    }
}

/// Removes every field that belongs to the connection the message came in on. `te: trailers` stays, since trailers pass.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let found = Found::look(headers);
    let trailers = found.te && takes_trailers(headers);
    if found.connection {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if found.framing {
        headers.remove(header::TRANSFER_ENCODING);
        // Where both came, the length is not the message's (RFC 9112, section 6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    if found.te {
        headers.remove(header::TE);
    }
    if found.rare {
        for name in
            [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS, header::PROXY_AUTHENTICATE, header::PROXY_AUTHORIZATION]
        {
            headers.remove(name);
        }
        headers.remove(header::UPGRADE);
    }
    if trailers {
        headers.insert(header::TE, TRAILERS);
    }
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &header::TE).any(|token| {
        let coding = token.split(';').next().unwrap_or_default();
        coding.trim().eq_ignore_ascii_case("trailers")
    })
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = tokens(headers, &header::CONNECTION).filter_map(|token| HeaderName::try_from(token).ok());
    // Content-Length is part of the message, whatever Connection says of it.
    names.filter(|name| *name != header::CONTENT_LENGTH).collect()
}

/// Removes from `trailers` what would change how the message is framed, routed, believed or stored if whoever comes next
/// merged it into the head (RFC 9110, section 6.5.1).
pub fn clean_trailers(trailers: &mut HeaderMap) {
    let barred: Vec<_> = trailers.keys().filter(|name| is_barred_in_trailers(name.as_str())).cloned().collect();
    for name in barred {
        trailers.remove(name);
    }
}

fn is_barred_in_trailers(name: &str) -> bool {
    matches!(
        name,
        "age"
            | "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "cookie"
            | "date"
            | "expect"
            | "expires"
            | "forwarded"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "location"
            | "max-forwards"
            | "pragma"
            | "range"
            | "retry-after"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "vary"
            | "www-authenticate"
    ) || ["if-", "proxy-", "x-forwarded-", "tollgate-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a response's framing has one reading: one length, or chunked and nothing else (RFC 9112, section 6.3). What
/// else an upstream may mean by it, the next reader may take for something else.
pub fn is_framed_once(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => true,
        (None, Some(length)) => lengths.next().is_none() && length.as_bytes().iter().all(u8::is_ascii_digit),
        (Some(coding), None) => codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// The comma-separated tokens of a field, over all its lines; those that are not text are passed over, not their
/// neighbours.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    elements(headers, name).filter_map(|element| str::from_utf8(element).ok())
}

/// The comma-separated elements of a field, over all its lines, whatever bytes they are.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    values.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Says who asked, for what host and over what. What a trusted peer said is added to; what a stranger said is dropped, and
/// so is what only the gateway says (`tollgate-…`).
pub fn add_forwarded(headers: &mut HeaderMap, peer: &Peer, authority: &str) {
    if peer.trusted {
        append_client(headers, peer);
        append_forwarded(headers, peer, authority);
    } else {
        drop_forwarded(headers);
        headers.insert(X_FORWARDED_FOR, address(peer));
    }
    if let Entry::Vacant(vacant) = headers.entry(X_FORWARDED_PROTO) {
        vacant.insert(HeaderValue::from_static(peer.scheme()));
    }
    if let (Entry::Vacant(vacant), Ok(host)) = (headers.entry(X_FORWARDED_HOST), HeaderValue::from_str(authority))
        && !authority.is_empty()
    {
        vacant.insert(host);
    }
}

fn address(peer: &Peer) -> HeaderValue {
    HeaderValue::try_from(peer.address.ip().to_canonical().to_string()).expect("an address is a field value")
}

/// RFC 7239; only where a trusted peer uses it already.
fn append_forwarded(headers: &mut HeaderMap, peer: &Peer, authority: &str) {
    if !headers.contains_key(header::FORWARDED) {
        return;
    }
    let node = match peer.address.ip().to_canonical() {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = if authority.is_empty() { String::new() } else { format!(";host=\"{authority}\"") };
    let element = format!("for={node}{host};proto={}", peer.scheme());
    let Ok(element) = HeaderValue::try_from(element) else { return };
    headers.append(header::FORWARDED, element);
}

fn append_client(headers: &mut HeaderMap, peer: &Peer) {
    let after = address(peer);
    let mut list: Vec<_> = elements(headers, &X_FORWARDED_FOR).collect();
    list.push(after.as_bytes());
    let list = HeaderValue::from_bytes(&list.join(&b", "[..])).unwrap_or(after);
    headers.insert(X_FORWARDED_FOR, list);
}

fn drop_forwarded(headers: &mut HeaderMap) {
    let said = |name: &&HeaderName| {
        let name = name.as_str();
        name == "forwarded" || name.starts_with("x-forwarded-") || name.starts_with("tollgate-")
    };
    if headers.keys().any(|name| said(&name)) {
        let names: Vec<_> = headers.keys().filter(said).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

/// The client a trusted peer speaks for: the rightmost address in `x-forwarded-for` that is not itself `trusted`.
pub fn client(headers: &HeaderMap, trusted: impl Fn(std::net::IpAddr) -> bool) -> Option<std::net::IpAddr> {
    let list: Vec<_> = elements(headers, &X_FORWARDED_FOR).collect();
    let mut leftmost = None;
    for element in list.into_iter().rev() {
        // Beyond what does not parse nothing can be believed.
        let Some(address) = str::from_utf8(element).ok().and_then(forwarded_address) else { break };
        leftmost = Some(address);
        if !trusted(address) {
            break;
        }
    }
    leftmost
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn forwarded_address(text: &str) -> Option<std::net::IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _)| address);
    let bare = bracketed.unwrap_or(text);
    let parsed = bare.parse().or_else(|_| text.parse().map(|socket: std::net::SocketAddr| socket.ip()));
    parsed.ok().map(|address: std::net::IpAddr| address.to_canonical())
}

/// Joins the crumbs of a cookie, which HTTP/2 may split and HTTP/1.1 may not (RFC 9113, section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        let mut map = HeaderMap::new();
        fields.iter().map(field).for_each(|(name, value): (_, HeaderValue)| {
            map.append(name, value);
        });
        map
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    fn peer(trusted: bool) -> Peer {
        let address = "192.0.2.7:4000".parse().expect("an address");
        Peer { address, client: "192.0.2.7".parse().expect("an address"), trusted, secure: false }
    }

    #[test]
    fn nothing_of_the_connection_crosses() {
        let mut map = headers(&[
            ("connection", "close, X-Private"),
            ("connection", "keep-alive , x-other,,"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-authenticate", "Basic"),
            ("te", "gzip, trailers;q=0.5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("trailer", "x-sum"),
            ("x-kept", "3"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(shown(&map), ["te: trailers", "trailer: x-sum", "x-kept: 3"]);
    }

    #[test]
    fn connection_cannot_take_the_length_away() {
        let mut map = headers(&[("connection", "content-length"), ("content-length", "5")]);
        strip_hop_by_hop(&mut map);
        assert_eq!(shown(&map), ["content-length: 5"]);
    }

    #[test]
    fn what_a_stranger_says_of_the_client_is_dropped() {
        let mut map = headers(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=10.0.0.1"),
            ("tollgate-id", "evt_0"),
        ]);
        add_forwarded(&mut map, &peer(false), "api.test");
        assert_eq!(
            shown(&map),
            ["x-forwarded-for: 192.0.2.7", "x-forwarded-host: api.test", "x-forwarded-proto: http"]
        );
    }

    #[test]
    fn what_a_trusted_peer_says_is_added_to() {
        let mut map = headers(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=203.0.113.9"),
        ]);
        add_forwarded(&mut map, &peer(true), "api.test");
        assert_eq!(
            shown(&map),
            [
                "forwarded: for=192.0.2.7;host=\"api.test\";proto=http",
                "forwarded: for=203.0.113.9",
                "x-forwarded-for: 203.0.113.9, 10.0.0.1, 192.0.2.7",
                "x-forwarded-host: api.test",
                "x-forwarded-proto: https"
            ]
        );
    }

    #[test]
    fn what_is_not_text_hides_nothing_beside_it() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            (X_FORWARDED_FOR, &b"10.0.0.5"[..]),
            (X_FORWARDED_FOR, b"\xff, 203.0.113.9"),
            (header::CONNECTION, b"x-private, \xff"),
            (HeaderName::from_static("x-private"), b"1"),
        ] {
            map.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(client(&map, |_| false), "203.0.113.9".parse().ok());
        assert_eq!(client(&map, |_| true), "203.0.113.9".parse().ok(), "beyond it nothing is believed");
        add_forwarded(&mut map, &peer(true), "a.test");
        let told = map.get(X_FORWARDED_FOR).unwrap().as_bytes();
        assert!(told.starts_with(b"10.0.0.5, \xff, 203.0.113.9, "), "{}", told.escape_ascii());
        strip_hop_by_hop(&mut map);
        assert!(!map.contains_key("x-private"));
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let client = |list: &str| client(&headers(&[("x-forwarded-for", list)]), trusted).map(|ip| ip.to_string());
        assert_eq!(client("1.1.1.1, 203.0.113.9, 10.0.0.1").as_deref(), Some("203.0.113.9"));
        assert_eq!(client("10.0.0.2, 10.0.0.1").as_deref(), Some("10.0.0.2"));
        assert_eq!(client("203.0.113.9:1234").as_deref(), Some("203.0.113.9"));
        assert_eq!(client("[2001:db8::1]:80, 10.0.0.1").as_deref(), Some("2001:db8::1"));
        assert_eq!(client("1.1.1.1, unknown, 10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(client("unknown"), None);
    }

    #[test]
    fn trailers_change_nothing_of_the_message() {
        let mut map = headers(&[
            ("content-length", "5"),
            ("host", "a"),
            ("te", "trailers"),
            ("if-match", "x"),
            ("x-forwarded-for", "a"),
            ("x-sum", "7"),
            ("grpc-status", "0"),
        ]);
        clean_trailers(&mut map);
        assert_eq!(shown(&map), ["grpc-status: 0", "x-sum: 7"]);
    }

    #[test]
    fn a_response_is_framed_once() {
        for (framed, fields) in [
            (true, &[][..]),
            (true, &[("content-length", "5")]),
            (true, &[("transfer-encoding", "Chunked")]),
            (false, &[("content-length", "5"), ("content-length", "5")]),
            (false, &[("content-length", "5, 5")]),
            (false, &[("content-length", "5"), ("transfer-encoding", "chunked")]),
            (false, &[("transfer-encoding", "gzip")]),
            (false, &[("transfer-encoding", "gzip, chunked")]),
            (false, &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
        ] {
            assert_eq!(is_framed_once(&headers(fields)), framed, "{fields:?}");
        }
    }

    #[test]
    fn crumbs_become_one_cookie() {
        let mut map = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut map);
        assert_eq!(shown(&map), ["cookie: a=1; b=2"]);
    }

    proptest! {
        #[test]
        fn the_client_is_one_that_was_named(list in "([0-9.:\\[\\]a-f]{0,12}|10\\.0\\.0\\.[0-9]|192\\.0\\.2\\.[0-9](:80)?|, ?){0,6}") {
            let trusted = |address: IpAddr| address.to_string().starts_with("10.");
            let map = headers(&[("x-forwarded-for", list.as_str())]);
            if let Some(client) = client(&map, trusted) {
                prop_assert!(tokens(&map, &X_FORWARDED_FOR).any(|text| forwarded_address(text) == Some(client)));
            }
        }

        #[test]
        fn what_is_added_comes_last(said in "[ -~]{0,30}", trusted in any::<bool>()) {
            let mut map = headers(&[("x-forwarded-for", said.as_str()), ("forwarded", said.as_str())]);
            add_forwarded(&mut map, &peer(trusted), "api.test");
            prop_assert_eq!(tokens(&map, &X_FORWARDED_FOR).last(), Some("192.0.2.7"));
            prop_assert_eq!(map.get_all(&X_FORWARDED_FOR).iter().count(), 1);
            prop_assert_eq!(map.get_all(header::FORWARDED).iter().count(), if trusted { 2 } else { 0 });
        }

        #[test]
        fn nothing_that_connection_names_is_left(named in "[a-z-]{1,8}(, ?[a-z-]{1,8}){0,3}") {
            let mut map = headers(&[("connection", named.as_str()), ("a", "1"), ("b-c", "2")]);
            named.split(',').filter_map(|name| HeaderName::try_from(name.trim()).ok()).for_each(|name| {
                map.append(name, HeaderValue::from_static("x"));
            });
            strip_hop_by_hop(&mut map);
            prop_assert!(named.split(',').all(|name| !map.contains_key(name.trim())));
        }
    }
}
