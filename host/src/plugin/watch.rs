//! Watching the plugins directory, by looking: ten times a second costs nothing that can be measured, sees symlink swaps,
//! bind mounts and network file systems that notifications miss, and needs no second mechanism for when they fail.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::registry::Plugins;
use crate::base::drain::Drain;
use crate::base::names::PluginName;

/// Between two looks; a file is read once it was the same in two of them.
const EVERY: Duration = Duration::from_millis(100);
/// A file may be gone this long before its plugin is: rm and cp is how many people replace a file.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// What the looks so far have seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    files: BTreeMap<PluginName, Seen>,
}

#[derive(Debug)]
struct Seen {
    stamp: Option<Stamps>,
    handled: Option<Stamps>,
    gone_since: Option<Instant>,
}

/// Changes whenever a file's content may have. Of the file a symlink leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some(Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }
}

/// Of a plugin and of the vectors beside it, which decide with it.
type Stamps = (Stamp, Option<Stamp>);

/// What a look asks for.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Changed(PluginName, PathBuf),
    Removed(PluginName),
}

impl Watch {
    /// Takes in what is there now. With `settled`, a file need not be the same twice.
    fn look(&mut self, now: Instant, there: BTreeMap<PluginName, (PathBuf, Stamps)>, settled: bool) -> Vec<Found> {
        let mut found = Vec::new();
        for (name, (path, stamp)) in &there {
            let seen = self.files.entry(name.clone()).or_insert(Seen { stamp: None, handled: None, gone_since: None });
            seen.gone_since = None;
            let steady = settled || seen.stamp == Some(*stamp);
            seen.stamp = Some(*stamp);
            if steady && seen.handled != Some(*stamp) {
                seen.handled = Some(*stamp);
                found.push(Found::Changed(name.clone(), path.clone()));
            }
        }
        self.files.retain(|name, seen| {
            if there.contains_key(name) {
                return true;
            }
            let gone = now.duration_since(*seen.gone_since.get_or_insert(now)) >= GONE_AFTER;
            if gone {
                found.push(Found::Removed(name.clone()));
            }
            !gone
        });
        found
    }
}

impl Plugins {
    /// Looks once and returns when every file that is there was loaded or refused.
    pub async fn scan(&self) {
        self.look(true).await;
    }

    /// Keeps looking until `drain` starts.
    pub async fn watch(self: Arc<Self>, drain: Drain) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => self.look(false).await,
                () = drain.wait() => return,
            }
        }
    }

    async fn look(&self, settled: bool) {
        let mut watch = self.watch.lock().await;
        let directory = self.directory();
        let Ok(there) = tokio::task::spawn_blocking(move || files(&directory)).await else { return };
        for found in watch.look(Instant::now(), there, settled) {
            match found {
                Found::Removed(name) => self.removed(&name),
                Found::Changed(name, path) => {
                    if let Ok(wasm) = tokio::task::spawn_blocking(move || Self::read(&path)).await {
                        self.changed(&name, wasm).await;
                    }
                }
            }
        }
    }
}

/// The plugin files of a directory. One that cannot be read holds none.
fn files(directory: &Path) -> BTreeMap<PluginName, (PathBuf, Stamps)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return BTreeMap::new() };
    let plugin = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let name = PluginName::new(path.file_name()?.to_str()?.strip_suffix(".wasm")?)?;
        let stamps = (Stamp::of(&path)?, Stamp::of(&directory.join(format!("{name}.vectors.jsonl"))));
        Some((name, (path, stamps)))
    };
    entries.filter_map(Result::ok).filter_map(plugin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp { device: 1, inode: 1, size, modified: (0, 0), changed: (0, 0) }
    }

    fn there(size: u64) -> BTreeMap<PluginName, (PathBuf, Stamps)> {
        [(name(), (PathBuf::from("a.wasm"), (stamp(size), None)))].into()
    }

    fn name() -> PluginName {
        PluginName::new("a").expect("a name")
    }

    #[test]
    fn a_file_is_read_once_it_stopped_changing() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        let changed = vec![Found::Changed(name(), "a.wasm".into())];
        assert_eq!(watch.look(now, there(1), false), []);
        assert_eq!(watch.look(now, there(2), false), []);
        assert_eq!(watch.look(now, there(2), false), changed);
        assert_eq!(watch.look(now, there(2), false), []);
    }

    #[test]
    fn other_vectors_are_a_reason_to_look_again() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.look(now, there(1), true);
        let with_vectors = || [(name(), (PathBuf::from("a.wasm"), (stamp(1), Some(stamp(2)))))].into();
        assert_eq!(watch.look(now, with_vectors(), false), []);
        assert_eq!(watch.look(now, with_vectors(), false), [Found::Changed(name(), "a.wasm".into())]);
    }

    #[test]
    fn a_file_is_gone_after_a_second_not_at_once() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.look(now, there(1), true);
        let none = BTreeMap::new;
        assert_eq!(watch.look(now, none(), false), []);
        assert_eq!(watch.look(now + GONE_AFTER / 2, none(), false), []);
        assert_eq!(watch.look(now + GONE_AFTER, none(), false), [Found::Removed(name())]);
        assert_eq!(watch.look(now + GONE_AFTER * 2, none(), false), []);
    }

    #[test]
    fn a_file_that_comes_back_in_time_was_never_gone() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.look(now, there(1), true);
        watch.look(now, BTreeMap::new(), false);
        watch.look(now + GONE_AFTER / 2, there(1), false);
        assert_eq!(watch.look(now + GONE_AFTER * 3, BTreeMap::new(), false), []);
    }
}
