//! A checkpoint's variables as weights by names.
//!
//! | saved by | names |
//! |---|---|
//! | TensorFlow 1's `Saver` | the variables' own: `rnn/basic_lstm_cell/kernel`; what an optimizer keeps for one stands below it: `rnn/basic_lstm_cell/kernel/Adam` |
//! | TensorFlow 2 | the attributes that lead to them: `layer_with_weights-0/cell/kernel`, with the layer's own name where its variables tell it |
//! | `export` of Keras 3 and others, as a list | the variables' own |

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::bundle::Type;
use super::objects::{Objects, Variable};
use super::{Bundle, Checkpoint};
use crate::weights::{self, Tensors};
use crate::{FileError, WeightsFile};

/// Attributes under which Keras and TensorFlow list what has a place of its own already.
const LISTS: [&str; 10] = [
    "variables",
    "trainable_variables",
    "non_trainable_variables",
    "_all_variables",
    "trainable_weights",
    "non_trainable_weights",
    "weights",
    "keras_api",
    "signatures",
    "save_counter",
];

/// Attributes between a layer and its weights that say nothing to a user.
const SILENT: [&str; 4] = ["cell", "cells", "layer", "layers"];

/// How the moving average of a variable is called.
const AVERAGE: &str = "ExponentialMovingAverage";

pub(super) fn weights(
    mut checkpoint: Checkpoint,
    path: &Path,
    mut notes: Vec<String>,
) -> Result<WeightsFile, FileError> {
    let bundle = &mut checkpoint.bundle;
    let named = match &checkpoint.objects {
        Some(objects) => of_objects(objects),
        None => by_name(bundle, &mut notes),
    };
    let mut tensors = Tensors::new();
    for (name, key) in named {
        let entry = bundle.entries().get(&key);
        let is_weight = entry.is_some_and(|entry| match entry.kind() {
            Type::Float(_) => !entry.is_scalar(),
            _ => false,
        });
        if !is_weight {
            continue; // counters, learning rates, texts
        }
        if entry.is_some_and(|entry| entry.is_sliced) {
            notes.push(format!(
                "{name:?} is left out: it is kept in slices, as a partitioner makes them"
            ));
            continue;
        }
        if let Some(array) = bundle.read(&key)? {
            tensors.push((name, array));
        }
    }
    if tensors.is_empty() {
        return Err(FileError::Missing {
            path: path.into(),
            part: "variable of floats in the checkpoint".into(),
            remedy: "was it saved with the model, or with its counters alone?".into(),
        });
    }
    // Keras's cells have their recurrent weights apart; TensorFlow 1's have one matrix.
    let is_keras = tensors
        .iter()
        .any(|(name, _)| name.ends_with("/recurrent_kernel"));
    let is_tensorflow = checkpoint.objects.is_none() || !is_keras;
    Ok(weights::file(tensors, is_tensorflow, notes))
}

/// Names and keys of what `Saver` saved.
fn by_name(bundle: &Bundle, notes: &mut Vec<String>) -> Vec<(String, String)> {
    let entries = bundle.entries();
    let mut named = Vec::new();
    let mut averages = 0;
    for name in entries.keys() {
        let owner = name.rsplit_once('/');
        match owner.filter(|(owner, _)| entries.contains_key(*owner)) {
            Some((_, AVERAGE)) => averages += 1,
            Some(_) => {}
            None => named.push((name.clone(), name.clone())),
        }
    }
    if averages > 0 {
        notes.push(format!(
            "the moving averages of {averages} variables are left out; these are the variables"
        ));
    }
    named
}

/// Names and keys of what the objects hold, layers in their order.
fn of_objects(objects: &Objects) -> Vec<(String, String)> {
    let slots = objects.slots();
    let mut walk = Walk {
        objects,
        seen: BTreeSet::new(),
        named: Vec::new(),
    };
    let mut next = vec![(Objects::ROOT, String::new())];
    while let Some((object, path)) = next.pop() {
        if walk.seen.insert(object) && !slots.contains(&object) {
            let below = walk.visit(object, &path);
            next.extend(below.into_iter().rev());
        }
    }
    if walk.named.is_empty() {
        walk.listed();
    }
    walk.named
}

struct Walk<'a> {
    objects: &'a Objects,
    seen: BTreeSet<usize>,
    named: Vec<(String, String)>,
}

impl Walk<'_> {
    /// Takes the object's variable; what to visit next, in order.
    fn visit(&mut self, object: usize, path: &str) -> Vec<(usize, String)> {
        if let Some(variable) = self.objects.variable(object) {
            self.named.push((path.into(), variable.key.clone()));
        }
        let children = self.objects.children(object);
        let mut numbered = Vec::new();
        let mut others = Vec::new();
        for (name, child) in children {
            if LISTS.contains(&name.as_str()) || self.objects.is_optimizer(*child) {
                continue;
            }
            let number = layer_number(name).and_then(|number| number.parse::<usize>().ok());
            match number {
                Some(number) => numbered.push((number, *child)),
                None => others.push((name, *child)),
            }
        }
        numbered.sort_unstable();
        numbered.dedup();
        let names = self.layer_names(&numbered);
        let layers = numbered
            .into_iter()
            .zip(names)
            .map(|((_, child), name)| (child, join(path, &name)));
        let others = others.into_iter().map(|(name, child)| {
            let name = match name.as_str() {
                silent if SILENT.contains(&silent) && !path.is_empty() => "",
                "forward_layer" => "forward",
                "backward_layer" => "backward",
                // Keras 2 has some parts of layers under private names.
                name => name.strip_prefix('_').unwrap_or(name),
            };
            (child, join(path, name))
        });
        layers.chain(others).collect()
    }

    /// What the layers are called: as their own variables say, where these agree and no two of the
    /// layers share it.
    fn layer_names(&self, layers: &[(usize, usize)]) -> Vec<String> {
        let own: Vec<Option<&str>> = layers
            .iter()
            .map(|(_, layer)| {
                let below = self.objects.below(*layer);
                let variables = below.iter().filter_map(|o| self.objects.variable(*o));
                let mut firsts = variables.map(|variable| {
                    let first = variable.name.split_once('/');
                    first.map_or("", |(first, _)| first)
                });
                let first = firsts.next().filter(|first| !first.is_empty())?;
                firsts.all(|other| other == first).then_some(first)
            })
            .collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for name in own.iter().flatten() {
            *counts.entry(name).or_default() += 1;
        }
        let names = layers.iter().zip(&own);
        names
            .map(|((number, _), own)| match own {
                Some(own) if counts[own] == 1 => (*own).to_owned(),
                _ => format!("layer_with_weights-{number}"),
            })
            .collect()
    }

    /// The variables that the root lists, by their own names.
    fn listed(&mut self) {
        let mut names = BTreeSet::new();
        for list in LISTS {
            let Some(list) = self.objects.child(Objects::ROOT, list) else {
                continue;
            };
            for (_, object) in self.objects.children(list) {
                let Some(Variable { key, name }) = self.objects.variable(*object) else {
                    continue;
                };
                if names.insert(name) {
                    self.named.push((name.clone(), key.clone()));
                }
            }
        }
    }
}

/// The number of a layer, of which `layer-3` and `layer_with_weights-1` may be two names: it has
/// weights, or nothing here.
fn layer_number(name: &str) -> Option<&str> {
    name.strip_prefix("layer_with_weights-")
}

fn join(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", inner) => inner.into(),
        (outer, "") => outer.into(),
        (outer, inner) => format!("{outer}/{inner}"),
    }
}
