//! `[log]`

use tracing_subscriber::filter::EnvFilter;

use crate::config::plan::{Log, LogFormat};
use crate::config::raw::{Item, Section, closest};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn read(table: &Section<'_>) -> Log {
    let formats = [("auto", LogFormat::Auto), ("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
    Log {
        format: table.take("format", |item| item.word(&formats)).unwrap_or(LogFormat::Auto),
        level: table.take("level", level).unwrap_or_else(|| "info".to_owned()),
    }
}

/// A lone word is a level: as a filter directive it would be the name of a module, and every misspelt level one too.
fn level(item: &Item<'_>) -> Option<String> {
    let expected = "\"error\", \"warn\", \"info\", \"debug\", \"trace\", \"off\" or filter directives";
    let text = item.text_as(expected)?;
    let directives = text.contains(['=', ',']);
    if LEVELS.contains(&text) || (directives && EnvFilter::try_new(text).is_ok()) {
        return Some(text.to_owned());
    }
    let near = closest(&text.to_ascii_lowercase(), LEVELS.into_iter());
    item.wrong_with(expected, near.map(|near| format!("did you mean {near:?}?")))
}
