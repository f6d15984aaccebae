//! Taking events in.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::super::{Accepted, EventStore, Filter, NewEvent, StoreError};
use super::{accept, all, at, claim, event, key, product};
use crate::base::ids::EventId;
use crate::base::payload::{Payload, SpillFile};

pub(in crate::store) async fn an_accepted_event_reads_back_whole(store: &dyn EventStore) {
    let given = NewEvent {
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        identity: Some("evt_123".into()),
        kind: Some("invoice.paid".into()),
        order_key: Some("acct_1".into()),
        redacted: vec!["authorization".into(), "x-token".into()],
        body: Payload::Memory(Bytes::from_static(b"\0\xff body")),
        ..event(at(0))
    };
    let id = accept(store, at(1), given.clone()).await;
    assert_eq!(id, given.id);
    let event = store.show(id).await.unwrap().unwrap().event;
    assert_eq!((&event.route, &event.verifier, event.received), (&given.route, &given.verifier, at(0)));
    assert_eq!((&event.request_id, &event.traceparent), (&given.request_id, &given.traceparent));
    assert_eq!(event.head, given.head);
    assert_eq!((event.size, &event.redacted), (7, &given.redacted));
    assert_eq!((&event.identity, &event.kind, &event.order_key), (&given.identity, &given.kind, &given.order_key));
    let body = store.body(id).await.unwrap().unwrap();
    assert_eq!(body.read(0, 100).unwrap(), &b"\0\xff body"[..]);
}

pub(in crate::store) async fn each_product_has_its_delivery(store: &dyn EventStore) {
    let products = vec![product("billing"), product("ledger"), product("audit")];
    let id = accept(store, at(0), NewEvent { products: products.clone(), ..event(at(0)) }).await;
    let room: Vec<_> = products.iter().map(|product| (product.clone(), 5)).collect();
    let leases = store.claim(at(0), &room, super::HOLD).await.unwrap();
    assert!(leases.iter().all(|lease| lease.event.id == id));
    let claimed: HashSet<_> = leases.iter().map(|lease| lease.product.clone()).collect();
    assert_eq!(claimed, products.into_iter().collect());
    assert_eq!(store.show(id).await.unwrap().unwrap().deliveries.len(), 3);
}

fn with_key(seconds: i64, text: &str, until: i64) -> NewEvent {
    NewEvent { duplicate: Some((key(text), at(until))), ..event(at(seconds)) }
}

pub(in crate::store) async fn a_known_key_gives_the_first_id_and_no_second_delivery(store: &dyn EventStore) {
    let first = accept(store, at(0), with_key(0, "a", 100)).await;
    let again = store.accept(at(1), with_key(1, "a", 101)).await.unwrap();
    assert_eq!(again, Accepted::Duplicate(first));
    let other = accept(store, at(1), with_key(1, "b", 101)).await;
    assert_eq!(super::ids(&claim(store, at(2), 10).await), [first, other]);
}

pub(in crate::store) async fn equal_keys_at_the_same_moment_are_one_event(store: &dyn EventStore) {
    let accepting = (0..32).map(|_| store.accept(at(0), with_key(0, "a", 100)));
    let outcomes = futures_util::future::try_join_all(accepting).await.unwrap();
    let new: Vec<EventId> =
        outcomes.iter().filter_map(|outcome| if let Accepted::New(id) = outcome { Some(*id) } else { None }).collect();
    assert_eq!(new.len(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Accepted::Duplicate(new[0])).count(), 31);
    assert_eq!(claim(store, at(0), 50).await.len(), 1);
}

pub(in crate::store) async fn a_key_counts_until_its_time_and_not_after(store: &dyn EventStore) {
    let first = accept(store, at(0), with_key(0, "a", 100)).await;
    assert_eq!(store.accept(at(99), with_key(99, "a", 199)).await.unwrap(), Accepted::Duplicate(first));
    let second = accept(store, at(100), with_key(100, "a", 200)).await;
    assert_eq!(store.accept(at(199), with_key(199, "a", 299)).await.unwrap(), Accepted::Duplicate(second));
}

/// A body as intake spills it.
pub(in crate::store) fn spilled(store: &dyn EventStore, bytes: &[u8]) -> Payload {
    let mut file = tempfile::NamedTempFile::new_in(store.spill_directory()).unwrap();
    file.write_all(bytes).unwrap();
    let (file, path) = file.keep().unwrap();
    Payload::File(Arc::new(SpillFile::temporary(file, path, bytes.len() as u64)))
}

pub(in crate::store) async fn a_large_body_comes_from_the_spill_directory_and_reads_back(store: &dyn EventStore) {
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i / 7) as u8).collect();
    let id = accept(store, at(0), NewEvent { body: spilled(store, &bytes), ..event(at(0)) }).await;
    // The sender's file is gone with its last owner; the store's is not.
    assert_eq!(std::fs::read_dir(store.spill_directory()).unwrap().count(), 0);
    let body = store.body(id).await.unwrap().unwrap();
    assert_eq!(body.read(0, 400_000).unwrap(), bytes);
    let lease = claim(store, at(0), 1).await.remove(0);
    assert_eq!((lease.event.size, lease.body.read(0, 400_000).unwrap()), (300_000, bytes.into()));
}

pub(in crate::store) async fn a_small_spilled_body_reads_back(store: &dyn EventStore) {
    let id = accept(store, at(0), NewEvent { body: spilled(store, b"small"), ..event(at(0)) }).await;
    assert_eq!(store.body(id).await.unwrap().unwrap().read(0, 10).unwrap(), &b"small"[..]);
}

pub(in crate::store) async fn the_same_id_twice_fails_and_spoils_nothing(store: &dyn EventStore) {
    let first = with_key(0, "a", 100);
    let again = NewEvent { duplicate: Some((key("b"), at(100))), ..first.clone() };
    let id = accept(store, at(0), first).await;
    let others = (0..10).map(|_| store.accept(at(0), event(at(0))));
    let (twice, others) =
        futures_util::future::join(store.accept(at(0), again), futures_util::future::join_all(others)).await;
    assert!(matches!(twice, Err(StoreError::Failed(_))), "{twice:?}");
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    // Its key was not kept either.
    let third = accept(store, at(0), with_key(0, "b", 100)).await;
    let rows = all(store, &Filter::default(), 100).await;
    assert_eq!(rows.len(), 12);
    assert!(rows.iter().any(|row| row.event == id) && rows.iter().any(|row| row.event == third));
    assert_eq!(store.stats().await.unwrap().states, [12, 0, 0, 0, 0, 0]);
}

pub(in crate::store) async fn what_was_never_accepted_is_not_there(store: &dyn EventStore) {
    let id = EventId::new(at(0));
    assert!(store.show(id).await.unwrap().is_none());
    assert!(store.body(id).await.unwrap().is_none());
    assert!(all(store, &Filter { event: Some(id), ..Filter::default() }, 10).await.is_empty());
}

/// Providers send what they like, and a plugin may hand all of it on.
pub(in crate::store) async fn texts_that_nobody_expects_are_taken(store: &dyn EventStore) {
    let odd = || Some(format!("a\0b \u{1f4a9} ' {} {}", '\\', "x".repeat(1000)));
    let given = NewEvent { identity: odd(), kind: odd(), order_key: odd(), ..event(at(0)) };
    let id = accept(store, at(0), given).await;
    let lease = claim(store, at(0), 1).await.remove(0);
    assert_eq!((lease.event.id, lease.event.order_key.is_some()), (id, true));
    super::bury(store, at(0), lease, "why\0not").await;
    let listed = all(store, &Filter { kind: odd(), text: Some("why".into()), ..Filter::default() }, 10).await;
    assert_eq!(listed.iter().map(|row| row.event).collect::<Vec<_>>(), [id]);
}

pub(in crate::store) async fn a_closed_store_does_nothing_more(store: &dyn EventStore) {
    let waiting = store.accept(at(0), event(at(0)));
    let (waited, closed) = futures_util::future::join(waiting, store.close()).await;
    assert!(waited.is_ok() && closed.is_ok(), "{waited:?} {closed:?}");
    assert!(store.accept(at(0), event(at(0))).await.is_err());
    assert!(store.claim(at(0), &[(product("billing"), 1)], super::HOLD).await.is_err());
    assert!(store.list(&Filter::default(), None, 10).await.is_err());
    assert!(store.stats().await.is_err());
}
