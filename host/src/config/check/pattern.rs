//! Patterns of hosts and paths.

use crate::base::host::{is_host_name, normalise_host};
use crate::base::path::normalise;
use crate::config::plan::{HostPattern, PathPattern, Segment};
use crate::config::raw::Item;

const PATH: &str = "a path pattern such as \"/v1/{name}/{*rest}\"";
const HOST: &str = "a host such as \"api.example.com\" or \"*.example.com\"";

/// A path pattern in normal form.
pub(super) fn path(item: &Item<'_>) -> Option<PathPattern> {
    let text = normal(item, PATH)?;
    match parse(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => item.wrong_with(PATH, Some(error)),
    }
}

/// A path in normal form, which may hold placeholders.
pub(super) fn normal<'r>(item: &Item<'r>, expected: &str) -> Option<&'r str> {
    let text = item.text_as(expected)?;
    match normalise(text) {
        Ok(normal) if normal == text => Some(text),
        Ok(normal) => {
            let message = format!("`{}` is not in normal form", item.path);
            let help = format!("requests are compared in normal form: write {normal:?}");
            item.reading.report(item.problem(message).help(help));
            None
        }
        Err(error) => item.wrong_with(expected, Some(error.to_string())),
    }
}

fn parse(text: &str) -> Result<PathPattern, String> {
    let mut parts = text.split('/').skip(1).peekable();
    let mut pattern = PathPattern { segments: Vec::new(), rest: false };
    let mut names: Vec<&str> = Vec::new();
    while let Some(part) = parts.next() {
        let Some(inner) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            if part.contains(['{', '}', '*']) {
                return Err(format!("{{name}} and {{*rest}} stand for whole segments, `{part}` is neither"));
            }
            pattern.segments.push(Segment::Literal(part.to_owned()));
            continue;
        };
        let name = inner.strip_prefix('*').unwrap_or(inner);
        if !is_placeholder(name) {
            return Err(format!("`{part}` needs a name of letters, digits, `_` and `-`"));
        }
        if names.contains(&name) {
            return Err(format!("`{name}` stands in it twice"));
        }
        names.push(name);
        if inner.len() == name.len() {
            pattern.segments.push(Segment::Any(name.to_owned()));
        } else if parts.peek().is_none() {
            pattern.rest = true;
        } else {
            return Err(format!("`{part}` can only be last"));
        }
    }
    Ok(pattern)
}

fn is_placeholder(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A host pattern, in the form that requests are compared in.
pub(super) fn host(item: &Item<'_>) -> Option<HostPattern> {
    let text = item.text_as(HOST)?;
    if let Some(rest) = text.strip_prefix("*.") {
        let name = rest.strip_suffix('.').unwrap_or(rest);
        let named = is_host_name(name) && name.parse::<std::net::Ipv4Addr>().is_err();
        return if named { Some(HostPattern::Wildcard(name.to_ascii_lowercase())) } else { item.wrong(HOST) };
    }
    let Some(host) = normalise_host(text) else {
        let help = (!text.is_ascii()).then(|| "write names outside ASCII as A-labels (xn--…)".to_owned());
        let help = help.or_else(|| text.contains('*').then(|| "a wildcard is the whole first label: *.".to_owned()));
        return item.wrong_with(HOST, help);
    };
    let has_port = text.rsplit_once(']').map_or(text, |(_, rest)| rest).contains(':');
    if has_port {
        return item.wrong_with(HOST, Some(format!("ports are ignored in matching: write {host:?}")));
    }
    Some(HostPattern::Exact(host))
}
