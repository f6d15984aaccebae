//! Bodies too large for a row: pieces that are written before the event that refers to them, and go after it. What a crash
//! leaves in between are pieces without an event, which are swept.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::StoreError;
use super::failure::Failure;
use super::pool::{Connection, Use};
use super::{Inner, in_time, off_the_loop};
use crate::base::ids::EventId;
use crate::base::payload::{Payload, SpillFile};

/// Bytes of a piece: what one statement carries.
const PIECE: usize = 512 << 10;

impl Inner {
    /// Writes the body of `event`, one piece after the other, and gives back its checksum.
    pub(super) async fn keep_pieces(&self, event: EventId, body: &Payload) -> Result<u32, Failure> {
        let mut checksum = crc32fast::Hasher::new();
        let mut offset = 0;
        let mut number = 0;
        while offset < body.length() {
            let piece = {
                let body = body.clone();
                off_the_loop(move || body.read(offset, PIECE)).await?
            };
            checksum.update(&piece);
            let mut held = self.pool.take(Use::Work).await?;
            let done = in_time(keep(&mut held.connection, event, number, &piece)).await;
            self.pool.give(held, done)?;
            offset += piece.len() as u64;
            number += 1;
        }
        Ok(checksum.finalize())
    }

    /// Takes the pieces of an event that came to nothing away. A failure leaves them to the sweep.
    pub(super) async fn forget_pieces(&self, event: EventId) {
        const FORGET: &str = "DELETE FROM tollgate_body WHERE event = $1";
        let Ok(mut held) = self.pool.take(Use::Work).await else { return };
        let forget = async {
            let statement = held.connection.statement(FORGET).await?;
            Ok(held.connection.client().execute(&statement, &[&&event.bytes()[..]]).await?)
        };
        let done = in_time(forget).await;
        if let Err(failure) = self.pool.give(held, done) {
            tracing::debug!(error = %failure.error(), "a body without an event is left to the sweep");
        }
    }
}

async fn keep(connection: &mut Connection, event: EventId, number: i32, piece: &[u8]) -> Result<(), Failure> {
    // Again after a break: the same bytes.
    const KEEP: &str =
        "INSERT INTO tollgate_body (event, n, bytes) VALUES ($1, $2, $3) ON CONFLICT (event, n) DO NOTHING";
    let statement = connection.statement(KEEP).await?;
    connection.client().execute(&statement, &[&&event.bytes()[..], &number, &piece]).await?;
    Ok(())
}

/// Fetches a body into a file of its own, checked against its length and checksum.
pub(super) async fn fetch(
    connection: &mut Connection,
    spill: &Path,
    event: EventId,
    size: u64,
    crc: u32,
) -> Result<Payload, Failure> {
    const FETCH: &str = "SELECT bytes FROM tollgate_body WHERE event = $1 AND n = $2";
    let statement = connection.statement(FETCH).await?;
    let mut file = Fetching::into(spill.to_owned()).await?;
    let mut number = 0i32;
    while file.length < size {
        let found = async { Ok(connection.client().query_opt(&statement, &[&&event.bytes()[..], &number]).await?) };
        let found = in_time(found).await?;
        let Some(row) = found else { break };
        let piece: Vec<u8> = row.get(0);
        file = off_the_loop(move || file.write(&piece)).await?;
        number += 1;
    }
    let Fetching { spilled, length, checksum } = file;
    let corrupt = |why: &str| StoreError::Corrupt(format!("the body of {event}: {why}"));
    if length == 0 {
        return Err(corrupt("it is gone").into());
    }
    if length != size || checksum.finalize() != crc {
        return Err(corrupt("its checksum does not match").into());
    }
    let (file, path) = spilled.into_parts();
    let path = path.keep().map_err(|error| on_disk(&error.error))?;
    Ok(Payload::File(Arc::new(SpillFile::temporary(file, path, length))))
}

struct Fetching {
    spilled: tempfile::NamedTempFile<File>,
    length: u64,
    checksum: crc32fast::Hasher,
}

impl Fetching {
    async fn into(spill: PathBuf) -> Result<Self, StoreError> {
        let spilled = off_the_loop(move || tempfile::NamedTempFile::new_in(spill)).await?;
        Ok(Self { spilled, length: 0, checksum: crc32fast::Hasher::new() })
    }

    fn write(mut self, piece: &[u8]) -> io::Result<Self> {
        self.spilled.as_file_mut().write_all(piece)?;
        self.checksum.update(piece);
        self.length += piece.len() as u64;
        Ok(self)
    }
}

pub(super) fn on_disk(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Failed(format!("cannot keep a body: {error}")),
    }
}
