//! `.npz` and `.weights.json`: every weight by a path of names, `lstm/kernel`, and beside them, in
//! what ifco saves, the architecture, so that the file opens as the whole model.
//!
//! A weight's path is its layer's own name and Keras's name of the weight, with what lies between:
//! `bidirectional/forward/kernel`, `rnn/0/kernel`, `encoder/lstm/kernel` of a model inside the model.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ifco_model::{Generation, LayerEntry, Model, WeightSlot};
use serde_json::Value;

use super::{Tensors, json, named, npz};
use crate::bytes::Bytes;
use crate::{FileError, Limits, Opened, SaveError, SaveOptions, Saved, keras, torch};

/// Under which the architecture lies beside the weights: `model.to_json()`.
pub(super) const CONFIG: &str = "model_config";

/// Opens an `.npz` of weights; `None` when it is something else.
pub(crate) fn open_npz(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
) -> Result<Option<Opened>, FileError> {
    match npz::read(bytes, path, limits)? {
        Some((tensors, config)) => open(tensors, config, path),
        None => Ok(None),
    }
}

/// Opens JSON of weights; `None` when it is something else.
pub(crate) fn open_json(json: &Value, path: &Path) -> Result<Option<Opened>, FileError> {
    match json::read(json, path)? {
        Some((tensors, config)) => open(tensors, config, path),
        None => Ok(None),
    }
}

fn open(tensors: Tensors, config: Option<Value>, path: &Path) -> Result<Option<Opened>, FileError> {
    Ok(Some(match config {
        Some(config) => {
            let mut model = keras::from_architecture(config, path, Generation::Keras3)?;
            load(&mut model, tensors, path)?;
            Opened::Model(Box::new(model))
        }
        None if !named::is_weights(&tensors) => return Ok(None),
        None if named::is_torch(&tensors) => Opened::Weights(torch::named(tensors)),
        None => Opened::Weights(named::file(tensors, false, Vec::new())),
    }))
}

/// Gives the model its weights, by their names.
fn load(model: &mut Model, tensors: Tensors, path: &Path) -> Result<(), FileError> {
    let mut found: HashMap<String, _> = tensors.into_iter().collect();
    let names = names(model);
    let mut weights = Vec::with_capacity(names.len());
    for name in names {
        let Some(array) = found.remove(&name) else {
            let mut left: Vec<&str> = found.keys().map(String::as_str).collect();
            left.sort_unstable();
            return Err(FileError::MissingWeight {
                path: path.into(),
                weight: name.rsplit('/').next().unwrap_or(&name).into(),
                found: format!("besides there is: {}", keras::some_of(left)),
                object: name,
            });
        };
        weights.push(array);
    }
    let set = model.set_weights(weights);
    set.map_err(|error| FileError::model(path, error))
}

/// What each of [`Model::weight_slots`] is called.
fn names(model: &Model) -> Vec<String> {
    let mut names = Vec::new();
    collect(model, "", &mut names);
    let mut used = HashSet::new();
    for name in &mut names {
        while !used.insert(name.clone()) {
            name.push('_');
        }
    }
    names
}

fn collect(model: &Model, outer: &str, names: &mut Vec<String>) {
    for entry in model.layers() {
        let path = join(outer, &entry.name);
        match entry.layer.as_model() {
            Some(inner) => collect(inner, &path, names),
            None => names.extend(of_layer(entry).iter().map(|name| join(&path, name))),
        }
    }
}

fn join(outer: &str, inner: &str) -> String {
    match outer {
        "" => inner.into(),
        outer => format!("{outer}/{inner}"),
    }
}

/// The names of a layer's weights below its own.
fn of_layer(entry: &LayerEntry) -> Vec<String> {
    let mut cells: Vec<String> = Vec::new();
    let mut name = |slot: &WeightSlot| {
        let mut path = String::new();
        let mut parts = slot.group.split('/');
        while let Some(part) = parts.next() {
            let part = match part {
                "" | "cell" | "layer" | "layers" => continue,
                "forward_layer" => "forward".to_owned(),
                "backward_layer" => "backward".to_owned(),
                // Stacked cells are known by their numbers.
                "cells" => {
                    let cell = format!("{path}/{}", parts.next().unwrap_or_default());
                    let number = cells.iter().position(|known| *known == cell);
                    let number = number.unwrap_or_else(|| {
                        cells.push(cell.clone());
                        cells.len() - 1
                    });
                    let before = |known: &&String| known.starts_with(&format!("{path}/"));
                    cells[..number].iter().filter(before).count().to_string()
                }
                part => part.to_owned(),
            };
            path = join(&path, &part);
        }
        join(&path, &slot.name)
    };
    entry.layer.weight_slots().iter().map(&mut name).collect()
}

/// An `.npz`.
pub(crate) fn save_npz(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    let mut notes = Vec::new();
    let weights = keras::weights(model, options, &mut notes)?;
    let named: Tensors = names(model).into_iter().zip(weights).collect();
    let bytes = npz::write(&named, &keras::architecture(model))?;
    Ok(Saved::new(bytes, notes))
}

/// A `.weights.json`.
pub(crate) fn save_json(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    let mut notes = Vec::new();
    let weights = keras::weights(model, options, &mut notes)?;
    let named: Tensors = names(model).into_iter().zip(weights).collect();
    let text = json::write(&named, &keras::architecture(model));
    Ok(Saved::new(text.into_bytes(), notes))
}
