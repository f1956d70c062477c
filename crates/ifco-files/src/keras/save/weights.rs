//! A model's arrays where Keras's files keep them.

use std::collections::HashSet;

use ifco_model::{Generation, LayerEntry, Model, WeightSlot};
use ndarray::ArrayD;

use super::modules::layer_name;
use crate::SaveError;
use crate::hdf5::{Tree, join};

/// The arrays of one of the model's layers, in the order of its slots.
pub(super) type OfLayer = Vec<ArrayD<f32>>;

/// The arrays of every layer of the model.
pub(super) fn of(model: &Model) -> Result<Vec<OfLayer>, SaveError> {
    let of_layer = |entry: &LayerEntry| {
        entry.layer.weights().ok_or_else(|| SaveError::Layer {
            layer: entry.name.clone(),
            class: entry.layer.class_name().into(),
            reason: "it has no weights yet".into(),
            remedy: "open the model together with its weights".into(),
        })
    };
    model.layers().iter().map(of_layer).collect()
}

/// The parts of a MultiHeadAttention, whose names begin with an underscore in Keras 2.
const PRIVATE: [&str; 4] = ["query_dense", "key_dense", "value_dense", "output_dense"];

/// A group for each object, its arrays in `vars`, with the layers' own names, as the Keras that
/// shall read them calls the groups.
pub(super) fn object_tree(model: &Model, arrays: Vec<OfLayer>, reader: Generation) -> Tree {
    let mut tree = Tree::default();
    name(&mut tree, "", model);
    let arrays = arrays.into_iter().flatten();
    for (slot, array) in model.weight_slots().iter().zip(arrays) {
        let group = match slot.group.rsplit_once('/') {
            Some((layer, part)) if reader != Generation::Keras3 && PRIVATE.contains(&part) => {
                join(layer, &format!("_{part}"))
            }
            _ => slot.group.clone(),
        };
        let vars = tree.group(&join(&group, "vars"));
        vars.array(&slot.index.to_string(), array);
    }
    tree
}

fn name(tree: &mut Tree, group: &str, model: &Model) {
    let named = |tree: &mut Tree, group: &str, name: &str| {
        tree.group(&join(group, "vars")).text("name", name);
    };
    named(tree, group, model.name());
    for (inner, entry) in model.layer_groups() {
        let group = join(group, &inner);
        match entry.layer.as_model() {
            Some(model) => name(tree, &group, model),
            None => {
                let name = layer_name(&entry.name, model.generation());
                named(tree, &group, &name);
            }
        }
    }
}

/// A list of arrays for each layer: first those that training changes, then the others.
pub(super) fn lists(model: &Model, arrays: Vec<OfLayer>, root: &mut Tree) {
    let mut names = Vec::new();
    let counted: HashSet<String> = model
        .layer_groups()
        .into_iter()
        .map(|(_, entry)| entry.name.clone())
        .collect();
    for (entry, arrays) in model.layers().iter().zip(arrays) {
        if !counted.contains(&entry.name) {
            continue;
        }
        let layer = layer_name(&entry.name, model.generation());
        names.push(layer.clone());
        let mut slots: Vec<_> = entry.layer.weight_slots().into_iter().zip(arrays).collect();
        slots.sort_by_key(|(slot, _)| !slot.trainable);
        let group = root.group(&layer);
        let mut used = HashSet::new();
        let mut weight_names = Vec::new();
        for (slot, array) in slots {
            let mut name = weight_name(&layer, &slot);
            while !used.insert(name.clone()) {
                name.insert(name.len() - 2, '_');
            }
            group.array(&name, array);
            weight_names.push(name);
        }
        group.texts("weight_names", weight_names);
    }
    root.texts("layer_names", names);
}

/// `lstm/lstm_cell/kernel:0`, as near to Keras's own as the names of groups are.
fn weight_name(layer: &str, slot: &WeightSlot) -> String {
    let mut name = layer.to_string();
    for part in slot.group.split('/') {
        match part {
            "" | "layers" | "layer" | "cell" => {}
            "cells" => name.push_str("/stacked_rnn_cells"),
            part => {
                name.push('/');
                name.push_str(part);
            }
        }
    }
    format!("{name}/{}:0", slot.name)
}
