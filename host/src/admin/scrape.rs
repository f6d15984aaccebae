//! `/metrics`: what is counted as it happens, and what is asked for when somebody looks.

use bytes::Bytes;
use tokio::sync::Mutex;

use super::Parts;
use crate::store::{DeliveryState, Stats};

/// Looks at what is only counted when asked for. One at a time: series that are cleared and set again must not be read
/// in between.
#[derive(Debug, Default)]
pub(super) struct Scrape(Mutex<()>);

impl Scrape {
    /// Everything, as Prometheus reads it.
    pub(super) async fn text(&self, parts: &Parts) -> Bytes {
        let stats = parts.store.stats().await;
        let _alone = self.0.lock().await;
        match stats {
            Ok(stats) => queue(parts, &stats),
            // What else there is to see may say why.
            Err(error) => tracing::error!(%error, "the store's figures cannot be read"),
        }
        plugins(parts);
        parts.metrics.encode().into()
    }
}

fn queue(parts: &Parts, stats: &Stats) {
    let metrics = &parts.metrics;
    for (state, count) in DeliveryState::ALL.iter().zip(stats.states) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        metrics.webhook_queue_depth.with_label_values(&[state.as_str()]).set(count);
        if *state == DeliveryState::Dead {
            metrics.webhook_dead_letters.set(count);
        }
    }
    let age = stats.oldest_due.map_or(0, |due| parts.clock.now().since(due).as_secs());
    metrics.webhook_oldest_due_age.set(i64::try_from(age).unwrap_or(i64::MAX));
}

fn plugins(parts: &Parts) {
    let metrics = &parts.metrics;
    metrics.plugin_info.reset();
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    for status in parts.plugins.status(parts.clock.now()) {
        let name = status.name.as_str();
        metrics.plugin_parked.with_label_values(&[name]).set(status.parked.is_some().into());
        let (instances, peak) = match &status.live {
            Some(plugin) => {
                metrics.plugin_info.with_label_values(&[name, &plugin.digest.to_string(), &plugin.wit]).set(1);
                (plugin.usage.instances(), plugin.usage.memory_peak())
            }
            None => (0, 0),
        };
        metrics.plugin_instances.with_label_values(&[name]).set(whole(instances));
        metrics.plugin_memory_peak.with_label_values(&[name]).set(whole(peak));
    }
}
