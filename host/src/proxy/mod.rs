//! Layer 4b: requests that are forwarded while the client waits. One file a protocol. A WebSocket begins as a plain
//! request, so `websocket` builds on `http`; beside that none imports another.

pub mod http;
pub mod websocket;
