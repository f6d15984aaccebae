//! tollgate, room by room. Layers are one-way:
//! `base ← {config, telemetry} ← {net, upstream, plugin, store} ← gateway ← exchange ← {proxy, webhook} ← {edge, admin} ← app ← cli`.

pub mod base;
pub mod cli;
pub mod config;
pub mod store;
