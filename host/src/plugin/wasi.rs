//! WASI for guests whose language brings it along: no environment, no arguments, no files, no network. Clocks tell the
//! gateway's time in whole seconds, randomness is real, what is printed goes to the plugin's log.
//!
//! It is made on first use: the guests this is fast for never ask.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock, WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult, bindings};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::log;
use super::state::State;
use crate::base::clock::Timestamp;

/// Bytes a guest may print in the life of an instance.
const PRINTED_MAX: usize = 16 * 1024;
/// Bytes of randomness in one call.
const RANDOM_MAX: u64 = 64 * 1024;

type Shared<T> = Arc<Mutex<T>>;

#[derive(Default)]
pub(crate) struct Wasi {
    context: Option<Box<Context>>,
    now: u64,
}

struct Context {
    wasi: WasiCtx,
    table: ResourceTable,
    now: Shared<u64>,
    printed: Shared<Vec<u8>>,
}

impl Wasi {
    pub(crate) fn set_now(&mut self, now: Option<Timestamp>) {
        self.now = now.map_or(0, |now| u64::try_from(now.seconds()).unwrap_or(0));
        if let Some(context) = &self.context {
            *context.now.lock().unwrap_or_else(PoisonError::into_inner) = self.now;
        }
    }

    fn context(&mut self) -> &mut Context {
        let now = self.now;
        self.context.get_or_insert_with(|| {
            let (now, printed) = (Shared::new(now.into()), Shared::default());
            let mut wasi = WasiCtx::builder();
            wasi.wall_clock(Seconds(now.clone()))
                .monotonic_clock(Seconds(now.clone()))
                .stdout(Printed(printed.clone()))
                .stderr(Printed(printed.clone()))
                .max_random_size(RANDOM_MAX)
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false);
            Box::new(Context { wasi: wasi.build(), table: ResourceTable::new(), now, printed })
        })
    }
}

impl State {
    /// Moves what was printed to the log lines of the call.
    pub(crate) fn collect_printed(&mut self) {
        let Some(context) = &self.wasi.context else { return };
        let printed = std::mem::take(&mut *context.printed.lock().unwrap_or_else(PoisonError::into_inner));
        for line in String::from_utf8_lossy(&printed).lines() {
            self.note(log::Level::Info, line.to_owned());
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let context = self.wasi.context();
        WasiCtxView { ctx: &mut context.wasi, table: &mut context.table }
    }
}

/// The parts that never block, for guests called on the caller's thread. Whatever else they import traps and says which.
pub(crate) fn link_nonblocking(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    use bindings::{cli, clocks, random};
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(linker, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    cli::environment::add_to_linker::<State, WasiCli>(linker, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(linker, State::cli)
}

/// All of WASI 0.2 over the empty context, for guests on the plugin runtime, where waiting blocks nobody.
pub(crate) fn link_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}

struct Seconds(Shared<u64>);

impl Seconds {
    fn read(&self) -> u64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostWallClock for Seconds {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.read())
    }
}

impl HostMonotonicClock for Seconds {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        self.read().saturating_mul(1_000_000_000)
    }
}

/// Keeps the first bytes that are printed and lets the rest go.
#[derive(Clone)]
struct Printed(Shared<Vec<u8>>);

impl Printed {
    fn keep(&self, bytes: &[u8]) {
        let mut printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = PRINTED_MAX.saturating_sub(printed.len()).min(bytes.len());
        printed.extend_from_slice(&bytes[..room]);
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.keep(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINTED_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}
