//! Which route serves a request. Most specific first, never file order: host (exact, `*.`, any), path segment by segment
//! (literal, `{name}`, `{*rest}`), then the number of method and header predicates.
//!
//! A host that has a route for the path keeps the request, also when the route's method or headers do not fit; one that
//! has none yields to the next. Each node of a trie is visited at most once, so a lookup is bounded by the table.

use std::collections::HashMap;

use http::{HeaderMap, Method};

use crate::base::names::{ListenerName, RouteName};
use crate::config::plan::{HeaderPredicate, HostPattern, Match, PathPattern, Segment};

/// A route as it goes into the table.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// Its name; names order what is otherwise equal.
    pub name: RouteName,
    /// What it serves. No methods means all of them.
    pub matcher: Match,
    /// What is found.
    pub target: T,
}

/// What a request is found by.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Where it came in.
    pub listener: &'a ListenerName,
    /// In normal form, see [`normalise_host`](crate::base::host::normalise_host).
    pub host: &'a str,
    /// In normal form, see [`normalise`](crate::base::path::normalise).
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// Whether it stands for a request that is still to come, as a cross-origin preflight does: then `method` is that
    /// request's, and fields that `access-control-request-headers` announces have any value.
    pub preflight: bool,
}

/// Why no route serves a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// None fits.
    NoRoute,
    /// Only the method does not fit; these would.
    Method(Vec<Method>),
}

/// Why one route does not serve a request, or that it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It serves it.
    Serves,
    /// It is not on this listener.
    Listener,
    /// It is for other hosts.
    Host,
    /// It is for other paths.
    Path,
    /// It is for other methods.
    Method,
    /// This header predicate does not hold.
    Header(http::HeaderName),
    /// It fits, and this more specific one serves it, or keeps its host from it.
    LessSpecific(RouteName),
}

/// The routes, ready to be found.
#[derive(Debug)]
pub struct RouteTable<T> {
    entries: Vec<Entry<T>>,
    exact: HashMap<String, Node>,
    wildcard: HashMap<String, Node>,
    any: Option<Node>,
}

/// A place in a path. Routes are named by their place in `RouteTable::entries`.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    any: Option<Box<Node>>,
    ends: Vec<usize>,
    rests: Vec<usize>,
}

impl<T> RouteTable<T> {
    /// A table of these routes.
    pub fn new(mut entries: Vec<Entry<T>>) -> Self {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let mut table = Self { entries: vec![], exact: HashMap::new(), wildcard: HashMap::new(), any: None };
        for (at, entry) in entries.iter().enumerate() {
            let path = &entry.matcher.path;
            if entry.matcher.hosts.is_empty() {
                table.any.get_or_insert_default().insert(path, at);
            }
            for host in &entry.matcher.hosts {
                match host {
                    HostPattern::Exact(name) => table.exact.entry(name.clone()).or_default().insert(path, at),
                    HostPattern::Wildcard(name) => table.wildcard.entry(name.clone()).or_default().insert(path, at),
                }
            }
        }
        let rank = |at: &usize| (usize::MAX - predicates(&entries[*at].matcher), *at);
        table.tries_mut().for_each(|trie| trie.sort(&rank));
        table.entries = entries;
        table
    }

    fn tries_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.exact.values_mut().chain(self.wildcard.values_mut()).chain(&mut self.any)
    }

    /// The tries that a host's requests go through, most specific first.
    fn tries(&self, host: &str) -> impl Iterator<Item = &Node> {
        let wildcard = host.split_once('.').filter(|(label, _)| !label.is_empty());
        let wildcard = wildcard.and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(host).into_iter().chain(wildcard).chain(&self.any)
    }

    /// The route that serves what is asked.
    pub fn find(&self, asked: Asked<'_>) -> Result<&Entry<T>, Miss> {
        for trie in self.tries(asked.host) {
            let mut search = Search { table: self, asked, on_path: false, allow: vec![] };
            if let Some(at) = search.walk(trie, asked.path.strip_prefix('/')) {
                return Ok(&self.entries[at]);
            }
            if !search.allow.is_empty() {
                return Err(Miss::Method(search.allow));
            }
            if search.on_path {
                break;
            }
        }
        Err(Miss::NoRoute)
    }

    /// Why each route does or does not serve what is asked, by name. Slow: for people.
    pub fn explain(&self, asked: Asked<'_>) -> Vec<(RouteName, Reason)> {
        let keeper = self.find(asked).ok().map(|entry| &entry.name);
        let keeper =
            keeper.or_else(|| self.entries.iter().find(|entry| self.keeps_host(entry, asked)).map(|e| &e.name));
        let reasons = self.entries.iter().map(|entry| {
            let reason = match mismatch(&entry.matcher, asked) {
                Some(reason) => reason,
                None if keeper == Some(&entry.name) => Reason::Serves,
                None => keeper.map_or(Reason::Path, |keeper| Reason::LessSpecific(keeper.clone())),
            };
            (entry.name.clone(), reason)
        });
        reasons.collect()
    }

    /// Whether this route has the path on the most specific host that does.
    fn keeps_host(&self, entry: &Entry<T>, asked: Asked<'_>) -> bool {
        let keeping = |trie: &&Node| {
            let mut search = Search { table: self, asked, on_path: false, allow: vec![] };
            search.walk(trie, asked.path.strip_prefix('/')).is_some() || search.on_path
        };
        let on_path = matches!(mismatch(&entry.matcher, asked), Some(Reason::Method | Reason::Header(_)));
        on_path && self.tries(asked.host).find(keeping).is_some_and(|trie| trie.holds(&entry.matcher.path, entry, self))
    }

    /// The route called `name`.
    pub fn get(&self, name: &RouteName) -> Option<&Entry<T>> {
        let at = self.entries.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
        self.entries.get(at)
    }

    /// Every route, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter()
    }
}

fn predicates(matcher: &Match) -> usize {
    usize::from(!matcher.methods.is_empty()) + matcher.headers.len()
}

impl Node {
    fn insert(&mut self, path: &PathPattern, at: usize) {
        let mut node = self;
        for segment in &path.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Any(_) => node.any.get_or_insert_default(),
            };
        }
        if path.rest { node.rests.push(at) } else { node.ends.push(at) }
    }

    fn sort(&mut self, rank: &impl Fn(&usize) -> (usize, usize)) {
        self.ends.sort_by_key(rank);
        self.rests.sort_by_key(rank);
        self.literals.values_mut().for_each(|node| node.sort(rank));
        if let Some(any) = &mut self.any {
            any.sort(rank);
        }
    }

    fn holds<T>(&self, path: &PathPattern, entry: &Entry<T>, table: &RouteTable<T>) -> bool {
        let mut node = Some(self);
        for segment in &path.segments {
            node = node.and_then(|node| match segment {
                Segment::Literal(text) => node.literals.get(text),
                Segment::Any(_) => node.any.as_deref(),
            });
        }
        let list = node.map(|node| if path.rest { &node.rests } else { &node.ends });
        list.is_some_and(|list| list.iter().any(|at| table.entries[*at].name == entry.name))
    }
}

/// One walk through one trie.
struct Search<'a, T> {
    table: &'a RouteTable<T>,
    asked: Asked<'a>,
    /// A route of this host has the path.
    on_path: bool,
    /// Methods of routes that would serve it otherwise.
    allow: Vec<Method>,
}

impl<T> Search<'_, T> {
    /// The most specific route below `node` for what is left of the path; `None` left is its end.
    fn walk(&mut self, node: &Node, left: Option<&str>) -> Option<usize> {
        let Some(left) = left else {
            return self.choose(&node.ends).or_else(|| self.choose(&node.rests));
        };
        let (segment, left) = match left.split_once('/') {
            Some((segment, left)) => (segment, Some(left)),
            None => (left, None),
        };
        let literal = node.literals.get(segment).and_then(|next| self.walk(next, left));
        literal
            .or_else(|| node.any.as_ref().filter(|_| !segment.is_empty()).and_then(|next| self.walk(next, left)))
            .or_else(|| self.choose(&node.rests))
    }

    /// The first of these that fits; notes what the others lack.
    fn choose(&mut self, candidates: &[usize]) -> Option<usize> {
        for at in candidates {
            let matcher = &self.table.entries[*at].matcher;
            if !on_listener(matcher, self.asked.listener) {
                continue;
            }
            self.on_path = true;
            if unmet(matcher, self.asked).is_some() {
                continue;
            }
            if takes(matcher, self.asked.method) {
                return Some(*at);
            }
            note(&mut self.allow, &matcher.methods);
        }
        None
    }
}

fn note(allow: &mut Vec<Method>, methods: &[Method]) {
    for method in methods {
        let head = (*method == Method::GET).then_some(Method::HEAD);
        for method in [method.clone()].into_iter().chain(head) {
            if !allow.contains(&method) {
                allow.push(method);
            }
        }
    }
}

fn on_listener(matcher: &Match, listener: &ListenerName) -> bool {
    matcher.listeners.is_empty() || matcher.listeners.contains(listener)
}

/// A route for GET serves HEAD too.
fn takes(matcher: &Match, method: &Method) -> bool {
    matcher.methods.is_empty()
        || matcher.methods.contains(method)
        || (*method == Method::HEAD && matcher.methods.contains(&Method::GET))
}

/// The first header predicate that does not hold.
fn unmet<'a>(matcher: &'a Match, asked: Asked<'_>) -> Option<&'a http::HeaderName> {
    let headers = asked.headers;
    let announced = |name: &http::HeaderName| asked.preflight && is_announced(headers, name);
    let holds = |name: &http::HeaderName, predicate: &HeaderPredicate| match predicate {
        HeaderPredicate::Present(wanted) => (headers.contains_key(name) || announced(name)) == *wanted,
        HeaderPredicate::Equals(value) => headers.get_all(name).iter().any(|has| has == value) || announced(name),
    };
    matcher.headers.iter().find(|(name, predicate)| !holds(name, predicate)).map(|(name, _)| name)
}

/// Whether a preflight says that its request will have this field.
fn is_announced(headers: &HeaderMap, name: &http::HeaderName) -> bool {
    let lists = headers.get_all(http::header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let mut names = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    names.any(|announced| announced.trim().eq_ignore_ascii_case(name.as_str()))
}

/// Why this route by itself does not fit.
fn mismatch(matcher: &Match, asked: Asked<'_>) -> Option<Reason> {
    if !on_listener(matcher, asked.listener) {
        return Some(Reason::Listener);
    }
    if !matcher.hosts.is_empty() && !matcher.hosts.iter().any(|host| is_host(host, asked.host)) {
        return Some(Reason::Host);
    }
    if !is_path(&matcher.path, asked.path) {
        return Some(Reason::Path);
    }
    if let Some(name) = unmet(matcher, asked) {
        return Some(Reason::Header(name.clone()));
    }
    (!takes(matcher, asked.method)).then_some(Reason::Method)
}

fn is_host(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => name == host,
        HostPattern::Wildcard(parent) => {
            host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
        }
    }
}

fn is_path(pattern: &PathPattern, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let segments: Vec<_> = path.split('/').collect();
    let length =
        if pattern.rest { segments.len() >= pattern.segments.len() } else { segments.len() == pattern.segments.len() };
    length
        && pattern.segments.iter().zip(&segments).all(|(want, has)| match want {
            Segment::Literal(text) => text == has,
            Segment::Any(_) => !has.is_empty(),
        })
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
