//! Events, routes and plugins as the API shows them. Redacted fields are named, never shown.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::base::names::PluginName;
use crate::config::plan::{HeaderPredicate, UpstreamUrl};
use crate::gateway::product::{Backend, Product};
use crate::gateway::routes::Entry;
use crate::gateway::{Gateway, Route, Target};
use crate::plugin::component::{Role, Setting, WIT};
use crate::plugin::registry::Status;
use crate::store::{Attempt, DeliveryRow, EventDetail, Page};
use crate::upstream::Room;

const REDACTED: &str = "[redacted]";

/// A page of deliveries.
pub(super) fn page(page: &Page) -> Value {
    json!({ "events": page.rows.iter().map(row).collect::<Vec<_>>(), "next": page.next })
}

fn row(row: &DeliveryRow) -> Value {
    json!({
        "id": row.event.to_string(),
        "route": row.route.as_str(),
        "product": row.product.as_str(),
        "provider": row.verifier.as_str(),
        "kind": row.kind,
        "identity": row.identity,
        "received": row.received.to_string(),
        "size": row.size,
        "state": row.state.as_str(),
        "attempts": row.attempts,
        "replays": row.replays,
        "due": row.due.map(|at| at.to_string()),
        "reason": row.reason,
        "changed": row.changed.to_string(),
    })
}

/// One event's whole life.
pub(super) fn detail(detail: &EventDetail) -> Value {
    let event = &detail.event;
    let hidden = |name: &str| event.redacted.iter().any(|redacted| redacted == name);
    let header = |(name, value): &(String, bytes::Bytes)| match std::str::from_utf8(value) {
        _ if hidden(name) => json!([name, REDACTED]),
        Ok(text) => json!([name, text]),
        Err(_) => json!([name, null, base64::engine::general_purpose::STANDARD.encode(value)]),
    };
    let deliveries = detail.deliveries.iter().map(|(delivery, attempts)| {
        let mut shown = row(delivery);
        shown["history"] = attempts.iter().map(attempt).collect();
        shown
    });
    json!({
        "id": event.id.to_string(),
        "route": event.route.as_str(),
        "provider": event.verifier.as_str(),
        "kind": event.kind,
        "identity": event.identity,
        "order_key": event.order_key,
        "received": event.received.to_string(),
        "request_id": event.request_id,
        "traceparent": event.traceparent,
        "size": event.size,
        "redacted": event.redacted,
        "request": {
            "method": event.head.method,
            "scheme": event.head.scheme,
            "authority": event.head.authority,
            "target": target(&event.head.target, &event.redacted),
            "path": event.head.path,
            "headers": event.head.headers.iter().map(header).collect::<Vec<_>>(),
            "client": event.head.client,
        },
        "deliveries": deliveries.collect::<Vec<_>>(),
    })
}

/// The target with the values of redacted parameters (`?name` among the redacted names) hidden.
fn target(target: &str, redacted: &[String]) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let shown = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or_default();
        let hidden = redacted.iter().any(|redacted| redacted.strip_prefix('?') == Some(name));
        if hidden { format!("{name}={REDACTED}") } else { parameter.to_owned() }
    };
    format!("{path}?{}", query.split('&').map(shown).collect::<Vec<_>>().join("&"))
}

fn attempt(attempt: &Attempt) -> Value {
    let (text, base64) = match whole_text(&attempt.answer) {
        Some(text) => (Value::from(text), Value::Null),
        None => (Value::Null, base64::engine::general_purpose::STANDARD.encode(&attempt.answer).into()),
    };
    json!({
        "number": attempt.number,
        "at": attempt.at.to_string(),
        "ms": u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        "status": attempt.status,
        "error": attempt.error,
        "answer": text,
        "answer_base64": base64,
    })
}

/// The text that `bytes` are, without the piece of a character where they were cut off.
fn whole_text(bytes: &[u8]) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

/// Every route.
pub(super) fn routes(gateway: &Gateway) -> Value {
    json!({ "routes": gateway.routes.iter().map(route).collect::<Vec<_>>() })
}

/// Every product.
pub(super) fn products(gateway: &Gateway) -> Value {
    json!({ "products": gateway.products.values().map(|it| product(it)).collect::<Vec<_>>() })
}

/// Every plugin that is there, was refused, or is missing.
pub(super) fn plugins(plugins: &[Status], gateway: &Gateway) -> Value {
    json!({ "plugins": plugins.iter().map(|status| plugin(status, gateway)).collect::<Vec<_>>() })
}

fn verifier(route: &Route) -> Option<&PluginName> {
    match &route.target {
        Target::Webhook(intake) => Some(intake.verifier.name()),
        Target::Proxy(_) => None,
    }
}

fn route(entry: &Entry<Arc<Route>>) -> Value {
    let matcher = &entry.matcher;
    let header = |(name, predicate): &(http::HeaderName, HeaderPredicate)| match predicate {
        HeaderPredicate::Present(present) => json!({ "name": name.as_str(), "present": present }),
        // The value may be a credential that somebody matches on.
        HeaderPredicate::Equals(_) => json!({ "name": name.as_str(), "equals": REDACTED }),
    };
    let verifier = verifier(&entry.target).map(PluginName::as_str);
    json!({
        "name": entry.name.as_str(),
        "listeners": matcher.listeners.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "host": matcher.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "path": matcher.path.to_string(),
        "method": matcher.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "header": matcher.headers.iter().map(header).collect::<Vec<_>>(),
        "product": entry.target.product.name.as_str(),
        "kind": if verifier.is_some() { "webhook" } else { "proxy" },
        "verifier": verifier,
    })
}

fn product(product: &Product) -> Value {
    let one = |(url, health): (&UpstreamUrl, &str)| json!({ "url": url.to_string(), "health": health });
    let (builtin, breaker, upstreams) = match &product.backend {
        Backend::Echo => (Some("echo"), None, vec![]),
        Backend::Upstream(upstream) => {
            let breaker = match upstream.room() {
                Room::All => "closed",
                Room::One => "half_open",
                Room::None(_) => "open",
            };
            (None, Some(breaker), upstream.health().map(one).collect())
        }
    };
    json!({
        "name": product.name.as_str(),
        "builtin": builtin,
        "breaker": breaker,
        "upstreams": upstreams,
        "delivery": { "concurrency": product.delivery.concurrency, "rate": product.delivery.rate },
    })
}

fn plugin(status: &Status, gateway: &Gateway) -> Value {
    let role = |role: &Role| json!({ "name": role.name, "required": role.required, "about": role.about });
    let setting = |setting: &Setting| {
        json!({
            "key": setting.key, "kind": setting.kind, "required": setting.required, "about": setting.about,
        })
    };
    let live = status.live.as_ref().map(|plugin| {
        let about = &plugin.about;
        json!({
            "kind": plugin.kind.as_str(),
            "sha256": plugin.digest.to_string(),
            "size": plugin.size,
            "wit": WIT,
            "source": about.source,
            "handshake": about.handshake,
            "methods": about.methods,
            "roles": about.roles.iter().map(role).collect::<Vec<_>>(),
            "settings": about.settings.iter().map(setting).collect::<Vec<_>>(),
        })
    });
    let refused = status
        .refused
        .as_ref()
        .map(|(digest, why)| json!({ "sha256": digest.map(|digest| digest.to_string()), "reason": why }));
    let users = gateway.routes.iter().filter(|entry| verifier(&entry.target) == Some(&status.name));
    let routes: Vec<&str> = users.map(|entry| entry.name.as_str()).collect();
    json!({ "name": status.name.as_str(), "live": live, "refused": refused, "routes": routes })
}

/// Which configuration serves; its text and its secrets are nobody's business here.
pub(super) fn config(gateway: &Gateway, file: &Path) -> Value {
    json!({
        "generation": gateway.generation,
        "file": file.display().to_string(),
        "routes": gateway.routes.iter().count(),
        "products": gateway.products.len(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_cut_inside_a_character_is_still_text() {
        assert_eq!(whole_text("wört".as_bytes()), Some("wört"));
        assert_eq!(whole_text(&"wö".as_bytes()[..2]), Some("w"));
        assert_eq!(whole_text(b"\xff\xd8\xff"), None);
    }

    #[test]
    fn a_redacted_parameter_is_named_not_shown() {
        let redacted = ["?token".to_owned()];
        assert_eq!(target("/hooks?a=1&token=hunter2", &redacted), "/hooks?a=1&token=[redacted]");
        assert_eq!(target("/hooks", &redacted), "/hooks");
    }
}
