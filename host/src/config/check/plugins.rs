//! `[plugins]` and `[plugin.NAME]`

use std::time::Duration;

use super::limits::within;
use crate::base::digest::Digest;
use crate::base::names::PluginName;
use crate::base::sizes::ByteSize;
use crate::config::plan::{PluginLimits, PluginOverride, Plugins};
use crate::config::raw::{Item, Section};

const DEFAULT: PluginLimits =
    PluginLimits { memory: ByteSize(32 << 20), deadline: Duration::from_millis(100), reuse: 1, compare: 0 };

pub(super) fn read(root: &Section<'_>) -> Plugins {
    let (directory, sources, defaults) = root.within("plugins", |table| {
        let directory = table.take("directory", Item::file).unwrap_or_else(|| table.reading.absolute("plugins"));
        let sources = table.take("sources", |item| item.each(Item::file));
        (directory, sources, limits(table, &DEFAULT))
    });
    let overrides = root.named("plugin", PluginName::new, |table| {
        let sha256 = table.take("sha256", digest);
        Some(PluginOverride { limits: limits(table, &defaults), sha256 })
    });
    let sources = sources.unwrap_or_else(|| vec![root.reading.absolute("")]);
    Plugins { directory, sources, defaults, overrides }
}

fn limits(table: &Section<'_>, outer: &PluginLimits) -> PluginLimits {
    PluginLimits {
        memory: table.take("memory", memory).unwrap_or(outer.memory),
        deadline: table.take("deadline", deadline).unwrap_or(outer.deadline),
        reuse: table.take("reuse", |item| item.integer(1..=i64::from(u32::MAX))).unwrap_or(outer.reuse),
        compare: table.take("compare", compare).unwrap_or(outer.compare),
    }
}

/// Requests with their bodies, in memory: no more than helps.
fn compare(item: &Item<'_>) -> Option<usize> {
    if item.as_text() == Some("off") { Some(0) } else { item.integer(1..=1000) }
}

/// From a page of linear memory to all that 32-bit wasm can address.
fn memory(item: &Item<'_>) -> Option<ByteSize> {
    within(item, ByteSize(64 << 10), ByteSize(4 << 30))
}

fn deadline(item: &Item<'_>) -> Option<Duration> {
    let deadline = item.duration()?;
    if deadline <= Duration::from_secs(60) { Some(deadline) } else { item.wrong("a duration of at most \"60s\"") }
}

fn digest(item: &Item<'_>) -> Option<Digest> {
    let expected = "a SHA-256 digest of 64 hex digits";
    Digest::parse(item.text_as(expected)?).or_else(|| item.wrong(expected))
}
