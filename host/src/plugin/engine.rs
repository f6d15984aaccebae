//! The wasm engine: compiling, linking, the epoch ticker, and the runtime where slow guests run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, ResourceType};
use wasmtime::{Cache, CacheConfig, Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::bindings::verifier::Verifier;
use super::state::{BodyHandle, State};
use super::wasi;

/// The epoch's step: how finely guest time is told.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Instances alive at once, over all plugins.
const INSTANCES_MAX: u32 = 1_000;
/// Core instances, memories and tables a component may have; language runtimes bring several.
const PARTS_MAX: u32 = 20;
/// Memory of an instance that is kept for the next one in its place; with less, each call pays for page faults.
const KEEP_MEMORY: usize = 128 * 1024;
const KEEP_TABLE: usize = 16 * 1024;
/// Idle ticks after which the ticker rests.
const REST_AFTER: u32 = 100;

/// Compiles and links components. One a process is enough.
#[derive(Debug)]
pub struct Engine {
    wasm: wasmtime::Engine,
    fast: Linkers,
    slow: Linkers,
    ticker: Ticker,
    runtime: Option<tokio::runtime::Runtime>,
}

/// A linker that can be shown.
struct Linkers(Linker<State>);

impl std::fmt::Debug for Linkers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Linker")
    }
}

impl Engine {
    /// An engine that keeps compiled code in `cache`, when one is given and it can be written to.
    pub fn new(cache: Option<PathBuf>) -> wasmtime::Result<Arc<Self>> {
        let wasm = wasmtime::Engine::new(&config(cache))?;
        let mut fast = Linker::<State>::new(&wasm);
        Verifier::add_to_linker::<_, HasSelf<_>>(&mut fast, |state| state)?;
        let mut slow = fast.clone();
        // Crypto's `body` is that of http. A linker need not be told, but whatever it does not know by name is stubbed,
        // and a stub would be another type.
        fast.instance("tollgate:plugin/crypto@0.1.0")?.resource(
            "body",
            ResourceType::host::<BodyHandle>(),
            |_, _| Ok(()),
        )?;
        wasi::link_nonblocking(&mut fast)?;
        wasi::link_all(&mut slow)?;
        let ticker = Ticker::start(wasm.weak())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, usize::from).max(2))
            .thread_name("plugins")
            .enable_all()
            .build()?;
        Ok(Arc::new(Self { wasm, fast: Linkers(fast), slow: Linkers(slow), ticker, runtime: Some(runtime) }))
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    /// A linker for guests called on the caller's thread; what would block traps.
    pub(crate) fn fast_linker(&self) -> &Linker<State> {
        &self.fast.0
    }

    /// A linker for guests called on the plugin runtime.
    pub(crate) fn slow_linker(&self) -> &Linker<State> {
        &self.slow.0
    }

    /// The epoch moves while one of these is held.
    pub(crate) fn tick(&self) -> Ticking<'_> {
        self.ticker.hold()
    }

    /// Where slow guests run and components compile.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        match &self.runtime {
            Some(runtime) => runtime.handle(),
            None => unreachable!("the runtime is taken in drop only"),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A plain drop waits, which is not allowed where the last owner may be a task.
            runtime.shutdown_background();
        }
    }
}

fn config(cache: Option<PathBuf>) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * 4)
        .total_memories(INSTANCES_MAX)
        .total_tables(INSTANCES_MAX * 2)
        .max_core_instances_per_component(PARTS_MAX)
        .max_memories_per_component(PARTS_MAX)
        .max_tables_per_component(PARTS_MAX)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(100_000)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(KEEP_MEMORY)
        .table_keep_resident(KEEP_TABLE)
        .total_stacks(INSTANCES_MAX);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(512 * 1024)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20));
    if let Some(directory) = cache {
        let mut cache = CacheConfig::new();
        cache.with_directory(directory);
        match Cache::new(cache) {
            Ok(cache) => _ = config.cache(Some(cache)),
            Err(error) => tracing::warn!(%error, "no compile cache: components compile anew at each start"),
        }
    }
    config
}

/// A thread that moves the epoch while somebody runs, and rests when nobody does.
#[derive(Debug)]
struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    held: AtomicUsize,
    resting: AtomicBool,
    stop: AtomicBool,
}

/// Held while a guest runs.
pub(crate) struct Ticking<'a>(&'a Shared);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ticker {
    fn start(engine: wasmtime::EngineWeak) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("epoch".into()).spawn({
            let shared = shared.clone();
            move || {
                let mut idle = 0;
                while !shared.stop.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                    idle = if shared.held.load(Ordering::Relaxed) == 0 { idle + 1 } else { 0 };
                    if idle > REST_AFTER {
                        // Whoever comes now either is seen in `held` or sees `resting` and wakes us.
                        shared.resting.store(true, Ordering::SeqCst);
                        if shared.held.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
                            std::thread::park();
                        }
                        shared.resting.store(false, Ordering::SeqCst);
                        idle = 0;
                    }
                }
            }
        })?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    fn hold(&self) -> Ticking<'_> {
        self.shared.held.fetch_add(1, Ordering::SeqCst);
        if self.shared.resting.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Ticking(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}
