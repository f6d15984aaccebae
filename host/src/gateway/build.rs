//! Plan → [`Gateway`]. What did not change is carried over from the generation before, connections and all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::chain::{Chain, Link};
use super::intake::Intake;
use super::product::{Backend, Product};
use super::rate::Limiter;
use super::rejects::Rejects;
use super::room::Room;
use super::routes::{Entry, RouteTable};
use super::{Alive, Gateway, Route, Target, webhook_methods};
use crate::base::names::{ProductName, RouteName, SecretName};
use crate::base::secret::Secret;
use crate::config::plan::{self, Plan};
use crate::plugin::Roles;
use crate::plugin::component::Kind;
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
        plan.routes.values().filter(|route| route.webhook.is_some()).flat_map(plan::Route::products).collect();
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

/// The secrets a route gives a plugin, by role.
fn roles(secrets: &BTreeMap<String, SecretName>, ground: &Ground<'_>) -> Arc<Roles> {
    let given = secrets.iter();
    Arc::new(given.filter_map(|(role, name)| Some((role.clone(), ground.secrets.get(name)?.clone()))).collect())
}

type Products = BTreeMap<ProductName, Arc<Product>>;

/// The plugins of a route.
fn chain(name: &RouteName, route: &plan::Route, products: &Products, ground: &Ground<'_>) -> Option<Arc<Chain>> {
    let link = |(nth, of): (usize, &plan::PluginUse)| {
        let kind = if of.candidates.is_empty() { Kind::Propagator } else { Kind::Router };
        let (place, roles) = (format!("{name}/{nth}"), roles(&of.secrets, ground));
        let plugin = ground.plugins.bind(&of.plugin, kind, &place, &of.options, roles);
        let candidates = of.candidates.iter().filter_map(|candidate| products.get(&candidate.product).cloned());
        Link::new(plugin, candidates.collect(), ground.metrics)
    };
    let links: Vec<Link> = route.plugins.iter().enumerate().map(link).collect();
    (!links.is_empty()).then(|| Arc::new(Chain { links }))
}

/// `None` cannot happen for a checked plan: it has every product its routes name.
fn entry(
    name: &RouteName,
    route: &plan::Route,
    products: &Products,
    previous: Option<&Gateway>,
    ground: &Ground<'_>,
) -> Option<Entry<Arc<Route>>> {
    let product = products.get(&route.product)?;
    let mut matcher = route.matcher.clone();
    let target = match &route.webhook {
        None => Target::Proxy(Arc::clone(product)),
        Some(webhook) => {
            let verifier = ground.plugins.bind(
                &webhook.verifier,
                Kind::Verifier,
                name.as_str(),
                &webhook.options,
                roles(&webhook.secrets, ground),
            );
            if matcher.methods.is_empty() {
                matcher.methods = webhook_methods(&verifier.methods());
            }
            let product = Arc::clone(product);
            let rejects = webhook.reject_log.map(|keep| rejects(name, keep, previous));
            let intake = Intake::new(name.clone(), product, webhook.clone(), verifier, rejects, ground.metrics);
            Target::Webhook(Arc::new(intake))
        }
    };
    let (product, timeouts) = (Arc::clone(product), route.timeouts.clone());
    let before = previous.and_then(|previous| previous.routes.get(name)).map(|entry| &entry.target);
    let limiter = route.policy.rate.map(|rate| limiter(rate, before));
    let websockets = Room::new(route.policy.websocket.sockets, before.map(|before| &before.websockets));
    let mut served = Route {
        name: name.clone(),
        product,
        timeouts,
        policy: route.policy.clone(),
        chain: chain(name, route, products, ground),
        others: BTreeMap::new(),
        limiter,
        websockets,
        target,
    };
    if route.webhook.is_none() {
        served.others = others(&served, route, products);
    }
    Some(Entry { name: name.clone(), matcher, target: Arc::new(served) })
}

/// `served` with each of the products that a router may choose instead of its own.
fn others(served: &Route, route: &plan::Route, products: &Products) -> BTreeMap<ProductName, Arc<Route>> {
    let candidates = route.plugins.iter().flat_map(|plugin| &plugin.candidates);
    let other = |candidate: &plan::Candidate| {
        let product = products.get(&candidate.product).filter(|product| product.name != route.product)?;
        let other = Route {
            name: served.name.clone(),
            product: Arc::clone(product),
            timeouts: candidate.timeouts.clone(),
            policy: served.policy.clone(),
            chain: served.chain.clone(),
            others: BTreeMap::new(),
            limiter: served.limiter.clone(),
            websockets: served.websockets.clone(),
            target: Target::Proxy(Arc::clone(product)),
        };
        Some((candidate.product.clone(), Arc::new(other)))
    };
    candidates.filter_map(other).collect()
}

/// What was kept already, while it is kept for as long.
fn rejects(name: &RouteName, keep: Duration, previous: Option<&Gateway>) -> Arc<Rejects> {
    let before = previous.and_then(|previous| match &previous.routes.get(name)?.target.target {
        Target::Webhook(intake) => intake.rejects.clone(),
        Target::Proxy(_) => None,
    });
    before.filter(|rejects| rejects.keep() == keep).unwrap_or_else(|| Arc::new(Rejects::new(keep)))
}

/// The one that counts already, so that a reload gives nobody a second burst.
fn limiter(rate: plan::Rate, before: Option<&Arc<Route>>) -> Arc<Limiter> {
    let before = before.and_then(|route| route.limiter.clone());
    before.filter(|limiter| *limiter.rate() == rate).unwrap_or_else(|| Arc::new(Limiter::new(rate)))
}
