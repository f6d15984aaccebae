//! Several gateways, one database.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::super::conformance::{
    HOLD, accept, at, attempt, claim, event, ids, key, leased, product, route, row, state,
};
use super::super::super::{Accepted, DeliveryState, EventStore, NewEvent, Retention, Settlement};
use super::super::PostgresStore;
use super::server::Server;
use super::{open, plan, try_open};
use crate::base::ids::EventId;
use crate::config::plan::Postgres;

async fn two() -> Option<(Postgres, Arc<PostgresStore>, Arc<PostgresStore>)> {
    let plan = plan(Server::shared()?);
    let (one, other) = futures_util::future::join(open(plan.clone()), open(plan.clone())).await;
    Some((plan, one, other))
}

#[tokio::test]
async fn gateways_that_start_together_make_the_tables_once() {
    let Some(server) = Server::shared() else { return };
    let plan = plan(server);
    let stores = futures_util::future::join_all((0..6).map(|_| open(plan.clone()))).await;
    accept(&*stores[0], at(0), event(at(0))).await;
    assert_eq!(claim(&*stores[5], at(0), 10).await.len(), 1);
    assert_eq!(server.sql(&plan.database, "SELECT version FROM tollgate_schema"), "1");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let Some(server) = Server::shared() else { return };
    let plan = plan(server);
    open(plan.clone()).await.close().await.unwrap();
    server.sql(&plan.database, "UPDATE tollgate_schema SET version = 99");
    let refused = try_open(plan).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("newer tollgate (schema 99"), "{refused}");
}

#[tokio::test]
async fn a_role_that_may_not_make_tables_serves_once_they_are_there() {
    let Some(server) = Server::shared() else { return };
    let plan = plan(server);
    open(plan.clone()).await.close().await.unwrap();
    let role = format!("role_{}", plan.database);
    server.sql(
        &plan.database,
        &format!(
            "CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
        ),
    );
    let store = open(Postgres { user: role, ..plan }).await;
    let lease = leased(&*store, at(0), event(at(0))).await;
    let delivered = Settlement::Delivered(attempt(&lease, at(0), 200));
    assert!(store.settle(at(0), &lease, delivered).await.unwrap());
    let gone = Retention { delivered: Some(Duration::ZERO), dead: None };
    assert_eq!(store.sweep(at(1), &gone).await.unwrap().events, 1);
}

#[tokio::test]
async fn claims_of_two_gateways_never_overlap() {
    let Some((_, one, other)) = two().await else { return };
    let accepting = (0..600).map(|n| if n % 2 == 0 { &one } else { &other }.accept(at(0), event(at(0))));
    futures_util::future::try_join_all(accepting).await.unwrap();
    let all = |store: Arc<PostgresStore>| async move {
        let mut claimed = Vec::new();
        loop {
            let leases = claim(&*store, at(1), 7).await;
            if leases.is_empty() {
                return claimed;
            }
            claimed.extend(ids(&leases));
        }
    };
    let (mut claimed, more) = futures_util::future::join(all(one.clone()), all(other)).await;
    claimed.extend(more);
    assert_eq!(claimed.len(), 600);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), 600);
    assert_eq!(one.stats().await.unwrap().states, [0, 600, 0, 0, 0, 0]);
}

#[tokio::test]
async fn equal_keys_at_two_gateways_at_once_are_one_event() {
    let Some((_, one, other)) = two().await else { return };
    // In opposite orders, so that batches meet on their keys from both ends.
    let with_key = |n: i32| NewEvent { duplicate: Some((key(&format!("k{n}")), at(1000))), ..event(at(0)) };
    let here = (0..200).map(|n| one.accept(at(0), with_key(n % 50)));
    let there = (0..200).rev().map(|n| other.accept(at(0), with_key(n % 50)));
    let (here, there) =
        futures_util::future::join(futures_util::future::join_all(here), futures_util::future::join_all(there)).await;
    let outcomes: Vec<Accepted> = here.into_iter().chain(there).map(Result::unwrap).collect();
    let new: HashSet<EventId> =
        outcomes.iter().filter_map(|it| if let Accepted::New(id) = it { Some(*id) } else { None }).collect();
    assert_eq!(new.len(), 50);
    let known = |outcome: &Accepted| match outcome {
        Accepted::New(id) | Accepted::Duplicate(id) => new.contains(id),
    };
    assert!(outcomes.iter().all(known));
    assert_eq!(one.stats().await.unwrap().states[0], 50);
}

#[tokio::test]
async fn what_one_gateway_accepts_wakes_the_other() {
    let Some((_, one, other)) = two().await else { return };
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        other.next_due(&[product("billing")]).await.unwrap();
        let woken = other.changed();
        let started = std::time::Instant::now();
        accept(&*one, at(0), event(at(0))).await;
        woken.await;
        quickest = quickest.min(started.elapsed());
    }
    // Looking every two seconds would be as quick only by chance.
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
}

#[tokio::test]
async fn a_gateway_that_dies_loses_its_leases_and_nothing_else() {
    let Some((_, one, other)) = two().await else { return };
    let accepted = accept(&*one, at(0), event(at(0))).await;
    let lost = claim(&*one, at(0), 1).await.remove(0);
    drop(one);
    assert!(claim(&*other, at(29), 1).await.is_empty());
    assert_eq!(other.next_due(&[product("billing")]).await.unwrap(), Some(at(0).after(HOLD)));
    let lease = claim(&*other, at(30), 1).await.remove(0);
    assert_eq!((lease.event.id, lease.attempt), (accepted, 1));
    assert!(lease.token > lost.token);
}

#[tokio::test]
async fn a_stalled_gateway_whose_lease_was_taken_changes_nothing() {
    let Some((_, stalled, other)) = two().await else { return };
    let lost = leased(&*stalled, at(0), event(at(0))).await;
    let id = lost.event.id;
    let taken = claim(&*other, at(31), 1).await.remove(0);
    let late = Settlement::Dead { attempt: attempt(&lost, at(32), 500), reason: "late".into() };
    assert!(!stalled.settle(at(32), &lost, late).await.unwrap());
    let delivered = Settlement::Delivered(attempt(&taken, at(33), 200));
    assert!(other.settle(at(33), &taken, delivered).await.unwrap());
    assert_eq!(state(&*stalled, id).await, DeliveryState::Delivered);
    assert_eq!(stalled.show(id).await.unwrap().unwrap().deliveries[0].1.len(), 1);
}

#[tokio::test]
async fn what_one_gateway_parks_another_that_serves_it_takes_back() {
    let Some((_, one, other)) = two().await else { return };
    let id = accept(&*one, at(0), event(at(0))).await;
    one.adopt(at(0), &[(route("hooks"), product("billing"))]).await.unwrap();
    assert_eq!(other.adopt(at(1), &[(route("else"), product("billing"))]).await.unwrap(), (1, 0));
    other.sweep(at(2), &Retention::default()).await.unwrap();
    assert_eq!(state(&*one, id).await, DeliveryState::Parked);
    one.sweep(at(2), &Retention::default()).await.unwrap();
    assert_eq!(row(&*one, id).await.due, Some(at(2)));
}

/// Two gateways claim, finish, retry and drop in the same lines: each line is delivered in its order, and to its end.
#[tokio::test]
async fn lines_hold_across_gateways() {
    const LINES: i64 = 8;
    const EACH: i64 = 25;
    let Some((_, one, other)) = two().await else { return };
    for second in 0..EACH {
        let line = |n: i64| NewEvent { order_key: Some(format!("line {n}")), ..event(at(second)) };
        let accepting = (0..LINES).map(|n| if n % 2 == 0 { &one } else { &other }.accept(at(second), line(n)));
        futures_util::future::try_join_all(accepting).await.unwrap();
    }
    let delivered = Arc::new(std::sync::Mutex::new(BTreeMap::<String, Vec<i64>>::new()));
    let work = |store: Arc<PostgresStore>| {
        let delivered = delivered.clone();
        async move {
            loop {
                let leases = claim(&*store, at(1000), 5).await;
                for lease in leases {
                    // Now and then an attempt is given back first.
                    if lease.token == 1 && lease.event.received.seconds() % 5 == 0 {
                        assert!(store.settle(at(1000), &lease, Settlement::Release { at: at(999) }).await.unwrap());
                        continue;
                    }
                    let key = lease.event.order_key.clone().unwrap();
                    delivered.lock().unwrap().entry(key).or_default().push(lease.event.received.seconds());
                    let done = Settlement::Delivered(attempt(&lease, at(1000), 200));
                    assert!(store.settle(at(1000), &lease, done).await.unwrap());
                }
                let count: usize = delivered.lock().unwrap().values().map(Vec::len).sum();
                if count as i64 == LINES * EACH {
                    return;
                }
            }
        }
    };
    let working =
        futures_util::future::join4(work(one.clone()), work(one.clone()), work(other.clone()), work(other.clone()));
    tokio::time::timeout(Duration::from_secs(60), working).await.expect("no line stands still");
    let delivered = delivered.lock().unwrap();
    assert_eq!(delivered.len() as i64, LINES);
    for (line, seconds) in &*delivered {
        assert!(seconds.is_sorted(), "{line}: {seconds:?}");
        assert_eq!(seconds.iter().collect::<BTreeSet<_>>().len() as i64, EACH);
    }
}
