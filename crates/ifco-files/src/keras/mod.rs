//! Keras's files, of every generation.
//!
//! | kind | what it is | module |
//! |---|---|---|
//! | `.keras` | zip of `config.json` and `model.weights.h5` | [`archive`] |
//! | `.weights.h5` | the weights of a `.keras` alone, a group per object | [`object_tree`] |
//! | `.h5`, `.hdf5` | whole model or weights, a list of arrays per layer | [`legacy`] |
//! | SavedModel, checkpoint | folders of TensorFlow, which the module `tensorflow` reads | [`saved_model`] |
//!
//! The words and the weights of Keras 1, and of layers that only a GPU could run, become
//! those of Keras 2 in [`upgrade`] before a model is made of them.

mod archive;
mod json;
mod legacy;
mod object_tree;
mod progress;
mod recipe;
mod save;
mod saved_model;
mod sniff;
mod training;
mod upgrade;
mod weights_file;

use std::path::Path;

use ifco_model::{Generation, Model};
use serde_json::Value;

use crate::bytes::Bytes;
use crate::hdf5::Hdf5;
use crate::tensorflow::{self, Checkpoint};
use crate::{FileError, Limits, Opened, audio};
use sniff::Kind;

pub(crate) use json::{check as check_json, parse as parse_json, some_of};
pub use progress::Begun;
pub(crate) use progress::progress;
pub(crate) use recipe::recipe;
pub(crate) use save::{architecture, save_archive, save_h5, save_weights, weights};
pub(crate) use saved_model::{open_saved_model, tells_architecture};
pub(crate) use sniff::directory;
pub use training::compile_config;
pub(crate) use training::optimizer_state;
pub(crate) use weights_file::cells;

/// What an HDF5 file of Keras holds.
enum Layout {
    /// `model_config` and `model_weights`.
    WholeModel,
    /// Lists of arrays per layer: in this group.
    Legacy(&'static str),
    /// A group per object, as in a `.keras`.
    ObjectTree,
}

/// Opens whatever the bytes hold.
pub(crate) fn open_any(bytes: Bytes, path: &Path, limits: &Limits) -> Result<Opened, FileError> {
    match sniff::kind(&bytes, path)? {
        Kind::Zip => match tensorflow::zipped(&bytes, path, limits)? {
            Some(place) => tensorflow::open(place, path, limits),
            None => Ok(Opened::Model(Box::new(archive::open(
                &bytes, path, limits,
            )?))),
        },
        Kind::Hdf5 => {
            let size = bytes.len();
            let file = Hdf5::open(bytes, path, size, limits)?;
            Ok(match layout(&file)? {
                Layout::WholeModel => Opened::Model(Box::new(legacy::open(&file)?)),
                Layout::Legacy(root) => Opened::Weights(legacy::list(&file, root)?),
                Layout::ObjectTree => Opened::Weights(object_tree::list(&file)?),
            })
        }
        Kind::Json => {
            let json = json::read(&bytes, path, "the file", limits)?;
            if let Some(model) = audio::open(&json, path)? {
                return Ok(Opened::Model(Box::new(model)));
            }
            match crate::weights::open_json(&json, path)? {
                Some(opened) => Ok(opened),
                None => Err(FileError::Unknown {
                    path: path.into(),
                    found: "JSON, perhaps an architecture alone".into(),
                    remedy: "give it together with its weights".into(),
                }),
            }
        }
    }
}

/// Makes the model that `json` describes and gives it the weights that `bytes` hold.
pub(crate) fn open_with_architecture(
    bytes: Bytes,
    path: &Path,
    json: &Bytes,
    json_path: &Path,
    limits: &Limits,
) -> Result<Model, FileError> {
    let architecture = json::read(json, json_path, "the architecture", limits)?;
    let size = bytes.len();
    let bytes = match sniff::kind(&bytes, path)? {
        Kind::Zip => archive::weights(&bytes, path, limits)?,
        Kind::Hdf5 => bytes,
        Kind::Json => {
            return Err(FileError::Unknown {
                path: path.into(),
                found: "JSON".into(),
                remedy: "the weights come first, then the architecture".into(),
            });
        }
    };
    let file = Hdf5::open(bytes, path, size, limits)?;
    let layout = layout(&file)?;
    let saved_by = match layout {
        Layout::ObjectTree => None,
        Layout::WholeModel => legacy::generation(&file, "model_weights")?,
        Layout::Legacy(root) => legacy::generation(&file, root)?,
    };
    let generation = architecture_generation(&architecture)
        .or(saved_by)
        .unwrap_or(match layout {
            Layout::ObjectTree => Generation::Keras3,
            _ => Generation::Keras1,
        });
    let architecture = upgrade::architecture(architecture, json_path, generation)?;
    let mut model = Model::from_config(&architecture, generation)
        .map_err(|error| FileError::model(json_path, error))?;
    match layout {
        Layout::ObjectTree => object_tree::load(&mut model, &file)?,
        Layout::Legacy(root) => legacy::load(&mut model, &architecture, &file, root)?,
        Layout::WholeModel => legacy::load(&mut model, &architecture, &file, "model_weights")?,
    }
    Ok(model)
}

/// Makes the model that `json` describes and gives it the weights of a checkpoint.
pub(crate) fn open_checkpoint(
    mut checkpoint: Checkpoint,
    path: &Path,
    json: &Bytes,
    json_path: &Path,
    limits: &Limits,
) -> Result<Model, FileError> {
    let architecture = json::read(json, json_path, "the architecture", limits)?;
    let mut model = from_architecture(architecture, json_path, Generation::Keras2)?;
    saved_model::load(&mut model, &mut checkpoint, path)?;
    Ok(model)
}

/// The model that an architecture describes, without its weights; of this generation, if it does not
/// tell.
pub(crate) fn from_architecture(
    architecture: Value,
    path: &Path,
    untold: Generation,
) -> Result<Model, FileError> {
    let generation = architecture_generation(&architecture).unwrap_or(untold);
    let architecture = upgrade::architecture(architecture, path, generation)?;
    Model::from_config(&architecture, generation).map_err(|error| FileError::model(path, error))
}

fn layout(file: &Hdf5) -> Result<Layout, FileError> {
    let root = file.attributes("")?;
    let has = |name| root.as_ref().is_some_and(|root| root.has(name));
    if has("model_config") {
        return Ok(Layout::WholeModel);
    }
    if has("layer_names") {
        return Ok(Layout::Legacy(""));
    }
    let legacy_below = file
        .attributes("model_weights")?
        .is_some_and(|group| group.has("layer_names"));
    if legacy_below {
        return Ok(Layout::Legacy("model_weights"));
    }
    for group in ["layers", object_tree::OLD_LAYERS, "vars"] {
        if file.has_group(group)? {
            return Ok(Layout::ObjectTree);
        }
    }
    let children = file.children("")?;
    Err(FileError::Unknown {
        path: file.path().into(),
        found: format!(
            "an HDF5 file that Keras did not write (at its root: {})",
            json::some_of(children.groups.iter().chain(&children.datasets))
        ),
        remedy: String::new(),
    })
}

/// Who wrote an architecture's JSON, as far as it tells.
fn architecture_generation(json: &Value) -> Option<Generation> {
    match json.get("keras_version").and_then(Value::as_str) {
        Some(version) => generation_of(version),
        // Keras 3 writes no version, but the module of every class.
        None => json.get("module").map(|_| Generation::Keras3),
    }
}

/// The generation of a version such as `2.15.0-tf`.
fn generation_of(version: &str) -> Option<Generation> {
    let major: u32 = version.split('.').next()?.trim().parse().ok()?;
    Some(match major {
        0 | 1 => Generation::Keras1,
        2 => Generation::Keras2,
        _ => Generation::Keras3,
    })
}
