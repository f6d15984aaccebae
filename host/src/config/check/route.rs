//! `[route.NAME]`

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderName, HeaderValue, Method};

use super::{Names, later, pattern, plugin, policy, timeouts, webhook};
use crate::base::names::{ListenerName, ProductName};
use crate::config::plan::{HeaderPredicate, HostPattern, Limits, Match, Product, Route, Timeouts};
use crate::config::raw::{Entry, Item, Section, all, closest};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
const PREDICATE: &str = "a value, { present = true } or { present = false }";

/// What routes refer to.
pub(super) struct Around<'a> {
    pub(super) names: &'a Names<'a>,
    pub(super) products: &'a BTreeMap<ProductName, Product>,
    pub(super) timeouts: &'a Timeouts,
    pub(super) limits: &'a Limits,
}

pub(super) fn read(table: &Section<'_>, around: &Around<'_>) -> Option<Route> {
    let matcher = matcher(table, &around.names.listeners);
    let help = "the name of a [product.NAME]";
    let product =
        table.need("product", help, |item| item.reference("product", &around.names.products, ProductName::new));
    let outer = product.as_ref().and_then(|name| around.products.get(name)).map(|product| &product.timeouts);
    let outer = outer.unwrap_or(around.timeouts).clone();
    let timeouts = table.within("timeouts", |own| timeouts::of_exchange(own, outer));
    let with = |product: &Timeouts| table.within("timeouts", |own| timeouts::over(own, &timeouts, product));
    let plugins = table.take("plugin", |item| {
        if table.item("webhook").is_some() {
            table.reading.report(later::problem(table.reading.source(), item.at, "plugin on a webhook route"));
        }
        plugin::list(item, around, with)
    });
    let policy = policy::read(table, matcher.as_ref());
    let webhook = match table.item("webhook") {
        None => None,
        Some(item) => Some(item.section(|webhook| webhook::read(webhook, &around.names.secrets, around.limits))??),
    };
    let plugins = plugins.unwrap_or_default();
    Some(Route { matcher: matcher?, product: product?, timeouts, policy, plugins, webhook })
}

fn matcher(table: &Section<'_>, listeners: &BTreeSet<&str>) -> Option<Match> {
    let named = |item: &Item<'_>| item.reference("listener", listeners, ListenerName::new);
    let listeners = table.take("listeners", |item| distinct(item, item.each(named)?));
    let hosts = table.take("host", hosts);
    let path = table.need("path", "path = \"/{*rest}\" serves every path", pattern::path);
    let methods = table.take("method", methods);
    let headers = table.take("header", headers);
    Some(Match {
        listeners: listeners.unwrap_or_default(),
        hosts: hosts.unwrap_or_default(),
        path: path?,
        methods: methods.unwrap_or_default(),
        headers: headers.unwrap_or_default(),
    })
}

/// One host or several.
fn hosts(item: &Item<'_>) -> Option<Vec<HostPattern>> {
    match item.as_text() {
        Some(_) => Some(vec![pattern::host(item)?]),
        None => distinct(item, item.each(pattern::host)?),
    }
}

/// One method or several.
pub(super) fn methods(item: &Item<'_>) -> Option<Vec<Method>> {
    match item.as_text() {
        Some(_) => Some(vec![method(item)?]),
        None => distinct(item, item.each(method)?),
    }
}

/// `values`, which must not be empty (that would look like "none" and mean "all") nor repeat one.
pub(super) fn distinct<T: PartialEq>(item: &Item<'_>, values: Vec<T>) -> Option<Vec<T>> {
    if values.is_empty() {
        return item.wrong_with("at least one", Some("leave the key out for all of them".to_owned()));
    }
    let repeats = (1..values.len()).any(|index| values[..index].contains(&values[index]));
    if repeats {
        item.reading.report(item.problem(format!("`{}` names one twice", item.path)));
        return None;
    }
    Some(values)
}

fn method(item: &Item<'_>) -> Option<Method> {
    let expected = "a method such as \"GET\"";
    let text = item.text_as(expected)?;
    let upper = text.to_ascii_uppercase();
    // A misspelt method would be a valid one that nobody sends.
    let near = closest(&upper, METHODS.into_iter()).filter(|near| strsim::damerau_levenshtein(near, text) == 1);
    let meant = if text == upper { near } else { Some(near.unwrap_or(&upper)) };
    if let Some(meant) = meant.filter(|_| !METHODS.contains(&text)) {
        return item.wrong_with(expected, Some(format!("did you mean {meant:?}?")));
    }
    if text == "CONNECT" {
        return item.wrong_with(expected, Some("tunnels are not proxied; a WebSocket is a GET".to_owned()));
    }
    Method::from_bytes(text.as_bytes()).ok().or_else(|| item.wrong(expected))
}

fn headers(item: &Item<'_>) -> Option<Vec<(HeaderName, HeaderPredicate)>> {
    let read = item.entries()?.into_iter().map(|entry| header_name(&entry).zip(predicate(&entry.item)));
    let mut headers = all(read.collect())?;
    headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    if headers.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        item.reading.report(item.problem(format!("`{}` names a header twice", item.path)).help("case does not matter"));
    }
    Some(headers)
}

fn header_name(entry: &Entry<'_>) -> Option<HeaderName> {
    let problem = |message: String| entry.item.reading.source().problem(entry.key_at, message);
    let Ok(name) = HeaderName::from_bytes(entry.key.as_bytes()) else {
        entry.item.reading.report(problem(format!("{:?} is not the name of a header", entry.key)));
        return None;
    };
    if name == http::header::HOST {
        entry
            .item
            .reading
            .report(problem("hosts are matched by the route's own key".to_owned()).help("write host = […]"));
        return None;
    }
    Some(name)
}

fn predicate(item: &Item<'_>) -> Option<HeaderPredicate> {
    let Some(text) = item.as_text() else {
        if item.value().is_table() {
            return item
                .section(|table| table.need("present", PREDICATE, Item::boolean).map(HeaderPredicate::Present))?;
        }
        return item.wrong(PREDICATE);
    };
    let value = HeaderValue::from_str(text).ok().filter(|_| text.trim() == text && text.is_ascii());
    value.map(HeaderPredicate::Equals).or_else(|| item.wrong("a value that a header can have"))
}
