//! What is where: paths and methods to what they mean.

use http::Method;

use super::guard::Role;
use super::jobs::Action;
use super::refused::Refused;

/// What `GET /` says.
pub(super) const INDEX: &str = "\
tollgate

GET  /livez                    the process answers
GET  /readyz                   whether it wants traffic
GET  /metrics                  for Prometheus
GET  /api/events               state, route, product, provider, kind, since, until, text, limit, cursor
GET  /api/events/{id}          one event with every attempt; body=true: and its body
GET  /api/events/{id}/body     its body
POST /api/events/{id}/replay   {\"verify\":false}
POST /api/events/{id}/drop     {}
POST /api/events/replay        {\"filter\":{…},\"pace\":a second,\"verify\":false} → a job
POST /api/events/drop          {\"filter\":{…},\"pace\":a second} → a job
POST /api/events/import        {\"events\":[…]} as they were exported
GET  /api/jobs/{id}            how a job stands
GET  /api/routes
GET  /api/products
GET  /api/plugins
GET  /api/config
POST /api/reload               {}
";

/// What a path means. Ids are as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Index,
    Live,
    Ready,
    Metrics,
    Events,
    Event(&'a str),
    Body(&'a str),
    Job(&'a str),
    Routes,
    Products,
    Plugins,
    Config,
    Reload,
    Import,
    Bulk(Action),
    One(Action, &'a str),
}

impl<'a> Endpoint<'a> {
    pub(super) fn find(path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        if segments.len() > 1 && segments.contains(&"") {
            return None;
        }
        Some(match segments.as_slice() {
            [""] => Self::Index,
            ["livez"] => Self::Live,
            ["readyz"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            ["api", "events"] => Self::Events,
            ["api", "events", "replay"] => Self::Bulk(Action::Replay),
            ["api", "events", "drop"] => Self::Bulk(Action::Drop),
            ["api", "events", "import"] => Self::Import,
            ["api", "events", id] => Self::Event(id),
            ["api", "events", id, "body"] => Self::Body(id),
            ["api", "events", id, "replay"] => Self::One(Action::Replay, id),
            ["api", "events", id, "drop"] => Self::One(Action::Drop, id),
            ["api", "jobs", id] => Self::Job(id),
            ["api", "routes"] => Self::Routes,
            ["api", "products"] => Self::Products,
            ["api", "plugins"] => Self::Plugins,
            ["api", "config"] => Self::Config,
            ["api", "reload"] => Self::Reload,
            _ => return None,
        })
    }

    fn changes(self) -> bool {
        matches!(self, Self::Reload | Self::Import | Self::Bulk(_) | Self::One(..))
    }

    /// Who may. Probes carry no token.
    pub(super) fn needs(self, metrics_need_token: bool) -> Role {
        match self {
            Self::Index | Self::Live | Self::Ready => Role::Nobody,
            Self::Metrics if !metrics_need_token => Role::Nobody,
            Self::Metrics
            | Self::Events
            | Self::Event(_)
            | Self::Body(_)
            | Self::Job(_)
            | Self::Routes
            | Self::Products
            | Self::Plugins
            | Self::Config => Role::Reader,
            Self::Reload | Self::Import | Self::Bulk(_) | Self::One(..) => Role::Operator,
        }
    }

    /// Changes are POST, everything else GET; HEAD is a GET.
    pub(super) fn check_method(self, method: &Method) -> Result<(), Refused> {
        let reading = method == Method::GET || method == Method::HEAD;
        match self.changes() {
            true if method != Method::POST => Err(Refused::method("POST")),
            false if !reading => Err(Refused::method("GET, HEAD")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_one_thing_and_others_nothing() {
        assert_eq!(Endpoint::find("/"), Some(Endpoint::Index));
        assert_eq!(Endpoint::find("/api/events/replay"), Some(Endpoint::Bulk(Action::Replay)));
        assert_eq!(Endpoint::find("/api/events/evt_1/drop"), Some(Endpoint::One(Action::Drop, "evt_1")));
        for nothing in ["", "*", "/api", "/api/", "/api/events/", "/api/events/a/b", "//livez", "/livez/", "/LIVEZ"] {
            assert_eq!(Endpoint::find(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_changes_something_needs_an_operator_and_post() {
        for path in ["/api/reload", "/api/events/import", "/api/events/drop", "/api/events/x/replay"] {
            let endpoint = Endpoint::find(path).expect("there");
            assert_eq!(endpoint.needs(false), Role::Operator, "{path}");
            assert!(endpoint.check_method(&Method::POST).is_ok());
            assert!(endpoint.check_method(&Method::GET).is_err(), "{path}");
        }
        let events = Endpoint::find("/api/events").expect("there");
        assert!(events.check_method(&Method::HEAD).is_ok());
        assert!(events.check_method(&Method::POST).is_err());
    }

    #[test]
    fn the_index_names_only_what_is_there() {
        for line in INDEX.lines().filter(|line| line.contains(" /")) {
            let mut words = line.split_whitespace();
            let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
            let endpoint = Endpoint::find(path).expect(path);
            assert!(endpoint.check_method(&method.parse().expect("a method")).is_ok(), "{line}");
        }
    }
}
