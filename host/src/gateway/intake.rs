//! What a webhook route is made of.

use std::sync::Arc;

use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::product::Product;
use super::rejects::Rejects;
use crate::base::names::RouteName;
use crate::config::plan;
use crate::plugin::call::{Binding, Called};
use crate::plugin::verdict::Verdict;
use crate::telemetry::labels::{CallOutcome, FaultReason, Hook, WebhookOutcome};
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
    calls: [IntCounter; CallOutcome::COUNT],
    call_duration: Histogram,
    faults: [IntCounter; FaultReason::COUNT],
    secret_used: IntCounterVec,
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
        let (plugin, hook) = (plan.verifier.as_str(), Hook::Verify.as_str());
        let calls = std::array::from_fn(|at| {
            metrics.plugin_calls.with_label_values(&[plugin, hook, CallOutcome::ALL[at].as_str()])
        });
        let faults =
            std::array::from_fn(|at| metrics.plugin_faults.with_label_values(&[plugin, FaultReason::ALL[at].as_str()]));
        let call_duration = metrics.plugin_call_duration.with_label_values(&[plugin, hook]);
        let secret_used = metrics.webhook_secret_used.clone();
        Self { route, product, plan, verifier, rejects, outcomes, calls, call_duration, faults, secret_used }
    }

    /// Counts what became of a request.
    pub fn count(&self, outcome: WebhookOutcome) {
        self.outcomes[outcome.index()].inc();
    }

    /// Counts a call of the verifier.
    pub fn called(&self, called: &Called) {
        self.call_duration.observe(called.took.as_secs_f64());
        let outcome = match &called.result {
            Ok(Verdict::Accept(_)) => CallOutcome::Allow,
            Ok(Verdict::Refuse(_)) => CallOutcome::Refuse,
            Ok(Verdict::Respond(_)) => CallOutcome::Reply,
            Err(fault) => {
                self.faults[fault.reason().index()].inc();
                CallOutcome::Fault
            }
        };
        self.calls[outcome.index()].inc();
        for (secret, slot) in &called.used {
            self.secret_used.with_label_values(&[&**secret, slot.to_string().as_str()]).inc();
        }
    }
}
