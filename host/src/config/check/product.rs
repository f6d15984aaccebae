//! `[product.NAME]`

use std::collections::BTreeSet;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;

use super::timeouts;
use crate::base::host::normalise_host;
use crate::base::names::SecretName;
use crate::config::plan::{
    Backend, Balance, Breaker, Delivery, Health, HostPolicy, Product, Timeouts, UpstreamScheme, UpstreamTls,
    UpstreamUrl,
};
use crate::config::raw::{Item, Section};

const HELP: &str = "write upstreams = [\"http://127.0.0.1:9001\"], or builtin = \"echo\" to try things out";
const UPSTREAM: &str = "an upstream such as \"http://127.0.0.1:9001\"";
/// The share of requests that may be sent a second time.
const BUDGET: f64 = 0.2;
const SCHEMES: [(&str, UpstreamScheme); 3] =
    [("http", UpstreamScheme::Http), ("https", UpstreamScheme::Https), ("h2c", UpstreamScheme::H2c)];

pub(super) fn read(table: &Section<'_>, gateway: &Timeouts, secrets: &BTreeSet<&str>) -> Option<Product> {
    let balances = [("p2c", Balance::P2c), ("round_robin", Balance::RoundRobin)];
    let (connections, websockets) = table
        .within("limits", |limits| (limits.take("connections", Item::count), limits.take("websockets", Item::count)));
    let product = Product {
        backend: Backend::Echo,
        host: table.take("host", host).unwrap_or(HostPolicy::Client),
        balance: table.take("balance", |item| item.word(&balances)).unwrap_or(Balance::P2c),
        allow: table.take("allow", |item| item.each(Item::network)).unwrap_or_default(),
        sign: table.take("sign", |item| item.reference("secret", secrets, SecretName::new)),
        health: table.take("health", |item| item.section(health).flatten()),
        tls: table.within("tls", tls),
        retries: table.within("retries", |own| own.take("budget", |item| item.fraction(0.0..=1.0))).unwrap_or(BUDGET),
        breaker: table.within("breaker", breaker),
        connections,
        websockets,
        timeouts: table.within("timeouts", |own| timeouts::of_exchange(own, gateway.clone())),
        delivery: table.within("delivery", delivery),
    };
    let product = Product { backend: backend(table)?, ..product };
    refuse_idle_tables(table, &product);
    Some(product)
}

/// What would be in force nowhere.
fn refuse_idle_tables(table: &Section<'_>, product: &Product) {
    let idle = |key: &'static str, why: &str, help: &str| {
        if let Some(item) = table.item(key) {
            let message = format!("`{}` has no effect: {why}", item.path);
            table.reading.report(item.problem(message).help(help));
        }
    };
    if !product.is_secure() {
        idle("tls", "no upstream of the product is https", "write https:// upstreams, or remove it");
    }
    if product.backend == Backend::Echo {
        idle("health", "the product has no upstreams", "remove it");
    }
}

fn health(table: &Section<'_>) -> Option<Health> {
    let path = table.need("path", "write health = { path = \"/healthz\" }", health_path);
    let every = table.take("every", Item::duration).unwrap_or(Duration::from_secs(5));
    let timeout = table.take("timeout", Item::duration).unwrap_or(every.min(Duration::from_secs(2)));
    Some(Health { path: path?, every, timeout })
}

fn health_path(item: &Item<'_>) -> Option<PathAndQuery> {
    let expected = "a path such as \"/healthz\"";
    let text = item.text_as(expected)?;
    let path = Some(text).filter(|text| text.starts_with('/') && !text.contains('#'));
    path.and_then(|text| text.parse().ok()).or_else(|| item.wrong(expected))
}

fn tls(table: &Section<'_>) -> UpstreamTls {
    let expected = "a host name such as \"ledger.internal\", or an address";
    let name = |item: &Item<'_>| {
        let text = item.text_as(expected)?;
        let bare = Some(text).filter(|text| !text.contains([':', '[']) || text.parse::<std::net::Ipv6Addr>().is_ok());
        let name = bare.filter(|text| text.contains(':') || normalise_host(text).is_some());
        name.map(str::to_owned).or_else(|| item.wrong(expected))
    };
    UpstreamTls {
        ca: table.take("ca", Item::file),
        certificate: table.take("certificate", Item::file),
        key: table.take("key", Item::file),
        server_name: table.take("server_name", name),
    }
}

fn breaker(table: &Section<'_>) -> Option<Breaker> {
    let failures = |item: &Item<'_>| match item.as_text() {
        Some("off") => Some(None),
        _ => item.integer(1..=i64::from(u32::MAX)).map(Some),
    };
    let failures = table.take("failures", failures).unwrap_or(Some(5));
    let pause = table.take("pause", Item::duration).unwrap_or(Duration::from_secs(30));
    failures.map(|failures| Breaker { failures, pause })
}

fn delivery(table: &Section<'_>) -> Delivery {
    let count = |item: &Item<'_>| item.integer(1..=i64::from(u32::MAX));
    Delivery { concurrency: table.take("concurrency", count).unwrap_or(32), rate: table.take("rate", count) }
}

fn backend(table: &Section<'_>) -> Option<Backend> {
    let (upstreams, builtin) = (table.item("upstreams"), table.item("builtin"));
    let echo = builtin.as_ref().map(|item| item.word(&[("echo", ())]));
    match (upstreams, builtin) {
        (Some(upstreams), None) => upstream_list(&upstreams).map(Backend::Upstreams),
        (None, Some(_)) => echo?.map(|()| Backend::Echo),
        (Some(upstreams), Some(builtin)) => {
            let message = format!("`{}` has both upstreams and builtin", table.path);
            table.reading.report(builtin.problem(message).help("keep one of them"));
            upstream_list(&upstreams).map(Backend::Upstreams)
        }
        (None, None) => {
            let message = format!("`{}` has no upstreams", table.path);
            table.reading.report_absent(table.problem(message).help(HELP));
            None
        }
    }
}

fn upstream_list(item: &Item<'_>) -> Option<Vec<UpstreamUrl>> {
    let upstreams = item.each(|item| upstream(item).map(|url| (url, item.clone())))?;
    if upstreams.is_empty() {
        return item.wrong("at least one upstream");
    }
    for (index, (url, item)) in upstreams.iter().enumerate() {
        if upstreams[..index].iter().any(|(earlier, _)| earlier == url) {
            item.reading.report(item.problem(format!("`{}` repeats an upstream", item.path)).help("remove it"));
        }
    }
    Some(upstreams.into_iter().map(|(url, _)| url).collect())
}

/// `scheme://host[:port]`
fn upstream(item: &Item<'_>) -> Option<UpstreamUrl> {
    let text = item.text_as(UPSTREAM)?;
    let Some((scheme, rest)) = text.split_once("://") else {
        return item.wrong_with(UPSTREAM, Some("it begins with http://, https:// or h2c://".to_owned()));
    };
    let Some((_, parsed)) = SCHEMES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme)) else {
        return item.wrong_with(UPSTREAM, Some(format!("`{scheme}` is none of http, https and h2c")));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.len() < rest.len() {
        let help = format!("an upstream has no path: \"{scheme}://{authority}\"");
        return item.wrong_with(UPSTREAM, Some(help));
    }
    let Some((host, port)) = host_and_port(authority, parsed.port()) else {
        return item.wrong_with(UPSTREAM, Some("scheme://host[:port], nothing else".to_owned()));
    };
    Some(UpstreamUrl { scheme: parsed, host, port })
}

/// The host, without brackets, and the port or `default`.
fn host_and_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let host = normalise_host(authority)?;
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    let port = match after_host.split_once(':') {
        Some((_, port)) => port.parse().ok().filter(|port| *port > 0)?,
        None => default,
    };
    Some((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

fn host(item: &Item<'_>) -> Option<HostPolicy> {
    let expected = "\"client\", \"upstream\" or a host";
    match item.text_as(expected)? {
        "client" => Some(HostPolicy::Client),
        "upstream" => Some(HostPolicy::Upstream),
        literal => {
            let value = normalise_host(literal).and_then(|_| HeaderValue::from_str(literal).ok());
            value.map(HostPolicy::Literal).or_else(|| item.wrong(expected))
        }
    }
}
