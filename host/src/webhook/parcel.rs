//! What every request to a product has in common, whether it is delivered or forwarded.

use std::borrow::Cow;

use super::redact;
use crate::config::plan::Rewrite;

/// The normal path, rewritten, and the query as it came in `target`, without parameters that carry a secret.
pub(super) fn target(path: &str, target: &str, rewrite: Option<&Rewrite>, redacted: &[String]) -> String {
    let path = rewrite.map_or(Cow::Borrowed(path), |rewrite| rewrite.apply(path));
    let query = target.split_once('?').and_then(|(_, query)| redact::query(query, redacted));
    query.map_or_else(|| path.to_string(), |query| format!("{path}?{query}"))
}

/// Whether the gateway alone says this, so that what the provider says of it is dropped.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("tollgate-") || matches!(name, "traceparent" | "tracestate" | "x-request-id")
}
