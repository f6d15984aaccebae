//! What a route does with a request: as data, and as lines for people.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::{Value, json};

use crate::base::sizes::show_duration;
use crate::config::plan::{
    Backend, Balance, Cors, HeaderPredicate, HostPolicy, Match, Origins, Plan, PluginUse, Policy, Product, Route,
    Timeouts, Webhook,
};
use crate::gateway::routes::{Asked, Entry};

/// The width of the column of names.
const NAMES: usize = 10;

/// What the route of `entry` does with the request.
pub(super) fn route(plan: &Plan, entry: &Entry<&Route>, asked: &Asked<'_>) -> Value {
    let (name, route) = (entry.name.as_str(), entry.target);
    let product = plan.products.get(&route.product);
    let webhook = route.webhook.as_ref();
    json!({
        "route": name,
        "place": plan.source.line(&format!("route.{name}")),
        "matches": matches(&entry.matcher),
        "cors": route.policy.cors.as_ref().map(|cors| shown_cors(cors, asked)),
        "rate": rate(&route.policy),
        "max_body": webhook.map(|webhook| webhook.max_body).or(route.policy.max_body).map(|limit| limit.to_string()),
        "verifier": webhook.map(|webhook| webhook.verifier.as_str()),
        "mode": webhook.map(|_| "durable"),
        "checks": webhook.map(checks),
        "plugins": route.plugins.iter().map(plugin).collect::<Vec<_>>(),
        "path": path(route, asked.path),
        "timeouts": timeouts(&route.timeouts, webhook),
        "product": route.product.as_str(),
        "upstreams": product.map(upstreams),
        "balance": product.and_then(balance),
        "host": product.and_then(|product| host(product, webhook.is_some())),
    })
}

fn matches(matcher: &Match) -> String {
    let mut parts = vec![matcher.path.to_string()];
    if !matcher.hosts.is_empty() {
        parts.push(format!("host {}", list(&matcher.hosts)));
    }
    if !matcher.methods.is_empty() {
        parts.push(methods(&matcher.methods));
    }
    parts.extend(matcher.headers.iter().map(predicate));
    if !matcher.listeners.is_empty() {
        parts.push(format!("on {}", list(&matcher.listeners)));
    }
    parts.join("; ")
}

/// A header predicate in words.
pub(super) fn predicate((name, predicate): &(HeaderName, HeaderPredicate)) -> String {
    match predicate {
        HeaderPredicate::Equals(value) => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
        HeaderPredicate::Present(true) => format!("{name} with any value"),
        HeaderPredicate::Present(false) => format!("no {name}"),
    }
}

/// Methods, with the HEAD that GET implies.
pub(super) fn methods(methods: &[Method]) -> String {
    let implied = methods.contains(&Method::GET) && !methods.contains(&Method::HEAD);
    list(&methods.iter().chain(implied.then_some(&Method::HEAD)).collect::<Vec<_>>())
}

/// What is in a list, separated by commas.
pub(super) fn list(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn shown_cors(cors: &Cors, asked: &Asked<'_>) -> String {
    let (who, allowed) = match &cors.origins {
        Origins::Any => ("any origin".to_owned(), true),
        Origins::These(origins) => {
            let said = asked.headers.get(http::header::ORIGIN);
            let names = origins.iter().map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned());
            (names.collect::<Vec<_>>().join(", "), said.is_none_or(|said| origins.contains(said)))
        }
    };
    let mut text = format!("{who}{}", if cors.credentials { ", with credentials" } else { "" });
    if asked.preflight {
        text += "; this preflight is answered by the gateway with 204";
    }
    if !allowed {
        text += "; this request's origin is not allowed";
    }
    text
}

fn rate(policy: &Policy) -> Option<String> {
    let rate = policy.rate.as_ref()?;
    Some(format!("{} a second, {} at once, by {}", rate.per_second, rate.burst, rate.by))
}

fn checks(webhook: &Webhook) -> String {
    use crate::config::plan::Tolerance::{Default, Off, Required};
    let freshness = match webhook.tolerance {
        Off => "timestamps are not checked".to_owned(),
        Default(tolerance) => format!("a signed timestamp within {}", show_duration(tolerance)),
        Required(tolerance) => format!("a signed timestamp, which must be there, within {}", show_duration(tolerance)),
    };
    match webhook.duplicates {
        Some(window) => format!("{freshness}; copies are known for {}", show_duration(window)),
        None => format!("{freshness}; copies are not looked for"),
    }
}

/// A plugin of the route; one with candidates chooses among them.
fn plugin(plugin: &PluginUse) -> String {
    let candidates: Vec<_> = plugin.candidates.iter().map(|candidate| candidate.product.as_str()).collect();
    match candidates.as_slice() {
        [] => plugin.plugin.to_string(),
        names => format!("{} (chooses among {})", plugin.plugin, names.join(" and ")),
    }
}

/// The path that the product sees.
fn path(route: &Route, path: &str) -> String {
    let seen = match (&route.policy.rewrite, route.webhook.as_ref().and_then(|webhook| webhook.deliver_path.as_ref())) {
        (_, Some(fixed)) => fixed.clone(),
        (Some(rewrite), None) => rewrite.apply(path).into_owned(),
        (None, None) => return format!("{path}, as it is"),
    };
    format!("{path} → {seen}")
}

fn timeouts(timeouts: &Timeouts, webhook: Option<&Webhook>) -> String {
    let of = |name: &str, limit: Option<Duration>| {
        format!("{name} {}", limit.map_or_else(|| "off".to_owned(), show_duration))
    };
    let mut shown = vec![of("connect", timeouts.connect), of("body", timeouts.body)];
    match webhook {
        Some(webhook) => shown.push(of("attempt", Some(webhook.retry.timeout))),
        None => shown.extend([of("response", timeouts.response), of("idle", timeouts.idle)]),
    }
    shown.push(of("total", timeouts.total));
    shown.join(", ")
}

fn upstreams(product: &Product) -> Vec<String> {
    match &product.backend {
        Backend::Echo => vec!["built-in echo".to_owned()],
        Backend::Upstreams(urls) => urls.iter().map(ToString::to_string).collect(),
    }
}

/// Which of several upstreams is picked.
fn balance(product: &Product) -> Option<&'static str> {
    let several = matches!(&product.backend, Backend::Upstreams(urls) if urls.len() > 1);
    several.then_some(match product.balance {
        Balance::P2c => "p2c",
        Balance::RoundRobin => "round_robin",
    })
}

/// Which Host the product sees, where that is not the client's.
fn host(product: &Product, is_delivered: bool) -> Option<String> {
    match &product.host {
        HostPolicy::Client if !is_delivered => None,
        HostPolicy::Client | HostPolicy::Upstream => Some("the upstream's own".to_owned()),
        HostPolicy::Literal(host) => Some(String::from_utf8_lossy(host.as_bytes()).into_owned()),
    }
}

/// All of it, for people.
pub(super) fn told(explained: &Value) -> String {
    let request = &explained["request"];
    let query = request["query"].as_str().map_or(String::new(), |query| format!("?{query}"));
    let host = Some(text(&request["host"])).filter(|host| !host.is_empty()).unwrap_or_else(|| "(none)".into());
    let mut out = format!("{} {}{query}, host {host}\n", text(&request["method"]), text(&request["path"]));
    for answer in explained["answers"].as_array().into_iter().flatten() {
        out.push('\n');
        for (name, value) in rows(answer) {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:NAMES$}{value}");
        }
    }
    out
}

/// What is said of one answer: names, and what stands beside them.
fn rows(answer: &Value) -> Vec<(&'static str, String)> {
    let after = |key: &str, joint: &str, end: &str| match text(&answer[key]) {
        value if value.is_empty() => value,
        value => format!("{joint}{value}{end}"),
    };
    let said = |key: &str| after(key, "", "");
    let mut rows = vec![
        ("listener", said("listeners")),
        ("answer", said("answer")),
        ("route", said("route") + &after("place", " (", ")")),
        ("matches", said("matches")),
        ("cors", said("cors")),
        ("rate", said("rate")),
        ("body", after("max_body", "at most ", "")),
        ("verifier", said("verifier") + &after("mode", " (", ")")),
        ("", said("checks")),
        ("plugins", said("plugins")),
        ("path", said("path")),
        ("timeouts", said("timeouts")),
        ("product", said("product") + &after("upstreams", " → ", "") + &after("balance", " (", ")")),
        ("", after("host", "host: ", "")),
    ];
    rows.retain(|(_, value)| !value.is_empty());
    let others = answer["others"].as_array().into_iter().flatten();
    rows.extend(others.map(|other| ("not", format!("{}: {}", text(&other["route"]), text(&other["why"])))));
    rows
}

/// A text, or several.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    }
}
