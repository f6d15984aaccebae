//! That the queries that must stay quick use their index, whatever is in the tables.

use rusqlite::Connection;

use super::super::super::{DeliveryState, Filter};
use super::super::select::{Order, Position, Search};
use super::{folder, open};
use crate::base::clock::Timestamp;

fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let count = statement.parameter_count();
    let rows = statement.query_map(rusqlite::params_from_iter(vec![1; count]), |row| row.get::<_, String>(3)).unwrap();
    rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}

#[test]
fn every_list_walks_an_index_and_sorts_nothing() {
    let (_folder, path) = folder();
    let _store = open(&path);
    let connection = Connection::open(&path).unwrap();
    let some = || Some("x".to_owned());
    let filters = [
        Filter::default(),
        Filter { kind: some(), ..Filter::default() },
        Filter { product: some(), ..Filter::default() },
        Filter { route: some(), ..Filter::default() },
        Filter { provider: some(), text: some(), ..Filter::default() },
    ];
    for filter in &filters {
        for order in [Order::Newest, Order::Oldest] {
            let after = Some(Position { received: 5, id: 5 });
            let states = &DeliveryState::ALL;
            let search = Search { filter, states, order, after, most: 10, look: 10 };
            for sql in search.texts(&connection).unwrap() {
                let plan = plan(&connection, &sql);
                assert!(plan.contains("SEARCH delivery USING INDEX delivery_"), "{plan}\n{sql}");
                assert!(plan.contains("received"), "{plan}\n{sql}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}\n{sql}");
            }
        }
    }
}

/// A hundred thousand dead letters, of which one is of another kind: the same page as among ten.
#[tokio::test]
async fn a_page_of_dead_letters_looks_at_no_more_than_it_shows() {
    let (_folder, path) = folder();
    let store = open(&path);
    const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
        INSERT INTO delivery (id, state, received, changed, product, route, verifier, kind, reason)
        SELECT i * 256, 3, i, i, 'billing', 'hooks', 'stripe', CASE i WHEN 777 THEN 'rare' ELSE 'common' END, 'over' FROM n";
    let fill = |ledger: &mut super::super::ledger::Ledger<'_>| ledger.connection.execute(FILL, []);
    store.writer.ask(0, fill).await.unwrap();
    let searched = |filter: Filter, look: usize| {
        store.search(move |connection| {
            let states = &DeliveryState::ALL;
            let search = Search { filter: &filter, states, order: Order::Newest, after: None, most: 3, look };
            search.run(connection, |_| true)
        })
    };
    let dead = |kind: &str| Filter { state: Some(DeliveryState::Dead), kind: Some(kind.into()), ..Filter::default() };
    let rare = searched(dead("rare"), 1).await.unwrap();
    assert_eq!((rare.deliveries.len(), rare.next), (1, None));
    let common = searched(dead("common"), 4).await.unwrap();
    assert_eq!(common.deliveries.iter().map(|it| it.received.millis()).collect::<Vec<_>>(), [100_000, 99_999, 99_998]);
    assert_eq!(common.next, Some(Position { received: 99_998, id: 99_998 * 256 }));
    // Without an index the page ends early and says where to go on.
    let slow = Filter { text: Some("nowhere".into()), ..Filter::default() };
    let none = searched(slow.clone(), 1000).await.unwrap();
    assert_eq!(none.deliveries.len(), 0);
    assert_eq!(none.next.map(|next| next.received), Some(99_001));
    let since = Filter { since: Some(Timestamp::from_millis(99_990)), ..slow };
    assert_eq!(searched(since, 1000).await.unwrap().next, None);
}
