//! Leasing and settling.

use std::collections::HashSet;

use bytes::Bytes;

use super::super::{ANSWER_MAX, Attempt, DeliveryState, EventStore, NewEvent, Settlement};
use super::{HOLD, accept, at, attempt, bury, claim, deliver, event, ids, leased, product, retry, row, state};

pub(in crate::store) async fn a_lease_carries_the_event(store: &dyn EventStore) {
    let given = NewEvent { kind: Some("k".into()), redacted: vec!["cookie".into()], ..event(at(0)) };
    let lease = leased(store, at(3), given.clone()).await;
    assert_eq!((&lease.event.head, &lease.event.kind), (&given.head, &given.kind));
    assert_eq!(lease.event.redacted, given.redacted);
    assert_eq!(lease.body.read(0, 10).unwrap(), &b"{}"[..]);
    assert_eq!((lease.attempt, lease.scheduled_attempt, lease.replay), (1, 1, 0));
    assert_eq!((&lease.product, lease.until), (&product("billing"), at(3).after(HOLD)));
}

pub(in crate::store) async fn a_claim_takes_the_longest_due_first_and_no_more_than_there_is_room(
    store: &dyn EventStore,
) {
    let mut accepted = Vec::new();
    for second in [5, 3, 4, 1, 2] {
        accepted.push((second, accept(store, at(second), event(at(second))).await));
    }
    for _ in 0..3 {
        accept(store, at(0), NewEvent { products: vec![product("ledger")], ..event(at(0)) }).await;
    }
    accepted.sort();
    let oldest: Vec<_> = accepted.iter().map(|(_, id)| *id).collect();
    let room = [(product("billing"), 2), (product("ledger"), 1), (product("audit"), 9)];
    let leases = store.claim(at(10), &room, HOLD).await.unwrap();
    let of = |name: &str| leases.iter().filter(|lease| lease.product == product(name)).count();
    assert_eq!((of("billing"), of("ledger"), leases.len()), (2, 1, 3));
    assert_eq!(ids(&leases)[..2], oldest[..2]);
    assert_eq!(ids(&claim(store, at(10), 100).await), oldest[2..]);
}

pub(in crate::store) async fn nothing_is_claimed_before_it_is_due(store: &dyn EventStore) {
    accept(store, at(10), event(at(10))).await;
    assert!(claim(store, at(9), 10).await.is_empty());
    assert!(store.claim(at(10), &[(product("billing"), 0)], HOLD).await.unwrap().is_empty());
    assert_eq!(claim(store, at(10), 10).await.len(), 1);
}

pub(in crate::store) async fn concurrent_claims_give_a_delivery_once(store: &dyn EventStore) {
    let accepting = (0..100).map(|_| store.accept(at(0), event(at(0))));
    futures_util::future::try_join_all(accepting).await.unwrap();
    let claims = futures_util::future::join_all((0..20).map(|_| claim(store, at(0), 9))).await;
    let claimed: Vec<_> = claims.iter().flat_map(|leases| ids(leases)).collect();
    assert_eq!(claimed.len(), 100);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), 100);
}

pub(in crate::store) async fn a_lease_that_ran_out_is_due_again(store: &dyn EventStore) {
    let first = leased(store, at(0), event(at(0))).await;
    assert!(claim(store, at(29), 1).await.is_empty());
    let second = claim(store, at(30), 1).await.remove(0);
    // Nobody knows what became of the first attempt, so it is not counted.
    assert_eq!((second.event.id, second.attempt), (first.event.id, 1));
}

pub(in crate::store) async fn a_lost_lease_changes_nothing(store: &dyn EventStore) {
    let first = leased(store, at(0), event(at(0))).await;
    let id = first.event.id;
    let second = claim(store, at(30), 1).await.remove(0);
    let before = row(store, id).await;
    let late = Settlement::Dead { attempt: attempt(&first, at(31), 500), reason: "late".into() };
    assert!(!store.settle(at(31), &first, late).await.unwrap());
    let detail = store.show(id).await.unwrap().unwrap();
    assert_eq!(detail.deliveries[0], (before, Vec::new()));
    deliver(store, at(32), second).await;
    assert_eq!(state(store, id).await, DeliveryState::Delivered);
}

pub(in crate::store) async fn a_clock_that_steps_loses_nothing(store: &dyn EventStore) {
    let before = accept(store, at(1000), event(at(1000))).await;
    let lease = claim(store, at(1000), 1).await.remove(0);
    // An hour back: nothing is due, a lease holds on, and what is new is due by the new time.
    assert!(claim(store, at(-2600), 10).await.is_empty());
    let after = accept(store, at(-2600), event(at(-2600))).await;
    assert_eq!(ids(&claim(store, at(-2600), 10).await), [after]);
    deliver(store, at(-2590), lease).await;
    assert_eq!(state(store, before).await, DeliveryState::Delivered);
    // And forth again: the lease of the time between is long over.
    let again = claim(store, at(1010), 10).await.remove(0);
    assert_eq!((again.event.id, again.attempt), (after, 1));
    retry(store, at(1010), again, at(1020)).await;
    assert!(claim(store, at(-2500), 10).await.is_empty());
    let last = claim(store, at(1020), 10).await.remove(0);
    assert_eq!((last.event.id, last.attempt), (after, 2));
    deliver(store, at(1020), last).await;
}

pub(in crate::store) async fn a_late_settlement_counts_while_nobody_else_has_it(store: &dyn EventStore) {
    let lease = leased(store, at(0), event(at(0))).await;
    let id = lease.event.id;
    deliver(store, at(500), lease).await;
    assert_eq!(state(store, id).await, DeliveryState::Delivered);
    assert!(claim(store, at(501), 1).await.is_empty());
}

pub(in crate::store) async fn a_retry_waits_for_its_time_and_counts_an_attempt(store: &dyn EventStore) {
    let lease = leased(store, at(0), event(at(0))).await;
    let id = lease.event.id;
    let first = attempt(&lease, at(1), 503);
    retry(store, at(1), lease, at(60)).await;
    let waiting = row(store, id).await;
    assert_eq!((waiting.state, waiting.due, waiting.attempts), (DeliveryState::Due, Some(at(60)), 1));
    assert_eq!(waiting.reason.as_deref(), Some("answered 503"));
    assert!(claim(store, at(59), 1).await.is_empty());
    let lease = claim(store, at(60), 1).await.remove(0);
    assert_eq!((lease.attempt, lease.scheduled_attempt), (2, 2));
    let second = attempt(&lease, at(61), 200);
    deliver(store, at(61), lease).await;
    let (delivered, attempts) = store.show(id).await.unwrap().unwrap().deliveries.remove(0);
    assert_eq!((delivered.attempts, delivered.due, delivered.changed), (2, None, at(61)));
    assert_eq!(attempts, [first, second]);
}

pub(in crate::store) async fn a_release_counts_no_attempt(store: &dyn EventStore) {
    let lease = leased(store, at(0), event(at(0))).await;
    let id = lease.event.id;
    assert!(store.settle(at(1), &lease, Settlement::Release { at: at(9) }).await.unwrap());
    assert!(claim(store, at(8), 1).await.is_empty());
    let lease = claim(store, at(9), 1).await.remove(0);
    assert_eq!((lease.attempt, lease.scheduled_attempt), (1, 1));
    assert!(store.show(id).await.unwrap().unwrap().deliveries[0].1.is_empty());
}

pub(in crate::store) async fn a_dead_letter_keeps_its_reason_and_attempts(store: &dyn EventStore) {
    let lease = leased(store, at(0), event(at(0))).await;
    let id = lease.event.id;
    let last = attempt(&lease, at(2), 500);
    bury(store, at(2), lease, "the schedule is over").await;
    let (dead, attempts) = store.show(id).await.unwrap().unwrap().deliveries.remove(0);
    assert_eq!((dead.state, dead.attempts, dead.changed), (DeliveryState::Dead, 1, at(2)));
    assert_eq!(dead.reason.as_deref(), Some("the schedule is over"));
    assert_eq!(attempts, [last]);
    assert!(claim(store, at(10_000_000), 1).await.is_empty());
}

pub(in crate::store) async fn a_parked_delivery_is_not_claimed(store: &dyn EventStore) {
    let lease = leased(store, at(0), event(at(0))).await;
    let id = lease.event.id;
    assert!(store.settle(at(1), &lease, Settlement::Park { reason: "no product".into() }).await.unwrap());
    let parked = row(store, id).await;
    assert_eq!((parked.state, parked.reason.as_deref()), (DeliveryState::Parked, Some("no product")));
    assert_eq!(parked.attempts, 0);
    assert!(claim(store, at(10_000_000), 1).await.is_empty());
}

pub(in crate::store) async fn no_more_of_an_answer_is_kept_than_its_bound(store: &dyn EventStore) {
    let lease = leased(store, at(0), event(at(0))).await;
    let id = lease.event.id;
    let long = Attempt { answer: Bytes::from(vec![b'x'; 5000]), ..attempt(&lease, at(0), 200) };
    assert!(store.settle(at(0), &lease, Settlement::Delivered(long)).await.unwrap());
    assert_eq!(store.show(id).await.unwrap().unwrap().deliveries[0].1[0].answer.len(), ANSWER_MAX);
}

pub(in crate::store) async fn next_due_is_the_earliest_time_of_these_products(store: &dyn EventStore) {
    let billing = [product("billing")];
    assert_eq!(store.next_due(&billing).await.unwrap(), None);
    accept(store, at(7), NewEvent { products: vec![product("ledger")], ..event(at(7)) }).await;
    assert_eq!(store.next_due(&billing).await.unwrap(), None);
    accept(store, at(9), event(at(9))).await;
    assert_eq!(store.next_due(&billing).await.unwrap(), Some(at(9)));
    assert_eq!(store.next_due(&[product("billing"), product("ledger")]).await.unwrap(), Some(at(7)));
    let lease = claim(store, at(10), 1).await.remove(0);
    assert_eq!(store.next_due(&billing).await.unwrap(), Some(at(10).after(HOLD)));
    retry(store, at(11), lease, at(400)).await;
    assert_eq!(store.next_due(&billing).await.unwrap(), Some(at(400)));
}

pub(in crate::store) async fn changed_returns_once_something_may_be_due_sooner(store: &dyn EventStore) {
    let billing = [product("billing")];
    let quiet = |store: &dyn EventStore| {
        let mut changed = store.changed();
        let waker = std::task::Waker::noop();
        changed.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending()
    };
    store.next_due(&billing).await.unwrap();
    assert!(quiet(store));
    // Also what happens between the look and the wait.
    accept(store, at(0), event(at(0))).await;
    store.changed().await;
    store.next_due(&billing).await.unwrap();
    assert!(quiet(store));
    let lease = claim(store, at(0), 1).await.remove(0);
    let waiting = store.changed();
    retry(store, at(1), lease, at(2)).await;
    waiting.await;
    let lease = claim(store, at(2), 1).await.remove(0);
    bury(store, at(2), lease, "over").await;
    store.next_due(&billing).await.unwrap();
    assert!(quiet(store));
    assert_eq!(store.replay(at(3), &Default::default(), 1).await.unwrap(), 1);
    store.changed().await;
}
