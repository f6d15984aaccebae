//! The tables, how they came to be, and how a connection to them is opened.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::super::StoreError;
use super::failure;

/// Bytes of a database page.
pub(super) const PAGE_BYTES: u64 = 8192;

/// Deliveries of one event have the ids `event.key * DELIVERIES_MAX + n`: an event's deliveries are one range of rows,
/// and ids rise in the order events were accepted.
pub(super) const DELIVERIES_MAX: i64 = 256;

/// Step `n` takes a store from version `n` to `n + 1`. A step that was released is never edited.
const MIGRATIONS: [&str; 1] = [
    // `delivery.due` is when a worker may take it: its time while due, the lease's end while leased, else null.
    // `delivery.behind` is 1 while an earlier one of its order key is known to be unfinished.
    // `event.body` stands last, so that whoever reads the rest does not read it; null when it is in a file.
    // What lists filter by is repeated in `delivery`, so that a scan does not touch the wide rows of `event`.
    "CREATE TABLE event (
        key INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        route TEXT NOT NULL,
        verifier TEXT NOT NULL,
        received INTEGER NOT NULL,
        request_id TEXT NOT NULL,
        traceparent TEXT,
        head BLOB NOT NULL,
        size INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        in_file INTEGER NOT NULL,
        identity TEXT,
        kind TEXT,
        order_key TEXT,
        redacted BLOB,
        body BLOB
    ) STRICT;
    CREATE TABLE delivery (
        id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        received INTEGER NOT NULL,
        due INTEGER,
        behind INTEGER NOT NULL DEFAULT 0,
        token INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        scheduled INTEGER NOT NULL DEFAULT 0,
        replays INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL,
        product TEXT NOT NULL,
        route TEXT NOT NULL,
        verifier TEXT NOT NULL,
        kind TEXT,
        order_key TEXT,
        reason TEXT
    ) STRICT;
    CREATE INDEX delivery_due ON delivery (product, due) WHERE due IS NOT NULL AND behind = 0;
    CREATE INDEX delivery_ordered ON delivery (product, route, order_key)
        WHERE order_key IS NOT NULL AND due IS NOT NULL;
    CREATE INDEX delivery_listed ON delivery (state, received);
    CREATE INDEX delivery_dead_route ON delivery (route, received) WHERE state = 3;
    CREATE INDEX delivery_dead_product ON delivery (product, received) WHERE state = 3;
    CREATE INDEX delivery_dead_verifier ON delivery (verifier, received) WHERE state = 3;
    CREATE INDEX delivery_dead_kind ON delivery (kind, received) WHERE state = 3;
    CREATE TABLE attempt (
        delivery INTEGER NOT NULL,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        took INTEGER NOT NULL,
        status INTEGER,
        error TEXT,
        answer BLOB NOT NULL,
        PRIMARY KEY (delivery, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE duplicate (
        key BLOB PRIMARY KEY,
        until INTEGER NOT NULL,
        event BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE duplicate_recent (
        n INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        until INTEGER NOT NULL,
        event BLOB NOT NULL
    ) STRICT;",
];

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that writes.
    Writer,
    /// Any number that read.
    Reader,
    /// The one that carries the log into the database.
    Checkpoint,
}

/// Makes the file when it is not there, readable for its owner only, and brings its tables up to date.
pub(super) fn create(path: &Path) -> Result<Connection, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    let owned = file.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
    owned.map_err(|error| StoreError::Failed(format!("cannot open {}: {error}", path.display())))?;
    let mut connection = connect(path, Role::Writer)?;
    migrate(&mut connection)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let synced = File::open(parent).and_then(|directory| directory.sync_all());
        synced.map_err(|error| StoreError::Failed(format!("cannot sync {}: {error}", parent.display())))?;
    }
    Ok(connection)
}

/// Opens a connection to a store that is there.
pub(super) fn connect(path: &Path, role: Role) -> Result<Connection, StoreError> {
    let access = match role {
        Role::Writer | Role::Checkpoint => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failure)?;
    prepare(&connection, role).map_err(failure)?;
    Ok(connection)
}

fn prepare(connection: &Connection, role: Role) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(128);
    if role == Role::Writer {
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "journal_size_limit", 512 << 20)?;
    }
    if role != Role::Reader {
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    }
    // In KiB, as a negative number.
    let cache = if role == Role::Writer { -65_536 } else { -8_192 };
    connection.pragma_update(None, "cache_size", cache)?;
    connection.pragma_update(None, "temp_store", "memory")
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = MIGRATIONS.len();
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failure)?;
    if version > known {
        let newer = format!("it was written by a newer tollgate (schema {version}, this one knows {known})");
        return Err(StoreError::Failed(newer));
    }
    for (index, step) in MIGRATIONS.iter().enumerate().skip(version) {
        let apply = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", index + 1)?;
            transaction.commit()
        };
        apply(connection).map_err(failure)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        let connection = create(&path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let Err(StoreError::Failed(why)) = create(&path) else { panic!("it opened") };
        assert!(why.contains("newer tollgate (schema 99"), "{why}");
    }

    #[test]
    fn a_store_opens_again_with_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        drop(create(&path).unwrap());
        let connection = create(&path).unwrap();
        let text = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0)).unwrap();
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(text("journal_mode"), "wal");
        assert_eq!(number("page_size"), 8192);
        assert_eq!(number("synchronous"), 2, "full");
        assert_eq!(number("user_version"), 1);
    }
}
