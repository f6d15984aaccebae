//! `[[route.NAME.plugin]]`: the plugins a route asks, and what any use of a plugin is given.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::route::{Around, distinct};
use crate::base::names::{PluginName, ProductName, SecretName, is_name};
use crate::config::plan::{Candidate, PluginUse, Timeouts};
use crate::config::raw::{Entry, Item, Section, all};

/// Plugins of one route. Each is a call, or two, for every request.
const PLUGINS_MAX: usize = 16;
/// The largest whole number that every language's JSON carries exactly.
const EXACT_MAX: i64 = 1 << 53;

/// The plugins of a route, in the order written. `timeouts` are the route's with those of another product.
pub(super) fn list(
    item: &Item<'_>,
    around: &Around<'_>,
    timeouts: impl Fn(&Timeouts) -> Timeouts,
) -> Option<Vec<PluginUse>> {
    let plugins = item.each(|item| item.section(|table| plugin(table, around, &timeouts))?)?;
    if plugins.len() <= PLUGINS_MAX { Some(plugins) } else { item.wrong("at most 16 plugins") }
}

fn plugin(table: &Section<'_>, around: &Around<'_>, timeouts: &impl Fn(&Timeouts) -> Timeouts) -> Option<PluginUse> {
    let plugin = table.need("use", "the name of a plugin", |item| item.name(PluginName::new));
    let secrets = table.take("secrets", |item| roles(item, &around.names.secrets)).unwrap_or_default();
    let options = table.take("options", options).unwrap_or_default();
    let candidates = table.take("candidates", |item| candidates(item, around));
    let candidate = |name: ProductName| {
        let timeouts = timeouts(&around.products.get(&name)?.timeouts);
        Some(Candidate { product: name, timeouts })
    };
    let candidates = candidates.unwrap_or_default().into_iter().filter_map(candidate).collect();
    Some(PluginUse { plugin: plugin?, secrets, options, candidates })
}

fn candidates(item: &Item<'_>, around: &Around<'_>) -> Option<Vec<ProductName>> {
    let named = |item: &Item<'_>| item.reference("product", &around.names.products, ProductName::new);
    distinct(item, item.each(named)?)
}

/// The plugin's roles, and the secret of each.
pub(super) fn roles(item: &Item<'_>, secrets: &BTreeSet<&str>) -> Option<BTreeMap<String, SecretName>> {
    let role = |entry: Entry<'_>| {
        let secret = entry.item.reference("secret", secrets, SecretName::new);
        if !is_name(entry.key) {
            let problem = entry.item.reading.source().problem(entry.key_at, format!("`{}` is not a role", entry.key));
            entry.item.reading.report(problem.help("roles are lower-case words such as `signing`"));
            return None;
        }
        Some((entry.key.to_owned(), secret?))
    };
    Some(all(item.entries()?.into_iter().map(role).collect())?.into_iter().collect())
}

/// The plugin's settings.
pub(super) fn options(item: &Item<'_>) -> Option<Map<String, Value>> {
    let entries = item.entries()?.into_iter().map(|entry| Some((entry.key.to_owned(), json(&entry.item)?)));
    Some(all(entries.collect())?.into_iter().collect())
}

/// As a plugin reads it: datetimes are strings, whole numbers lie within 2^53.
fn json(item: &Item<'_>) -> Option<Value> {
    Some(match item.value() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(_) => Value::from(item.integer::<i64>(-EXACT_MAX..=EXACT_MAX)?),
        DeValue::Float(_) => Value::from(item.fraction(f64::MIN..=f64::MAX)?),
        DeValue::Boolean(boolean) => Value::from(*boolean),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(_) => Value::from(item.each(json)?),
        DeValue::Table(_) => Value::from(options(item)?),
    })
}
