//! Layer 6: the composition root. It knows every room and makes one gateway of them: starts what runs, in order; swaps in
//! what a reload built; stops in the opposite order.

mod error;
mod live;
pub(crate) mod store;
mod supervisor;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use self::error::StartError;
use self::live::{Live, Read, Rooms};
use crate::admin::{self, Admin, Health};
use crate::base::clock::Clock;
use crate::base::drain::Drain;
use crate::base::names::ListenerName;
use crate::config::plan::Plan;
use crate::config::problem::Problems;
use crate::edge;
use crate::gateway::Gateway;
use crate::net::passed::Passed;
use crate::net::workers::Workers;
use crate::plugin::engine::Engine;
use crate::store::{EventStore, Retention};
use crate::telemetry::registry::Metrics;
use crate::webhook::worker::Worker;

/// Between two sweeps of what is past its retention.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Streams without an end get this long, and at most a tenth of the drain, to reach a place where they may end.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How long attempts to deliver may go on after connections are gone.
const DELIVERIES_END: Duration = Duration::from_secs(5);

/// Where environment variables come from: the process, or a test.
pub type Environment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// What a gateway is given beside its configuration.
#[derive(Clone)]
pub struct Surroundings {
    /// The time of day.
    pub clock: Clock,
    /// Threads that serve.
    pub workers: NonZeroUsize,
    /// Where compiled components are kept; `None` keeps none.
    pub cache: Option<PathBuf>,
    /// Where secrets' variables are.
    pub environment: Environment,
    /// Sockets that listen already.
    pub sockets: Passed,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Surroundings({} workers)", self.workers)
    }
}

impl Surroundings {
    /// The process's own.
    pub fn of_process() -> Self {
        Self {
            clock: Clock::System,
            workers: Workers::cores(),
            cache: cache_directory(),
            environment: Arc::new(|name| std::env::var_os(name)),
            sockets: Passed::of_process(),
        }
    }
}

/// `$TOLLGATE_CACHE_DIR`, else the user's cache directory.
fn cache_directory() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    of("TOLLGATE_CACHE_DIR")
        .or_else(|| of("XDG_CACHE_HOME").map(|cache| cache.join("tollgate")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/tollgate")))
}

/// A gateway that serves.
#[derive(Debug)]
pub struct App {
    live: Arc<Live>,
    admin: SocketAddr,
    health: Arc<Health>,
    workers: Workers,
    connections: Drain,
    background: Drain,
    admin_drain: Drain,
    delivering: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl App {
    /// Starts everything. Listeners open last, when whatever they need is there. Must run on a runtime that outlives the
    /// gateway: it carries the admin listener, deliveries and reloads.
    pub async fn start(plan: Plan, surroundings: Surroundings) -> Result<Self, StartError> {
        let read = Read::of(&plan, &surroundings.environment);
        let (read, entrances) = live::both(read, edge::entrances(&plan, |_| None))?;
        let metrics = Arc::new(Metrics::new());
        let engine =
            Engine::new(surroundings.cache.clone()).map_err(|error| StartError::Engine(format!("{error:#}")))?;
        let workers = Workers::start(surroundings.workers).map_err(StartError::Workers)?;
        let admin_listener = std::net::TcpListener::bind(plan.admin.address)
            .map_err(|error| StartError::Listen("admin".into(), plan.admin.address, error))?;
        let store = open_store(&plan, &read, &metrics).await?;
        let replugged = Arc::new(Notify::new());
        let (connections, background, admin_drain) = (Drain::default(), Drain::default(), Drain::default());
        let rooms = Rooms {
            engine: &engine,
            metrics,
            store,
            replugged: &replugged,
            workers: &workers,
            connections: &connections,
        };
        let live = Arc::new(Live::build(plan, read, surroundings, rooms).await?);
        live.listen(entrances)?;

        let health = Arc::new(Health::default());
        let admin = serve_admin(&live, &health, admin_listener, &admin_drain)?;
        let delivering = tokio::spawn(deliver(&live).run(background.clone()));
        let tasks = vec![
            tokio::spawn(live.plugins.clone().watch(background.clone())),
            tokio::spawn(watch::replugged(live.clone(), replugged, background.clone())),
            tokio::spawn(watch::files(live.clone(), background.clone())),
            tokio::spawn(sweep(live.clone(), background.clone())),
            tokio::spawn(watch::dog(live.clone(), workers.handles())),
        ];
        health.ready();
        live.supervisor.ready("serving");
        tracing::info!(
            listeners = ?live.edge().addresses(),
            %admin,
            routes = live.plan().routes.len(),
            workers = workers.count(),
            version = env!("CARGO_PKG_VERSION"),
            "tollgate serves"
        );
        Ok(Self { live, admin, health, workers, connections, background, admin_drain, delivering, tasks })
    }

    /// Where each listener listens.
    pub fn addresses(&self) -> BTreeMap<ListenerName, SocketAddr> {
        self.live.edge().addresses()
    }

    /// Where the admin listener listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The event log.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.live.store
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.live.metrics
    }

    /// What serves now.
    pub fn gateway(&self) -> Arc<Gateway> {
        self.live.current.load()
    }

    /// Reads the configuration file again and serves it, or changes nothing and says why. Returns the generation.
    pub async fn reload(&self) -> Result<u64, Problems> {
        self.live.reload().await
    }

    /// Stops in order: not ready, listeners closed, connections and deliveries to their end within the drain timeout, the
    /// store, and last the admin listener.
    pub async fn stop(self) {
        self.health.draining();
        self.live.supervisor.stopping();
        let timeouts = self.live.current.load().timeouts.clone();
        tokio::time::sleep(timeouts.drain_delay.unwrap_or_default()).await;
        tracing::info!("draining");
        self.live.edge().drain();
        let limit = timeouts.drain.unwrap_or(Duration::MAX);
        let last_call = (limit / 10).min(LAST_CALL);
        let mut drained = tokio::time::timeout(limit - last_call, self.connections.done()).await;
        if drained.is_err() {
            self.live.edge().last_call();
            drained = tokio::time::timeout(last_call, self.connections.done()).await;
        }
        if drained.is_err() {
            tracing::warn!(connections = self.connections.held(), "connections are cut: the drain took too long");
        }
        self.background.start();
        let abort = self.delivering.abort_handle();
        if tokio::time::timeout(DELIVERIES_END, self.delivering).await.is_err() {
            abort.abort();
            tracing::warn!("attempts to deliver are cut: they are made again at the next start");
        }
        for task in self.tasks {
            task.abort();
        }
        if let Err(error) = self.live.store.close().await {
            tracing::error!(%error, "the store did not close cleanly");
        }
        self.admin_drain.start();
        self.admin_drain.done().await;
        // Workers wait for their threads: not on a runtime's own.
        let _stopped = tokio::task::spawn_blocking(move || self.workers.stop()).await;
        tracing::info!("stopped");
    }
}

async fn open_store(plan: &Plan, read: &Read, metrics: &Arc<Metrics>) -> Result<Arc<dyn EventStore>, StartError> {
    let metrics = metrics.clone();
    let observe = move |took: Duration, batch: usize| {
        metrics.store_commit.observe(took.as_secs_f64());
        metrics.store_batch_size.observe(batch as f64);
    };
    let opened = store::open(&plan.store, &read.secrets, Some(Arc::new(observe))).await;
    opened.map_err(|error| StartError::Store(plan.store.url.to_string(), error))
}

fn deliver(live: &Live) -> Arc<Worker> {
    Arc::new(Worker {
        current: live.current.clone(),
        store: live.store.clone(),
        clock: live.clock().clone(),
        metrics: live.metrics.clone(),
        reloaded: live.reloaded.clone(),
    })
}

fn serve_admin(
    live: &Arc<Live>,
    health: &Arc<Health>,
    listener: std::net::TcpListener,
    drain: &Drain,
) -> Result<SocketAddr, StartError> {
    let address = listener.local_addr().map_err(StartError::Workers)?;
    let reload = {
        let live = live.clone();
        Box::new(move || {
            let live = live.clone();
            Box::pin(async move { live.reload().await }) as admin::Reloading
        })
    };
    let admin = Admin::new(admin::Parts {
        file: live.plan().file.clone(),
        access: live.access.clone(),
        current: live.current.clone(),
        plugins: live.plugins.clone(),
        store: live.store.clone(),
        metrics: live.metrics.clone(),
        clock: live.clock().clone(),
        health: health.clone(),
        reload,
    });
    tokio::spawn(Arc::new(admin).serve(listener, drain.clone()));
    Ok(address)
}

async fn sweep(live: Arc<Live>, drain: Drain) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = drain.wait() => return,
        }
        let plan = live.plan().store.clone();
        let retention = Retention { delivered: plan.retain_delivered, dead: plan.retain_dead };
        match live.store.sweep(live.clock().now(), &retention).await {
            Ok(swept) if swept.undelivered > 0 => {
                tracing::warn!(
                    events = swept.events,
                    undelivered = swept.undelivered,
                    "swept events that were never delivered"
                );
            }
            Ok(swept) => tracing::debug!(events = swept.events, duplicates = swept.duplicates, "swept"),
            Err(error) => tracing::error!(%error, "the store could not be swept"),
        }
    }
}
