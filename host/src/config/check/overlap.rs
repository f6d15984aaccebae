//! What only shows between tables: listeners on one address, products with the same environment variables, routes that
//! want the same requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::Method;

use crate::base::names::{ListenerName, ProductName, RouteName};
use crate::config::plan::{Admin, HeaderPredicate, Listener, Product, Route, Segment, environment_name};
use crate::config::raw::Reading;

/// No two listeners, nor one and the admin's, share an address.
pub(super) fn addresses(reading: &Reading, listeners: &BTreeMap<ListenerName, Listener>, admin: &Admin) {
    let public = listeners.iter().map(|(name, listener)| (format!("listener.{name}"), listener.address));
    let all: Vec<_> = std::iter::once(("admin".to_owned(), admin.address)).chain(public).collect();
    for (index, (later, address)) in all.iter().enumerate() {
        let Some((earlier, _)) = all[..index].iter().find(|(_, other)| collide(*address, *other)) else { continue };
        let message = format!("`{later}` and `{earlier}` both listen on {address}");
        let at = reading.source().span(&format!("{later}.address"));
        reading.report(reading.source().problem(at, message).help("give one of them another address"));
    }
}

/// Whether both cannot be bound: the same port, on the same address or on one that contains the other.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers =
        |wide: SocketAddr, narrow: SocketAddr| wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

/// No two products read the same environment variables.
pub(super) fn variables(reading: &Reading, products: &BTreeMap<ProductName, Product>) {
    let mut names = BTreeMap::new();
    for name in products.iter().filter(|(_, product)| product.is_secure()).map(|(name, _)| name) {
        let variables = environment_name(name);
        if let Some(earlier) = names.get(&variables) {
            let message = format!("`product.{earlier}` and `product.{name}` share the variables {variables}_TLS_…");
            let at = reading.source().span(&format!("product.{name}"));
            reading.report(reading.source().problem(at, message).help("rename one of them"));
        }
        names.insert(variables, name);
    }
}

/// No request is wanted equally by two routes.
pub(super) fn routes(reading: &Reading, routes: &BTreeMap<RouteName, Route>) {
    let mut shapes: BTreeMap<_, Vec<(&RouteName, &Route)>> = BTreeMap::new();
    for (name, route) in routes {
        let alike = shapes.entry(shape(route)).or_default();
        for (other, _) in alike.iter().filter(|(_, other)| ambiguous(route, other)) {
            report_ambiguous(reading, name, other);
        }
        alike.push((name, route));
    }
}

fn report_ambiguous(reading: &Reading, a: &RouteName, b: &RouteName) {
    let place = |name: &RouteName| reading.source().span(&format!("route.{name}"));
    let (first, second) = if place(a) <= place(b) { (a, b) } else { (b, a) };
    let at = reading.source().place(place(first));
    let message = format!(
        "`route.{second}` serves the same requests as `route.{first}` (line {}, column {})",
        at.line, at.column
    );
    let help = "make one of them more specific: host, path, method, header or listeners";
    reading.report(reading.source().problem(place(second), message).help(help));
}

/// Whether two routes of the same path shape can want the same request equally: with as many predicates, all of which
/// hold.
fn ambiguous(a: &Route, b: &Route) -> bool {
    let predicates = |route: &Route| usize::from(!methods(route).is_empty()) + route.matcher.headers.len();
    overlap(&a.matcher.listeners, &b.matcher.listeners)
        && same_host(a, b)
        && predicates(a) == predicates(b)
        && share_a_method(a, b)
        && !contradict(a, b)
}

/// Empty is all.
fn overlap<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|one| b.contains(one))
}

/// A host that only one of them names is more specific than none, so both must name one.
fn same_host(a: &Route, b: &Route) -> bool {
    let (a, b) = (&a.matcher.hosts, &b.matcher.hosts);
    a.is_empty() == b.is_empty() && overlap(a, b)
}

/// The path without the names of its placeholders.
fn shape(route: &Route) -> (Vec<Option<&str>>, bool) {
    let path = &route.matcher.path;
    let segments = path.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => Some(text.as_str()),
        Segment::Any(_) => None,
    });
    (segments.collect(), path.rest)
}

/// Empty is all.
fn methods(route: &Route) -> Vec<Method> {
    match (&route.webhook, route.matcher.methods.as_slice()) {
        (_, named @ [_, ..]) => named.to_vec(),
        (Some(_), []) => vec![Method::POST],
        (None, []) => Vec::new(),
    }
}

fn share_a_method(a: &Route, b: &Route) -> bool {
    let serves = |methods: &[Method], method: &Method| {
        methods.is_empty() || methods.contains(method) || (*method == Method::HEAD && methods.contains(&Method::GET))
    };
    let (a, b) = (methods(a), methods(b));
    let any_served = |of: &[Method], by: &[Method]| of.is_empty() || of.iter().any(|method| serves(by, method));
    any_served(&a, &b) || any_served(&b, &a)
}

/// Whether no request can fulfil the header predicates of both. One that repeats a field with two values could; which
/// route is then first by name serves it.
fn contradict(a: &Route, b: &Route) -> bool {
    use HeaderPredicate::{Equals, Present};
    let mut pairs = a.matcher.headers.iter().flat_map(|one| b.matcher.headers.iter().map(move |other| (one, other)));
    pairs.any(|((name, one), (other_name, other))| {
        name == other_name
            && match (one, other) {
                (Equals(one), Equals(other)) => one != other,
                (Present(one), Present(other)) => one != other,
                (Present(there), Equals(_)) | (Equals(_), Present(there)) => !there,
            }
    })
}
