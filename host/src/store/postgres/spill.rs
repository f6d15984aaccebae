//! A folder for bodies on their way to or from the database.
//!
//! Invariant: it is locked while its process lives, and whoever finds one that is not takes it away.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const PREFIX: &str = "tollgate-spill-";

/// The folder. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Spill {
    path: PathBuf,
    /// The lock beside it.
    _lock: File,
}

impl Spill {
    /// Makes one in the system's folder for temporary files, `$TMPDIR`, and takes away what dead processes left there.
    pub(super) fn make() -> io::Result<Self> {
        let within = std::env::temp_dir();
        remove_left(&within);
        let path = within.join(format!("{PREFIX}{}-{:016x}", std::process::id(), fastrand::u64(..)));
        // First the lock: a folder without one is taken for a leftover.
        let lock = File::create_new(lock_of(&path))?;
        lock.lock()?;
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // What stays is taken away by the next that looks.
        let _left = fs::remove_dir_all(&self.path);
        let _left = fs::remove_file(lock_of(&self.path));
    }
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// Others may be at it, and others' folders may not be ours to remove: what fails is left.
fn remove_left(within: &Path) {
    let entries = fs::read_dir(within).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        let is_lock = path.extension().is_some_and(|ending| ending == "lock");
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !is_ours || !is_lock {
            continue;
        }
        if File::open(&path).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _left = fs::remove_dir_all(path.with_extension(""));
            let _left = fs::remove_file(&path);
        }
    }
}
