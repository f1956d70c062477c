//! `.h5` of Keras 1 and 2, which Keras 3 can still write: lists of arrays per layer.
//!
//! A group per layer has an attribute `weight_names`: first the layer's trainable arrays, then
//! the others. In a nested model that goes for the model as a whole, so that the arrays of one
//! layer inside may lie apart.

use std::collections::{HashMap, HashSet};

use ifco_model::{Generation, Layer, Model, WeightSlot};
use ndarray::ArrayD;
use serde_json::Value;

use super::upgrade::{self, Leaf};
use super::{generation_of, json, save};
use crate::hdf5::{Hdf5, join};
use crate::{FileError, WeightsFile, WeightsGroup};

/// Opens a whole model.
pub(super) fn open(file: &Hdf5) -> Result<Model, FileError> {
    const ATTRIBUTE: &str = "attribute model_config";
    let path = file.path();
    let text = file
        .attributes("")?
        .and_then(|root| root.string("model_config"))
        .ok_or_else(|| FileError::hdf5(path, "", "model_config is not a text"))?;
    json::check(text.len() as u64, path, ATTRIBUTE, file.limits())?;
    let architecture = json::parse(text.as_bytes(), path, ATTRIBUTE)?;
    let generation = generation(file, "")?
        .or(generation(file, "model_weights")?)
        .unwrap_or(Generation::Keras1);
    let mut architecture = upgrade::architecture(architecture, path, generation)?;
    keep_training_config(&mut architecture, file)?;
    let mut model = Model::from_config(&architecture, generation)
        .map_err(|error| FileError::model(path, error))?;
    load(&mut model, &architecture, file, "model_weights")?;
    Ok(model)
}

/// Keeps how the model was compiled beside its configuration, where a model that is saved again
/// finds it. ifco itself has no use for it, so it may be anything.
fn keep_training_config(architecture: &mut Value, file: &Hdf5) -> Result<(), FileError> {
    let text = file
        .attributes("")?
        .and_then(|root| root.string(save::TRAINING));
    if let (Some(text), Some(object)) = (text, architecture.as_object_mut()) {
        json::check(
            text.len() as u64,
            file.path(),
            save::TRAINING,
            file.limits(),
        )?;
        if let Ok(training) = json::parse(text.as_bytes(), file.path(), save::TRAINING) {
            object.insert(save::TRAINING.into(), training);
        }
    }
    Ok(())
}

/// Who wrote the weights in `root`; `None` where it does not say, as Keras 1 did not.
pub(super) fn generation(file: &Hdf5, root: &str) -> Result<Option<Generation>, FileError> {
    Ok(file
        .attributes(root)?
        .and_then(|group| group.string("keras_version"))
        .and_then(|version| generation_of(&version)))
}

/// One layer's arrays in the file.
struct SavedLayer {
    name: String,
    group: String,
    weights: Vec<String>,
}

impl SavedLayer {
    fn read(&self, file: &Hdf5) -> Result<Vec<ArrayD<f32>>, FileError> {
        let mut arrays = Vec::with_capacity(self.weights.len());
        for name in &self.weights {
            let object = join(&self.group, name);
            let (group, dataset) = object.rsplit_once('/').unwrap_or(("", &object));
            match file.read(group, dataset)? {
                Some(array) => arrays.push(array),
                None => {
                    let children = file.children(&self.group)?;
                    let names = json::some_of(children.groups.iter().chain(&children.datasets));
                    return Err(FileError::MissingWeight {
                        path: file.path().into(),
                        weight: name.clone(),
                        found: format!("in {:?} there is: {names}", self.group),
                        object,
                    });
                }
            }
        }
        Ok(arrays)
    }
}

/// The layers in the file that have arrays, in order.
fn saved_layers(file: &Hdf5, root: &str) -> Result<Vec<SavedLayer>, FileError> {
    let missing = |part: String| FileError::Missing {
        path: file.path().into(),
        part,
        remedy: "the file is not whole: save the model again".into(),
    };
    let names = file
        .attributes(root)?
        .and_then(|group| group.strings("layer_names"))
        .ok_or_else(|| {
            missing(format!(
                "list of layers (attribute layer_names of {root:?})"
            ))
        })?;
    file.children(root)?; // found all at once, not one by one
    let mut layers = Vec::new();
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            let reason = format!("layer {name:?} is listed twice");
            return Err(FileError::hdf5(file.path(), root, reason));
        }
        let group = join(root, &name);
        let attributes = file
            .attributes(&group)?
            .ok_or_else(|| missing(format!("group {group:?}, which is listed as a layer")))?;
        let weights = attributes.strings("weight_names").unwrap_or_default();
        if !weights.is_empty() {
            layers.push(SavedLayer {
                name,
                group,
                weights,
            });
        }
    }
    Ok(layers)
}

/// Gives the model its weights.
pub(super) fn load(
    model: &mut Model,
    architecture: &Value,
    file: &Hdf5,
    root: &str,
) -> Result<(), FileError> {
    let generation = generation(file, root)?
        .or(generation(file, "")?)
        .unwrap_or(Generation::Keras1);
    let backend = file
        .attributes(root)?
        .and_then(|group| group.string("backend"));
    let source = upgrade::Source {
        generation,
        flipped_kernels: backend.as_deref() == Some("theano"),
    };
    let configs = upgrade::layers_by_name(architecture);
    let saved = saved_layers(file, root)?;
    for (name, saved) in pairs(model, file, saved)? {
        let Some(entry) = model.layers().iter().find(|entry| entry.name == name) else {
            continue;
        };
        let slots = entry.layer.weight_slots();
        let can_run = can_run(entry.layer.as_ref());
        let leaves = upgrade::leaves(configs.get(name.as_str()).copied(), slots.len(), &source);
        let arrays = saved.read(file)?;
        let found = arrays.len();
        let Some(weights) = arrange(arrays, &slots, &leaves) else {
            if !can_run {
                // A nested model with a layer that ifco does not know: which arrays are that
                // layer's cannot be told. It stays without weights, and says so when it runs.
                continue;
            }
            return Err(FileError::WeightCount {
                path: file.path().into(),
                layer: name,
                found,
                expected: slots.len(),
            });
        };
        let weights = upgrade::weights(weights, &slots, &leaves, &source);
        model
            .set_layer_weights(&name, weights)
            .map_err(|error| FileError::model(file.path(), error))?;
    }
    Ok(())
}

/// Whether ifco knows the layer and, if it is a model, all that are in it.
fn can_run(layer: &dyn Layer) -> bool {
    let inner = layer.as_model().map_or(&[][..], Model::layers);
    layer.can_run() && inner.iter().all(|entry| can_run(entry.layer.as_ref()))
}

/// Which saved layer belongs to which of the model's: by name, or, as Keras does, by order
/// where the names are others.
fn pairs(
    model: &Model,
    file: &Hdf5,
    saved: Vec<SavedLayer>,
) -> Result<Vec<(String, SavedLayer)>, FileError> {
    let takers: Vec<String> = model
        .layers()
        .iter()
        .filter(|entry| !entry.layer.weight_slots().is_empty())
        .map(|entry| entry.name.clone())
        .collect();
    let in_file: HashSet<&str> = saved.iter().map(|layer| layer.name.as_str()).collect();
    let by_name = takers.iter().all(|name| in_file.contains(name.as_str()));
    if !by_name {
        if takers.len() == saved.len() {
            return Ok(takers.into_iter().zip(saved).collect());
        }
        let names = |list: &mut dyn Iterator<Item = &str>| json::some_of(list);
        return Err(FileError::LayersDiffer {
            path: file.path().into(),
            what: format!(
                "the architecture has {} layers with weights ({}), the file has {} ({})",
                takers.len(),
                names(&mut takers.iter().map(String::as_str)),
                saved.len(),
                names(&mut saved.iter().map(|layer| layer.name.as_str())),
            ),
        });
    }
    // What is left over in the file belongs to layers that ifco does not know.
    let mut saved: HashMap<String, SavedLayer> = saved
        .into_iter()
        .map(|layer| (layer.name.clone(), layer))
        .collect();
    Ok(takers
        .into_iter()
        .filter_map(|name| saved.remove(&name).map(|layer| (name, layer)))
        .collect())
}

/// Puts the arrays, all trainable ones first, into the order of the layer's slots: for every
/// leaf its arrays. `None` when their number is not right.
fn arrange(
    arrays: Vec<ArrayD<f32>>,
    slots: &[WeightSlot],
    leaves: &[Leaf<'_>],
) -> Option<Vec<Vec<ArrayD<f32>>>> {
    // Keras 1 keeps an array per gate, unless it was told to prefer memory over speed.
    let per_gate: usize = leaves.iter().map(|leaf| leaf.arrays_in_file).sum();
    let split_gates = arrays.len() == per_gate;
    if !split_gates && arrays.len() != slots.len() {
        return None;
    }
    let mut arrays = arrays.into_iter();
    let mut arranged: Vec<Vec<Option<ArrayD<f32>>>> = leaves
        .iter()
        .map(|leaf| {
            vec![
                None;
                if split_gates {
                    leaf.arrays_in_file
                } else {
                    leaf.slots
                }
            ]
        })
        .collect();
    for trainable in [true, false] {
        let mut first = 0;
        for (leaf, places) in leaves.iter().zip(&mut arranged) {
            let own = slots.get(first..first + leaf.slots)?;
            first += leaf.slots;
            if places.len() == own.len() {
                for (place, slot) in places.iter_mut().zip(own) {
                    if slot.trainable == trainable {
                        *place = Some(arrays.next()?);
                    }
                }
            } else if own.iter().all(|slot| slot.trainable == trainable) {
                for place in places {
                    *place = Some(arrays.next()?);
                }
            }
        }
    }
    arranged
        .into_iter()
        .map(|places| places.into_iter().collect())
        .collect()
}

/// Every layer's arrays, for a file without its architecture.
pub(super) fn list(file: &Hdf5, root: &str) -> Result<WeightsFile, FileError> {
    let mut groups = Vec::new();
    for layer in saved_layers(file, root)? {
        let arrays = layer.read(file)?;
        let arrays = layer.weights.iter().cloned().zip(arrays).collect();
        groups.push(WeightsGroup {
            path: layer.name.clone(),
            arrays: upgrade::named_weights(arrays),
            name: Some(layer.name),
        });
    }
    Ok(WeightsFile {
        groups,
        ..WeightsFile::default()
    })
}
