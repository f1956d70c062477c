//! `.keras`: a zip of `metadata.json`, `config.json` and `model.weights.h5`, written by
//! Keras 3 and, from 2.12 on, by Keras 2.

use std::path::Path;

use ifco_model::{Generation, Model};
use serde_json::Value;

use super::{generation_of, json, object_tree, upgrade};
use crate::bytes::Bytes;
use crate::hdf5::Hdf5;
use crate::zipped::Zipped;
use crate::{FileError, Limits};

const WEIGHTS: &str = "model.weights.h5";

/// Opens a `.keras`.
pub(super) fn open(bytes: &Bytes, path: &Path, limits: &Limits) -> Result<Model, FileError> {
    open_with(bytes, path, limits, WEIGHTS)
}

/// The same with the weights that lie in the archive under this name.
pub(super) fn open_with(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
    weights: &str,
) -> Result<Model, FileError> {
    let mut archive = Archive::open(bytes, path, limits)?;
    let config = archive.json("config.json")?;
    let metadata = archive.json("metadata.json")?;
    let generation = generation(&metadata, path)?;
    let config = upgrade::architecture(config, path, generation)?;
    let mut model =
        Model::from_config(&config, generation).map_err(|error| FileError::model(path, error))?;
    let weights = Hdf5::open(archive.weights(weights)?, path, bytes.len(), limits)?;
    object_tree::load(&mut model, &weights)?;
    Ok(model)
}

/// A text of this name in the archive, if there is one. An archive of another kind has none.
pub(super) fn optional_json(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
    name: &str,
) -> Result<Option<Value>, FileError> {
    let zip = Zipped::open(bytes, path, limits)?;
    match zip.has("config.json") && zip.has(name) {
        true => Archive { zip, path, limits }.json(name).map(Some),
        false => Ok(None),
    }
}

/// The weights alone.
pub(super) fn weights(bytes: &Bytes, path: &Path, limits: &Limits) -> Result<Bytes, FileError> {
    Archive::open(bytes, path, limits)?.weights(WEIGHTS)
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
    zip: Zipped<'a>,
    path: &'a Path,
    limits: &'a Limits,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a Bytes, path: &'a Path, limits: &'a Limits) -> Result<Self, FileError> {
        let archive = Self {
            zip: Zipped::open(bytes, path, limits)?,
            path,
            limits,
        };
        archive.check_is_keras()?;
        Ok(archive)
    }

    /// Other programs keep their files in zips too: say which.
    fn check_is_keras(&self) -> Result<(), FileError> {
        if self.zip.has("config.json") {
            return Ok(());
        }
        let names = self.zip.names();
        let any = |ending: &str| names.iter().any(|name| name.ends_with(ending));
        let (found, remedy) =
            if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
                ("a NumPy .npz".to_string(), "")
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
        let size = self.zip.entry_size(index, name)?;
        json::check(size, self.path, name, self.limits)?;
        let text = self.zip.unpack(index, name, size)?;
        json::parse(&text, self.path, name)
    }

    /// The weights' bytes: in place if they are stored, else unpacked.
    fn weights(&mut self, name: &str) -> Result<Bytes, FileError> {
        if !self.zip.has(name) {
            self.check_other_weights()?;
        }
        let index = self.index(name)?;
        self.zip.content(index, name)
    }

    /// The ways of keeping weights that ifco does not read.
    fn check_other_weights(&self) -> Result<(), FileError> {
        let unsupported = |what: &str, remedy: &str| FileError::Unsupported {
            path: self.path.into(),
            what: what.into(),
            remedy: remedy.into(),
        };
        let has = |name| self.zip.has(name);
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
        self.zip.index(name).ok_or_else(|| FileError::Missing {
            path: self.path.into(),
            part: format!("{name} in the archive"),
            remedy: "save the model again with model.save(\"model.keras\")".into(),
        })
    }
}
