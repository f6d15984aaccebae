//! Layer 2: durable events. Queue, attempts and dead letters are one log; every method of [`EventStore`] is one
//! transaction, and what it reports as done is on disk. Time is always an argument. SQL lives in the engines below this
//! module and nowhere else.

mod bell;
pub mod postgres;
mod record;
pub mod sqlite;

#[cfg(test)]
mod conformance;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::names::{PluginName, ProductName, RouteName};
use crate::base::payload::Payload;

/// What a store method gives back.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A request as it was received: enough to verify it again and to deliver it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: String,
    /// `https` or `http`, as the client used it.
    pub scheme: String,
    /// The Host the client asked.
    pub authority: String,
    /// Path and query exactly as received.
    pub target: String,
    /// The path in normal form, as routes matched it.
    pub path: String,
    /// The fields in the order they came, names in lower case.
    pub headers: Vec<(String, Bytes)>,
    /// The client's address.
    pub client: String,
}

/// An event that was verified and wants to be accepted.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// The route that took it.
    pub route: RouteName,
    /// The plugin that verified it.
    pub verifier: PluginName,
    /// When its body was complete.
    pub received: Timestamp,
    /// The request that brought it.
    pub request_id: String,
    /// The W3C trace context of that request.
    pub traceparent: Option<String>,
    /// The request's head.
    pub head: Head,
    /// The body.
    pub body: Payload,
    /// The provider's id of it, for people to find it by.
    pub identity: Option<String>,
    /// The provider's event type.
    pub kind: Option<String>,
    /// Events with the same key are delivered in order.
    pub order_key: Option<String>,
    /// Known as a duplicate by this until then.
    pub duplicate: Option<(Digest, Timestamp)>,
    /// Where it goes: one delivery each. At least one.
    pub products: Vec<ProductName>,
    /// Names of fields that carry a live secret: never shown, never delivered.
    pub redacted: Vec<String>,
}

/// What became of a [`NewEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is on disk, to be delivered.
    New(EventId),
    /// The event with this id carried the same duplicate key.
    Duplicate(EventId),
}

/// An accepted event as the store gives it back.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// The route that took it.
    pub route: RouteName,
    /// The plugin that verified it.
    pub verifier: PluginName,
    /// When its body was complete.
    pub received: Timestamp,
    /// The request that brought it.
    pub request_id: String,
    /// The W3C trace context of that request.
    pub traceparent: Option<String>,
    /// The request's head.
    pub head: Head,
    /// The body's length.
    pub size: u64,
    /// The provider's id of it.
    pub identity: Option<String>,
    /// The provider's event type.
    pub kind: Option<String>,
    /// Events with the same key are delivered in order.
    pub order_key: Option<String>,
    /// Fields that are never shown and never delivered.
    pub redacted: Vec<String>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeliveryState {
    /// Waits for its time.
    Due,
    /// A worker has it.
    Leased,
    /// The product took it.
    Delivered,
    /// Given up on; a dead letter.
    Dead,
    /// Its route or product is gone.
    Parked,
    /// An operator let it go.
    Dropped,
}

impl DeliveryState {
    /// All of them, in the order of a delivery's life.
    pub const ALL: [Self; 6] = [Self::Due, Self::Leased, Self::Delivered, Self::Dead, Self::Parked, Self::Dropped];

    /// As the API and the metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Parked => "parked",
            Self::Dropped => "dropped",
        }
    }

    /// From the API's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A delivery that this worker, and until the lease ends only this worker, may attempt. Not `Clone`: one attempt, one
/// settlement.
#[derive(Debug)]
pub struct Lease {
    /// The event.
    pub event: Arc<Event>,
    /// Its body.
    pub body: Payload,
    /// Where it goes.
    pub product: ProductName,
    /// The attempt this lease is for, counted from 1 over the delivery's whole life.
    pub attempt: u32,
    /// The attempt counted from 1 since the schedule last started.
    pub scheduled_attempt: u32,
    /// How often it was replayed.
    pub replay: u32,
    /// Nobody else has it before then.
    pub until: Timestamp,
    /// The delivery's key in its store.
    pub(crate) delivery: i64,
    /// Fences a worker whose lease ran out.
    pub(crate) token: u64,
}

/// What one attempt came to, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The product's status, when it answered.
    pub status: Option<u16>,
    /// Why it failed, when it did.
    pub error: Option<String>,
    /// The first bytes of the answer's body.
    pub answer: Bytes,
}

/// The most of an answer's body that is kept with an attempt.
pub const ANSWER_MAX: usize = 1024;

/// What becomes of a leased delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The product took it.
    Delivered(Attempt),
    /// To be tried again at this time.
    Retry {
        /// What happened.
        attempt: Attempt,
        /// When it is due again.
        at: Timestamp,
    },
    /// Given up on.
    Dead {
        /// What happened.
        attempt: Attempt,
        /// Why there is no further attempt; a stable sentence.
        reason: String,
    },
    /// Given back unattempted (breaker, drain): due at this time, no attempt counted.
    Release {
        /// When it is due again.
        at: Timestamp,
    },
    /// Its route or product is gone.
    Park {
        /// Which is missing.
        reason: String,
    },
}

/// A delivery as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The event.
    pub event: EventId,
    /// The route that took it.
    pub route: RouteName,
    /// Where it goes.
    pub product: ProductName,
    /// The plugin that verified it.
    pub verifier: PluginName,
    /// The provider's event type.
    pub kind: Option<String>,
    /// The provider's id.
    pub identity: Option<String>,
    /// When it was received.
    pub received: Timestamp,
    /// The body's length.
    pub size: u64,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// Replays so far.
    pub replays: u32,
    /// When it is due, while due.
    pub due: Option<Timestamp>,
    /// Why the last attempt failed, or why it is dead or parked.
    pub reason: Option<String>,
    /// When its state last changed.
    pub changed: Timestamp,
}

/// One event's whole life.
#[derive(Clone, Debug)]
pub struct EventDetail {
    /// The event.
    pub event: Event,
    /// Each delivery with its attempts, oldest first.
    pub deliveries: Vec<(DeliveryRow, Vec<Attempt>)>,
}

/// Which deliveries; every field that is there must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One event.
    pub event: Option<EventId>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Taken by this route.
    pub route: Option<String>,
    /// Going to this product.
    pub product: Option<String>,
    /// Verified by this plugin.
    pub provider: Option<String>,
    /// Of this event type.
    pub kind: Option<String>,
    /// Received at or after.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
    /// The reason has this text in it.
    pub text: Option<String>,
}

/// A page of deliveries, newest event first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The deliveries. Fewer than asked for, even none, with a `next` when many had to be looked at: a page's cost is
    /// bounded, whatever the filter.
    pub rows: Vec<DeliveryRow>,
    /// Where the next page starts, when there is one. Opaque.
    pub next: Option<String>,
}

/// Counts for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Deliveries in each state, in the order of [`DeliveryState::ALL`].
    pub states: [u64; 6],
    /// When the longest-waiting due delivery was due.
    pub oldest_due: Option<Timestamp>,
}

/// How long finished deliveries are kept; `None` is forever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Delivered and dropped.
    pub delivered: Option<Duration>,
    /// Dead.
    pub dead: Option<Duration>,
}

/// What a sweep took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Events whose every delivery was past its retention.
    pub events: u64,
    /// Of those, events with a delivery that no product took.
    pub undelivered: u64,
    /// Duplicate keys past their window.
    pub duplicates: u64,
}

/// A delivery as it stands, on its way from one store to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where it goes.
    pub product: ProductName,
    /// Where it stands. A leased one becomes due.
    pub state: DeliveryState,
    /// When it is due, while due; at once when it does not say.
    pub due: Option<Timestamp>,
    /// Attempts so far.
    pub attempts: u32,
    /// Replays so far.
    pub replays: u32,
    /// Why the last attempt failed, or why it is dead or parked.
    pub reason: Option<String>,
    /// When its state last changed.
    pub changed: Timestamp,
    /// What is known of its attempts.
    pub history: Vec<Attempt>,
}

/// A duplicate key that counts for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub key: Digest,
    /// The event that carried it.
    pub event: EventId,
    /// It counts until then.
    pub until: Timestamp,
}

/// What became of the wish to hold a duplicate key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Held for the asker, who ends it with [`EventStore::conclude`].
    Held,
    /// Somebody else holds it, until this time at the latest.
    InProgress {
        /// When their hold runs out.
        until: Timestamp,
    },
    /// The event with this id carried it.
    Duplicate(EventId),
}

/// Why the store could not do it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The disk or the configured `max_bytes` is full.
    Full,
    /// More is waiting to be written than the queue holds.
    Busy,
    /// The engine failed.
    Failed(String),
    /// Another process has it open; who, when it said.
    Locked(String),
    /// Something kept does not read back.
    Corrupt(String),
    /// The cursor is not one that a page of this store ended with; the caller's mistake.
    Cursor,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the store is full"),
            Self::Busy => f.write_str("the store's queue is full"),
            Self::Failed(what) => write!(f, "the store failed: {what}"),
            Self::Locked(who) => write!(f, "the store is open elsewhere: {who}"),
            Self::Corrupt(what) => write!(f, "the store holds something unreadable: {what}"),
            Self::Cursor => f.write_str("expected the cursor of an earlier page"),
        }
    }
}

impl std::error::Error for StoreError {}

/// The durable event log.
pub trait EventStore: Send + Sync + fmt::Debug + 'static {
    /// Keeps the event with a delivery for each product, unless its duplicate key is known: both are decided in one
    /// commit, and the answer comes after that commit is on disk.
    fn accept(&self, now: Timestamp, event: NewEvent) -> Pending<'_, Accepted>;

    /// Keeps an event of another store with its deliveries as they stand (`event.products` is not asked; at least one),
    /// unless an event with its id is there: then it is `false` and nothing changed. Its duplicate key is remembered
    /// unless another event is known by it. The schedule of what is due starts again. Events restored one after the other
    /// are in line in that order.
    fn restore(&self, now: Timestamp, event: NewEvent, deliveries: Vec<Restored>) -> Pending<'_, bool>;

    /// Holds a duplicate key for the event `id` for `hold`, unless it is known or somebody else holds it. A hold that ran
    /// out counts for nothing, and one that is not concluded may be forgotten with its process; every gateway on the same
    /// store sees it while it lasts. [`accept`](Self::accept) does not ask holds: an event is rather taken twice than lost.
    fn reserve(&self, now: Timestamp, key: Digest, id: EventId, hold: Duration) -> Pending<'_, Reservation>;

    /// Ends the hold that `id` has on `key`: with a time, the key is known as that of `id` until then, on disk when this
    /// returns; without one it is free again. `false` when the hold had run out and the key is somebody else's, held or
    /// known: then nothing changed.
    fn conclude(&self, now: Timestamp, key: Digest, id: EventId, known: Option<Timestamp>) -> Pending<'_, bool>;

    /// Leases due deliveries, longest due first, at most as many per product as `room` says, for `hold`.
    /// A lease that ran out counts as due.
    fn claim<'a>(&'a self, now: Timestamp, room: &'a [(ProductName, u32)], hold: Duration) -> Pending<'a, Vec<Lease>>;

    /// Writes down what became of a leased delivery. `false` when the lease had run out and somebody else has it: then
    /// nothing changed.
    fn settle<'a>(&'a self, now: Timestamp, lease: &'a Lease, settlement: Settlement) -> Pending<'a, bool>;

    /// When the next delivery of one of these products is due, or a lease runs out.
    fn next_due<'a>(&'a self, products: &'a [ProductName]) -> Pending<'a, Option<Timestamp>>;

    /// Parks every due delivery whose (route, product) is not among `served`; makes parked ones due again that are.
    /// Returns how many were parked and unparked.
    fn adopt<'a>(&'a self, now: Timestamp, served: &'a [(RouteName, ProductName)]) -> Pending<'a, (u64, u64)>;

    /// Lists deliveries, newest event first, at most `limit` (≤ 500).
    fn list<'a>(&'a self, filter: &'a Filter, cursor: Option<&'a str>, limit: u32) -> Pending<'a, Page>;

    /// One event's life.
    fn show(&self, id: EventId) -> Pending<'_, Option<EventDetail>>;

    /// One event's body.
    fn body(&self, id: EventId) -> Pending<'_, Option<Payload>>;

    /// Makes finished (delivered, dead, parked, dropped) deliveries due at `now`, at most `limit` of them; attempts go
    /// on, the schedule restarts. Returns how many. Due and leased ones are left alone.
    fn replay<'a>(&'a self, now: Timestamp, filter: &'a Filter, limit: u32) -> Pending<'a, u64>;

    /// Lets unfinished and dead deliveries go (due, dead, parked → dropped), at most `limit`. Their duplicate keys
    /// stay. Returns how many.
    fn drop_deliveries<'a>(&'a self, now: Timestamp, filter: &'a Filter, limit: u32) -> Pending<'a, u64>;

    /// Events in the order they were accepted, at most `limit`, from behind the one that a walk last came to (0 begins), each
    /// with its place.
    fn walk(&self, after: i64, limit: u32) -> Pending<'_, Vec<(i64, EventId)>>;

    /// Known duplicate keys in their own order, at most `limit`, from behind `after`.
    fn known_keys(&self, after: Option<Digest>, limit: u32) -> Pending<'_, Vec<KnownKey>>;

    /// Counts for metrics.
    fn stats(&self) -> Pending<'_, Stats>;

    /// Takes away what is past its retention, in bounded steps.
    fn sweep<'a>(&'a self, now: Timestamp, retention: &'a Retention) -> Pending<'a, Swept>;

    /// A folder on the store's own disk for bodies too large for memory, so that keeping one is a rename.
    fn spill_directory(&self) -> &Path;

    /// Returns once a delivery may have become due sooner than [`next_due`](Self::next_due) last said.
    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Stops the writer after what is queued; later calls fail.
    fn close(&self) -> Pending<'_, ()>;
}
