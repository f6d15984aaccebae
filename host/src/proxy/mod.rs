//! Layer 4b: requests that are forwarded while the client waits. One file a protocol; none imports another.

pub mod http;
