//! The modules of Keras 3's classes, where a configuration does not tell them, and the names of its
//! layers.

use ifco_model::Generation;
use ifco_model::layers::OPERATIONS;
use serde_json::{Map, Value, json};

use super::words::class;

/// Keras 3 writes no modules to an `.h5`. Without them it reads layers by the rules of its older
/// self, which lose some options, and does not find the operations between layers.
///
/// Names the modules of all layers, operations and cells that have none.
pub(super) fn name_modules(json: &mut Value, generation: Generation) {
    each_of_a_list(json, &mut |object| {
        let class = class(object);
        let is_operation = generation == Generation::Keras3 && is_operation(object, &class);
        name_module(object, &class, is_operation);
        if let Some(Value::Object(config)) = object.get_mut("config") {
            name_inner(config);
        }
    });
}

/// Whether there are operations between the layers, which Keras 2 has not.
pub(super) fn has_operations(json: &mut Value) -> bool {
    let mut found = false;
    each_of_a_list(json, &mut |object| {
        let class = class(object);
        found |= match object.get("module").and_then(Value::as_str) {
            Some(module) => module.starts_with("keras.src.ops"),
            None => is_operation(object, &class),
        };
    });
    found
}

/// Of the classes that are both, only a layer has the key `trainable`.
fn is_operation(object: &Map<String, Value>, class: &str) -> bool {
    let trainable = object.get("config").and_then(|c| c.get("trainable"));
    trainable.is_none() && class != "InputLayer" && OPERATIONS.contains(&class)
}

fn name_module(object: &mut Map<String, Value>, class: &str, is_operation: bool) {
    if object.contains_key("module") {
        return;
    }
    let module = match class {
        "Functional" | "Model" => "keras.src.models.functional",
        "Sequential" => "keras",
        _ if is_operation => match class {
            "ConvertToTensor" | "StopGradient" | "Cast" => "keras.src.ops.core",
            "Sigmoid" | "Relu" => "keras.src.ops.nn",
            _ => "keras.src.ops.numpy",
        },
        _ => "keras.layers",
    };
    let name = match module {
        "keras" | "keras.layers" => Value::Null,
        _ => json!(class),
    };
    object.insert("module".into(), json!(module));
    object.insert("registered_name".into(), name);
}

/// Visits every layer and operation in the lists of models.
fn each_of_a_list(json: &mut Value, each: &mut dyn FnMut(&mut Map<String, Value>)) {
    match json {
        Value::Array(items) => {
            for item in items {
                each_of_a_list(item, each);
            }
        }
        Value::Object(object) => {
            if let Some(Value::Array(layers)) = object.get_mut("layers") {
                for layer in layers.iter_mut().filter_map(Value::as_object_mut) {
                    each(layer);
                }
            }
            for value in object.values_mut() {
                each_of_a_list(value, each);
            }
        }
        _ => {}
    }
}

/// Keras 3 finds the class of a layer in a list by its name alone, but that of a layer or cell inside
/// of another only in its module.
pub(super) fn name_inner(config: &mut Map<String, Value>) {
    let mut inner: Vec<&mut Value> = Vec::new();
    for (key, value) in config.iter_mut() {
        match (key.as_str(), value) {
            ("layer" | "backward_layer" | "cell", value) => inner.push(value),
            ("cells", Value::Array(cells)) => inner.extend(cells),
            _ => {}
        }
    }
    for object in inner.into_iter().filter_map(Value::as_object_mut) {
        let class = class(object);
        name_module(object, &class, false);
        if let Some(Value::Object(config)) = object.get_mut("config") {
            // The outer layer says it.
            config.shift_remove("batch_input_shape");
        }
    }
}

/// What Keras 3 calls a layer: it has no `/` in names.
pub(super) fn layer_name(name: &str, generation: Generation) -> String {
    match generation {
        Generation::Keras3 => name.replace('/', "_"),
        _ => name.into(),
    }
}

/// Calls every layer as Keras 3 can.
pub(super) fn rename_layers(json: &mut Value, generation: Generation, notes: &mut Vec<String>) {
    let mut names = Vec::new();
    each_of_a_list(json, &mut |object| {
        let name = object.get("config").and_then(|config| config.get("name"));
        let name = name.or(object.get("name")).and_then(Value::as_str);
        names.extend(name.map(str::to_owned));
    });
    for old in names {
        let new = layer_name(&old, generation);
        if new != old {
            rename(json, &old, &new);
            notes.push(format!(
                "{old:?} is called {new:?}: Keras 3 has no / in names"
            ));
        }
    }
}

/// Renames a layer where it stands and where it is called.
pub(super) fn rename(json: &mut Value, old: &str, new: &str) {
    match json {
        Value::Array(items) => {
            if items.len() >= 3 && items[0] == old && items[1].is_u64() {
                items[0] = json!(new);
            }
            items.iter_mut().for_each(|item| rename(item, old, new));
        }
        Value::Object(object) => {
            if object.get("name").is_some_and(|name| name == old) {
                object.insert("name".into(), json!(new));
            }
            object.values_mut().for_each(|item| rename(item, old, new));
        }
        _ => {}
    }
}
