use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const PUBLIC: &str = "public";

fn pattern(text: &str) -> PathPattern {
    let mut pattern = PathPattern { segments: vec![], rest: false };
    for segment in text[1..].split('/') {
        match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            Some("*rest") => pattern.rest = true,
            Some(name) => pattern.segments.push(Segment::Any(name.into())),
            None => pattern.segments.push(Segment::Literal(segment.into())),
        }
    }
    pattern
}

fn matcher(host: &str, path: &str, methods: &[Method]) -> Match {
    let hosts = match host.strip_prefix("*.") {
        _ if host.is_empty() => vec![],
        Some(parent) => vec![HostPattern::Wildcard(parent.into())],
        None => vec![HostPattern::Exact(host.into())],
    };
    Match { listeners: vec![], hosts, path: pattern(path), methods: methods.to_vec(), headers: vec![] }
}

fn table(routes: Vec<(&str, Match)>) -> RouteTable<()> {
    let entry = |(name, matcher)| Entry { name: RouteName::new(name).expect("a name"), matcher, target: () };
    RouteTable::new(routes.into_iter().map(entry).collect())
}

/// What serves `method host path`: the route's name, `none`, or `405 ` and what is allowed.
fn ask(table: &RouteTable<()>, method: Method, host: &str, path: &str, headers: &HeaderMap) -> String {
    let listener = ListenerName::new(PUBLIC).expect("a name");
    match table.find(Asked { listener: &listener, host, path, method: &method, headers, preflight: false }) {
        Ok(entry) => entry.name.to_string(),
        Err(Miss::NoRoute) => "none".into(),
        Err(Miss::Method(allow)) => {
            format!("405 {}", allow.iter().map(Method::as_str).collect::<Vec<_>>().join(","))
        }
    }
}

fn get(table: &RouteTable<()>, host: &str, path: &str) -> String {
    ask(table, Method::GET, host, path, &HeaderMap::new())
}

#[test]
fn a_literal_beats_a_name_beats_the_rest() {
    let table = table(vec![
        ("rest", matcher("", "/v1/{*rest}", &[])),
        ("name", matcher("", "/v1/{id}", &[])),
        ("literal", matcher("", "/v1/me", &[])),
        ("deep", matcher("", "/v1/{id}/keys", &[])),
    ]);
    for (path, route) in [
        ("/v1/me", "literal"),
        ("/v1/you", "name"),
        ("/v1/you/keys", "deep"),
        ("/v1/me/keys", "deep"),
        ("/v1/me/locks", "rest"),
        ("/v1", "rest"),
        ("/v1/", "rest"),
        ("/v1//", "rest"),
        ("/", "none"),
        ("/v2", "none"),
    ] {
        assert_eq!(get(&table, "a", path), route, "{path}");
    }
}

#[test]
fn a_trailing_slash_counts() {
    let table = table(vec![("with", matcher("", "/a/", &[])), ("without", matcher("", "/a", &[]))]);
    assert_eq!(get(&table, "a", "/a"), "without");
    assert_eq!(get(&table, "a", "/a/"), "with");
    assert_eq!(get(&table, "a", "/a//"), "none");
}

#[test]
fn the_root_is_a_path_like_any() {
    let table = table(vec![("root", matcher("", "/", &[])), ("rest", matcher("x", "/{*rest}", &[]))]);
    assert_eq!(get(&table, "a", "/"), "root");
    assert_eq!(get(&table, "x", "/"), "rest");
    assert_eq!(get(&table, "x", "/a/b"), "rest");
    assert_eq!(get(&table, "a", "/a"), "none");
}

#[test]
fn a_host_without_a_route_for_the_path_yields_to_the_next() {
    let table = table(vec![
        ("exact", matcher("api.example.com", "/a", &[])),
        ("wild", matcher("*.example.com", "/b", &[])),
        ("any", matcher("", "/{*rest}", &[])),
    ]);
    assert_eq!(get(&table, "api.example.com", "/a"), "exact");
    assert_eq!(get(&table, "api.example.com", "/b"), "wild");
    assert_eq!(get(&table, "api.example.com", "/c"), "any");
    assert_eq!(get(&table, "www.example.com", "/a"), "any");
    assert_eq!(get(&table, "x.y.example.com", "/b"), "any", "a wildcard is one label");
    assert_eq!(get(&table, "example.com", "/b"), "any");
    assert_eq!(get(&table, ".example.com", "/b"), "any");
}

#[test]
fn a_host_with_a_route_for_the_path_keeps_the_request() {
    let table = table(vec![("exact", matcher("a", "/x", &[Method::PUT])), ("any", matcher("", "/x", &[]))]);
    assert_eq!(get(&table, "a", "/x"), "405 PUT");
    assert_eq!(get(&table, "b", "/x"), "any");
}

#[test]
fn a_path_without_its_method_is_405_with_every_method_it_has() {
    let table = table(vec![
        ("read", matcher("", "/x", &[Method::GET])),
        ("write", matcher("", "/x", &[Method::PUT, Method::DELETE])),
    ]);
    assert_eq!(ask(&table, Method::POST, "a", "/x", &HeaderMap::new()), "405 GET,HEAD,PUT,DELETE");
    assert_eq!(ask(&table, Method::HEAD, "a", "/x", &HeaderMap::new()), "read");
    assert_eq!(ask(&table, Method::OPTIONS, "a", "/y", &HeaderMap::new()), "none");
}

#[test]
fn another_routes_wider_path_takes_the_method_that_a_narrow_one_lacks() {
    let table = table(vec![("narrow", matcher("", "/x", &[Method::GET])), ("wide", matcher("", "/{*rest}", &[]))]);
    assert_eq!(get(&table, "a", "/x"), "narrow");
    assert_eq!(ask(&table, Method::POST, "a", "/x", &HeaderMap::new()), "wide");
}

#[test]
fn more_predicates_go_first() {
    let tenant = HeaderName::from_static("x-tenant");
    let with = |mut matcher: Match, predicate| {
        matcher.headers.push((tenant.clone(), predicate));
        matcher
    };
    let acme = HeaderValue::from_static("acme");
    let table = table(vec![
        ("plain", matcher("", "/x", &[])),
        ("there", with(matcher("", "/x", &[]), HeaderPredicate::Present(true))),
        ("acme", with(matcher("", "/x", &[Method::GET]), HeaderPredicate::Equals(acme.clone()))),
        ("absent", with(matcher("", "/y", &[]), HeaderPredicate::Present(false))),
    ]);
    let mut headers = HeaderMap::new();
    assert_eq!(ask(&table, Method::GET, "a", "/x", &headers), "plain");
    assert_eq!(ask(&table, Method::GET, "a", "/y", &headers), "absent");
    headers.append(&tenant, HeaderValue::from_static("other"));
    assert_eq!(ask(&table, Method::GET, "a", "/x", &headers), "there");
    assert_eq!(ask(&table, Method::GET, "a", "/y", &headers), "none");
    headers.append(&tenant, acme);
    assert_eq!(ask(&table, Method::GET, "a", "/x", &headers), "acme");
    assert_eq!(ask(&table, Method::POST, "a", "/x", &headers), "there");
}

#[test]
fn a_route_of_another_listener_is_not_there() {
    let mut elsewhere = matcher("", "/x", &[]);
    elsewhere.listeners = vec![ListenerName::new("other").expect("a name")];
    let table = table(vec![("elsewhere", elsewhere), ("rest", matcher("", "/{*rest}", &[Method::GET]))]);
    assert_eq!(get(&table, "a", "/x"), "rest");
    assert_eq!(ask(&table, Method::PUT, "a", "/x", &HeaderMap::new()), "405 GET,HEAD");
}

#[test]
fn explain_says_why_each_route_does_or_does_not() {
    let mut elsewhere = matcher("", "/x", &[]);
    elsewhere.listeners = vec![ListenerName::new("other").expect("a name")];
    let table = table(vec![
        ("a", matcher("", "/x", &[Method::GET])),
        ("b", matcher("", "/{*rest}", &[])),
        ("c", matcher("other", "/x", &[])),
        ("d", matcher("", "/y", &[])),
        ("e", matcher("", "/x", &[Method::PUT])),
        ("f", elsewhere),
    ]);
    let listener = ListenerName::new(PUBLIC).expect("a name");
    let headers = HeaderMap::new();
    let asked =
        Asked { listener: &listener, host: "h", path: "/x", method: &Method::GET, headers: &headers, preflight: false };
    let reasons: Vec<_> = table.explain(asked).into_iter().map(|(_, reason)| reason).collect();
    let a = RouteName::new("a").expect("a name");
    assert_eq!(
        reasons,
        [Reason::Serves, Reason::LessSpecific(a), Reason::Host, Reason::Path, Reason::Method, Reason::Listener]
    );
}

#[test]
fn explain_names_the_route_that_keeps_the_host() {
    let table = table(vec![("any", matcher("", "/x", &[])), ("own", matcher("h", "/x", &[Method::PUT]))]);
    let listener = ListenerName::new(PUBLIC).expect("a name");
    let headers = HeaderMap::new();
    let asked =
        Asked { listener: &listener, host: "h", path: "/x", method: &Method::GET, headers: &headers, preflight: false };
    let own = RouteName::new("own").expect("a name");
    assert_eq!(table.explain(asked)[0].1, Reason::LessSpecific(own));
}

/// The rule as the contract words it, by brute force over all routes.
fn by_the_book(table: &RouteTable<()>, asked: Asked<'_>) -> Result<RouteName, Miss> {
    let host_rank = |matcher: &Match| {
        let rank = |host: &HostPattern| if matches!(host, HostPattern::Exact(_)) { 0 } else { 1 };
        let fitting = matcher.hosts.iter().filter(|host| is_host(host, asked.host));
        if matcher.hosts.is_empty() { Some(2) } else { fitting.map(rank).min() }
    };
    let path_rank = |path: &PathPattern| -> Vec<u8> {
        let kinds = path.segments.iter().map(|segment| if matches!(segment, Segment::Literal(_)) { 1 } else { 2 });
        kinds.chain(path.rest.then_some(3)).collect()
    };
    for host in 0..3 {
        let on_path: Vec<_> = table
            .iter()
            .filter(|e| on_listener(&e.matcher, asked.listener))
            .filter(|e| host_rank(&e.matcher) == Some(host) && is_path(&e.matcher.path, asked.path))
            .collect();
        if on_path.is_empty() {
            continue;
        }
        let announced = asked.preflight && asked.headers.contains_key("access-control-request-headers");
        let there = announced || asked.headers.contains_key("x-h");
        let fits = |e: &&&Entry<()>| {
            e.matcher.headers.iter().all(|(_, predicate)| match predicate {
                HeaderPredicate::Present(wanted) => *wanted == there,
                HeaderPredicate::Equals(value) => announced || asked.headers.get("x-h") == Some(value),
            })
        };
        let best = on_path
            .iter()
            .filter(fits)
            .filter(|e| takes(&e.matcher, asked.method))
            .min_by_key(|e| (path_rank(&e.matcher.path), usize::MAX - predicates(&e.matcher), e.name.clone()));
        if let Some(best) = best {
            return Ok(best.name.clone());
        }
        let mut allow = vec![];
        on_path.iter().filter(fits).for_each(|e| note(&mut allow, &e.matcher.methods));
        return Err(if allow.is_empty() { Miss::NoRoute } else { Miss::Method(allow) });
    }
    Err(Miss::NoRoute)
}

fn some_matcher() -> impl Strategy<Value = Match> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("{x}"), Just("")];
    let path = (prop::collection::vec(segment, 0..4), any::<bool>());
    let path = path.prop_map(|(mut segments, rest)| {
        if rest || segments.is_empty() {
            segments.push(if rest { "{*rest}" } else { "" });
        }
        format!("/{}", segments.join("/"))
    });
    let host = prop_oneof![Just(""), Just("h.test"), Just("*.test"), Just("g.test")];
    let method = prop_oneof![Just(vec![]), Just(vec![Method::GET]), Just(vec![Method::PUT, Method::POST])];
    let equals =
        prop_oneof![Just("1"), Just("2")].prop_map(|value| HeaderPredicate::Equals(HeaderValue::from_static(value)));
    let header = prop::option::of(prop_oneof![any::<bool>().prop_map(HeaderPredicate::Present), equals]);
    let listener = prop_oneof![4 => Just(vec![]), 1 => Just(vec!["other"]), 1 => Just(vec![PUBLIC])];
    (host, path, method, header, listener).prop_map(|(host, path, methods, header, listeners)| {
        let mut matcher = matcher(host, &path, &methods);
        matcher.headers = header.map(|predicate| (HeaderName::from_static("x-h"), predicate)).into_iter().collect();
        matcher.listeners = listeners.into_iter().filter_map(ListenerName::new).collect();
        matcher
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_trie_finds_what_the_book_says(
        matchers in prop::collection::vec(some_matcher(), 1..12),
        host in prop_oneof![Just("h.test"), Just("g.test"), Just("x.test"), Just("else")],
        segments in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("")], 1..5),
        method in prop_oneof![Just(Method::GET), Just(Method::HEAD), Just(Method::PUT), Just(Method::PATCH)],
        (header, preflight, announced) in any::<(bool, bool, bool)>(),
    ) {
        let entries = matchers.into_iter().enumerate().map(|(at, matcher)| {
            Entry { name: RouteName::new(&format!("r{at:02}")).unwrap(), matcher, target: () }
        });
        let table = RouteTable::new(entries.collect());
        let path = format!("/{}", segments.join("/"));
        let mut headers = HeaderMap::new();
        if header {
            headers.insert("x-h", HeaderValue::from_static("1"));
        }
        if announced {
            headers.insert("access-control-request-headers", HeaderValue::from_static("x-other, X-H"));
        }
        let listener = ListenerName::new(PUBLIC).unwrap();
        let asked = Asked { listener: &listener, host, path: &path, method: &method, headers: &headers, preflight };
        let sorted = |miss: Miss| match miss {
            Miss::Method(mut allow) => {
                allow.sort_by_key(|method| method.as_str().to_owned());
                Miss::Method(allow)
            }
            miss => miss,
        };
        let found = table.find(asked).map(|entry| entry.name.clone());
        let explained = table.explain(asked);
        let serving: Vec<_> = explained.iter().filter(|(_, reason)| *reason == Reason::Serves).collect();
        prop_assert_eq!(serving.len(), usize::from(found.is_ok()));
        prop_assert_eq!(found.map_err(sorted), by_the_book(&table, asked).map_err(sorted));
    }
}
