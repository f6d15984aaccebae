//! What every engine must do: the sentences of [`EventStore`]'s documentation, each as a test against `dyn EventStore`.
//! An engine runs them all with `conformance!(open)`, where `open` gives a [`Fixture`], or none where it cannot run.

pub(super) mod accepting;
pub(super) mod changing;
pub(super) mod delivering;
pub(super) mod listing;
pub(super) mod ordering;
pub(super) mod reserving;
pub(super) mod restoring;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Accepted, Attempt, DeliveryRow, DeliveryState, EventStore, Filter, Head, Lease, NewEvent, Settlement};
use crate::base::clock::Timestamp;
use crate::base::digest::Digest;
use crate::base::ids::EventId;
use crate::base::names::{PluginName, ProductName, RouteName};
use crate::base::payload::Payload;

/// An empty store, and what must live as long as it does.
pub(super) struct Fixture {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) _keep: Box<dyn Any>,
}

/// A test for each sentence, against what `$open` gives.
macro_rules! conformance {
    ($open:path; $($part:ident: $($sentence:ident)*;)*) => {
        $(mod $part {
            $(#[tokio::test]
            async fn $sentence() {
                // Where the engine's server is not installed, that has been said.
                let Some(fixture) = $open().await else { return };
                crate::store::conformance::$part::$sentence(&*fixture.store).await;
            })*
        })*
    };
    ($open:path) => {
        crate::store::conformance::conformance! { $open;
            accepting:
                an_accepted_event_reads_back_whole
                each_product_has_its_delivery
                a_known_key_gives_the_first_id_and_no_second_delivery
                equal_keys_at_the_same_moment_are_one_event
                a_key_counts_until_its_time_and_not_after
                a_large_body_comes_from_the_spill_directory_and_reads_back
                a_small_spilled_body_reads_back
                the_same_id_twice_fails_and_spoils_nothing
                what_was_never_accepted_is_not_there
                texts_that_nobody_expects_are_taken
                a_closed_store_does_nothing_more;
            reserving:
                a_held_key_is_in_progress_for_everybody_else
                equal_keys_at_the_same_moment_are_held_once
                a_released_key_may_be_held_again
                a_concluded_key_is_a_duplicate_from_then_on
                the_key_of_an_accepted_event_is_not_held
                a_hold_that_ran_out_may_be_taken_over
                a_late_conclusion_counts_while_nobody_else_has_the_key
                an_event_is_accepted_whoever_holds_its_key;
            restoring:
                a_restored_event_is_as_it_was
                an_event_that_is_there_is_not_restored
                a_restored_event_is_delivered_when_it_is_due
                a_restored_key_is_known_unless_anothers_is
                restored_events_are_in_line_as_they_came
                many_are_restored_at_once;
            delivering:
                a_lease_carries_the_event
                a_claim_takes_the_longest_due_first_and_no_more_than_there_is_room
                nothing_is_claimed_before_it_is_due
                concurrent_claims_give_a_delivery_once
                a_lease_that_ran_out_is_due_again
                a_lost_lease_changes_nothing
                a_clock_that_steps_loses_nothing
                a_late_settlement_counts_while_nobody_else_has_it
                a_retry_waits_for_its_time_and_counts_an_attempt
                a_release_counts_no_attempt
                a_dead_letter_keeps_its_reason_and_attempts
                a_parked_delivery_is_not_claimed
                no_more_of_an_answer_is_kept_than_its_bound
                next_due_is_the_earliest_time_of_these_products
                changed_returns_once_something_may_be_due_sooner;
            changing:
                replay_makes_finished_ones_due_any_number_of_times
                replay_leaves_due_and_leased_ones_alone
                replay_takes_no_more_than_its_limit
                replay_does_not_ask_the_duplicate_window
                drop_lets_go_and_keeps_the_duplicate_key
                drop_takes_no_more_than_its_limit
                adopt_parks_what_is_not_served_and_takes_it_back
                a_sweep_takes_what_is_past_its_retention
                a_sweep_keeps_an_event_until_its_last_delivery_is_past
                a_sweep_never_takes_what_is_not_finished
                a_sweep_takes_large_bodies_and_many_events
                a_sweep_takes_keys_past_their_window
                stats_count_every_state;
            listing:
                newest_comes_first
                every_field_of_a_filter_holds
                a_filter_for_dead_letters_holds_with_each_index
                pages_follow_each_other_while_events_arrive
                a_foreign_cursor_is_refused
                a_row_tells_where_a_delivery_stands
                every_event_and_key_is_walked_to;
            ordering:
                one_key_is_delivered_in_the_order_it_came
                a_retry_holds_up_the_rest_of_its_key_only
                a_dead_letter_no_longer_blocks
                a_parked_one_no_longer_blocks
                a_dropped_one_no_longer_blocks
                keys_are_apart_by_product_and_route
                a_replayed_one_goes_before_later_ones
                a_long_line_does_not_hide_others;
        }
    };
}
pub(super) use conformance;

pub(super) const HOLD: Duration = Duration::from_secs(30);

/// A time of these tests: `seconds` after their beginning.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_790_000_000 + seconds)
}

pub(super) fn product(name: &str) -> ProductName {
    ProductName::new(name).unwrap()
}

pub(super) fn route(name: &str) -> RouteName {
    RouteName::new(name).unwrap()
}

/// An event received at `now`, on route `hooks` for product `billing`.
pub(super) fn event(now: Timestamp) -> NewEvent {
    NewEvent {
        id: EventId::new(now),
        route: route("hooks"),
        verifier: PluginName::new("stripe").unwrap(),
        received: now,
        request_id: "request-1".into(),
        traceparent: None,
        head: Head {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "example.com".into(),
            target: "/hooks?x=1".into(),
            path: "/hooks".into(),
            headers: vec![("x-a".into(), Bytes::from_static(b"1")), ("x-a".into(), Bytes::from_static(b"\xff2"))],
            client: "203.0.113.9".into(),
        },
        body: Payload::Memory(Bytes::from_static(b"{}")),
        identity: None,
        kind: None,
        order_key: None,
        duplicate: None,
        products: vec![product("billing")],
        redacted: Vec::new(),
    }
}

/// The duplicate key made of `text`.
pub(super) fn key(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

pub(super) async fn accept(store: &dyn EventStore, now: Timestamp, event: NewEvent) -> EventId {
    match store.accept(now, event).await.unwrap() {
        Accepted::New(id) => id,
        Accepted::Duplicate(id) => panic!("a duplicate of {id}"),
    }
}

/// Accepts one event and leases its only delivery.
pub(super) async fn leased(store: &dyn EventStore, now: Timestamp, event: NewEvent) -> Lease {
    let id = accept(store, now, event).await;
    let lease = claim(store, now, 1).await.remove(0);
    assert_eq!(lease.event.id, id);
    lease
}

/// Claims for `billing`.
pub(super) async fn claim(store: &dyn EventStore, now: Timestamp, most: u32) -> Vec<Lease> {
    store.claim(now, &[(product("billing"), most)], HOLD).await.unwrap()
}

pub(super) fn attempt(lease: &Lease, now: Timestamp, status: u16) -> Attempt {
    Attempt {
        number: lease.attempt,
        at: now,
        took: Duration::from_millis(12),
        status: Some(status),
        error: (status >= 300).then(|| format!("answered {status}")),
        answer: Bytes::from_static(b"ok"),
    }
}

pub(super) async fn deliver(store: &dyn EventStore, now: Timestamp, lease: Lease) {
    let delivered = Settlement::Delivered(attempt(&lease, now, 200));
    assert!(store.settle(now, &lease, delivered).await.unwrap());
}

pub(super) async fn bury(store: &dyn EventStore, now: Timestamp, lease: Lease, reason: &str) {
    let dead = Settlement::Dead { attempt: attempt(&lease, now, 500), reason: reason.into() };
    assert!(store.settle(now, &lease, dead).await.unwrap());
}

pub(super) async fn retry(store: &dyn EventStore, now: Timestamp, lease: Lease, again: Timestamp) {
    let retry = Settlement::Retry { attempt: attempt(&lease, now, 503), at: again };
    assert!(store.settle(now, &lease, retry).await.unwrap());
}

/// The only delivery of an event.
pub(super) async fn row(store: &dyn EventStore, id: EventId) -> DeliveryRow {
    store.show(id).await.unwrap().unwrap().deliveries.remove(0).0
}

pub(super) async fn state(store: &dyn EventStore, id: EventId) -> DeliveryState {
    row(store, id).await.state
}

/// Every row of a filter, all pages of `limit`.
pub(super) async fn all(store: &dyn EventStore, filter: &Filter, limit: u32) -> Vec<DeliveryRow> {
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.list(filter, cursor.as_deref(), limit).await.unwrap();
        assert!(page.rows.len() <= limit as usize);
        rows.extend(page.rows);
        cursor = page.next;
        if cursor.is_none() {
            return rows;
        }
    }
}

pub(super) fn ids(leases: &[Lease]) -> Vec<EventId> {
    leases.iter().map(|lease| lease.event.id).collect()
}
