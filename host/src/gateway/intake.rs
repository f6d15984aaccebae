//! What a webhook route is made of.

use std::sync::Arc;

use prometheus::IntCounter;

use super::product::Product;
use crate::base::names::RouteName;
use crate::config::plan;
use crate::plugin::call::Binding;
use crate::telemetry::labels::WebhookOutcome;
use crate::telemetry::registry::Metrics;

/// A webhook route, ready to take requests.
#[derive(Debug)]
pub struct Intake {
    /// Its name.
    pub route: RouteName,
    /// Where its events go.
    pub product: Arc<Product>,
    /// What the configuration says of it.
    pub plan: plan::Webhook,
    /// The plugin, with this route's options and secrets.
    pub verifier: Arc<Binding>,
    outcomes: [IntCounter; WebhookOutcome::COUNT],
}

impl Intake {
    /// A route's intake, its metrics resolved.
    pub fn new(
        route: RouteName,
        product: Arc<Product>,
        plan: plan::Webhook,
        verifier: Arc<Binding>,
        metrics: &Metrics,
    ) -> Self {
        let outcomes = std::array::from_fn(|at| {
            let outcome = WebhookOutcome::ALL[at].as_str();
            metrics.webhook_events.with_label_values(&[route.as_str(), plan.verifier.as_str(), outcome])
        });
        Self { route, product, plan, verifier, outcomes }
    }

    /// Counts what became of a request.
    pub fn count(&self, outcome: WebhookOutcome) {
        self.outcomes[outcome.index()].inc();
    }
}
