//! The commands, one file each.

pub mod plugin_build;
