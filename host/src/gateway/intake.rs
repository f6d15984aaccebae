//! What a webhook route is made of.

use std::sync::Arc;

use prometheus::IntCounter;

use super::calls::Calls;
use super::product::Product;
use super::rejects::Rejects;
use crate::base::names::RouteName;
use crate::config::plan;
use crate::plugin::call::{Binding, Called};
use crate::plugin::verdict::Verdict;
use crate::telemetry::labels::{CallOutcome, Hook, WebhookOutcome};
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
    /// What it refused lately, where that is asked for; carried over from generation to generation.
    pub rejects: Option<Arc<Rejects>>,
    outcomes: [IntCounter; WebhookOutcome::COUNT],
    calls: Calls,
}

impl Intake {
    /// A route's intake, its metrics resolved.
    pub fn new(
        route: RouteName,
        product: Arc<Product>,
        plan: plan::Webhook,
        verifier: Arc<Binding>,
        rejects: Option<Arc<Rejects>>,
        metrics: &Metrics,
    ) -> Self {
        let outcomes = std::array::from_fn(|at| {
            let outcome = WebhookOutcome::ALL[at].as_str();
            metrics.webhook_events.with_label_values(&[route.as_str(), plan.verifier.as_str(), outcome])
        });
        let calls = Calls::new(&plan.verifier, Hook::Verify, metrics);
        Self { route, product, plan, verifier, rejects, outcomes, calls }
    }

    /// Counts what became of a request.
    pub fn count(&self, outcome: WebhookOutcome) {
        self.outcomes[outcome.index()].inc();
    }

    /// Counts a call of the verifier.
    pub fn called(&self, called: &Called<Verdict>) {
        self.calls.count(called, |verdict| match verdict {
            Verdict::Accept(_) => CallOutcome::Allow,
            Verdict::Refuse(_) => CallOutcome::Refuse,
            Verdict::Respond(_) => CallOutcome::Reply,
        });
    }
}
