//! A running instance, on either path.

use std::time::{Duration, Instant};

use wasmtime::component::{Instance, TypedFunc};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use super::bindings::setup;
use super::component::Plugin;
use super::engine::TICK;
use super::fault::PluginFault;
use super::hook::{Exports, Hook};
use super::state::{Call, State};
use crate::config::plan::PluginLimits;

/// The slice of time a guest gets on its caller's thread.
const SLICE_TICKS: u64 = 3;
/// How long an instance is kept for further calls. What a language's runtime leaves behind adds up.
const AGE_MAX: Duration = Duration::from_secs(300);
/// The share of its memory limit that a kept instance may grow by.
const GROWTH_SHARE: usize = 4;

/// An instance called on the caller's thread.
pub(crate) struct Fast {
    store: Store<State>,
    exports: Exports,
    pub(crate) life: Life,
}

impl Fast {
    /// Instantiates and configures.
    pub(crate) fn start(plugin: &Plugin, memory: usize, options: &str) -> Result<Self, PluginFault> {
        let mut store = store(plugin, memory);
        store.set_epoch_deadline(SLICE_TICKS);
        let exports = plugin.fast.instantiate(&mut store).map_err(|error| fault(&mut store, error))?;
        let configured = match &exports {
            Exports::Verifier(it) => it.tollgate_plugin_setup().call_configure(&mut store, options).map(configured),
            Exports::Propagator(it) => {
                it.tollgate_plugin_setup().call_configure(&mut store, options).map(|configured| {
                    configured.map_err(|problems| problems.into_iter().next().map(|first| (first.key, first.message)))
                })
            }
            Exports::Router(it) => it.tollgate_plugin_setup().call_configure(&mut store, options).map(|configured| {
                configured.map_err(|problems| problems.into_iter().next().map(|first| (first.key, first.message)))
            }),
        };
        accepted(configured.map_err(|error| fault(&mut store, error))?)?;
        let life = Life::new(&store);
        Ok(Self { store, exports, life })
    }

    /// One call. Any fault leaves the instance unfit for another.
    pub(crate) fn call<H: Hook>(&mut self, hook: &H, call: Call) -> Result<H::Returned, PluginFault> {
        self.life.served += 1;
        self.store.data_mut().begin(Some(call));
        self.store.set_epoch_deadline(SLICE_TICKS);
        let returned = hook.call(&self.exports, &mut self.store);
        usable(&mut self.store, returned)
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }
}

/// How long an instance has served and what it has grown by: what is kept for another call must not get old or fat.
pub(crate) struct Life {
    served: u32,
    since: Instant,
    memory: usize,
}

impl Life {
    fn new(store: &Store<State>) -> Self {
        Self { served: 0, since: Instant::now(), memory: store.data().memory.peak }
    }

    /// Whether an instance that has now `peak` bytes may serve another call.
    pub(crate) fn goes_on(&self, limits: &PluginLimits, peak: usize) -> bool {
        self.served < limits.reuse
            && self.since.elapsed() < AGE_MAX
            && peak.saturating_sub(self.memory) <= limits.memory.as_usize() / GROWTH_SHARE
    }
}

/// An instance called on the plugin runtime, where it yields to others at every tick.
pub(crate) struct Slow {
    store: Store<State>,
    instance: Instance,
    deadline: Duration,
    pub(crate) life: Life,
}

impl Slow {
    /// Instantiates; [`configure`](Self::configure) comes next.
    pub(crate) async fn start(plugin: &Plugin, memory: usize, deadline: Duration) -> Result<Self, PluginFault> {
        let mut store = store(plugin, memory);
        store.epoch_deadline_callback(|mut store| {
            let left = &mut store.data_mut().ticks_left;
            Ok(match left.checked_sub(1) {
                Some(rest) => {
                    *left = rest;
                    UpdateDeadline::Yield(1)
                }
                None => UpdateDeadline::Interrupt,
            })
        });
        store.set_epoch_deadline(1);
        store.data_mut().ticks_left = ticks(deadline);
        let started = plugin.slow.instantiate_async(&mut store).await;
        let instance = started.map_err(|error| fault(&mut store, error))?;
        let life = Life::new(&store);
        Ok(Self { store, instance, deadline, life })
    }

    pub(crate) async fn describe(&mut self) -> Result<setup::About, PluginFault> {
        let (about,) = self.invoke(SETUP, "describe", ()).await?;
        Ok(about)
    }

    pub(crate) async fn configure(&mut self, options: &str) -> Result<Result<(), Vec<setup::Problem>>, PluginFault> {
        let (result,) = self.invoke(SETUP, "configure", (options.to_owned(),)).await?;
        self.life = Life::new(&self.store);
        Ok(result)
    }

    /// As `configure`, where the options were accepted before.
    pub(crate) async fn configure_again(&mut self, options: &str) -> Result<(), PluginFault> {
        accepted(configured(self.configure(options).await?))
    }

    /// One call. Any fault leaves the instance unfit for another.
    pub(crate) async fn call<H: Hook>(&mut self, hook: &H, call: Call) -> Result<H::Returned, PluginFault> {
        self.life.served += 1;
        self.store.data_mut().begin(Some(call));
        self.store.data_mut().ticks_left = ticks(self.deadline);
        self.store.set_epoch_deadline(1);
        let returned = hook.call_slow(self).await?;
        usable(&mut self.store, Ok(returned))
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    /// Calls the function called `name` of an exported interface.
    pub(crate) async fn invoke<P, R>(&mut self, interface: &str, name: &str, params: P) -> Result<R, PluginFault>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower + Send + Sync,
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift + Send + Sync + 'static,
    {
        let store = &mut self.store;
        let index = self
            .instance
            .get_export_index(&mut *store, None, interface)
            .and_then(|interface| self.instance.get_export_index(&mut *store, Some(&interface), name))
            .ok_or_else(|| PluginFault::Missing(format!("it does not export {interface} {name}")))?;
        let function: TypedFunc<P, R> = self
            .instance
            .get_typed_func(&mut *store, index)
            .map_err(|error| PluginFault::Missing(format!("{error:#}")))?;
        let returned = function.call_async(&mut *store, params).await;
        returned.map_err(|error| fault(store, error))
    }
}

const SETUP: &str = "tollgate:plugin/setup@0.1.0";

fn store(plugin: &Plugin, memory: usize) -> Store<State> {
    let mut store = Store::new(plugin.engine.wasm(), State::new(memory, plugin.usage.clone()));
    store.limiter(|state| &mut state.memory);
    store
}

fn ticks(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}

/// The first problem, if there is one: key and message.
type Configured = Result<(), Option<(String, String)>>;

fn configured(configured: Result<(), Vec<setup::Problem>>) -> Configured {
    configured.map_err(|problems| problems.into_iter().next().map(|first| (first.key, first.message)))
}

fn accepted(configured: Configured) -> Result<(), PluginFault> {
    configured.map_err(|first| {
        let (key, message) = first.unwrap_or_default();
        PluginFault::Configure(format!("`{key}`: {message}"))
    })
}

/// A call whose budget was overdrawn, or that wanted more memory than it may have, is a fault whatever was returned.
fn usable<R>(store: &mut Store<State>, returned: wasmtime::Result<R>) -> Result<R, PluginFault> {
    match returned {
        Ok(returned) => store.data_mut().fault.take().map_or(Ok(returned), Err),
        Err(error) => Err(fault(store, error)),
    }
}

fn fault(store: &mut Store<State>, error: wasmtime::Error) -> PluginFault {
    let state = store.data_mut();
    if let Some(fault) = state.fault.take() {
        return fault;
    }
    if state.memory.denied {
        return PluginFault::Memory;
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return PluginFault::Instances;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => PluginFault::Deadline,
        Some(trap) => PluginFault::Trap(trap.to_string()),
        None => PluginFault::Trap(error.root_cause().to_string()),
    }
}
