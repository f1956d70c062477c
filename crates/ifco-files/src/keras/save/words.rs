//! Configurations in the words of the Keras that shall read them.

use ifco_model::Generation;
use ifco_model::layers::OPERATIONS;
use serde_json::{Map, Value, json};

use super::{activations, nodes};
use crate::SaveError;

/// Settings of `compile` beside the model's own configuration, as `.keras` and `.h5` have them.
const COMPILE: &str = "compile_config";
pub(in crate::keras) const TRAINING: &str = "training_config";

/// What Keras 2 writes of a MultiHeadAttention and Keras 3 finds out itself.
const TOLD: [&str; 3] = ["query_shape", "key_shape", "value_shape"];

/// Options that one of Keras 2 and 3 has and the other refuses even when they do nothing.
const IDLE: [&str; 13] = [
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
];

/// `config.json` of a `.keras`, from a configuration in the words of Keras 3.
pub(super) fn archive(mut config: Value, generation: Generation, notes: &mut Vec<String>) -> Value {
    if generation == Generation::Keras3 {
        name_operations(&mut config);
    }
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
    let model = json!({"class_name": config["class_name"], "config": config["config"]});
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
            (model, training)
        }
    }
}

/// Translates a whole model of Keras 1 or 2. What Keras 3 lacks is an error.
pub(super) fn keras_2_to_3(model: &mut Value) -> Result<(), SaveError> {
    plain(model);
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
        if class == "LeakyReLU" {
            let slope = config.remove("alpha");
            config.extend(slope.map(|slope| ("negative_slope".into(), slope)));
        }
        if matches!(new, "Functional") {
            nodes::to_keras_3(config);
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

/// Keras 3 writes no modules to an `.h5`, without which it finds its own layers, but not the
/// operations between them. Of the classes that are both, only a layer has the key `trainable`.
fn name_operations(json: &mut Value) {
    match json {
        Value::Array(items) => items.iter_mut().for_each(name_operations),
        Value::Object(object) => {
            let class = class(object);
            let is_node = object.contains_key("inbound_nodes") && !object.contains_key("module");
            let trainable = object.get("config").and_then(|c| c.get("trainable"));
            if is_node && trainable.is_none() && OPERATIONS.contains(&class.as_str()) {
                let file = match class.as_str() {
                    "ConvertToTensor" | "StopGradient" | "Cast" => "core",
                    "Sigmoid" | "Relu" => "nn",
                    _ => "numpy",
                };
                let module = format!("keras.src.ops.{file}");
                object.insert("module".into(), json!(module));
                object.insert("registered_name".into(), json!(class));
            }
            object.values_mut().for_each(name_operations);
        }
        _ => {}
    }
}

/// Keras 3 finds the class of a layer in a list by its name alone, but that of a layer or cell inside
/// of another only in its module.
fn name_inner(config: &mut Map<String, Value>) {
    let mut inner: Vec<&mut Value> = Vec::new();
    for (key, value) in config.iter_mut() {
        match (key.as_str(), value) {
            ("layer" | "backward_layer" | "cell", value) => inner.push(value),
            ("cells", Value::Array(cells)) => inner.extend(cells),
            _ => {}
        }
    }
    for object in inner.into_iter().filter_map(Value::as_object_mut) {
        let module = match class(object).as_str() {
            "Functional" | "Model" => "keras.src.models.functional",
            "Sequential" => "keras",
            _ => "keras.layers",
        };
        object.insert("module".into(), json!(module));
        object.insert("registered_name".into(), Value::Null);
        if let Some(Value::Object(config)) = object.get_mut("config") {
            // The outer layer says it.
            config.shift_remove("batch_input_shape");
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
    plain(model);
    let mut is_outer = true;
    visit(model, &mut |object| {
        let class = class(object);
        let is_inner = !std::mem::replace(&mut is_outer, false);
        let Some(Value::Object(config)) = object.get_mut("config") else {
            return Ok(());
        };
        name_inner(config);
        match class.as_str() {
            "InputLayer" => {
                let shape = config.shift_remove("batch_shape");
                config.extend(shape.map(|shape| ("batch_input_shape".into(), shape)));
            }
            "LSTM" | "GRU" | "SimpleRNN" | "LSTMCell" | "GRUCell" | "SimpleRNNCell" => {
                config.shift_remove("seed");
            }
            "Functional" if is_inner => return Err("a model inside of the model".into()),
            "Functional" => {
                if nodes::to_keras_2(config).is_none() {
                    return Err("calls with named arguments or operations between layers".into());
                }
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
fn plain(json: &mut Value) {
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
                if let Some(Value::Object(config)) = object.get_mut("config") {
                    config.retain(|key, value| {
                        let is_idle = value.is_null() || *value == json!(false);
                        let key = key.as_str();
                        !TOLD.contains(&key) && !(is_idle && IDLE.contains(&key))
                    });
                    if let Some(name) = config.get("dtype").and_then(|d| d.pointer("/config/name"))
                    {
                        let name = name.clone();
                        config.insert("dtype".into(), name);
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
fn visit<E>(
    json: &mut Value,
    each: &mut dyn FnMut(&mut Map<String, Value>) -> Result<(), E>,
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

fn class(object: &Map<String, Value>) -> String {
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
fn compile_config(training: Value) -> Option<Value> {
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
fn training_config(compile: Value) -> Option<Value> {
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
