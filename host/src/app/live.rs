//! What serves, and how it is replaced: a reload builds the next generation beside the live one, checks it, and swaps it
//! in with one step. A bad one changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify};

use super::supervisor::Supervisor;
use super::{Environment, StartError, Surroundings};
use crate::admin::Access;
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::names::{PluginName, ProductName, RouteName, SecretName};
use crate::base::secret::Secret;
use crate::config::plan::{self, ListenerTls, Plan};
use crate::config::problem::{Problem, Problems};
use crate::edge::{Edge, Entrances, Served, Sockets, Unbound};
use crate::gateway::build::{self, Ground};
use crate::gateway::routes::Entry;
use crate::gateway::{Current, Gateway, Route, Target};
use crate::net::workers::Workers;
use crate::plugin::call::Binding;
use crate::plugin::engine::Engine;
use crate::plugin::registry::{self, Observer, Plugins};
use crate::store::{DeliveryState, EventStore};
use crate::telemetry::labels::{PluginReload, ReloadOutcome};
use crate::telemetry::registry::{Known, Metrics};
use crate::upstream::tls::{self, Tls};
use crate::webhook::ingest::Webhooks;

/// Everything that a reload needs and changes.
pub(super) struct Live {
    pub(super) current: Arc<Current>,
    pub(super) plugins: Arc<Plugins>,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access: Arc<ArcSwap<Access>>,
    /// Woken when another generation serves.
    pub(super) reloaded: Arc<Notify>,
    pub(super) supervisor: Supervisor,
    edge: Edge,
    surroundings: Surroundings,
    state: ArcSwap<Loaded>,
    workers: usize,
    /// Whether the store knows where events of this generation may be delivered.
    adopted: AtomicBool,
    /// One reload at a time.
    reloading: Mutex<()>,
}

/// What the first generation is built on.
pub(super) struct Rooms<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) replugged: &'a Arc<Notify>,
    pub(super) workers: &'a Workers,
    pub(super) connections: &'a Drain,
}

/// What the generation that serves was built from.
struct Loaded {
    plan: Arc<Plan>,
    read: Read,
}

/// What was read from where the plan and the environment say.
#[derive(Clone)]
pub(super) struct Read {
    pub(super) secrets: BTreeMap<SecretName, Secret>,
    tls: BTreeMap<ProductName, Arc<Tls>>,
}

impl Read {
    pub(super) fn of(plan: &Plan, environment: &Environment) -> Result<Self, Problems> {
        let secrets = crate::config::secrets::resolve(plan, &**environment);
        let tls = tls::load(plan, &**environment);
        match (secrets, tls) {
            (Ok(secrets), Ok(tls)) => Ok(Self { secrets, tls }),
            (Err(secrets), Err(tls)) => Err(secrets.and(tls)),
            (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => Err(problems),
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Live({})", self.plan().file.display())
    }
}

/// Counts what became of plugin files, and says that routes may look different now.
struct Replug {
    metrics: Arc<Metrics>,
    replugged: Arc<Notify>,
}

impl Observer for Replug {
    fn reloaded(&self, plugin: &PluginName, outcome: PluginReload) {
        self.metrics.plugin_reloads.with_label_values(&[plugin.as_str(), outcome.as_str()]).inc();
        self.replugged.notify_one();
    }
}

impl Live {
    /// The first generation. A plugin that is missing leaves its routes answering 503; options or secrets that a plugin
    /// does not accept are problems of the configuration.
    pub(super) async fn build(
        plan: Plan,
        read: Read,
        surroundings: Surroundings,
        rooms: Rooms<'_>,
    ) -> Result<Self, StartError> {
        let Rooms { engine, metrics, store, replugged, workers, connections } = rooms;
        let observer = Replug { metrics: metrics.clone(), replugged: replugged.clone() };
        let plugins = Plugins::new(engine.clone(), plan.plugins.clone(), Box::new(observer));
        plugins.scan().await;
        let Read { secrets, tls } = &read;
        prepare(&metrics, &plan, secrets);
        let ground = Ground { metrics: &metrics, workers: workers.count(), plugins: &plugins, secrets, tls };
        let gateway = build::gateway(&plan, None, &ground);
        fit(&plan, &gateway, &plugins).await?;
        gateway.start();
        let clock = &surroundings.clock;
        let adopted = store.adopt(clock.now(), &served(&gateway)).await;
        adopted.map_err(|error| StartError::Store(plan.store.url.to_string(), error))?;
        let access = Arc::new(ArcSwap::from_pointee(Access::of(&plan.admin, secrets)));
        let current = Arc::new(Current::new(Arc::new(gateway)));
        let served = Served {
            current: current.clone(),
            webhooks: Arc::new(Webhooks::new(store.clone(), clock.clone())),
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
        Ok(Self {
            current,
            edge: Edge::new(served, connections.clone(), workers, surroundings.sockets.clone()),
            supervisor: Supervisor::of(&surroundings.environment),
            plugins,
            store,
            metrics,
            access,
            reloaded: Arc::new(Notify::new()),
            surroundings,
            state: ArcSwap::from_pointee(Loaded { plan: Arc::new(plan), read }),
            workers: workers.count(),
            adopted: AtomicBool::new(true),
            reloading: Mutex::new(()),
        })
    }

    /// Opens the first listeners.
    pub(super) fn listen(&self, entrances: Entrances) -> Result<(), StartError> {
        let plan = self.plan();
        let sockets = self.edge.bind(&plan).map_err(StartError::Listeners)?;
        self.edge.serve(&plan, entrances, sockets);
        Ok(())
    }

    /// The listeners.
    pub(super) fn edge(&self) -> &Edge {
        &self.edge
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        self.state.load().plan.clone()
    }

    /// The files that what serves was read from: what to watch for changes.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let plan = self.plan();
        let mut files = vec![plan.file.clone()];
        files.extend(crate::config::secrets::files(&plan));
        files.extend(tls::files(&plan, &*self.surroundings.environment));
        files.extend(
            plan.listeners.values().filter_map(|listener| listener.tls.as_ref()).flat_map(ListenerTls::files).cloned(),
        );
        files
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.surroundings.clock
    }

    /// Reads the file again and serves it.
    pub(super) async fn reload(&self) -> Result<u64, Problems> {
        let _one = self.reloading.lock().await;
        self.supervisor.reloading();
        let outcome = self.load_again().await;
        let (label, successful) = match &outcome {
            Ok(generation) => {
                tracing::info!(generation, "the configuration was reloaded");
                self.supervisor.ready("serving");
                (ReloadOutcome::Success, 1)
            }
            Err(problems) => {
                tracing::error!("the configuration has problems; the one before serves on:\n{problems}");
                self.supervisor.ready("serving; the changed configuration has problems");
                (ReloadOutcome::Failure, 0)
            }
        };
        self.metrics.config_last_reload_successful.set(successful);
        self.metrics.config_reloads.with_label_values(&[label.as_str()]).inc();
        outcome
    }

    async fn load_again(&self) -> Result<u64, Problems> {
        let file = self.plan().file.clone();
        let loaded = tokio::task::spawn_blocking(move || crate::config::load(&file)).await;
        let plan = loaded.map_err(|_| Problems::new(vec![]))??;
        let before = self.plan();
        needs_restart(&before, &plan)?;
        let read = Read::of(&plan, &self.surroundings.environment);
        let (read, entrances) = both(read, self.edge.entrances(&plan))?;
        self.publish(plan, read, Some(entrances)).await
    }

    /// Builds the generation of what is loaded once more, because plugins changed what they say of themselves.
    pub(super) async fn rebuild(&self) {
        let _one = self.reloading.lock().await;
        let loaded = self.state.load_full();
        if let Err(problems) = self.publish((*loaded.plan).clone(), loaded.read.clone(), None).await {
            tracing::error!("the configuration no longer fits its plugins:\n{problems}");
        }
    }

    /// Listeners stay as they are where no `entrances` come.
    async fn publish(&self, plan: Plan, read: Read, entrances: Option<Entrances>) -> Result<u64, Problems> {
        let Read { secrets, tls } = &read;
        let before = self.current.load();
        let plugins_before = self.plan().plugins.clone();
        self.plugins.update(plan.plugins.clone());
        prepare(&self.metrics, &plan, secrets);
        let ground = Ground { metrics: &self.metrics, workers: self.workers, plugins: &self.plugins, secrets, tls };
        let gateway = build::gateway(&plan, Some(&before), &ground);
        let ready = match fit(&plan, &gateway, &self.plugins).await {
            // Last, because a socket that is bound is seen from outside.
            Ok(()) => self.bind(&plan, entrances),
            Err(problems) => Err(problems),
        };
        let listeners = ready.inspect_err(|_| self.plugins.update(plugins_before))?;
        let generation = gateway.generation;
        let served = served(&gateway);
        gateway.start();
        self.access.store(Arc::new(Access::of(&plan.admin, secrets)));
        let plan = Arc::new(plan);
        self.state.store(Arc::new(Loaded { plan: plan.clone(), read }));
        self.current.publish(Arc::new(gateway));
        if let Some((entrances, sockets)) = listeners {
            self.edge.serve(&plan, entrances, sockets);
        }
        if !self.adopted.load(Ordering::Relaxed) || served != self::served(&before) {
            self.adopt(&served).await;
        }
        self.reloaded.notify_one();
        Ok(generation)
    }

    /// Tells the store where events may be delivered now. That is a commit, and so the dearest step of a reload.
    async fn adopt(&self, served: &[(RouteName, ProductName)]) {
        let adopted = self.store.adopt(self.clock().now(), served).await;
        self.adopted.store(adopted.is_ok(), Ordering::Relaxed);
        match adopted {
            Ok((parked, unparked)) if parked + unparked > 0 => {
                tracing::warn!(parked, unparked, "deliveries whose route or product is gone are parked");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "deliveries of removed routes were not parked"),
        }
    }

    fn bind(&self, plan: &Plan, entrances: Option<Entrances>) -> Result<Option<(Entrances, Sockets)>, Problems> {
        let Some(entrances) = entrances else { return Ok(None) };
        let problem = |unbound: &Unbound| {
            plan.source.problem_with(&format!("listener.{}.address", unbound.listener), unbound.to_string())
        };
        let sockets = self.edge.bind(plan).map_err(|unbound| Problems::new(unbound.iter().map(problem).collect()))?;
        Ok(Some((entrances, sockets)))
    }
}

/// Both, or the problems of both.
pub(super) fn both<A, B>(one: Result<A, Problems>, other: Result<B, Problems>) -> Result<(A, B), Problems> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(one.and(other)),
        (Err(problems), _) | (_, Err(problems)) => Err(problems),
    }
}

/// What cannot change while running.
fn needs_restart(before: &Plan, after: &Plan) -> Result<(), Problems> {
    let changed = [
        ("store.url", before.store.url != after.store.url),
        ("admin.address", before.admin.address != after.admin.address),
    ];
    let problem = |key: &str| {
        after.source.problem_with(key, format!("a change of `{key}` needs a restart")).help("restart tollgate")
    };
    Problems::new(changed.iter().filter(|(_, changed)| *changed).map(|(key, _)| problem(key)).collect()).or(())
}

/// Asks each route's plugin whether it accepts what the route gives it. A missing plugin is no problem of the
/// configuration: the file may come any moment.
async fn fit(plan: &Plan, gateway: &Gateway, plugins: &Plugins) -> Result<(), Problems> {
    let mut problems: Vec<Problem> = Vec::new();
    for entry in gateway.routes.iter() {
        for (table, binding) in uses(&entry.target) {
            for problem in plugins.problems(binding).await {
                if matches!(problem, registry::Problem::Missing(_)) {
                    continue;
                }
                let at = format!("route.{}.{table}.{}", entry.name, problem.key(binding.kind()));
                let message = format!("the plugin {} does not accept this: {problem}", binding.name());
                problems.push(plan.source.problem_with(&at, message));
            }
        }
    }
    Problems::new(problems).or(())
}

/// Every use that a route makes of a plugin, and the table it is written in.
fn uses(route: &Route) -> Vec<(String, &Arc<Binding>)> {
    let verifier = match &route.target {
        Target::Webhook(intake) => Some(("webhook".to_owned(), &intake.verifier)),
        Target::Proxy(_) => None,
    };
    let links = route.chain.iter().flat_map(|chain| chain.links.iter().enumerate());
    verifier.into_iter().chain(links.map(|(nth, link)| (format!("plugin[{nth}]"), &link.plugin))).collect()
}

/// Where events may be delivered.
fn served(gateway: &Gateway) -> Vec<(RouteName, ProductName)> {
    let webhooks = gateway.routes.iter().filter(|entry| matches!(entry.target.target, Target::Webhook(_)));
    let to = |entry: &Entry<Arc<Route>>| {
        let chosen = entry.target.chain.iter().flat_map(|chain| chain.candidates());
        let products: BTreeSet<_> = std::iter::once(&entry.target.product.name).chain(chosen).cloned().collect();
        products.into_iter().map(|product| (entry.name.clone(), product)).collect::<Vec<_>>()
    };
    webhooks.flat_map(to).collect()
}

fn prepare(metrics: &Metrics, plan: &Plan, secrets: &BTreeMap<SecretName, Secret>) {
    let webhooks = || {
        plan.routes.iter().filter_map(|(name, route)| Some((name.as_str(), route.webhook.as_ref()?.verifier.as_str())))
    };
    metrics.prepare(&Known {
        products: plan.products.keys().map(ProductName::as_str).collect(),
        plugins: plan.routes.values().flat_map(plan::Route::plugins).map(PluginName::as_str).collect(),
        webhooks: webhooks().collect(),
        secrets: secrets.iter().map(|(name, secret)| (name.as_str(), secret.values.len())).collect(),
        states: DeliveryState::ALL.iter().map(|state| state.as_str()).collect(),
    });
}
