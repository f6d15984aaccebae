//! The lines of an export. One begins it and one ends it; an event stands on one line, a body too large for that on lines
//! before it, a piece each. So neither side holds more than a piece.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::names::{PluginName, ProductName, RouteName};
use crate::base::payload::{MEMORY_MAX, Payload, SpillFile};
use crate::store::{Attempt, DeliveryRow, DeliveryState, EventDetail, Head, KnownKey, NewEvent, Restored};

/// The form of what is written here.
const VERSION: u32 = 1;

/// Bytes of a piece of a body.
const PIECE: usize = 512 << 10;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first.
    #[serde(rename = "tollgate_store_export")]
    Version(u32),
    /// A piece of the body of the event that follows.
    Piece(String),
    Event(Box<Whole>),
    Key {
        key: String,
        event: String,
        until: i64,
    },
    /// The last: how many there were.
    End {
        events: u64,
        keys: u64,
    },
}

/// An event with all that became of it. Times are milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Whole {
    id: String,
    route: String,
    verifier: String,
    received: i64,
    request_id: String,
    traceparent: Option<String>,
    method: String,
    scheme: String,
    authority: String,
    target: String,
    path: String,
    client: String,
    /// Values in base64.
    headers: Vec<(String, String)>,
    identity: Option<String>,
    kind: Option<String>,
    order_key: Option<String>,
    redacted: Vec<String>,
    size: u64,
    /// In base64; none when it stands in pieces before.
    body: Option<String>,
    deliveries: Vec<Standing>,
}

/// Where a delivery stands.
#[derive(Debug, Serialize, Deserialize)]
struct Standing {
    product: String,
    state: String,
    due: Option<i64>,
    attempts: u32,
    replays: u32,
    reason: Option<String>,
    changed: i64,
    history: Vec<Tried>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Tried {
    number: u32,
    at: i64,
    took_us: u64,
    status: Option<u16>,
    error: Option<String>,
    answer: String,
}

impl Record {
    /// The line that begins an export.
    pub(super) const BEGIN: Self = Self::Version(VERSION);

    pub(super) fn key(known: &KnownKey) -> Self {
        Self::Key { key: known.key.to_string(), event: known.event.to_string(), until: known.until.millis() }
    }

    pub(super) fn write(&self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }

    /// An event and its body, on as many lines as they need.
    pub(super) fn write_event(out: &mut (dyn Write + Send), detail: &EventDetail, body: &Payload) -> io::Result<()> {
        let whole = match body.length() {
            length if length <= MEMORY_MAX as u64 => Some(STANDARD.encode(body.read(0, MEMORY_MAX)?)),
            length => {
                let mut offset = 0;
                while offset < length {
                    let piece = body.read(offset, PIECE)?;
                    offset += piece.len() as u64;
                    Self::Piece(STANDARD.encode(piece)).write(out)?;
                }
                None
            }
        };
        Self::Event(Box::new(Whole::of(detail, whole))).write(out)
    }
}

impl Whole {
    fn of(detail: &EventDetail, body: Option<String>) -> Self {
        let (event, head) = (&detail.event, &detail.event.head);
        Self {
            id: event.id.to_string(),
            route: event.route.to_string(),
            verifier: event.verifier.to_string(),
            received: event.received.millis(),
            request_id: event.request_id.clone(),
            traceparent: event.traceparent.clone(),
            method: head.method.clone(),
            scheme: head.scheme.clone(),
            authority: head.authority.clone(),
            target: head.target.clone(),
            path: head.path.clone(),
            client: head.client.clone(),
            headers: head.headers.iter().map(|(name, value)| (name.clone(), STANDARD.encode(value))).collect(),
            identity: event.identity.clone(),
            kind: event.kind.clone(),
            order_key: event.order_key.clone(),
            redacted: event.redacted.clone(),
            size: event.size,
            body,
            deliveries: detail.deliveries.iter().map(|(row, history)| Standing::of(row, history)).collect(),
        }
    }

    /// The event, with the body that stood before it or stands in it.
    fn read(self, pieces: Option<Payload>) -> Result<Event, String> {
        let body = match (self.body, pieces) {
            (Some(body), None) => Payload::Memory(base64(&body)?.into()),
            (None, Some(pieces)) => pieces,
            (Some(_), Some(_)) => return Err("pieces of a body stand before an event that has one".into()),
            (None, None) => return Err("the pieces of its body are missing".into()),
        };
        if body.length() != self.size {
            return Err(format!("its body has {} bytes and should have {}", body.length(), self.size));
        }
        let headers = self.headers.into_iter().map(|(name, value)| Ok((name, base64(&value)?.into())));
        let event = NewEvent {
            id: event_id(&self.id)?,
            route: RouteName::new(&self.route).ok_or("route: expected a name")?,
            verifier: PluginName::new(&self.verifier).ok_or("verifier: expected a name")?,
            received: Timestamp::from_millis(self.received),
            request_id: self.request_id,
            traceparent: self.traceparent,
            head: Head {
                method: self.method,
                scheme: self.scheme,
                authority: self.authority,
                target: self.target,
                path: self.path,
                headers: headers.collect::<Result<_, String>>()?,
                client: self.client,
            },
            body,
            identity: self.identity,
            kind: self.kind,
            order_key: self.order_key,
            // Keys have lines of their own.
            duplicate: None,
            products: Vec::new(),
            redacted: self.redacted,
        };
        if self.deliveries.is_empty() {
            return Err("deliveries: expected at least one".into());
        }
        Ok((event, self.deliveries.into_iter().map(Standing::read).collect::<Result<_, _>>()?))
    }
}

impl Standing {
    fn of(row: &DeliveryRow, history: &[Attempt]) -> Self {
        Self {
            product: row.product.to_string(),
            state: row.state.as_str().to_owned(),
            due: row.due.map(Timestamp::millis),
            attempts: row.attempts,
            replays: row.replays,
            reason: row.reason.clone(),
            changed: row.changed.millis(),
            history: history.iter().map(Tried::of).collect(),
        }
    }

    fn read(self) -> Result<Restored, String> {
        Ok(Restored {
            product: ProductName::new(&self.product).ok_or("product: expected a name")?,
            state: DeliveryState::parse(&self.state).ok_or("state: expected one of a delivery's states")?,
            due: self.due.map(Timestamp::from_millis),
            attempts: self.attempts,
            replays: self.replays,
            reason: self.reason,
            changed: Timestamp::from_millis(self.changed),
            history: self.history.into_iter().map(Tried::read).collect::<Result<_, _>>()?,
        })
    }
}

impl Tried {
    fn of(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            at: attempt.at.millis(),
            took_us: u64::try_from(attempt.took.as_micros()).unwrap_or(u64::MAX),
            status: attempt.status,
            error: attempt.error.clone(),
            answer: STANDARD.encode(&attempt.answer),
        }
    }

    fn read(self) -> Result<Attempt, String> {
        Ok(Attempt {
            number: self.number,
            at: Timestamp::from_millis(self.at),
            took: Duration::from_micros(self.took_us),
            status: self.status,
            error: self.error,
            answer: base64(&self.answer)?.into(),
        })
    }
}

/// An event ready to be restored.
pub(super) type Event = (NewEvent, Vec<Restored>);

/// What a line comes to.
pub(super) enum Read {
    Nothing,
    Event(Box<Event>),
    Key(KnownKey),
    End,
}

/// The reader of an export.
pub(super) struct Importing {
    spill: PathBuf,
    begun: bool,
    /// The body that is being put together.
    body: Option<tempfile::NamedTempFile>,
    events: u64,
    keys: u64,
}

impl Importing {
    /// Large bodies go into files in `spill`.
    pub(super) fn into(spill: &Path) -> Self {
        Self { spill: spill.to_owned(), begun: false, body: None, events: 0, keys: 0 }
    }

    pub(super) fn read(&mut self, line: &[u8]) -> Result<Read, String> {
        let record: Record =
            serde_json::from_slice(line).map_err(|error| format!("expected a line of an export: {error}"))?;
        if !self.begun && !matches!(record, Record::Version(_)) {
            return Err("expected the line that begins an export".into());
        }
        match record {
            Record::Version(VERSION) => self.begun = true,
            Record::Version(other) => return Err(format!("expected an export of version {VERSION}, not {other}")),
            Record::Piece(piece) => self.piece(&base64(&piece)?).map_err(|error| format!("its body: {error}"))?,
            Record::Event(whole) => {
                self.events += 1;
                let pieces = self.pieces().map_err(|error| format!("its body: {error}"))?;
                return Ok(Read::Event(Box::new(whole.read(pieces)?)));
            }
            Record::Key { key, event, until } => {
                self.keys += 1;
                let key = Digest::parse(&key).ok_or("key: expected 64 hex digits")?;
                return Ok(Read::Key(KnownKey { key, event: event_id(&event)?, until: Timestamp::from_millis(until) }));
            }
            Record::End { events, keys } if (events, keys) == (self.events, self.keys) => return Ok(Read::End),
            Record::End { events, keys } => {
                let (came, went) = ((self.events, self.keys), (events, keys));
                return Err(format!("it had {went:?} events and keys, and {came:?} came"));
            }
        }
        Ok(Read::Nothing)
    }

    fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let body = match &mut self.body {
            Some(body) => body,
            none => none.insert(tempfile::NamedTempFile::new_in(&self.spill)?),
        };
        body.write_all(piece)
    }

    fn pieces(&mut self) -> io::Result<Option<Payload>> {
        let Some(body) = self.body.take() else { return Ok(None) };
        let length = body.as_file().metadata()?.len();
        let (file, path) = body.keep().map_err(|kept| kept.error)?;
        Ok(Some(Payload::File(Arc::new(SpillFile::temporary(file, path, length)))))
    }
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| "expected base64".to_owned())
}

fn event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text).ok_or_else(|| "expected evt_ and 32 hex digits".to_owned())
}
