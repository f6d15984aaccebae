//! Whom the admin listener answers. A page of some other site in the operator's browser must neither read nor change
//! anything: foreign Hosts are refused (DNS rebinding), foreign Origins may change nothing, and nothing a form can send
//! changes anything.

use std::net::Ipv6Addr;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};

use super::{Refused, Tokens};
use crate::base::clock::Timestamp;
use crate::base::host::normalise_host;
use crate::base::secret::Secret;
use crate::config::plan;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Nobody,
    Reader,
    Operator,
}

/// The Host must be an IP literal, `localhost` or one that the configuration lists.
pub(super) fn host(head: &Parts, plan: &plan::Admin) -> Result<(), Refused> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| normalise_host(host.to_str().ok()?));
    let known = host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<std::net::Ipv4Addr>().is_ok()
            || bare.parse::<Ipv6Addr>().is_ok()
            || host == "localhost"
            || plan.hosts.contains(&host)
    });
    if known {
        return Ok(());
    }
    let message = "the Host is not one of this listener's: add it to `admin.hosts`";
    Err(Refused(StatusCode::MISDIRECTED_REQUEST, "host", message.into()))
}

/// What changes something must be JSON, and from the same origin where a browser says where it is from.
pub(super) fn change(head: &Parts) -> Result<(), Refused> {
    if head.method == Method::GET || head.method == Method::HEAD {
        return Ok(());
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let message = "changes need `content-type: application/json`";
        return Err(Refused(StatusCode::FORBIDDEN, "content_type", message.into()));
    }
    if foreign(&head.headers) {
        let message = "changes are taken from this listener's own pages only";
        return Err(Refused(StatusCode::FORBIDDEN, "origin", message.into()));
    }
    Ok(())
}

fn foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let origin = text("origin").is_some_and(|origin| {
        let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        origin.is_none() || origin != text("host")
    });
    site || origin
}

/// Who asks, by the token that is shown. Without a configured token everybody who reaches the listener is an operator:
/// then it listens on loopback only, which the configuration's check sees to.
pub(super) fn role(head: &Parts, tokens: &Tokens, now: Timestamp) -> Role {
    let shown = head.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    let shown =
        shown.and_then(|value| value.split_at_checked(7)).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    let shown = shown.map(|(_, token)| token);
    let is = |secret: &Option<Secret>| match (secret, shown) {
        (Some(secret), Some(shown)) => secret.live(now).fold(false, |any, (_, text)| text.matches(shown) | any),
        _ => false,
    };
    if tokens.token.is_none() || is(&tokens.token) {
        Role::Operator
    } else if is(&tokens.read_token) {
        Role::Reader
    } else {
        Role::Nobody
    }
}

/// Refuses who may not.
pub(super) fn allow(role: Role, needed: Role) -> Result<(), Refused> {
    if role >= needed {
        return Ok(());
    }
    let (status, message) = match role {
        Role::Nobody => (StatusCode::UNAUTHORIZED, "show a token: `authorization: Bearer …`"),
        Role::Reader | Role::Operator => (StatusCode::FORBIDDEN, "this token may look, not change"),
    };
    Err(Refused(status, "token", message.into()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::base::secret::{SecretText, SecretValue};

    fn head(method: Method, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn plan() -> plan::Admin {
        plan::Admin {
            address: ([127, 0, 0, 1], 0).into(),
            token: None,
            read_token: None,
            metrics_need_token: false,
            hosts: vec!["gateway.internal".into()],
        }
    }

    #[test]
    fn a_foreign_host_is_refused() {
        for good in ["127.0.0.1:9090", "[::1]:9090", "localhost", "LOCALHOST:1", "gateway.internal:9090"] {
            assert!(host(&head(Method::GET, &[("host", good)]), &plan()).is_ok(), "{good}");
        }
        for bad in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", ""] {
            let refused = host(&head(Method::GET, &[("host", bad)]), &plan()).expect_err(bad);
            assert_eq!(refused.0, StatusCode::MISDIRECTED_REQUEST);
        }
        assert!(host(&head(Method::GET, &[]), &plan()).is_err());
        assert!(host(&head(Method::GET, &[("host", "localhost"), ("host", "localhost")]), &plan()).is_err());
    }

    #[test]
    fn a_change_is_json_and_from_here() {
        let json = ("content-type", "application/json; charset=utf-8");
        let at = ("host", "localhost:9090");
        assert!(change(&head(Method::POST, &[json, at])).is_ok());
        assert!(change(&head(Method::POST, &[json, at, ("origin", "http://localhost:9090")])).is_ok());
        assert!(change(&head(Method::POST, &[json, at, ("sec-fetch-site", "same-origin")])).is_ok());
        assert!(change(&head(Method::GET, &[("origin", "http://evil.test")])).is_ok(), "reading is not changing");
        for bad in [
            &[at][..],
            &[at, ("content-type", "text/plain")],
            &[at, ("content-type", "application/x-www-form-urlencoded")],
            &[at, json, ("origin", "http://evil.test")],
            &[at, json, ("origin", "http://localhost")],
            &[at, json, ("origin", "null")],
            &[at, json, ("sec-fetch-site", "cross-site")],
            &[at, json, ("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(change(&head(Method::POST, bad)).expect_err("refused").0, StatusCode::FORBIDDEN, "{bad:?}");
        }
    }

    #[test]
    fn tokens_say_who_may_do_what() {
        let secret = |text: &str| {
            let text = SecretText::new(text.as_bytes().to_vec()).expect("not empty");
            Some(Secret { name: "t".into(), values: [SecretValue { text, until: None }].into() })
        };
        let tokens = Tokens { token: secret("admin"), read_token: secret("viewer") };
        let role_of = |fields: &[(&str, &str)]| role(&head(Method::GET, fields), &tokens, Timestamp::default());
        assert_eq!(role_of(&[("authorization", "Bearer admin")]), Role::Operator);
        assert_eq!(role_of(&[("authorization", "bearer viewer")]), Role::Reader);
        for nobody in ["Bearer", "Bearer ", "Bearer adminx", "Basic admin", "admin"] {
            assert_eq!(role_of(&[("authorization", nobody)]), Role::Nobody, "{nobody}");
        }
        assert_eq!(role_of(&[]), Role::Nobody);
        assert_eq!(role(&head(Method::GET, &[]), &Tokens::default(), Timestamp::default()), Role::Operator);
        assert_eq!(allow(Role::Reader, Role::Operator).expect_err("refused").0, StatusCode::FORBIDDEN);
        assert_eq!(allow(Role::Nobody, Role::Reader).expect_err("refused").0, StatusCode::UNAUTHORIZED);
    }
}
