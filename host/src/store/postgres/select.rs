//! Finding deliveries by filter, in pages of bounded cost.
//!
//! Each state is one run of the index `(state, received, id)`; several states are merged. Dead letters, which an outage
//! makes by the million, have an index for each thing people filter them by. Whatever no index covers is checked row by
//! row, and a page ends after so many rows looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_postgres::types::ToSql;

use super::super::{DeliveryRow, DeliveryState, Filter, Page, StoreError};
use super::failure::Failure;
use super::load::{delivery, delivery_columns};
use super::pool::Connection;
use super::{code, event_key};
use crate::base::clock::Timestamp;

/// Rows one page looks at, at most.
const LOOK_MAX: i64 = 20_000;

/// Where in the order of lists a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    received: i64,
    id: i64,
}

impl Position {
    fn cursor(self) -> String {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.received.to_be_bytes());
        bytes[8..].copy_from_slice(&self.id.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn parse(cursor: &str) -> Result<Self, StoreError> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| StoreError::Cursor)?;
        let (received, id) = bytes.split_first_chunk::<8>().ok_or(StoreError::Cursor)?;
        let id = <[u8; 8]>::try_from(id).map_err(|_| StoreError::Cursor)?;
        Ok(Self { received: i64::from_be_bytes(*received), id: i64::from_be_bytes(id) })
    }
}

/// A statement under construction: its text and what is bound to it.
#[derive(Default)]
struct Statement {
    text: String,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Statement {
    /// Binds `value` and gives back its name in the text.
    fn bind(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// A page of a list, newest first.
pub(super) async fn page(
    connection: &mut Connection,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page, Failure> {
    page_of(connection, filter, cursor, limit, LOOK_MAX).await
}

pub(super) async fn page_of(
    connection: &mut Connection,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
    look: i64,
) -> Result<Page, Failure> {
    let after = cursor.map(Position::parse).transpose()?;
    let key = match filter.event {
        None => None,
        Some(event) => match event_key(connection, event).await? {
            Some(key) => Some(key),
            None => return Ok(Page { rows: Vec::new(), next: None }),
        },
    };
    let mut statement = Statement::default();
    let looked = looked(&mut statement, filter, key, after, look);
    let within = remaining(&mut statement, filter);
    let most = statement.bind(i64::from(limit) + 1);
    statement.text = format!(
        "SELECT {} FROM ({looked}) AS d JOIN tollgate_event e ON e.key = d.id / 256 WHERE {within}
        ORDER BY d.received DESC, d.id DESC LIMIT {most}",
        delivery_columns!()
    );
    let found = connection.client().query(&statement.text, &statement.values()).await?;
    let mut rows = found.iter().map(delivery).collect::<Result<Vec<DeliveryRow>, _>>()?;
    let position = |at: usize| found.get(at).map(|row| Position { received: row.get(1), id: row.get(0) });
    let next = if rows.len() > limit as usize {
        rows.truncate(limit as usize);
        position(rows.len() - 1)
    } else {
        end_of_look(connection, filter, key, after, look).await?
    };
    Ok(Page { rows, next: next.map(Position::cursor) })
}

/// Where a look ended that found too little, when there is more beyond.
async fn end_of_look(
    connection: &mut Connection,
    filter: &Filter,
    key: Option<i64>,
    after: Option<Position>,
    look: i64,
) -> Result<Option<Position>, Failure> {
    let mut statement = Statement::default();
    let looked = looked(&mut statement, filter, key, after, look + 1);
    let skip = statement.bind(look - 1);
    statement.text = format!(
        "SELECT d.received, d.id FROM ({looked}) AS d ORDER BY d.received DESC, d.id DESC OFFSET {skip} LIMIT 2"
    );
    let ends = connection.client().query(&statement.text, &statement.values()).await?;
    Ok(ends.first().filter(|_| ends.len() == 2).map(|row| Position { received: row.get(0), id: row.get(1) }))
}

/// The rows that are looked at: by state, time and place, each state a run of an index.
fn looked(statement: &mut Statement, filter: &Filter, key: Option<i64>, after: Option<Position>, look: i64) -> String {
    let from = statement.bind(filter.since.map_or(i64::MIN, Timestamp::millis));
    let until = filter.until.map_or(i64::MAX, |until| until.millis().saturating_sub(1));
    let after = after.filter(|after| after.received <= until);
    let to = statement.bind(after.map_or(until, |after| after.received));
    let before = statement.bind(after.map_or(i64::MAX, |after| after.id));
    let most = statement.bind(look);
    let place = format!("d.received >= {from} AND d.received <= {to} AND (d.received < {to} OR d.id < {before})");
    let order = format!("ORDER BY d.received DESC, d.id DESC LIMIT {most}");
    if let Some(key) = key {
        let (first, last) = (statement.bind(key * 256), statement.bind(key * 256 + 255));
        let states = match filter.state {
            Some(state) => format!("d.state = {}", code(state)),
            None => "true".to_owned(),
        };
        return format!(
            "SELECT * FROM tollgate_delivery d WHERE d.id >= {first} AND d.id <= {last} AND {states} AND {place} {order}"
        );
    }
    let runs: Vec<_> = DeliveryState::ALL
        .into_iter()
        .filter(|state| filter.state.is_none_or(|wanted| wanted == *state))
        .map(|state| {
            let also = match dead_letters_by(state, filter) {
                Some((column, value)) => {
                    format!("AND d.{column} = {}", statement.bind(super::text(value).into_owned()))
                }
                None => String::new(),
            };
            let state = code(state);
            format!("(SELECT * FROM tollgate_delivery d WHERE d.state = {state} {also} AND {place} {order})")
        })
        .collect();
    format!("SELECT * FROM ({}) AS d {order}", runs.join(" UNION ALL "))
}

/// The column whose index of dead letters serves the filter best.
fn dead_letters_by(state: DeliveryState, filter: &Filter) -> Option<(&'static str, &str)> {
    let columns = [
        ("kind", &filter.kind),
        ("product", &filter.product),
        ("route", &filter.route),
        ("verifier", &filter.provider),
    ];
    let mut usable = columns.into_iter().filter(|_| state == DeliveryState::Dead);
    usable.find_map(|(column, value)| Some((column, value.as_deref()?)))
}

/// The part of a filter that is checked row by row.
fn remaining(statement: &mut Statement, filter: &Filter) -> String {
    let mut parts = vec!["true".to_owned()];
    for (column, value) in
        [("product", &filter.product), ("route", &filter.route), ("verifier", &filter.provider), ("kind", &filter.kind)]
    {
        if let Some(value) = value {
            parts.push(format!("d.{column} = {}", statement.bind(super::text(value).into_owned())));
        }
    }
    if let Some(text) = &filter.text {
        parts.push(format!("strpos(d.reason, {}) > 0", statement.bind(super::text(text).into_owned())));
    }
    parts.join(" AND ")
}

/// The oldest `limit` deliveries in one of `states`, by id.
pub(super) async fn oldest(
    connection: &mut Connection,
    filter: &Filter,
    states: &[DeliveryState],
    limit: u32,
) -> Result<Vec<i64>, Failure> {
    let mut statement = Statement::default();
    let key = match filter.event {
        None => None,
        Some(event) => match event_key(connection, event).await? {
            Some(key) => Some(key),
            None => return Ok(Vec::new()),
        },
    };
    let from = statement.bind(filter.since.map_or(i64::MIN, Timestamp::millis));
    let until = statement.bind(filter.until.map_or(i64::MAX, Timestamp::millis));
    let within = remaining(&mut statement, filter);
    let most = statement.bind(i64::from(limit));
    let event = match key {
        None => String::new(),
        Some(key) => {
            format!("AND d.id >= {} AND d.id <= {}", statement.bind(key * 256), statement.bind(key * 256 + 255))
        }
    };
    let order = format!("ORDER BY received, id LIMIT {most}");
    let wanted = states.iter().filter(|state| filter.state.is_none_or(|wanted| wanted == **state));
    let runs: Vec<_> = wanted
        .map(|state| {
            format!(
                "(SELECT d.id, d.received FROM tollgate_delivery d WHERE d.state = {} AND d.received >= {from}
                    AND d.received < {until} {event} AND {within} {order})",
                code(*state)
            )
        })
        .collect();
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    statement.text = format!("SELECT id FROM ({}) AS d {order}", runs.join(" UNION ALL "));
    let rows = connection.client().query(&statement.text, &statement.values()).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
