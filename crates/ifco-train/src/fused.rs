//! The activation before a loss, taken out of the model.
//!
//! Keras computes a crossentropy of a softmax's or sigmoid's output from what went into it. The
//! same is had here by running the model without that activation: its outputs are then what the
//! loss takes, and the activation of them what the user sees.

use ifco_model::{Model, ModelError};
use ndarray::{ArrayD, Axis};
use serde_json::{Value, json};

/// The activation that an output's layer ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Softmax,
    Sigmoid,
}

impl Last {
    /// What the model would have given.
    pub fn of(self, mut logits: ArrayD<f32>) -> ArrayD<f32> {
        match self {
            Self::Sigmoid => logits.mapv_inplace(|x| 1.0 / (1.0 + (-x).exp())),
            Self::Softmax => {
                let Some(last) = logits.ndim().checked_sub(1) else {
                    return logits;
                };
                for mut row in logits.lanes_mut(Axis(last)) {
                    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    row.mapv_inplace(|x| (x - largest).exp());
                    let sum = row.sum();
                    row.mapv_inplace(|x| x / sum);
                }
            }
        }
        logits
    }
}

/// What the layer of this name ends with, if it is one through which Keras looks.
pub(crate) fn last_activation(config: &Value, layer: &str) -> Option<Last> {
    let found = layers(config)?.iter().find(|entry| named(entry, layer))?;
    let class = found.get("class_name")?.as_str()?;
    let last_axis = found.pointer("/config/axis").is_none_or(|axis| *axis == -1);
    let activation = match class {
        "Dense" | "Activation" => found.pointer("/config/activation")?,
        "Softmax" if last_axis => return Some(Last::Softmax),
        _ => return None,
    };
    // A function's object has its name under `config`.
    let name = activation
        .as_str()
        .or_else(|| activation.get("config")?.as_str());
    match name? {
        "softmax" => Some(Last::Softmax),
        "sigmoid" => Some(Last::Sigmoid),
        _ => None,
    }
}

/// The same model with these layers' last activations left out.
pub(crate) fn without(model: &Model, outputs: &[&str]) -> Result<Model, ModelError> {
    let mut config = model.config().clone();
    let layers = config
        .pointer_mut("/config/layers")
        .and_then(Value::as_array_mut);
    for entry in layers.into_iter().flatten() {
        if !outputs.iter().any(|output| named(entry, output)) {
            continue;
        }
        if entry["class_name"] == "Softmax" {
            let name = entry.pointer("/config/name").cloned().unwrap_or_default();
            entry["class_name"] = json!("Activation");
            entry["config"] = json!({"name": name, "activation": "linear"});
        } else if let Some(activation) = entry.pointer_mut("/config/activation") {
            *activation = json!("linear");
        }
    }
    let mut twin = Model::from_config(&config, model.generation())?;
    if let Some(weights) = model.weights() {
        twin.set_weights(weights)?;
    }
    Ok(twin)
}

pub(crate) fn layers(config: &Value) -> Option<&Vec<Value>> {
    config.pointer("/config/layers")?.as_array()
}

pub(crate) fn named(entry: &Value, layer: &str) -> bool {
    let own = entry.pointer("/config/name").or_else(|| entry.get("name"));
    own.and_then(Value::as_str) == Some(layer)
}
