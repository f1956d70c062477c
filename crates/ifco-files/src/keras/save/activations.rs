//! Activations that are other functions in Keras 3 than in Keras 2 under the same name.
//!
//! Keras 2's `hard_sigmoid(x)` is `clip(x/5 + 1/2, 0, 1)`, Keras 3's is `clip(x/6 + 1/2, 0, 1)`: the
//! one of `x` is the other of `1.2·x`. What a gate's sigmoid sees is linear in the weights, so the
//! columns of such gates, times 1.2, give in Keras 3 what they gave in Keras 2. That changes the
//! weights, but not what the model computes.

use ifco_cell::Activation;
use ifco_model::{Config, Generation, layers};
use ndarray::{ArrayD, Axis, Slice};
use serde_json::{Value, json};

use super::super::json::some_of;
use super::weights::OfLayer;
use crate::{SaveError, SaveOptions};

const SIGMOID: &str = "hard_sigmoid";
const FACTOR: f64 = 1.2;

/// Changes the arrays of a Keras 2 model so that its `config` computes the same in Keras 3.
pub(super) fn adapt(
    config: &mut Value,
    generation: Generation,
    arrays: &mut [OfLayer],
    options: &SaveOptions,
    notes: &mut Vec<String>,
) -> Result<(), SaveError> {
    let mut walk = Walk {
        generation,
        scaled: Vec::new(),
        left: Vec::new(),
    };
    let mut flat = arrays.iter_mut().flatten();
    walk.visit(config, "", &mut flat);
    if !walk.scaled.is_empty() {
        notes.push(format!(
            "Keras 2's hard_sigmoid is Keras 3's of 1.2 times its input: so are the weights that \
             lead to it, in {}",
            some_of(&walk.scaled)
        ));
    }
    for (layer, class, activation) in walk.left {
        let lost = SaveError::Layer {
            layer: layer.clone(),
            class,
            reason: format!(
                "its {activation} is another function in Keras 3, and its weights cannot make up for that"
            ),
            remedy: "save it as .h5 for Keras 2, or go on with Keras 3's function (--lossy)".into(),
        };
        let change = format!("{layer}: {activation} becomes Keras 3's, which is another function");
        options.pass_over(lost, change, notes)?;
    }
    Ok(())
}

struct Walk {
    generation: Generation,
    /// Layers whose weights were changed.
    scaled: Vec<String>,
    /// Layer, class and activation where that was not possible.
    left: Vec<(String, String, String)>,
}

impl Walk {
    /// A layer, and the arrays from its own on.
    fn visit(
        &mut self,
        layer: &mut Value,
        outer: &str,
        arrays: &mut dyn Iterator<Item = &mut ArrayD<f32>>,
    ) {
        let class = layer.get("class_name").and_then(Value::as_str);
        let class = class.unwrap_or_default().to_owned();
        let Some(config) = layer.get_mut("config") else {
            return;
        };
        let name = config.get("name").and_then(Value::as_str);
        let name = name.unwrap_or(outer).to_owned();
        if let Some(Value::Array(layers)) = config.get_mut("layers") {
            for layer in layers {
                self.visit(layer, &name, arrays);
            }
            return;
        }
        match class.as_str() {
            "Bidirectional" => {
                let backward = config.get("backward_layer").is_some_and(Value::is_object);
                for key in ["layer", if backward { "backward_layer" } else { "layer" }] {
                    if let Some(inner) = config.get_mut(key) {
                        self.visit(inner, &name, arrays);
                    }
                }
            }
            "TimeDistributed" => {
                if let Some(inner) = config.get_mut("layer") {
                    self.visit(inner, &name, arrays);
                }
            }
            "RNN" => {
                let Some(cell) = config.get_mut("cell") else {
                    return;
                };
                match cell.pointer_mut("/config/cells") {
                    Some(Value::Array(cells)) => {
                        for cell in cells {
                            self.visit(cell, &name, arrays);
                        }
                    }
                    _ => self.visit(cell, &name, arrays),
                }
            }
            _ => {
                let count = slots(&class, config, self.generation);
                let mut own: Vec<_> = arrays.take(count).collect();
                self.leaf(&name, &class, config, &mut own);
            }
        }
    }

    fn leaf(&mut self, name: &str, class: &str, config: &mut Value, own: &mut [&mut ArrayD<f32>]) {
        let gates = gates(class);
        if gates > 1
            && config
                .get("recurrent_activation")
                .is_none_or(Value::is_null)
        {
            // What it is in Keras 2 where the file does not say.
            config["recurrent_activation"] = json!(SIGMOID);
        }
        for key in ["activation", "recurrent_activation"] {
            let Some(activation) = config.get(key).and_then(differing) else {
                continue;
            };
            // Parts of the fused columns that lead to the activation.
            let parts: Option<&[usize]> = match (key, gates) {
                _ if activation != SIGMOID => None,
                ("recurrent_activation", 4) => Some(&[0, 1, 3]),
                ("recurrent_activation", 3) => Some(&[0, 1]),
                ("activation", 1) if !own.is_empty() => Some(&[0]),
                _ => None,
            };
            match parts {
                Some(parts) => {
                    for array in own.iter_mut() {
                        scale(array, parts, gates);
                    }
                    if !self.scaled.iter().any(|other| other == name) {
                        self.scaled.push(name.into());
                    }
                }
                None => {
                    let activation = format!("{key} {activation:?}");
                    self.left.push((name.into(), class.into(), activation));
                }
            }
        }
    }
}

/// How many blocks of columns the layer's arrays have side by side.
fn gates(class: &str) -> usize {
    match class.strip_suffix("Cell").unwrap_or(class) {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    }
}

fn slots(class: &str, config: &Value, generation: Generation) -> usize {
    let class = class.strip_suffix("Cell").unwrap_or(class);
    let built = Config::new(class, generation, config).and_then(|c| layers::build(class, &c));
    built.map_or(0, |layer| layer.weight_slots().len())
}

/// The name of an activation, if Keras 3 means another function by it.
fn differing(activation: &Value) -> Option<String> {
    let name = activation
        .as_str()
        .or_else(|| activation.get("config")?.as_str())?;
    (Activation::from_keras2_name(name) != Activation::from_name(name)).then(|| name.to_owned())
}

/// What Keras 3 has and Keras 2 has not.
const ONLY_KERAS_3: [&str; 14] = [
    "celu",
    "glu",
    "hard_shrink",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "log_sigmoid",
    "soft_shrink",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh_shrink",
    "threshold",
];

/// An activation in `json` that Keras 2 has not, or that is another function there.
pub(super) fn unknown_to_keras_2(json: &Value) -> Option<String> {
    match json {
        Value::Array(items) => items.iter().find_map(unknown_to_keras_2),
        Value::Object(object) => object.iter().find_map(|(key, value)| {
            let is_activation = key == "activation" || key == "recurrent_activation";
            let name = value.as_str().filter(|name| ONLY_KERAS_3.contains(name));
            let found = name.map(str::to_owned).or_else(|| differing(value));
            found
                .filter(|_| is_activation)
                .or_else(|| unknown_to_keras_2(value))
        }),
        _ => None,
    }
}

fn scale(array: &mut ArrayD<f32>, parts: &[usize], gates: usize) {
    let Some(last) = array.ndim().checked_sub(1) else {
        return;
    };
    let width = array.len_of(Axis(last)) / gates;
    for part in parts {
        let columns = Slice::from(part * width..(part + 1) * width);
        array
            .slice_axis_mut(Axis(last), columns)
            .mapv_inplace(|weight| (f64::from(weight) * FACTOR) as f32);
    }
}
