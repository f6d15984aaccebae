//! What a verifier's answer means once it was judged: everything in here can be acted on as it stands.

use http::{HeaderName, HeaderValue, StatusCode};

use super::bindings::types;
use super::bindings::verify;
use super::fault::PluginFault;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::config::plan::Tolerance;

/// The most fields a plugin's reply may have.
const REPLY_HEADERS_MAX: usize = 16;
/// The most bytes a plugin's reply may have.
const REPLY_BODY_MAX: usize = 64 * 1024;
/// The most bytes of any text a plugin returns (identity, kind, order key, detail).
const TEXT_MAX: usize = 1024;
/// The most bytes of a refusal's code.
const CODE_MAX: usize = 64;

/// A verifier's judgement.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The request is what its sender says.
    Accept(Verified),
    /// Answer this; nothing is kept.
    Respond(Reply),
    /// It is not.
    Refuse(Refusal),
}

/// What was proven of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The provider's id of the event.
    pub identity: Option<String>,
    /// What makes two requests the same event; `None` where nothing does.
    pub sameness: Option<Sameness>,
    /// The event's type.
    pub kind: Option<String>,
    /// When it was signed, Unix seconds; only if that was under the signature.
    pub timestamp: Option<u64>,
    /// Events with the same key stay in line.
    pub order_key: Option<String>,
    /// What to answer instead of the gateway's own 2xx.
    pub acknowledge: Option<Reply>,
}

impl Verified {
    /// Whether it is fresh enough: a signed timestamp is at most `tolerance` from `now`, past or future. Without one, it
    /// is unless the route insists.
    pub fn is_fresh(&self, now: Timestamp, tolerance: Tolerance) -> bool {
        let (tolerance, required) = match tolerance {
            Tolerance::Off => return true,
            Tolerance::Default(tolerance) => (tolerance, false),
            Tolerance::Required(tolerance) => (tolerance, true),
        };
        match self.timestamp {
            None => !required,
            Some(signed) => u64::try_from(now.seconds()).is_ok_and(|now| now.abs_diff(signed) <= tolerance.as_secs()),
        }
    }
}

/// What makes two requests the same event, strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// An id that was under the signature.
    SignedId(String),
    /// The content that the host saw match.
    Content(Digest),
    /// An id in a scheme that signs no content.
    UnsignedId(String),
}

impl Sameness {
    /// The duplicate key of an event taken by `route`.
    pub fn key(&self, route: &str) -> Digest {
        let (kind, value) = match self {
            Self::SignedId(id) => ("signed", id.as_bytes()),
            Self::Content(digest) => ("content", &digest.0[..]),
            Self::UnsignedId(id) => ("unsigned", id.as_bytes()),
        };
        let mut text = Vec::with_capacity(route.len() + kind.len() + value.len() + 2);
        text.extend_from_slice(route.as_bytes());
        text.push(0);
        text.extend_from_slice(kind.as_bytes());
        text.push(0);
        text.extend_from_slice(value);
        Digest::of(&text)
    }
}

/// An answer a plugin wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 299 or 400 to 499.
    pub status: StatusCode,
    /// Fields, none of which frames or routes a message.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// At most 64 KiB.
    pub body: Vec<u8>,
}

/// "No", said to the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 499.
    pub status: StatusCode,
    /// A stable word; for the log only.
    pub code: String,
    /// More; for the log only.
    pub detail: Option<String>,
}

/// What the host saw during the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Digest over every content that matched; there only if signed content did.
    pub(crate) proved: Option<Digest>,
    /// The plugin was given an HMAC: such a call may only respond.
    pub(crate) oracle_used: bool,
}

/// Judges what `verify` returned by what the host saw.
pub(crate) fn judge(
    verdict: Result<verify::Verdict, types::Refusal>,
    evidence: &Evidence,
) -> Result<Verdict, PluginFault> {
    match verdict {
        Err(refusal) => refused(refusal).map(Verdict::Refuse),
        Ok(verify::Verdict::Respond(reply)) => replied(reply).map(Verdict::Respond),
        Ok(verify::Verdict::Accept(_)) if evidence.oracle_used => {
            Err(PluginFault::Lie("it was given an HMAC and accepted instead of responding".into()))
        }
        Ok(verify::Verdict::Accept(event)) => accepted(event, evidence).map(Verdict::Accept),
    }
}

fn accepted(event: verify::Event, evidence: &Evidence) -> Result<Verified, PluginFault> {
    let (identity, signed) = match event.identity {
        Some(verify::Identity::Signed(id)) => (Some(id), true),
        Some(verify::Identity::Unsigned(id)) => (Some(id), false),
        None => (None, false),
    };
    for (what, text) in [("identity", &identity), ("kind", &event.kind), ("order key", &event.order_key)] {
        if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > TEXT_MAX) {
            return Err(PluginFault::Lie(format!("its {what} is empty or longer than {TEXT_MAX} bytes")));
        }
    }
    let sameness = match (evidence.proved, &identity) {
        (Some(_), Some(id)) if signed => Some(Sameness::SignedId(id.clone())),
        (Some(content), _) => Some(Sameness::Content(content)),
        (None, Some(id)) => Some(Sameness::UnsignedId(id.clone())),
        (None, None) => None,
    };
    let acknowledge = event.acknowledge.map(replied).transpose()?;
    if acknowledge.as_ref().is_some_and(|reply| !reply.status.is_success()) {
        return Err(PluginFault::Lie("it acknowledges with a status that is not 2xx".into()));
    }
    Ok(Verified {
        identity,
        sameness,
        kind: event.kind,
        // A time nobody signed proves nothing.
        timestamp: event.timestamp.filter(|_| evidence.proved.is_some()),
        order_key: event.order_key,
        acknowledge,
    })
}

pub(crate) fn refused(refusal: types::Refusal) -> Result<Refusal, PluginFault> {
    let status = status(refusal.status, |status| status.is_client_error())?;
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if refusal.code.is_empty() || refusal.code.len() > CODE_MAX || !refusal.code.bytes().all(word) {
        return Err(PluginFault::Lie("a refusal's code is not a word of a-z, 0-9 and _".into()));
    }
    let detail = refusal.detail.map(|mut detail| {
        let end = (0..=TEXT_MAX.min(detail.len())).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or(0);
        detail.truncate(end);
        detail
    });
    Ok(Refusal { status, code: refusal.code, detail })
}

fn replied(reply: types::Reply) -> Result<Reply, PluginFault> {
    let status = status(reply.status, |status| status.is_success() || status.is_client_error())?;
    if reply.headers.len() > REPLY_HEADERS_MAX {
        return Err(PluginFault::Lie(format!("a reply has more than {REPLY_HEADERS_MAX} fields")));
    }
    if reply.body.len() > REPLY_BODY_MAX {
        return Err(PluginFault::Lie(format!("a reply's body has more than {REPLY_BODY_MAX} bytes")));
    }
    let headers = reply.headers.into_iter().map(field).collect::<Result<_, _>>()?;
    Ok(Reply { status, headers, body: reply.body })
}

fn field(header: types::Header) -> Result<(HeaderName, HeaderValue), PluginFault> {
    let name = HeaderName::from_bytes(header.name.as_bytes())
        .map_err(|_| PluginFault::Lie("a field's name is not one".into()))?;
    if !editable(&name) {
        return Err(PluginFault::Lie(format!("it may not set the field {name}")));
    }
    let value = HeaderValue::from_bytes(&header.value)
        .map_err(|_| PluginFault::Lie(format!("the value of its field {name} is not one")))?;
    Ok((name, value))
}

fn status(status: u16, allowed: impl Fn(StatusCode) -> bool) -> Result<StatusCode, PluginFault> {
    StatusCode::from_u16(status)
        .ok()
        .filter(|status| allowed(*status))
        .ok_or_else(|| PluginFault::Lie(format!("{status} is not a status it may answer")))
}

/// Fields that frame, route or trace a message belong to the gateway.
pub(crate) fn editable(name: &HeaderName) -> bool {
    const OURS: [&str; 19] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "expect",
        "forwarded",
        "x-request-id",
        "traceparent",
        "tracestate",
        "grpc-status",
        "grpc-message",
        "grpc-timeout",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
    ];
    const FAMILIES: [&str; 4] = ["proxy-", "sec-websocket-", "x-forwarded-", "tollgate-"];
    let name = name.as_str();
    !OURS.contains(&name) && !FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event() -> verify::Event {
        verify::Event { identity: None, kind: None, timestamp: Some(5), order_key: None, acknowledge: None }
    }

    fn proved() -> Evidence {
        Evidence { proved: Some(Digest::of(b"content")), oracle_used: false }
    }

    fn accept(event: verify::Event, evidence: Evidence) -> Result<Verified, PluginFault> {
        match judge(Ok(verify::Verdict::Accept(event)), &evidence)? {
            Verdict::Accept(verified) => Ok(verified),
            other => panic!("accepted, not {other:?}"),
        }
    }

    #[test]
    fn a_signed_id_is_believed_only_with_proof() {
        let signed = || verify::Event { identity: Some(verify::Identity::Signed("evt".into())), ..event() };
        let with = accept(signed(), proved()).expect("accepted");
        assert_eq!(with.sameness, Some(Sameness::SignedId("evt".into())));
        assert_eq!(with.timestamp, Some(5));
        let without = accept(signed(), Evidence::default()).expect("accepted");
        assert_eq!(without.sameness, Some(Sameness::UnsignedId("evt".into())));
        assert_eq!(without.timestamp, None, "a time nobody signed proves nothing");
    }

    #[test]
    fn an_unsigned_id_never_stands_in_for_signed_content() {
        let unsigned = verify::Event { identity: Some(verify::Identity::Unsigned("d".into())), ..event() };
        let verified = accept(unsigned, proved()).expect("accepted");
        assert_eq!(verified.sameness, Some(Sameness::Content(Digest::of(b"content"))));
        assert_eq!(verified.identity.as_deref(), Some("d"));
    }

    #[test]
    fn a_call_that_was_given_an_hmac_may_only_respond() {
        let used = Evidence { oracle_used: true, ..proved() };
        assert!(matches!(accept(event(), used), Err(PluginFault::Lie(_))));
    }

    #[test]
    fn lies_are_faults() {
        let refusal = |status, code: &str| types::Refusal { status, code: code.into(), detail: None };
        for (status, code) in [(200, "no"), (500, "no"), (401, "Not A Word!"), (401, ""), (0, "no")] {
            assert!(
                matches!(judge(Err(refusal(status, code)), &proved()), Err(PluginFault::Lie(_))),
                "{status} {code}"
            );
        }
        let reply = |status, name: &str, size| types::Reply {
            status,
            headers: vec![types::Header { name: name.into(), value: b"x".to_vec() }],
            body: vec![0; size],
        };
        for (status, name, size) in [
            (302, "x-a", 0),
            (500, "x-a", 0),
            (200, "content-length", 0),
            (200, "connection", 0),
            (200, "sec-websocket-accept", 0),
            (200, "bad name", 0),
            (200, "x-a", REPLY_BODY_MAX + 1),
        ] {
            let verdict = Ok(verify::Verdict::Respond(reply(status, name, size)));
            assert!(matches!(judge(verdict, &proved()), Err(PluginFault::Lie(_))), "{status} {name} {size}");
        }
        assert!(judge(Ok(verify::Verdict::Respond(reply(200, "x-a", REPLY_BODY_MAX))), &proved()).is_ok());
    }

    #[test]
    fn freshness_is_measured_both_ways_and_only_insisted_on_when_written() {
        let at = |timestamp| Verified { timestamp, ..Verified::default() };
        let (now, five) = (Timestamp::from_millis(1_000_999), Duration::from_secs(5));
        for (signed, fresh) in [(995, true), (994, false), (1_005, true), (1_006, false)] {
            assert_eq!(at(Some(signed)).is_fresh(now, Tolerance::Default(five)), fresh, "{signed}");
        }
        assert!(at(None).is_fresh(now, Tolerance::Default(five)));
        assert!(!at(None).is_fresh(now, Tolerance::Required(five)));
        assert!(at(Some(0)).is_fresh(now, Tolerance::Off));
        assert!(!at(Some(u64::MAX)).is_fresh(now, Tolerance::Default(five)));
    }

    #[test]
    fn duplicate_keys_differ_by_route_kind_and_value() {
        let keys = [
            Sameness::SignedId("a".into()).key("r"),
            Sameness::UnsignedId("a".into()).key("r"),
            Sameness::SignedId("b".into()).key("r"),
            Sameness::SignedId("a".into()).key("s"),
        ];
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }
}
