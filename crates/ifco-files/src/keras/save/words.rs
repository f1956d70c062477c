//! Configurations in the words of the Keras that shall read them.

use ifco_model::Generation;
use serde_json::{Map, Value, json};

use super::modules::{has_operations, name_inner, name_modules, rename_layers};
use super::{activations, nodes};

/// Settings of `compile` beside the model's own configuration, as `.keras` and `.h5` have them.
pub(in crate::keras) const COMPILE: &str = "compile_config";
pub(in crate::keras) const TRAINING: &str = "training_config";

/// Options that one of Keras 2 and 3 has and the other refuses even when they do nothing.
const IDLE: [&str; 14] = [
    "time_major",
    "input_length",
    "optional",
    "quantization_config",
    "flash_attention",
    "use_gate",
    "rms_scaling",
    "lora_rank",
    "lora_alpha",
    "input_axes",
    "output_axes",
    "renorm",
    "causal",
    "softmax_robust_masking",
];

/// `config.json` of a `.keras`, from a configuration in the words of Keras 3.
pub(super) fn archive(mut config: Value, generation: Generation, notes: &mut Vec<String>) -> Value {
    rename_layers(&mut config, generation, notes);
    name_modules(&mut config, generation);
    let Some(object) = config.as_object_mut() else {
        return config;
    };
    let training = object.remove(TRAINING);
    if generation == Generation::Keras3 {
        if let Some(training) = training.and_then(compile_config) {
            object.entry(COMPILE).or_insert(training);
        }
    } else if object.remove(COMPILE).is_some() || training.is_some() {
        notes.push(
            "optimizer and loss are set in the words of Keras 2: call model.compile() before \
             training goes on"
                .into(),
        );
    }
    let is_sequential = object.get("class_name") == Some(&json!("Sequential"));
    let (module, class) = match is_sequential {
        true => ("keras", "Sequential"),
        false => ("keras.src.models.functional", "Functional"),
    };
    for (key, value) in [("module", module), ("registered_name", class)] {
        object.entry(key).or_insert(json!(value));
    }
    if object.get("class_name") == Some(&json!("Model")) {
        object.insert("class_name".into(), json!(class));
    }
    config
}

/// `model_config` and `training_config` of an `.h5`.
pub(super) fn h5(
    config: &Value,
    generation: Generation,
    notes: &mut Vec<String>,
) -> (Value, Option<Value>) {
    let mut model = json!({"class_name": config["class_name"], "config": config["config"]});
    rename_layers(&mut model, generation, notes);
    let training = match (config.get(TRAINING), config.get(COMPILE)) {
        (Some(training), _) => Some(training.clone()),
        (None, Some(compile)) => training_config(compile.clone()),
        (None, None) => None,
    };
    if generation != Generation::Keras3 {
        let mut model = model;
        if generation == Generation::Keras2 {
            plain(&mut model);
        }
        return (model, training);
    }
    let mut both = model.clone();
    match keras_3_to_2(&mut both) {
        Ok(()) => (both, training),
        Err(why) => {
            notes.push(format!(
                "Keras 3 reads the file, Keras 2 does not: it has {why}"
            ));
            let mut model = model;
            name_modules(&mut model, generation);
            (model, training)
        }
    }
}

/// Says a Keras 3 model so that both understand; else what Keras 2 has no words for.
fn keras_3_to_2(model: &mut Value) -> Result<(), String> {
    if let Some(activation) = activations::unknown_to_keras_2(model) {
        return Err(format!(
            "the activation {activation}, which is none or another there"
        ));
    }
    if has_operations(model) {
        return Err("operations between layers".into());
    }
    plain(model);
    let mut is_outer = true;
    visit(model, &mut |object| {
        let class = class(object);
        let is_inner = !std::mem::replace(&mut is_outer, false);
        let Some(Value::Object(config)) = object.get_mut("config") else {
            return Ok(());
        };
        name_inner(config);
        let axes = config.get("axis").and_then(Value::as_array);
        if axes.is_some_and(|axes| axes.len() > 1) {
            return Err(
                "a layer with several axes, of which an .h5 without modules keeps none".into(),
            );
        }
        match class.as_str() {
            "InputLayer" => {
                let shape = config.shift_remove("batch_shape");
                config.extend(shape.map(|shape| ("batch_input_shape".into(), shape)));
            }
            "LSTM" | "GRU" | "SimpleRNN" | "LSTMCell" | "GRUCell" | "SimpleRNNCell" => {
                config.shift_remove("seed");
            }
            "Functional" if is_inner => return Err("a model inside of the model".into()),
            "Functional" if nodes::to_keras_2(config).is_none() => {
                return Err("calls with named arguments".into());
            }
            "LeakyReLU" | "BatchNormalization" | "MultiHeadAttention" | "Attention"
            | "AdditiveAttention" | "UnitNormalization" | "GroupNormalization" | "RNN" => {
                return Err(format!("the layer {class}, which has other options there"));
            }
            _ => {}
        }
        Ok(())
    })
}

/// Takes away what older readers stumble over: modules, types of numbers as objects, and options
/// that do nothing.
pub(super) fn plain(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(object) => {
            if object.get("class_name").is_some_and(Value::is_string) {
                for key in [
                    "module",
                    "registered_name",
                    "build_config",
                    "shared_object_id",
                ] {
                    object.shift_remove(key);
                }
                let is_padding = class(object) == "ZeroPadding1D";
                if let Some(Value::Object(config)) = object.get_mut("config") {
                    config.retain(|key, value| {
                        let is_idle = value.is_null() || *value == json!(false);
                        !(is_idle && IDLE.contains(&key.as_str()))
                    });
                    if let Some(name) = config.get("dtype").and_then(|d| d.pointer("/config/name"))
                    {
                        let name = name.clone();
                        config.insert("dtype".into(), name);
                    }
                    // Keras 2 pads the time where it always is, and refuses to be told.
                    if is_padding && config.get("data_format") == Some(&json!("channels_last")) {
                        config.shift_remove("data_format");
                    }
                    if !config.contains_key("renorm") {
                        config.shift_remove("renorm_clipping");
                        config.shift_remove("renorm_momentum");
                    }
                }
            }
            object.values_mut().for_each(plain);
        }
        _ => {}
    }
}

/// Visits every object `{class_name, config}`, outer ones first.
pub(super) fn visit<E>(
    json: &mut Value,
    each: &mut impl FnMut(&mut Map<String, Value>) -> Result<(), E>,
) -> Result<(), E> {
    match json {
        Value::Array(items) => items.iter_mut().try_for_each(|item| visit(item, each)),
        Value::Object(object) => {
            if object.contains_key("class_name") && object.contains_key("config") {
                each(object)?;
            }
            object.values_mut().try_for_each(|value| visit(value, each))
        }
        _ => Ok(()),
    }
}

pub(super) fn class(object: &Map<String, Value>) -> String {
    let class = object.get("class_name").and_then(Value::as_str);
    class.unwrap_or_default().to_owned()
}

/// The first layer that computes with 64 bits.
pub(super) fn double_precision(json: &Value) -> Option<String> {
    match json {
        Value::Array(items) => items.iter().find_map(double_precision),
        Value::Object(object) => {
            let config = object.get("config");
            let dtype = config.and_then(|config| config.get("dtype"));
            let name = dtype.map(|dtype| dtype.pointer("/config/name").unwrap_or(dtype));
            if name == Some(&json!("float64")) && object.contains_key("class_name") {
                let layer = config?.get("name").and_then(Value::as_str);
                let class = object.get("class_name").and_then(Value::as_str);
                if class != Some("InputLayer") {
                    return Some(format!("layer {:?}", layer.or(class).unwrap_or_default()));
                }
            }
            object.values().find_map(double_precision)
        }
        _ => None,
    }
}

/// What an `.h5` says of `compile` as a `.keras` says it; `None` if it is something else.
pub(in crate::keras) fn compile_config(training: Value) -> Option<Value> {
    let Value::Object(mut training) = training else {
        return None;
    };
    let Value::Object(mut optimizer) = training.remove("optimizer_config")? else {
        return None;
    };
    optimizer
        .entry("module")
        .or_insert(json!("keras.optimizers"));
    optimizer.entry("registered_name").or_insert(Value::Null);
    training.insert("optimizer".into(), Value::Object(optimizer));
    Some(Value::Object(training))
}

/// What a `.keras` says of `compile` as an `.h5` says it.
pub(super) fn training_config(compile: Value) -> Option<Value> {
    let Value::Object(mut compile) = compile else {
        return None;
    };
    let Value::Object(mut optimizer) = compile.remove("optimizer")? else {
        return None;
    };
    optimizer.retain(|key, _| key == "class_name" || key == "config");
    if let Some(Value::Object(config)) = optimizer.get_mut("config") {
        // Keras 2 has neither.
        for key in ["loss_scale_factor", "gradient_accumulation_steps"] {
            if config.get(key).is_some_and(Value::is_null) {
                config.shift_remove(key);
            }
        }
    }
    compile.insert("optimizer_config".into(), Value::Object(optimizer));
    Some(Value::Object(compile))
}
