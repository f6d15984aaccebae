//! Receiving a webhook's body whole: bounded, in memory while small, in a file of the store's disk once it is not.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::base::payload::{MEMORY_MAX, Payload, SpillFile};
use crate::exchange::body::Upload;
use crate::exchange::error::RequestError;

/// How much is gathered before it is written to a spill file.
const WRITE_AT: usize = 256 * 1024;
/// When to come back after the store's disk failed.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

/// The bytes of bodies that were received and not verified yet, over all routes.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<AtomicU64>);

/// A share of them; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    held: Held,
    bytes: u64,
    limit: u64,
}

impl Held {
    /// No bytes yet, of at most `limit` over all shares.
    pub(super) fn share(&self, limit: u64) -> Share {
        Share { held: self.clone(), bytes: 0, limit }
    }
}

impl Share {
    /// Takes `more` bytes, unless that is over the limit.
    fn grow(&mut self, more: u64) -> Result<(), RequestError> {
        let before = self.held.0.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if before + more > self.limit { Err(RequestError::Store { retry_after: RETRY_AFTER }) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Receives `upload` to its end; what it holds counts towards `share`. Files go below `directory`.
pub(super) async fn receive(upload: &mut Upload, share: &mut Share, directory: &Path) -> Result<Payload, RequestError> {
    let first = match next(upload).await? {
        None => return Ok(Payload::Memory(Bytes::new())),
        Some(first) => first,
    };
    share.grow(first.len() as u64)?;
    // Most bodies come in one piece: that piece is the payload.
    let Some(second) = next(upload).await? else {
        return if first.len() <= MEMORY_MAX {
            Ok(Payload::Memory(first))
        } else {
            spill_whole(first, directory).await
        };
    };
    share.grow(second.len() as u64)?;
    let mut gathered = BytesMut::with_capacity(MEMORY_MAX.min(first.len() * 4));
    gathered.extend_from_slice(&first);
    gathered.extend_from_slice(&second);
    while gathered.len() <= MEMORY_MAX {
        match next(upload).await? {
            None => return Ok(Payload::Memory(gathered.freeze())),
            Some(data) => {
                share.grow(data.len() as u64)?;
                gathered.extend_from_slice(&data);
            }
        }
    }
    let mut spill = Spill::create(directory.to_owned()).await?;
    while let Some(data) = next(upload).await? {
        share.grow(data.len() as u64)?;
        gathered.extend_from_slice(&data);
        if gathered.len() >= WRITE_AT {
            spill = spill.write(gathered.split().freeze()).await?;
        }
    }
    spill.write(gathered.freeze()).await?.finish()
}

async fn spill_whole(bytes: Bytes, directory: &Path) -> Result<Payload, RequestError> {
    Spill::create(directory.to_owned()).await?.write(bytes).await?.finish()
}

async fn next(upload: &mut Upload) -> Result<Option<Bytes>, RequestError> {
    while let Some(frame) = Pin::new(&mut *upload).frame().await {
        // Trailers of a webhook mean nothing: no scheme signs them.
        if let Ok(data) = frame?.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A body on its way into a file, which goes when this is dropped unfinished.
struct Spill {
    file: tempfile::NamedTempFile,
    written: u64,
}

impl Spill {
    async fn create(directory: PathBuf) -> Result<Self, RequestError> {
        let create = move || tempfile::Builder::new().prefix("intake-").tempfile_in(directory);
        Ok(Self { file: blocking(create).await?, written: 0 })
    }

    async fn write(mut self, bytes: Bytes) -> Result<Self, RequestError> {
        blocking(move || {
            self.file.write_all(&bytes)?;
            Ok(Self { written: self.written + bytes.len() as u64, ..self })
        })
        .await
    }

    fn finish(self) -> Result<Payload, RequestError> {
        let (file, path) = self.file.keep().map_err(|error| disk_failed(&error.error))?;
        Ok(Payload::File(Arc::new(SpillFile::temporary(file, path, self.written))))
    }
}

fn disk_failed(error: &std::io::Error) -> RequestError {
    tracing::error!(%error, "a large webhook body cannot be written to the store's disk");
    RequestError::Store { retry_after: RETRY_AFTER }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, RequestError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(disk_failed(&error)),
        Err(_panicked) => Err(RequestError::Internal),
    }
}
