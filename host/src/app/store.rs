//! Opening the store that the configuration names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::names::SecretName;
use crate::base::secret::Secret;
use crate::config::plan::{Store, StoreUrl};
use crate::store::postgres::{PostgresOptions, PostgresStore};
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::store::{EventStore, StoreError};

/// Told how long each commit took and how many shared it.
pub(crate) type Observe = Arc<dyn Fn(Duration, usize) + Send + Sync>;

/// Opens it. Waits for what may come: another process's lock, a database that is away.
pub(crate) async fn open(
    store: &Store,
    secrets: &BTreeMap<SecretName, Secret>,
    observe: Option<Observe>,
) -> Result<Arc<dyn EventStore>, StoreError> {
    match &store.url {
        StoreUrl::Sqlite(path) => {
            let max_bytes = store.max_bytes.map(|bytes| bytes.0);
            let options = SqliteOptions { max_bytes, observe, ..SqliteOptions::default() };
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path, options)).await;
            match opened {
                Ok(opened) => Ok(opened?),
                Err(_panicked) => Err(StoreError::Failed("opening panicked".into())),
            }
        }
        StoreUrl::Postgres(plan) => {
            let secret = plan.password.as_ref().and_then(|name| secrets.get(name));
            let passwords = secret.map(|secret| secret.values.iter().map(|value| value.text.clone()).collect());
            let passwords = passwords.unwrap_or_default();
            let options = PostgresOptions { passwords, observe, ..PostgresOptions::new(plan.clone()) };
            Ok(PostgresStore::open(options).await?)
        }
    }
}
