//! The gateway's tests through its front door, one binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod delivery;
mod disk;
mod examples;
mod front_door;
mod hot;
mod layers;
mod listeners;
mod misbehaving;
mod observability;
mod process;
mod proxied;
mod reload;
mod routes;
mod slow_readers;
mod systemd;
mod tls;
mod vectors;

/// The real binary, built by cargo before this one runs.
const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
