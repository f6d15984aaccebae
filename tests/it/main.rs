//! The gateway's tests through its front door, one binary.
#![allow(clippy::unwrap_used, reason = "tests")]

mod again;
mod answers;
mod authoring;
mod delivery;
mod disk;
mod examples;
mod forwarded;
mod front_door;
mod gate;
mod grpc;
mod grpc_peers;
mod grpc_web;
mod handshakes;
mod hot;
mod layers;
mod listeners;
mod misbehaving;
mod node_peers;
mod observability;
mod ordered;
mod pack;
mod parked;
mod plugins;
mod process;
mod proxied;
mod reload;
mod routes;
mod shared_store;
mod signed;
mod slow_readers;
mod streams;
mod systemd;
mod tls;
mod vectors;
mod websocket;

/// The real binary, built by cargo before this one runs.
const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
