//! tollgate, room by room. Layers are one-way:
//! `base ← {config, telemetry} ← {net, upstream, plugin, store} ← gateway ← exchange ← {proxy, webhook} ← {edge, admin} ← app ← cli`.

pub mod admin;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod edge;
pub mod exchange;
pub mod gateway;
pub mod net;
pub mod plugin;
pub mod proxy;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod webhook;
