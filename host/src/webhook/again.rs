//! Verifying an event again: today's plugin and secrets, at the time it was received.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::ids::EventId;
use crate::base::payload::Payload;
use crate::gateway::intake::Intake;
use crate::gateway::{Gateway, Target};
use crate::plugin::request::{Protocol, RequestView};
use crate::plugin::verdict::Verdict;
use crate::store::{Event, EventStore, StoreError};

/// Whether the event passes once more; the inner error says why it does not. Secrets that were live when it was received
/// count, whether they still are or not.
pub async fn verifies(
    gateway: &Gateway,
    store: &dyn EventStore,
    id: EventId,
) -> Result<Result<(), String>, StoreError> {
    let (Some(detail), Some(body)) = (store.show(id).await?, store.body(id).await?) else {
        return Ok(Err("it is not in the log".into()));
    };
    let event = detail.event;
    let route = gateway.routes.get(&event.route).map(|entry| &entry.target.target);
    let Some(Target::Webhook(intake)) = route else {
        return Ok(Err(format!("the configuration has no webhook route {}", event.route)));
    };
    Ok(judge(intake, &event, body).await)
}

async fn judge(intake: &Intake, event: &Event, body: Payload) -> Result<(), String> {
    let called = intake.verifier.verify(Arc::new(view(intake, event)), body, event.received).await;
    intake.called(&called);
    match called.result {
        Ok(Verdict::Accept(verified)) if verified.is_fresh(event.received, intake.plan.tolerance) => Ok(()),
        Ok(Verdict::Accept(_)) => Err("its timestamp was outside the tolerance".into()),
        Ok(Verdict::Refuse(refusal)) => Err(format!("{} refuses it: {}", intake.verifier.name(), refusal.code)),
        Ok(Verdict::Respond(_)) => Err(format!("{} takes it for a handshake", intake.verifier.name())),
        Err(fault) => Err(format!("plugin fault: {fault}")),
    }
}

/// The request that brought it.
fn view(intake: &Intake, event: &Event) -> RequestView {
    let head = &event.head;
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for (name, value) in &head.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    RequestView {
        id: event.request_id.clone(),
        route: event.route.to_string(),
        product: intake.product.name.to_string(),
        protocol: Protocol::Webhook,
        method: head.method.clone(),
        scheme: head.scheme.clone(),
        authority: head.authority.clone(),
        path: head.path.clone(),
        target: head.target.clone(),
        headers,
        client: head.client.clone(),
        event_type: None,
    }
}
