//! Events that come from another store, with all that became of them.

use std::time::Duration;

use bytes::Bytes;

use super::super::{Accepted, Attempt, DeliveryState, EventStore, NewEvent, Restored};
use super::accepting::spilled;
use super::{accept, at, claim, deliver, event, ids, key, product};
use crate::base::clock::Timestamp;
use crate::base::ids::EventId;

/// A delivery to `billing` after one attempt.
fn once(state: DeliveryState, due: Option<Timestamp>) -> Restored {
    let attempt = Attempt {
        number: 1,
        at: at(1),
        took: Duration::from_millis(7),
        status: Some(500),
        error: Some("answered 500".into()),
        answer: Bytes::from_static(b"no"),
    };
    Restored {
        product: product("billing"),
        state,
        due,
        attempts: 1,
        replays: 2,
        reason: Some("answered 500".into()),
        changed: at(2),
        history: vec![attempt],
    }
}

async fn restore(store: &dyn EventStore, event: NewEvent, deliveries: Vec<Restored>) -> EventId {
    let id = event.id;
    assert!(store.restore(at(50), event, deliveries).await.unwrap());
    id
}

pub(in crate::store) async fn a_restored_event_is_as_it_was(store: &dyn EventStore) {
    let large = vec![5; 300_000];
    let given = NewEvent {
        body: spilled(store, &large),
        kind: Some("invoice.paid".into()),
        redacted: vec!["x-token".into()],
        ..event(at(0))
    };
    let to_ledger =
        Restored { product: product("ledger"), history: Vec::new(), ..once(DeliveryState::Delivered, None) };
    let deliveries = vec![once(DeliveryState::Dead, None), to_ledger.clone()];
    let id = restore(store, given.clone(), deliveries.clone()).await;
    let detail = store.show(id).await.unwrap().unwrap();
    assert_eq!((&detail.event.head, detail.event.received, detail.event.size), (&given.head, at(0), 300_000));
    assert_eq!((&detail.event.kind, &detail.event.redacted), (&given.kind, &given.redacted));
    assert_eq!(store.body(id).await.unwrap().unwrap().read(0, 400_000).unwrap(), large);
    for ((row, history), given) in detail.deliveries.iter().zip(&deliveries) {
        assert_eq!((&row.product, row.state, row.due), (&given.product, given.state, given.due));
        assert_eq!((row.attempts, row.replays, row.changed), (1, 2, at(2)));
        assert_eq!((&row.reason, history), (&given.reason, &given.history));
    }
    assert_eq!(store.stats().await.unwrap().states, [0, 0, 1, 1, 0, 0]);
}

pub(in crate::store) async fn an_event_that_is_there_is_not_restored(store: &dyn EventStore) {
    let given = NewEvent { body: spilled(store, &[5; 300_000]), ..event(at(0)) };
    let id = accept(store, at(0), given.clone()).await;
    let other = NewEvent { id, body: spilled(store, &[6; 300_000]), ..event(at(0)) };
    assert!(!store.restore(at(50), other, vec![once(DeliveryState::Dead, None)]).await.unwrap());
    let kept = store.body(id).await.unwrap().unwrap();
    assert_eq!(kept.read(0, 1).unwrap(), [5][..], "its body is its own");
    assert_eq!(store.stats().await.unwrap().states, [1, 0, 0, 0, 0, 0]);
}

pub(in crate::store) async fn a_restored_event_is_delivered_when_it_is_due(store: &dyn EventStore) {
    let later = restore(store, event(at(0)), vec![once(DeliveryState::Due, Some(at(100)))]).await;
    let leased = restore(store, event(at(1)), vec![once(DeliveryState::Leased, None)]).await;
    restore(store, event(at(2)), vec![once(DeliveryState::Parked, None)]).await;
    let mut leases = claim(store, at(99), 10).await;
    assert_eq!(ids(&leases), [leased]);
    let lease = leases.remove(0);
    assert_eq!((lease.attempt, lease.scheduled_attempt, lease.replay), (2, 1, 2));
    deliver(store, at(99), lease).await;
    assert_eq!(ids(&claim(store, at(100), 10).await), [later]);
    assert_eq!(store.stats().await.unwrap().states, [0, 1, 1, 0, 1, 0]);
}

pub(in crate::store) async fn a_restored_key_is_known_unless_anothers_is(store: &dyn EventStore) {
    let with_key = |text: &str| NewEvent { duplicate: Some((key(text), at(1000))), ..event(at(0)) };
    let first = accept(store, at(0), with_key("a")).await;
    restore(store, with_key("a"), vec![once(DeliveryState::Dead, None)]).await;
    let restored = restore(store, with_key("b"), vec![once(DeliveryState::Dead, None)]).await;
    assert_eq!(store.accept(at(60), with_key("a")).await.unwrap(), Accepted::Duplicate(first));
    assert_eq!(store.accept(at(60), with_key("b")).await.unwrap(), Accepted::Duplicate(restored));
}

pub(in crate::store) async fn restored_events_are_in_line_as_they_came(store: &dyn EventStore) {
    let ordered = |second| NewEvent { order_key: Some("a".into()), ..event(at(second)) };
    let first = restore(store, ordered(0), vec![once(DeliveryState::Due, None)]).await;
    let second = restore(store, ordered(1), vec![once(DeliveryState::Due, None)]).await;
    for id in [first, second] {
        let mut leases = claim(store, at(60), 10).await;
        assert_eq!(ids(&leases), [id]);
        deliver(store, at(60), leases.remove(0)).await;
    }
}
