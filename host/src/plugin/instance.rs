//! A running instance of a verifier, on either path.

use std::time::Duration;

use wasmtime::component::{Instance, Resource, TypedFunc};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use super::bindings::verifier::Verifier;
use super::bindings::{setup, types, verify};
use super::component::Plugin;
use super::engine::TICK;
use super::fault::PluginFault;
use super::state::{Call, State};

/// The slice of time a guest gets on its caller's thread.
const SLICE_TICKS: u64 = 3;

/// What `verify` returned, not judged yet.
pub(crate) type Returned = Result<verify::Verdict, types::Refusal>;

/// An instance called on the caller's thread.
pub(crate) struct Fast {
    store: Store<State>,
    exports: Verifier,
    pub(crate) served: u32,
}

impl Fast {
    /// Instantiates and configures. `None` where the plugin is not a verifier.
    pub(crate) fn start(plugin: &Plugin, memory: usize, options: &str) -> Result<Self, PluginFault> {
        let Some(pre) = &plugin.fast else {
            return Err(PluginFault::Missing(format!("it is a {}, not a verifier", plugin.kind)));
        };
        let mut store = store(plugin, memory);
        store.set_epoch_deadline(SLICE_TICKS);
        let exports = pre.instantiate(&mut store).map_err(|error| fault(&mut store, error))?;
        let mut instance = Self { store, exports, served: 0 };
        let configured = instance.exports.tollgate_plugin_setup().call_configure(&mut instance.store, options);
        configured_or_fault(configured.map_err(|error| fault(&mut instance.store, error))?)?;
        Ok(instance)
    }

    /// One call. Any fault leaves the instance unfit for another.
    pub(crate) fn verify(&mut self, call: Call) -> Result<Returned, PluginFault> {
        self.served += 1;
        self.store.data_mut().begin(Some(call));
        self.store.set_epoch_deadline(SLICE_TICKS);
        let (request, body) = (Resource::new_borrow(0), Resource::new_borrow(1));
        let returned = self.exports.tollgate_plugin_verify().call_verify(&mut self.store, request, body);
        usable(&mut self.store, returned)
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }
}

type VerifyFunc = TypedFunc<(Resource<super::state::RequestHandle>, Resource<super::state::BodyHandle>), (Returned,)>;

/// An instance called on the plugin runtime, where it yields to others at every tick.
pub(crate) struct Slow {
    store: Store<State>,
    instance: Instance,
    deadline: Duration,
    pub(crate) served: u32,
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
        Ok(Self { store, instance, deadline, served: 0 })
    }

    pub(crate) async fn describe(&mut self) -> Result<setup::About, PluginFault> {
        let describe = self.function::<(), (setup::About,)>(SETUP, "describe")?;
        let described = describe.call_async(&mut self.store, ()).await;
        described.map(|(about,)| about).map_err(|error| fault(&mut self.store, error))
    }

    pub(crate) async fn configure(&mut self, options: &str) -> Result<Result<(), Vec<setup::Problem>>, PluginFault> {
        type Configured = (Result<(), Vec<setup::Problem>>,);
        let configure = self.function::<(&str,), Configured>(SETUP, "configure")?;
        let configured = configure.call_async(&mut self.store, (options,)).await;
        configured.map(|(result,)| result).map_err(|error| fault(&mut self.store, error))
    }

    /// As `configure`, where the options were accepted before.
    pub(crate) async fn configure_again(&mut self, options: &str) -> Result<(), PluginFault> {
        configured_or_fault(self.configure(options).await?)
    }

    pub(crate) async fn verify(&mut self, call: Call) -> Result<Returned, PluginFault> {
        self.served += 1;
        self.store.data_mut().begin(Some(call));
        self.store.data_mut().ticks_left = ticks(self.deadline);
        self.store.set_epoch_deadline(1);
        let verify: VerifyFunc = self.function(VERIFY, "verify")?;
        let returned = verify.call_async(&mut self.store, (Resource::new_borrow(0), Resource::new_borrow(1))).await;
        usable(&mut self.store, returned.map(|(returned,)| returned))
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    fn function<P, R>(&mut self, interface: &str, name: &str) -> Result<TypedFunc<P, R>, PluginFault>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
    {
        let store = &mut self.store;
        let index = self
            .instance
            .get_export_index(&mut *store, None, interface)
            .and_then(|interface| self.instance.get_export_index(&mut *store, Some(&interface), name))
            .ok_or_else(|| PluginFault::Missing(format!("it does not export {interface} {name}")))?;
        self.instance.get_typed_func(&mut *store, index).map_err(|error| PluginFault::Missing(format!("{error:#}")))
    }
}

const SETUP: &str = "tollgate:plugin/setup@0.1.0";
const VERIFY: &str = "tollgate:plugin/verify@0.1.0";

fn store(plugin: &Plugin, memory: usize) -> Store<State> {
    let mut store = Store::new(plugin.engine.wasm(), State::new(memory));
    store.limiter(|state| &mut state.memory);
    store
}

fn ticks(deadline: Duration) -> u64 {
    u64::try_from(deadline.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}

fn configured_or_fault(configured: Result<(), Vec<setup::Problem>>) -> Result<(), PluginFault> {
    configured.map_err(|problems| {
        let first = problems.into_iter().next().map_or_else(String::new, |p| format!("`{}`: {}", p.key, p.message));
        PluginFault::Configure(first)
    })
}

/// A call whose budget was overdrawn, or that wanted more memory than it may have, is a fault whatever was returned.
fn usable(store: &mut Store<State>, returned: wasmtime::Result<Returned>) -> Result<Returned, PluginFault> {
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
