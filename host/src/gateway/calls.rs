//! What is counted of one function of one plugin.

use prometheus::{Histogram, IntCounter, IntCounterVec};

use crate::base::names::PluginName;
use crate::plugin::call::Called;
use crate::telemetry::labels::{CallOutcome, FaultReason, Hook};
use crate::telemetry::registry::Metrics;

/// The metrics of one function, resolved.
#[derive(Debug)]
pub struct Calls {
    outcomes: [IntCounter; CallOutcome::COUNT],
    faults: [IntCounter; FaultReason::COUNT],
    duration: Histogram,
    secret_used: IntCounterVec,
}

impl Calls {
    /// Those of `plugin`'s `hook`.
    pub fn new(plugin: &PluginName, hook: Hook, metrics: &Metrics) -> Self {
        let (plugin, hook) = (plugin.as_str(), hook.as_str());
        Self {
            outcomes: std::array::from_fn(|at| {
                metrics.plugin_calls.with_label_values(&[plugin, hook, CallOutcome::ALL[at].as_str()])
            }),
            faults: std::array::from_fn(|at| {
                metrics.plugin_faults.with_label_values(&[plugin, FaultReason::ALL[at].as_str()])
            }),
            duration: metrics.plugin_call_duration.with_label_values(&[plugin, hook]),
            secret_used: metrics.webhook_secret_used.clone(),
        }
    }

    /// Counts a call; `outcome` is what its judgement comes to.
    pub fn count<T>(&self, called: &Called<T>, outcome: impl FnOnce(&T) -> CallOutcome) {
        self.duration.observe(called.took.as_secs_f64());
        let outcome = match &called.result {
            Ok(judged) => outcome(judged),
            Err(fault) => {
                self.faults[fault.reason().index()].inc();
                CallOutcome::Fault
            }
        };
        self.outcomes[outcome.index()].inc();
        for (secret, slot) in &called.used {
            self.secret_used.with_label_values(&[&**secret, slot.to_string().as_str()]).inc();
        }
    }
}
