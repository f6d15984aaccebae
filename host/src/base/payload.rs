//! A received body: in memory while small, in a file once it is not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// How much of a body is held in memory before it is spilled to a file.
pub const MEMORY_MAX: usize = 64 * 1024;

const CHUNK: usize = 64 * 1024;

/// A whole body, readable any number of times. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Payload {
    /// At most [`MEMORY_MAX`] bytes when it came off the wire.
    Memory(Bytes),
    /// A file that holds exactly the body.
    File(Arc<SpillFile>),
}

/// A file with a body in it. The file goes when the last owner does.
#[derive(Debug)]
pub struct SpillFile {
    file: File,
    path: PathBuf,
    length: u64,
    temporary: bool,
}

impl SpillFile {
    /// A finished temporary file of `length` bytes.
    pub fn temporary(file: File, path: PathBuf, length: u64) -> Self {
        Self { file, path, length, temporary: true }
    }

    /// Opens a body that a store keeps; dropping it leaves the file in place.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { file, path, length, temporary: false })
    }

    /// The file, for syncing and linking.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        if self.temporary {
            // A file that a store linked elsewhere lives on under its other name.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

impl Payload {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.length,
        }
    }

    /// At most `length` bytes from `offset`; shorter at the end of the body.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let rest = self.length().saturating_sub(offset);
        let length = length.min(usize::try_from(rest).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(Bytes::new());
        }
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                Ok(bytes.slice(start..start + length))
            }
            Self::File(spill) => {
                let mut buffer = vec![0; length];
                spill.file.read_exact_at(&mut buffer, offset)?;
                Ok(buffer.into())
            }
        }
    }

    /// Shows every byte to `each`, in order, in pieces.
    pub fn for_each(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => each(bytes),
            Self::File(spill) => {
                let mut buffer = vec![0; CHUNK];
                let mut offset = 0;
                while offset < spill.length {
                    let want = CHUNK.min(usize::try_from(spill.length - offset).unwrap_or(CHUNK));
                    spill.file.read_exact_at(&mut buffer[..want], offset)?;
                    each(&buffer[..want]);
                    offset += want as u64;
                }
            }
        }
        Ok(())
    }

    /// A reader over the bytes.
    pub fn reader(&self) -> Reader<'_> {
        Reader { payload: self, offset: 0 }
    }
}

/// Reads a [`Payload`] from its start.
#[derive(Debug)]
pub struct Reader<'a> {
    payload: &'a Payload,
    offset: u64,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.payload.length() - self.offset).unwrap_or(usize::MAX);
        let count = into.len().min(rest);
        match self.payload {
            Payload::Memory(bytes) => {
                let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
                into[..count].copy_from_slice(&bytes[start..start + count]);
            }
            Payload::File(spill) => spill.file.read_exact_at(&mut into[..count], self.offset)?,
        }
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn spilled(bytes: &[u8]) -> Payload {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("writes");
        let (file, path) = file.keep().expect("stays");
        Payload::File(Arc::new(SpillFile::temporary(file, path, bytes.len() as u64)))
    }

    #[test]
    fn memory_and_file_read_the_same() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        for payload in [Payload::Memory(bytes.clone().into()), spilled(&bytes)] {
            assert_eq!(payload.length(), 200_000);
            assert_eq!(payload.read(199_990, 100).expect("reads"), bytes[199_990..]);
            assert_eq!(payload.read(300_000, 10).expect("reads"), Bytes::new());
            let mut seen = Vec::new();
            payload.for_each(|piece| seen.extend_from_slice(piece)).expect("reads");
            assert_eq!(seen, bytes);
            let mut seen = Vec::new();
            payload.reader().read_to_end(&mut seen).expect("reads");
            assert_eq!(seen, bytes);
        }
    }

    #[test]
    fn a_temporary_file_goes_with_its_last_owner() {
        let payload = spilled(b"x");
        let Payload::File(file) = &payload else { panic!("a file") };
        let path = file.path().to_owned();
        let copy = payload.clone();
        drop(payload);
        assert!(path.exists());
        drop(copy);
        assert!(!path.exists());
    }
}
