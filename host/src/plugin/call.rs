//! Calling a plugin.
//!
//! A call first runs on its caller's thread for a slice of at most three milliseconds: a plugin needs a few microseconds,
//! and a fiber alone costs three. What does not come to an end there (it overran the slice, or used something of WASI that
//! may wait) is run again from the start on the plugin runtime, with the whole deadline, yielding at every tick; so are
//! bodies too large to hash between two requests. A plugin keeps no state a second run could disturb.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::bindings::log::Level;
use super::component::{Kind, Plugin};
use super::crypto::{Crypto, Used};
use super::edits::Edits;
use super::fault::PluginFault;
use super::hook::{Choose, Hook, OnRequest, OnResponse, Verify};
use super::instance::{Fast, Slow};
use super::recent::{Asked, Recent};
use super::request::{RequestView, ResponseView};
use super::slot::Slot;
use super::state::{Call, Roles, State};
use super::verdict::{Refusal, Verdict};
use crate::base::clock::Timestamp;
use crate::base::payload::{MEMORY_MAX, Payload};
use crate::config::plan::PluginLimits;

/// Instances kept per route and path when a plugin is reused.
const KEPT_MAX: usize = 64;
/// Calls that go straight to the plugin runtime after two in a row were run again there. One alone may be a quick plugin
/// whose thread the system took away for longer than the slice.
const SLOW_CALLS: u32 = 1_000;
/// What a call may take by the wall for each byte of body, on top of its deadline: hashing at 100 MB/s.
const WALL_PER_MIB: Duration = Duration::from_millis(10);

/// A plugin with the options and the secrets of one use on one route.
#[derive(Debug)]
pub struct Binding {
    pub(super) slot: Arc<Slot>,
    /// What the route uses it as.
    pub(super) kind: Kind,
    pub(super) options: Arc<str>,
    pub(super) limits: PluginLimits,
    pub(super) roles: Arc<Roles>,
    /// Its last questions, where they are kept.
    pub(super) recent: Option<Arc<Recent>>,
    kept: Kept,
    slow_calls: AtomicU32,
    /// Whether the last call that ended was run again.
    ran_again: AtomicBool,
}

#[derive(Default)]
struct Kept {
    fast: Mutex<Vec<(Arc<Plugin>, Fast)>>,
    slow: Mutex<Vec<(Arc<Plugin>, Slow)>>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

/// One call and what came of it.
#[derive(Debug)]
pub struct Called<T> {
    /// The judgement, or why there is none.
    pub result: Result<T, PluginFault>,
    /// Secrets that matched: name, and slot (0 is the newest).
    pub used: Vec<Used>,
    /// How long it took.
    pub took: Duration,
}

impl Binding {
    pub(super) fn new(
        slot: Arc<Slot>,
        kind: Kind,
        options: Arc<str>,
        limits: PluginLimits,
        roles: Arc<Roles>,
        recent: Option<Arc<Recent>>,
    ) -> Self {
        Self {
            slot,
            kind,
            options,
            limits,
            roles,
            recent,
            kept: Kept::default(),
            slow_calls: AtomicU32::new(0),
            ran_again: AtomicBool::new(false),
        }
    }

    /// The plugin's name.
    pub fn name(&self) -> &crate::base::names::PluginName {
        self.slot.name()
    }

    /// What the route uses it as.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The secrets it may name, by role.
    pub fn roles(&self) -> &Arc<Roles> {
        &self.roles
    }

    /// Methods beside POST that the plugin's provider uses.
    pub fn methods(&self) -> Vec<http::Method> {
        let methods = self.slot.live().map_or_else(Vec::new, |plugin| plugin.about.methods.clone());
        methods.iter().filter_map(|method| http::Method::from_bytes(method.as_bytes()).ok()).collect()
    }

    /// Has a verifier verify a request.
    pub async fn verify(self: &Arc<Self>, request: Arc<RequestView>, body: Payload, now: Timestamp) -> Called<Verdict> {
        self.ask(Verify(body), request, now).await
    }

    /// Asks a propagator for its edits of a request's head.
    pub async fn on_request(
        self: &Arc<Self>,
        request: Arc<RequestView>,
        now: Timestamp,
    ) -> Called<Result<Edits, Refusal>> {
        self.ask(OnRequest, request, now).await
    }

    /// Asks a propagator for its edits of a response's head.
    pub async fn on_response(
        self: &Arc<Self>,
        request: Arc<RequestView>,
        response: Arc<ResponseView>,
        now: Timestamp,
    ) -> Called<Edits> {
        self.ask(OnResponse(response), request, now).await
    }

    /// Asks a router for products among `candidates`; none keeps the route's own. More than one only for a webhook.
    pub async fn choose(
        self: &Arc<Self>,
        request: Arc<RequestView>,
        candidates: Arc<[String]>,
        now: Timestamp,
    ) -> Called<Result<Vec<String>, Refusal>> {
        self.ask(Choose(candidates), request, now).await
    }

    pub(super) async fn ask<H: Hook>(
        self: &Arc<Self>,
        hook: H,
        request: Arc<RequestView>,
        now: Timestamp,
    ) -> Called<H::Judged> {
        let started = Instant::now();
        let (result, used) = match self.ready::<H>(now) {
            Err(fault) => (Err(fault), Vec::new()),
            Ok(plugin) => {
                let question = self.recent.as_ref().and_then(|_| hook.question());
                let asked = question.map(|question| Asked { question, request: request.clone(), now });
                let ran = self.run(plugin, hook, request, now).await;
                self.ended(ran.0.as_ref().err(), now);
                if let (Some(recent), Some(asked)) = (&self.recent, asked) {
                    recent.keep(asked);
                }
                ran
            }
        };
        Called { result, used, took: started.elapsed() }
    }

    /// What is to be asked, if it may be.
    fn ready<H: Hook>(&self, now: Timestamp) -> Result<Arc<Plugin>, PluginFault> {
        let plugin = self.slot.live().ok_or_else(|| PluginFault::Missing(self.slot.why_missing()))?;
        if plugin.kind != H::KIND {
            return Err(PluginFault::Missing(format!("it is a {}, not a {}", plugin.kind, H::KIND)));
        }
        match self.slot.parking.until(now) {
            Some(until) => Err(PluginFault::Parked(until)),
            None => Ok(plugin),
        }
    }

    fn ended(&self, fault: Option<&PluginFault>, now: Timestamp) {
        match fault {
            None => self.slot.parking.succeeded(),
            Some(fault) if fault.is_own() => {
                if let Some(pause) = self.slot.parking.failed(now) {
                    let (plugin, seconds) = (self.slot.name(), pause.as_secs());
                    tracing::error!(%plugin, seconds, "plugin parked: it only fails, and its routes answer 503 meanwhile");
                }
            }
            Some(_) => {}
        }
    }

    async fn run<H: Hook>(
        self: &Arc<Self>,
        plugin: Arc<Plugin>,
        hook: H,
        request: Arc<RequestView>,
        now: Timestamp,
    ) -> Ran<H::Judged> {
        let body = hook.body().map_or(0, Payload::length);
        if body <= MEMORY_MAX as u64 && !self.is_slow() {
            let tick = plugin.engine.tick();
            let call = self.call(&plugin, &hook, request.clone(), now);
            match self.run_fast(&plugin, &hook, call) {
                (Err(fault), _) if runs_again(&fault) => drop(tick),
                done => {
                    self.ran_again.store(false, Ordering::Relaxed);
                    return done;
                }
            }
            if self.ran_again.swap(true, Ordering::Relaxed) {
                self.slow_calls.store(SLOW_CALLS, Ordering::Relaxed);
            }
        }
        let wall = self.wall(body);
        let call = self.call(&plugin, &hook, request, now);
        let runtime = plugin.engine.runtime().clone();
        let binding = self.clone();
        let running = runtime.spawn(async move {
            let _tick = plugin.engine.tick();
            tokio::time::timeout(wall, binding.run_slow(&plugin, &hook, call)).await
        });
        match running.await {
            Ok(Ok(done)) => done,
            Ok(Err(_elapsed)) => (Err(PluginFault::Deadline), Vec::new()),
            Err(_panicked) => (Err(PluginFault::Trap("the host function it called panicked".into())), Vec::new()),
        }
    }

    /// Epochs fire only inside wasm; this holds what they cannot see.
    fn wall(&self, body: u64) -> Duration {
        let mib = u32::try_from(body >> 20).unwrap_or(u32::MAX);
        self.limits.deadline.mul_f32(1.5) + WALL_PER_MIB.saturating_mul(mib)
    }

    fn is_slow(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.slow_calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn call<H: Hook>(&self, plugin: &Plugin, hook: &H, request: Arc<RequestView>, now: Timestamp) -> Call {
        let body = hook.body().cloned().unwrap_or_else(|| Payload::Memory(Bytes::new()));
        // Only a verifier can answer a handshake, so nobody else is given an HMAC.
        let handshake = plugin.about.handshake && H::KIND == Kind::Verifier;
        let crypto = Crypto::new(self.roles.clone(), now, handshake, body.length());
        Call { request, body, response: hook.response().cloned(), now, crypto }
    }

    fn memory(&self) -> usize {
        self.limits.memory.as_usize()
    }

    fn run_fast<H: Hook>(&self, plugin: &Arc<Plugin>, hook: &H, call: Call) -> Ran<H::Judged> {
        let mut instance = match take(&self.kept.fast, plugin) {
            Some(instance) => instance,
            None => match Fast::start(plugin, self.memory(), &self.options) {
                Ok(instance) => instance,
                Err(fault) => return (Err(fault), Vec::new()),
            },
        };
        let returned = instance.call(hook, call);
        // What runs again says it again.
        if !returned.as_ref().is_err_and(runs_again) {
            self.log(instance.state());
        }
        let done = finish(hook, instance.state(), returned);
        let peak = instance.state().memory.peak;
        if done.0.is_ok() && instance.life.goes_on(&self.limits, peak) {
            put(&self.kept.fast, plugin, instance);
        }
        done
    }

    async fn run_slow<H: Hook>(&self, plugin: &Arc<Plugin>, hook: &H, call: Call) -> Ran<H::Judged> {
        let mut instance = match take(&self.kept.slow, plugin) {
            Some(instance) => instance,
            None => match self.start_slow(plugin).await {
                Ok(instance) => instance,
                Err(fault) => return (Err(fault), Vec::new()),
            },
        };
        let returned = instance.call(hook, call).await;
        self.log(instance.state());
        let done = finish(hook, instance.state(), returned);
        let peak = instance.state().memory.peak;
        if done.0.is_ok() && instance.life.goes_on(&self.limits, peak) {
            put(&self.kept.slow, plugin, instance);
        }
        done
    }

    async fn start_slow(&self, plugin: &Plugin) -> Result<Slow, PluginFault> {
        let mut instance = Slow::start(plugin, self.memory(), self.limits.deadline).await?;
        instance.configure_again(&self.options).await?;
        Ok(instance)
    }

    fn log(&self, state: &mut State) {
        state.collect_printed();
        let plugin = self.slot.name().as_str();
        for (level, line) in &state.lines {
            match level {
                Level::Debug => tracing::debug!(target: "tollgate::plugin", plugin, "{line}"),
                Level::Info => tracing::info!(target: "tollgate::plugin", plugin, "{line}"),
                Level::Warn => tracing::warn!(target: "tollgate::plugin", plugin, "{line}"),
                Level::Error => tracing::error!(target: "tollgate::plugin", plugin, "{line}"),
            }
        }
    }
}

/// Whether a call that ended so on its caller's thread may end better on the plugin runtime.
fn runs_again(fault: &PluginFault) -> bool {
    matches!(fault, PluginFault::Deadline | PluginFault::Trap(_))
}

type Ran<T> = (Result<T, PluginFault>, Vec<Used>);

/// Ends a call: what was returned is judged by what the host saw.
fn finish<H: Hook>(hook: &H, state: &mut State, returned: Result<H::Returned, PluginFault>) -> Ran<H::Judged> {
    let Some(mut call) = state.call.take() else {
        return (Err(PluginFault::Trap("the call ended before it began".into())), Vec::new());
    };
    let used = call.crypto.take_used();
    (returned.and_then(|returned| hook.judge(returned, &call.request, call.crypto.evidence())), used)
}

/// An idle instance of exactly this plugin; those of a plugin since replaced are let go.
fn take<I>(kept: &Mutex<Vec<(Arc<Plugin>, I)>>, plugin: &Arc<Plugin>) -> Option<I> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.last().is_some_and(|(of, _)| !Arc::ptr_eq(of, plugin)) {
        kept.clear();
    }
    kept.pop().map(|(_, instance)| instance)
}

fn put<I>(kept: &Mutex<Vec<(Arc<Plugin>, I)>>, plugin: &Arc<Plugin>, instance: I) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < KEPT_MAX {
        kept.push((plugin.clone(), instance));
    }
}
