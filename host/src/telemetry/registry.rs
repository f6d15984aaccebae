//! Every metric there is. One [`Metrics`] is made per gateway and handed down; there are no globals.
//!
//! On the way of a request handles are resolved ahead ([`Metrics::product`]); the vectors are for slow paths.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::labels::{CallOutcome, DeliveryOutcome, FaultReason, Hook, PluginReload, ReloadOutcome, WebhookOutcome};
use super::listener::ListenerMetrics;
use super::product::{NO_PRODUCT, ProductMetrics};
use super::upstream::{Retries, UpstreamHealth};

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Seconds; from a cached answer to a request that should have been a webhook.
const REQUEST_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Seconds; streams last.
const STREAM_SECONDS: [f64; 8] = [1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0];
/// Seconds; a plugin's call.
const CALL_SECONDS: [f64; 10] = [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 5e-4, 1e-3, 1e-2, 5e-2, 0.1];
/// Seconds; a commit waits for the disk.
const COMMIT_SECONDS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0];
/// Events a commit.
const BATCH_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What exchanges are told apart by.
const BY_PRODUCT: &[&str] = &["protocol", "product"];

/// Every metric of a gateway.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    pub(super) requests: IntCounterVec,
    pub(super) active: IntGaugeVec,
    pub(super) errors: IntCounterVec,
    pub(super) duration: HistogramVec,
    pub(super) stream_duration: HistogramVec,
    pub(super) websocket_bytes: IntCounterVec,
    /// `gateway_upstream_healthy{product,upstream}`, 1 or 0
    pub upstream_healthy: UpstreamHealth,
    pub(super) upstream_retries: IntCounterVec,
    pub(super) listener_closed: IntCounterVec,
    /// `gateway_tls_certificate_expiry_timestamp_seconds{listener,certificate}`, Unix seconds
    pub certificate_expiry: IntGaugeVec,
    /// `gateway_plugin_calls_total{plugin,hook,outcome}`
    pub plugin_calls: IntCounterVec,
    /// `gateway_plugin_call_duration_seconds{plugin,hook}`
    pub plugin_call_duration: HistogramVec,
    /// `gateway_plugin_faults_total{plugin,reason}`
    pub plugin_faults: IntCounterVec,
    /// `gateway_plugin_reloads_total{plugin,outcome}`
    pub plugin_reloads: IntCounterVec,
    /// `gateway_plugin_info{plugin,digest,wit}`, 1 for what serves
    pub plugin_info: IntGaugeVec,
    /// `gateway_webhook_events_total{route,provider,outcome}`
    pub webhook_events: IntCounterVec,
    /// `gateway_webhook_secret_used_total{secret,slot}`
    pub webhook_secret_used: IntCounterVec,
    /// `gateway_webhook_deliveries_total{product,outcome}`
    pub webhook_deliveries: IntCounterVec,
    /// `gateway_webhook_delivery_seconds{product}`
    pub webhook_delivery: HistogramVec,
    /// `gateway_webhook_queue_depth{state}`
    pub webhook_queue_depth: IntGaugeVec,
    /// `gateway_webhook_oldest_due_age_seconds`
    pub webhook_oldest_due_age: IntGauge,
    /// `gateway_webhook_dead_letters`
    pub webhook_dead_letters: IntGauge,
    /// `gateway_store_commit_seconds`
    pub store_commit: Histogram,
    /// `gateway_store_batch_size`
    pub store_batch_size: Histogram,
    /// `gateway_config_reloads_total{outcome}`
    pub config_reloads: IntCounterVec,
    /// `gateway_config_last_reload_successful`, 1 or 0
    pub config_last_reload_successful: IntGauge,
    /// `gateway_config_generations`, how many configurations still serve a request
    pub config_generations: IntGauge,
}

/// What is known of a metric before it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// As it is scraped; a histogram's without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// What the configuration knows of label values, so that their series exist before anything happens.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// Products.
    pub products: Vec<&'a str>,
    /// Plugins.
    pub plugins: Vec<&'a str>,
    /// (route, verifier) of webhook routes.
    pub webhooks: Vec<(&'a str, &'a str)>,
    /// (secret, number of values).
    pub secrets: Vec<(&'a str, usize)>,
    /// States of a delivery.
    pub states: Vec<&'a str>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> Self {
        let made = Maker { registry: Registry::new(), described: RefCell::default() };
        made.process();
        let build = made.gauges("gateway_build_info", "Which version runs; always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let metrics = Self {
            requests: made.counters(
                "gateway_protocol_requests_total",
                "Finished exchanges.",
                &["protocol", "product", "outcome"],
            ),
            active: made.gauges("gateway_protocol_active_connections", "Exchanges under way.", BY_PRODUCT),
            errors: made.counters(
                "gateway_protocol_errors_total",
                "Errors the gateway answered with, or broke a response off for.",
                &["protocol", "product", "reason"],
            ),
            duration: made.histograms(
                "gateway_protocol_request_duration_seconds",
                "From the request's head to the response's last byte.",
                BY_PRODUCT,
                &REQUEST_SECONDS,
            ),
            stream_duration: made.histograms(
                "gateway_stream_duration_seconds",
                "How long streams were open.",
                BY_PRODUCT,
                &STREAM_SECONDS,
            ),
            websocket_bytes: made.counters(
                "gateway_websocket_bytes_total",
                "Bytes that came over open WebSockets: in from clients, out from products.",
                &["product", "direction"],
            ),
            upstream_healthy: UpstreamHealth::new(made.gauges(
                "gateway_upstream_healthy",
                "Whether an upstream gets requests.",
                &["product", "upstream"],
            )),
            upstream_retries: made.counters(
                "gateway_upstream_retries_total",
                "Requests sent to an upstream once more.",
                &["product", "reason"],
            ),
            listener_closed: made.counters(
                "gateway_listener_closed_connections_total",
                "Client connections closed because of what they did before or between requests.",
                &["listener", "reason"],
            ),
            certificate_expiry: made.gauges(
                "gateway_tls_certificate_expiry_timestamp_seconds",
                "When a listener's certificate runs out; the certificate is named by its file.",
                &["listener", "certificate"],
            ),
            plugin_calls: made.counters("gateway_plugin_calls_total", "Calls.", &["plugin", "hook", "outcome"]),
            plugin_call_duration: made.histograms(
                "gateway_plugin_call_duration_seconds",
                "How long a call took.",
                &["plugin", "hook"],
                &CALL_SECONDS,
            ),
            plugin_faults: made.counters("gateway_plugin_faults_total", "Calls that failed.", &["plugin", "reason"]),
            plugin_reloads: made.counters("gateway_plugin_reloads_total", "Files loaded.", &["plugin", "outcome"]),
            plugin_info: made.gauges("gateway_plugin_info", "What serves; always 1.", &["plugin", "digest", "wit"]),
            webhook_events: made.counters(
                "gateway_webhook_events_total",
                "Requests on webhook routes.",
                &["route", "provider", "outcome"],
            ),
            webhook_secret_used: made.counters(
                "gateway_webhook_secret_used_total",
                "Signatures that matched, by the secret's value; slot 0 is the newest.",
                &["secret", "slot"],
            ),
            webhook_deliveries: made.counters(
                "gateway_webhook_deliveries_total",
                "Attempts to deliver.",
                &["product", "outcome"],
            ),
            webhook_delivery: made.histograms(
                "gateway_webhook_delivery_seconds",
                "How long an attempt took.",
                &["product"],
                &REQUEST_SECONDS,
            ),
            webhook_queue_depth: made.gauges("gateway_webhook_queue_depth", "Deliveries in the store.", &["state"]),
            webhook_oldest_due_age: made
                .gauge("gateway_webhook_oldest_due_age_seconds", "How long the longest waiting delivery has been due."),
            webhook_dead_letters: made.gauge("gateway_webhook_dead_letters", "Deliveries that were given up."),
            store_commit: made.histogram("gateway_store_commit_seconds", "How long a commit took.", &COMMIT_SECONDS),
            store_batch_size: made.histogram("gateway_store_batch_size", "Events in a commit.", &BATCH_SIZES),
            config_reloads: made.counters("gateway_config_reloads_total", "Reloads.", &["outcome"]),
            config_last_reload_successful: made
                .gauge("gateway_config_last_reload_successful", "Whether the newest configuration serves."),
            config_generations: made.gauge("gateway_config_generations", "Configurations that still serve a request."),
            registry: made.registry,
            described: made.described.into_inner(),
        };
        for outcome in ReloadOutcome::ALL {
            metrics.config_reloads.with_label_values(&[outcome.as_str()]);
        }
        metrics.config_last_reload_successful.set(1);
        metrics.product(NO_PRODUCT);
        metrics
    }

    /// The metrics of one product, resolved.
    pub fn product(&self, name: &str) -> Arc<ProductMetrics> {
        Arc::new(ProductMetrics::resolve(self, name))
    }

    /// The metrics of one listener, resolved.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics::resolve(self, name)
    }

    /// The retries of one product, resolved.
    pub fn retries(&self, product: &str) -> Retries {
        Retries::resolve(self, product)
    }

    /// Makes the series of every known label value, at zero.
    pub fn prepare(&self, known: &Known<'_>) {
        for product in &known.products {
            self.product(product);
            self.retries(product);
            self.webhook_delivery.with_label_values(&[product]);
            for outcome in DeliveryOutcome::ALL {
                self.webhook_deliveries.with_label_values(&[*product, outcome.as_str()]);
            }
        }
        for plugin in &known.plugins {
            self.prepare_plugin(plugin);
        }
        for (route, provider) in &known.webhooks {
            for outcome in WebhookOutcome::ALL {
                self.webhook_events.with_label_values(&[*route, *provider, outcome.as_str()]);
            }
        }
        for (secret, values) in &known.secrets {
            for slot in 0..*values {
                self.webhook_secret_used.with_label_values(&[*secret, slot.to_string().as_str()]);
            }
        }
        for state in &known.states {
            self.webhook_queue_depth.with_label_values(&[state]);
        }
    }

    fn prepare_plugin(&self, plugin: &str) {
        for hook in Hook::ALL {
            self.plugin_call_duration.with_label_values(&[plugin, hook.as_str()]);
            for outcome in CallOutcome::ALL {
                self.plugin_calls.with_label_values(&[plugin, hook.as_str(), outcome.as_str()]);
            }
        }
        for reason in FaultReason::ALL {
            self.plugin_faults.with_label_values(&[plugin, reason.as_str()]);
        }
        for outcome in PluginReload::ALL {
            self.plugin_reloads.with_label_values(&[plugin, outcome.as_str()]);
        }
    }

    /// Every metric there is but those of the process, in the order they are made.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Everything, as Prometheus reads it.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        text
    }
}

/// Makes metrics and registers them. The names are constants of this file, so a clash shows in every test.
struct Maker {
    registry: Registry,
    described: RefCell<Vec<Described>>,
}

impl Maker {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("the name and labels are constants and valid");
        self.registry.register(Box::new(metric.clone())).expect("every name is registered once");
        metric
    }

    /// What the system knows of the process (`process_*`), where it can be asked.
    fn process(&self) {
        #[cfg(target_os = "linux")]
        self.registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("every name is registered once");
    }

    fn describe(&self, name: &'static str, kind: &'static str, help: &'static str, labels: &'static [&'static str]) {
        self.described.borrow_mut().push(Described { name, kind, help, labels });
    }

    fn counters(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> IntCounterVec {
        self.describe(name, "counter", help, labels);
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> IntGaugeVec {
        self.describe(name, "gauge", help, labels);
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &'static str, help: &'static str) -> IntGauge {
        self.describe(name, "gauge", help, &[]);
        self.register(IntGauge::new(name, help))
    }

    fn histograms(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        buckets: &[f64],
    ) -> HistogramVec {
        self.describe(name, "histogram", help, labels);
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }

    fn histogram(&self, name: &'static str, help: &'static str, buckets: &[f64]) -> Histogram {
        self.describe(name, "histogram", help, &[]);
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::labels::{Outcome, Protocol, Reason};

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.encode()).expect("text")
    }

    #[test]
    fn known_series_exist_at_zero() {
        let metrics = Metrics::new();
        metrics.prepare(&Known {
            products: vec!["billing"],
            plugins: vec!["stripe"],
            webhooks: vec![("hooks", "stripe")],
            secrets: vec![("key", 2)],
            states: vec!["due"],
        });
        let text = text(&metrics);
        for line in [
            "gateway_protocol_requests_total{outcome=\"success\",product=\"billing\",protocol=\"http\"} 0",
            "gateway_protocol_requests_total{outcome=\"rejected\",product=\"none\",protocol=\"http\"} 0",
            "gateway_plugin_faults_total{plugin=\"stripe\",reason=\"trap\"} 0",
            "gateway_webhook_events_total{outcome=\"stale\",provider=\"stripe\",route=\"hooks\"} 0",
            "gateway_webhook_secret_used_total{secret=\"key\",slot=\"1\"} 0",
            "gateway_webhook_queue_depth{state=\"due\"} 0",
            "gateway_config_last_reload_successful 1",
            "gateway_build_info{version=\"0.1.0\"} 1",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    fn an_exchange_is_counted_once_and_leaves_no_one_active() {
        let metrics = Metrics::new();
        let product = metrics.product("api");
        product.begin(Protocol::Http);
        product.reclassify(Protocol::Http, Protocol::Sse);
        product.error(Protocol::Sse, Reason::IdleTimeout);
        product.end(Protocol::Sse, Outcome::Timeout, Duration::from_secs(2));
        let text = text(&metrics);
        for line in [
            "gateway_protocol_active_connections{product=\"api\",protocol=\"http\"} 0",
            "gateway_protocol_active_connections{product=\"api\",protocol=\"sse\"} 0",
            "gateway_protocol_requests_total{outcome=\"timeout\",product=\"api\",protocol=\"sse\"} 1",
            "gateway_protocol_errors_total{product=\"api\",protocol=\"sse\",reason=\"idle_timeout\"} 1",
            "gateway_stream_duration_seconds_count{product=\"api\",protocol=\"sse\"} 1",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
