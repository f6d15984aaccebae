//! Plan → [`Gateway`]. What did not change is carried over from the generation before, connections and all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::intake::Intake;
use super::product::{Backend, Product};
use super::rate::Limiter;
use super::room::Room;
use super::routes::{Entry, RouteTable};
use super::{Alive, Gateway, Route, Target, webhook_methods};
use crate::base::names::{ProductName, RouteName, SecretName};
use crate::base::secret::Secret;
use crate::config::plan::{self, Plan};
use crate::plugin::Roles;
use crate::plugin::registry::Plugins;
use crate::telemetry::product::NO_PRODUCT;
use crate::telemetry::registry::Metrics;
use crate::upstream::guard::AddressRule;
use crate::upstream::tls::Tls;
use crate::upstream::{Upstream, UpstreamPlan};

/// What building needs beside the plan.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Where everything is counted.
    pub metrics: &'a Metrics,
    /// Worker threads that will use it.
    pub workers: usize,
    /// The plugins that routes use.
    pub plugins: &'a Plugins,
    /// The secrets that routes give them.
    pub secrets: &'a BTreeMap<SecretName, Secret>,
    /// TLS towards upstreams, of the products that have it.
    pub tls: &'a BTreeMap<ProductName, Arc<Tls>>,
}

/// The generation that `plan` describes. `previous` is the one that serves now.
pub fn gateway(plan: &Plan, previous: Option<&Gateway>, ground: &Ground<'_>) -> Gateway {
    let webhook_products: BTreeSet<_> =
        plan.routes.values().filter(|route| route.webhook.is_some()).map(|route| &route.product).collect();
    let before = |name: &ProductName| previous.and_then(|previous| previous.products.get(name));
    let product = |(name, product): (&ProductName, &plan::Product)| {
        let backend = backend(name, product, webhook_products.contains(name), plan, previous, ground);
        let product = Product {
            name: name.clone(),
            backend,
            host: product.host.clone(),
            timeouts: product.timeouts.clone(),
            sign: product.sign.as_ref().and_then(|secret| ground.secrets.get(secret).cloned()),
            delivery: product.delivery.clone(),
            websockets: Room::new(product.websockets, before(name).map(|before| &before.websockets)),
            metrics: ground.metrics.product(name.as_str()),
        };
        (name.clone(), Arc::new(product))
    };
    let products: BTreeMap<_, _> = plan.products.iter().map(product).collect();
    let entries =
        plan.routes.iter().filter_map(|(name, route)| entry(name, route, &products, previous, ground)).collect();
    Gateway {
        generation: previous.map_or(1, |previous| previous.generation + 1),
        routes: RouteTable::new(entries),
        limits: plan.limits.clone(),
        timeouts: plan.timeouts.clone(),
        trusted: plan.trusted.clone(),
        products,
        websockets: Room::new(Some(plan.limits.websockets), previous.map(|previous| &previous.websockets)),
        unrouted: ground.metrics.product(NO_PRODUCT),
        alive: Alive::count(&ground.metrics.config_generations),
    }
}

fn backend(
    name: &ProductName,
    product: &plan::Product,
    takes_webhooks: bool,
    plan: &Plan,
    previous: Option<&Gateway>,
    ground: &Ground<'_>,
) -> Backend {
    let plan::Backend::Upstreams(urls) = &product.backend else { return Backend::Echo };
    let wanted = UpstreamPlan {
        product: name.clone(),
        urls: urls.clone(),
        balance: product.balance,
        connections: product.connections,
        tls: ground.tls.get(name).cloned(),
        health: product.health.clone(),
        retries: product.retries,
        breaker: product.breaker.clone(),
        rule: takes_webhooks.then(|| AddressRule { allow: product.allow.clone() }),
        buffer_bytes: plan.limits.buffer_bytes.as_usize(),
    };
    let same = previous.and_then(|previous| previous.products.get(name)).and_then(|product| match &product.backend {
        Backend::Upstream(upstream) if *upstream.plan() == wanted => Some(Arc::clone(upstream)),
        Backend::Upstream(_) | Backend::Echo => None,
    });
    Backend::Upstream(same.unwrap_or_else(|| Arc::new(Upstream::new(wanted, ground.workers, ground.metrics))))
}

/// The secrets a route gives its plugin, by role.
fn roles(webhook: &plan::Webhook, ground: &Ground<'_>) -> Roles {
    let given = webhook.secrets.iter();
    given.filter_map(|(role, name)| Some((role.clone(), ground.secrets.get(name)?.clone()))).collect()
}

/// `None` cannot happen for a checked plan: it has every product its routes name.
fn entry(
    name: &RouteName,
    route: &plan::Route,
    products: &BTreeMap<ProductName, Arc<Product>>,
    previous: Option<&Gateway>,
    ground: &Ground<'_>,
) -> Option<Entry<Arc<Route>>> {
    let product = products.get(&route.product)?;
    let mut matcher = route.matcher.clone();
    let target = match &route.webhook {
        None => Target::Proxy(Arc::clone(product)),
        Some(webhook) => {
            let verifier = ground.plugins.bind(&webhook.verifier, &webhook.options, Arc::new(roles(webhook, ground)));
            if matcher.methods.is_empty() {
                matcher.methods = webhook_methods(&verifier.methods());
            }
            let product = Arc::clone(product);
            Target::Webhook(Arc::new(Intake::new(name.clone(), product, webhook.clone(), verifier, ground.metrics)))
        }
    };
    let (product, timeouts) = (Arc::clone(product), route.timeouts.clone());
    let before = previous.and_then(|previous| previous.routes.get(name)).map(|entry| &entry.target);
    let limiter = route.policy.rate.map(|rate| limiter(rate, before));
    let websockets = Room::new(route.policy.websocket.sockets, before.map(|before| &before.websockets));
    let policy = route.policy.clone();
    let served = Route { name: name.clone(), product, timeouts, policy, limiter, websockets, target };
    Some(Entry { name: name.clone(), matcher, target: Arc::new(served) })
}

/// The one that counts already, so that a reload gives nobody a second burst.
fn limiter(rate: plan::Rate, before: Option<&Arc<Route>>) -> Arc<Limiter> {
    let before = before.and_then(|route| route.limiter.clone());
    before.filter(|limiter| *limiter.rate() == rate).unwrap_or_else(|| Arc::new(Limiter::new(rate)))
}
