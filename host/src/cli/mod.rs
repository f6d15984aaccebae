//! The commands, one file each.

pub mod check;
mod client;
pub mod command;
pub mod dev;
pub mod events;
pub mod explain;
pub mod plugin;
pub mod plugin_build;
pub mod plugin_new;
pub mod run;
pub mod store;
mod terminal;
