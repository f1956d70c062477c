//! The calls between layers, in Keras 3's words and in Keras 2's.
//!
//! Keras 3: `{"args": [tensor], "kwargs": {…}}`, where a tensor names its `keras_history`. Keras 2: a
//! list of `[layer, call, output, kwargs]`; the states that a recurrent layer begins with come
//! after its input.

use serde_json::{Map, Value, json};

const MODELS: [&str; 2] = ["Functional", "Model"];

/// Puts the calls in a functional model's `config` into Keras 2's words; `None` where it has none.
pub(super) fn to_keras_2(config: &mut Map<String, Value>) -> Option<()> {
    let layers = config.get_mut("layers")?.as_array_mut()?;
    for layer in layers {
        let Some(Value::Array(nodes)) = layer.get_mut("inbound_nodes") else {
            continue;
        };
        for node in nodes {
            *node = list(node)?;
        }
    }
    for key in ["input_layers", "output_layers"] {
        let ports = config.get_mut(key)?;
        if ports.is_object() {
            return None; // a dictionary of inputs or outputs
        }
        if reference(ports).is_some() {
            *ports = json!([ports.take()]);
        }
    }
    Some(())
}

fn list(node: &Value) -> Option<Value> {
    let has_words = |value: &Value| !value.is_null() && *value != json!(false);
    let kwargs = node.get("kwargs").and_then(Value::as_object)?;
    if kwargs.values().any(has_words) {
        return None;
    }
    let tensors = match node.get("args")?.as_array()?.as_slice() {
        [Value::Array(tensors)] => tensors.iter().collect(),
        [tensor] => vec![tensor],
        _ => return None,
    };
    let references: Option<Vec<Value>> = tensors
        .into_iter()
        .map(|tensor| {
            let history = tensor.pointer("/config/keras_history")?.as_array()?;
            let mut reference = history.clone();
            reference.push(json!({}));
            Some(Value::Array(reference))
        })
        .collect();
    references.map(Value::Array)
}

/// Layer, call and output of `[layer, call, output, …]`.
fn reference(value: &Value) -> Option<(&str, u64, u64)> {
    match value.as_array()?.as_slice() {
        [layer, call, output, ..] => Some((layer.as_str()?, call.as_u64()?, output.as_u64()?)),
        _ => None,
    }
}

/// Puts the calls in a functional model's `config` into Keras 3's words.
pub(super) fn to_keras_3(config: &mut Map<String, Value>) {
    let classes = classes(config);
    let counted = Counted::new(config, &classes);
    if let Some(Value::Array(layers)) = config.get_mut("layers") {
        for layer in layers {
            let class = layer.get("class_name").and_then(Value::as_str);
            let class = class.unwrap_or_default().to_owned();
            if let Some(Value::Array(nodes)) = layer.get_mut("inbound_nodes") {
                for node in nodes {
                    if node.is_array() {
                        *node = call(node, &class, &counted);
                    }
                }
            }
        }
    }
    for key in ["input_layers", "output_layers"] {
        let Some(Value::Array(ports)) = config.get_mut(key) else {
            continue;
        };
        for port in ports.iter_mut() {
            if let Some((layer, call, output)) = reference(port) {
                let from = counted.lowest(layer);
                let first = u64::from(counted.is_functional(layer));
                *port = json!([layer, call - from + first, output]);
            }
        }
        // One alone is not in a list: Keras 3 would answer with lists of one.
        if let [one @ Value::Array(_)] = ports.as_mut_slice() {
            let one = one.take();
            config[key] = one;
        }
    }
}

/// Names and classes of the layers.
fn classes(config: &Map<String, Value>) -> Vec<(String, String)> {
    let layers = config.get("layers").and_then(Value::as_array);
    let name_and_class = |layer: &Value| {
        let name = layer
            .get("name")
            .or_else(|| layer.pointer("/config/name"))?
            .as_str()?;
        Some((
            name.to_owned(),
            layer.get("class_name")?.as_str()?.to_owned(),
        ))
    };
    layers
        .into_iter()
        .flatten()
        .filter_map(name_and_class)
        .collect()
}

/// From what Keras 2 counts the calls of nested models: call 0 is the one that made them.
struct Counted<'a> {
    classes: &'a [(String, String)],
    lowest: Vec<(String, u64)>,
}

impl<'a> Counted<'a> {
    fn new(config: &Map<String, Value>, classes: &'a [(String, String)]) -> Self {
        let mut counted = Self {
            classes,
            lowest: Vec::new(),
        };
        let layers = config.get("layers").and_then(Value::as_array);
        for layer in layers.into_iter().flatten() {
            counted.note(layer.get("inbound_nodes").unwrap_or(&Value::Null));
        }
        counted.note(config.get("output_layers").unwrap_or(&Value::Null));
        counted
    }

    fn note(&mut self, value: &Value) {
        if let Some((layer, call, _)) = reference(value)
            && self.is_model(layer)
        {
            match self.lowest.iter_mut().find(|(name, _)| name == layer) {
                Some((_, lowest)) => *lowest = (*lowest).min(call),
                None => self.lowest.push((layer.into(), call)),
            }
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.note(item)),
            Value::Object(object) => object.values().for_each(|item| self.note(item)),
            _ => {}
        }
    }

    fn class(&self, layer: &str) -> Option<&str> {
        let found = self.classes.iter().find(|(name, _)| name == layer);
        found.map(|(_, class)| class.as_str())
    }

    fn is_functional(&self, layer: &str) -> bool {
        self.class(layer)
            .is_some_and(|class| MODELS.contains(&class))
    }

    fn is_model(&self, layer: &str) -> bool {
        self.is_functional(layer) || self.class(layer) == Some("Sequential")
    }

    fn lowest(&self, layer: &str) -> u64 {
        let found = self.lowest.iter().find(|(name, _)| name == layer);
        found.map_or(0, |(_, lowest)| *lowest)
    }

    /// Keras 3's word for a tensor, if `value` is a reference to one.
    fn tensor(&self, value: &Value) -> Option<Value> {
        let (layer, call, output) = reference(value)?;
        self.class(layer)?;
        let history = json!([layer, call - self.lowest(layer), output]);
        // Shape and type are those of the layer's output, which Keras takes instead.
        Some(json!({"class_name": "__keras_tensor__", "config": {
            "shape": [null], "dtype": "float32", "keras_history": history}}))
    }
}

fn call(node: &Value, class: &str, counted: &Counted<'_>) -> Value {
    let references = node.as_array().map_or(&[][..], Vec::as_slice);
    let mut tensors: Vec<Value> = references
        .iter()
        .filter_map(|r| counted.tensor(r))
        .collect();
    let mut kwargs = Map::new();
    for reference in references {
        if let Some(Value::Object(given)) = reference.get(3) {
            for (key, value) in given {
                kwargs.insert(key.clone(), tensors_in(value, counted));
            }
        }
    }
    let is_recurrent = matches!(
        class,
        "LSTM" | "GRU" | "SimpleRNN" | "RNN" | "Bidirectional"
    );
    if is_recurrent && tensors.len() > 1 {
        let states = tensors.split_off(1);
        kwargs.insert("initial_state".into(), Value::Array(states));
    }
    let args = match tensors.len() {
        1 => tensors,
        _ => vec![Value::Array(tensors)],
    };
    json!({"args": args, "kwargs": kwargs})
}

fn tensors_in(value: &Value, counted: &Counted<'_>) -> Value {
    if let Some(tensor) = counted.tensor(value) {
        return tensor;
    }
    match value {
        Value::Array(items) => items.iter().map(|item| tensors_in(item, counted)).collect(),
        other => other.clone(),
    }
}
