//! The order some deliveries stand in: only the first unfinished one of a product, a route and an order key may be taken.
//!
//! Invariant: a delivery is put behind only while its putter holds the row of an unfinished one before it, and whoever
//! finishes one looks for the next after it has that row. So one of the two sees the other, and none is left behind.

use super::failure::Failure;
use super::pool::Connection;

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) product: String,
    pub(super) route: String,
    pub(super) key: String,
}

/// Lets the first unfinished delivery of each line go, now that one before it is finished. Within a transaction, after the
/// statement that finished it.
pub(super) async fn advance(connection: &mut Connection, lines: &[&Line]) -> Result<(), Failure> {
    const ADVANCE: &str = "UPDATE tollgate_delivery SET behind = false WHERE behind AND id IN (
        SELECT (SELECT min(d.id) FROM tollgate_delivery d
            WHERE d.product = l.product AND d.route = l.route AND d.order_key = l.key AND d.due IS NOT NULL)
        FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS l (product, route, key))";
    if lines.is_empty() {
        return Ok(());
    }
    let mut lines = lines.to_vec();
    lines.sort();
    lines.dedup();
    let products: Vec<&str> = lines.iter().map(|line| line.product.as_str()).collect();
    let routes: Vec<&str> = lines.iter().map(|line| line.route.as_str()).collect();
    let keys: Vec<_> = lines.iter().map(|line| super::text(&line.key)).collect();
    let statement = connection.statement(ADVANCE).await?;
    connection.client().execute(&statement, &[&products, &routes, &keys]).await?;
    Ok(())
}
