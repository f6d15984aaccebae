//! What a plugin answers: an event that was proven, a reply, a refusal, edits. The gateway checks and applies all of it
//! or nothing.

/// What a verifier says of a request it does not refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request is the provider's: take it in.
    Accept(Event),
    /// A handshake: answer it here, take nothing in.
    Respond(Reply),
}

impl From<Event> for Verdict {
    fn from(event: Event) -> Self {
        Self::Accept(event)
    }
}

impl From<Reply> for Verdict {
    fn from(reply: Reply) -> Self {
        Self::Respond(reply)
    }
}

/// What makes two deliveries the same event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The value was under the signature.
    Signed(String),
    /// The value was only beside it, so a replay could change it.
    Unsigned(String),
}

/// What was proven about an accepted request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// What makes two deliveries the same.
    pub identity: Option<Identity>,
    /// The event's type, in the provider's words.
    pub kind: Option<String>,
    /// Unix seconds, only if they were under the signature.
    pub timestamp: Option<u64>,
    /// Events with the same key are delivered in order, where the route says `order_by = "plugin"`.
    pub order_key: Option<String>,
    /// Replaces the gateway's own 2xx.
    pub acknowledge: Option<Reply>,
}

impl Event {
    /// An event of which only its origin is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an id that was under the signature, if there is one.
    pub fn signed_id(self, id: impl Into<Option<String>>) -> Self {
        Self { identity: id.into().map(Identity::Signed), ..self }
    }

    /// With an id that was not under the signature, if there is one.
    pub fn unsigned_id(self, id: impl Into<Option<String>>) -> Self {
        Self { identity: id.into().map(Identity::Unsigned), ..self }
    }

    /// With the event's type, if there is one.
    pub fn kind(self, kind: impl Into<Option<String>>) -> Self {
        Self { kind: kind.into(), ..self }
    }

    /// With the time it was signed, in Unix seconds. Only if it was under the signature: the gateway holds it against
    /// the route's tolerance.
    pub fn timestamp(self, seconds: u64) -> Self {
        Self { timestamp: Some(seconds), ..self }
    }

    /// With the key that keeps events in line, if there is one.
    pub fn order_key(self, key: impl Into<Option<String>>) -> Self {
        Self { order_key: key.into(), ..self }
    }

    /// With the answer the provider expects in place of the gateway's own. Its status must be 2xx.
    pub fn acknowledge(self, reply: Reply) -> Self {
        Self { acknowledge: Some(reply), ..self }
    }
}

/// An answer that ends the exchange: 200 to 299 or 400 to 499, at most 64 KiB and 16 headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without headers or body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// 200 with plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "text/plain; charset=utf-8").body(body.into())
    }

    /// 200 with JSON.
    pub fn json(body: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "application/json").body(body.into())
    }

    /// With one header more.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// With this body.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }
}

/// "No", said to the sender. `code` and `detail` are for the log only: the answer must not help a forger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400 to 499. A webhook route answers 401 unless it says otherwise.
    pub status: u16,
    /// A stable word of `a-z`, `0-9` and `_`.
    pub code: &'static str,
    /// More, for the one who reads the log. No secrets, no bodies.
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal of one's own.
    pub fn new(status: u16, code: &'static str) -> Self {
        Self { status, code, detail: None }
    }

    /// Something the scheme needs is not there.
    pub fn missing(what: &str) -> Self {
        Self::new(401, "missing").detail(what)
    }

    /// Something is there, but not as the provider writes it.
    pub fn malformed(what: &str) -> Self {
        Self::new(401, "malformed").detail(what)
    }

    /// The signature is not by any live secret.
    pub fn mismatch() -> Self {
        Self::new(401, "mismatch")
    }

    /// With more for the log.
    pub fn detail(self, detail: &str) -> Self {
        Self { detail: Some(detail.to_owned()), ..self }
    }
}

/// One change of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Replaces every value of the field.
    Set(String, Vec<u8>),
    /// Adds a value.
    Append(String, Vec<u8>),
    /// Takes every value away.
    Remove(String),
}

impl Edit {
    /// Replaces every value of the field `name`.
    pub fn set(name: &str, value: impl Into<Vec<u8>>) -> Self {
        Self::Set(name.to_owned(), value.into())
    }

    /// Adds a value to the field `name`.
    pub fn append(name: &str, value: impl Into<Vec<u8>>) -> Self {
        Self::Append(name.to_owned(), value.into())
    }

    /// Takes every value of the field `name` away.
    pub fn remove(name: &str) -> Self {
        Self::Remove(name.to_owned())
    }
}
