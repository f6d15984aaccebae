//! The closed sets of label values.

macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[doc = $what:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $what])* $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// As it is written on metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Every value as it is written, and what it means; for the reference of metrics.
            pub const MEANINGS: &'static [(&'static str, &'static str)] = &[$(($text, concat!($($what),*))),*];

            /// Its place in [`ALL`](Self::ALL), for tables of resolved metrics.
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

labels!(
    /// What an exchange spoke.
    Protocol {
        /// Plain requests.
        Http = "http",
        /// gRPC over HTTP/2.
        Grpc = "grpc",
        /// gRPC-Web.
        GrpcWeb = "grpc_web",
        /// WebSocket.
        Websocket = "websocket",
        /// A `text/event-stream` response.
        Sse = "sse",
        /// A GraphQL response.
        Graphql = "graphql",
        /// A webhook route.
        Webhook = "webhook",
    }
);

labels!(
    /// How an exchange ended.
    Outcome {
        /// Status below 400, grpc-status 0, an opened WebSocket.
        Success = "success",
        /// The product's 4xx.
        ClientError = "client_error",
        /// Our 4xx.
        Rejected = "rejected",
        /// The product's 5xx, or it could not be reached, or it broke off.
        UpstreamError = "upstream_error",
        /// A deadline passed.
        Timeout = "timeout",
        /// The client left first.
        Cancelled = "cancelled",
        /// A plugin, the store, ourselves.
        GatewayError = "gateway_error",
    }
);

labels!(
    /// Which way bytes of a WebSocket go.
    Direction {
        /// From the client to the product.
        In = "in",
        /// From the product to the client.
        Out = "out",
    }
);

labels!(
    /// Why the gateway itself answered with an error; the `code` of the answer and the `reason` of the metric.
    Reason {
        /// The request breaks HTTP's rules.
        BadRequest = "bad_request",
        /// The path has no normal form.
        BadPath = "bad_path",
        /// The Host is missing, doubled, malformed or contradicted.
        BadHost = "bad_host",
        /// The head is larger than the limits.
        HeadTooLarge = "head_too_large",
        /// No route serves it.
        NoRoute = "no_route",
        /// A route serves the path, not the method.
        Method = "method",
        /// Something HTTP allows and the gateway does not do.
        Unsupported = "unsupported",
        /// An expectation other than 100-continue.
        Expectation = "expectation",
        /// The head came too slowly.
        HeadTimeout = "head_timeout",
        /// The body is larger than the limit.
        TooLarge = "too_large",
        /// The body was cut short.
        Incomplete = "incomplete",
        /// The body came too slowly.
        BodyTimeout = "body_timeout",
        /// Too many requests.
        RateLimited = "rate_limited",
        /// As many WebSockets are open as may be.
        WebsocketsFull = "websockets_full",
        /// A WebSocket's message is larger than the limit.
        MessageTooLarge = "message_too_large",
        /// A webhook's signature is missing or wrong.
        Signature = "signature",
        /// A webhook's timestamp is outside the tolerance.
        Stale = "stale",
        /// A copy of it is being forwarded.
        InProgress = "in_progress",
        /// A plugin refused it.
        Refused = "refused",
        /// A plugin failed or is missing.
        PluginFault = "plugin_fault",
        /// The store is full or failing, or too much is coming in.
        Store = "store",
        /// The upstream's name does not resolve.
        UpstreamName = "upstream_name",
        /// The upstream's name resolves to an address that is not allowed.
        UpstreamAddress = "upstream_address",
        /// The upstream does not take connections.
        UpstreamConnect = "upstream_connect",
        /// TLS with the upstream was not agreed on.
        UpstreamTls = "upstream_tls",
        /// The breaker is open: the product failed too often in a row.
        UpstreamPaused = "upstream_paused",
        /// Every connection the product may have is busy.
        UpstreamBusy = "upstream_busy",
        /// The upstream closed the connection without a response.
        UpstreamReset = "upstream_reset",
        /// The upstream answered something that is not HTTP.
        UpstreamProtocol = "upstream_protocol",
        /// The upstream did not answer in time.
        UpstreamTimeout = "upstream_timeout",
        /// The exchange took longer than it may.
        Deadline = "deadline",
        /// A stream was silent for too long.
        IdleTimeout = "idle_timeout",
        /// The gateway's own fault.
        Internal = "internal",
    }
);

labels!(
    /// Why a connection was closed before or between requests.
    Closed {
        /// A listed proxy sent no PROXY protocol header, a malformed one, or only a part of it in time.
        ProxyProtocol = "proxy_protocol",
        /// The TLS handshake failed.
        Handshake = "handshake",
        /// The TLS handshake took too long.
        HandshakeTimeout = "handshake_timeout",
        /// A request's head, or the first byte of the first one, came too late.
        HeadTimeout = "head_timeout",
        /// The client did not take what was sent to it.
        Stalled = "stalled",
    }
);

labels!(
    /// Why a request was sent to an upstream once more.
    Retry {
        /// An upstream took no connection; another was tried.
        Connect = "connect",
        /// A connection that had waited was no good any more.
        Stale = "stale",
        /// The upstream said that it had not looked at the request.
        Refused = "refused",
        /// The connection broke before a response, and the request may be sent twice.
        Reset = "reset",
    }
);

labels!(
    /// What became of a request on a webhook route.
    WebhookOutcome {
        /// Kept, or forwarded.
        Accepted = "accepted",
        /// Seen before.
        Duplicate = "duplicate",
        /// A copy of it is being forwarded.
        InProgress = "in_progress",
        /// The signature is missing or wrong.
        Signature = "signature",
        /// The timestamp is outside the tolerance.
        Stale = "stale",
        /// The plugin answered it.
        Handshake = "handshake",
        /// The body is larger than the limit.
        TooLarge = "too_large",
        /// The body was cut short or came too slowly.
        Incomplete = "incomplete",
        /// A method the route does not take.
        Method = "method",
        /// Too many.
        RateLimited = "rate_limited",
        /// The plugin failed or is missing.
        PluginFault = "plugin_fault",
        /// The store is full or failing, or too much is coming in.
        Store = "store",
        /// Verified and forwarded, and the product did not answer (`mode = "sync"`).
        Upstream = "upstream",
    }
);

labels!(
    /// What an attempt to deliver came to.
    DeliveryOutcome {
        /// The product took it.
        Delivered = "delivered",
        /// It is tried again later.
        Retry = "retry",
        /// It was given up.
        Dead = "dead",
        /// Its lease had run out; somebody else has it.
        Lost = "lost",
    }
);

labels!(
    /// Which of a plugin's functions was called.
    Hook {
        /// `configure`
        Configure = "configure",
        /// `verify`
        Verify = "verify",
        /// `on-request`
        OnRequest = "on_request",
        /// `on-response`
        OnResponse = "on_response",
        /// `choose`
        Choose = "choose",
    }
);

labels!(
    /// What a call of a plugin came to.
    CallOutcome {
        /// It let the request pass.
        Allow = "allow",
        /// It said no.
        Refuse = "refuse",
        /// It answered.
        Reply = "reply",
        /// It failed.
        Fault = "fault",
    }
);

labels!(
    /// How a plugin failed.
    FaultReason {
        /// It trapped.
        Trap = "trap",
        /// It took longer than its deadline.
        Deadline = "deadline",
        /// It wanted more memory than it may have.
        Memory = "memory",
        /// It used up its budget of host calls or hashing.
        Budget = "budget",
        /// What it returned is not allowed.
        Lie = "lie",
        /// It is not there, or did not load.
        Missing = "missing",
        /// Every instance the gateway may hold is busy.
        Busy = "busy",
        /// It refused options that it had accepted when it went live.
        Configure = "configure",
    }
);

labels!(
    /// What became of a changed plugin file.
    PluginReload {
        /// It is live.
        Live = "live",
        /// It is not; what was live before still is.
        Refused = "refused",
        /// The file is gone and so is the plugin.
        Removed = "removed",
    }
);

labels!(
    /// What a reload came to.
    ReloadOutcome {
        /// The new one serves.
        Success = "success",
        /// The old one serves on.
        Failure = "failure",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_the_place_in_the_list() {
        assert!(Reason::ALL.iter().enumerate().all(|(at, reason)| reason.index() == at));
        assert_eq!(Protocol::COUNT, 7);
        assert_eq!(Outcome::UpstreamError.to_string(), "upstream_error");
    }

    #[test]
    fn no_two_values_are_written_the_same() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert!(Reason::ALL[..at].iter().all(|other| other.as_str() != reason.as_str()), "{reason}");
        }
    }
}
