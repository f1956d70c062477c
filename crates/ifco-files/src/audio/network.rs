//! A network put together layer by layer, as the configuration that Keras 3 writes.

use std::path::Path;

use ifco_model::{About, Generation, Model};
use ndarray::{Array1, ArrayD};
use serde_json::{Value, json};

use crate::FileError;

/// More layers than any model for a plugin has: each costs time that their number multiplies.
pub(super) const MOST_LAYERS: usize = 1000;

/// Layers over one input `(batch, time, features)`.
pub(super) struct Network<'a> {
    file: &'a Path,
    layers: Vec<Part>,
}

struct Part {
    class: &'static str,
    name: String,
    config: Value,
    from: Vec<Tensor>,
    features: usize,
    /// Whether the output has a time axis.
    steps: bool,
    weights: Vec<ArrayD<f32>>,
    initial_states: Option<Vec<Array1<f32>>>,
}

/// The output of a layer of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tensor(usize);

impl<'a> Network<'a> {
    /// A network of one input of so many features at each step.
    pub fn new(file: &'a Path, features: usize) -> (Self, Tensor) {
        let input = Part {
            class: "InputLayer",
            name: "input".into(),
            config: json!({ "batch_shape": [null, null, features] }),
            from: Vec::new(),
            features,
            steps: true,
            weights: Vec::new(),
            initial_states: None,
        };
        let layers = vec![input];
        (Self { file, layers }, Tensor(0))
    }

    /// How many features a tensor has.
    pub fn features(&self, tensor: Tensor) -> usize {
        self.layers[tensor.0].features
    }

    /// Adds a layer with Keras's options `config`, named as Keras would name it; what it puts out
    /// has `features` at each step.
    pub fn add(
        &mut self,
        class: &'static str,
        config: Value,
        from: &[Tensor],
        features: usize,
        weights: Vec<ArrayD<f32>>,
    ) -> Tensor {
        let steps = from.iter().all(|from| self.layers[from.0].steps)
            && config.get("return_sequences") != Some(&Value::Bool(false));
        let name = self.name(class);
        self.layers.push(Part {
            class,
            name,
            config,
            from: from.to_vec(),
            features,
            steps,
            weights,
            initial_states: None,
        });
        Tensor(self.layers.len() - 1)
    }

    /// Lets a recurrent layer begin at these states.
    pub fn begin_at(&mut self, layer: Tensor, states: Vec<Array1<f32>>) {
        self.layers[layer.0].initial_states = Some(states);
    }

    /// The tensor of the first `count` features of `from`, exactly.
    pub fn first_features(&mut self, from: Tensor, count: usize) -> Tensor {
        let features = self.features(from);
        if features == count {
            return from;
        }
        let kernel = ndarray::Array2::from_shape_fn((features, count), |(row, column)| {
            if row == column { 1.0 } else { 0.0 }
        });
        let config = json!({ "units": count, "use_bias": false });
        self.add("Dense", config, &[from], count, vec![kernel.into_dyn()])
    }

    /// `lstm`, `lstm_1`, …
    fn name(&self, class: &str) -> String {
        let base = match class {
            "BatchNormalization" => "batch_normalization".into(),
            "SimpleRNN" => "simple_rnn".into(),
            class => class.to_lowercase(),
        };
        let count = self.layers.iter().filter(|part| part.class == class);
        match count.count() {
            0 => base,
            count => format!("{base}_{count}"),
        }
    }

    /// The model, whose output is that of the layer added last.
    pub fn finish(self, about: About) -> Result<Model, FileError> {
        let wrong = |error| FileError::model(self.file, error);
        let config = self.config();
        let mut model = Model::from_config(&config, Generation::Keras3).map_err(wrong)?;
        for part in self.layers {
            if !part.weights.is_empty() {
                let set = model.set_layer_weights(&part.name, part.weights);
                set.map_err(wrong)?;
            }
            if let Some(states) = part.initial_states {
                let set = model.set_layer_initial_states(&part.name, states);
                set.map_err(wrong)?;
            }
        }
        model.set_about(about);
        Ok(model)
    }

    /// A Sequential where each layer takes what the one before puts out, else a Functional.
    fn config(&self) -> Value {
        let in_order = |(index, part): (usize, &Part)| part.from == [Tensor(index)];
        let is_sequential = self.layers.iter().skip(1).enumerate().all(in_order);
        let layers = self.layers.iter().map(|part| {
            let mut config = part.config.clone();
            config["name"] = part.name.as_str().into();
            let mut layer = json!({
                "module": "keras.layers",
                "class_name": part.class,
                "config": config,
                "registered_name": null,
            });
            if !is_sequential {
                layer["name"] = part.name.as_str().into();
                layer["inbound_nodes"] = self.inbound(part);
            }
            layer
        });
        let layers: Vec<Value> = layers.collect();
        let stem = self.file.file_stem().map(|stem| stem.to_string_lossy());
        let name = stem.filter(|stem| !stem.is_empty());
        let name = name.unwrap_or("model".into());
        let port = |part: Option<&Part>| part.map(|part| json!([part.name, 0, 0]));
        let (class, config) = match is_sequential {
            true => ("Sequential", json!({ "name": name, "layers": layers })),
            false => (
                "Functional",
                json!({
                    "name": name,
                    "layers": layers,
                    "input_layers": [port(self.layers.first())],
                    "output_layers": [port(self.layers.last())],
                }),
            ),
        };
        json!({ "module": "keras", "class_name": class, "config": config, "registered_name": null })
    }

    fn inbound(&self, part: &Part) -> Value {
        let tensor = |tensor: &Tensor| {
            let from = &self.layers[tensor.0];
            let shape = match from.steps {
                true => json!([null, null, from.features]),
                false => json!([null, from.features]),
            };
            json!({ "class_name": "__keras_tensor__", "config": {
                "shape": shape, "dtype": "float32", "keras_history": [from.name, 0, 0],
            }})
        };
        let tensors: Vec<Value> = part.from.iter().map(tensor).collect();
        match &tensors[..] {
            [] => json!([]),
            [one] => json!([{ "args": [one], "kwargs": {} }]),
            // A merging layer takes its inputs as one list.
            many => json!([{ "args": [many], "kwargs": {} }]),
        }
    }
}
