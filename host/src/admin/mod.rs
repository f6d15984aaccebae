//! Layer 5: the admin listener. Health, metrics and the API over what the other rooms know; it decides nothing itself.
//!
//! `guard` stands before everything: whom the listener answers, and who may change what.

mod api;
mod endpoint;
mod guard;
mod health;
mod jobs;
mod query;
mod refused;
mod scrape;
mod serve;
mod transfer;
mod view;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use self::guard::Access;
pub use self::health::Health;
use self::jobs::Jobs;
use self::scrape::Scrape;
use crate::base::clock::Clock;
use crate::config::problem::Problems;
use crate::gateway::Current;
use crate::plugin::registry::Plugins;
use crate::store::EventStore;
use crate::telemetry::registry::Metrics;

/// What a reload gives back: the generation that serves now.
pub type Reloading = Pin<Box<dyn Future<Output = Result<u64, Problems>> + Send>>;

/// What the admin listener shows and changes.
pub struct Parts {
    /// The configuration's file.
    pub file: PathBuf,
    /// Whom the listener answers; a reload puts another in its place.
    pub access: Arc<ArcSwap<Access>>,
    /// The generation that serves.
    pub current: Arc<Current>,
    /// Plugins.
    pub plugins: Arc<Plugins>,
    /// Events.
    pub store: Arc<dyn EventStore>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The time of day.
    pub clock: Clock,
    /// Whether the gateway is ready.
    pub health: Arc<Health>,
    /// Reads the configuration again.
    pub reload: Box<dyn Fn() -> Reloading + Send + Sync>,
}

/// The admin listener; [`serve`](Self::serve) answers.
pub struct Admin {
    parts: Parts,
    jobs: Jobs,
    /// One at a time: each may take a lot of memory.
    importing: tokio::sync::Mutex<()>,
    scrape: Scrape,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Admin")
    }
}

impl Admin {
    /// An admin listener over these.
    pub fn new(parts: Parts) -> Self {
        Self { parts, jobs: Jobs::default(), importing: tokio::sync::Mutex::default(), scrape: Scrape::default() }
    }
}
