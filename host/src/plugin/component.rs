//! A plugin file that compiled, linked and described itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{Component, InstancePre, types::ComponentItem};

use super::bindings::propagator::PropagatorPre;
use super::bindings::router::RouterPre;
use super::bindings::setup;
use super::bindings::verifier::VerifierPre;
use super::engine::Engine;
use super::hook::Exports;
use super::instance::Slow;
use super::state::State;
use crate::base::digest::Digest;

/// The WIT package that plugins are built against.
pub const WIT: &str = "tollgate:plugin@0.1.0";

/// What `describe` and `configure` may take at load, off the request path.
const SETUP_DEADLINE: Duration = Duration::from_secs(1);

/// Which world a plugin implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Verifies webhooks.
    Verifier,
    /// Edits heads.
    Propagator,
    /// Chooses products.
    Router,
}

impl Kind {
    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Propagator => "propagator",
            Self::Router => "router",
        }
    }

    const EXPORTS: [(Self, &'static str); 3] = [
        (Self::Verifier, "tollgate:plugin/verify@0.1."),
        (Self::Propagator, "tollgate:plugin/propagate@0.1."),
        (Self::Router, "tollgate:plugin/choose@0.1."),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a plugin says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its own name.
    pub name: String,
    /// What defines what it implements.
    pub source: String,
    /// The secrets it wants, by role.
    pub roles: Vec<Role>,
    /// The options it takes.
    pub settings: Vec<Setting>,
    /// Methods beside POST on a webhook route.
    pub methods: Vec<String>,
    /// Whether it answers handshakes with an HMAC.
    pub handshake: bool,
}

/// A secret a plugin wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Whether it cannot do without.
    pub required: bool,
    /// For people.
    pub about: String,
}

/// An option a plugin takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// What its value is, for people.
    pub kind: String,
    /// Whether it must be there.
    pub required: bool,
    /// For people.
    pub about: String,
}

/// An option a plugin does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionProblem {
    /// Which.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for OptionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option `{}`: {}", self.key, self.message)
    }
}

/// Why a file is not a plugin that can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(pub String);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

/// What the instances of a plugin use.
#[derive(Debug, Default)]
pub struct Usage {
    instances: AtomicUsize,
    memory_peak: AtomicUsize,
}

impl Usage {
    /// Instances alive.
    pub fn instances(&self) -> usize {
        self.instances.load(Ordering::Relaxed)
    }

    /// The most memory that one instance had, in bytes.
    pub fn memory_peak(&self) -> usize {
        self.memory_peak.load(Ordering::Relaxed)
    }

    pub(super) fn began(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, peak: usize) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
        if peak > self.memory_peak() {
            self.memory_peak.fetch_max(peak, Ordering::Relaxed);
        }
    }
}

/// A plugin that can be instantiated.
pub struct Plugin {
    /// Of its file.
    pub digest: Digest,
    /// Bytes of its file.
    pub size: usize,
    /// Its world.
    pub kind: Kind,
    /// What it says of itself.
    pub about: About,
    /// The WIT package it was built against.
    pub wit: String,
    /// What it imports, sorted.
    pub imports: Vec<String>,
    /// What its instances use.
    pub usage: Arc<Usage>,
    /// Its file, to be put back when an operator goes back to it.
    pub(super) wasm: Arc<[u8]>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) fast: Fast,
    pub(crate) slow: InstancePre<State>,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} {})", self.kind, self.digest)
    }
}

impl Plugin {
    /// Compiles `wasm`, links it and asks it to describe itself. Compiling takes up to seconds of CPU.
    pub async fn load(engine: &Arc<Engine>, wasm: Vec<u8>, memory: usize) -> Result<Self, LoadError> {
        let (digest, size) = (Digest::of(&wasm), wasm.len());
        let wasm: Arc<[u8]> = wasm.into();
        let compiled = {
            let (engine, wasm) = (engine.clone(), wasm.clone());
            engine.runtime().clone().spawn_blocking(move || Linked::new(&engine, &wasm)).await
        };
        let linked = compiled.map_err(|_| LoadError("compiling panicked".into()))??;
        let Linked { kind, wit, imports, fast, slow } = linked;
        let (about, usage, engine) = (About::default(), Arc::default(), engine.clone());
        let mut plugin = Self { digest, size, kind, about, wit, imports, usage, wasm, engine, fast, slow };
        plugin.about = plugin.describe(memory).await?;
        Ok(plugin)
    }

    async fn describe(&self, memory: usize) -> Result<About, LoadError> {
        // Without a tick held the epoch may rest, and a guest that loops would never be told to stop.
        let _tick = self.engine.tick();
        let described = Slow::start(self, memory, SETUP_DEADLINE).await;
        let described = match described {
            Ok(mut instance) => instance.describe().await,
            Err(fault) => Err(fault),
        };
        about(described.map_err(|fault| LoadError(format!("`describe` failed: {fault}")))?)
    }

    /// Asks a fresh instance whether it accepts these options (a JSON object).
    pub async fn accepts(&self, options: &str, memory: usize) -> Result<(), Vec<OptionProblem>> {
        let failed = |message: String| vec![OptionProblem { key: String::new(), message }];
        let _tick = self.engine.tick();
        let mut instance =
            Slow::start(self, memory, SETUP_DEADLINE).await.map_err(|fault| failed(fault.to_string()))?;
        match instance.configure(options).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problems)) => Err(problems
                .into_iter()
                .map(|problem| OptionProblem { key: problem.key, message: problem.message })
                .collect()),
            Err(fault) => Err(failed(format!("`configure` failed: {fault}"))),
        }
    }
}

/// Ready to be instantiated on its caller's thread, where what would block traps.
pub(crate) enum Fast {
    Verifier(VerifierPre<State>),
    Propagator(PropagatorPre<State>),
    Router(RouterPre<State>),
}

impl Fast {
    fn new(kind: Kind, pre: InstancePre<State>) -> wasmtime::Result<Self> {
        Ok(match kind {
            Kind::Verifier => Self::Verifier(VerifierPre::new(pre)?),
            Kind::Propagator => Self::Propagator(PropagatorPre::new(pre)?),
            Kind::Router => Self::Router(RouterPre::new(pre)?),
        })
    }

    pub(crate) fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::Verifier(pre) => Exports::Verifier(pre.instantiate(store)?),
            Self::Propagator(pre) => Exports::Propagator(pre.instantiate(store)?),
            Self::Router(pre) => Exports::Router(pre.instantiate(store)?),
        })
    }
}

struct Linked {
    kind: Kind,
    wit: String,
    imports: Vec<String>,
    fast: Fast,
    slow: InstancePre<State>,
}

impl Linked {
    fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, LoadError> {
        if wasm.starts_with(b"\0asm\x01\0\0\0") {
            return Err(LoadError(format!("it is a core module, not a component: build it against {WIT}")));
        }
        let says = |what: &'static str| move |error: wasmtime::Error| LoadError(format!("{what}: {error:#}"));
        let component = Component::new(engine.wasm(), wasm).map_err(says("it does not compile"))?;
        let (kind, wit) = kind(engine, &component)?;
        let imports = imports(engine, &component)?;
        let slow = engine.slow_linker().instantiate_pre(&component).map_err(says("it does not link"))?;
        let mut linker = engine.fast_linker().clone();
        linker.define_unknown_imports_as_traps(&component).map_err(says("it does not link"))?;
        let fast = linker.instantiate_pre(&component).map_err(says("it does not link"))?;
        let fast = Fast::new(kind, fast).map_err(|error| LoadError(format!("it is not a {kind}: {error:#}")))?;
        Ok(Self { kind, wit, imports, fast, slow })
    }
}

/// What it is, and against which package it was built: both are in the name of what it exports.
fn kind(engine: &Engine, component: &Component) -> Result<(Kind, String), LoadError> {
    let exports: Vec<String> =
        component.component_type().exports(engine.wasm()).map(|(name, _)| name.to_owned()).collect();
    let mut kinds = Kind::EXPORTS
        .iter()
        .filter_map(|(kind, export)| Some((*kind, exports.iter().find(|name| name.starts_with(export))?)));
    match (kinds.next(), kinds.next()) {
        (Some((kind, export)), None) => {
            let version = export.rsplit_once('@').map_or("", |(_, version)| version);
            Ok((kind, format!("tollgate:plugin@{version}")))
        }
        (Some(_), Some(_)) => Err(LoadError("it exports more than one of verify, propagate and choose".into())),
        (None, _) if exports.is_empty() => {
            Err(LoadError(format!("it exports nothing; a plugin exports a world of {WIT}")))
        }
        (None, _) => Err(LoadError(format!(
            "it exports {}; a plugin exports setup and one of verify, propagate and choose of {WIT}",
            exports.join(", ")
        ))),
    }
}

/// The imports, each of which must be ours or WASI's: a capability is what is put in the linker, nothing else.
fn imports(engine: &Engine, component: &Component) -> Result<Vec<String>, LoadError> {
    let mut imports: Vec<String> = Vec::new();
    for (name, item) in component.component_type().imports(engine.wasm()) {
        let known = [
            "tollgate:plugin/types@0.1.",
            "tollgate:plugin/http@0.1.",
            "tollgate:plugin/crypto@0.1.",
            "tollgate:plugin/log@0.1.",
            "tollgate:plugin/clock@0.1.",
        ]
        .iter()
        .any(|ours| name.starts_with(ours));
        let wasi = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"]
            .iter()
            .any(|package| name.starts_with(package))
            && name.contains("@0.2.");
        if !known && !wasi {
            let what = match &item.ty {
                ComponentItem::ComponentFunc(_) => "function",
                _ => "interface",
            };
            return Err(LoadError(format!(
                "it imports the {what} `{name}`, which is not offered: plugins import {WIT} and WASI 0.2 only"
            )));
        }
        imports.push(name.to_owned());
    }
    imports.sort_unstable();
    Ok(imports)
}

fn about(about: setup::About) -> Result<About, LoadError> {
    const LIST_MAX: usize = 32;
    const TEXT_MAX: usize = 1024;
    if about.roles.len() > LIST_MAX || about.settings.len() > LIST_MAX || about.methods.len() > LIST_MAX {
        return Err(LoadError(format!("it describes more than {LIST_MAX} roles, settings or methods")));
    }
    let texts = [&about.name, &about.source]
        .into_iter()
        .chain(about.roles.iter().flat_map(|role| [&role.name, &role.about]))
        .chain(about.settings.iter().flat_map(|setting| [&setting.key, &setting.kind, &setting.about]))
        .chain(&about.methods);
    for text in texts {
        if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
            return Err(LoadError("it describes itself with control characters or too long a text".into()));
        }
    }
    if let Some(method) = about.methods.iter().find(|method| http::Method::from_bytes(method.as_bytes()).is_err()) {
        return Err(LoadError(format!("it describes `{method}`, which is not a method")));
    }
    Ok(About {
        name: about.name,
        source: about.source,
        roles: about.roles.into_iter().map(|r| Role { name: r.name, required: r.required, about: r.about }).collect(),
        settings: about
            .settings
            .into_iter()
            .map(|s| Setting { key: s.key, kind: s.kind, required: s.required, about: s.about })
            .collect(),
        methods: about.methods,
        handshake: about.handshake,
    })
}
