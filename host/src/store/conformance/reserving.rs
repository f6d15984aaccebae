//! Duplicate keys that are held while their event is forwarded.

use super::super::{Accepted, EventStore, NewEvent, Reservation};
use super::{HOLD, accept, at, event, key};
use crate::base::clock::Timestamp;
use crate::base::ids::EventId;

/// Holds the key `a` for `id` at `now`.
async fn hold(store: &dyn EventStore, now: Timestamp, id: EventId) -> Reservation {
    store.reserve(now, key("a"), id, HOLD).await.unwrap()
}

async fn conclude(store: &dyn EventStore, now: Timestamp, id: EventId, known: Option<i64>) -> bool {
    store.conclude(now, key("a"), id, known.map(at)).await.unwrap()
}

fn two() -> (EventId, EventId) {
    (EventId::new(at(0)), EventId::new(at(0)))
}

pub(in crate::store) async fn a_held_key_is_in_progress_for_everybody_else(store: &dyn EventStore) {
    let (first, other) = two();
    assert_eq!(hold(store, at(0), first).await, Reservation::Held);
    assert_eq!(hold(store, at(1), other).await, Reservation::InProgress { until: at(0).after(HOLD) });
    let elsewhere = store.reserve(at(1), key("b"), other, HOLD).await.unwrap();
    assert_eq!(elsewhere, Reservation::Held, "another key is another matter");
}

pub(in crate::store) async fn equal_keys_at_the_same_moment_are_held_once(store: &dyn EventStore) {
    let holding = (0..32).map(|_| hold(store, at(0), EventId::new(at(0))));
    let outcomes = futures_util::future::join_all(holding).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Reservation::Held).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|it| matches!(it, Reservation::InProgress { .. })).count(), 31);
}

pub(in crate::store) async fn a_released_key_may_be_held_again(store: &dyn EventStore) {
    let (first, other) = two();
    hold(store, at(0), first).await;
    assert!(conclude(store, at(1), first, None).await);
    assert_eq!(hold(store, at(1), other).await, Reservation::Held);
}

pub(in crate::store) async fn a_concluded_key_is_a_duplicate_from_then_on(store: &dyn EventStore) {
    let (first, other) = two();
    hold(store, at(0), first).await;
    assert!(conclude(store, at(1), first, Some(100)).await);
    assert_eq!(hold(store, at(2), other).await, Reservation::Duplicate(first));
    let copy = NewEvent { duplicate: Some((key("a"), at(200))), ..event(at(2)) };
    assert_eq!(store.accept(at(99), copy).await.unwrap(), Accepted::Duplicate(first));
    assert_eq!(hold(store, at(100), other).await, Reservation::Held, "not beyond its window");
}

pub(in crate::store) async fn the_key_of_an_accepted_event_is_not_held(store: &dyn EventStore) {
    let known = NewEvent { duplicate: Some((key("a"), at(100))), ..event(at(0)) };
    let first = accept(store, at(0), known).await;
    assert_eq!(hold(store, at(1), EventId::new(at(1))).await, Reservation::Duplicate(first));
}

pub(in crate::store) async fn a_hold_that_ran_out_may_be_taken_over(store: &dyn EventStore) {
    let (first, other) = two();
    hold(store, at(0), first).await;
    let later = at(0).after(HOLD);
    assert_eq!(hold(store, later, other).await, Reservation::Held);
    assert!(!conclude(store, later, first, Some(500)).await, "it is somebody else's");
    assert!(!conclude(store, later, first, None).await);
    let third = EventId::new(at(0));
    assert!(matches!(hold(store, later, third).await, Reservation::InProgress { .. }), "nothing changed");
    assert!(conclude(store, later, other, Some(500)).await);
    assert!(!conclude(store, later, first, Some(900)).await, "known as another's");
    assert_eq!(hold(store, later, third).await, Reservation::Duplicate(other));
}

pub(in crate::store) async fn a_late_conclusion_counts_while_nobody_else_has_the_key(store: &dyn EventStore) {
    let (first, other) = two();
    hold(store, at(0), first).await;
    let later = at(1).after(HOLD);
    assert!(conclude(store, later, first, Some(500)).await);
    assert_eq!(hold(store, later, other).await, Reservation::Duplicate(first));
}

pub(in crate::store) async fn an_event_is_accepted_whoever_holds_its_key(store: &dyn EventStore) {
    let (first, other) = two();
    hold(store, at(0), first).await;
    let same = NewEvent { duplicate: Some((key("a"), at(100))), ..event(at(0)) };
    let accepted = accept(store, at(1), same).await;
    assert!(!conclude(store, at(2), first, Some(100)).await);
    assert_eq!(hold(store, at(2), other).await, Reservation::Duplicate(accepted));
}
