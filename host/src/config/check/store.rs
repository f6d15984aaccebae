//! `[store]`

use std::path::PathBuf;
use std::time::Duration;

use super::later;
use crate::config::plan::{Store, StoreUrl};
use crate::config::raw::{Item, Section};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn read(table: &Section<'_>) -> Store {
    let default = || table.reading.absolute("tollgate.db");
    let (retain_delivered, retain_dead) = table.within("retain", |retain| {
        let forever = |item: &Item<'_>| item.duration_or("forever");
        (retain.take("delivered", forever).unwrap_or(Some(WEEK)), retain.take("dead", forever).unwrap_or(None))
    });
    Store {
        url: StoreUrl::Sqlite(table.take("url", url).unwrap_or_else(default)),
        retain_delivered,
        retain_dead,
        max_bytes: table.take("max_bytes", Item::size_or_off).unwrap_or(None),
    }
}

fn url(item: &Item<'_>) -> Option<PathBuf> {
    let expected = "\"sqlite:PATH\" or \"postgres://…\"";
    let text = item.text_as(expected)?;
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        later::refuse_value(item, "postgres");
        return None;
    }
    let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty() && !path.contains('\0')) else {
        return item.wrong(expected);
    };
    if let Some(host) = path.strip_prefix("//").filter(|rest| !rest.starts_with('/')) {
        return item.wrong_with(expected, Some(format!("did you mean \"sqlite:{host}\"?")));
    }
    if path.contains('?') || path.starts_with(':') {
        return item.wrong_with(expected, Some("a plain path; it takes no options".to_owned()));
    }
    Some(item.reading.absolute(path))
}
