//! The commands, one file each.

pub mod command;
pub mod dev;
pub mod plugin;
pub mod plugin_build;
pub mod run;
mod terminal;
