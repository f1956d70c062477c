//! `.keras`: a zip of `metadata.json`, `config.json` and `model.weights.h5`, written by
//! Keras 3 and, from 2.12 on, by Keras 2.

use std::io::{self, BufReader, Read};
use std::path::Path;

use ifco_model::{Generation, Model};
use serde_json::Value;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::{generation_of, json, object_tree, upgrade};
use crate::bytes::{Bytes, Reader};
use crate::hdf5::Hdf5;
use crate::{FileError, Limits};

const WEIGHTS: &str = "model.weights.h5";

/// Opens a `.keras`.
pub(super) fn open(bytes: &Bytes, path: &Path, limits: &Limits) -> Result<Model, FileError> {
    let mut archive = Archive::open(bytes, path, limits)?;
    let config = archive.json("config.json")?;
    let metadata = archive.json("metadata.json")?;
    let generation = generation(&metadata, path)?;
    let config = upgrade::architecture(config, path, generation)?;
    let mut model =
        Model::from_config(&config, generation).map_err(|error| FileError::model(path, error))?;
    let weights = Hdf5::open(archive.weights()?, path, bytes.len(), limits)?;
    object_tree::load(&mut model, &weights)?;
    Ok(model)
}

/// The weights alone.
pub(super) fn weights(bytes: &Bytes, path: &Path, limits: &Limits) -> Result<Bytes, FileError> {
    Archive::open(bytes, path, limits)?.weights()
}

fn generation(metadata: &Value, path: &Path) -> Result<Generation, FileError> {
    metadata
        .get("keras_version")
        .and_then(Value::as_str)
        .and_then(generation_of)
        .ok_or_else(|| FileError::Missing {
            path: path.into(),
            part: "keras_version in metadata.json".into(),
            remedy: "save the model again with Keras 2.12 or later".into(),
        })
}

struct Archive<'a> {
    zip: ZipArchive<BufReader<Reader>>,
    bytes: &'a Bytes,
    path: &'a Path,
    limits: &'a Limits,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a Bytes, path: &'a Path, limits: &'a Limits) -> Result<Self, FileError> {
        let zip = ZipArchive::new(BufReader::with_capacity(1 << 16, bytes.reader()))
            .map_err(|error| damaged(path, "", error))?;
        let archive = Self {
            zip,
            bytes,
            path,
            limits,
        };
        if archive.zip.has_duplicate_names() {
            return Err(FileError::Zip {
                path: path.into(),
                entry: String::new(),
                reason: "two entries have the same name".into(),
            });
        }
        archive.check_is_keras()?;
        Ok(archive)
    }

    /// Other programs keep their files in zips too: say which.
    fn check_is_keras(&self) -> Result<(), FileError> {
        if self.zip.index_for_name("config.json").is_some() {
            return Ok(());
        }
        let names: Vec<String> = self
            .zip
            .file_names_raw()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        let any = |ending: &str| names.iter().any(|name| name.ends_with(ending));
        let (found, remedy) = if any("/data.pkl") {
            ("a PyTorch file".to_string(), "")
        } else if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
            ("a NumPy .npz".to_string(), "")
        } else if any("saved_model.pb") {
            (
                "a zipped TensorFlow SavedModel".to_string(),
                "load it with the Keras that wrote it and save it with \
                 model.save(\"model.keras\")",
            )
        } else if any("/config.json") {
            (
                "a zip with the model in a folder".to_string(),
                "config.json must lie at the top of the archive",
            )
        } else {
            let names = json::some_of(&names);
            (format!("a zip without config.json (it holds: {names})"), "")
        };
        Err(FileError::Unknown {
            path: self.path.into(),
            found,
            remedy: remedy.into(),
        })
    }

    fn json(&mut self, name: &str) -> Result<Value, FileError> {
        let index = self.index(name)?;
        let size = self.entry_size(index, name)?;
        json::check(size, self.path, name, self.limits)?;
        let text = self.unpack(index, name, size)?;
        json::parse(&text, self.path, name)
    }

    /// The weights' bytes: in place if they are stored, else unpacked.
    fn weights(&mut self) -> Result<Bytes, FileError> {
        if self.zip.index_for_name(WEIGHTS).is_none() {
            self.check_other_weights()?;
        }
        let index = self.index(WEIGHTS)?;
        let size = self.entry_size(index, WEIGHTS)?;
        let path = self.path;
        let mut entry = self
            .zip
            .by_index(index)
            .map_err(|error| damaged(path, WEIGHTS, error))?;
        if entry.compression() == CompressionMethod::Stored {
            let start = entry.data_start();
            // Reading to the end compares the checksum: a damaged weight would otherwise be
            // a wrong number that nobody notices.
            io::copy(&mut entry, &mut io::sink())
                .map_err(|error| damaged(path, WEIGHTS, error.into()))?;
            drop(entry);
            return start
                .and_then(|start| self.bytes.slice(start, size))
                .ok_or_else(|| FileError::Zip {
                    path: path.into(),
                    entry: WEIGHTS.into(),
                    reason: "the entry reaches beyond the end of the file".into(),
                });
        }
        drop(entry);
        Ok(Bytes::from_vec(self.unpack(index, WEIGHTS, size)?))
    }

    /// The ways of keeping weights that ifco does not read.
    fn check_other_weights(&self) -> Result<(), FileError> {
        let unsupported = |what: &str, remedy: &str| FileError::Unsupported {
            path: self.path.into(),
            what: what.into(),
            remedy: remedy.into(),
        };
        let has = |name| self.zip.index_for_name(name).is_some();
        if has("model.weights.json") {
            return Err(unsupported(
                "the weights are split over several files (shards)",
                "save the model without max_shard_size",
            ));
        }
        if has("model.weights.npz") {
            return Err(unsupported(
                "the weights are in NumPy's format",
                "save the model with weights_format=\"h5\"",
            ));
        }
        Ok(())
    }

    fn index(&self, name: &str) -> Result<usize, FileError> {
        self.zip
            .index_for_name(name)
            .ok_or_else(|| FileError::Missing {
                path: self.path.into(),
                part: format!("{name} in the archive"),
                remedy: "save the model again with model.save(\"model.keras\")".into(),
            })
    }

    /// The unpacked size that an entry claims, if it may be that large.
    fn entry_size(&mut self, index: usize, name: &str) -> Result<u64, FileError> {
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
    fn unpack(&mut self, index: usize, name: &str, size: u64) -> Result<Vec<u8>, FileError> {
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
