//! Zip archives: their entries, bounded and checked.

use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::bytes::{Bytes, Reader};
use crate::{FileError, Limits};

/// A zip archive of a model file.
pub(crate) struct Zipped<'a> {
    zip: ZipArchive<BufReader<Reader>>,
    bytes: &'a Bytes,
    path: &'a Path,
    limits: &'a Limits,
}

impl<'a> Zipped<'a> {
    /// Reads the archive's directory.
    pub fn open(bytes: &'a Bytes, path: &'a Path, limits: &'a Limits) -> Result<Self, FileError> {
        let zip = ZipArchive::new(BufReader::with_capacity(1 << 16, bytes.reader()))
            .map_err(|error| damaged(path, "", error))?;
        if zip.has_duplicate_names() {
            return Err(FileError::Zip {
                path: path.into(),
                entry: String::new(),
                reason: "two entries have the same name".into(),
            });
        }
        Ok(Self {
            zip,
            bytes,
            path,
            limits,
        })
    }

    /// The entries' names, in the archive's order.
    pub fn names(&self) -> Vec<String> {
        self.zip
            .file_names_raw()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    pub fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// The number of an entry.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.zip.index_for_name(name)
    }

    /// An entry's bytes: in place if they are stored, else unpacked.
    pub fn content(&mut self, index: usize, name: &str) -> Result<Bytes, FileError> {
        self.content_in_place(index, name)
            .map(|(content, _)| content)
    }

    /// An entry's bytes, and whether they lie in the archive as they are.
    pub fn content_in_place(
        &mut self,
        index: usize,
        name: &str,
    ) -> Result<(Bytes, bool), FileError> {
        let size = self.entry_size(index, name)?;
        let path = self.path;
        let mut entry = self
            .zip
            .by_index(index)
            .map_err(|error| damaged(path, name, error))?;
        if entry.compression() == CompressionMethod::Stored {
            let start = entry.data_start();
            // Reading to the end compares the checksum: a damaged weight would otherwise be
            // a wrong number that nobody notices.
            io::copy(&mut entry, &mut io::sink())
                .map_err(|error| damaged(path, name, error.into()))?;
            drop(entry);
            return start
                .and_then(|start| self.bytes.slice(start, size))
                .map(|content| (content, true))
                .ok_or_else(|| FileError::Zip {
                    path: path.into(),
                    entry: name.into(),
                    reason: "the entry reaches beyond the end of the file".into(),
                });
        }
        drop(entry);
        Ok((Bytes::from_vec(self.unpack(index, name, size)?), false))
    }

    /// The unpacked size that an entry claims, if it may be that large.
    pub fn entry_size(&mut self, index: usize, name: &str) -> Result<u64, FileError> {
        let entry = self
            .zip
            .by_index_data(index)
            .map_err(|error| damaged(self.path, name, error))?;
        if entry.encrypted() {
            return Err(FileError::Unsupported {
                path: self.path.into(),
                what: format!("{name} in the archive is encrypted"),
                remedy: "unpack the archive with its password and zip it without".into(),
            });
        }
        let size = entry.size();
        let limit = self.limits.unpacked(self.bytes.len());
        if size <= limit {
            return Ok(size);
        }
        Err(FileError::Limit {
            path: self.path.into(),
            what: format!("{name} in the archive, unpacked,"),
            found: size,
            limit,
            field: "expansion",
        })
    }

    /// Unpacks an entry of at most `size` bytes: its own claim, already found acceptable.
    pub fn unpack(&mut self, index: usize, name: &str, size: u64) -> Result<Vec<u8>, FileError> {
        let path = self.path;
        let entry = self
            .zip
            .by_index(index)
            .map_err(|error| damaged(path, name, error))?;
        let mut unpacked = Vec::new();
        entry
            .take(size + 1)
            .read_to_end(&mut unpacked)
            .map_err(|error| damaged(path, name, error.into()))?;
        if unpacked.len() as u64 != size {
            return Err(FileError::Zip {
                path: path.into(),
                entry: name.into(),
                reason: format!("it unpacks to another size than the {size} bytes it claims"),
            });
        }
        Ok(unpacked)
    }
}

fn damaged(path: &Path, entry: &str, error: ZipError) -> FileError {
    let reason = match error {
        ZipError::CompressionMethodNotSupported(_) | ZipError::UnsupportedArchive(_) => {
            return FileError::Unsupported {
                path: path.into(),
                what: format!("the zip archive cannot be read: {error}"),
                remedy: "zip its files again, stored or deflated".into(),
            };
        }
        ZipError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the file ends too early".to_string()
        }
        // The directory of a zip stands at its end.
        ZipError::InvalidArchive(reason) if reason.contains("EOCD") => {
            "its end is missing: was it cut off as it was copied?".to_string()
        }
        ZipError::InvalidArchive(reason) => reason.into_owned(),
        error => error.to_string(),
    };
    FileError::Zip {
        path: path.into(),
        entry: entry.into(),
        reason,
    }
}
