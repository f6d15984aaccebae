//! `[product.NAME]`

use std::collections::BTreeSet;

use http::HeaderValue;

use super::{later, timeouts};
use crate::base::host::normalise_host;
use crate::base::names::SecretName;
use crate::config::plan::{Backend, Balance, Delivery, HostPolicy, Product, Timeouts, UpstreamScheme, UpstreamUrl};
use crate::config::raw::{Item, Section};

const HELP: &str = "write upstreams = [\"http://127.0.0.1:9001\"], or builtin = \"echo\" to try things out";
const UPSTREAM: &str = "an upstream such as \"http://127.0.0.1:9001\"";
const SCHEMES: [(&str, UpstreamScheme); 3] =
    [("http", UpstreamScheme::Http), ("https", UpstreamScheme::Https), ("h2c", UpstreamScheme::H2c)];

pub(super) fn read(table: &Section<'_>, gateway: &Timeouts, secrets: &BTreeSet<&str>) -> Option<Product> {
    let balances = [("p2c", Balance::P2c), ("round_robin", Balance::RoundRobin)];
    let product = Product {
        backend: Backend::Echo,
        host: table.take("host", host).unwrap_or(HostPolicy::Client),
        balance: table.take("balance", |item| item.word(&balances)).unwrap_or(Balance::P2c),
        allow: table.take("allow", |item| item.each(Item::network)).unwrap_or_default(),
        sign: table.take("sign", |item| item.reference("secret", secrets, SecretName::new)),
        connections: table.within("limits", |limits| limits.take("connections", Item::count)),
        timeouts: table.within("timeouts", |own| timeouts::of_exchange(own, gateway.clone())),
        delivery: table.within("delivery", delivery),
    };
    Some(Product { backend: backend(table)?, ..product })
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
    later::refuse_value(item, &scheme.to_ascii_lowercase());
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
