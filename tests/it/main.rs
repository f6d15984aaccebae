//! The gateway's tests through its front door, one binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod again;
mod answers;
mod delivery;
mod disk;
mod examples;
mod forwarded;
mod front_door;
mod handshakes;
mod hot;
mod layers;
mod listeners;
mod misbehaving;
mod observability;
mod ordered;
mod pack;
mod process;
mod proxied;
mod reload;
mod routes;
mod shared_store;
mod signed;
mod slow_readers;
mod systemd;
mod tls;
mod vectors;
mod websocket;

/// The real binary, built by cargo before this one runs.
const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
