//! One process at a time: an advisory lock on a file beside the database, which says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::StoreError;

const POLL: Duration = Duration::from_millis(20);

/// Held while the store is open. The kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, waiting up to `wait` for another process to let go of it.
    pub(super) fn take(path: &Path, wait: Duration) -> Result<Self, StoreError> {
        let failed = |error| StoreError::Failed(format!("cannot lock {}: {error}", path.display()));
        let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
        let mut file = open.map_err(failed)?;
        let started = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if started.elapsed() >= wait => {
                    return Err(StoreError::Locked(holder(&mut file)));
                }
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!(held_by = holder(&mut file), "waiting for the store, which is open elsewhere");
                    }
                    std::thread::sleep(POLL.min(wait));
                }
            }
        }
        sign(&mut file).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "pid {}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(64).read_to_string(&mut text));
    match (read, text.trim()) {
        (Ok(_), who) if !who.is_empty() => who.to_owned(),
        _ => "an unknown process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it_and_gets_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.lock");
        let first = Lock::take(&path, Duration::ZERO).unwrap();
        let refused = Lock::take(&path, Duration::from_millis(30)).unwrap_err();
        assert_eq!(refused, StoreError::Locked(format!("pid {}", std::process::id())));
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || Lock::take(&path, Duration::from_secs(30)).map(drop)
        });
        drop(first);
        assert_eq!(waiting.join().unwrap(), Ok(()));
    }
}
