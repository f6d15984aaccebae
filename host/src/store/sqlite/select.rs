//! Finding deliveries by filter, in pages of bounded cost.
//!
//! Each state is one run of the index `(state, received)`, read in order from where the last page ended; several states
//! are merged. Dead letters, which an outage makes by the million, have an index for each thing people filter them by.
//! Whatever no index covers is checked row by row, and a page ends after so many rows looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, Rows, params_from_iter};

use super::super::{DeliveryRow, DeliveryState, Filter, StoreError};
use super::failure;
use super::ledger::{code, state};
use super::schema::DELIVERIES_MAX;
use crate::base::clock::Timestamp;
use crate::base::ids::EventId;
use crate::base::names::{PluginName, ProductName, RouteName};

/// Rows one page looks at, at most: what no index finds takes about a microsecond each.
pub(super) const LOOK_MAX: usize = 5_000;

const COLUMNS: &str = "id, received, state, attempts, replays, due, changed, product, route, verifier, kind, reason";

/// Where in the order of lists a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) received: i64,
    pub(super) id: i64,
}

impl Position {
    /// As the cursor of a page.
    pub(super) fn cursor(self) -> String {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.received.to_be_bytes());
        bytes[8..].copy_from_slice(&self.id.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// From a cursor.
    pub(super) fn parse(cursor: &str) -> Result<Self, StoreError> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| StoreError::Cursor)?;
        let (received, id) = bytes.split_first_chunk::<8>().ok_or(StoreError::Cursor)?;
        let id = <[u8; 8]>::try_from(id).map_err(|_| StoreError::Cursor)?;
        Ok(Self { received: i64::from_be_bytes(*received), id: i64::from_be_bytes(id) })
    }
}

/// A row of `delivery`.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) id: i64,
    pub(super) product: ProductName,
    pub(super) route: RouteName,
    pub(super) verifier: PluginName,
    pub(super) kind: Option<String>,
    pub(super) received: Timestamp,
    pub(super) state: DeliveryState,
    pub(super) attempts: u32,
    pub(super) replays: u32,
    pub(super) due: Option<Timestamp>,
    pub(super) reason: Option<String>,
    pub(super) changed: Timestamp,
}

impl Delivery {
    /// The key of its event.
    pub(super) fn event(&self) -> i64 {
        self.id / DELIVERIES_MAX
    }

    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let id = row.get(0).map_err(failure)?;
        let read = || -> rusqlite::Result<Option<Self>> {
            let name = |column: usize| -> rusqlite::Result<String> { row.get(column) };
            let (Some(state), Some(product), Some(route), Some(verifier)) = (
                state(row.get(2)?),
                ProductName::new(&name(7)?),
                RouteName::new(&name(8)?),
                PluginName::new(&name(9)?),
            ) else {
                return Ok(None);
            };
            let due = row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis);
            Ok(Some(Self {
                id,
                product,
                route,
                verifier,
                kind: row.get(10)?,
                received: Timestamp::from_millis(row.get(1)?),
                state,
                attempts: row.get(3)?,
                replays: row.get(4)?,
                due: due.filter(|_| state == DeliveryState::Due),
                reason: row.get(11)?,
                changed: Timestamp::from_millis(row.get(6)?),
            }))
        };
        read().map_err(failure)?.ok_or_else(|| StoreError::Corrupt(format!("delivery {id}")))
    }

    /// With what its event adds.
    pub(super) fn row(self, event: EventId, identity: Option<String>, size: u64) -> DeliveryRow {
        let Self { id: _, product, route, verifier, kind, received, state, attempts, replays, due, reason, changed } =
            self;
        DeliveryRow {
            event,
            route,
            product,
            verifier,
            kind,
            identity,
            received,
            size,
            state,
            attempts,
            replays,
            due,
            reason,
            changed,
        }
    }
}

/// From which end of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Newest,
    Oldest,
}

/// What to look for.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) filter: &'a Filter,
    /// Only these, and of these the filter's.
    pub(super) states: &'a [DeliveryState],
    pub(super) order: Order,
    pub(super) after: Option<Position>,
    /// How many to find.
    pub(super) most: usize,
    /// How many to look at.
    pub(super) look: usize,
}

/// What was found, and from where to go on when there may be more.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) next: Option<Position>,
}

impl Search<'_> {
    /// Looks; `also` must hold as well.
    pub(super) fn run(&self, connection: &Connection, also: impl Fn(&Delivery) -> bool) -> Result<Found, StoreError> {
        let mut found = Found { deliveries: Vec::new(), next: None };
        let mut statements = self.statements(connection)?;
        let mut runs = Vec::with_capacity(statements.len());
        for Prepared { statement, values } in &mut statements {
            let rows = statement.query(params_from_iter(values.iter())).map_err(failure)?;
            runs.extend(Run::start(rows, self.filter)?);
        }
        let mut last = None;
        let mut looked = 0;
        while let Some(index) = self.foremost(&runs) {
            if looked == self.look {
                found.next = last;
                break;
            }
            looked += 1;
            let run = &mut runs[index];
            if let Some(delivery) = run.delivery.take().filter(&also) {
                if found.deliveries.len() == self.most {
                    // There is one more: the next page starts with it.
                    found.next = found.deliveries.last().map(position).or(self.after);
                    break;
                }
                found.deliveries.push(delivery);
            }
            last = Some(run.position);
            if !run.advance(self.filter)? {
                runs.swap_remove(index);
            }
        }
        Ok(found)
    }

    fn foremost(&self, runs: &[Run<'_>]) -> Option<usize> {
        let places = runs.iter().enumerate().map(|(index, run)| (run.position, index));
        let foremost = match self.order {
            Order::Newest => places.max(),
            Order::Oldest => places.min(),
        };
        foremost.map(|(_, index)| index)
    }

    /// A statement for each state (or one for one event), with what to bind.
    fn statements<'c>(&self, connection: &'c Connection) -> Result<Vec<Prepared<'c>>, StoreError> {
        let prepare = |index: &str, within: &str, more: Vec<Value>| {
            let (from, to, id) = self.bounds();
            let mut values = vec![Value::Integer(from), Value::Integer(to), Value::Integer(id)];
            values.extend(more);
            let statement = connection.prepare_cached(&self.sql(index, within)).map_err(failure)?;
            Ok(Prepared { statement, values })
        };
        if let Some(event) = self.filter.event {
            let Some(key) = event_key(connection, event)? else { return Ok(Vec::new()) };
            let states: Vec<_> = self.wanted().map(|state| code(state).to_string()).collect();
            let within = format!("id >= ?4 AND id < ?5 AND state IN ({})", states.join(","));
            let range = [key * DELIVERIES_MAX, (key + 1) * DELIVERIES_MAX];
            return Ok(vec![prepare("", &within, range.map(Value::Integer).to_vec())?]);
        }
        self.wanted()
            .map(|state| {
                let state_is = format!("state = {}", code(state));
                match self.index_of_dead(state) {
                    Some((index, column, value)) => {
                        let within = format!("{state_is} AND {column} = ?4");
                        prepare(&format!("INDEXED BY {index}"), &within, vec![Value::Text(value.to_owned())])
                    }
                    None => prepare("INDEXED BY delivery_listed", &state_is, Vec::new()),
                }
            })
            .collect()
    }

    /// The statements' text, for a test to explain.
    #[cfg(test)]
    pub(super) fn texts(&self, connection: &Connection) -> Result<Vec<String>, StoreError> {
        let statements = self.statements(connection)?;
        Ok(statements.iter().filter_map(|prepared| prepared.statement.expanded_sql()).collect())
    }

    fn wanted(&self) -> impl Iterator<Item = DeliveryState> {
        let wanted = self.filter.state;
        self.states.iter().copied().filter(move |state| wanted.is_none_or(|wanted| wanted == *state))
    }

    fn sql(&self, index: &str, within: &str) -> String {
        let (order, beyond) = match self.order {
            Order::Newest => ("DESC", "(received < ?2 OR id < ?3)"),
            Order::Oldest => ("ASC", "(received > ?1 OR id > ?3)"),
        };
        format!(
            "SELECT {COLUMNS} FROM delivery {index} WHERE {within} AND received >= ?1 AND received <= ?2 AND {beyond}
            ORDER BY received {order}, id {order}"
        )
    }

    /// The index of dead letters that serves the filter best, with its column and the value to look for.
    fn index_of_dead(&self, state: DeliveryState) -> Option<(&'static str, &'static str, &str)> {
        let filter = self.filter;
        let indexes = [
            ("delivery_dead_kind", "kind", &filter.kind),
            ("delivery_dead_product", "product", &filter.product),
            ("delivery_dead_route", "route", &filter.route),
            ("delivery_dead_verifier", "verifier", &filter.provider),
        ];
        let mut usable = indexes.into_iter().filter(|_| state == DeliveryState::Dead);
        usable.find_map(|(index, column, value)| Some((index, column, value.as_deref()?)))
    }

    /// The range of `received`, and the id that must be beyond at its starting end.
    fn bounds(&self) -> (i64, i64, i64) {
        let mut from = self.filter.since.map_or(i64::MIN, Timestamp::millis);
        let mut to = self.filter.until.map_or(i64::MAX, |until| until.millis().saturating_sub(1));
        let mut id = match self.order {
            Order::Newest => i64::MAX,
            Order::Oldest => i64::MIN,
        };
        if let Some(after) = self.after {
            match self.order {
                Order::Newest if after.received <= to => (to, id) = (after.received, after.id),
                Order::Oldest if after.received >= from => (from, id) = (after.received, after.id),
                Order::Newest | Order::Oldest => {}
            }
        }
        (from, to, id)
    }
}

struct Prepared<'c> {
    statement: CachedStatement<'c>,
    values: Vec<Value>,
}

/// One state's deliveries, in order, and the one it stands at.
struct Run<'s> {
    rows: Rows<'s>,
    position: Position,
    /// Unless the filter passes it over.
    delivery: Option<Delivery>,
}

impl<'s> Run<'s> {
    fn start(rows: Rows<'s>, filter: &Filter) -> Result<Option<Self>, StoreError> {
        let mut run = Self { rows, position: Position { received: 0, id: 0 }, delivery: None };
        Ok(run.advance(filter)?.then_some(run))
    }

    fn advance(&mut self, filter: &Filter) -> Result<bool, StoreError> {
        let Some(row) = self.rows.next().map_err(failure)? else { return Ok(false) };
        let position = |row: &Row<'_>| Ok(Position { id: row.get(0)?, received: row.get(1)? });
        self.position = position(row).map_err(failure)?;
        self.delivery = match matches(row, filter).map_err(failure)? {
            true => Some(Delivery::read(row)?),
            false => None,
        };
        Ok(true)
    }
}

/// The part of a filter that names and texts decide; the rest is in the statement.
fn matches(row: &Row<'_>, filter: &Filter) -> rusqlite::Result<bool> {
    let is = |column: usize, wanted: &Option<String>| -> rusqlite::Result<bool> {
        let Some(wanted) = wanted else { return Ok(true) };
        Ok(row.get_ref(column)?.as_str_or_null().is_ok_and(|value| value == Some(wanted)))
    };
    let contains = |column: usize, wanted: &Option<String>| -> rusqlite::Result<bool> {
        let Some(wanted) = wanted else { return Ok(true) };
        Ok(row.get_ref(column)?.as_str_or_null().is_ok_and(|value| value.is_some_and(|it| it.contains(wanted))))
    };
    Ok(is(7, &filter.product)?
        && is(8, &filter.route)?
        && is(9, &filter.provider)?
        && is(10, &filter.kind)?
        && contains(11, &filter.text)?)
}

fn position(delivery: &Delivery) -> Position {
    Position { received: delivery.received.millis(), id: delivery.id }
}

/// The key of an event.
pub(super) fn event_key(connection: &Connection, event: EventId) -> Result<Option<i64>, StoreError> {
    const KEY: &str = "SELECT key FROM event WHERE id = ?1";
    let mut statement = connection.prepare_cached(KEY).map_err(failure)?;
    statement.query_row([&event.bytes()[..]], |row| row.get(0)).optional().map_err(failure)
}

/// The deliveries of one event, oldest first.
pub(super) fn of_event(connection: &Connection, key: i64) -> Result<Vec<Delivery>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM delivery WHERE id >= ?1 AND id < ?2 ORDER BY id");
    let mut statement = connection.prepare_cached(&sql).map_err(failure)?;
    let mut rows = statement.query([key * DELIVERIES_MAX, (key + 1) * DELIVERIES_MAX]).map_err(failure)?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next().map_err(failure)? {
        deliveries.push(Delivery::read(row)?);
    }
    Ok(deliveries)
}
