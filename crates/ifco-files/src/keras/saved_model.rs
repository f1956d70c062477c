//! Keras 2's models in TensorFlow's SavedModel and its checkpoints: the architecture in JSON, and the
//! weights by the attributes that lead to them.
//!
//! The layers of a model are its attributes `layer-0`, `layer-1`, …, and those with weights also
//! `layer_with_weights-0`, …; a Sequential does not count its InputLayer. A layer's weights are its
//! attributes, or those of its `cell`, its `forward_layer` and so on.

use std::path::Path;

use ifco_model::{Generation, LayerEntry, Model};
use ndarray::ArrayD;
use serde_json::{Value, json};

use super::save::TRAINING;
use super::{generation_of, json, upgrade};
use crate::FileError;
use crate::tensorflow::{Bundle, Checkpoint, Objects};

/// Whether what Keras tells of a model is its architecture: that of a Sequential or functional one.
pub(crate) fn tells_architecture(metadata: &Value) -> bool {
    config(metadata).is_some()
}

fn config(metadata: &Value) -> Option<&Value> {
    let has_layers = |told: &&Value| told.pointer("/config/layers").is_some_and(Value::is_array);
    let whole = metadata.get("model_config").filter(has_layers);
    whole.or(Some(metadata).filter(has_layers))
}

/// The model that Keras tells of, with the weights of the checkpoint beside.
pub(crate) fn open_saved_model(
    metadata: Value,
    checkpoint: &mut Checkpoint,
    path: &Path,
) -> Result<Model, FileError> {
    let version = metadata.get("keras_version").and_then(Value::as_str);
    let generation = version.and_then(generation_of);
    let generation = generation.unwrap_or(Generation::Keras2);
    let told = config(&metadata).unwrap_or(&metadata);
    let mut architecture = json!({
        "class_name": told.get("class_name"),
        "config": without_tuples(told.get("config").cloned().unwrap_or_default()),
    });
    for key in ["keras_version", "backend"] {
        if let Some(value) = metadata.get(key) {
            architecture[key] = value.clone();
        }
    }
    let mut architecture = upgrade::architecture(architecture, path, generation)?;
    if let Some(training) = metadata.get(TRAINING).filter(|told| told.is_object()) {
        architecture[TRAINING] = without_tuples(training.clone());
    }
    let mut model = Model::from_config(&architecture, generation)
        .map_err(|error| FileError::model(path, error))?;
    load(&mut model, checkpoint, path)?;
    Ok(model)
}

/// Tuples as lists: in a SavedModel Keras tells them apart, in its other files it does not.
fn without_tuples(value: Value) -> Value {
    match value {
        Value::Object(mut object) => {
            let class = object.get("class_name").and_then(Value::as_str);
            let is_list = matches!(class, Some("__tuple__" | "TensorShape"));
            match object.remove("items").filter(|_| is_list) {
                Some(items) => without_tuples(items),
                None => object
                    .into_iter()
                    .map(|(key, value)| (key, without_tuples(value)))
                    .collect(),
            }
        }
        Value::Array(items) => items.into_iter().map(without_tuples).collect(),
        other => other,
    }
}

/// Gives a model the weights of a checkpoint, which may be that of more than the model.
pub(crate) fn load(
    model: &mut Model,
    checkpoint: &mut Checkpoint,
    path: &Path,
) -> Result<(), FileError> {
    let Checkpoint { bundle, objects } = checkpoint;
    let Some(objects) = objects else {
        return Err(FileError::Unsupported {
            path: path.into(),
            what: "the checkpoint holds variables by their names alone, which do not tell the \
                   layers that they belong to"
                .into(),
            remedy: "save the weights with model.save_weights(\"model.h5\"), or leave out the \
                     architecture and tell the rest with --spec"
                .into(),
        });
    };
    let root = root(objects, path)?;
    let numbers = Numbers::of(model, objects, root, path)?;
    let mut place = Place {
        bundle,
        objects,
        path,
    };
    let source = upgrade::Source {
        generation: Generation::Keras2,
        flipped_kernels: false,
    };
    let mut found = Vec::new();
    for (number, entry) in model.layers().iter().enumerate() {
        let slots = entry.layer.weight_slots();
        if slots.is_empty() {
            continue;
        }
        let layer = numbers.object(number);
        let layer = layer.ok_or_else(|| place.missing(entry, "the layer", root))?;
        let arrays = place.arrays(entry, layer)?;
        let leaves = upgrade::leaves(None, slots.len(), &source);
        let weights = upgrade::weights(vec![arrays], &slots, &leaves, &source);
        found.push((entry.name.clone(), weights));
    }
    for (name, weights) in found {
        let set = model.set_layer_weights(&name, weights);
        set.map_err(|error| FileError::model(path, error))?;
    }
    Ok(())
}

/// The object that is the model: the root, or the one that `tf.train.Checkpoint(model=model)` has
/// below it.
fn root(objects: &Objects, path: &Path) -> Result<usize, FileError> {
    let has_layers = |object: usize| {
        let mut children = objects.children(object).iter();
        children.any(|(name, _)| name.starts_with("layer_with_weights-"))
    };
    if has_layers(Objects::ROOT) {
        return Ok(Objects::ROOT);
    }
    let children = objects.children(Objects::ROOT).iter();
    let models: Vec<_> = children.filter(|(_, child)| has_layers(*child)).collect();
    match models.as_slice() {
        [(_, only)] => Ok(*only),
        several => {
            let names = several.iter().map(|(name, _)| name.as_str());
            Err(FileError::LayersDiffer {
                path: path.into(),
                what: match several {
                    [] => "the checkpoint holds no Sequential or functional model of Keras".into(),
                    _ => format!(
                        "the checkpoint holds several models: {}",
                        json::some_of(names)
                    ),
                },
            })
        }
    }
}

/// Which object each of a model's layers is.
struct Numbers(Vec<Option<usize>>);

impl Numbers {
    fn of(model: &Model, objects: &Objects, root: usize, path: &Path) -> Result<Self, FileError> {
        let layers = model.layers();
        let is_input = |entry: &LayerEntry| entry.layer.class_name() == "InputLayer";
        let listed = (0..)
            .take_while(|number| objects.child(root, &format!("layer-{number}")).is_some())
            .count();
        let inputs = layers.iter().filter(|entry| is_input(entry)).count();
        let counts_inputs = listed == layers.len();
        if !counts_inputs && listed != layers.len() - inputs {
            return Err(FileError::LayersDiffer {
                path: path.into(),
                what: format!(
                    "the architecture has {} layers, of which {inputs} for input, the checkpoint \
                     {listed}",
                    layers.len(),
                ),
            });
        }
        let mut number = 0;
        let objects = layers.iter().map(|entry| {
            if is_input(entry) && !counts_inputs {
                return None;
            }
            number += 1;
            objects.child(root, &format!("layer-{}", number - 1))
        });
        Ok(Self(objects.collect()))
    }

    fn object(&self, number: usize) -> Option<usize> {
        self.0.get(number).copied().flatten()
    }
}

struct Place<'a> {
    bundle: &'a mut Bundle,
    objects: &'a Objects,
    path: &'a Path,
}

impl Place<'_> {
    /// The arrays of a layer in the order of its slots.
    fn arrays(&mut self, entry: &LayerEntry, object: usize) -> Result<Vec<ArrayD<f32>>, FileError> {
        if let Some(inner) = entry.layer.as_model() {
            return self.of_model(inner, object);
        }
        let mut lists = Lists::default();
        let mut arrays = Vec::new();
        for slot in entry.layer.weight_slots() {
            let holder = lists.holder(self.objects, object, &slot.group);
            let name = slot.name.as_str();
            let variable = holder.and_then(|holder| {
                let child = self.objects.child(holder, name);
                let private = || self.objects.child(holder, &format!("_{name}"));
                self.objects.variable(child.or_else(private)?)
            });
            let Some(variable) = variable else {
                let at = holder.unwrap_or(object);
                return Err(self.missing(entry, name, at));
            };
            let key = variable.key.clone();
            match self.bundle.read(&key)? {
                Some(array) => arrays.push(array),
                None => return Err(self.missing(entry, name, object)),
            }
        }
        Ok(arrays)
    }

    /// The arrays of all layers of a model inside.
    fn of_model(&mut self, model: &Model, object: usize) -> Result<Vec<ArrayD<f32>>, FileError> {
        let numbers = Numbers::of(model, self.objects, object, self.path)?;
        let mut arrays = Vec::new();
        for (number, entry) in model.layers().iter().enumerate() {
            if entry.layer.weight_slots().is_empty() {
                continue;
            }
            let layer = numbers.object(number);
            let layer = layer.ok_or_else(|| self.missing(entry, "the layer", object))?;
            arrays.extend(self.arrays(entry, layer)?);
        }
        Ok(arrays)
    }

    fn missing(&self, entry: &LayerEntry, weight: &str, object: usize) -> FileError {
        let children = self.objects.children(object).iter();
        FileError::MissingWeight {
            path: self.path.into(),
            weight: weight.into(),
            object: entry.name.clone(),
            found: format!(
                "there is: {}",
                json::some_of(children.map(|(name, _)| name.as_str()))
            ),
        }
    }
}

/// Stacked cells and models inside of wrappers, which ifco tells by names and objects by numbers.
#[derive(Default)]
struct Lists(Vec<(String, Vec<String>)>);

impl Lists {
    /// The number of `name` in the list that lies at `path`: names come in the list's order.
    fn number(&mut self, path: &str, name: &str) -> usize {
        let place = self.0.iter().position(|(list, _)| list == path);
        let place = place.unwrap_or_else(|| {
            self.0.push((path.into(), Vec::new()));
            self.0.len() - 1
        });
        let names = &mut self.0[place].1;
        let number = names.iter().position(|known| known == name);
        number.unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        })
    }

    /// The object that has the weights of such a group of a layer.
    fn holder(&mut self, objects: &Objects, layer: usize, group: &str) -> Option<usize> {
        let mut at = layer;
        let mut path = String::new();
        let mut parts = group.split('/').filter(|part| !part.is_empty());
        while let Some(part) = parts.next() {
            path.push('/');
            path.push_str(part);
            if part == "cells" || part == "layers" {
                let name = parts.next()?;
                let number = self.number(&path, name);
                path.push('/');
                path.push_str(name);
                at = match part {
                    "cells" => objects.child(objects.child(at, part)?, &number.to_string())?,
                    _ => objects.child(at, &format!("layer_with_weights-{number}"))?,
                };
                continue;
            }
            let named = objects.child(at, part);
            let private = || objects.child(at, &format!("_{part}"));
            at = match named.or_else(private) {
                Some(child) => child,
                // CuDNN layers have no cell.
                None if part == "cell" => at,
                None => return None,
            };
        }
        Some(at)
    }
}
