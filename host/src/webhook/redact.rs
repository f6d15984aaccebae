//! What of a request may be neither shown nor passed on: fields that carry credentials, and whatever equals a live
//! secret. Decided once, at intake, and kept with the event: a secret that is rotated away later stays hidden.

use http::HeaderMap;

use crate::base::clock::Timestamp;
use crate::plugin::Roles;

/// Marks a query parameter among the names of fields.
const QUERY: char = '?';

/// Fields that carry credentials whatever their value.
const CREDENTIALS: [&str; 6] =
    ["authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "x-auth-token"];

/// The names of the fields, and of the query parameters with a `?` before them, that are redacted.
pub fn names(headers: &HeaderMap, query: Option<&str>, roles: &Roles, now: Timestamp) -> Vec<String> {
    let is_secret = |value: &[u8]| roles.values().any(|secret| secret.live(now).any(|(_, text)| text.matches(value)));
    let mut names: Vec<String> = headers
        .keys()
        .filter(|name| {
            CREDENTIALS.contains(&name.as_str())
                || headers.get_all(*name).iter().any(|value| is_secret(value.as_bytes()))
        })
        .map(|name| name.as_str().to_owned())
        .collect();
    let parameters = query.into_iter().flat_map(|query| query.split('&'));
    for (name, value) in parameters.filter_map(|parameter| parameter.split_once('=')) {
        if is_secret(value.as_bytes()) || is_secret(&unescaped(value)) {
            names.push(format!("{QUERY}{name}"));
        }
    }
    names
}

/// The query without its redacted parameters; `None` when nothing is left.
pub fn query(query: &str, redacted: &[String]) -> Option<String> {
    let hidden = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        redacted.iter().any(|redacted| redacted.strip_prefix(QUERY) == Some(name))
    };
    let kept: Vec<&str> = query.split('&').filter(|parameter| !hidden(parameter)).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// Percent-decoded, with `+` as a space, as forms are written; what is malformed stays as it is.
fn unescaped(value: &str) -> Vec<u8> {
    let bytes = value.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::{Secret, SecretText, SecretValue};

    fn roles() -> Roles {
        let value = SecretValue { text: SecretText::new(b"s3cret token".to_vec()).expect("not empty"), until: None };
        [("token".to_owned(), Secret { name: "t".into(), values: [value].into() })].into()
    }

    #[test]
    fn credentials_and_whatever_equals_a_secret_are_redacted() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer x".parse().expect("a value"));
        headers.insert("x-gitlab-token", "s3cret token".parse().expect("a value"));
        headers.insert("x-event", "push".parse().expect("a value"));
        let mut names =
            names(&headers, Some("a=1&t=s3cret%20token&u=s3cret+token&v=s3cret"), &roles(), Timestamp::default());
        names.sort();
        assert_eq!(names, ["?t", "?u", "authorization", "x-gitlab-token"]);
    }

    #[test]
    fn a_query_keeps_what_is_not_redacted() {
        let redacted = ["?t".to_owned()];
        assert_eq!(query("a=1&t=x&b", &redacted).as_deref(), Some("a=1&b"));
        assert_eq!(query("t=x", &redacted), None);
    }
}
