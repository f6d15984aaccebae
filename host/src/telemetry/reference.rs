//! docs/metrics.md, made from the metrics themselves, so that it cannot fall behind them.

use std::fmt::Write as _;
use std::path::Path;

use super::labels::{
    CallOutcome, Closed, DeliveryOutcome, FaultReason, Hook, Outcome, PluginReload, Protocol, Reason, ReloadOutcome,
    Retry, WebhookOutcome,
};
use super::registry::Metrics;

const HEAD: &str = "\
# Metrics

`GET /metrics` on the admin listener, in Prometheus' text format. Series whose labels the configuration knows exist at zero from the
start. Labels come from the closed sets below and from names in the configuration, never from what a client or a plugin sent, so
the number of series is bounded by the configuration. A request that no route serves counts for the product `none`.

This page is made from the code: `TOLLGATE_WRITE_DOCS=1 cargo test -p tollgate --lib reference` writes it anew.

| metric | type | labels | |
|---|---|---|---|
";

const PROCESS: &str = "\
| `process_cpu_seconds_total`, `process_open_fds`, `process_max_fds`, `process_virtual_memory_bytes`, `process_resident_memory_bytes`, \
`process_start_time_seconds`, `process_threads` | as Prometheus' client libraries name them | | of the process, on Linux |
";

/// Where a label's values mean something: the metric (the start of its name), the label, the values.
type Meanings = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const LABELS: &[Meanings] = &[
    ("gateway_protocol_", "protocol", Protocol::MEANINGS),
    ("gateway_protocol_requests_total", "outcome", Outcome::MEANINGS),
    ("gateway_protocol_errors_total", "reason", Reason::MEANINGS),
    ("gateway_upstream_retries_total", "reason", Retry::MEANINGS),
    ("gateway_listener_closed_connections_total", "reason", Closed::MEANINGS),
    ("gateway_plugin_", "hook", Hook::MEANINGS),
    ("gateway_plugin_calls_total", "outcome", CallOutcome::MEANINGS),
    ("gateway_plugin_faults_total", "reason", FaultReason::MEANINGS),
    ("gateway_plugin_reloads_total", "outcome", PluginReload::MEANINGS),
    ("gateway_webhook_events_total", "outcome", WebhookOutcome::MEANINGS),
    ("gateway_webhook_deliveries_total", "outcome", DeliveryOutcome::MEANINGS),
    ("gateway_config_reloads_total", "outcome", ReloadOutcome::MEANINGS),
];

fn page() -> String {
    let mut page = HEAD.to_owned();
    for metric in Metrics::new().described() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{}` | {} | {} | {} |", metric.name, metric.kind, labels.join(" "), metric.help)
            .expect("writing to memory does not fail");
    }
    page.push_str(PROCESS);
    for (metric, label, values) in LABELS {
        let star = if metric.ends_with('_') { "*" } else { "" };
        write!(page, "\n## `{label}` of `{metric}{star}`\n\n| value | |\n|---|---|\n").expect("as above");
        for (value, meaning) in *values {
            writeln!(page, "| `{value}` | {} |", meaning.trim()).expect("as above");
        }
    }
    page
}

#[test]
fn the_reference_says_what_the_code_does() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = page();
    if std::env::var_os("TOLLGATE_WRITE_DOCS").is_some() {
        std::fs::write(&file, &page).expect("the page is written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is behind the code; its first lines say how to write it anew");
}

#[test]
fn every_closed_label_is_explained() {
    let metrics = Metrics::new();
    for metric in metrics.described() {
        for label in metric.labels.iter().filter(|label| ["protocol", "outcome", "reason", "hook"].contains(label)) {
            let explained = LABELS.iter().any(|(start, name, _)| name == label && metric.name.starts_with(start));
            let by_protocol = *label == "protocol" && metric.name == "gateway_stream_duration_seconds";
            assert!(explained || by_protocol, "{} of {}", label, metric.name);
        }
    }
}
