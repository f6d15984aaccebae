//! Layer 2: bytes in. Worker threads, and the sockets each of them listens on.

pub mod activity;
pub mod guard;
pub mod listener;
pub mod workers;
