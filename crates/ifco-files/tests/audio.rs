//! Models of sound that are damaged, or made to do harm: always an error with its place, and never
//! more memory than the text is worth.

mod common;

use std::path::Path;

use common::{error, message};
use ifco_files::{FileError, Opened, open_bytes};
use serde_json::{Value, json};

fn fixture(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/audio");
    let text = std::fs::read(folder.join(name)).expect("the fixture is there");
    serde_json::from_slice(&text).expect("it is JSON")
}

/// What is said of a fixture in which `change` has changed something.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut json = fixture(name);
    let opened = open_bytes(json.to_string(), name);
    assert!(matches!(opened, Ok(Opened::Model(_))), "{name}");
    change(&mut json);
    message(json.to_string().into_bytes())
}

/// A change to `rtneural_lstm.json`: dense, lstm, dense.
fn rtneural(place: &str, value: Value) -> String {
    changed("rtneural_lstm.json", |json| {
        *json.pointer_mut(place).unwrap() = value
    })
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn rtneural_wrong_shapes_are_named() {
    let text = rtneural("/layers/1/weights/0/2", json!([1.0, 2.0]));
    assert_says(
        &text,
        &[
            "layers[1].weights[0][2] is a list of 2",
            "a list of 20 numbers",
        ],
    );
    let text = rtneural("/layers/1/weights/1/4/7", json!("NaN"));
    assert_says(&text, &["layers[1].weights[1][4][7] is \"NaN\"", "float32"]);
    let text = rtneural("/layers/1/weights/2/0", json!(1e39));
    assert_says(&text, &["layers[1].weights[2][0] is 1e+39", "float32"]);
    let text = rtneural("/layers/1/weights/2/3", json!([1.0]));
    assert_says(&text, &["layers[1].weights[2][3] is a list of 1"]);
    let text = rtneural("/layers/1/weights", json!([[[1.0]], [[1.0]]]));
    assert_says(
        &text,
        &["layers[1].weights is a list of 2", "a list of 3 arrays"],
    );
    let text = rtneural("/layers/1/weights/0", json!([]));
    assert_says(&text, &["layers[1].weights[0]", "none of them empty"]);
    let text = rtneural("/layers/1/shape/2", json!(4));
    assert_says(
        &text,
        &[
            "layers[1].weights[0] is an array of shape [4, 20]",
            "[4, 16]",
        ],
    );
    let text = rtneural("/layers/1/shape/2", json!(u64::MAX));
    assert_says(&text, &["layers[1].weights[0]"]);
    let text = rtneural("/layers/1/shape/2", json!(0));
    assert_says(&text, &["layers[1].shape[2] is 0", "1 or more"]);
    let text = rtneural("/in_shape", json!([null, null, 7]));
    assert_says(&text, &["layers[0].weights[0]", "[7, 4]"]);
    let text = rtneural("/in_shape", json!([null, 8, 8, 1]));
    assert_says(&text, &["in_shape", "conv2d"]);
    let text = rtneural("/in_shape", json!("abc"));
    assert_says(&text, &["in_shape is \"abc\"", "a list"]);
}

#[test]
fn rtneural_what_is_not_run_is_named() {
    let text = rtneural("/layers/1/type", json!("conv2d"));
    assert_says(&text, &["layers[1].type", "\"conv2d\""]);
    let text = rtneural("/layers/1/activation", json!("relu"));
    assert_says(&text, &["layers[1].activation", "tanh"]);
    let text = rtneural("/layers/0/activation", json!("gelu"));
    assert_says(&text, &["layers[0].activation is \"gelu\"", "softmax"]);
    let text = rtneural("/layers", json!([]));
    assert_says(&text, &["layers is a list of 0"]);
    let layer = json!({"type": "activation", "shape": [null, null, 1], "weights": []});
    let text = rtneural("/layers", json!(vec![layer; 1001]));
    assert_says(&text, &["layers is a list of 1001", "1 to 1000"]);
    let text = changed("aida_skip.json", |json| json["in_skip"] = json!(2));
    assert_says(&text, &["in_skip is 2", "0 or 1"]);
    let text = changed("aida_skip.json", |json| json["in_gain"] = json!(800));
    assert_says(&text, &["in_gain is 800"]);
    let text = changed("aida_skip.json", |json| {
        json["metadata"]["samplerate"] = json!("fast");
    });
    assert_says(&text, &["metadata.samplerate is \"fast\"", "hertz"]);
    let text = changed("rtneural_layers.json", |json| {
        json["in_shape"][1] = json!(64);
        json["layers"][2]["shape"][1] = json!(60);
    });
    assert_says(&text, &["layers[2].shape", "not causal"]);
    let text = changed("rtneural_layers.json", |json| {
        json["layers"][2]["groups"] = json!(5)
    });
    assert_says(&text, &["layers[2].groups is 5", "divisor"]);
}

#[test]
fn nam_claims_are_held_against_the_numbers() {
    let nam = |place: &str, value: Value| {
        changed("nam_stacked.nam", |json| {
            *json.pointer_mut(place).unwrap() = value
        })
    };
    for huge in [u64::MAX, u64::from(u32::MAX), 1 << 40] {
        let text = nam("/config/hidden_size", json!(huge));
        assert_says(&text, &["weights is a list of", "expected"]);
    }
    let text = nam("/config/num_layers", json!(u64::MAX));
    assert_says(&text, &["config.num_layers", "1000 layers at most"]);
    let text = nam("/config/hidden_size", json!(0));
    assert_says(&text, &["config.hidden_size is 0", "1 or more"]);
    let text = nam("/config/num_layers", json!(-1));
    assert_says(&text, &["config.num_layers is -1"]);
    let text = nam("/config/in_channels", json!(1));
    assert_says(&text, &["config.input_size is 2", "in_channels"]);
    let text = nam("/config/num_layers", json!(3));
    assert_says(&text, &["weights is a list of", "num_layers 3"]);
    let text = nam("/weights/5", json!("NaN"));
    assert_says(&text, &["weights[5] is \"NaN\""]);
    let text = nam("/architecture", json!("WaveNet"));
    assert_says(&text, &["architecture", "\"WaveNet\" is no LSTM"]);
    let text = nam("/version", json!("1.0.0"));
    assert_says(&text, &["version 1.0.0 of the .nam format"]);
    let text = nam("/version", json!("new"));
    assert_says(&text, &["version is \"new\"", "0.5.4"]);
    let text = nam("/sample_rate", json!(-1));
    assert_says(&text, &["sample_rate is -1"]);
    let text = changed("nam_stacked.nam", |json| {
        json.as_object_mut().unwrap().remove("config");
    });
    assert_says(&text, &["there is no \"config\" in the file"]);
}

#[test]
fn guitarml_arrays_fit_what_is_said_of_them() {
    let guitarml = |place: &str, value: Value| {
        changed("guitarml_knob.json", |json| {
            *json.pointer_mut(place).unwrap() = value
        })
    };
    let text = guitarml("/model_data/hidden_size", json!(5));
    assert_says(
        &text,
        &[
            "state_dict.rec.weight_ih_l0 is an array of shape [16, 2]",
            "[20, 2]",
        ],
    );
    let text = guitarml("/model_data/hidden_size", json!(u64::MAX));
    assert_says(&text, &["state_dict.rec.weight_ih_l0"]);
    let text = guitarml("/model_data/unit_type", json!("GRU"));
    assert_says(&text, &["state_dict.rec.weight_ih_l0", "[12, 2]"]);
    let text = guitarml("/model_data/unit_type", json!("Transformer"));
    assert_says(&text, &["model_data.unit_type is \"Transformer\""]);
    let text = guitarml("/model_data/model", json!("GatedConvNet"));
    assert_says(&text, &["\"GatedConvNet\" is no SimpleRNN"]);
    let text = guitarml("/model_data/num_layers", json!(1));
    assert_says(&text, &["_l1\" is no part of a SimpleRNN of 1 layers"]);
    let text = guitarml("/model_data/num_layers", json!(3));
    assert_says(&text, &["there is no \"rec.weight_ih_l2\" in state_dict"]);
    let text = guitarml("/model_data/skip", json!(2));
    assert_says(&text, &["model_data.skip is 2"]);
    let text = guitarml("/state_dict/lin.weight", json!([[1.0, 2.0]]));
    assert_says(
        &text,
        &[
            "state_dict.lin.weight is an array of shape [1, 2]",
            "[1, 4]",
        ],
    );
    let text = guitarml("/state_dict", json!([1]));
    assert_says(&text, &["state_dict is a list of 1"]);
}

#[test]
fn other_json_is_no_model_of_sound() {
    for text in [
        "{}",
        "[1, 2]",
        "{\"layers\": []}",
        "{\"class_name\": \"Sequential\"}",
    ] {
        let text = message(text.as_bytes().to_vec());
        assert_says(&text, &["JSON, perhaps an architecture alone"]);
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(error(deep.into_bytes()), FileError::Json { .. }));
    let deep = format!("{{\"in_shape\": [1], \"layers\": {}", "[".repeat(100_000));
    assert!(matches!(error(deep.into_bytes()), FileError::Json { .. }));
}

/// Cut off or changed at every place: an error or a model, and no panic.
#[test]
fn damaged_anywhere() {
    for name in [
        "nam_lstm.nam",
        "guitarml_lstm.json",
        "aida_skip.json",
        "rtneural_layers.json",
    ] {
        let bytes = fixture(name).to_string().into_bytes();
        for at in (0..bytes.len()).step_by(7) {
            let cut = open_bytes(&bytes[..at], name);
            assert!(cut.is_err(), "{name} up to {at}");
            for value in [b'0', b'"', b'[', b'-', b'e', b'}'] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let _ = open_bytes(bytes, name);
            }
        }
    }
}

/// What is told to people cannot move their cursor, and has an end.
#[test]
fn told_texts_are_tamed() {
    let mut json = fixture("nam_lstm.nam");
    json["metadata"]["name"] = json!("\u{1b}[2J\r".to_string() + &"x".repeat(1000));
    let Ok(Opened::Model(model)) = open_bytes(json.to_string(), "x.nam") else {
        panic!("it opens");
    };
    let facts = &model.about().facts;
    let (_, name) = facts
        .iter()
        .find(|(key, _)| key == "name")
        .expect("it is told");
    assert!(
        name.chars().count() == 200 && !name.chars().any(char::is_control),
        "{name:?}"
    );
}
