//! Layer 1: what operators see. Labels are closed enums or configured names; nothing a client sent becomes one.

pub mod labels;
pub mod listener;
pub mod logging;
pub mod product;
#[cfg(test)]
mod reference;
pub mod registry;
pub mod trace;
pub mod upstream;
