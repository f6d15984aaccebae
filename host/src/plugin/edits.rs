//! What a propagator's edits and a router's choice mean once they were judged: all of it can be acted on as it stands.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::bindings::types;
use super::fault::PluginFault;
use super::request::Protocol;
use super::verdict::editable;

/// Edits that one call may return.
const EDITS_MAX: usize = 64;
/// Bytes of the names and values in one call's edits.
const EDITS_BYTES_MAX: usize = 16 * 1024;

/// One change of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Replaces every value of the field.
    Set(HeaderName, HeaderValue),
    /// Adds a value.
    Append(HeaderName, HeaderValue),
    /// Takes every value away.
    Remove(HeaderName),
}

/// What one call wants changed of a head, in order. Every name is the plugin's to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(Vec<Edit>);

impl Edits {
    /// Each, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Edit> {
        self.0.iter()
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes all of them.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for edit in &self.0 {
            match edit {
                Edit::Set(name, value) => drop(headers.insert(name.clone(), value.clone())),
                Edit::Append(name, value) => drop(headers.append(name.clone(), value.clone())),
                Edit::Remove(name) => drop(headers.remove(name)),
            }
        }
    }
}

/// What is edited, without the values: those are nobody's business in a log.
impl fmt::Display for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no edits");
        }
        for (nth, edit) in self.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            match edit {
                Edit::Set(name, _) => write!(f, "{comma}set {name}")?,
                Edit::Append(name, _) => write!(f, "{comma}append {name}")?,
                Edit::Remove(name) => write!(f, "{comma}remove {name}")?,
            }
        }
        Ok(())
    }
}

/// Judges edits of a head in an exchange that speaks `protocol`. One that may not be made spoils all.
pub(crate) fn judge(edits: Vec<types::HeaderEdit>, protocol: Protocol) -> Result<Edits, PluginFault> {
    if edits.len() > EDITS_MAX {
        return Err(PluginFault::Lie(format!("it makes more than {EDITS_MAX} edits")));
    }
    let bytes: usize = edits.iter().map(size).sum();
    if bytes > EDITS_BYTES_MAX {
        return Err(PluginFault::Lie(format!("its edits have more than {EDITS_BYTES_MAX} bytes")));
    }
    edits.into_iter().map(|edit| checked(edit, protocol)).collect::<Result<_, _>>().map(Edits)
}

fn size(edit: &types::HeaderEdit) -> usize {
    match edit {
        types::HeaderEdit::Set(header) | types::HeaderEdit::Append(header) => header.name.len() + header.value.len(),
        types::HeaderEdit::Remove(name) => name.len(),
    }
}

fn checked(edit: types::HeaderEdit, protocol: Protocol) -> Result<Edit, PluginFault> {
    Ok(match edit {
        types::HeaderEdit::Set(header) => {
            let (name, value) = field(&header, protocol)?;
            Edit::Set(name, value)
        }
        types::HeaderEdit::Append(header) => {
            let (name, value) = field(&header, protocol)?;
            Edit::Append(name, value)
        }
        types::HeaderEdit::Remove(name) => Edit::Remove(named(&name, protocol)?),
    })
}

fn field(header: &types::Header, protocol: Protocol) -> Result<(HeaderName, HeaderValue), PluginFault> {
    let name = named(&header.name, protocol)?;
    let value = HeaderValue::from_bytes(&header.value)
        .map_err(|_| PluginFault::Lie(format!("the value of its field {name} is not one")))?;
    Ok((name, value))
}

fn named(name: &str, protocol: Protocol) -> Result<HeaderName, PluginFault> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| PluginFault::Lie("the name of a field it edits is not one".into()))?;
    // A gRPC message is one by its content type.
    let is_protocol = name == http::header::CONTENT_TYPE && matches!(protocol, Protocol::Grpc | Protocol::GrpcWeb);
    if is_protocol || !editable(&name) {
        return Err(PluginFault::Lie(format!("it may not edit the field {name}")));
    }
    Ok(name)
}

/// Judges a router's choice. More than one only where `many` products may be served.
pub(crate) fn choice(chosen: Vec<String>, candidates: &[String], many: bool) -> Result<Vec<String>, PluginFault> {
    if chosen.len() > 1 && !many {
        return Err(PluginFault::Lie("it chose more than one product for a request that can only go to one".into()));
    }
    for (nth, name) in chosen.iter().enumerate() {
        if !candidates.contains(name) {
            let name: Cow<'_, str> = name.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect();
            return Err(PluginFault::Lie(format!("it chose `{name}`, which is not among the candidates")));
        }
        if chosen[..nth].contains(name) {
            return Err(PluginFault::Lie(format!("it chose `{name}` twice")));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &[u8]) -> types::HeaderEdit {
        types::HeaderEdit::Set(types::Header { name: name.into(), value: value.to_vec() })
    }

    fn append(name: &str, value: &[u8]) -> types::HeaderEdit {
        types::HeaderEdit::Append(types::Header { name: name.into(), value: value.to_vec() })
    }

    fn remove(name: &str) -> types::HeaderEdit {
        types::HeaderEdit::Remove(name.into())
    }

    #[test]
    fn edits_are_made_in_their_order() {
        let edits = vec![append("x-a", b"2"), set("x-b", b"b"), remove("x-c"), set("X-D", b"d"), append("x-d", b"e")];
        let edits = judge(edits, Protocol::Http).expect("all may be made");
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x-b", "old"), ("x-b", "older"), ("x-c", "gone")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        edits.apply(&mut headers);
        let mut shown: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().expect("text"))).collect();
        shown.sort_unstable();
        assert_eq!(shown, ["x-a: 1", "x-a: 2", "x-b: b", "x-d: d", "x-d: e"]);
    }

    #[test]
    fn one_edit_that_may_not_be_made_spoils_all() {
        for name in [
            "host",
            ":authority",
            ":path",
            "content-length",
            "transfer-encoding",
            "connection",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "proxy-anything",
            "expect",
            "sec-websocket-key",
            "forwarded",
            "x-forwarded-for",
            "x-request-id",
            "traceparent",
            "tracestate",
            "tollgate-id",
            "grpc-status",
            "grpc-message",
            "grpc-timeout",
            "Host",
            "",
            "two words",
        ] {
            for edit in [set(name, b"x"), append(name, b"x"), remove(name)] {
                let judged = judge(vec![set("x-fine", b"1"), edit], Protocol::Http);
                assert!(matches!(judged, Err(PluginFault::Lie(_))), "{name}");
            }
        }
        assert!(judge(vec![set("x-a", b"two\r\nlines")], Protocol::Http).is_err());
    }

    #[test]
    fn the_content_type_of_grpc_is_its_protocol() {
        assert!(judge(vec![remove("content-type")], Protocol::Http).is_ok());
        assert!(judge(vec![remove("content-type")], Protocol::Grpc).is_err());
        assert!(judge(vec![set("content-type", b"text/html")], Protocol::GrpcWeb).is_err());
    }

    #[test]
    fn edits_are_bounded_in_number_and_size() {
        let many = |count| vec![remove("x-a"); count];
        assert!(judge(many(EDITS_MAX), Protocol::Http).is_ok());
        assert!(judge(many(EDITS_MAX + 1), Protocol::Http).is_err());
        let large = |size| vec![set("x-a", &vec![b'x'; size])];
        assert!(judge(large(EDITS_BYTES_MAX - 3), Protocol::Http).is_ok());
        assert!(judge(large(EDITS_BYTES_MAX), Protocol::Http).is_err());
    }

    #[test]
    fn a_choice_is_among_the_candidates_and_one_unless_many_may_be_served() {
        let candidates = ["a".to_owned(), "b".to_owned()];
        let chosen = |names: &[&str], many| choice(names.iter().map(ToString::to_string).collect(), &candidates, many);
        assert_eq!(chosen(&[], false), Ok(vec![]));
        assert_eq!(chosen(&["b"], false), Ok(vec!["b".to_owned()]));
        assert!(chosen(&["a", "b"], true).is_ok());
        for (names, many) in [(&["a", "b"][..], false), (&["c"], false), (&["a", "a"], true)] {
            assert!(matches!(chosen(names, many), Err(PluginFault::Lie(_))), "{names:?}");
        }
    }
}
