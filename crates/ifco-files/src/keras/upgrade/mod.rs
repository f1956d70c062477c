//! Files of older Keras in the words of Keras 2, so that nothing behind this door knows of
//! them: Keras 1's names of options and its arrays per gate, and the layers `CuDNNLSTM` and
//! `CuDNNGRU`, which are an `LSTM` and a `GRU` with their weights laid out for a GPU.

mod config;
mod weights;

use std::collections::HashMap;

use ifco_model::{Config, Generation, layers};
use serde_json::Value;

pub(super) use config::architecture;
pub(super) use weights::{named_weights, weights};

/// Where a legacy file's weights come from.
pub(super) struct Source {
    /// Who wrote them.
    pub generation: Generation,
    /// Theano convolves where others correlate: its kernels are upside down.
    pub flipped_kernels: bool,
}

/// A layer that is neither a wrapper nor a model: what is converted as one.
pub(super) struct Leaf<'a> {
    class: &'a str,
    config: Option<&'a Value>,
    /// How many arrays it takes.
    pub slots: usize,
    /// How many arrays Keras 1 keeps for it, with its default options.
    pub arrays_in_file: usize,
}

/// The layers of a model's JSON by name.
pub(super) fn layers_by_name(architecture: &Value) -> HashMap<&str, &Value> {
    let layers = architecture.pointer("/config/layers");
    layers
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|layer| Some((layer_name(layer)?, layer)))
        .collect()
}

fn layer_name(layer: &Value) -> Option<&str> {
    layer
        .get("name")
        .and_then(Value::as_str)
        .or_else(|| layer.pointer("/config/name").and_then(Value::as_str))
}

/// The leaves of a layer with `slots` weights, in the order of the weights. One leaf stands
/// for all where nothing needs to be known of them.
pub(super) fn leaves<'a>(layer: Option<&'a Value>, slots: usize, source: &Source) -> Vec<Leaf<'a>> {
    let opaque = || {
        vec![Leaf {
            class: "",
            config: None,
            slots,
            arrays_in_file: slots,
        }]
    };
    let needed = source.generation == Generation::Keras1 || source.flipped_kernels;
    let Some(layer) = layer.filter(|_| needed) else {
        return opaque();
    };
    let mut found = Vec::new();
    collect(layer, source.generation, &mut found);
    let total: usize = found.iter().map(|leaf| leaf.slots).sum();
    if total == slots { found } else { opaque() }
}

fn collect<'a>(layer: &'a Value, generation: Generation, found: &mut Vec<Leaf<'a>>) {
    let (Some(class), Some(config)) = (
        layer.get("class_name").and_then(Value::as_str),
        layer.get("config"),
    ) else {
        return;
    };
    if let Some(layers) = config.get("layers").and_then(Value::as_array) {
        for layer in layers {
            collect(layer, generation, found);
        }
        return;
    }
    if let ("Bidirectional" | "TimeDistributed", Some(inner)) = (class, config.get("layer")) {
        collect(inner, generation, found);
        if class == "Bidirectional" {
            collect(
                config.get("backward_layer").unwrap_or(inner),
                generation,
                found,
            );
        }
        return;
    }
    let Ok(reader) = Config::new(class, generation, config) else {
        return;
    };
    let Ok(built) = layers::build(class, &reader) else {
        return;
    };
    let slots = built.weight_slots().len();
    if slots > 0 {
        let per_gate = match class {
            "LSTM" => 12,
            "GRU" => 9,
            _ => slots,
        };
        found.push(Leaf {
            class,
            config: Some(config),
            slots,
            arrays_in_file: if generation == Generation::Keras1 {
                per_gate
            } else {
                slots
            },
        });
    }
}
