//! The weights that a new model starts from.

use ifco_model::{LayerEntry, Model, ModelError};
use ndarray::{ArrayD, Axis, concatenate};
use serde_json::Value;

use crate::{FitError, Initializer, Random, TrainError, fused};

/// No weight of a new model has more numbers: 4 GiB.
const MOST: usize = 1 << 30;

/// Gives a model without weights those that it starts from, as Keras does when it builds a layer:
/// drawn by each layer's initializers, from this seed.
///
/// The distributions are Keras's, the numbers are not: see [`Random`].
///
/// ```
/// use ifco_cell::Gate;
/// use ifco_model::{Generation, Model};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
///     {"class_name": "LSTM", "config": {"name": "lstm", "units": 8}},
/// ]}});
/// let mut model = Model::from_config(&json, Generation::Keras3)?;
/// ifco_train::initialize(&mut model, 7)?;
///
/// let weights = model.lstm("lstm")?.weights();
/// assert!(weights.bias(Gate::Forget).is_some_and(|b| b.iter().all(|b| *b == 1.0)));
/// // Glorot's: √(6 / (features + 4·units))
/// assert!(weights.kernel(Gate::Input).iter().all(|w| w.abs() <= (6.0_f32 / 35.0).sqrt()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When a layer has weights whose shapes ifco cannot tell before there are any, or an initializer
/// that is none.
pub fn initialize(model: &mut Model, seed: u64) -> Result<(), FitError> {
    let mut random = Random::new(seed);
    let mut drawn = Vec::new();
    for entry in model.layers() {
        if entry.layer.weight_slots().is_empty() {
            continue;
        }
        let configs = fused::layers(model.config()).into_iter().flatten();
        let found = configs
            .filter(|config| fused::named(config, &entry.name))
            .find_map(|config| config.get("config"));
        let layer = New {
            entry,
            features: features(model, entry),
            random: &mut random,
        };
        let weights = layer.weights(entry.layer.class_name(), found.unwrap_or(&Value::Null))?;
        drawn.push((entry.name.clone(), weights));
    }
    for (name, weights) in drawn {
        model.set_layer_weights(&name, weights)?;
    }
    Ok(())
}

/// The size of the last axis of what a layer takes.
fn features(model: &Model, entry: &LayerEntry) -> Option<usize> {
    let before = model.layer(entry.inbound.first()?).ok()?;
    let shape = before.output_shapes.as_ref().ok()?.first()?;
    *shape.last()?
}

/// A layer that gets its first weights.
struct New<'a> {
    entry: &'a LayerEntry,
    features: Option<usize>,
    random: &'a mut Random,
}

type Weights = Vec<ArrayD<f32>>;

impl New<'_> {
    /// The weights of a layer of this class, in the order of its slots.
    fn weights(mut self, class: &str, config: &Value) -> Result<Weights, FitError> {
        self.of(class, config)
    }

    fn of(&mut self, class: &str, config: &Value) -> Result<Weights, FitError> {
        let flag = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(true);
        let one = |key: &str| self.size(config, key);
        match class {
            "Embedding" => {
                let shape = [one("input_dim")?, one("output_dim")?];
                let drawn = self.draw(config, "embeddings_initializer", "uniform", &shape)?;
                Ok(vec![drawn])
            }
            "Dense" => {
                let (features, units) = (self.features()?, one("units")?);
                let mut weights = vec![self.kernel(config, &[features, units])?];
                if flag("use_bias") {
                    weights.push(self.zeros(config, "bias", units)?);
                }
                Ok(weights)
            }
            "Conv1D" => {
                let window = match config.get("kernel_size") {
                    Some(Value::Array(sizes)) => sizes.first().and_then(Value::as_u64),
                    Some(size) => size.as_u64(),
                    None => None,
                };
                let window = window.and_then(|size| usize::try_from(size).ok());
                let window = window.ok_or_else(|| self.untold("kernel_size"))?;
                let groups = config.get("groups").and_then(Value::as_u64).unwrap_or(1);
                let groups = usize::try_from(groups).unwrap_or(1).max(1);
                let (features, filters) = (self.features()? / groups, one("filters")?);
                let mut weights = vec![self.kernel(config, &[window, features, filters])?];
                if flag("use_bias") {
                    weights.push(self.zeros(config, "bias", filters)?);
                }
                Ok(weights)
            }
            "LayerNormalization" | "BatchNormalization" => {
                let features = self.features()?;
                let moving = class == "BatchNormalization";
                let each = [
                    (flag("scale"), "gamma", "ones"),
                    (flag("center"), "beta", "zeros"),
                    (moving, "moving_mean", "zeros"),
                    (moving, "moving_variance", "ones"),
                ];
                let has = each.into_iter().filter(|(has, ..)| *has);
                has.map(|(_, name, default)| {
                    self.draw(config, &format!("{name}_initializer"), default, &[features])
                })
                .collect()
            }
            "Bidirectional" => {
                let forward = self.inner(config.get("layer"))?;
                let backward = config.get("backward_layer").filter(|own| !own.is_null());
                let backward = self.inner(backward.or(config.get("layer")))?;
                Ok([forward, backward].concat())
            }
            "TimeDistributed" => self.inner(config.get("layer")),
            "RNN" => self.inner(config.get("cell")),
            "StackedRNNCells" => {
                let cells = config.get("cells").and_then(Value::as_array);
                let mut weights = Vec::new();
                for cell in cells.into_iter().flatten() {
                    weights.extend(self.inner(Some(cell))?);
                    self.features = cell
                        .pointer("/config/units")
                        .and_then(Value::as_u64)
                        .and_then(|units| usize::try_from(units).ok());
                }
                Ok(weights)
            }
            "LSTM" | "LSTMCell" => self.recurrent(config, 4),
            "GRU" | "GRUCell" => self.recurrent(config, 3),
            "SimpleRNN" | "SimpleRNNCell" => self.recurrent(config, 1),
            _ => Err(self.untold("what shapes its weights have before there are any")),
        }
    }

    /// A layer inside of a wrapper.
    fn inner(&mut self, layer: Option<&Value>) -> Result<Weights, FitError> {
        let layer = layer.unwrap_or(&Value::Null);
        let class = layer.get("class_name").and_then(Value::as_str);
        self.of(
            class.unwrap_or_default(),
            layer.get("config").unwrap_or(&Value::Null),
        )
    }

    fn recurrent(&mut self, config: &Value, gates: usize) -> Result<Weights, FitError> {
        let flag = |key: &str| config.get(key).and_then(Value::as_bool);
        let (features, units) = (self.features()?, self.size(config, "units")?);
        let columns = units.saturating_mul(gates);
        let mut weights = vec![self.kernel(config, &[features, columns])?];
        let (key, shape) = ("recurrent_initializer", [units, columns]);
        weights.push(self.draw(config, key, "orthogonal", &shape)?);
        if flag("use_bias").unwrap_or(true) {
            weights.push(match gates {
                // Keras's `unit_forget_bias`: i, then f at ones, then c and o.
                4 if flag("unit_forget_bias").unwrap_or(true) => {
                    let (i, rest) = (
                        self.zeros(config, "bias", units)?,
                        self.zeros(config, "bias", 2 * units)?,
                    );
                    let f = ArrayD::ones(ndarray::IxDyn(&[units]));
                    let joined = concatenate(Axis(0), &[i.view(), f.view(), rest.view()]);
                    joined.map_err(|_| self.untold("units"))?
                }
                3 if flag("reset_after").unwrap_or(true) => {
                    self.draw(config, "bias_initializer", "zeros", &[2, columns])?
                }
                _ => self.zeros(config, "bias", columns)?,
            });
        }
        Ok(weights)
    }

    fn kernel(&mut self, config: &Value, shape: &[usize]) -> Result<ArrayD<f32>, FitError> {
        self.draw(config, "kernel_initializer", "glorot_uniform", shape)
    }

    fn zeros(&mut self, config: &Value, what: &str, size: usize) -> Result<ArrayD<f32>, FitError> {
        self.draw(config, &format!("{what}_initializer"), "zeros", &[size])
    }

    /// What the configuration says under `key`, or Keras's default.
    fn draw(
        &mut self,
        config: &Value,
        key: &str,
        default: &str,
        shape: &[usize],
    ) -> Result<ArrayD<f32>, FitError> {
        let size = shape.iter().try_fold(1_usize, |all, n| all.checked_mul(*n));
        if size.is_none_or(|size| size > MOST) {
            let expected = format!("at most {MOST} numbers");
            return Err(TrainError::shape(&self.entry.name, shape, expected).into());
        }
        let default = Value::from(default);
        let told = config.get(key).filter(|value| !value.is_null());
        let initializer = Initializer::from_keras(told.unwrap_or(&default))?;
        Ok(initializer.draw(shape, self.random)?)
    }

    fn features(&self) -> Result<usize, FitError> {
        self.features
            .ok_or_else(|| self.untold("how many features it takes"))
    }

    fn size(&self, config: &Value, key: &str) -> Result<usize, FitError> {
        let size = config.get(key).and_then(Value::as_u64);
        let size = size.and_then(|size| usize::try_from(size).ok());
        size.filter(|size| *size > 0 && *size <= MOST)
            .ok_or_else(|| self.untold(key))
    }

    fn untold(&self, what: &str) -> FitError {
        FitError::Model(ModelError::Layer {
            layer: self.entry.name.clone(),
            class: self.entry.layer.class_name().into(),
            source: ifco_model::LayerError::Other(format!(
                "it cannot be given its first weights: its configuration does not tell {what}"
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ifco_model::Generation;
    use serde_json::json;

    fn model(layers: Value) -> Model {
        let mut all = vec![json!({"class_name": "InputLayer", "config": {
            "name": "x", "batch_shape": [null, 6, 3],
        }})];
        all.extend(layers.as_array().unwrap().clone());
        let json = json!({"class_name": "Sequential", "config": {"layers": all}});
        Model::from_config(&json, Generation::Keras3).unwrap()
    }

    #[test]
    fn every_kind_gets_what_it_takes() {
        let mut new = model(json!([
            {"class_name": "Conv1D", "config": {"name": "a", "filters": 4, "kernel_size": [3]}},
            {"class_name": "BatchNormalization", "config": {"name": "b", "scale": false}},
            {"class_name": "Bidirectional", "config": {"name": "c", "layer": {
                "class_name": "LSTM", "config": {"name": "i", "units": 5, "return_sequences": true},
            }}},
            {"class_name": "TimeDistributed", "config": {"name": "d", "layer": {
                "class_name": "Dense", "config": {"name": "i", "units": 7, "use_bias": false},
            }}},
            {"class_name": "RNN", "config": {"name": "e", "return_sequences": true, "cell": {
                "class_name": "StackedRNNCells", "config": {"name": "s", "cells": [
                    {"class_name": "GRUCell", "config": {"name": "g", "units": 2}},
                    {"class_name": "SimpleRNNCell", "config": {"name": "r", "units": 3}},
                ]},
            }}},
            {"class_name": "LayerNormalization", "config": {"name": "f"}},
            {"class_name": "GRU", "config": {"name": "g", "units": 2, "reset_after": false}},
            {"class_name": "Dense", "config": {"name": "h", "units": 1}},
        ]));
        initialize(&mut new, 1).unwrap();
        let weights = new.weights().unwrap();
        let shapes: Vec<&[usize]> = weights.iter().map(|array| array.shape()).collect();
        let bidirectional: [&[usize]; 6] = [&[4, 20], &[5, 20], &[20], &[4, 20], &[5, 20], &[20]];
        assert_eq!(shapes[..2], [&[3, 3, 4][..], &[4]]);
        assert_eq!(shapes[5..11], bidirectional);
        assert_eq!(shapes[12..15], [&[7, 6][..], &[2, 6], &[2, 6]]);
        assert_ne!(weights[5], weights[8], "each direction has its own");
        // Keras's defaults: a variance of ones, and a forget gate that is open.
        assert!(weights[4].iter().all(|w| *w == 1.0));
        assert_eq!(weights[7].iter().sum::<f32>(), 5.0);
        let x = ArrayD::ones(ndarray::IxDyn(&[2, 6, 3]));
        assert!(new.predict(&x).unwrap().iter().all(|y| y.is_finite()));
    }

    #[test]
    fn the_seed_says_it_all() {
        let layers = json!([{"class_name": "LSTM", "config": {"name": "l", "units": 4}}]);
        let drawn = |seed| {
            let mut new = model(layers.clone());
            initialize(&mut new, seed).unwrap();
            new.weights().unwrap()
        };
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
    }

    #[test]
    fn a_layer_too_large_is_an_error() {
        let units = 1_u64 << 40;
        let json = json!([{"class_name": "Dense", "config": {"name": "d", "units": units}}]);
        let error = initialize(&mut model(json), 0).unwrap_err().to_string();
        assert!(error.contains("units"), "{error}");
    }
}
