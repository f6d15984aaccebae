//! What a webhook route refused lately, for whoever sets up a provider: in memory, few, short-lived, and only where
//! `reject_log` asks for it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock::Timestamp;
use crate::telemetry::labels::WebhookOutcome;

/// Requests that are kept.
pub const KEPT_MAX: usize = 50;
/// The most of a body that is kept.
pub const BODY_MAX: usize = 4 * 1024;
/// Fields that are kept, and the most of each value.
pub const FIELDS_MAX: usize = 64;
/// The most of a field's value, or of the target, that is kept, in bytes.
pub const VALUE_MAX: usize = 1024;

/// A request that was refused. Nothing in it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// When.
    pub at: Timestamp,
    /// Its id.
    pub request_id: String,
    /// How it counts.
    pub outcome: WebhookOutcome,
    /// The verifier's word for why.
    pub code: String,
    /// More, when it said more.
    pub detail: Option<String>,
    /// The client's address.
    pub client: String,
    /// Its method.
    pub method: String,
    /// Its path and query, without what is redacted.
    pub target: String,
    /// Its fields, without the values that are redacted.
    pub headers: Vec<(String, Option<String>)>,
    /// Its body's length.
    pub size: u64,
    /// The beginning of its body.
    pub body: Bytes,
}

/// The last few requests that a route refused.
#[derive(Debug)]
pub struct Rejects {
    keep: Duration,
    list: Mutex<VecDeque<Rejected>>,
}

impl Rejects {
    /// Keeps each for so long.
    pub fn new(keep: Duration) -> Self {
        Self { keep, list: Mutex::default() }
    }

    /// For how long each is kept.
    pub fn keep(&self) -> Duration {
        self.keep
    }

    /// Keeps one more; the oldest makes room.
    pub fn add(&self, rejected: Rejected) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut list, rejected.at, self.keep);
        if list.len() >= KEPT_MAX {
            list.pop_front();
        }
        list.push_back(rejected);
    }

    /// Those of the time before `now`, newest first.
    pub fn list(&self, now: Timestamp) -> Vec<Rejected> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut list, now, self.keep);
        list.iter().rev().cloned().collect()
    }
}

fn forget(list: &mut VecDeque<Rejected>, now: Timestamp, keep: Duration) {
    list.retain(|rejected| now.since(rejected.at) < keep);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(second: i64) -> Rejected {
        Rejected {
            at: Timestamp::from_seconds(second),
            request_id: second.to_string(),
            outcome: WebhookOutcome::Signature,
            code: "mismatch".into(),
            detail: None,
            client: "192.0.2.1".into(),
            method: "POST".into(),
            target: "/".into(),
            headers: Vec::new(),
            size: 0,
            body: Bytes::new(),
        }
    }

    #[test]
    fn the_last_few_are_kept_for_a_while() {
        let rejects = Rejects::new(Duration::from_secs(100));
        (0..120).for_each(|second| rejects.add(rejected(second)));
        let seconds =
            |now| rejects.list(Timestamp::from_seconds(now)).iter().map(|it| it.at.seconds()).collect::<Vec<_>>();
        assert_eq!(seconds(119), (70..120).rev().collect::<Vec<_>>());
        assert_eq!(seconds(217), [119, 118]);
        assert_eq!(seconds(219), [0; 0]);
    }
}
