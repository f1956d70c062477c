//! RTNeural's JSON, written: what its own Python exporter makes of a Keras model.

use ifco_cell::{Activation, Cell, packing};
use ifco_model::Model;
use ndarray::{Array1, ArrayD, ArrayViewD, Axis, Ix1, Ix2};
use serde_json::{Value, json};

use super::rtneural::ACTIVATIONS;
use crate::stack::{self, REMEDY, Stage};
use crate::{SaveError, SaveOptions, Saved};

/// The model as RTNeural and AIDA-X load it.
pub(crate) fn save_rtneural(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    let mut notes = Vec::new();
    let stages = stack::of(model, options, &mut notes)?;
    let shape = model.inputs().first().and_then(|port| port.shape.as_ref());
    let features = match shape.map(Vec::as_slice) {
        Some([_, _, Some(features)]) => *features,
        _ => {
            return Err(SaveError::Model {
                reason:
                    "RTNeural takes sequences (batch, time, features), the model something else"
                        .into(),
                remedy: REMEDY.into(),
            });
        }
    };
    let mut writer = Writer {
        layers: Vec::new(),
        features,
        is_sequence: true,
    };
    for stage in &stages {
        writer.add(stage)?;
    }
    let mut json = json!({"in_shape": [null, null, features], "layers": writer.layers});
    if let Some(rate) = model.about().sample_rate {
        json["metadata"] = json!({"samplerate": rate});
    }
    Ok(Saved::new(json.to_string().into_bytes(), notes))
}

struct Writer {
    layers: Vec<Value>,
    /// Of what the last layer gives.
    features: usize,
    is_sequence: bool,
}

impl Writer {
    fn push(
        &mut self,
        stage: &Stage<'_>,
        kind: &str,
        activation: &str,
        arrays: Vec<ArrayD<f32>>,
        more: Value,
    ) -> Result<(), SaveError> {
        let shape = match self.is_sequence {
            true => json!([null, null, self.features]),
            false => json!([null, self.features]),
        };
        if arrays.iter().flatten().any(|value| !value.is_finite()) {
            return Err(stage.refuse("it has weights that are no numbers", "train it again"));
        }
        let weights: Vec<Value> = arrays.iter().map(|array| nested(array.view())).collect();
        let mut layer =
            json!({"type": kind, "activation": activation, "shape": shape, "weights": weights});
        if let (Some(layer), Value::Object(more)) = (layer.as_object_mut(), more) {
            layer.extend(more);
        }
        self.layers.push(layer);
        Ok(())
    }

    fn add(&mut self, stage: &Stage<'_>) -> Result<(), SaveError> {
        let missing = || stage.refuse("it has no weights yet", "open it together with its weights");
        let mut weights = stage.layer.weights().ok_or_else(missing)?;
        match stage.class {
            "LSTM" | "GRU" => self.recurrent(stage),
            "Dense" => {
                self.features = weights[0].shape()[1];
                self.fill_bias(&mut weights);
                let activation = activation(stage, stage.activation())?;
                self.push(stage, "dense", activation, weights, json!({}))
            }
            "Conv1D" => {
                let is_causal = stage.config["padding"] == "causal";
                let size = weights[0].shape()[0];
                if !(is_causal || size == 1) || stage.size("strides") != 1 {
                    return Err(
                        stage.refuse("RTNeural's conv1d is causal, without strides", REMEDY)
                    );
                }
                self.features = weights[0].shape()[2];
                self.fill_bias(&mut weights);
                let groups = stage.config["groups"].as_u64().unwrap_or(1);
                let more = json!({
                    "kernel_size": [size], "dilation": [stage.size("dilation_rate")], "groups": groups,
                });
                let activation = activation(stage, stage.activation())?;
                self.push(stage, "conv1d", activation, weights, more)
            }
            "PReLU" if weights[0].len() == self.features => {
                let alpha = weights.remove(0);
                let row = Array1::from_iter(alpha).insert_axis(Axis(0)).into_dyn();
                self.push(stage, "prelu", "", vec![row], json!({}))
            }
            "BatchNormalization" => self.batch_norm(stage, weights),
            "Activation" | "ReLU" | "Softmax" | "ELU" => {
                let is_plain = stage.class == "Activation" || stage.plain_activation();
                let name = match stage.class {
                    "Activation" => stage.activation(),
                    "ReLU" => Some("relu"),
                    "Softmax" => Some("softmax"),
                    _ => Some("elu"),
                };
                let name = activation(stage, name.filter(|_| is_plain))?;
                if let Some(last) = self.layers.last_mut()
                    && (last["type"] == "dense" || last["type"] == "conv1d")
                    && last["activation"] == ""
                {
                    last["activation"] = json!(name);
                    return Ok(());
                }
                self.push(stage, "activation", name, Vec::new(), json!({}))
            }
            _ => Err(stage.refuse("RTNeural has no such layer", REMEDY)),
        }
    }

    /// RTNeural's layers have biases.
    fn fill_bias(&self, weights: &mut Vec<ArrayD<f32>>) {
        if weights.len() == 1 {
            weights.push(Array1::zeros(self.features).into_dyn());
        }
    }

    fn recurrent(&mut self, stage: &Stage<'_>) -> Result<(), SaveError> {
        let cells = stage.layer.cells();
        let (activation, sigmoid, before) = match cells.first() {
            Some((_, Cell::Lstm(cell))) => (cell.activation(), cell.recurrent_activation(), false),
            Some((_, Cell::Gru(cell))) => (
                cell.activation(),
                cell.recurrent_activation(),
                !cell.reset_after(),
            ),
            _ => return Err(stage.refuse("it has no weights yet", REMEDY)),
        };
        if (activation, sigmoid) != (Activation::Tanh, Activation::Sigmoid) {
            return Err(stage.refuse(
                "RTNeural runs tanh and sigmoid, whatever a file says",
                REMEDY,
            ));
        }
        if before {
            return Err(stage.refuse("RTNeural's gru is that of reset_after=True", REMEDY));
        }
        if stage.flag("go_backwards", false) || stage.flag("return_state", false) {
            return Err(stage.refuse("RTNeural runs step by step, forwards", REMEDY));
        }
        let mut weights = stage.layer.weights().unwrap_or_default();
        self.features = weights[1].shape()[0];
        self.is_sequence &= stage.flag("return_sequences", false);
        let wrong = |_| SaveError::Encode("the gates do not fit".into());
        if stage.class == "GRU" {
            if weights.len() == 2 {
                weights.push(ArrayD::zeros(vec![2, 3 * self.features]));
            }
            return self.push(stage, "gru", "tanh", weights, json!({}));
        }
        if weights.len() == 2 {
            weights.push(ArrayD::zeros(vec![4 * self.features]));
        }
        let order = packing::find("rtneural")
            .ok_or_else(|| SaveError::Encode("the gate order \"rtneural\" is not known".into()))?;
        for (index, array) in weights.iter_mut().enumerate() {
            let view = array.view();
            *array = if index < 2 {
                let matrix = view.into_dimensionality::<Ix2>().map_err(|_| wrong(()))?;
                order
                    .matrix_from_keras(matrix)
                    .map_err(|_| wrong(()))?
                    .into_dyn()
            } else {
                let bias = view.into_dimensionality::<Ix1>().map_err(|_| wrong(()))?;
                let biases = order.bias_from_keras(bias, None).map_err(|_| wrong(()))?;
                biases
                    .into_iter()
                    .next()
                    .ok_or_else(|| wrong(()))?
                    .into_dyn()
            };
        }
        self.push(stage, "lstm", "tanh", weights, json!({}))
    }

    fn batch_norm(
        &mut self,
        stage: &Stage<'_>,
        weights: Vec<ArrayD<f32>>,
    ) -> Result<(), SaveError> {
        let axis = &stage.config["axis"];
        let axis = axis.get(0).unwrap_or(axis);
        if !(axis.is_null() || *axis == -1 || *axis == if self.is_sequence { 2 } else { 1 }) {
            return Err(stage.refuse("it does not count over the features", REMEDY));
        }
        let (scale, center) = (stage.flag("scale", true), stage.flag("center", true));
        let mut weights = weights.into_iter();
        let mut arrays = Vec::new();
        if scale || center {
            for (is_there, value) in [(scale, 1.0), (center, 0.0)] {
                let without = || Array1::from_elem(self.features, value).into_dyn();
                arrays.push(if is_there {
                    weights.next().unwrap_or_else(without)
                } else {
                    without()
                });
            }
        }
        arrays.extend(weights);
        let more = json!({"epsilon": stage.number("epsilon", 1e-3)});
        self.push(stage, "batchnorm", "", arrays, more)
    }
}

/// RTNeural's name of an activation; none is an empty one.
fn activation<'a>(stage: &Stage<'_>, name: Option<&'a str>) -> Result<&'a str, SaveError> {
    match name {
        Some("linear") => Ok(""),
        Some(name) if ACTIVATIONS.contains(&name) => Ok(name),
        other => {
            let name = other.unwrap_or("with options of its own");
            let names = ACTIVATIONS.join(", ");
            Err(stage.refuse(
                format!("RTNeural has no activation {name}, only {names}"),
                REMEDY,
            ))
        }
    }
}

/// Lists in lists.
fn nested(array: ArrayViewD<'_, f32>) -> Value {
    match array.ndim() {
        0 => json!(array.first()),
        1 => array.iter().map(|value| json!(value)).collect(),
        _ => array.outer_iter().map(nested).collect(),
    }
}
