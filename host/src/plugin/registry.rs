//! The plugins of a directory: which file is live under which name, and who uses it.
//!
//! A name has a [`Slot`] for as long as anybody wants it; what is live in the slot changes in one step. A file goes live
//! only after it compiled, linked, described itself and accepted the options of every route that uses it; until then,
//! and whenever it is not good enough, what was live before stays.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::call::Binding;
use super::component::{Kind, LoadError, OptionProblem, Plugin};
use super::engine::Engine;
use super::state::Roles;
use super::watch::Watch;
use crate::base::digest::Digest;
use crate::base::names::PluginName;
use crate::config::plan;
use crate::telemetry::labels::PluginReload;

/// Largest plugin file.
const FILE_MAX: u64 = 128 << 20;

/// Told when a plugin went live, went away, or was refused.
pub trait Observer: Send + Sync + 'static {
    /// A new or changed file was looked at, or a file went away.
    fn reloaded(&self, plugin: &PluginName, outcome: PluginReload);
}

/// A plugin's name and what is live under it.
#[derive(Debug)]
pub struct Slot {
    name: PluginName,
    live: ArcSwapOption<Plugin>,
    /// Why the newest file is not live, when it is not.
    refused: Mutex<Option<Refused>>,
    users: Mutex<Vec<Weak<Binding>>>,
}

#[derive(Clone, Debug)]
struct Refused {
    digest: Option<Digest>,
    why: String,
}

/// How a plugin stands, for the API.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: PluginName,
    /// What is live.
    pub live: Option<Arc<Plugin>>,
    /// Why the newest file is not live: its digest and the reason.
    pub refused: Option<(Option<Digest>, String)>,
    /// Routes that use it.
    pub routes: usize,
}

impl Slot {
    fn new(name: PluginName) -> Self {
        Self { name, live: ArcSwapOption::empty(), refused: Mutex::default(), users: Mutex::default() }
    }

    pub(super) fn name(&self) -> &PluginName {
        &self.name
    }

    pub(super) fn live(&self) -> Option<Arc<Plugin>> {
        self.live.load_full()
    }

    pub(super) fn why_missing(&self) -> String {
        match lock(&self.refused).as_ref() {
            Some(refused) => refused.why.clone(),
            None => format!("there is no file {}.wasm in the plugins directory", self.name),
        }
    }

    fn users(&self) -> Vec<Arc<Binding>> {
        let mut users = lock(&self.users);
        users.retain(|user| user.strong_count() > 0);
        users.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The plugins of a directory.
pub struct Plugins {
    engine: Arc<Engine>,
    plan: ArcSwap<plan::Plugins>,
    slots: Mutex<BTreeMap<PluginName, Arc<Slot>>>,
    pub(super) watch: tokio::sync::Mutex<Watch>,
    observer: Box<dyn Observer>,
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

    /// The plugin as one route uses it. Whether it can serve is [`problems`](Self::problems)' to say: a route whose
    /// plugin is missing answers 503 until the file is there.
    pub fn bind(
        &self,
        name: &PluginName,
        kind: Kind,
        options: &serde_json::Map<String, serde_json::Value>,
        roles: Arc<Roles>,
    ) -> Arc<Binding> {
        let slot = self.slot(name);
        let options = serde_json::Value::Object(options.clone()).to_string();
        let limits = self.plan.load().limits(name).clone();
        let binding = Arc::new(Binding::new(slot.clone(), kind, options.into(), limits, roles));
        lock(&slot.users).push(Arc::downgrade(&binding));
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
    pub fn status(&self) -> Vec<Status> {
        let slots: Vec<Arc<Slot>> = lock(&self.slots).values().cloned().collect();
        slots
            .into_iter()
            .map(|slot| Status {
                name: slot.name.clone(),
                live: slot.live(),
                refused: lock(&slot.refused).as_ref().map(|refused| (refused.digest, refused.why.clone())),
                routes: slot.users().len(),
            })
            .filter(|status| status.live.is_some() || status.refused.is_some() || status.routes > 0)
            .collect()
    }

    fn slot(&self, name: &PluginName) -> Arc<Slot> {
        lock(&self.slots).entry(name.clone()).or_insert_with(|| Arc::new(Slot::new(name.clone()))).clone()
    }

    /// Looks at a new or changed file and makes it live if it is good enough.
    pub(super) async fn changed(&self, name: &PluginName, wasm: std::io::Result<Vec<u8>>) {
        let slot = self.slot(name);
        let digest = wasm.as_ref().ok().map(|wasm| Digest::of(wasm));
        if let Some(live) = slot.live()
            && Some(live.digest) == digest
        {
            *lock(&slot.refused) = None;
            return;
        }
        let before = slot.live().map(|plugin| plugin.digest);
        match self.load(&slot, wasm).await {
            Ok(plugin) => {
                let (digest, kind) = (plugin.digest, plugin.kind);
                slot.live.store(Some(Arc::new(plugin)));
                *lock(&slot.refused) = None;
                tracing::info!(plugin = %name, %digest, %kind, replaced = before.map(tracing::field::display), "plugin is live");
                self.observer.reloaded(name, PluginReload::Live);
            }
            Err(LoadError(why)) => {
                let serving =
                    if before.is_some() { "the version before it serves on" } else { "its routes answer 503" };
                tracing::error!(plugin = %name, digest = digest.map(tracing::field::display), "plugin refused, {serving}: {why}");
                *lock(&slot.refused) = Some(Refused { digest, why });
                self.observer.reloaded(name, PluginReload::Refused);
            }
        }
    }

    async fn load(&self, slot: &Slot, wasm: std::io::Result<Vec<u8>>) -> Result<Plugin, LoadError> {
        let wasm = wasm.map_err(|error| LoadError(format!("the file cannot be read: {error}")))?;
        let plan = self.plan.load_full();
        let pinned = plan.overrides.get(&slot.name).and_then(|own| own.sha256);
        let digest = Digest::of(&wasm);
        if let Some(pinned) = pinned.filter(|pinned| *pinned != digest) {
            return Err(LoadError(format!("its sha256 is {digest}, but the configuration pins {pinned}")));
        }
        let memory = plan.limits(&slot.name).memory.as_usize();
        let plugin = Plugin::load(&self.engine, wasm, memory).await?;
        for user in slot.users() {
            let mut problems = of_use(&plugin, &user);
            if let Err(options) = plugin.accepts(&user.options, memory).await {
                problems.extend(options.into_iter().map(Problem::Option));
            }
            if !problems.is_empty() {
                let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
                return Err(LoadError(problems.join("; ")));
            }
        }
        Ok(plugin)
    }

    pub(super) fn removed(&self, name: &PluginName) {
        let slot = self.slot(name);
        *lock(&slot.refused) = None;
        if slot.live.swap(None).is_some() {
            tracing::warn!(plugin = %name, "plugin file is gone: its routes answer 503");
            self.observer.reloaded(name, PluginReload::Removed);
        }
    }

    /// Reads a plugin file whole.
    pub(super) fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
        use std::io::Read as _;
        let file = std::fs::File::open(path)?;
        let mut wasm = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut wasm)?;
        if wasm.len() as u64 > FILE_MAX {
            return Err(std::io::Error::other(format!("it is larger than {FILE_MAX} bytes")));
        }
        Ok(wasm)
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

fn of_use(plugin: &Plugin, binding: &Binding) -> Vec<Problem> {
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
