//! Ids that the gateway makes.

use std::fmt;

use uuid::Uuid;

use super::clock::Timestamp;

/// An accepted event's id: UUIDv7, shown as `evt_` and 32 hex digits. Sorts by the time it was received.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id for an event received at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(uuid_at(now))
    }

    /// The 16 bytes a store keeps.
    pub fn bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the bytes a store kept.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Parses `evt_` and 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("evt_").filter(|hex| hex.len() == 32)?;
        Uuid::try_parse(hex).ok().map(Self)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{}", self.0.simple())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A new request id: a UUIDv7 in its usual form.
pub fn request_id(now: Timestamp) -> String {
    uuid_at(now).hyphenated().to_string()
}

fn uuid_at(now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix_time(
        millis / 1000,
        u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000,
        0,
        0,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_read_back_and_sort_by_time() {
        let early = EventId::new(Timestamp::from_millis(1_000_000));
        let late = EventId::new(Timestamp::from_millis(2_000_000));
        assert!(early < late);
        assert_eq!(EventId::parse(&early.to_string()), Some(early));
        assert_eq!(early.to_string().len(), 36);
        assert_eq!(EventId::parse("evt_12"), None);
    }
}
