//! `[timeouts]`, and what products and routes change of them.

use std::time::Duration;

use crate::config::plan::Timeouts;
use crate::config::raw::{Item, Section};

const DEFAULT: Timeouts = Timeouts {
    handshake: Some(Duration::from_secs(5)),
    header: Some(Duration::from_secs(10)),
    body: Some(Duration::from_secs(30)),
    keepalive: Some(Duration::from_secs(75)),
    connect: Some(Duration::from_secs(2)),
    response: Some(Duration::from_secs(30)),
    idle: Some(Duration::from_secs(300)),
    total: None,
    drain: Some(Duration::from_secs(30)),
    drain_delay: Some(Duration::ZERO),
};

/// Those of the gateway.
pub(super) fn read(table: &Section<'_>) -> Timeouts {
    Timeouts {
        handshake: table.take("handshake", off_or).unwrap_or(DEFAULT.handshake),
        header: table.take("header", off_or).unwrap_or(DEFAULT.header),
        keepalive: table.take("keepalive", off_or).unwrap_or(DEFAULT.keepalive),
        drain: table.take("drain", delay_or_off).unwrap_or(DEFAULT.drain),
        drain_delay: table.take("drain_delay", delay_or_off).unwrap_or(DEFAULT.drain_delay),
        ..of_exchange(table, DEFAULT)
    }
}

/// Those of an exchange, the only ones a product or a route has; what it does not write is as in `outer`.
pub(super) fn of_exchange(table: &Section<'_>, outer: Timeouts) -> Timeouts {
    Timeouts {
        body: table.take("body", off_or).unwrap_or(outer.body),
        connect: table.take("connect", off_or).unwrap_or(outer.connect),
        response: table.take("response", off_or).unwrap_or(outer.response),
        idle: table.take("idle", off_or).unwrap_or(outer.idle),
        total: table.take("total", off_or).unwrap_or(outer.total),
        ..outer
    }
}

/// What `own` writes, as it was read into `resolved`; what it does not write is as in `outer`.
pub(super) fn over(own: &Section<'_>, resolved: &Timeouts, outer: &Timeouts) -> Timeouts {
    let pick = |key, resolved, outer| if own.item(key).is_some() { resolved } else { outer };
    Timeouts {
        body: pick("body", resolved.body, outer.body),
        connect: pick("connect", resolved.connect, outer.connect),
        response: pick("response", resolved.response, outer.response),
        idle: pick("idle", resolved.idle, outer.idle),
        total: pick("total", resolved.total, outer.total),
        ..outer.clone()
    }
}

fn off_or(item: &Item<'_>) -> Option<Option<Duration>> {
    item.duration_or("off")
}

fn delay_or_off(item: &Item<'_>) -> Option<Option<Duration>> {
    if item.as_text() == Some("off") { Some(None) } else { item.delay().map(Some) }
}
