//! What a route does to the requests it serves, beside saying where they go.

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, Method};

use super::Segment;
use crate::base::sizes::ByteSize;

/// What a route adds of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// `rewrite`: how the product sees the path.
    pub rewrite: Option<Rewrite>,
    /// `rate`: how many requests it takes.
    pub rate: Option<Rate>,
    /// `cors`: which pages of other origins may read its answers.
    pub cors: Option<Cors>,
    /// `limits.max_body`: the most a request's body may have; `None` is unlimited. A webhook route has its own.
    pub max_body: Option<ByteSize>,
    /// `limits.websockets`, `message_bytes` and `ping`
    pub websocket: WebsocketPolicy,
}

/// What a route allows WebSockets; a webhook route has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebsocketPolicy {
    /// Open at once; `None` is unlimited.
    pub sockets: Option<usize>,
    /// The most a message may have, as it is on the wire; `None` is unlimited.
    pub message_bytes: Option<ByteSize>,
    /// How long a side may be silent before it is asked whether it is there; `None` is for ever.
    pub ping: Option<Duration>,
}

/// `rewrite = { strip, add }`; at least one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Segments that go from the front of the path; a path that does not begin with them keeps them.
    pub strip: Vec<Segment>,
    /// A path in normal form that comes in front of what is left; empty is none.
    pub add: String,
}

/// `rate = { per_second, burst, by }`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// How many requests a second in the long run.
    pub per_second: f64,
    /// How many at once, after a while without any; at least one.
    pub burst: u32,
    /// Whose requests are counted together.
    pub by: RateBy,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateBy {
    /// Each client's address by itself, an IPv6 /64 as one.
    Client,
    /// All of the route's.
    Route,
}

/// As it is written in the configuration.
impl fmt::Display for RateBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Route => "route",
        })
    }
}

/// `cors = { origins, … }` (<https://fetch.spec.whatwg.org/#http-cors-protocol>), its lists as fields carry them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Whose pages may read answers.
    pub origins: Origins,
    /// Whether requests with cookies and the like may too; never with any origin.
    pub credentials: bool,
    /// Methods to allow, by default the route's; empty is the one that is asked for.
    pub methods: Vec<Method>,
    /// Request fields to allow; `None` is those that are asked for.
    pub headers: Option<HeaderValue>,
    /// Response fields that pages may read beside the ones they always may.
    pub expose: Option<HeaderValue>,
    /// How long a browser may remember a preflight's answer; `None` leaves it to the browser.
    pub max_age: Option<Duration>,
}

/// Whose pages may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    Any,
    /// Those of these origins, as browsers write them.
    These(Vec<HeaderValue>),
}
