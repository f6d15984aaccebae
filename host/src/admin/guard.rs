//! Whom the admin listener answers. A page of some other site in the operator's browser must neither read nor change
//! anything: foreign Hosts are refused (DNS rebinding), foreign Origins may change nothing, and nothing a form can send
//! changes anything.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::refused::Refused;
use crate::base::clock::Timestamp;
use crate::base::host::normalise_host;
use crate::base::names::SecretName;
use crate::base::secret::Secret;
use crate::config::plan;

/// Whom the listener answers: what `[admin]` says, with its secrets.
#[derive(Clone, Debug)]
pub struct Access {
    token: Option<Secret>,
    read_token: Option<Secret>,
    pub(super) metrics_need_token: bool,
    hosts: Vec<String>,
    loopback: bool,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Nobody,
    Reader,
    Operator,
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Reader => "reader",
            Self::Operator => "operator",
        }
    }

    /// Refuses who may not.
    pub(super) fn allow(self, needed: Self) -> Result<(), Refused> {
        if self >= needed {
            return Ok(());
        }
        let (status, message) = match self {
            Self::Nobody => (StatusCode::UNAUTHORIZED, "show a token: `authorization: Bearer …`"),
            Self::Reader | Self::Operator => (StatusCode::FORBIDDEN, "this token may look, not change"),
        };
        Err(Refused::new(status, "token", message))
    }
}

impl Access {
    /// As the configuration says. A secret that it names and that is not among `secrets` opens nothing.
    pub fn of(plan: &plan::Admin, secrets: &BTreeMap<SecretName, Secret>) -> Self {
        let nothing = |name: &SecretName| Secret { name: name.as_str().into(), values: Arc::new([]) };
        let secret = |name: &SecretName| secrets.get(name).cloned().unwrap_or_else(|| nothing(name));
        Self {
            token: plan.token.as_ref().map(secret),
            read_token: plan.read_token.as_ref().map(secret),
            metrics_need_token: plan.metrics_need_token,
            hosts: plan.hosts.clone(),
            loopback: plan.address.ip().is_loopback(),
        }
    }

    /// The Host must be an IP literal, `localhost` or one that the configuration lists; so must the host of a target in
    /// absolute form.
    pub(super) fn check_host(&self, head: &Parts) -> Result<(), Refused> {
        let mut hosts = head.headers.get_all(header::HOST).iter();
        let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok());
        let target = head.uri.authority().map(http::uri::Authority::as_str);
        if host.is_some_and(|host| self.is_ours(host)) && target.is_none_or(|target| self.is_ours(target)) {
            return Ok(());
        }
        let message = "the Host is not one of this listener's: add it to `admin.hosts`";
        Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, "host", message))
    }

    fn is_ours(&self, authority: &str) -> bool {
        let Some(host) = normalise_host(authority) else { return false };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let literal = bare.parse::<Ipv4Addr>().is_ok() || bare.parse::<Ipv6Addr>().is_ok();
        literal || host == "localhost" || self.hosts.contains(&host)
    }

    /// Who asks, by the token that is shown. Without a configured token everybody who reaches a loopback listener is an
    /// operator; with `read_token` alone nobody is.
    pub(super) fn role(&self, head: &Parts, now: Timestamp) -> Role {
        if self.token.is_none() && self.read_token.is_none() {
            return if self.loopback { Role::Operator } else { Role::Nobody };
        }
        let Some(shown) = bearer(&head.headers) else { return Role::Nobody };
        // Every live value is compared, so that the time taken does not tell which one it is.
        let opens = |secret: &Option<Secret>| {
            let live = secret.iter().flat_map(|secret| secret.live(now));
            live.fold(false, |any, (_, text)| text.matches(shown) | any)
        };
        match (opens(&self.token), opens(&self.read_token)) {
            (true, _) => Role::Operator,
            (false, true) => Role::Reader,
            (false, false) => Role::Nobody,
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// What changes something must be JSON, and from the same origin where a browser says where it is from.
pub(super) fn check_change(head: &Parts) -> Result<(), Refused> {
    if head.method == Method::GET || head.method == Method::HEAD {
        return Ok(());
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let message = "changes need `content-type: application/json`";
        return Err(Refused::new(StatusCode::FORBIDDEN, "content_type", message));
    }
    if is_foreign(&head.headers) {
        let message = "changes are taken from this listener's own pages only";
        return Err(Refused::new(StatusCode::FORBIDDEN, "origin", message));
    }
    Ok(())
}

/// The scheme is not compared: what ends TLS before this listener is not known here.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let is_ours = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        authority.is_some() && authority == host
    };
    let foreign_site = headers.get_all("sec-fetch-site").iter().any(|site| site != "same-origin");
    foreign_site || !headers.get_all(header::ORIGIN).iter().all(is_ours)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::base::secret::{SecretText, SecretValue};

    const NOW: Timestamp = Timestamp::from_seconds(1000);

    fn at(uri: &str, method: Method, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn head(method: Method, fields: &[(&str, &str)]) -> Parts {
        at("/", method, fields)
    }

    /// The values of a secret, each with the second it ends at.
    fn secret(name: &str, values: &[(&str, Option<i64>)]) -> (SecretName, Secret) {
        let values = values.iter().map(|(text, until)| SecretValue {
            text: SecretText::new(text.as_bytes().to_vec()).expect("not empty"),
            until: until.map(Timestamp::from_seconds),
        });
        (SecretName::new(name).expect("a name"), Secret { name: name.into(), values: values.collect() })
    }

    /// `[admin]` with these tokens, of which there are `secrets`.
    fn access(tokens: [Option<&str>; 2], secrets: &[(SecretName, Secret)], address: [u8; 4]) -> Access {
        let [token, read_token] = tokens.map(|name| name.and_then(SecretName::new));
        let hosts = vec!["gateway.internal".into()];
        let plan = plan::Admin { address: (address, 9090).into(), token, read_token, metrics_need_token: false, hosts };
        Access::of(&plan, &secrets.iter().cloned().collect())
    }

    fn open() -> Access {
        access([None, None], &[], [127, 0, 0, 1])
    }

    #[test]
    fn a_foreign_host_is_refused() {
        let access = open();
        for good in ["127.0.0.1:9090", "10.1.2.3", "[::1]:9090", "localhost", "LOCALHOST:1", "gateway.internal:9090"] {
            assert!(access.check_host(&head(Method::GET, &[("host", good)])).is_ok(), "{good}");
        }
        for bad in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "evil@localhost", "127.1", ""] {
            let refused = access.check_host(&head(Method::GET, &[("host", bad)])).expect_err(bad);
            assert_eq!(refused.status, StatusCode::MISDIRECTED_REQUEST);
        }
        assert!(access.check_host(&head(Method::GET, &[])).is_err());
        assert!(access.check_host(&head(Method::GET, &[("host", "localhost"), ("host", "localhost")])).is_err());
    }

    #[test]
    fn a_target_in_absolute_form_cannot_hide_a_foreign_host() {
        let check = |uri: &str| open().check_host(&at(uri, Method::GET, &[("host", "localhost")]));
        assert!(check("http://localhost:9090/livez").is_ok());
        assert!(check("http://evil.test/livez").is_err());
    }

    #[test]
    fn a_change_is_json_and_from_here() {
        let json = ("content-type", "application/json; charset=utf-8");
        let at = ("host", "localhost:9090");
        for good in [
            &[json, at][..],
            &[json, at, ("origin", "http://localhost:9090")],
            &[json, at, ("origin", "https://localhost:9090"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(check_change(&head(Method::POST, good)).is_ok(), "{good:?}");
        }
        assert!(check_change(&head(Method::GET, &[("origin", "http://evil.test")])).is_ok(), "reading is not changing");
        for bad in [
            &[at][..],
            &[at, ("content-type", "text/plain")],
            &[at, ("content-type", "application/x-www-form-urlencoded")],
            &[at, json, ("origin", "http://evil.test")],
            &[at, json, ("origin", "http://localhost")],
            &[at, json, ("origin", "localhost:9090")],
            &[at, json, ("origin", "null")],
            &[at, json, ("origin", "http://localhost:9090"), ("origin", "http://evil.test")],
            &[at, json, ("sec-fetch-site", "cross-site")],
            &[at, json, ("sec-fetch-site", "same-site")],
            &[at, json, ("sec-fetch-site", "none")],
        ] {
            let refused = check_change(&head(Method::POST, bad)).expect_err("refused");
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{bad:?}");
        }
    }

    fn role(access: &Access, authorization: &str) -> Role {
        access.role(&head(Method::GET, &[("authorization", authorization)]), NOW)
    }

    #[test]
    fn tokens_say_who_may_do_what() {
        let secrets = [secret("a", &[("admin", None)]), secret("v", &[("viewer", None)])];
        let access = access([Some("a"), Some("v")], &secrets, [0, 0, 0, 0]);
        assert_eq!(role(&access, "Bearer admin"), Role::Operator);
        assert_eq!(role(&access, "bearer viewer"), Role::Reader);
        for nobody in ["Bearer", "Bearer ", "Bearer adminx", "Bearer  admin", "Basic admin", "admin"] {
            assert_eq!(role(&access, nobody), Role::Nobody, "{nobody}");
        }
        assert_eq!(access.role(&head(Method::GET, &[]), NOW), Role::Nobody);
        assert_eq!(Role::Reader.allow(Role::Operator).expect_err("refused").status, StatusCode::FORBIDDEN);
        assert_eq!(Role::Nobody.allow(Role::Reader).expect_err("refused").status, StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn every_live_value_of_a_token_opens_and_one_past_its_end_does_not() {
        let secrets = [secret("a", &[("new", None), ("old", Some(1001)), ("older", Some(1000))])];
        let access = access([Some("a"), None], &secrets, [127, 0, 0, 1]);
        assert_eq!(role(&access, "Bearer new"), Role::Operator);
        assert_eq!(role(&access, "Bearer old"), Role::Operator);
        assert_eq!(role(&access, "Bearer older"), Role::Nobody);
    }

    #[test]
    fn without_a_token_only_loopback_is_open() {
        let nobody = head(Method::GET, &[]);
        assert_eq!(open().role(&nobody, NOW), Role::Operator);
        assert_eq!(access([None, None], &[], [0, 0, 0, 0]).role(&nobody, NOW), Role::Nobody);
    }

    #[test]
    fn a_read_token_alone_opens_reading_and_closes_the_rest() {
        let access = access([None, Some("v")], &[secret("v", &[("viewer", None)])], [127, 0, 0, 1]);
        assert_eq!(access.role(&head(Method::GET, &[]), NOW), Role::Nobody);
        assert_eq!(role(&access, "Bearer viewer"), Role::Reader);
    }

    #[test]
    fn a_token_whose_secret_is_missing_opens_nothing() {
        let access = access([Some("a"), None], &[], [127, 0, 0, 1]);
        assert_eq!(access.role(&head(Method::GET, &[]), NOW), Role::Nobody);
        assert_eq!(role(&access, "Bearer "), Role::Nobody);
    }
}
