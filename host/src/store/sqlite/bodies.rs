//! Bodies too large for the database: one file each, named by event id, in `<database>-bodies/`.
//!
//! Invariant: a file and its directory entry are on disk before the commit that refers to them, and a file goes only
//! after the commit that forgets it. What a crash leaves in between are files without a row, which are swept.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::base::ids::EventId;
use crate::base::payload::{Payload, SpillFile};

/// A file without a row may belong to an event that is just being accepted; after this long it does not.
pub(super) const ORPHAN_AGE: Duration = Duration::from_secs(3600);

const SPILL: &str = "incoming";

/// The directory of body files, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Bodies {
    directory: PathBuf,
    spill: PathBuf,
    bytes: AtomicU64,
}

impl Bodies {
    /// Opens the directory, making it when it is not there. What was being received when the last process ended goes.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        let spill = directory.join(SPILL);
        for folder in [&directory, &spill] {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        }
        for unfinished in fs::read_dir(&spill)? {
            fs::remove_file(unfinished?.path())?;
        }
        let bodies = Self { directory, spill, bytes: AtomicU64::new(0) };
        let mut bytes = 0;
        bodies.each(|_, path| {
            bytes += fs::metadata(path)?.len();
            Ok(())
        })?;
        bodies.bytes.store(bytes, Ordering::Relaxed);
        Ok(bodies)
    }

    /// Where bodies are written while they are received.
    pub(super) fn spill(&self) -> &Path {
        &self.spill
    }

    /// The sum of the kept files' lengths.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Makes `body` the body of `event`, on disk when this returns. Blocks.
    pub(super) fn keep(&self, event: EventId, body: &SpillFile) -> io::Result<()> {
        let kept = self.path(event);
        body.file().sync_all()?;
        match fs::hard_link(body.path(), &kept) {
            Ok(()) => {}
            // Another file system, or one without links.
            Err(error) if matches!(error.kind(), io::ErrorKind::CrossesDevices | io::ErrorKind::Unsupported) => {
                let copy = self.spill.join(name(event));
                fs::copy(body.path(), &copy)?;
                File::open(&copy)?.sync_all()?;
                fs::rename(&copy, &kept)?;
            }
            Err(error) => return Err(error),
        }
        self.bytes.fetch_add(body.length(), Ordering::Relaxed);
        fs::set_permissions(&kept, Permissions::from_mode(0o600))?;
        File::open(&self.directory)?.sync_all()
    }

    /// The kept body of `event`.
    pub(super) fn read(&self, event: EventId) -> io::Result<Payload> {
        SpillFile::open(self.path(event)).map(|file| Payload::File(Arc::new(file)))
    }

    /// Takes the file of `event` away, when there is one. A failure leaves an orphan for the next sweep.
    pub(super) fn remove(&self, event: EventId) {
        let path = self.path(event);
        let length = fs::metadata(&path).map(|file| file.len()).unwrap_or(0);
        if fs::remove_file(&path).is_ok() {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
        }
    }

    /// Files last written more than `age` before `now` by the machine's clock.
    pub(super) fn older_than(&self, age: Duration, now: SystemTime) -> io::Result<Vec<EventId>> {
        let mut found = Vec::new();
        self.each(|event, path| {
            let written = fs::metadata(path)?.modified()?;
            if now.duration_since(written).is_ok_and(|since| since >= age) {
                found.push(event);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Every kept file. One that goes meanwhile is passed over.
    fn each(&self, mut each: impl FnMut(EventId, &Path) -> io::Result<()>) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let event = entry.file_name().to_str().and_then(EventId::parse);
            if let Some(event) = event {
                match each(event, &entry.path()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    fn path(&self, event: EventId) -> PathBuf {
        self.directory.join(name(event))
    }
}

fn name(event: EventId) -> String {
    event.to_string()
}
