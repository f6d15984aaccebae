//! What stands inside a field or the query: cookies and parameters. And which fields a plugin may change at all.

use crate::request::Request;
use crate::scheme::form;
use crate::verdict::Refusal;

/// Fields that frame, route or trace a message: the gateway's alone.
const KEPT: [&str; 16] = [
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
];
const KEPT_FAMILIES: [&str; 4] = ["proxy-", "sec-websocket-", "x-forwarded-", "tollgate-"];

/// Whether a propagator may edit the field `name` (lower case). An edit of any other is a fault.
pub fn is_editable(name: &str) -> bool {
    !KEPT.contains(&name) && !KEPT_FAMILIES.iter().any(|family| name.starts_with(family))
}

impl Request<'_> {
    /// The one value of a cookie, if it was sent. Refuses the request where it was sent twice.
    pub fn cookie(&self, name: &str) -> Result<Option<String>, Refusal> {
        let mut found = None;
        for field in self.values("cookie") {
            let text = String::from_utf8(field).map_err(|_| Refusal::new(400, "malformed").detail("cookie"))?;
            for (key, value) in text.split(';').filter_map(|pair| pair.trim().split_once('=')) {
                if key == name && found.replace(value.to_owned()).is_some() {
                    return Err(Refusal::new(400, "repeated").detail(name));
                }
            }
        }
        Ok(found)
    }

    /// The one value of a parameter of the query, decoded, if it was sent. Refuses the request where it was sent twice or
    /// is not UTF-8.
    pub fn parameter(&self, name: &str) -> Result<Option<String>, Refusal> {
        let malformed = || Refusal::new(400, "malformed").detail(name);
        let mut found = None;
        for pair in self.query().unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if form::decode(key.as_bytes()).as_deref() != Some(name) {
                continue;
            }
            if found.replace(form::decode(value.as_bytes()).ok_or_else(malformed)?).is_some() {
                return Err(Refusal::new(400, "repeated").detail(name));
            }
        }
        Ok(found)
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::*;
    use crate::testing::FakeRequest;
    use crate::{About, Edit, Problems, Propagator, Settings};

    /// Shows what it found.
    struct Finder;

    impl Propagator for Finder {
        const ABOUT: About = About::new("finder", "none");

        fn configure(_: &Settings) -> Result<Self, Problems> {
            Ok(Self)
        }

        fn on_request(&self, request: &Request<'_>) -> Result<Vec<Edit>, Refusal> {
            let found = [request.cookie("c")?, request.parameter("p")?];
            Ok(found.into_iter().map(|found| Edit::set("x-found", found.unwrap_or_default())).collect())
        }
    }

    fn found(url: &str, cookie: &str) -> Result<Vec<String>, &'static str> {
        let edits = FakeRequest::post(url).header("cookie", cookie).on_request::<Finder>("{}");
        let text = |edit| match edit {
            Edit::Set(_, value) => String::from_utf8(value).expect("text"),
            other => panic!("{other:?}"),
        };
        edits.map(|edits| edits.into_iter().map(text).collect()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn cookies_and_parameters_are_found_once_or_refused() {
        assert_eq!(found("/?p=a%20b+c&q=%", "b=1; c=x=y;d"), Ok(vec!["x=y".into(), "a b c".into()]));
        assert_eq!(found("/?xp=1", "cc=1"), Ok(vec![String::new(), String::new()]));
        assert_eq!(found("/?p=1&p=1", ""), Err("repeated"));
        assert_eq!(found("/", "c=1; c=2"), Err("repeated"));
        assert_eq!(found("/?p=%f", ""), Err("malformed"));
        assert_eq!(found("/?p=%ff", ""), Err("malformed"));
    }

    #[test]
    fn what_belongs_to_the_gateway_is_not_editable() {
        for name in ["host", "te", "proxy-x", "x-forwarded-for", "sec-websocket-key", "tollgate-id", "grpc-timeout"] {
            assert!(!is_editable(name), "{name}");
        }
        assert!(is_editable("x-tenant") && is_editable("authorization") && is_editable("grpc-encoding"));
    }
}
