//! Files that lie beside each other, on disk or in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::FileError;
use crate::bytes::Bytes;

/// A folder, which is all that a checkpoint or a SavedModel in it can reach.
#[derive(Debug)]
pub(crate) enum Folder {
    /// At this path; empty for the current one.
    Disk(PathBuf),
    /// Files by their names, with `/`, and the path that stands for the folder in errors.
    Memory(PathBuf, BTreeMap<String, Bytes>),
}

impl Folder {
    /// The file of this name; `None` where there is none.
    pub fn open(&self, name: &str) -> Result<Option<Bytes>, FileError> {
        match self {
            Self::Memory(_, files) => Ok(files.get(name).cloned()),
            Self::Disk(_) => {
                let path = self.path(name);
                match Bytes::open(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(FileError::io(&path, error)),
                }
            }
        }
    }

    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Memory(_, files) => files.contains_key(name),
            Self::Disk(_) => self.path(name).is_file(),
        }
    }

    /// Where a file of this name lies, for errors.
    pub fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Memory(path, _) | Self::Disk(path) => path.join(name),
        }
    }

    /// What the names of its files begin with that end in `.index`, sorted.
    pub fn prefixes(&self) -> Vec<String> {
        let prefix = |name: &str| Some(name.strip_suffix(".index")?.to_owned());
        let mut prefixes: Vec<String> = match self {
            Self::Memory(_, files) => {
                let here = files.keys().filter(|name| !name.contains('/'));
                here.filter_map(|name| prefix(name)).collect()
            }
            Self::Disk(path) => {
                let here = match path.as_os_str().is_empty() {
                    true => Path::new("."),
                    false => path,
                };
                let entries = std::fs::read_dir(here).into_iter().flatten().flatten();
                entries
                    .filter_map(|entry| prefix(entry.file_name().to_str()?))
                    .collect()
            }
        };
        prefixes.sort_unstable();
        prefixes
    }

    /// The whole of a file, which must be there.
    pub fn read(&self, name: &str, missing: &str) -> Result<Vec<u8>, FileError> {
        let bytes = self.open(name)?.ok_or_else(|| FileError::Missing {
            path: self.path(name),
            part: missing.into(),
            remedy: "the files of a checkpoint or SavedModel belong together: copy them all".into(),
        })?;
        whole(&bytes, &self.path(name))
    }
}

/// All of these bytes.
pub(super) fn whole(bytes: &Bytes, path: &Path) -> Result<Vec<u8>, FileError> {
    bytes
        .head(usize::try_from(bytes.len()).unwrap_or(usize::MAX))
        .map_err(|error| FileError::io(path, error))
}
