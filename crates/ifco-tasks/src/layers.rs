//! Keras's JSON of the models that the tasks train.

use serde_json::{Value, json};

/// How large a new model is.
///
/// ```
/// let size = ifco_tasks::Size { units: 32, layers: 2, dropout: 0.2, embedding: 16 };
/// assert_eq!(size.layers, 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Units of each recurrent layer.
    pub units: usize,
    /// How many recurrent layers lie on each other.
    pub layers: usize,
    /// The share that is dropped behind each of them in training.
    pub dropout: f32,
    /// Numbers that stand for a word or character.
    pub embedding: usize,
}

/// Keras's shape, of one sample.
pub(crate) type Sizes<'a> = &'a [Option<usize>];

/// A functional model that grows layer by layer.
#[derive(Default)]
pub(crate) struct Graph {
    layers: Vec<Value>,
    /// The name of each layer, and the tensor that it gives.
    tensors: Vec<(String, Value)>,
    inputs: Vec<Value>,
}

impl Graph {
    pub fn input(&mut self, name: &str, sizes: Sizes<'_>, dtype: &str) {
        let config = json!({"name": name, "batch_shape": batch(sizes), "dtype": dtype});
        self.push("InputLayer", "keras.layers", name, config, json!([]), sizes);
        self.inputs.push(json!([name, 0, 0]));
    }

    /// A layer that takes what `from` give.
    pub fn add(
        &mut self,
        class: &str,
        name: &str,
        mut config: Value,
        from: &[&str],
        sizes: Sizes<'_>,
    ) {
        config["name"] = json!(name);
        let tensors: Vec<Value> = from.iter().map(|name| self.tensor(name)).collect();
        let args = match &tensors[..] {
            [one] => json!([one]),
            several => json!([several]),
        };
        let nodes = json!([{"args": args, "kwargs": {}}]);
        self.push(class, "keras.layers", name, config, nodes, sizes);
    }

    /// `x[:, -1:, :]`, the last step, `[1, columns]`.
    pub fn last_step(&mut self, name: &str, columns: Option<usize>, from: &str) {
        let place = json!([slice(None, None), slice(Some(-1), None), slice(None, None)]);
        self.item(name, place, from, &[Some(1), columns]);
    }

    /// `x[:, -1, column : column + 1]`, the last step's value in one column, `[1]`.
    pub fn last_value(&mut self, name: &str, column: usize, from: &str) {
        let column = column as i64;
        let place = json!([slice(None, None), -1, slice(Some(column), Some(column + 1))]);
        self.item(name, place, from, &[Some(1)]);
    }

    fn item(&mut self, name: &str, place: Value, from: &str, sizes: Sizes<'_>) {
        let nodes = json!([{"args": [self.tensor(from), place], "kwargs": {}}]);
        let config = json!({"name": name});
        self.push("GetItem", "keras.src.ops.numpy", name, config, nodes, sizes);
    }

    /// Recurrent layers on each other, each with its dropout; the name of what the last gives.
    pub fn recurrent(
        &mut self,
        size: &Size,
        from: &str,
        time: Option<usize>,
        kind: Recurrent,
    ) -> String {
        let mut below = from.to_owned();
        for level in 0..size.layers {
            let all_steps = kind.all_steps || level + 1 < size.layers;
            let name = match level {
                0 => "lstm".to_owned(),
                level => format!("lstm_{level}"),
            };
            let lstm = json!({"name": &name, "units": size.units, "return_sequences": all_steps});
            let width = if kind.both_ways { 2 } else { 1 } * size.units;
            let sizes: &[Option<usize>] = &[time, Some(width)];
            let sizes = if all_steps { sizes } else { &sizes[1..] };
            match kind.both_ways {
                true => {
                    let inner = json!({"module": "keras.layers", "class_name": "LSTM",
                        "config": lstm, "registered_name": null});
                    let name = format!("both_{name}");
                    self.add(
                        "Bidirectional",
                        &name,
                        json!({"layer": inner, "merge_mode": "concat"}),
                        &[&below],
                        sizes,
                    );
                    below = name;
                }
                false => {
                    self.add("LSTM", &name, lstm, &[&below], sizes);
                    below = name;
                }
            }
            if size.dropout > 0.0 {
                let name = format!("dropout_{}", level + 1);
                let config = json!({"rate": size.dropout});
                self.add("Dropout", &name, config, &[&below], sizes);
                below = name;
            }
        }
        below
    }

    /// The model, to its one output.
    pub fn model(self, name: &str, output: &str) -> Value {
        json!({"module": "keras.src.models.functional", "class_name": "Functional",
        "registered_name": "Functional", "config": {
            "name": name, "trainable": true, "layers": self.layers,
            "input_layers": self.inputs, "output_layers": [[output, 0, 0]],
        }})
    }

    fn tensor(&self, name: &str) -> Value {
        let found = self.tensors.iter().find(|(own, _)| own == name);
        found.map_or(Value::Null, |(_, tensor)| tensor.clone())
    }

    fn push(
        &mut self,
        class: &str,
        module: &str,
        name: &str,
        config: Value,
        nodes: Value,
        sizes: Sizes<'_>,
    ) {
        let dtype = config.get("dtype").cloned().unwrap_or(json!("float32"));
        let registered = (module != "keras.layers").then_some(class);
        self.layers.push(
            json!({"module": module, "class_name": class, "config": config,
            "registered_name": registered, "name": name, "inbound_nodes": nodes}),
        );
        let tensor = json!({"class_name": "__keras_tensor__", "config": {
            "shape": batch(sizes), "dtype": dtype, "keras_history": [name, 0, 0]}});
        self.tensors.push((name.to_owned(), tensor));
    }
}

/// Which steps the last of some recurrent layers gives, and which way they read.
#[derive(Clone, Copy)]
pub(crate) struct Recurrent {
    pub all_steps: bool,
    pub both_ways: bool,
}

fn slice(start: Option<i64>, stop: Option<i64>) -> Value {
    json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": null}})
}

fn batch(sizes: Sizes<'_>) -> Vec<Option<usize>> {
    [None].into_iter().chain(sizes.iter().copied()).collect()
}

/// What `compile` is called with: Adam, whose gradients are cut to a length of 1, as recurrent
/// networks need now and then.
pub(crate) fn compile(learning_rate: f32, loss: &str, weight: Option<f32>, metric: &str) -> Value {
    json!({
        "optimizer": {"module": "keras.optimizers", "class_name": "Adam", "registered_name": null,
            "config": {"learning_rate": learning_rate, "global_clipnorm": 1.0}},
        "loss": loss, "loss_weights": weight, "metrics": [metric],
    })
}
