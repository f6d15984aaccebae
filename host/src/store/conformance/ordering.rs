//! Events with the same order key, to the same product, from the same route, are delivered in the order they came.

use super::super::{EventStore, Filter, NewEvent, Settlement};
use super::{HOLD, accept, at, bury, claim, deliver, event, ids, product, retry, route};
use crate::base::ids::EventId;

async fn ordered(store: &dyn EventStore, second: i64, key: &str) -> EventId {
    accept(store, at(second), NewEvent { order_key: Some(key.into()), ..event(at(second)) }).await
}

pub(in crate::store) async fn one_key_is_delivered_in_the_order_it_came(store: &dyn EventStore) {
    let mut line = Vec::new();
    for second in 0..5 {
        line.push(ordered(store, second, "a").await);
    }
    for id in line {
        let mut leases = claim(store, at(9), 10).await;
        assert_eq!(ids(&leases), [id]);
        // While it is leased, nothing more of its key.
        assert!(claim(store, at(9), 10).await.is_empty());
        deliver(store, at(9), leases.remove(0)).await;
    }
    assert!(claim(store, at(9), 10).await.is_empty());
}

pub(in crate::store) async fn a_retry_holds_up_the_rest_of_its_key_only(store: &dyn EventStore) {
    let first = ordered(store, 0, "a").await;
    let second = ordered(store, 1, "a").await;
    let other = ordered(store, 2, "b").await;
    let unordered = accept(store, at(3), event(at(3))).await;
    let mut leases = claim(store, at(9), 10).await;
    assert_eq!(ids(&leases), [first, other, unordered]);
    retry(store, at(9), leases.remove(0), at(100)).await;
    assert!(claim(store, at(38), 10).await.is_empty());
    let mut leases: Vec<_> = claim(store, at(100), 10)
        .await
        .into_iter()
        .filter(|lease| lease.event.order_key.as_deref() == Some("a"))
        .collect();
    assert_eq!(ids(&leases), [first]);
    deliver(store, at(100), leases.remove(0)).await;
    assert_eq!(ids(&claim(store, at(101), 10).await), [second]);
}

pub(in crate::store) async fn a_dead_letter_no_longer_blocks(store: &dyn EventStore) {
    ordered(store, 0, "a").await;
    let second = ordered(store, 1, "a").await;
    let lease = claim(store, at(9), 10).await.remove(0);
    bury(store, at(9), lease, "over").await;
    assert_eq!(ids(&claim(store, at(9), 10).await), [second]);
}

pub(in crate::store) async fn a_parked_one_no_longer_blocks(store: &dyn EventStore) {
    ordered(store, 0, "a").await;
    let second = ordered(store, 1, "a").await;
    let lease = claim(store, at(9), 10).await.remove(0);
    store.settle(at(9), &lease, Settlement::Park { reason: "gone".into() }).await.unwrap();
    assert_eq!(ids(&claim(store, at(9), 10).await), [second]);
}

pub(in crate::store) async fn a_dropped_one_no_longer_blocks(store: &dyn EventStore) {
    let first = ordered(store, 0, "a").await;
    let second = ordered(store, 1, "a").await;
    let lease = claim(store, at(5), 10).await.remove(0);
    retry(store, at(5), lease, at(500)).await;
    assert!(claim(store, at(6), 10).await.is_empty());
    let filter = Filter { event: Some(first), ..Filter::default() };
    assert_eq!(store.drop_deliveries(at(6), &filter, 1).await.unwrap(), 1);
    assert_eq!(ids(&claim(store, at(6), 10).await), [second]);
}

pub(in crate::store) async fn keys_are_apart_by_product_and_route(store: &dyn EventStore) {
    let key = || Some("a".to_owned());
    let both = vec![product("billing"), product("ledger")];
    accept(store, at(0), NewEvent { order_key: key(), products: both.clone(), ..event(at(0)) }).await;
    accept(store, at(1), NewEvent { order_key: key(), products: both, ..event(at(1)) }).await;
    accept(store, at(2), NewEvent { order_key: key(), route: route("other"), ..event(at(2)) }).await;
    let room = [(product("billing"), 10), (product("ledger"), 10)];
    let leases = store.claim(at(9), &room, HOLD).await.unwrap();
    let claimed: Vec<_> = leases.iter().map(|it| (it.product.as_str(), it.event.received)).collect();
    assert_eq!(claimed, [("billing", at(0)), ("billing", at(2)), ("ledger", at(0))]);
}

pub(in crate::store) async fn a_replayed_one_goes_before_later_ones(store: &dyn EventStore) {
    let first = ordered(store, 0, "a").await;
    let second = ordered(store, 1, "a").await;
    let third = ordered(store, 2, "a").await;
    let lease = claim(store, at(9), 10).await.remove(0);
    bury(store, at(9), lease, "over").await;
    let lease = claim(store, at(9), 10).await.remove(0);
    retry(store, at(9), lease, at(20)).await;
    let filter = Filter { event: Some(first), ..Filter::default() };
    assert_eq!(store.replay(at(10), &filter, 1).await.unwrap(), 1);
    for id in [first, second, third] {
        let mut leases = claim(store, at(21), 10).await;
        assert_eq!(ids(&leases), [id]);
        deliver(store, at(21), leases.remove(0)).await;
    }
}

pub(in crate::store) async fn a_long_line_does_not_hide_others(store: &dyn EventStore) {
    let key = || Some("a".to_owned());
    let line = (0..2500).map(|_| store.accept(at(0), NewEvent { order_key: key(), ..event(at(0)) }));
    futures_util::future::try_join_all(line).await.unwrap();
    let other = accept(store, at(1), event(at(1))).await;
    // Each claim sets some of the line aside; a few of them reach the end, and from then on it costs nothing.
    let mut claimed = Vec::new();
    for _ in 0..5 {
        claimed.extend(claim(store, at(2), 4).await);
    }
    assert_eq!(claimed.len(), 2);
    assert_eq!(claimed[1].event.id, other);
    assert_eq!(store.stats().await.unwrap().states, [2499, 2, 0, 0, 0, 0]);
}
