//! `[limits]`

use crate::base::sizes::ByteSize;
use crate::config::plan::Limits;
use crate::config::raw::{Item, Section};

pub(super) fn read(table: &Section<'_>) -> Limits {
    Limits {
        connections: table.take("connections", Item::count).unwrap_or(10_000),
        websockets: table.take("websockets", Item::count).unwrap_or(5000),
        header_bytes: table.take("header_bytes", header_bytes).unwrap_or(ByteSize(32 << 10)),
        headers: table.take("headers", |item| item.integer(1..=10_000)).unwrap_or(100),
        h2_streams: table.take("h2_streams", |item| item.integer(1..=i64::from(i32::MAX))).unwrap_or(256),
        buffer_bytes: table.take("buffer_bytes", buffer_bytes).unwrap_or(ByteSize(64 << 10)),
        intake_bytes: table.take("intake_bytes", Item::size).unwrap_or(ByteSize(1 << 30)),
    }
}

/// Below 8 KiB the HTTP library refuses to work (hyper's smallest read buffer).
fn header_bytes(item: &Item<'_>) -> Option<ByteSize> {
    within(item, ByteSize(8 << 10), ByteSize(1 << 20))
}

/// An h2 window is at most 2^31 - 1 bytes (RFC 9113, section 6.9.1).
fn buffer_bytes(item: &Item<'_>) -> Option<ByteSize> {
    within(item, ByteSize(8 << 10), ByteSize(1 << 30))
}

pub(super) fn within(item: &Item<'_>, least: ByteSize, most: ByteSize) -> Option<ByteSize> {
    let size = item.size()?;
    if (least..=most).contains(&size) { Some(size) } else { item.wrong(&format!("a size from {least} to {most}")) }
}
