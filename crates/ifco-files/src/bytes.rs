//! The bytes of a file, or of a part of it, read where they lie.
//!
//! A weights file inside a `.keras` is usually stored uncompressed: it is read in place, so
//! that opening a model costs its arrays and not the file besides.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// A range of bytes in a file on disk or in memory. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Bytes {
    store: Store,
    start: u64,
    len: u64,
}

#[derive(Debug, Clone)]
enum Store {
    File(Arc<File>),
    Memory(Arc<Vec<u8>>),
}

impl Bytes {
    /// The file at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            // Opening a directory succeeds on some systems and reading it fails late.
            let kind = if metadata.is_dir() {
                io::ErrorKind::IsADirectory
            } else {
                io::ErrorKind::InvalidInput
            };
            return Err(io::Error::new(kind, "not a regular file"));
        }
        Ok(Self {
            len: metadata.len(),
            start: 0,
            store: Store::File(Arc::new(file)),
        })
    }

    /// Bytes in memory.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self {
            len: bytes.len() as u64,
            start: 0,
            store: Store::Memory(Arc::new(bytes)),
        }
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether they lie in a file, beside which others may lie.
    pub fn is_on_disk(&self) -> bool {
        matches!(self.store, Store::File(_))
    }

    /// The part `start..start + len`; `None` when it does not lie inside.
    pub fn slice(&self, start: u64, len: u64) -> Option<Self> {
        let end = start.checked_add(len)?;
        (end <= self.len).then(|| Self {
            store: self.store.clone(),
            start: self.start + start,
            len,
        })
    }

    /// Fills `buffer` from `offset` on.
    pub fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let inside = offset
            .checked_add(buffer.len() as u64)
            .is_some_and(|end| end <= self.len);
        if !inside {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = self.start + offset;
        match &self.store {
            Store::File(file) => read_file_at(file, at, buffer),
            Store::Memory(bytes) => {
                // `at + len` lies inside the vector, so it fits a usize.
                let at = at as usize;
                buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
                Ok(())
            }
        }
    }

    /// The first bytes, at most `n`.
    pub fn head(&self, n: usize) -> io::Result<Vec<u8>> {
        let mut head = vec![0; n.min(usize::try_from(self.len).unwrap_or(n))];
        self.read_exact_at(0, &mut head)?;
        Ok(head)
    }

    /// A reader from the start.
    pub fn reader(&self) -> Reader {
        Reader {
            bytes: self.clone(),
            position: 0,
        }
    }
}

#[cfg(unix)]
fn read_file_at(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

#[cfg(not(unix))]
fn read_file_at(mut file: &File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    // The handle is opened here and never shared between threads while a file is read.
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(buffer)
}

/// Reads [`Bytes`] in order.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    position: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.bytes.len.saturating_sub(self.position);
        let n = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.bytes
            .read_exact_at(self.position, &mut buffer[..n])
            .or_else(|error| if n == 0 { Ok(()) } else { Err(error) })?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
