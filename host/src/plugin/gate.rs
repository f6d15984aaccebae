//! The gate that a changed file passes before it serves: it links, every route's options are accepted, its vectors hold,
//! and, where a route keeps its last requests, it answers them as what serves does. Until then, and whenever it is not good
//! enough, what was live before stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::call::Binding;
use super::component::{LoadError, Plugin};
use super::edits::Edits;
use super::fault::PluginFault;
use super::hook::{Choose, OnRequest, OnResponse, Verify};
use super::recent::{Asked, Question};
use super::registry::{Plugins, Problem, of_use};
use super::slot::{Refused, Slot};
use super::vectors::{self, Level};
use super::verdict::{Refusal, Verdict};
use crate::base::digest::Digest;
use crate::base::names::PluginName;
use crate::config::plan::PluginLimits;
use crate::telemetry::labels::PluginReload;

/// Largest plugin file.
const FILE_MAX: u64 = 128 << 20;
/// Largest file of vectors.
const VECTORS_MAX: u64 = 16 << 20;
/// What the gate lets a call take: a busy machine should not decide what serves.
const PATIENCE: Duration = Duration::from_secs(1);
/// Differences and failures that are told; the others are counted.
const TOLD_MAX: usize = 5;

/// Why an operator's wish about a plugin is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// Nothing is known of this plugin.
    Unknown,
    /// It cannot be, as things stand.
    Impossible(String),
}

/// How a rollback went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// What serves again.
    pub digest: Digest,
    /// Whether its file is in place, so that a restart finds it.
    pub written: bool,
}

/// A file that may not serve, and whether only its answers differ.
struct Turned {
    why: String,
    may_be_forced: bool,
}

impl From<LoadError> for Turned {
    fn from(LoadError(why): LoadError) -> Self {
        Self { why, may_be_forced: false }
    }
}

impl Plugins {
    /// Looks at a new or changed file and makes it live if it is good enough.
    pub(super) async fn changed(&self, name: &PluginName, wasm: std::io::Result<Vec<u8>>) {
        let slot = self.slot(name);
        let digest = wasm.as_ref().ok().map(|wasm| Digest::of(wasm));
        if let Some(live) = slot.live()
            && Some(live.digest) == digest
        {
            slot.state().refused = None;
            return;
        }
        let outcome = self.load(&slot, wasm, false).await;
        self.settle(&slot, digest, outcome);
    }

    /// Makes the newest file live although its answers differ, or although an operator went back from it. What else speaks
    /// against a file still does.
    pub async fn force(&self, name: &PluginName) -> Result<Digest, Unmet> {
        // Nobody else looks at files meanwhile.
        let _watch = self.watch.lock().await;
        let slot = self.known(name)?;
        let path = self.file(name);
        let read = tokio::task::spawn_blocking(move || Self::read(&path)).await;
        let wasm = read.unwrap_or_else(|_panicked| Err(std::io::Error::other("reading panicked")));
        let digest = wasm.as_ref().ok().map(|wasm| Digest::of(wasm));
        if let (Some(live), Some(digest)) = (slot.live(), digest)
            && live.digest == digest
        {
            return Err(Unmet::Impossible("the newest file is live already".into()));
        }
        let outcome = self.load(&slot, wasm, true).await;
        let result = outcome.as_ref().map(|plugin| plugin.digest).map_err(|turned| turned.why.clone());
        self.settle(&slot, digest, outcome);
        result.map_err(Unmet::Impossible)
    }

    /// Serves what was live before, and puts its file back. What it goes back from does not go live again by itself.
    pub async fn rollback(&self, name: &PluginName) -> Result<RolledBack, Unmet> {
        let _watch = self.watch.lock().await;
        let slot = self.known(name)?;
        let previous = slot.state().previous.clone();
        let previous = previous.ok_or_else(|| Unmet::Impossible("nothing was live before what is live now".into()))?;
        let pinned = self.pinned(name, previous.digest);
        let fit = match pinned {
            Ok(()) => self.fits(&slot, &previous).await,
            Err(off) => Err(off),
        };
        fit.map_err(|LoadError(why)| Unmet::Impossible(format!("what was live before cannot serve now: {why}")))?;
        let from = slot.serve(Some(previous.clone()));
        let (path, digest) = (self.file(name), previous.digest);
        let put = tokio::task::spawn_blocking(move || put_back(&path, &previous.wasm)).await;
        let written = match put {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(plugin = %name, %error, "the file of what was live before cannot be put back: a restart finds the newer one");
                false
            }
            Err(_panicked) => false,
        };
        let from = from.map(|plugin| plugin.digest);
        let mut state = slot.state();
        state.previous = None;
        state.rolled_back = from;
        state.refused = from.filter(|_| !written).map(|from| Refused {
            digest: Some(from),
            why: ROLLED_BACK.into(),
            may_be_forced: true,
        });
        drop(state);
        tracing::warn!(plugin = %name, %digest, from = from.map(tracing::field::display), "plugin rolled back");
        self.observer.reloaded(name, PluginReload::RolledBack);
        Ok(RolledBack { digest, written })
    }

    fn settle(&self, slot: &Slot, digest: Option<Digest>, outcome: Result<Arc<Plugin>, Turned>) {
        let name = slot.name();
        match outcome {
            Ok(plugin) => {
                let (digest, kind) = (plugin.digest, plugin.kind);
                let before = slot.serve(Some(plugin));
                let replaced = before.as_ref().map(|plugin| plugin.digest);
                let mut state = slot.state();
                state.refused = None;
                state.rolled_back = None;
                state.previous = before.or(state.previous.take());
                drop(state);
                tracing::info!(plugin = %name, %digest, %kind, replaced = replaced.map(tracing::field::display), "plugin is live");
                self.observer.reloaded(name, PluginReload::Live);
            }
            Err(Turned { why, may_be_forced }) => {
                let serving =
                    if slot.live().is_some() { "the version before it serves on" } else { "its routes answer 503" };
                tracing::error!(plugin = %name, digest = digest.map(tracing::field::display), "plugin refused, {serving}: {why}");
                slot.state().refused = Some(Refused { digest, why, may_be_forced });
                self.observer.reloaded(name, PluginReload::Refused);
            }
        }
    }

    async fn load(&self, slot: &Slot, wasm: std::io::Result<Vec<u8>>, forced: bool) -> Result<Arc<Plugin>, Turned> {
        let wasm = wasm.map_err(|error| LoadError(format!("the file cannot be read: {error}")))?;
        let digest = Digest::of(&wasm);
        self.pinned(slot.name(), digest)?;
        if !forced && slot.state().rolled_back == Some(digest) {
            return Err(Turned { why: ROLLED_BACK.into(), may_be_forced: true });
        }
        let memory = self.plan().limits(slot.name()).memory.as_usize();
        let plugin = Arc::new(Plugin::load(self.engine(), wasm, memory).await?);
        self.fits(slot, &plugin).await?;
        self.vectors_hold(slot.name(), &plugin).await?;
        if !forced {
            self.agrees(slot, &plugin).await.map_err(|why| Turned { why, may_be_forced: true })?;
        }
        Ok(plugin)
    }

    fn pinned(&self, name: &PluginName, digest: Digest) -> Result<(), LoadError> {
        match self.plan().overrides.get(name).and_then(|own| own.sha256).filter(|pinned| *pinned != digest) {
            None => Ok(()),
            Some(pinned) => Err(LoadError(format!("its sha256 is {digest}, but the configuration pins {pinned}"))),
        }
    }

    /// Whether every route that uses the name can use this.
    async fn fits(&self, slot: &Slot, plugin: &Plugin) -> Result<(), LoadError> {
        let memory = self.plan().limits(slot.name()).memory.as_usize();
        for user in slot.users() {
            let mut problems = of_use(plugin, &user);
            if let Err(options) = plugin.accepts(&user.options, memory).await {
                problems.extend(options.into_iter().map(Problem::Option));
            }
            if !problems.is_empty() {
                let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
                return Err(LoadError(problems.join("; ")));
            }
        }
        Ok(())
    }

    /// Limits as the gate's own calls have them.
    fn patient(&self, name: &PluginName) -> PluginLimits {
        let limits = self.plan().limits(name).clone();
        PluginLimits { deadline: limits.deadline.max(PATIENCE), reuse: 1, compare: 0, ..limits }
    }

    /// Whether the vectors beside the file hold, where there are any.
    async fn vectors_hold(&self, name: &PluginName, plugin: &Arc<Plugin>) -> Result<(), LoadError> {
        let path = self.directory().join(format!("{name}.vectors.jsonl"));
        let read = tokio::task::spawn_blocking(move || read_bounded(&path, VECTORS_MAX)).await;
        let text = match read {
            Ok(Ok(text)) => String::from_utf8_lossy(&text).into_owned(),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Ok(Err(error)) => return Err(LoadError(format!("its vectors cannot be read: {error}"))),
            Err(_panicked) => return Err(LoadError("its vectors cannot be read".into())),
        };
        let vectors = vectors::read(&text).map_err(|error| LoadError(format!("its vectors: {error}")))?;
        let (slot, limits) = (Slot::trial(name.clone(), plugin.clone()), self.patient(name));
        let mut failures = Vec::new();
        for vector in vectors.iter().filter(|vector| vector.level == Level::Must) {
            let options = serde_json::Value::Object(vector.options.clone()).to_string();
            let roles = Arc::new(vector.roles());
            let trial = Binding::new(slot.clone(), plugin.kind, options.into(), limits.clone(), roles, None);
            if let Err(why) = vector.check(&Arc::new(trial)).await {
                failures.push(format!("{}: {why}", vector.id));
            }
        }
        match failures.len() {
            0 => Ok(()),
            count => Err(LoadError(format!("{count} of its {} vectors fail: {}", vectors.len(), told(&failures)))),
        }
    }

    /// Whether it answers the requests that were kept as what serves does.
    async fn agrees(&self, slot: &Slot, plugin: &Arc<Plugin>) -> Result<(), String> {
        let Some(live) = slot.live().filter(|live| live.kind == plugin.kind) else { return Ok(()) };
        let (old, new) = (Slot::trial(slot.name().clone(), live), Slot::trial(slot.name().clone(), plugin.clone()));
        let limits = self.patient(slot.name());
        let (mut differences, mut compared) = (Vec::new(), 0);
        for user in slot.users() {
            let asked = user.recent.as_ref().map(|recent| recent.all()).unwrap_or_default();
            let with = |slot: &Arc<Slot>| {
                let (options, roles) = (user.options.clone(), user.roles.clone());
                Arc::new(Binding::new(slot.clone(), user.kind, options, limits.clone(), roles, None))
            };
            let (old, new) = (with(&old), with(&new));
            for one in asked {
                compared += 1;
                let (was, is) = (said(&old, &one).await, said(&new, &one).await);
                // What serves failed at it, so anything is better.
                if !was.is_fault && was.whole != is.whole {
                    let others = if was.shown == is.shown { " with other values" } else { "" };
                    let (route, id) = (&one.request.route, &one.request.id);
                    differences.push(format!("route {route}, request {id}: {} → {}{others}", was.shown, is.shown));
                }
            }
        }
        match differences.len() {
            0 => Ok(()),
            count => Err(format!(
                "it answers {count} of the last {compared} requests otherwise than what serves: {}",
                told(&differences)
            )),
        }
    }

    /// Reads a plugin file whole.
    pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
        read_bounded(path, FILE_MAX)
    }

    fn file(&self, name: &PluginName) -> PathBuf {
        self.directory().join(format!("{name}.wasm"))
    }
}

const ROLLED_BACK: &str = "an operator went back from it: place another file, or force it";

/// What a plugin said to a question, as far as it matters; and as it may be shown, without the values of fields.
struct Said {
    whole: String,
    shown: String,
    is_fault: bool,
}

impl Said {
    fn new(whole: String) -> Self {
        Self { shown: whole.clone(), whole, is_fault: false }
    }

    fn edits(edits: &Edits) -> Self {
        Self { whole: format!("{edits:?}"), shown: edits.to_string(), is_fault: false }
    }
}

/// Asks `plugin` once more.
async fn said(plugin: &Arc<Binding>, Asked { question, request, now }: &Asked) -> Said {
    let fault = |fault: PluginFault| Said { is_fault: true, ..Said::new(format!("fault ({})", fault.reason())) };
    let refusal = |refusal: Refusal| Said::new(format!("refuse with {}", refusal.status.as_u16()));
    let (request, now) = (request.clone(), *now);
    match question {
        Question::Verify(body) => match plugin.ask(Verify(body.clone()), request, now).await.result {
            Ok(Verdict::Accept(verified)) => Said::new(format!(
                "accept (id {:?}, kind {:?}, timestamp {:?}, order {:?})",
                verified.identity, verified.kind, verified.timestamp, verified.order_key
            )),
            Ok(Verdict::Refuse(it)) => refusal(it),
            Ok(Verdict::Respond(reply)) => Said::new(format!("respond with {}", reply.status.as_u16())),
            Err(it) => fault(it),
        },
        Question::OnRequest => match plugin.ask(OnRequest, request, now).await.result {
            Ok(Ok(edits)) => Said::edits(&edits),
            Ok(Err(it)) => refusal(it),
            Err(it) => fault(it),
        },
        Question::OnResponse(response) => match plugin.ask(OnResponse(response.clone()), request, now).await.result {
            Ok(edits) => Said::edits(&edits),
            Err(it) => fault(it),
        },
        Question::Choose(candidates) => match plugin.ask(Choose(candidates.clone()), request, now).await.result {
            Ok(Ok(chosen)) => Said::new(format!("choose {chosen:?}")),
            Ok(Err(it)) => refusal(it),
            Err(it) => fault(it),
        },
    }
}

/// The first few, and how many more there are.
fn told(list: &[String]) -> String {
    let mut text = list.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("; ");
    if list.len() > TOLD_MAX {
        text += &format!("; and {} more", list.len() - TOLD_MAX);
    }
    text
}

fn read_bounded(path: &Path, max: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(std::io::Error::other(format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

/// Puts a plugin's file in its place, whole from the first moment; what was there stays beside it.
fn put_back(path: &Path, wasm: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".rollback-").suffix(".tmp").tempfile_in(folder)?;
    std::io::Write::write_all(&mut draft, wasm)?;
    draft.as_file().sync_all()?;
    std::fs::set_permissions(draft.path(), std::fs::metadata(path)?.permissions())?;
    // The one copy of what an operator went back from may be this one.
    std::fs::copy(path, path.with_extension("wasm.rolled-back"))?;
    draft.persist(path).map_err(|error| error.error)?;
    Ok(())
}
