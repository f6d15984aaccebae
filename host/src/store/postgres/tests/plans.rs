//! That a page costs what it shows, whatever is in the tables.

use super::super::super::conformance::at;
use super::super::super::{DeliveryState, EventStore, Filter};
use super::super::pool::Use;
use super::super::select::page_of;
use super::server::Server;
use super::{open, plan};

/// A hundred thousand dead letters, of which one is of another kind.
const FILL: &str = "INSERT INTO tollgate_event (key, id, received, size, crc, in_pieces, deliveries, route, verifier,
        request_id, head, body)
    SELECT i, decode(lpad(to_hex(i), 32, '0'), 'hex'), i, 0, 0, false, 1, 'hooks', 'stripe', 'r', '', ''
    FROM generate_series(1, 100000) AS i;
    INSERT INTO tollgate_delivery (id, state, received, changed, product, route, verifier, kind, reason)
    SELECT i * 256, 3, i, i, 'billing', 'hooks', 'stripe', CASE i WHEN 777 THEN 'rare' ELSE 'common' END, 'over'
    FROM generate_series(1, 100000) AS i; ANALYZE";

#[tokio::test]
async fn a_page_of_dead_letters_looks_at_no_more_than_it_shows() {
    let Some(server) = Server::shared() else { return };
    let plan = plan(server);
    let store = open(plan.clone()).await;
    server.sql(&plan.database, FILL);
    let dead = |kind: &str| Filter { state: Some(DeliveryState::Dead), kind: Some(kind.into()), ..Filter::default() };
    let mut held = store.inner.pool.take(Use::Search).await.unwrap();
    let connection = &mut held.connection;
    let rare = page_of(connection, &dead("rare"), None, 3, 1).await.unwrap();
    assert_eq!((rare.rows.len(), rare.next), (1, None));
    let common = page_of(connection, &dead("common"), None, 3, 4).await.unwrap();
    assert_eq!(common.rows.iter().map(|row| row.received.millis()).collect::<Vec<_>>(), [100_000, 99_999, 99_998]);
    let next = page_of(connection, &dead("common"), common.next.as_deref(), 3, 4).await.unwrap();
    assert_eq!(next.rows[0].received.millis(), 99_997);
    // Without an index the page ends early and says where to go on.
    let slow = Filter { text: Some("nowhere".into()), ..Filter::default() };
    let none = page_of(connection, &slow, None, 3, 1000).await.unwrap();
    assert!(none.rows.is_empty() && none.next.is_some());
    let since = Filter { since: Some(crate::base::clock::Timestamp::from_millis(99_990)), ..slow };
    assert_eq!(page_of(connection, &since, None, 3, 1000).await.unwrap().next, None);
    store.inner.pool.give(held, Ok(())).unwrap();
}

/// The database itself says how it would find what is due, next in its line, and listed.
#[tokio::test]
async fn what_must_stay_quick_walks_an_index() {
    let Some(server) = Server::shared() else { return };
    let plan = plan(server);
    let store = open(plan.clone()).await;
    server.sql(&plan.database, FILL);
    server.sql(
        &plan.database,
        "INSERT INTO tollgate_delivery (id, state, received, due, changed, product, route, verifier, order_key)
         SELECT i * 256 + 1, 0, i, i, i, 'billing', 'hooks', 'stripe', 'k' || i % 100 FROM generate_series(1, 20000) AS i;
         ANALYZE",
    );
    for (sql, index) in [
        (
            "SELECT id FROM tollgate_delivery d WHERE d.product = 'billing' AND d.due <= 5000 AND d.due IS NOT NULL
                AND NOT d.behind ORDER BY d.due, d.id LIMIT 50 FOR UPDATE OF d SKIP LOCKED",
            "tollgate_delivery_due",
        ),
        (
            "SELECT min(e.id) FROM tollgate_delivery e WHERE e.product = 'billing' AND e.route = 'hooks'
                AND e.order_key = 'k7' AND e.order_key IS NOT NULL AND e.due IS NOT NULL",
            "tollgate_delivery_ordered",
        ),
        (
            "SELECT id FROM tollgate_delivery d WHERE d.state = 3 AND d.received >= 0 AND d.received <= 90000
                AND (d.received < 90000 OR d.id < 7) ORDER BY d.received DESC, d.id DESC LIMIT 50",
            "tollgate_delivery",
        ),
    ] {
        let plan = server.sql(&plan.database, &format!("EXPLAIN {sql}"));
        assert!(plan.contains(&format!("using {index}")), "{sql}\n{plan}");
        assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{sql}\n{plan}");
    }
    assert!(store.list(&Filter::default(), None, 10).await.unwrap().rows[0].received < at(0));
}
