//! Writing down what is refused, where the route asks for it.

use super::ingest::Arrived;
use super::redact;
use crate::base::payload::Payload;
use crate::gateway::rejects::{BODY_MAX, FIELDS_MAX, Rejected, VALUE_MAX};
use crate::telemetry::labels::WebhookOutcome;

impl Arrived<'_> {
    /// Keeps it in the route's reject log, if that is on.
    pub(super) fn reject(&self, body: &Payload, outcome: WebhookOutcome, code: &str, detail: Option<&str>) {
        let Some(rejects) = &self.intake.rejects else { return };
        let redacted = self.redacted();
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            let hidden = redacted.iter().any(|redacted| redacted == name.as_str());
            (name.as_str().to_owned(), (!hidden).then(|| cut(&String::from_utf8_lossy(value.as_bytes()))))
        };
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let query = redact::query(query, &redacted).filter(|query| !query.is_empty());
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        rejects.add(Rejected {
            at: self.now,
            request_id: self.exchange.id.as_str().to_owned(),
            outcome,
            code: code.to_owned(),
            detail: detail.map(str::to_owned),
            client: self.exchange.peer.client.to_string(),
            method: self.head.method.as_str().to_owned(),
            target: cut(&target),
            headers: self.head.headers.iter().take(FIELDS_MAX).map(field).collect(),
            size: body.length(),
            body: body.read(0, BODY_MAX).unwrap_or_default(),
        });
    }
}

/// The first bytes, in whole characters.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(VALUE_MAX)].to_owned()
}
