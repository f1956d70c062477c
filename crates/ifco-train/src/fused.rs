//! The activation before a loss, taken out of the model.
//!
//! Keras computes a crossentropy of a softmax's or sigmoid's output from what went into it. The
//! same is had here by running the model without that activation: its outputs are then what the
//! loss takes, and the activation of them what the user sees.

use ifco_model::{ConfigError, Model, ModelError, NotAMatrix, Regularizer, Tensor};
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

    /// The gradient of the logits, of that of what the activation made of them.
    fn backward(self, gradient: ArrayD<f32>, seen: &ArrayD<f32>) -> ArrayD<f32> {
        match self {
            Self::Sigmoid => gradient * seen.mapv(|y| y * (1.0 - y)),
            Self::Softmax => {
                let Some(last) = seen.ndim().checked_sub(1).map(Axis) else {
                    return gradient;
                };
                let along = (&gradient * seen).sum_axis(last).insert_axis(last);
                (gradient - along) * seen
            }
        }
    }
}

/// An output's last activation while the model runs without it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    pub last: Last,
    /// What the output with its activation adds to the loss: the layer's `activity_regularizer`.
    pub activity: Option<Regularizer>,
}

impl Behind {
    /// What the layer with its activation adds to the loss, and the gradient of that by the logits.
    pub fn penalty(&self, logits: &Tensor) -> Result<(f32, Option<ArrayD<f32>>), NotAMatrix> {
        let Some(regularizer) = &self.activity else {
            return Ok((0.0, None));
        };
        let seen = self.last.of(logits.clone().into_owned());
        let rows = seen.shape().first().map_or(1, |rows| *rows);
        let scale = if rows == 0 { 0.0 } else { 1.0 / rows as f32 };
        let (value, slope) = regularizer.with_gradient(&seen.view())?;
        Ok((
            value * scale,
            Some(self.last.backward(slope * scale, &seen)),
        ))
    }
}

/// What the layer of this name ends with, if it is one through which Keras looks, and one whose
/// output nothing but the loss takes.
pub(crate) fn last_activation(model: &Model, layer: &str) -> Option<Last> {
    let found = layers(model.config())?;
    let found = found.iter().find(|entry| named(entry, layer))?;
    let calls = found.get("inbound_nodes").and_then(Value::as_array);
    let once = calls.is_none_or(|calls| calls.len() <= 1);
    let taken = model
        .layers()
        .iter()
        .any(|entry| entry.inbound.iter().any(|name| name == layer));
    if taken || !once {
        return None;
    }
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
        // Of its output as it would be: see [`Behind::penalty`].
        if let Some(activity) = entry.pointer_mut("/config/activity_regularizer") {
            *activity = Value::Null;
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

/// The `activity_regularizer` of the layer of this name.
pub(crate) fn activity(config: &Value, layer: &str) -> Result<Option<Regularizer>, ConfigError> {
    let found = layers(config).and_then(|all| all.iter().find(|entry| named(entry, layer)));
    let own = found.and_then(|entry| entry.pointer("/config/activity_regularizer"));
    let own = own.filter(|value| !value.is_null());
    own.map(Regularizer::from_keras).transpose()
}

pub(crate) fn layers(config: &Value) -> Option<&Vec<Value>> {
    config.pointer("/config/layers")?.as_array()
}

pub(crate) fn named(entry: &Value, layer: &str) -> bool {
    let own = entry.pointer("/config/name").or_else(|| entry.get("name"));
    own.and_then(Value::as_str) == Some(layer)
}
