//! Each table, read and checked: one file a table, and what only shows between tables in `overlap`. Every reader goes
//! on after a problem, so that one run names them all.

mod admin;
pub(super) mod later;
mod limits;
mod listener;
mod log;
mod overlap;
mod pattern;
mod plugin;
mod plugins;
mod policy;
mod postgres;
mod product;
mod route;
mod secret;
mod store;
mod timeouts;
mod trust;
mod values;
mod webhook;

use std::collections::BTreeSet;
use std::path::Path;

use super::plan::Plan;
use super::raw::Section;
use crate::base::names::{ListenerName, ProductName, RouteName, SecretName};

/// Names that are written, whether their tables are right or not: a wrong table is one problem, not one more for each
/// reference to it.
struct Names<'r> {
    listeners: BTreeSet<&'r str>,
    products: BTreeSet<&'r str>,
    secrets: BTreeSet<&'r str>,
}

/// The plan of the whole document; only good when nothing was reported.
pub(super) fn plan(root: &Section<'_>, file: &Path) -> Plan {
    let names =
        Names { listeners: root.names("listener"), products: root.names("product"), secrets: root.names("secret") };
    let listeners = root.named("listener", ListenerName::new, listener::read);
    if names.listeners.is_empty() {
        let problem = root.problem("no listener is configured");
        root.reading.report_absent(problem.help("add [listener.public] with address = \"0.0.0.0:8080\""));
    }
    let admin = root.within("admin", |table| admin::read(table, &names.secrets));
    overlap::addresses(root.reading, &listeners, &admin);

    let limits = root.within("limits", limits::read);
    let timeouts = root.within("timeouts", timeouts::read);
    let products = root.named("product", ProductName::new, |table| product::read(table, &timeouts, &names.secrets));
    overlap::variables(root.reading, &products);
    let around = route::Around { names: &names, products: &products, timeouts: &timeouts, limits: &limits };
    let routes = root.named("route", RouteName::new, |table| route::read(table, &around));
    overlap::routes(root.reading, &routes);

    Plan {
        file: file.to_owned(),
        source: root.reading.source().clone(),
        listeners,
        admin,
        limits,
        log: root.within("log", log::read),
        trusted: root.within("trust", trust::read),
        timeouts,
        store: root.within("store", |table| store::read(table, &names.secrets)),
        plugins: plugins::read(root),
        secrets: root.named("secret", SecretName::new, secret::read),
        products,
        routes,
    }
}

#[cfg(test)]
mod tests;
