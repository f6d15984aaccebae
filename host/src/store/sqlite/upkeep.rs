//! What a store does to itself: setting right at open what the last process left, adopting what is served today, and
//! sweeping. Searches run on a reading thread, changes in short steps on the writer, so that neither waits for long.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::super::{DeliveryState, Filter, Retention, StoreError, Swept};
use super::bodies::{Bodies, ORPHAN_AGE};
use super::keys::expired;
use super::ledger::Numbers;
use super::schema::DELIVERIES_MAX;
use super::select::{Delivery, Order, Position, Search, event_key};
use super::sweep::{cutoff, is_past};
use super::{SqliteStore, failure, on_disk};
use crate::base::clock::{Clock, Timestamp};
use crate::base::names::{ProductName, RouteName};

/// Deliveries one replay or drop changes, at most: some milliseconds of the writer's time.
pub(super) const CHANGES_MAX: u32 = 1000;

/// Rows one step of a long change takes.
const STEP: usize = 500;

/// Rows one step of a search looks at.
const STEP_LOOK: usize = 20_000;

/// Releases every lease: who held them is gone.
pub(super) fn release_leases(connection: &Connection) -> rusqlite::Result<usize> {
    // Due since it was taken; the time now is not known here.
    connection.execute("UPDATE delivery SET state = 0, due = changed WHERE state = 1", [])
}

/// The numbers to go on with.
pub(super) fn numbers(connection: &Connection) -> rusqlite::Result<Numbers> {
    // After the largest key, also of an event that is gone while a delivery of it is not.
    const LAST: &str = "SELECT max(coalesce((SELECT max(key) FROM event), 0),
        coalesce((SELECT max(id) FROM delivery), 0) / ?1)";
    let last: i64 = connection.query_row(LAST, [DELIVERIES_MAX], |row| row.get(0))?;
    const LAST_KEY: &str = "SELECT coalesce(max(n), 0) FROM duplicate_recent";
    let last_key: i64 = connection.query_row(LAST_KEY, [], |row| row.get(0))?;
    // Tokens begin anywhere, so that a lease of an earlier opening fits none of this one.
    let token = (RandomState::new().hash_one(last) >> 2).cast_signed();
    Ok(Numbers { event: last + 1, key: last_key + 1, token })
}

/// Removes body files at least `age` old that no event refers to.
pub(super) fn remove_orphans(connection: &Connection, bodies: &Bodies, age: Duration) -> Result<(), StoreError> {
    let now = Clock::System.now().system();
    let files = bodies.older_than(age, now).map_err(|error| on_disk("list the bodies", &error))?;
    for event in files {
        if event_key(connection, event)?.is_none() {
            bodies.remove(event);
        }
    }
    Ok(())
}

impl SqliteStore {
    pub(super) async fn adopt_served(
        &self,
        now: Timestamp,
        served: HashSet<(RouteName, ProductName)>,
    ) -> Result<(u64, u64), StoreError> {
        let served = Arc::new(served);
        let is_served = move |delivery: &Delivery| served.contains(&(delivery.route.clone(), delivery.product.clone()));
        let mut parked = 0;
        let mut steps = Steps::of(DeliveryState::Due);
        let unserved = is_served.clone();
        while let Some(ids) = steps
            .next(self, {
                let keep = unserved.clone();
                move |it| !keep(it)
            })
            .await?
        {
            parked += self.writer.ask(0, move |ledger| ledger.park(now, &ids)).await?;
        }
        let mut unparked = 0;
        let mut steps = Steps::of(DeliveryState::Parked);
        while let Some(ids) = steps.next(self, is_served.clone()).await? {
            unparked += self.writer.ask(0, move |ledger| ledger.unpark(now, &ids)).await?;
        }
        Ok((parked, unparked))
    }

    pub(super) async fn sweep_past(&self, now: Timestamp, retention: Retention) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for state in [DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Dropped] {
            self.sweep_state(now, &retention, state, &mut swept).await?;
        }
        swept.duplicates = self.sweep_keys(now).await?;
        let bodies = self.bodies.clone();
        self.search(move |connection| remove_orphans(connection, &bodies, ORPHAN_AGE)).await?;
        Ok(swept)
    }

    async fn sweep_keys(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut gone = self.writer.ask(0, move |ledger| ledger.expire_recent(now)).await?;
        let mut after = None;
        loop {
            let search = move |connection: &Connection| expired(connection, now, after, STEP_LOOK).map_err(failure);
            let (found, next) = self.search(search).await?;
            // In the order of the index, so that a page is written once for all that goes from it.
            for step in found.chunks(STEP) {
                let step = step.to_vec();
                gone += self.writer.ask(0, move |ledger| ledger.expire(now, &step)).await?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(gone),
            }
        }
    }

    async fn sweep_state(
        &self,
        now: Timestamp,
        retention: &Retention,
        state: DeliveryState,
        swept: &mut Swept,
    ) -> Result<(), StoreError> {
        let Some(cutoff) = cutoff(retention, now, state) else { return Ok(()) };
        let mut steps = Steps::of(state);
        // Whatever came into its state before then was received before then.
        steps.filter.until = Some(cutoff.after(Duration::from_millis(1)));
        loop {
            let past = {
                let retention = retention.clone();
                move |it: &Delivery| is_past(&retention, now, it.state, it.changed)
            };
            let Some(ids) = steps.next(self, past).await? else { return Ok(()) };
            let mut events: Vec<_> = ids.into_iter().map(|id| id / DELIVERIES_MAX).collect();
            events.dedup();
            let retention = retention.clone();
            let removed = self.writer.ask(0, move |ledger| ledger.remove(now, &retention, &events)).await?;
            swept.events += removed.events;
            swept.undelivered += removed.undelivered;
            self.remove_files(removed.files).await?;
        }
    }
}

/// A walk through all deliveries in one state, oldest first, a step at a time.
struct Steps {
    filter: Filter,
    after: Option<Position>,
    done: bool,
}

impl Steps {
    fn of(state: DeliveryState) -> Self {
        Self { filter: Filter { state: Some(state), ..Filter::default() }, after: None, done: false }
    }

    /// The ids of the next few that `wanted` holds for; `None` at the end.
    async fn next(
        &mut self,
        store: &SqliteStore,
        wanted: impl Fn(&Delivery) -> bool + Send + 'static,
    ) -> Result<Option<Vec<i64>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let (filter, after) = (self.filter.clone(), self.after);
        let search = move |connection: &Connection| {
            let (states, order) = (&DeliveryState::ALL, Order::Oldest);
            let search = Search { filter: &filter, states, order, after, most: STEP, look: STEP_LOOK };
            search.run(connection, wanted)
        };
        let found = store.search(search).await?;
        self.done = found.next.is_none();
        self.after = found.next;
        Ok(Some(found.deliveries.iter().map(|delivery| delivery.id).collect()))
    }
}
