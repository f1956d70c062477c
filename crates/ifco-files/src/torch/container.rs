//! The two containers of `torch.save`, and TorchScript's.
//!
//! A zip, since PyTorch 1.6: below one folder, `data.pkl` is the pickle, `data/0`, `data/1`, …
//! the storages it refers to, `byteorder` tells their byte order; a script has `code/` too.
//!
//! Before, and with `_use_new_zipfile_serialization=False`: five pickles one after the other (a
//! magic number, the version 1001, the machine's properties, the object, the keys of its
//! storages), then each storage in that order, its length in front.

use std::collections::HashMap;
use std::path::Path;

use super::pickle::{self, Dialect, Heap, Input, Node, PickleError, Storage, Value};
use crate::arrays::dtype::Dtype;
use crate::bytes::Bytes;
use crate::zipped::Zipped;
use crate::{FileError, Limits};

/// The first pickle of a legacy file: the number 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Whether these first bytes are those of a legacy file.
pub(super) fn is_legacy(head: &[u8]) -> bool {
    matches!(head, [0x80, _, rest @ ..] if rest.starts_with(LEGACY))
}

/// What a file of PyTorch holds.
pub(super) struct Saved<'a> {
    pub heap: Heap,
    pub root: Value,
    pub dialect: Dialect,
    storages: Storages<'a>,
    big_endian: bool,
    path: &'a Path,
    budget: u64,
}

enum Storages<'a> {
    Zip {
        zip: Zipped<'a>,
        /// `archive/data/`
        folder: String,
        found: HashMap<String, Bytes>,
    },
    Legacy(HashMap<String, Bytes>),
}

impl<'a> Saved<'a> {
    /// Opens a zip whose pickle is the entry `pickle`.
    pub fn zip(
        mut zip: Zipped<'a>,
        pickle: &str,
        path: &'a Path,
        size: u64,
        limits: &Limits,
    ) -> Result<Self, FileError> {
        let folder = pickle.strip_suffix("data.pkl").unwrap_or_default();
        let mut budget = limits.unpacked(size);
        let content = content(&mut zip, pickle, path)?;
        check_size(content.len(), path, limits)?;
        let dialect = if zip.has(&format!("{folder}constants.pkl")) {
            Dialect::Script
        } else {
            Dialect::Saved
        };
        let (heap, root) = pickle::read(&mut Input::new(&content), dialect, &mut budget)
            .map_err(|error| refused(path, pickle, error, limits, size))?;
        let order = format!("{folder}byteorder");
        let big_endian = match zip.index(&order) {
            Some(index) => {
                let order = zip.content(index, &order)?;
                let order = order.head(16).map_err(|error| FileError::io(path, error))?;
                order.starts_with(b"big")
            }
            None => false,
        };
        Ok(Self {
            heap,
            root,
            dialect,
            big_endian,
            path,
            budget,
            storages: Storages::Zip {
                folder: format!("{folder}data/"),
                zip,
                found: HashMap::new(),
            },
        })
    }

    /// Opens a legacy file.
    pub fn legacy(bytes: &Bytes, path: &'a Path, limits: &Limits) -> Result<Self, FileError> {
        const PART: &str = "the pickle";
        let size = bytes.len();
        let mut budget = limits.unpacked(size);
        let mut input = Input::new(bytes);
        let mut next = |budget: &mut u64| {
            let start = input.position();
            let read = pickle::read(&mut input, Dialect::Saved, budget)
                .map_err(|error| refused(path, PART, error, limits, size))?;
            let end = input.position();
            check_size(end - start, path, limits)?;
            Ok::<_, FileError>((read, end))
        };
        let damaged = |reason: &str| FileError::Damaged {
            path: path.into(),
            part: PART.into(),
            reason: reason.into(),
        };
        next(&mut budget)?;
        let ((_, version), _) = next(&mut budget)?;
        if version != Value::Int(1001) {
            return Err(FileError::Unsupported {
                path: path.into(),
                what: "a file of a PyTorch before 1.0 or of an unknown version".into(),
                remedy: super::RESAVE.into(),
            });
        }
        let ((system, properties), _) = next(&mut budget)?;
        let big_endian = match system.node(properties) {
            Some(Node::Dict(pairs)) => pairs.iter().any(|(key, value)| {
                system.text(*key) == Some("little_endian") && *value == Value::Bool(false)
            }),
            _ => false,
        };
        let ((heap, root), _) = next(&mut budget)?;
        let ((list, keys), end) = next(&mut budget)?;
        let keys = list
            .items(keys)
            .ok_or_else(|| damaged("its storages are not listed"))?;
        let sizes = storage_sizes(&heap);
        let mut storages = HashMap::new();
        let mut at = end;
        for key in keys {
            let beyond = || damaged("a storage reaches beyond the end of the file");
            let key = list
                .text(*key)
                .ok_or_else(|| damaged("a storage has no name"))?;
            let mut len = [0; 8];
            bytes.read_exact_at(at, &mut len).map_err(|_| beyond())?;
            at += 8;
            let len = if big_endian {
                u64::from_be_bytes(len)
            } else {
                u64::from_le_bytes(len)
            };
            let Some(element) = sizes.get(key) else {
                return Err(damaged("a storage that no tensor uses"));
            };
            let part = len
                .checked_mul(*element as u64)
                .and_then(|len| bytes.slice(at, len))
                .ok_or_else(beyond)?;
            at += part.len();
            storages.insert(key.to_owned(), part);
        }
        Ok(Self {
            heap,
            root,
            dialect: Dialect::Saved,
            storages: Storages::Legacy(storages),
            big_endian,
            path,
            budget,
        })
    }

    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// Takes memory from what the file may cost.
    pub fn charge(&mut self, bytes: u64, limits: &Limits, size: u64) -> Result<(), FileError> {
        let limit = |found| FileError::Limit {
            path: self.path.into(),
            what: "the tensors together".into(),
            found,
            limit: limits.unpacked(size),
            field: "expansion",
        };
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| limit(bytes))?;
        Ok(())
    }

    /// The type of the numbers as they lie in the file.
    pub fn in_order(&self, dtype: Dtype) -> Dtype {
        dtype.in_order(self.big_endian)
    }

    /// The bytes of a storage.
    pub fn storage(&mut self, storage: &Storage) -> Result<Bytes, FileError> {
        let missing = |path: &Path| FileError::Missing {
            path: path.into(),
            part: format!("storage {:?}, which a tensor uses", storage.key),
            remedy: "copy or download the file again; if it stays so, save it again".into(),
        };
        match &mut self.storages {
            Storages::Legacy(found) => {
                let found = found.get(&storage.key).cloned();
                found.ok_or_else(|| missing(self.path))
            }
            Storages::Zip { zip, folder, found } => {
                if let Some(found) = found.get(&storage.key) {
                    return Ok(found.clone());
                }
                let name = format!("{folder}{}", storage.key);
                let index = zip.index(&name).ok_or_else(|| missing(self.path))?;
                let (content, in_place) = zip.content_in_place(index, &name)?;
                if !in_place {
                    let len = content.len();
                    self.budget = self
                        .budget
                        .checked_sub(len)
                        .ok_or_else(|| FileError::Limit {
                            path: self.path.into(),
                            what: format!("{name} in the archive, unpacked,"),
                            found: len,
                            limit: self.budget,
                            field: "expansion",
                        })?;
                }
                found.insert(storage.key.clone(), content.clone());
                Ok(content)
            }
        }
    }
}

fn content(zip: &mut Zipped<'_>, name: &str, path: &Path) -> Result<Bytes, FileError> {
    match zip.index(name) {
        Some(index) => zip.content(index, name),
        None => Err(FileError::Missing {
            path: path.into(),
            part: format!("{name} in the archive"),
            remedy: super::RESAVE.into(),
        }),
    }
}

/// Bytes of a number in each storage, which a legacy file tells only where it is used.
fn storage_sizes(heap: &Heap) -> HashMap<&str, usize> {
    heap.nodes()
        .filter_map(|node| match node {
            Node::Storage(storage) => Some((storage.key.as_str(), storage.element.stored_size())),
            _ => None,
        })
        .collect()
}

fn check_size(len: u64, path: &Path, limits: &Limits) -> Result<(), FileError> {
    if len <= limits.json {
        return Ok(());
    }
    Err(FileError::Limit {
        path: path.into(),
        what: "the pickle".into(),
        found: len,
        limit: limits.json,
        field: "json",
    })
}

/// The error for a pickle that is not read.
fn refused(path: &Path, part: &str, error: PickleError, limits: &Limits, size: u64) -> FileError {
    match error {
        PickleError::Io(error) => FileError::io(path, error),
        PickleError::Limit => FileError::Limit {
            path: path.into(),
            what: "what the pickle makes".into(),
            found: limits.unpacked(size).saturating_add(1),
            limit: limits.unpacked(size),
            field: "expansion",
        },
        PickleError::Damaged { at, reason } => FileError::Damaged {
            path: path.into(),
            part: part.into(),
            reason: format!("at byte {at}, {reason}"),
        },
        PickleError::Asks { name } => FileError::Unsupported {
            path: path.into(),
            what: format!(
                "the file asks Python to import {name:?}, and ifco imports and runs nothing that \
                 a file asks for"
            ),
            remedy: format!(
                "if you trust the file, load it where {name} is installed and save the weights \
                 alone: {}",
                super::SAVE
            ),
        },
    }
}
