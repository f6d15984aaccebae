//! What only this engine does: files, locks, bounds, corruption, crashes. The rest is the conformance suite.

mod crash;
mod files;
mod scale;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::conformance::Fixture;
use super::{SqliteOptions, SqliteStore};

super::super::conformance::conformance!(crate::store::sqlite::tests::fixture);

async fn fixture() -> Option<Fixture> {
    let (folder, path) = folder();
    Some(Fixture { store: open(&path), _keep: Box::new(folder) })
}

pub(super) fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tollgate.db");
    (folder, path)
}

pub(super) fn open(path: &Path) -> Arc<SqliteStore> {
    open_with(path, SqliteOptions::default())
}

fn open_with(path: &Path, options: SqliteOptions) -> Arc<SqliteStore> {
    SqliteStore::open(path, SqliteOptions { lock_wait: Duration::from_secs(10), ..options }).unwrap()
}
