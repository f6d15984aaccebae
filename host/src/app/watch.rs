//! Noticing that the configuration file, a secret's, a certificate's or a key's file, or a plugin changed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::live::Live;
use crate::base::drain::Drain;

/// Between two looks. A change is taken up once a file was the same in two of them.
const EVERY: Duration = Duration::from_millis(500);

type Stamps = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Lets the supervisor's watchdog know that the workers are well.
pub(super) async fn dog(live: Arc<Live>, workers: Vec<Handle>) {
    live.supervisor.feed(workers).await;
}

/// Rebuilds the routes when a plugin went live or away: what methods a webhook route takes is the plugin's to say.
pub(super) async fn replugged(live: Arc<Live>, replugged: Arc<Notify>, drain: Drain) {
    loop {
        tokio::select! {
            () = replugged.notified() => live.rebuild().await,
            () = drain.wait() => return,
        }
    }
}

/// Reloads when the configuration file, or a file that it names, changed.
pub(super) async fn files(live: Arc<Live>, drain: Drain) {
    let mut taken_up = look(&live).await;
    let mut last = taken_up.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = drain.wait() => return,
        }
        let now = look(&live).await;
        if now == last && now != taken_up {
            // What went wrong is in the log and the metrics already.
            let _outcome = live.reload().await;
            // What changed since the look that led to the reload may have come too late for it.
            let before: BTreeMap<_, _> = now.into_iter().collect();
            let listed = look(&live).await.into_iter();
            taken_up =
                listed.map(|(path, stamp)| (path.clone(), before.get(&path).copied().unwrap_or(stamp))).collect();
            last.clone_from(&taken_up);
        } else {
            last = now;
        }
    }
}

async fn look(live: &Live) -> Stamps {
    let files = live.files();
    let stamps = move || {
        let stamp = |path: &PathBuf| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        files
            .into_iter()
            .map(|path| {
                let stamp = stamp(&path);
                (path, stamp)
            })
            .collect()
    };
    tokio::task::spawn_blocking(stamps).await.unwrap_or_default()
}
