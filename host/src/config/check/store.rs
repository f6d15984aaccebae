//! `[store]`

use std::collections::BTreeSet;
use std::time::Duration;

use super::postgres;
use crate::base::names::SecretName;
use crate::config::plan::{Store, StoreUrl};
use crate::config::raw::{Item, Section};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn read(table: &Section<'_>, secrets: &BTreeSet<&str>) -> Store {
    let default = || StoreUrl::Sqlite(table.reading.absolute("tollgate.db"));
    let (retain_delivered, retain_dead) = table.within("retain", |retain| {
        let forever = |item: &Item<'_>| item.duration_or("forever");
        (retain.take("delivered", forever).unwrap_or(Some(WEEK)), retain.take("dead", forever).unwrap_or(None))
    });
    let password = table.take("password", |item| item.reference("secret", secrets, SecretName::new));
    let connections = table.take("connections", |item| item.integer(postgres::CONNECTIONS));
    let mut store = Store {
        url: table.take("url", url).unwrap_or_else(default),
        retain_delivered,
        retain_dead,
        max_bytes: table.take("max_bytes", Item::size_or_off).unwrap_or(None),
    };
    match &mut store.url {
        StoreUrl::Postgres(postgres) => {
            postgres.password = password;
            postgres.connections = connections.unwrap_or(postgres.connections);
            if let Some(item) = table.item("max_bytes").filter(|_| store.max_bytes.is_some()) {
                let problem = item.problem("`store.max_bytes` bounds the embedded store only");
                table.reading.report(problem.help("give the database a disk or a tablespace of that size"));
            }
        }
        StoreUrl::Sqlite(_) => {
            for key in ["password", "connections"] {
                if let Some(item) = table.item(key) {
                    let problem = item.problem(format!("`store.{key}` needs a store.url that begins with postgres://"));
                    table.reading.report(problem.help("remove it"));
                }
            }
        }
    }
    store
}

fn url(item: &Item<'_>) -> Option<StoreUrl> {
    let expected = "\"sqlite:PATH\" or \"postgres://…\"";
    let text = item.text_as(expected)?;
    if let Some(rest) = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
        return postgres::read(item, rest).map(StoreUrl::Postgres);
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
    Some(StoreUrl::Sqlite(item.reading.absolute(path)))
}
