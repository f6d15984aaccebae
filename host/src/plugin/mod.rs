//! Layer 2: plugins. wasmtime lives here and nowhere else.
//!
//! A plugin is a component against `wit/v0.1`. It reads the request through borrowed handles and writes by returning
//! values; the host judges those ([`verdict`]) and applies all or nothing. Bodies and secrets stay in the host
//! ([`crypto`]). A verdict is not a failure: a refusal blames the sender, a [`fault::PluginFault`] blames the plugin and
//! fails closed.
//!
//! A call runs at once on the caller's thread for a slice of a few milliseconds ([`call`]); a guest that needs longer,
//! or a body that does, moves to the plugin runtime, where guests yield to each other.

pub mod call;
pub mod component;
pub mod crypto;
pub mod engine;
pub mod fault;
pub mod registry;
pub mod request;
pub mod vectors;
pub mod verdict;

mod bindings;
mod instance;
mod json;
mod state;
mod wasi;
mod watch;

pub(crate) use json::scalar_at as json_scalar;
pub use state::Roles;
