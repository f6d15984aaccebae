//! Filters, as a query string and as JSON.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::refused::Refused;
use crate::base::clock::Timestamp;
use crate::base::ids::EventId;
use crate::store::{DeliveryState, Filter};

/// Deliveries on a page unless said otherwise, and at most.
const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 500;

/// `GET /api/events?…`
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) filter: Filter,
    pub(super) limit: u32,
    pub(super) cursor: Option<String>,
}

/// The filter of a bulk change; at least one key must be there.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    state: Option<String>,
    route: Option<String>,
    product: Option<String>,
    provider: Option<String>,
    kind: Option<String>,
    since: Option<String>,
    until: Option<String>,
    text: Option<String>,
}

/// `POST /api/events/replay|drop`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bulk {
    pub(super) filter: Wanted,
    /// Deliveries a second; as fast as the store can when not given.
    #[serde(default)]
    pub(super) pace: Option<NonZeroU32>,
    /// Replay only what today's verifier accepts.
    #[serde(default)]
    pub(super) verify: bool,
}

/// `POST /api/events/{id}/replay`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Again {
    /// Only when today's verifier accepts it.
    pub(super) verify: bool,
}

/// Whether `GET /api/events/{id}?body=true` asks for the body too.
pub(super) fn with_body(query: Option<&str>) -> Result<bool, Refused> {
    match pairs(query.unwrap_or_default())?.as_slice() {
        [] => Ok(false),
        [(name, value)] if name == "body" && value == "true" => Ok(true),
        _ => Err(Refused::parameter("expected no parameters but body=true")),
    }
}

/// Reads a query string. Unknown or malformed parameters are refused by name.
pub(super) fn listing(query: Option<&str>) -> Result<Listing, Refused> {
    let mut wanted = Wanted::default();
    let mut listing = Listing { limit: LIMIT, ..Listing::default() };
    let mut limit = None;
    for (name, value) in pairs(query.unwrap_or_default())? {
        let field = match name.as_str() {
            "state" => &mut wanted.state,
            "route" => &mut wanted.route,
            "product" => &mut wanted.product,
            "provider" => &mut wanted.provider,
            "kind" => &mut wanted.kind,
            "since" => &mut wanted.since,
            "until" => &mut wanted.until,
            "text" => &mut wanted.text,
            "cursor" => &mut listing.cursor,
            "limit" => &mut limit,
            other => return Err(Refused::parameter(format!("unknown parameter `{}`", other.escape_debug()))),
        };
        if field.replace(value).is_some() {
            return Err(Refused::parameter(format!("{name}: expected once")));
        }
    }
    if let Some(limit) = limit {
        let limit = limit.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        listing.limit = limit.ok_or_else(|| Refused::parameter(format!("limit: expected 1 to {LIMIT_MAX}")))?;
    }
    listing.filter = wanted.filter()?;
    Ok(listing)
}

impl Wanted {
    /// As the store takes it.
    pub(super) fn filter(self) -> Result<Filter, Refused> {
        let state = self.state.map(|state| {
            let states = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
            DeliveryState::parse(&state).ok_or_else(|| Refused::parameter(format!("state: expected one of {states}")))
        });
        let time = |name: &str, text: Option<String>| {
            let read = |text: String| {
                Timestamp::parse(&text)
                    .ok_or_else(|| Refused::parameter(format!("{name}: expected RFC 3339, like 2026-01-31T12:00:00Z")))
            };
            text.map(read).transpose()
        };
        Ok(Filter {
            event: None,
            state: state.transpose()?,
            route: self.route,
            product: self.product,
            provider: self.provider,
            kind: self.kind,
            since: time("since", self.since)?,
            until: time("until", self.until)?,
            text: self.text,
        })
    }
}

/// An event's id out of a path.
pub(super) fn event(text: &str) -> Result<EventId, Refused> {
    EventId::parse(text).ok_or_else(|| Refused::parameter("expected an event id: evt_ and 32 hex digits"))
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Refused> {
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| decoded(text).ok_or_else(|| Refused::parameter("the query is not well-formed"));
        Ok((decoded(name)?, decoded(value)?))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(read).collect()
}

/// As forms are encoded: `+` is a space, `%XX` a byte.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(bytes.next())? << 4 | digit(bytes.next())?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_a_filter() {
        let read = listing(Some("state=dead&route=stripe&since=2026-01-31T12%3A00%3A00Z&text=a+b&limit=10&cursor=x"));
        let read = read.expect("reads");
        assert_eq!(read.filter.state, Some(DeliveryState::Dead));
        assert_eq!(read.filter.route.as_deref(), Some("stripe"));
        assert_eq!(read.filter.since, Timestamp::parse("2026-01-31T12:00:00Z"));
        assert_eq!(read.filter.text.as_deref(), Some("a b"));
        assert_eq!((read.limit, read.cursor.as_deref()), (10, Some("x")));
        assert_eq!(listing(None).expect("reads").limit, LIMIT);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (query, said) in [
            ("colour=red", "colour"),
            ("state=lost", "state"),
            ("since=yesterday", "since"),
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("text=%zz", "well-formed"),
            ("text=%f", "well-formed"),
            ("state=dead&state=due", "state"),
        ] {
            let refused = listing(Some(query)).expect_err(query);
            assert!(refused.message.contains(said), "{}", refused.message);
        }
    }
}
