//! What a request is called: its id and its place in a trace. A trusted peer may have named it already.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::clock::Timestamp;
use crate::base::ids;
use crate::telemetry::trace::TraceContext;

/// The field that carries a request's id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The field that carries its place in a trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add to it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const ID_MAX: usize = 128;

/// A request's id: 1 to 128 characters of `[A-Za-z0-9._~+/=:-]`. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new one.
    pub fn new(now: Timestamp) -> Self {
        let id = HeaderValue::try_from(ids::request_id(now));
        Self(id.expect("a UUID is a field value"))
    }

    /// What the peer named it, when that is one well-formed name.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let id = one(headers, &X_REQUEST_ID)?;
        let well_formed = |b: &u8| b.is_ascii_alphanumeric() || b"._~+/=:-".contains(b);
        let bytes = id.as_bytes();
        let good = (1..=ID_MAX).contains(&bytes.len()) && bytes.iter().all(well_formed);
        good.then(|| Self(id.clone()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a field's value.
    pub fn field(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The trace the peer says it belongs to, and true; else a new one. Either way a span of its own.
pub fn trace(headers: &HeaderMap, trusted: bool) -> (TraceContext, bool) {
    let parent = one(headers, &TRACEPARENT).filter(|_| trusted).and_then(|field| TraceContext::parse(field.as_bytes()));
    match parent {
        Some(parent) => (parent.child(fastrand::u64(..)), true),
        None => (TraceContext::root([fastrand::u64(..), fastrand::u64(..), fastrand::u64(..)]), false),
    }
}

/// The field's value when it is there exactly once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_well_formed_id_is_kept() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_REQUEST_ID, value.parse().expect("a value"));
            }
            RequestId::of(&headers).map(|id| id.to_string())
        };
        assert_eq!(of(&["abc-1.2_3"]).as_deref(), Some("abc-1.2_3"));
        assert_eq!(of(&["a", "b"]), None);
        assert_eq!(of(&[""]), None);
        assert_eq!(of(&["a b"]), None);
        assert_eq!(of(&["a\"b"]), None);
        assert_eq!(of(&[&"x".repeat(129)]), None);
    }

    #[test]
    fn a_stranger_starts_a_new_trace() {
        let mut headers = HeaderMap::new();
        let field = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        headers.insert(TRACEPARENT, field);
        let parent = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let joined = |headers: &HeaderMap, trusted| {
            let (trace, joined) = trace(headers, trusted);
            assert_eq!(trace.trace_id() == parent, joined);
            joined
        };
        assert!(joined(&headers, true));
        assert!(!joined(&headers, false));
        headers
            .append(TRACEPARENT, HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!joined(&headers, true), "two say nothing");
    }
}
