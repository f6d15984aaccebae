//! The exchange as a plugin may see it.

use http::HeaderMap;

/// The protocol of an exchange, as plugins are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Plain HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// A WebSocket handshake.
    WebSocket,
    /// A webhook.
    Webhook,
}

/// A request head. Built once per exchange, shared by the plugins on its route.
#[derive(Clone, Debug)]
pub struct RequestView {
    /// The request id.
    pub id: String,
    /// The route's name.
    pub route: String,
    /// The product's name.
    pub product: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The Host asked for.
    pub authority: String,
    /// The path in normal form.
    pub path: String,
    /// Path and query exactly as received.
    pub target: String,
    /// The fields, names in lower case.
    pub headers: HeaderMap,
    /// The client's address.
    pub client: String,
    /// The event type, once verified.
    pub event_type: Option<String>,
}

/// A response head.
#[derive(Clone, Debug)]
pub struct ResponseView {
    /// The status.
    pub status: u16,
    /// The fields, names in lower case.
    pub headers: HeaderMap,
}

impl RequestView {
    /// The query as received, without the question mark.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}
