//! Layer 2: bytes in. Worker threads, the sockets each of them listens on, and what a connection goes through before HTTP.

pub mod activity;
mod certificate;
pub mod entrance;
pub mod guard;
pub mod listener;
pub mod passed;
pub mod places;
pub mod proxy_protocol;
pub mod stream;
pub mod tls;
pub mod workers;
