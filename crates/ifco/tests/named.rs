//! Weights by names: what ifco saves as `.npz` and `.weights.json` opens as the same model, and the
//! golden cases of `fixtures/jax` and `fixtures/tensorflow` give what Flax, Haiku, TensorFlow 1's cells and
//! Keras 2 computed. `fixtures/make_jax.py` and `fixtures/make_tensorflow.py` make them.

use std::path::PathBuf;

use ifco::{OpenOptions, Opened, SaveOptions, WeightsSource, arrays::npz, open_bytes};
use ndarray::ArrayD;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    let root = [env!("CARGO_MANIFEST_DIR"), "..", "..", "fixtures"];
    root.iter().collect::<PathBuf>().join(name)
}

fn array(file: PathBuf, name: &str) -> ArrayD<f32> {
    let mut arrays = npz::read(file).expect("the case's arrays");
    let place = arrays.iter().position(|(found, _)| found == name);
    arrays.swap_remove(place.expect("the array")).1
}

/// Every file of a folder gives what its framework computed.
fn golden(folder: &str, at_least: usize) {
    let text = std::fs::read_to_string(fixture(folder).join("cases.json")).expect("cases.json");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    assert!(cases.len() >= at_least, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let file = case["file"].as_str().expect("a file");
        let arrays = fixture(folder).join(case["arrays"].as_str().expect("arrays"));
        let beside = |key: &str| case[key].as_str().map(|name| fixture(folder).join(name));
        let path = fixture(folder).join(file);
        let opened = match beside("architecture") {
            Some(json) => ifco::open_with_architecture(path, json),
            None => ifco::open_assuming(path, beside("spec")).map(|assumed| *assumed.model),
        };
        let model = match opened {
            Ok(model) => model,
            Err(error) => {
                wrong.push(format!("{error}; {:?}", error.help()));
                continue;
            }
        };
        let x = array(arrays.clone(), "x0");
        let y = model.predict(&x).expect("it runs");
        let expected = array(arrays, "y0");
        assert_eq!(y.shape(), expected.shape(), "{file}");
        let differences = y
            .iter()
            .zip(&expected)
            .map(|(y, expected)| (y - expected).abs());
        let difference = differences.fold(0.0, f32::max);
        // A NaN is not small either.
        if !matches!(difference, 0.0..=1e-5) || y.iter().any(|y| y.is_nan()) {
            wrong.push(format!("{file}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn flax_and_haiku_give_what_they_computed() {
    golden("jax", 21);
}

#[test]
fn checkpoints_and_saved_models_give_what_tensorflow_computed() {
    golden("tensorflow", 18);
}

/// Any of its files, what their names begin with, and its folder stand for a checkpoint.
#[test]
fn every_name_of_a_checkpoint_opens_it() {
    let folder = fixture("tensorflow");
    let opened = |name: &str| match ifco::open_any(folder.join(name)) {
        Ok(Opened::Weights(weights)) => weights,
        Ok(Opened::Model(_)) => panic!("{name} opens as a model"),
        Err(error) => panic!("{error}; {:?}", error.help()),
    };
    for (first, names) in [
        ("basic", &["basic.index", "basic.data-00000-of-00001"][..]),
        (
            "chain_weights",
            &[
                "chain_weights/checkpoint",
                "chain_weights/w",
                "chain_weights/w.index",
                "chain_weights/w.data-00000-of-00001",
            ],
        ),
        (
            "exported",
            &["exported/variables", "exported/saved_model.pb"],
        ),
    ] {
        let expected = opened(first);
        assert!(!expected.cells().is_empty(), "{first}");
        for name in names {
            assert_eq!(opened(name).groups, expected.groups, "{name}");
        }
    }
}

#[test]
fn a_saved_model_of_keras_is_a_whole_model() {
    let folder = fixture("tensorflow");
    let model = ifco::open(folder.join("bidirectional")).expect("it opens");
    let names: Vec<&str> = model
        .layers()
        .iter()
        .map(|layer| layer.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "input_1",
            "bidirectional",
            "batch_normalization",
            "own",
            "dense"
        ]
    );
    let paths: Vec<String> = model.cells().into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        ["bidirectional/forward", "bidirectional/backward", "own"]
    );
    // It was compiled, which it says in the words of Keras 2's `.h5`.
    let compiled = ifco::compile_config(&model).expect("it was compiled");
    assert_eq!(compiled["optimizer"]["class_name"], "Custom>Adam");
    assert_eq!(compiled["loss"], "mse");
    // Its weights are those of the checkpoint that was saved beside it.
    let beside = ifco::open_with_architecture(
        folder.join("bidirectional_train"),
        folder.join("bidirectional.json"),
    );
    assert_eq!(beside.expect("it opens").weights(), model.weights());
}

#[test]
fn variables_are_known_by_their_layers() {
    let paths = |name: &str| match ifco::open_any(fixture("tensorflow").join(name)) {
        Ok(Opened::Weights(weights)) => {
            let cells = weights.cells().into_iter();
            cells.map(|(path, _)| path).collect::<Vec<String>>()
        }
        other => panic!("{name}: {other:?}"),
    };
    let both = ["bidirectional/forward", "bidirectional/backward", "own"];
    assert_eq!(paths("bidirectional_weights"), both);
    // A root that all names share is left out: `model/`.
    assert_eq!(paths("bidirectional_train"), both);
    assert_eq!(
        paths("stacked.index"),
        [
            "rnn/multi_rnn_cell/cell_0/basic_lstm_cell",
            "rnn/multi_rnn_cell/cell_1/lstm_cell",
            "rnn/multi_rnn_cell/cell_2/lstm_cell"
        ]
    );
    assert_eq!(
        paths("both.index"),
        [
            "bidirectional_rnn/lstm_cell/forward",
            "bidirectional_rnn/lstm_cell/backward"
        ]
    );
}

#[test]
fn what_is_saved_opens_as_the_same_model() {
    let models = fixture("../crates/ifco-cli/tests/models");
    for name in [
        "stacked.keras",
        "series.keras",
        "translate.keras",
        "masked.h5",
    ] {
        let model = ifco::open(models.join(name)).expect(name);
        for ending in ["npz", "weights.json"] {
            let file = format!("x.{ending}");
            let saved = SaveOptions::new().to_bytes(&model, &file).expect(name);
            let Opened::Model(copy) = open_bytes(saved.bytes, &file).expect(name) else {
                panic!("{name}: weights alone");
            };
            assert_eq!(copy.weights(), model.weights(), "{name} as {ending}");
            assert_eq!(copy.generation(), model.generation(), "{name} as {ending}");
            let again = SaveOptions::new().to_bytes(&copy, &file).expect(name);
            let first = SaveOptions::new().to_bytes(&model, &file).expect(name);
            assert!(
                again.bytes == first.bytes,
                "{name} as {ending}: other bytes"
            );
        }
    }
}

#[test]
fn weights_without_architecture_say_what_is_assumed() {
    let json = r#"{"lstm": {"kernel": [[1, 2, 3, 4]], "recurrent_kernel": [[0, 0, 0, 0]],
                    "bias": [0, 1, 0, 0]}, "head": {"kernel": [[2.5]], "bias": [-0.5]}}"#;
    let Opened::Weights(weights) = open_bytes(json, "w.json").expect("it opens") else {
        panic!("a model");
    };
    assert_eq!(weights.source, WeightsSource::Named);
    assert_eq!(weights.cells()[0].0, "lstm");
    let told = OpenOptions::new().open_bytes_assuming(json, None, "w.json");
    let told = told.expect("a model");
    assert_eq!(
        told.assumptions[0],
        "the modules run in the order of the file: lstm → head"
    );
    let x = ndarray::array![[[0.5f32]]].into_dyn();
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let c = sigmoid(0.5) * (1.5f32).tanh();
    let expected = 2.5 * sigmoid(2.0) * c.tanh() - 0.5;
    let y = told.model.predict(&x).expect("it runs");
    assert!(
        (y[[0, 0, 0]] - expected).abs() < 1e-6,
        "{y} is not {expected}"
    );
}

#[test]
fn what_is_wrong_is_told_at_its_place() {
    let message = |text: &str| match open_bytes(text, "w.json") {
        Ok(opened) => match opened {
            Opened::Weights(_) => {
                let made = OpenOptions::new().open_bytes_assuming(text, None, "w.json");
                made.expect_err("it makes no model").to_string()
            }
            Opened::Model(_) => panic!("a model"),
        },
        Err(error) => error.to_string(),
    };
    let ragged = r#"{"weights": {"a/kernel": [[1, 2], [3]]}}"#;
    let at = message(ragged);
    assert!(
        at.contains(r#"weights["a/kernel"][1]"#) && at.contains("a list of 2"),
        "{at}"
    );
    let huge = message(r#"{"weights": {"a/kernel": [[1e300]]}}"#);
    assert!(huge.contains("float32"), "{huge}");
    let odd = message(r#"{"a": {"kernel": [[1, 2]], "recurrent_kernel": [[1, 2]]}}"#);
    assert!(odd.contains("are those of no LSTM"), "{odd}");
    let deep = format!(
        "{{\"a\": {{\"kernel\": {}1{}}}}}",
        "[".repeat(20),
        "]".repeat(20)
    );
    assert!(message(&deep).contains("20 axes"));
}
