//! Events, routes and plugins as the API shows them. Redacted fields are named, never shown.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::config::plan::HostPattern;
use crate::gateway::product::{Backend, Product};
use crate::gateway::routes::Entry;
use crate::gateway::{Gateway, Route, Target};
use crate::plugin::component::WIT;
use crate::plugin::registry::Status;
use crate::store::{Attempt, DeliveryRow, EventDetail};

const REDACTED: &str = "[redacted]";

pub(super) fn row(row: &DeliveryRow) -> Value {
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

pub(super) fn detail(detail: &EventDetail) -> Value {
    let event = &detail.event;
    let hidden = |name: &str| event.redacted.iter().any(|redacted| redacted == name);
    let header = |(name, value): &(String, bytes::Bytes)| {
        let value = if hidden(name) { REDACTED.into() } else { String::from_utf8_lossy(value) };
        json!([name, value])
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
        "request": {
            "method": event.head.method,
            "scheme": event.head.scheme,
            "authority": event.head.authority,
            "target": target(&event.head.target, &event.redacted),
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
    let (text, base64) = match std::str::from_utf8(&attempt.answer) {
        Ok(text) => (Value::from(text), Value::Null),
        Err(_) => (Value::Null, base64::engine::general_purpose::STANDARD.encode(&attempt.answer).into()),
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

pub(super) fn route(entry: &Entry<std::sync::Arc<Route>>) -> Value {
    let matcher = &entry.matcher;
    let host = |host: &HostPattern| match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(parent) => format!("*.{parent}"),
    };
    let verifier = match &entry.target.target {
        Target::Webhook(intake) => Some(intake.verifier.name().as_str()),
        Target::Proxy(_) => None,
    };
    json!({
        "name": entry.name.as_str(),
        "listeners": matcher.listeners.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "host": matcher.hosts.iter().map(host).collect::<Vec<_>>(),
        "path": matcher.path.to_string(),
        "method": matcher.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "header": matcher.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        "product": entry.target.product.name.as_str(),
        "kind": if verifier.is_some() { "webhook" } else { "proxy" },
        "verifier": verifier,
    })
}

pub(super) fn product(product: &Product) -> Value {
    let (builtin, upstreams) = match &product.backend {
        Backend::Echo => (Some("echo"), Vec::new()),
        Backend::Upstream(upstream) => (None, upstream.plan().urls.iter().map(|url| url.authority()).collect()),
    };
    json!({
        "name": product.name.as_str(),
        "builtin": builtin,
        "upstreams": upstreams,
        "delivery": { "concurrency": product.delivery.concurrency },
    })
}

pub(super) fn plugin(status: &Status) -> Value {
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
            "roles": about.roles.iter().map(|r| json!({"name": r.name, "required": r.required})).collect::<Vec<_>>(),
            "settings": about.settings.iter().map(|s| json!({"key": s.key, "required": s.required})).collect::<Vec<_>>(),
        })
    });
    let refused = status
        .refused
        .as_ref()
        .map(|(digest, why)| json!({ "sha256": digest.map(|digest| digest.to_string()), "reason": why }));
    json!({ "name": status.name.as_str(), "live": live, "refused": refused, "routes": status.routes })
}

pub(super) fn config(gateway: &Gateway) -> Value {
    json!({
        "generation": gateway.generation,
        "routes": gateway.routes.iter().count(),
        "products": gateway.products.len(),
        "version": env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_parameter_is_named_not_shown() {
        let redacted = ["?token".to_owned()];
        assert_eq!(target("/hooks?a=1&token=hunter2", &redacted), "/hooks?a=1&token=[redacted]");
        assert_eq!(target("/hooks", &redacted), "/hooks");
    }
}
