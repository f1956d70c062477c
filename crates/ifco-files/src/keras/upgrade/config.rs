//! The configuration of older files in the words of Keras 2.

use std::path::Path;

use ifco_model::Generation;
use serde_json::{Map, Value, json};

use crate::FileError;

/// A whole model's JSON, in the words of Keras 2 or 3.
pub(in crate::keras) fn architecture(
    mut json: Value,
    path: &Path,
    generation: Generation,
) -> Result<Value, FileError> {
    wrap_list_of_layers(&mut json);
    upgrade(&mut json, path, generation)?;
    Ok(json)
}

/// Visits every object `{class_name, config}` there is, outer ones first. JSON that was parsed
/// is at most 128 deep.
fn upgrade(json: &mut Value, path: &Path, generation: Generation) -> Result<(), FileError> {
    match json {
        Value::Array(items) => {
            for item in items {
                upgrade(item, path, generation)?;
            }
        }
        Value::Object(object) => {
            if object.get("class_name").is_some_and(Value::is_string) {
                refuse_quantized(object, path)?;
                if generation == Generation::Keras1 {
                    refuse_branches(object, path)?;
                    keras_1(object);
                }
                if generation <= Generation::Keras2 {
                    before_tensorflow_2(object);
                }
            }
            for value in object.values_mut() {
                wrap_list_of_layers(value);
                upgrade(value, path, generation)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// A Sequential's config was a list of layers before Keras 2.2.3.
fn wrap_list_of_layers(json: &mut Value) {
    if json.get("class_name").and_then(Value::as_str) != Some("Sequential") {
        return;
    }
    let name = json.get("name").cloned().unwrap_or("sequential".into());
    if let Some(config @ Value::Array(_)) = json.get_mut("config") {
        *config = json!({ "name": name, "layers": config.take() });
    }
}

/// Weights of 8 bits and less come with scales, and activations are rounded as the layer runs.
fn refuse_quantized(object: &Map<String, Value>, path: &Path) -> Result<(), FileError> {
    let Some(dtype) = object.get("config").and_then(|config| config.get("dtype")) else {
        return Ok(());
    };
    let class = dtype
        .get("class_name")
        .and_then(Value::as_str)
        .unwrap_or("");
    let name = dtype.as_str().unwrap_or("");
    if !class.starts_with("Quantized") && !name.contains("_from_") {
        return Ok(());
    }
    let layer = object.get("config").and_then(|config| config.get("name"));
    Err(FileError::Unsupported {
        path: path.into(),
        what: format!(
            "layer {} is quantized ({})",
            layer.unwrap_or(&Value::Null),
            if name.is_empty() { class } else { name }
        ),
        remedy: "save the model as it was before model.quantize()".into(),
    })
}

/// A Keras 1 Sequential may begin with a `Merge` of other models.
fn refuse_branches(object: &Map<String, Value>, path: &Path) -> Result<(), FileError> {
    let is_merge = object.get("class_name").and_then(Value::as_str) == Some("Merge");
    let has_layers = object
        .get("config")
        .and_then(|config| config.get("layers"))
        .is_some_and(|layers| layers.as_array().is_some_and(|layers| !layers.is_empty()));
    if !is_merge || !has_layers {
        return Ok(());
    }
    Err(FileError::Unsupported {
        path: path.into(),
        what: "the Sequential model begins with a Merge of other models, as only Keras 1 had it"
            .into(),
        remedy: "rebuild it with the functional API".into(),
    })
}

/// What later versions of Keras 2 write out or call by another name.
fn before_tensorflow_2(object: &mut Map<String, Value>) {
    let class = class_of(object);
    let Some(Value::Object(config)) = object.get_mut("config") else {
        return;
    };
    match class.as_str() {
        "CuDNNLSTM" => {
            set(config, "activation", json!("tanh"));
            set(config, "recurrent_activation", json!("sigmoid"));
            set(config, "use_bias", json!(true));
            set_class(object, "LSTM");
        }
        "CuDNNGRU" => {
            set(config, "activation", json!("tanh"));
            set(config, "recurrent_activation", json!("sigmoid"));
            set(config, "use_bias", json!(true));
            set(config, "reset_after", json!(true));
            set_class(object, "GRU");
        }
        // Before 2.1.5 there was no other way, and nothing is written.
        "GRU" | "GRUCell" => {
            config.entry("reset_after").or_insert(json!(false));
        }
        _ => {}
    }
}

fn keras_1(object: &mut Map<String, Value>) {
    if let Some(Value::Array(nodes)) = object.get_mut("inbound_nodes") {
        add_arguments(nodes);
    }
    let class = class_of(object);
    if class == "TimeDistributedDense" {
        time_distributed_dense(object);
        return;
    }
    let Some(Value::Object(config)) = object.get_mut("config") else {
        return;
    };
    if let Some(class) = translate(&class, config) {
        set_class(object, &class);
    }
}

/// Keras 2 adds the arguments of a call to every reference `[layer, node, tensor]`.
fn add_arguments(nodes: &mut [Value]) {
    let references = nodes.iter_mut().filter_map(Value::as_array_mut).flatten();
    for reference in references.filter_map(Value::as_array_mut) {
        if reference.len() == 3 {
            reference.push(json!({}));
        }
    }
}

/// A Dense for every step, before there was a wrapper for it.
fn time_distributed_dense(object: &mut Map<String, Value>) {
    let Some(Value::Object(mut config)) = object.remove("config") else {
        return;
    };
    let mut outer = Map::new();
    for key in ["name", "trainable", "batch_input_shape"] {
        if let Some(value) = config.get(key) {
            outer.insert(key.into(), value.clone());
        }
    }
    translate("Dense", &mut config);
    outer.insert(
        "layer".into(),
        json!({ "class_name": "Dense", "config": config }),
    );
    set(object, "config", Value::Object(outer));
    set_class(object, "TimeDistributed");
}

/// Renames what Keras 2 renamed in the options of a layer; returns its new class if that
/// changed.
fn translate(class: &str, config: &mut Map<String, Value>) -> Option<String> {
    const COMMON: &[(&str, &str)] = &[
        ("W_regularizer", "kernel_regularizer"),
        ("W_constraint", "kernel_constraint"),
        ("b_regularizer", "bias_regularizer"),
        ("b_constraint", "bias_constraint"),
        ("border_mode", "padding"),
        ("bias", "use_bias"),
        ("input_dtype", "dtype"),
    ];
    const RECURRENT: &[(&str, &str)] = &[
        ("output_dim", "units"),
        ("init", "kernel_initializer"),
        ("inner_init", "recurrent_initializer"),
        ("inner_activation", "recurrent_activation"),
        ("U_regularizer", "recurrent_regularizer"),
        ("dropout_W", "dropout"),
        ("dropout_U", "recurrent_dropout"),
    ];
    rename(config, COMMON);
    match class {
        "Dense" => rename(
            config,
            &[("output_dim", "units"), ("init", "kernel_initializer")],
        ),
        "LSTM" | "GRU" | "SimpleRNN" => {
            rename(config, RECURRENT);
            // Unlike Keras 2, Keras 1 has always one bias per gate.
            set(config, "use_bias", json!(true));
        }
        "Embedding" => {
            config.remove("dropout");
            rename(config, &[("init", "embeddings_initializer")]);
        }
        "Dropout" | "SpatialDropout1D" | "GaussianDropout" => rename(config, &[("p", "rate")]),
        "GaussianNoise" => rename(config, &[("sigma", "stddev")]),
        "Convolution1D" | "AtrousConvolution1D" => {
            rename(
                config,
                &[
                    ("nb_filter", "filters"),
                    ("filter_length", "kernel_size"),
                    ("subsample_length", "strides"),
                    ("atrous_rate", "dilation_rate"),
                    ("init", "kernel_initializer"),
                ],
            );
            return Some("Conv1D".into());
        }
        "Convolution2D" | "AtrousConvolution2D" => {
            rename(
                config,
                &[
                    ("nb_filter", "filters"),
                    ("subsample", "strides"),
                    ("atrous_rate", "dilation_rate"),
                    ("init", "kernel_initializer"),
                ],
            );
            if let (Some(rows), Some(columns)) = (config.remove("nb_row"), config.remove("nb_col"))
            {
                set(config, "kernel_size", json!([rows, columns]));
            }
            data_format(config);
            return Some("Conv2D".into());
        }
        "MaxPooling1D" | "AveragePooling1D" => {
            rename(
                config,
                &[("pool_length", "pool_size"), ("stride", "strides")],
            );
        }
        "UpSampling1D" => rename(config, &[("length", "size")]),
        "MaxPooling2D" | "AveragePooling2D" | "Flatten" => data_format(config),
        "Merge" => return merge(config),
        _ => {}
    }
    None
}

fn data_format(config: &mut Map<String, Value>) {
    if let Some(order) = config.remove("dim_ordering") {
        let format = if order == "th" {
            "channels_first"
        } else {
            "channels_last"
        };
        set(config, "data_format", json!(format));
    }
}

/// One layer with a mode became a layer per mode. `None` for a mode that is a function.
fn merge(config: &mut Map<String, Value>) -> Option<String> {
    let class = match config.get("mode").and_then(Value::as_str)? {
        "sum" => "Add",
        "mul" => "Multiply",
        "ave" => "Average",
        "max" => "Maximum",
        "concat" => {
            rename(config, &[("concat_axis", "axis")]);
            "Concatenate"
        }
        mode @ ("dot" | "cos") => {
            let normalize = mode == "cos";
            set(config, "normalize", json!(normalize));
            rename(config, &[("dot_axes", "axes")]);
            "Dot"
        }
        _ => return None,
    };
    Some(class.into())
}

fn rename(config: &mut Map<String, Value>, names: &[(&str, &str)]) {
    for (old, new) in names {
        if let Some(value) = config.shift_remove(*old) {
            config.insert((*new).into(), value);
        }
    }
}

fn set(object: &mut Map<String, Value>, key: &str, value: Value) {
    object.insert(key.into(), value);
}

fn class_of(object: &Map<String, Value>) -> String {
    let class = object.get("class_name").and_then(Value::as_str);
    class.unwrap_or_default().to_owned()
}

fn set_class(object: &mut Map<String, Value>, class: &str) {
    set(object, "class_name", json!(class));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgraded(json: Value, generation: Generation) -> Value {
        architecture(json, Path::new("test"), generation).expect("it can be translated")
    }

    #[test]
    fn keras_1_spoke_otherwise() {
        let conv = upgraded(
            json!({"class_name": "Convolution2D", "config": {"nb_filter": 4, "nb_row": 3,
                "nb_col": 2, "border_mode": "same", "dim_ordering": "th", "bias": true}}),
            Generation::Keras1,
        );
        let expected = json!({"filters": 4, "kernel_size": [3, 2], "padding": "same",
            "data_format": "channels_first", "use_bias": true});
        assert_eq!(conv["class_name"], "Conv2D");
        assert_eq!(conv["config"], expected);

        let merge = |mode: &str| {
            let json = json!({"class_name": "Merge", "config": {"mode": mode, "concat_axis": -1}});
            upgraded(json, Generation::Keras1)
        };
        assert_eq!(merge("ave")["class_name"], "Average");
        assert_eq!(merge("concat")["class_name"], "Concatenate");
        assert_eq!(merge("concat")["config"]["axis"], -1);
        assert_eq!(merge("<lambda>")["class_name"], "Merge");

        let nodes = upgraded(
            json!({"class_name": "Dense", "config": {}, "inbound_nodes": [[["a", 0, 0]]]}),
            Generation::Keras1,
        );
        assert_eq!(nodes["inbound_nodes"], json!([[["a", 0, 0, {}]]]));
    }

    #[test]
    fn a_wrapped_layer_is_translated_too() {
        let json = json!({"class_name": "Bidirectional", "config": {"layer":
            {"class_name": "CuDNNLSTM", "config": {"units": 2}}}});
        let layer = &upgraded(json, Generation::Keras2)["config"]["layer"];
        assert_eq!(layer["class_name"], "LSTM");
        assert_eq!(layer["config"]["recurrent_activation"], "sigmoid");
    }

    #[test]
    fn what_early_files_leave_out() {
        let gru = |generation| {
            let json = json!({"class_name": "GRU", "config": {"units": 2}});
            upgraded(json, generation)["config"]["reset_after"].clone()
        };
        assert_eq!(gru(Generation::Keras2), json!(false));
        assert_eq!(gru(Generation::Keras3), Value::Null);
    }

    #[test]
    fn branches_and_quantized_layers_are_refused() {
        let refused = |json| {
            let error = architecture(json, Path::new("test"), Generation::Keras1)
                .expect_err("it is refused");
            format!("{error}; {}", error.help().unwrap_or_default())
        };
        let merge = json!({"class_name": "Sequential", "config": [
            {"class_name": "Merge", "config": {"mode": "sum", "layers": [{}]}}]});
        assert!(refused(merge).contains("functional API"));
        let quantized = json!({"class_name": "Dense",
            "config": {"name": "d", "dtype": "int8_from_float32"}});
        assert!(refused(quantized).contains("\"d\" is quantized (int8_from_float32)"));
    }
}
