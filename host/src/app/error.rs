//! Why a gateway does not start.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::config::problem::Problems;
use crate::edge::Unbound;
use crate::store::StoreError;

/// Why a gateway does not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong.
    Problems(Problems),
    /// The wasm engine cannot be made.
    Engine(String),
    /// Threads cannot be started.
    Workers(io::Error),
    /// An address cannot be listened on: which listener, where, why.
    Listen(String, SocketAddr, io::Error),
    /// Listeners that cannot listen.
    Listeners(Vec<Unbound>),
    /// The store cannot be opened: which, why.
    Store(String, StoreError),
}

impl From<Problems> for StartError {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => write!(f, "the configuration has problems:\n{problems}"),
            Self::Engine(what) => write!(f, "the plugin engine does not start: {what}"),
            Self::Workers(error) => write!(f, "threads do not start: {error}"),
            Self::Listen(name, address, error) => write!(f, "listener {name}: cannot listen on {address}: {error}"),
            Self::Listeners(unbound) => {
                let each: Vec<_> = unbound.iter().map(Unbound::to_string).collect();
                write!(f, "{}", each.join("\n"))
            }
            Self::Store(url, error) => write!(f, "store {url}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
