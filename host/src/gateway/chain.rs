//! The plugins that a route asks about each of its requests, in the order written.

use std::sync::Arc;

use super::calls::Calls;
use super::product::Product;
use crate::base::names::ProductName;
use crate::plugin::call::Binding;
use crate::telemetry::labels::Hook;
use crate::telemetry::registry::Metrics;

/// The plugins of one route. At least one.
#[derive(Debug)]
pub struct Chain {
    /// In the order written.
    pub links: Vec<Link>,
}

/// One of them.
#[derive(Debug)]
pub struct Link {
    /// The plugin, with this use's options and secrets.
    pub plugin: Arc<Binding>,
    /// What it is asked.
    pub part: Part,
}

/// What a plugin is asked.
#[derive(Debug)]
pub enum Part {
    /// To edit heads.
    Propagator {
        /// Of requests.
        on_request: Calls,
        /// Of responses.
        on_response: Calls,
    },
    /// To choose a product.
    Router {
        /// Among these; at least one.
        candidates: Vec<Arc<Product>>,
        /// Their names.
        names: Arc<[String]>,
        /// What is counted.
        calls: Calls,
    },
}

impl Link {
    /// A plugin with `candidates` is a router, one without a propagator.
    pub fn new(plugin: Arc<Binding>, candidates: Vec<Arc<Product>>, metrics: &Metrics) -> Self {
        let calls = |hook| Calls::new(plugin.name(), hook, metrics);
        let part = if candidates.is_empty() {
            Part::Propagator { on_request: calls(Hook::OnRequest), on_response: calls(Hook::OnResponse) }
        } else {
            let names = candidates.iter().map(|product| product.name.to_string()).collect();
            Part::Router { candidates, names, calls: calls(Hook::Choose) }
        };
        Self { plugin, part }
    }
}

impl Chain {
    /// Whether a response is shown to anybody.
    pub fn has_propagators(&self) -> bool {
        self.links.iter().any(|link| matches!(link.part, Part::Propagator { .. }))
    }

    /// Every product that one of the routers may choose.
    pub fn candidates(&self) -> impl Iterator<Item = &ProductName> {
        self.links
            .iter()
            .flat_map(|link| match &link.part {
                Part::Router { candidates, .. } => candidates.as_slice(),
                Part::Propagator { .. } => &[],
            })
            .map(|product| &product.name)
    }
}
