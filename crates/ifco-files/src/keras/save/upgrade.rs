//! Models of Keras 1 and 2 in the words of Keras 3.

use serde_json::{Map, Value, json};

use super::modules::{name_inner, rename};
use super::nodes;
use super::words::{class, plain, visit};
use crate::SaveError;

/// Translates a whole model of Keras 1 or 2. What Keras 3 lacks is an error.
pub(super) fn keras_2_to_3(model: &mut Value, notes: &mut Vec<String>) -> Result<(), SaveError> {
    plain(model);
    let has_masks = masks(model);
    visit(model, &mut |object| {
        let class = class(object);
        let new = match class.as_str() {
            "BatchNormalizationV1" | "BatchNormalizationV2" => "BatchNormalization",
            "Model" => "Functional",
            _ => &class,
        };
        if new != class {
            object.insert("class_name".into(), json!(new));
        }
        let Some(Value::Object(config)) = object.get_mut("config") else {
            return Ok(());
        };
        name_inner(config);
        if class == "BatchNormalization"
            && let Some([axis]) = config
                .get("axis")
                .and_then(|axis| axis.as_array())
                .map(Vec::as_slice)
        {
            let axis = axis.clone();
            config.insert("axis".into(), axis);
        }
        if class == "MultiHeadAttention" {
            // Keras 2 must be told, and Keras 3 finds out itself.
            for key in ["query_shape", "key_shape", "value_shape"] {
                config.shift_remove(key);
            }
        }
        if class.starts_with("SpatialDropout") {
            // Their `__init__` takes neither, nor do they write them.
            config.shift_remove("trainable");
            config.shift_remove("noise_shape");
        }
        if class.starts_with("SeparableConv") || class.starts_with("DepthwiseConv") {
            // Keras 2 writes what they have of the class that they are made from.
            for key in [
                "groups",
                "kernel_initializer",
                "kernel_regularizer",
                "kernel_constraint",
            ] {
                config.shift_remove(key);
            }
        }
        if class == "LeakyReLU" {
            let slope = config.remove("alpha");
            config.extend(slope.map(|slope| ("negative_slope".into(), slope)));
        }
        match new {
            "Sequential" => say_input(config),
            "Functional" => {
                nodes::to_keras_3(config);
                if has_masks {
                    rename_concatenates(config, notes);
                }
                inputs_alone_have_shapes(config);
            }
            _ => {}
        }
        if class.starts_with("GRU") {
            config.entry("reset_after").or_insert(json!(false));
        }
        let reason = if class == "ThresholdedReLU" {
            "Keras 3 has no such layer"
        } else if config.get("causal") == Some(&json!(true)) {
            "Keras 3 has \"causal\" not as an option of the layer but of its call"
        } else {
            return Ok(());
        };
        let layer = config.get("name").and_then(Value::as_str);
        Err(SaveError::Layer {
            layer: layer.unwrap_or_default().into(),
            class,
            reason: reason.into(),
            remedy: "save it as .h5 for Keras 2".into(),
        })
    })
}

/// A Sequential without an InputLayer has the input's shape in its first layer; Keras 3's layers
/// take none.
fn say_input(config: &mut Map<String, Value>) {
    let first = config.get_mut("layers").and_then(|layers| layers.get(0));
    let Some((class, first)) = first.and_then(|l| Some((class(l.as_object()?), l.get("config")?)))
    else {
        return;
    };
    let shape = first.get("batch_input_shape").cloned();
    let name = first.get("name").and_then(Value::as_str).unwrap_or("first");
    let input = json!({"class_name": "InputLayer", "config": {
        "name": format!("{name}_input"), "batch_shape": shape, "dtype": "float32"}});
    inputs_alone_have_shapes(config);
    if class != "InputLayer"
        && shape.is_some()
        && let Some(Value::Array(layers)) = config.get_mut("layers")
    {
        layers.insert(0, input);
    }
}

/// Whether a layer makes masks.
fn masks(json: &Value) -> bool {
    match json {
        Value::Array(items) => items.iter().any(masks),
        Value::Object(object) => {
            class(object) == "Masking"
                || object.get("mask_zero") == Some(&json!(true))
                || object.values().any(masks)
        }
        _ => false,
    }
}

/// Keras 3 joins masks in operations of its own, which take the name that Keras 2 gave to its
/// first Concatenate, and refuses a model with the same name twice.
fn rename_concatenates(config: &mut Map<String, Value>, notes: &mut Vec<String>) {
    let layers = config.get("layers").and_then(Value::as_array);
    let is_taken = |layer: &&Value| {
        let name = layer.get("name").and_then(Value::as_str);
        layer.get("class_name") == Some(&json!("Concatenate"))
            && name.is_some_and(|name| name.starts_with("concatenate"))
    };
    let names: Vec<String> = layers
        .into_iter()
        .flatten()
        .filter(is_taken)
        .filter_map(|layer| layer.get("name")?.as_str().map(str::to_owned))
        .collect();
    for old in names {
        let new = format!("layer_{old}");
        for value in config.values_mut() {
            rename(value, &old, &new);
        }
        notes.push(format!(
            "layer {old:?} is called {new:?}: Keras 3 takes the name itself where there are masks"
        ));
    }
}

fn inputs_alone_have_shapes(config: &mut Map<String, Value>) {
    let layers = config.get_mut("layers").and_then(Value::as_array_mut);
    for layer in layers
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if class(layer) != "InputLayer"
            && let Some(Value::Object(config)) = layer.get_mut("config")
        {
            config.shift_remove("batch_input_shape");
        }
    }
}
