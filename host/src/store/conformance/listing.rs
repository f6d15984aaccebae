//! Lists, filters and pages.

use std::collections::HashSet;

use super::super::{DeliveryState, EventStore, Filter, NewEvent, StoreError};
use super::{accept, all, at, bury, claim, deliver, event, key, product, retry, route};
use crate::base::ids::EventId;
use crate::base::names::PluginName;
use crate::base::payload::Payload;

pub(in crate::store) async fn newest_comes_first(store: &dyn EventStore) {
    let mut accepted = Vec::new();
    for second in [3, 1, 2, 5, 4] {
        accepted.push((second, accept(store, at(9), event(at(second))).await));
    }
    let lease = claim(store, at(9), 1).await.remove(0);
    deliver(store, at(9), lease).await;
    accepted.sort();
    accepted.reverse();
    let listed: Vec<_> = all(store, &Filter::default(), 500).await.iter().map(|row| row.event).collect();
    assert_eq!(listed, accepted.iter().map(|(_, id)| *id).collect::<Vec<_>>());
}

/// Two events alike in nothing, and more like the first.
async fn pair(store: &dyn EventStore) -> (EventId, EventId) {
    let one = NewEvent { kind: Some("invoice.paid".into()), ..event(at(10)) };
    let other = NewEvent {
        route: route("other"),
        verifier: PluginName::new("github").unwrap(),
        products: vec![product("ledger")],
        kind: Some("it's".into()),
        ..event(at(20))
    };
    (accept(store, at(20), one).await, accept(store, at(20), other).await)
}

fn filters_for_the_other(other: EventId) -> Vec<Filter> {
    vec![
        Filter { event: Some(other), ..Filter::default() },
        Filter { route: Some("other".into()), ..Filter::default() },
        Filter { product: Some("ledger".into()), ..Filter::default() },
        Filter { provider: Some("github".into()), ..Filter::default() },
        Filter { kind: Some("it's".into()), ..Filter::default() },
        Filter { since: Some(at(20)), ..Filter::default() },
        Filter { since: Some(at(11)), until: Some(at(21)), ..Filter::default() },
        Filter { route: Some("other".into()), product: Some("ledger".into()), ..Filter::default() },
    ]
}

async fn listed(store: &dyn EventStore, filter: &Filter) -> Vec<EventId> {
    all(store, filter, 500).await.iter().map(|row| row.event).collect()
}

pub(in crate::store) async fn every_field_of_a_filter_holds(store: &dyn EventStore) {
    let (one, other) = pair(store).await;
    for filter in filters_for_the_other(other) {
        assert_eq!(listed(store, &filter).await, [other], "{filter:?}");
        let dead = Filter { state: Some(DeliveryState::Dead), ..filter.clone() };
        assert!(listed(store, &dead).await.is_empty(), "{dead:?}");
    }
    assert_eq!(listed(store, &Filter { until: Some(at(20)), ..Filter::default() }).await, [one]);
    for nothing in [
        Filter { route: Some("hooks".into()), product: Some("ledger".into()), ..Filter::default() },
        Filter { kind: Some("invoice".into()), ..Filter::default() },
        Filter { since: Some(at(21)), ..Filter::default() },
        Filter { text: Some("503".into()), ..Filter::default() },
    ] {
        assert!(listed(store, &nothing).await.is_empty(), "{nothing:?}");
    }
    let lease = claim(store, at(30), 1).await.remove(0);
    retry(store, at(30), lease, at(99)).await;
    assert_eq!(listed(store, &Filter { text: Some("503".into()), ..Filter::default() }).await, [one]);
}

pub(in crate::store) async fn a_filter_for_dead_letters_holds_with_each_index(store: &dyn EventStore) {
    let (one, other) = pair(store).await;
    let room = [(product("billing"), 9), (product("ledger"), 9)];
    for lease in store.claim(at(30), &room, super::HOLD).await.unwrap() {
        bury(store, at(30), lease, "the schedule is over").await;
    }
    for filter in filters_for_the_other(other) {
        let dead = Filter { state: Some(DeliveryState::Dead), ..filter };
        assert_eq!(listed(store, &dead).await, [other], "{dead:?}");
        let both = Filter { text: Some("schedule".into()), ..dead.clone() };
        assert_eq!(listed(store, &both).await, [other], "{both:?}");
        let neither = Filter { text: Some("SCHEDULE".into()), ..dead };
        assert!(listed(store, &neither).await.is_empty(), "{neither:?}");
    }
    let dead = Filter { state: Some(DeliveryState::Dead), ..Filter::default() };
    assert_eq!(listed(store, &dead).await, [other, one]);
}

pub(in crate::store) async fn pages_follow_each_other_while_events_arrive(store: &dyn EventStore) {
    let mut expected = Vec::new();
    for n in 0..40 {
        // Several share a millisecond.
        let products = vec![product("billing"), product("ledger")];
        let id = accept(store, at(50), NewEvent { products, ..event(at(n / 7)) }).await;
        expected.push(id);
    }
    for lease in claim(store, at(50), 25).await {
        bury(store, at(50), lease, "over").await;
    }
    for filter in [Filter::default(), Filter { product: Some("ledger".into()), ..Filter::default() }] {
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = store.list(&filter, cursor.as_deref(), 7).await.unwrap();
            assert!(page.rows.len() <= 7);
            seen.extend(page.rows.iter().map(|row| (row.received, row.event, row.product.clone())));
            // Newer than all that is listed: on none of the later pages.
            accept(store, at(60), NewEvent { products: vec![product("ledger")], ..event(at(60)) }).await;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let seen: Vec<_> = seen.into_iter().filter(|(received, ..)| *received < at(60)).collect();
        let each = if filter.product.is_some() { 1 } else { 2 };
        assert_eq!(seen.len(), expected.len() * each);
        assert!(seen.is_sorted_by(|a, b| a.0 >= b.0));
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
    }
}

pub(in crate::store) async fn a_foreign_cursor_is_refused(store: &dyn EventStore) {
    for cursor in ["", "x", "AAAA", "not base64 at all!", &"A".repeat(500)] {
        let refused = store.list(&Filter::default(), Some(cursor), 10).await.map(|page| page.rows);
        assert_eq!(refused, Err(StoreError::Cursor), "{cursor}");
    }
}

pub(in crate::store) async fn a_row_tells_where_a_delivery_stands(store: &dyn EventStore) {
    let given = NewEvent {
        identity: Some("evt_9".into()),
        kind: Some("k".into()),
        body: Payload::Memory(vec![1; 77].into()),
        ..event(at(1))
    };
    let id = accept(store, at(2), given.clone()).await;
    let row = all(store, &Filter::default(), 1).await.remove(0);
    assert_eq!((row.event, &row.route, &row.product), (id, &given.route, &given.products[0]));
    assert_eq!((&row.verifier, &row.kind, &row.identity), (&given.verifier, &given.kind, &given.identity));
    assert_eq!((row.received, row.size, row.state), (at(1), 77, DeliveryState::Due));
    assert_eq!((row.attempts, row.replays, row.due, row.reason), (0, 0, Some(at(2)), None));
    assert_eq!(row.changed, at(2));
    claim(store, at(3), 1).await;
    let row = all(store, &Filter::default(), 1).await.remove(0);
    assert_eq!((row.state, row.due, row.changed), (DeliveryState::Leased, None, at(3)));
}

pub(in crate::store) async fn every_event_and_key_is_walked_to(store: &dyn EventStore) {
    let mut accepted = Vec::new();
    for second in [5, 1, 3, 2, 4] {
        let known = (key(&second.to_string()), at(second + 1000));
        accepted.push((accept(store, at(9), NewEvent { duplicate: Some(known), ..event(at(second)) }).await, known));
    }
    let (mut walked, mut place) = (Vec::new(), 0);
    loop {
        let step = store.walk(place, 2).await.unwrap();
        let Some((last, _)) = step.last() else { break };
        place = *last;
        walked.extend(step.into_iter().map(|(_, id)| id));
    }
    assert_eq!(walked, accepted.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let step = store.known_keys(after, 2).await.unwrap();
        let Some(last) = step.last() else { break };
        after = Some(last.key);
        keys.extend(step.into_iter().map(|known| (known.event, (known.key, known.until))));
    }
    accepted.sort_by_key(|(_, (key, _))| *key);
    assert_eq!(keys, accepted);
}
