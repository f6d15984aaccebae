//! What belongs to the configuration's contract but is not served by this version: known, refused with its place, never
//! silently ignored. Whoever builds one of these removes its line here and reads the key in its table's file.

use crate::config::problem::{Problem, Source, Span};

/// Keys, by the shape of their table.
const KEYS: &[(&str, &str)] = &[("", "trace")];

/// Keys people look for in a table where they are not.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("product.NAME.timeouts", "handshake", GATEWAY),
    ("product.NAME.timeouts", "header", GATEWAY),
    ("product.NAME.timeouts", "keepalive", GATEWAY),
    ("product.NAME.timeouts", "drain", GATEWAY),
    ("product.NAME.timeouts", "drain_delay", GATEWAY),
    ("route.NAME.timeouts", "handshake", GATEWAY),
    ("route.NAME.timeouts", "header", GATEWAY),
    ("route.NAME.timeouts", "keepalive", GATEWAY),
    ("route.NAME.timeouts", "drain", GATEWAY),
    ("route.NAME.timeouts", "drain_delay", GATEWAY),
];

const GATEWAY: &str = "it holds for the whole gateway: write it in [timeouts]";

/// The keys of the table of this shape that are not served yet.
pub(in crate::config) fn keys(shape: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |(table, _)| *table == shape).map(|(_, key)| *key)
}

/// Every key that is not served yet, with the shape of its table.
#[cfg(test)]
pub(in crate::config) fn every_key() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().copied()
}

/// Where the unknown `key` belongs instead.
pub(in crate::config) fn elsewhere(shape: &str, key: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(table, name, _)| *table == shape && *name == key).map(|(_, _, help)| *help)
}

/// What is said of a key that is not served yet.
pub(in crate::config) fn problem(source: &Source, at: Span, what: &str) -> Problem {
    source.problem(at, format!("`{what}` is not served by this version yet")).help("remove it")
}
