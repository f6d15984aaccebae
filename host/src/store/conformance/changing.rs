//! Replay, drop, adopt, sweep, and what they leave.

use std::time::Duration;

use super::super::{Accepted, DeliveryState, EventStore, Filter, NewEvent, Retention, Settlement, Swept};
use super::accepting::spilled;
use super::{HOLD, accept, all, at, bury, claim, deliver, event, key, leased, product, retry, route, row, state};
use crate::base::ids::EventId;

fn only(id: EventId) -> Filter {
    Filter { event: Some(id), ..Filter::default() }
}

fn in_state(state: DeliveryState) -> Filter {
    Filter { state: Some(state), ..Filter::default() }
}

pub(in crate::store) async fn replay_makes_finished_ones_due_any_number_of_times(store: &dyn EventStore) {
    let lease = leased(store, at(0), event(at(0))).await;
    let id = lease.event.id;
    retry(store, at(0), lease, at(1)).await;
    let lease = claim(store, at(1), 1).await.remove(0);
    bury(store, at(1), lease, "over").await;
    for round in 1..=4u32 {
        let now = at(10 * i64::from(round));
        assert_eq!(store.replay(now, &only(id), 10).await.unwrap(), 1, "round {round}");
        let due = row(store, id).await;
        assert_eq!((due.state, due.due, due.replays), (DeliveryState::Due, Some(now), round));
        let lease = claim(store, now, 1).await.remove(0);
        // Attempts go on, the schedule restarts.
        assert_eq!((lease.attempt, lease.scheduled_attempt, lease.replay), (2 + round, 1, round));
        match round {
            1 => deliver(store, now, lease).await,
            2 => bury(store, now, lease, "again").await,
            _ => assert!(store.settle(now, &lease, Settlement::Park { reason: "gone".into() }).await.unwrap()),
        }
        if round == 3 {
            // No attempt was counted for the parked one; make up for it.
            assert_eq!(store.drop_deliveries(now, &only(id), 1).await.unwrap(), 1);
            assert_eq!(store.replay(now, &only(id), 1).await.unwrap(), 1);
            let lease = claim(store, now, 1).await.remove(0);
            assert_eq!((lease.attempt, lease.replay), (5, 4));
            deliver(store, now, lease).await;
            break;
        }
    }
    let (delivered, attempts) = store.show(id).await.unwrap().unwrap().deliveries.remove(0);
    assert_eq!((delivered.state, delivered.attempts, delivered.replays), (DeliveryState::Delivered, 5, 4));
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

pub(in crate::store) async fn replay_leaves_due_and_leased_ones_alone(store: &dyn EventStore) {
    let lease = leased(store, at(0), event(at(0))).await;
    let due = accept(store, at(0), event(at(0))).await;
    assert_eq!(store.replay(at(5), &Filter::default(), 10).await.unwrap(), 0);
    assert_eq!((row(store, due).await.due, row(store, due).await.replays), (Some(at(0)), 0));
    deliver(store, at(6), lease).await;
}

pub(in crate::store) async fn replay_takes_no_more_than_its_limit(store: &dyn EventStore) {
    for _ in 0..5 {
        let lease = leased(store, at(0), event(at(0))).await;
        bury(store, at(0), lease, "over").await;
    }
    let dead = in_state(DeliveryState::Dead);
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(store.replay(at(1), &dead, 2).await.unwrap());
    }
    assert_eq!(counts, [2, 2, 1, 0]);
    assert_eq!(claim(store, at(1), 10).await.len(), 5);
}

pub(in crate::store) async fn replay_does_not_ask_the_duplicate_window(store: &dyn EventStore) {
    let given = NewEvent { duplicate: Some((key("a"), at(1000))), ..event(at(0)) };
    let lease = leased(store, at(0), given).await;
    let id = lease.event.id;
    deliver(store, at(0), lease).await;
    assert_eq!(store.replay(at(1), &only(id), 1).await.unwrap(), 1);
    assert_eq!(claim(store, at(1), 1).await.len(), 1);
}

pub(in crate::store) async fn drop_lets_go_and_keeps_the_duplicate_key(store: &dyn EventStore) {
    let delivered = leased(store, at(0), event(at(0))).await;
    let delivered_id = delivered.event.id;
    deliver(store, at(0), delivered).await;
    let dead = leased(store, at(0), event(at(0))).await;
    let dead_id = dead.event.id;
    bury(store, at(0), dead, "over").await;
    let parked = leased(store, at(0), event(at(0))).await;
    let parked_id = parked.event.id;
    store.settle(at(0), &parked, Settlement::Park { reason: "gone".into() }).await.unwrap();
    let held = leased(store, at(0), event(at(0))).await;
    let with_key = || NewEvent { duplicate: Some((key("a"), at(1000))), ..event(at(0)) };
    let due_id = accept(store, at(0), with_key()).await;
    assert_eq!(store.drop_deliveries(at(1), &Filter::default(), 100).await.unwrap(), 3);
    for id in [dead_id, parked_id, due_id] {
        assert_eq!((state(store, id).await, row(store, id).await.changed), (DeliveryState::Dropped, at(1)));
    }
    assert_eq!(state(store, delivered_id).await, DeliveryState::Delivered);
    assert_eq!(store.accept(at(2), with_key()).await.unwrap(), Accepted::Duplicate(due_id));
    assert!(claim(store, at(3), 10).await.is_empty());
    deliver(store, at(3), held).await;
}

pub(in crate::store) async fn drop_takes_no_more_than_its_limit(store: &dyn EventStore) {
    for second in 0..5 {
        accept(store, at(second), event(at(second))).await;
    }
    assert_eq!(store.drop_deliveries(at(9), &Filter::default(), 3).await.unwrap(), 3);
    assert_eq!(claim(store, at(9), 10).await.len(), 2);
}

pub(in crate::store) async fn adopt_parks_what_is_not_served_and_takes_it_back(store: &dyn EventStore) {
    let both = vec![product("billing"), product("ledger")];
    let kept = accept(store, at(0), NewEvent { products: both, ..event(at(0)) }).await;
    let other = accept(store, at(0), NewEvent { route: route("other"), ..event(at(0)) }).await;
    let here = (route("hooks"), product("billing"));
    assert_eq!(store.adopt(at(1), std::slice::from_ref(&here)).await.unwrap(), (2, 0));
    let deliveries = store.show(kept).await.unwrap().unwrap().deliveries;
    let states: Vec<_> = deliveries.iter().map(|(row, _)| row.state).collect();
    assert_eq!(states, [DeliveryState::Due, DeliveryState::Parked]);
    let parked = row(store, other).await;
    assert_eq!(parked.state, DeliveryState::Parked);
    assert!(parked.reason.is_some_and(|reason| reason.contains("other") && reason.contains("billing")));
    let room = [(product("billing"), 9), (product("ledger"), 9)];
    assert_eq!(store.claim(at(1), &room, HOLD).await.unwrap().len(), 1);
    let all = [here.clone(), (route("hooks"), product("ledger")), (route("other"), product("billing"))];
    assert_eq!(store.adopt(at(2), &all).await.unwrap(), (0, 2));
    assert_eq!(row(store, other).await.due, Some(at(2)));
    assert_eq!(store.claim(at(2), &room, HOLD).await.unwrap().len(), 2);
    // A leased one is its worker's business.
    assert_eq!(store.adopt(at(3), &[]).await.unwrap(), (0, 0));
}

fn kept_for(delivered: u64, dead: Option<u64>) -> Retention {
    Retention { delivered: Some(Duration::from_secs(delivered)), dead: dead.map(Duration::from_secs) }
}

pub(in crate::store) async fn a_sweep_takes_what_is_past_its_retention(store: &dyn EventStore) {
    let delivered = leased(store, at(0), event(at(0))).await;
    let delivered_id = delivered.event.id;
    deliver(store, at(10), delivered).await;
    let dead = leased(store, at(0), event(at(0))).await;
    let dead_id = dead.event.id;
    bury(store, at(10), dead, "over").await;
    assert_eq!(store.sweep(at(1_000_000), &Retention::default()).await.unwrap(), Swept::default());
    assert_eq!(store.sweep(at(109), &kept_for(100, None)).await.unwrap(), Swept::default());
    let swept = store.sweep(at(110), &kept_for(100, None)).await.unwrap();
    assert_eq!(swept, Swept { events: 1, undelivered: 0, duplicates: 0 });
    assert!(store.show(delivered_id).await.unwrap().is_none());
    assert!(store.body(delivered_id).await.unwrap().is_none());
    assert_eq!(state(store, dead_id).await, DeliveryState::Dead);
    let swept = store.sweep(at(1010), &kept_for(100, Some(1000))).await.unwrap();
    assert_eq!(swept, Swept { events: 1, undelivered: 1, duplicates: 0 });
    assert!(all(store, &Filter::default(), 10).await.is_empty());
    assert_eq!(store.stats().await.unwrap().states, [0; 6]);
}

pub(in crate::store) async fn a_sweep_keeps_an_event_until_its_last_delivery_is_past(store: &dyn EventStore) {
    let both = vec![product("billing"), product("ledger")];
    let id = accept(store, at(0), NewEvent { products: both, ..event(at(0)) }).await;
    let lease = claim(store, at(0), 1).await.remove(0);
    deliver(store, at(0), lease).await;
    assert_eq!(store.sweep(at(1000), &kept_for(10, None)).await.unwrap().events, 0);
    let lease = store.claim(at(1000), &[(product("ledger"), 1)], HOLD).await.unwrap().remove(0);
    deliver(store, at(1000), lease).await;
    assert_eq!(store.sweep(at(1009), &kept_for(10, None)).await.unwrap().events, 0);
    assert_eq!(state(store, id).await, DeliveryState::Delivered);
    assert_eq!(store.sweep(at(1010), &kept_for(10, None)).await.unwrap().events, 1);
}

pub(in crate::store) async fn a_sweep_never_takes_what_is_not_finished(store: &dyn EventStore) {
    let parked = leased(store, at(0), event(at(0))).await;
    store.settle(at(0), &parked, Settlement::Park { reason: "gone".into() }).await.unwrap();
    leased(store, at(0), event(at(0))).await;
    accept(store, at(0), event(at(0))).await;
    assert_eq!(store.sweep(at(10_000_000), &kept_for(0, Some(0))).await.unwrap(), Swept::default());
    assert_eq!(all(store, &Filter::default(), 10).await.len(), 3);
}

pub(in crate::store) async fn a_sweep_takes_large_bodies_and_many_events(store: &dyn EventStore) {
    let large = accept(store, at(0), NewEvent { body: spilled(store, &[7; 100_000]), ..event(at(0)) }).await;
    let accepting = (0..1200).map(|_| store.accept(at(0), event(at(0))));
    futures_util::future::try_join_all(accepting).await.unwrap();
    assert_eq!(store.drop_deliveries(at(1), &Filter::default(), 1000).await.unwrap(), 1000);
    assert_eq!(store.drop_deliveries(at(1), &Filter::default(), 1000).await.unwrap(), 201);
    let swept = store.sweep(at(50), &kept_for(10, None)).await.unwrap();
    assert_eq!(swept, Swept { events: 1201, undelivered: 1201, duplicates: 0 });
    assert!(store.body(large).await.unwrap().is_none());
}

pub(in crate::store) async fn a_sweep_takes_keys_past_their_window(store: &dyn EventStore) {
    for (text, until) in [("a", 100), ("b", 101)] {
        accept(store, at(0), NewEvent { duplicate: Some((key(text), at(until))), ..event(at(0)) }).await;
    }
    assert_eq!(store.sweep(at(99), &Retention::default()).await.unwrap().duplicates, 0);
    assert_eq!(store.sweep(at(100), &Retention::default()).await.unwrap().duplicates, 1);
    let again = NewEvent { duplicate: Some((key("b"), at(200))), ..event(at(100)) };
    assert!(matches!(store.accept(at(100), again).await.unwrap(), Accepted::Duplicate(_)));
}

pub(in crate::store) async fn stats_count_every_state(store: &dyn EventStore) {
    assert_eq!(store.stats().await.unwrap(), Default::default());
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(leased(store, at(1), event(at(1))).await);
    }
    for second in [5, 4] {
        accept(store, at(second), NewEvent { products: vec![product("audit")], ..event(at(second)) }).await;
    }
    accept(store, at(6), event(at(6))).await;
    let mut next = || leases.pop().unwrap();
    deliver(store, at(7), next()).await;
    deliver(store, at(7), next()).await;
    bury(store, at(7), next(), "over").await;
    store.settle(at(7), &next(), Settlement::Park { reason: "gone".into() }).await.unwrap();
    let dropped = next();
    let id = dropped.event.id;
    bury(store, at(7), dropped, "over").await;
    store.drop_deliveries(at(7), &only(id), 1).await.unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.states, stats.oldest_due), ([3, 1, 2, 1, 1, 1], Some(at(4))));
    assert_eq!(next().attempt, 1);
}
