//! What is counted of upstreams.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::labels::Retry;
use super::registry::Metrics;

/// The retries of one product, resolved.
#[derive(Debug)]
pub struct Retries([IntCounter; Retry::COUNT]);

impl Retries {
    pub(super) fn resolve(metrics: &Metrics, product: &str) -> Self {
        let counter = |reason: Retry| metrics.upstream_retries.with_label_values(&[product, reason.as_str()]);
        Self(std::array::from_fn(|at| counter(Retry::ALL[at])))
    }

    /// One more.
    pub fn count(&self, reason: Retry) {
        self.0[reason.index()].inc();
    }
}

/// `gateway_upstream_healthy{product,upstream}`. A series lives as long as somebody [holds](Self::of) it: across a reload
/// the old generation and the new one may share it.
#[derive(Clone)]
pub struct UpstreamHealth {
    gauges: IntGaugeVec,
    held: Arc<Mutex<BTreeMap<[String; 2], usize>>>,
}

impl fmt::Debug for UpstreamHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamHealth")
    }
}

impl UpstreamHealth {
    pub(super) fn new(gauges: IntGaugeVec) -> Self {
        Self { gauges, held: Arc::default() }
    }

    /// The gauge of one upstream.
    pub fn of(&self, product: &str, upstream: &str) -> Healthy {
        let labels = [product.to_owned(), upstream.to_owned()];
        *self.held().entry(labels.clone()).or_default() += 1;
        Healthy { gauge: self.gauges.with_label_values(&[product, upstream]), labels, health: self.clone() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<[String; 2], usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one upstream gets requests.
#[derive(Debug)]
pub struct Healthy {
    gauge: IntGauge,
    labels: [String; 2],
    health: UpstreamHealth,
}

impl Healthy {
    /// It does, or not.
    pub fn set(&self, healthy: bool) {
        self.gauge.set(i64::from(healthy));
    }
}

impl Drop for Healthy {
    fn drop(&mut self) {
        let mut held = self.health.held();
        let Some(count) = held.get_mut(&self.labels) else { return };
        *count -= 1;
        if *count == 0 {
            held.remove(&self.labels);
            // It was made with these labels, so it is there.
            let _gone = self.health.gauges.remove_label_values(&[&self.labels[0], &self.labels[1]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_goes_with_its_last_holder() {
        let metrics = Metrics::new();
        let shown = || String::from_utf8(metrics.encode()).expect("text").contains("gateway_upstream_healthy{");
        let old = metrics.upstream_healthy.of("p", "http://a");
        let new = metrics.upstream_healthy.of("p", "http://a");
        new.set(true);
        drop(old);
        assert!(shown());
        drop(new);
        assert!(!shown());
    }
}
