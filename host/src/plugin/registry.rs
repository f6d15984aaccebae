//! The plugins of a directory: which file is live under which name, and who uses it.
//!
//! A name has a slot for as long as anybody wants it; what is live in the slot changes in one step, when a file passed the
//! [gate](super::gate).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::call::Binding;
use super::component::{Kind, OptionProblem, Plugin};
use super::engine::Engine;
use super::gate::Unmet;
pub use super::slot::Refused;
use super::slot::{Slot, lock};
use super::state::Roles;
use super::watch::Watch;
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::names::PluginName;
use crate::config::plan;
use crate::telemetry::labels::PluginReload;

/// Told when a plugin went live, went away, or was refused.
pub trait Observer: Send + Sync + 'static {
    /// A new or changed file was looked at, or a file went away.
    fn reloaded(&self, plugin: &PluginName, outcome: PluginReload);
}

/// How a plugin stands, for the API.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: PluginName,
    /// What is live.
    pub live: Option<Arc<Plugin>>,
    /// Why the newest file is not live, when it is not.
    pub refused: Option<Refused>,
    /// What was live before.
    pub previous: Option<Digest>,
    /// It failed too often in a row and is not asked until then.
    pub parked: Option<Timestamp>,
    /// Routes that use it.
    pub routes: usize,
}

/// The plugins of a directory.
pub struct Plugins {
    engine: Arc<Engine>,
    plan: ArcSwap<plan::Plugins>,
    slots: Mutex<BTreeMap<PluginName, Arc<Slot>>>,
    pub(super) watch: tokio::sync::Mutex<Watch>,
    pub(super) observer: Box<dyn Observer>,
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugins({})", self.directory().display())
    }
}

impl Plugins {
    /// An empty set over the plan's directory; [`scan`](Self::scan) fills it.
    pub fn new(engine: Arc<Engine>, plan: plan::Plugins, observer: Box<dyn Observer>) -> Arc<Self> {
        Arc::new(Self {
            engine,
            plan: ArcSwap::from_pointee(plan),
            slots: Mutex::default(),
            watch: tokio::sync::Mutex::new(Watch::default()),
            observer,
        })
    }

    /// Takes over a changed `[plugins]`; what is live stays live until the next scan finds it changed.
    pub fn update(&self, plan: plan::Plugins) {
        self.plan.store(Arc::new(plan));
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.plan.load().directory.clone()
    }

    /// The plugin as one route uses it; `place` tells this use from others, in this generation and the next. Whether it can serve is [`problems`](Self::problems)' to say: a route whose
    /// plugin is missing answers 503 until the file is there.
    pub fn bind(
        &self,
        name: &PluginName,
        kind: Kind,
        place: &str,
        options: &serde_json::Map<String, serde_json::Value>,
        roles: Arc<Roles>,
    ) -> Arc<Binding> {
        let slot = self.slot(name);
        let options = serde_json::Value::Object(options.clone()).to_string();
        let limits = self.plan.load().limits(name).clone();
        let recent = slot.recent(place, limits.compare);
        let binding = Arc::new(Binding::new(slot.clone(), kind, options.into(), limits, roles, recent));
        slot.add_user(&binding);
        binding
    }

    /// Everything that keeps this binding from serving.
    pub async fn problems(&self, binding: &Binding) -> Vec<Problem> {
        let Some(plugin) = binding.slot.live() else {
            return vec![Problem::Missing(binding.slot.why_missing())];
        };
        let mut problems = of_use(&plugin, binding);
        if plugin.kind == binding.kind
            && let Err(options) = plugin.accepts(&binding.options, binding.limits.memory.as_usize()).await
        {
            problems.extend(options.into_iter().map(Problem::Option));
        }
        problems
    }

    /// How every plugin stands, by name.
    pub fn status(&self, now: Timestamp) -> Vec<Status> {
        let slots: Vec<Arc<Slot>> = lock(&self.slots).values().cloned().collect();
        slots
            .into_iter()
            .map(|slot| {
                let state = slot.state();
                Status {
                    name: slot.name().clone(),
                    live: slot.live(),
                    refused: state.refused.clone(),
                    previous: state.previous.as_ref().map(|plugin| plugin.digest),
                    parked: slot.parking.until(now),
                    routes: slot.users().len(),
                }
            })
            .filter(|status| status.live.is_some() || status.refused.is_some() || status.routes > 0)
            .collect()
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn plan(&self) -> Arc<plan::Plugins> {
        self.plan.load_full()
    }

    /// The slot of a name that somebody uses, or that a file has.
    pub(super) fn known(&self, name: &PluginName) -> Result<Arc<Slot>, Unmet> {
        lock(&self.slots).get(name).cloned().ok_or(Unmet::Unknown)
    }

    pub(super) fn slot(&self, name: &PluginName) -> Arc<Slot> {
        lock(&self.slots).entry(name.clone()).or_insert_with(|| Arc::new(Slot::new(name.clone()))).clone()
    }

    pub(super) fn removed(&self, name: &PluginName) {
        let slot = self.slot(name);
        slot.state().refused = None;
        if let Some(before) = slot.serve(None) {
            slot.state().previous = Some(before);
            tracing::warn!(plugin = %name, "plugin file is gone: its routes answer 503");
            self.observer.reloaded(name, PluginReload::Removed);
        }
    }
}

/// What keeps a binding from serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no live plugin of this name.
    Missing(String),
    /// It is of one kind, and used as another.
    Kind(Kind, Kind),
    /// The route gives a role the plugin does not have; the roles it has.
    UnknownRole(String, Vec<String>),
    /// The plugin needs a role the route does not give.
    MissingRole(String),
    /// The plugin does not accept an option.
    Option(OptionProblem),
}

impl Problem {
    /// The key that it is about, in the table of a use as `kind`.
    pub fn key(&self, kind: Kind) -> String {
        match self {
            Self::Kind(Kind::Router, Kind::Propagator) | Self::Kind(Kind::Propagator, Kind::Router) => {
                "candidates".into()
            }
            Self::Missing(_) | Self::Kind(..) if kind == Kind::Verifier => "verifier".into(),
            Self::Missing(_) | Self::Kind(..) => "use".into(),
            Self::UnknownRole(role, _) => format!("secrets.{role}"),
            Self::MissingRole(_) => "secrets".into(),
            Self::Option(option) => format!("options.{}", option.key),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(why) => f.write_str(why),
            Self::Kind(Kind::Router, Kind::Propagator) => {
                f.write_str("it is a router, which needs `candidates`: the products it may choose among")
            }
            Self::Kind(Kind::Propagator, Kind::Router) => {
                f.write_str("it is a propagator, which chooses nothing: `candidates` are for routers")
            }
            Self::Kind(kind, used) => write!(f, "it is a {kind}, but a route uses it as a {used}"),
            Self::UnknownRole(role, known) if known.is_empty() => {
                write!(f, "it has no secret role `{role}`; it takes no secrets")
            }
            Self::UnknownRole(role, known) => {
                write!(f, "it has no secret role `{role}`; its roles are {}", known.join(", "))
            }
            Self::MissingRole(role) => write!(f, "it needs a secret in the role `{role}`"),
            Self::Option(problem) => problem.fmt(f),
        }
    }
}

pub(super) fn of_use(plugin: &Plugin, binding: &Binding) -> Vec<Problem> {
    if plugin.kind != binding.kind {
        return vec![Problem::Kind(plugin.kind, binding.kind)];
    }
    let roles = &plugin.about.roles;
    let known = || roles.iter().map(|role| role.name.clone()).collect();
    let unknown = binding.roles.keys().filter(|given| !roles.iter().any(|role| role.name == **given));
    let missing = roles.iter().filter(|role| role.required && !binding.roles.contains_key(&role.name));
    unknown
        .map(|role| Problem::UnknownRole(role.clone(), known()))
        .chain(missing.map(|role| Problem::MissingRole(role.name.clone())))
        .collect()
}
