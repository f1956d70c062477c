//! What is saved and opened again is the same model: every golden case of `fixtures/`, in every
//! format, by its weights' bits and what it predicts. That Keras reads the files, the live
//! comparison (`compare/live.py`) tells.

use std::path::{Path, PathBuf};

use ifco::arrays::npz;
use ifco::{Generation, Model, OpenOptions, Opened, SaveError, SaveOptions, Saved, open_bytes};
use ndarray::ArrayD;
use serde_json::{Value, json};

fn fixture(path: &str) -> PathBuf {
    let root = [env!("CARGO_MANIFEST_DIR"), "..", "..", "fixtures"];
    root.iter().collect::<PathBuf>().join(path)
}

fn open(case: &Value) -> Model {
    let path = |key: &str| case[key].as_str().map(fixture);
    let file = path("file").expect("a case has a file");
    match path("architecture") {
        Some(json) => ifco::open_with_architecture(&file, json),
        None => ifco::open(&file),
    }
    .unwrap_or_else(|error| panic!("{error}"))
}

fn reopened(model: &Model, saved: Saved, name: &str) -> Model {
    if name.ends_with(".weights.h5") {
        let json = ifco::architecture(model);
        return OpenOptions::new()
            .open_bytes_with_architecture(saved.bytes, json, name)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    if let Some(spec) = &saved.spec {
        let options = OpenOptions::new();
        let assumed = options.open_bytes_assuming(saved.bytes, Some(spec), name);
        let assumed = assumed.unwrap_or_else(|error| panic!("{error}\n{spec}"));
        // Everything is told but what no spec can.
        let tells = |text: &&String| !text.contains("batch first") && !text.contains("named \"");
        assert_eq!(assumed.assumptions.iter().find(tells), None, "{spec}");
        return *assumed.model;
    }
    match open_bytes(saved.bytes, name).unwrap_or_else(|error| panic!("{error}")) {
        Opened::Model(model) => *model,
        Opened::Weights(_) => panic!("{name} holds no whole model"),
    }
}

fn bits(model: &Model) -> Vec<(Vec<usize>, Vec<u32>)> {
    let weights = model.weights().expect("it has weights");
    let array = |array: &ArrayD<f32>| {
        let bits = array.iter().map(|value| value.to_bits());
        (array.shape().to_vec(), bits.collect())
    };
    weights.iter().map(array).collect()
}

fn predictions(model: &Model, case: &Value) -> Vec<ArrayD<f32>> {
    let arrays = npz::read(fixture(case["arrays"].as_str().unwrap())).unwrap();
    let prefix = if case["calls"] == json!(1) {
        "x"
    } else {
        "call0_x"
    };
    let inputs: Vec<&ArrayD<f32>> = (0..)
        .map_while(|index| {
            let name = format!("{prefix}{index}");
            arrays.iter().find(|(other, _)| *other == name)
        })
        .map(|(_, array)| array)
        .collect();
    let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
    let batch_size = case["batch_size"].as_u64().unwrap() as usize;
    model.reset_states();
    model
        .predict_all(&views, batch_size, &mut |_| {})
        .unwrap_or_else(|error| panic!("{}: {error}", case["file"]))
}

fn assert_close(one: &[ArrayD<f32>], other: &[ArrayD<f32>], what: &str) {
    assert_eq!(one.len(), other.len(), "{what}");
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one.shape(), other.shape(), "{what}");
        for (a, b) in one.iter().zip(other) {
            let is_same = a == b || a.is_nan() && b.is_nan();
            let allowed = 1e-5 + 1e-4 * a.abs();
            assert!(is_same || (a - b).abs() <= allowed, "{what}: {a} and {b}");
        }
    }
}

#[test]
fn every_golden_case_survives_every_format() {
    let text = std::fs::read_to_string(fixture("cases.json")).expect("fixtures/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    let mut refused = Vec::new();
    let mut counted = [0; 3];
    for case in &cases {
        let model = open(case);
        let expected = predictions(&model, case);
        let formats = ["x.keras", "x.h5", "x.weights.h5"];
        for (name, count) in formats.into_iter().zip(&mut counted) {
            let what = format!("{} as {name}", case["file"]);
            let saved = match SaveOptions::new().to_bytes(&model, name) {
                Ok(saved) => saved,
                Err(error) => {
                    refused.push(format!("{what}: {error}"));
                    continue;
                }
            };
            let changes_weights = saved.notes.iter().any(|note| note.contains("hard_sigmoid"));
            let copy = reopened(&model, saved, name);
            if !changes_weights {
                assert_eq!(bits(&copy), bits(&model), "{what}");
            }
            let upgraded = name == "x.keras" && model.generation() != Generation::Keras3;
            // Keras 2 and 3 differ in some layers: the command compares, and refuses.
            if !upgraded || changes_weights {
                assert_close(&predictions(&copy, case), &expected, &what);
            }
            *count += 1;
        }
    }
    assert!(
        counted.iter().all(|count| *count > 150),
        "{counted:?} {refused:#?}"
    );
}

#[test]
fn stacks_survive_pytorch() {
    let text = std::fs::read_to_string(fixture("cases.json")).expect("fixtures/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    let mut counted = 0;
    for case in &cases {
        let model = open(case);
        for name in ["x.pt", "x.safetensors"] {
            let Ok(saved) = SaveOptions::new().to_bytes(&model, name) else {
                continue;
            };
            let what = format!("{} as {name}", case["file"]);
            let bytes = saved.bytes.clone();
            let copy = reopened(&model, saved, name);
            assert_close(&predictions(&copy, case), &predictions(&model, case), &what);
            // Once in PyTorch's form, nothing changes any more.
            let again = SaveOptions::new().to_bytes(&copy, name).unwrap();
            assert!(again.bytes == bytes, "{what}: {:?}", again.spec);
            counted += 1;
        }
    }
    assert!(counted > 60, "{counted}");
}

#[test]
fn pytorchs_own_files_come_back_with_the_same_bits() {
    let text = std::fs::read_to_string(fixture("torch/cases.json")).expect("torch/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    let mut counted = 0;
    for case in &cases {
        let path = |key: &str| {
            case[key]
                .as_str()
                .map(|file| fixture(&format!("torch/{file}")))
        };
        let file = path("file").unwrap();
        let Ok(assumed) = ifco::open_assuming(&file, path("spec")) else {
            continue;
        };
        let is_keras = |cell: &ifco::Cell| match cell {
            ifco::Cell::Lstm(lstm) => lstm.extras().is_empty(),
            _ => true,
        };
        let is_keras = assumed.model.cells().iter().all(|(_, cell)| is_keras(cell));
        for name in ["x.pt", "x.safetensors", "x.keras", "x.h5"] {
            let saved = SaveOptions::new().to_bytes(&assumed.model, name);
            if !is_keras && matches!(name, "x.keras" | "x.h5") {
                // Keras has no projection.
                let error = saved.expect_err(name);
                assert!(
                    error.to_string().contains("no place for its projection"),
                    "{error}"
                );
                assert!(error.help().unwrap().contains(".safetensors"));
                continue;
            }
            let saved = saved.unwrap_or_else(|error| panic!("{file:?}: {error}"));
            let copy = reopened(&assumed.model, saved, name);
            assert_eq!(bits(&copy), bits(&assumed.model), "{file:?} as {name}");
            counted += 1;
        }
    }
    assert!(counted > 30, "{counted}");
}

/// An LSTM of 3 units over 2 features with options that Keras has not, and arrays of these shapes.
fn with_options(options: Value, shapes: &[&[usize]]) -> Model {
    let json = json!({"class_name": "Sequential", "config": {"name": "m", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 2]}},
        {"class_name": "LSTM", "config": {"name": "lstm", "units": 3, "return_sequences": true,
            "use_bias": shapes.contains(&&[12][..]), "ifco": options}},
    ]}});
    let mut model = Model::from_config(&json, Generation::Keras3).unwrap();
    let mut number = 0.1f32;
    let weights = shapes.iter().map(|shape| {
        ArrayD::from_shape_simple_fn(*shape, || {
            number += 0.7;
            number.sin()
        })
    });
    model.set_weights(weights.collect()).unwrap();
    model
}

fn steps(model: &Model) -> Vec<f32> {
    let x = ArrayD::from_shape_fn(vec![2, 6, 2], |at| ((at[1] * 3 + at[2]) as f32).cos());
    model
        .predict(&x)
        .expect("it runs")
        .iter()
        .copied()
        .collect()
}

/// A file that leaves something out would be another model.
#[test]
fn what_an_lstm_has_beyond_kerass_is_saved_or_refused() {
    let all = json!({"proj_size": 2, "clip": 0.5});
    let model = with_options(all, &[&[2, 12], &[2, 12], &[12], &[3, 2]]);
    let holding = [".npz", ".weights.json", ".onnx"];
    let endings = ifco::Format::savable();
    for ending in endings.split(", ") {
        let name = format!("x{ending}");
        let saved = SaveOptions::new().to_bytes(&model, &name);
        if holding.contains(&ending) {
            let copy = reopened(&model, saved.expect(&name), &name);
            assert_eq!(steps(&copy), steps(&model), "{name}");
            continue;
        }
        let error = saved.expect_err(&name);
        assert!(error.to_string().contains("clip"), "{name}: {error}");
        assert!(
            error.help().is_some_and(|help| help.contains(".onnx")),
            "{name}"
        );
    }
    // Where a projection has a place, --lossy leaves the limits out and says so.
    let saved = SaveOptions::new()
        .lossy(true)
        .to_bytes(&model, "x.pt")
        .expect("it goes on");
    assert!(
        saved
            .notes
            .iter()
            .any(|note| note.contains("kept within 0.5")),
        "{:?}",
        saved.notes
    );
    let error = SaveOptions::new()
        .lossy(true)
        .to_bytes(&model, "x.keras")
        .expect_err("Keras");
    assert!(error.to_string().contains("projection"), "{error}");
}

/// What other words can tell becomes these: the numbers stay.
#[test]
fn a_forget_bias_and_coupled_gates_are_told_in_the_words_of_every_format() {
    let shapes: [&[usize]; 3] = [&[2, 12], &[3, 12], &[12]];
    for (options, shapes, word) in [
        (json!({"forget_bias": 1.0}), &shapes[..], "forget bias 1"),
        (json!({"forget_bias": 0.5}), &shapes[..2], "forget bias 0.5"),
        (json!({"input_forget": true}), &shapes[..], "other sign"),
        (json!({"input_forget": true}), &shapes[..2], "other sign"),
    ] {
        let model = with_options(options.clone(), shapes);
        for name in ["x.keras", "x.h5", "x.pt", "x.safetensors", "x.json"] {
            let saved = SaveOptions::new().to_bytes(&model, name).expect(name);
            assert!(
                saved.notes.iter().any(|note| note.contains(word)),
                "{:?}",
                saved.notes
            );
            let copy = reopened(&model, saved, name);
            assert_eq!(copy.cells()[0].1.extras(), Vec::<&str>::new(), "{name}");
            let pairs = steps(&copy).into_iter().zip(steps(&model));
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-6, "{name} {options}: by {worst}");
        }
    }
    // With a peephole both gates do not see the same.
    let shapes: [&[usize]; 4] = [&[2, 12], &[3, 12], &[12], &[3, 3]];
    let model = with_options(json!({"input_forget": true, "peepholes": true}), &shapes);
    let error = SaveOptions::new()
        .to_bytes(&model, "x.keras")
        .expect_err("Keras");
    assert!(error.to_string().contains("input_forget"), "{error}");
}

#[test]
fn rtneural_both_ways() {
    let text = std::fs::read_to_string(fixture("cases.json")).expect("fixtures/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    let mut counted = 0;
    for case in &cases {
        let model = open(case);
        let Ok(saved) = SaveOptions::new().to_bytes(&model, "x.json") else {
            continue;
        };
        let what = format!("{} as RTNeural's", case["file"]);
        let bytes = saved.bytes.clone();
        let copy = reopened(&model, saved, "x.json");
        assert_close(&predictions(&copy, case), &predictions(&model, case), &what);
        let again = SaveOptions::new().to_bytes(&copy, "x.json").unwrap();
        assert!(again.bytes == bytes, "{what}");
        counted += 1;
    }
    assert!(counted > 15, "{counted}");
    // Files of its own come back with the same bits; only a Dense without bias is given zeros.
    for file in ["rtneural_layers", "rtneural_last"] {
        let model = ifco::open(fixture(&format!("audio/{file}.json"))).unwrap();
        let saved = SaveOptions::new().to_bytes(&model, "x.json").unwrap();
        let is_more = |(_, bits): &(Vec<usize>, Vec<u32>)| bits.iter().any(|bits| *bits != 0);
        let copy: Vec<_> = bits(&reopened(&model, saved, "x.json"))
            .into_iter()
            .filter(is_more)
            .collect();
        let own: Vec<_> = bits(&model).into_iter().filter(is_more).collect();
        assert!(copy == own, "{file}");
    }
}

#[test]
fn what_pytorch_lacks_is_named() {
    let lstm = |more: Value| {
        let mut config = json!({"name": "l", "units": 1});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let layer = json!([{"class_name": "LSTM", "config": config}]);
        let mut model = sequential(Generation::Keras3, layer);
        let ones = |shape: &[usize]| ArrayD::ones(shape);
        model
            .set_weights(vec![ones(&[2, 4]), ones(&[1, 4]), ones(&[4])])
            .unwrap();
        SaveOptions::new().to_bytes(&model, "x.pt")
    };
    for (config, why) in [
        (json!({"activation": "relu"}), "tanh and sigmoid"),
        (
            json!({"recurrent_activation": "hard_sigmoid"}),
            "tanh and sigmoid",
        ),
        (json!({"go_backwards": true}), "backwards"),
    ] {
        let error = lstm(config).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(matches!(error, SaveError::Layer { .. }));
    }
    let saved = lstm(json!({})).unwrap();
    let python = saved.python.unwrap();
    assert!(
        python.contains("self.l = nn.LSTM(2, 1, batch_first=True)"),
        "{python}"
    );
    assert!(saved.spec.unwrap().contains("take = \"hidden\""));
}

#[test]
fn what_ifco_has_no_use_for_is_kept() {
    for file in ["keras3/file_compiled.keras", "keras3/file_compiled.h5"] {
        let model = ifco::open(fixture(file)).unwrap();
        let keras = SaveOptions::new().to_bytes(&model, "x.keras").unwrap();
        let copy = reopened(&model, keras, "x.keras");
        let compile = &copy.config()["compile_config"];
        assert_eq!(compile["optimizer"]["class_name"], "Adam", "{file}");
        assert_eq!(compile["loss"], "mse", "{file}");
        let h5 = SaveOptions::new().to_bytes(&model, "x.h5").unwrap();
        let copy = reopened(&model, h5, "x.h5");
        let training = &copy.config()["training_config"];
        assert_eq!(training["optimizer_config"]["class_name"], "Adam", "{file}");
        assert_eq!(copy.name(), model.name());
    }
    let model = ifco::open(fixture("keras3/file_compiled.keras")).unwrap();
    let saved = SaveOptions::new().to_bytes(&model, "x.keras").unwrap();
    assert!(saved.notes.is_empty());
    assert_eq!(reopened(&model, saved, "x.keras").config(), model.config());
}

fn sequential(generation: Generation, layers: Value) -> Model {
    let input = json!({"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [null, 4, 2]}});
    let mut list = vec![input];
    list.extend(layers.as_array().unwrap().iter().cloned());
    let json = json!({"class_name": "Sequential", "config": {"name": "m", "layers": list}});
    Model::from_config(&json, generation).unwrap()
}

#[test]
fn the_hard_sigmoid_of_keras_2_is_made_up_for_or_refused() {
    let mut model = sequential(
        Generation::Keras2,
        json!([{"class_name": "LSTM", "config": {"name": "l", "units": 1,
            "recurrent_activation": "hard_sigmoid"}}]),
    );
    let values = |shape: &[usize]| ArrayD::from_elem(shape, 0.5);
    model
        .set_weights(vec![values(&[2, 4]), values(&[1, 4]), values(&[4])])
        .unwrap();
    let saved = SaveOptions::new().to_bytes(&model, "x.keras").unwrap();
    assert!(
        saved.notes[0].contains("1.2 times its input"),
        "{:?}",
        saved.notes
    );
    let copy = reopened(&model, saved, "x.keras");
    assert_eq!(copy.generation(), Generation::Keras3);
    let bias = copy.lstm("l").unwrap().weights().fused_bias().unwrap();
    assert_eq!(bias.to_vec(), [0.6, 0.6, 0.5, 0.6]); // i f c o
    let x = ArrayD::from_shape_fn(vec![3, 4, 2], |at| at[1] as f32 - at[0] as f32);
    let (one, other) = (model.predict(&x).unwrap(), copy.predict(&x).unwrap());
    assert_close(&[one], &[other], "hard sigmoid");

    let model = sequential(
        Generation::Keras2,
        json!([{"class_name": "Activation", "config": {"name": "a", "activation": "hard_sigmoid"}}]),
    );
    let error = SaveOptions::new().to_bytes(&model, "x.keras").unwrap_err();
    assert!(
        error.to_string().contains("\"a\", an Activation"),
        "{error}"
    );
    assert!(matches!(error, SaveError::Layer { .. }));
    let saved = SaveOptions::new()
        .lossy(true)
        .to_bytes(&model, "x.keras")
        .unwrap();
    assert!(
        saved.notes[0].contains("another function"),
        "{:?}",
        saved.notes
    );
    // Keras 2's own file keeps it.
    let saved = SaveOptions::new().to_bytes(&model, "x.h5").unwrap();
    assert_eq!(
        reopened(&model, saved, "x.h5").generation(),
        Generation::Keras2
    );
}

#[test]
fn what_cannot_be_carried_over_is_named() {
    let custom = sequential(
        Generation::Keras3,
        json!([{"class_name": "MyLayer", "config": {"name": "mine"}}]),
    );
    let error = SaveOptions::new().to_bytes(&custom, "x.keras").unwrap_err();
    assert!(error.to_string().contains("\"mine\""), "{error}");

    let dense = |dtype: &str| {
        let config = json!({"name": "d", "units": 1, "use_bias": false, "dtype": dtype});
        let mut model = sequential(
            Generation::Keras3,
            json!([{"class_name": "Dense", "config": config}]),
        );
        let without = SaveOptions::new().to_bytes(&model, "x.keras").unwrap_err();
        assert!(without.to_string().contains("no weights yet"), "{without}");
        model.set_weights(vec![ArrayD::ones(vec![2, 1])]).unwrap();
        model
    };
    let double = dense("float64");
    let error = SaveOptions::new().to_bytes(&double, "x.h5").unwrap_err();
    assert!(error.to_string().contains("float64"), "{error}");
    assert!(
        SaveOptions::new()
            .lossy(true)
            .to_bytes(&double, "x.h5")
            .is_ok()
    );

    let single = dense("float32");
    for path in ["x.docx", "keras", ""] {
        let path = Path::new(path);
        let saved = ifco::save(&single, path);
        assert!(matches!(saved, Err(SaveError::Format { .. })), "{path:?}");
    }
    let folder = std::env::temp_dir().join("no such folder of ifco");
    let error = ifco::save(&single, folder.join("x.keras")).unwrap_err();
    assert!(matches!(error, SaveError::Write(_)), "{error}");
    assert!(!folder.exists());
}

#[test]
fn keras_3_finds_every_class_and_no_name_twice() {
    let layers = |name: &str, class: &str, config: Value, from: Value| {
        let mut config = config;
        config["name"] = json!(name);
        json!({"class_name": class, "name": name, "config": config, "inbound_nodes": from})
    };
    let json = json!({"class_name": "Functional", "config": {"name": "m", "layers": [
        layers("x", "InputLayer", json!({"batch_input_shape": [null, 4]}), json!([])),
        layers("e", "Embedding", json!({"input_dim": 3, "output_dim": 2, "mask_zero": true,
            "batch_input_shape": [null, null]}), json!([[["x", 0, 0, {}]]])),
        layers("concatenate", "Concatenate", json!({"axis": -1}),
            json!([[["e", 0, 0, {}], ["e", 0, 0, {}]]])),
        layers("d", "SpatialDropout1D", json!({"rate": 0.5, "trainable": true}),
            json!([[["concatenate", 0, 0, {}]]])),
    ], "input_layers": [["x", 0, 0]], "output_layers": [["d", 0, 0]]}});
    let mut model = Model::from_config(&json, Generation::Keras2).unwrap();
    model.set_weights(vec![ArrayD::ones(vec![3, 2])]).unwrap();
    let saved = SaveOptions::new().to_bytes(&model, "x.keras").unwrap();
    assert!(
        saved.notes[0].contains("\"layer_concatenate\""),
        "{:?}",
        saved.notes
    );
    let copy = reopened(&model, saved, "x.keras");
    assert!(copy.layer("layer_concatenate").is_ok());
    for layer in copy.config()["config"]["layers"].as_array().unwrap() {
        assert_eq!(layer["module"], "keras.layers", "{layer}");
        let is_input = layer["class_name"] == "InputLayer";
        assert_eq!(layer["config"].get("batch_input_shape").is_some(), is_input);
    }
    let dropout = &copy.config()["config"]["layers"][3]["config"];
    assert_eq!(dropout.get("trainable"), None);
}

#[test]
fn states_that_a_file_begins_with_are_no_kerass() {
    let model = ifco::open(fixture("audio/nam_lstm.nam")).unwrap();
    let error = SaveOptions::new().to_bytes(&model, "x.keras").unwrap_err();
    assert!(error.to_string().contains("begin with states"), "{error}");
    let saved = SaveOptions::new()
        .lossy(true)
        .to_bytes(&model, "x.keras")
        .unwrap();
    assert!(
        saved.notes[0].contains("states of zero"),
        "{:?}",
        saved.notes
    );
}

/// Attributes above 64 KB: a long configuration, and more layers than one list holds.
#[test]
fn large_models() {
    let layers: Vec<Value> = (0..4100)
        .map(|n| json!({"class_name": "Rescaling", "config": {"name": format!("r{n}"), "scale": 1.0}}))
        .collect();
    let model = sequential(Generation::Keras3, Value::Array(layers));
    for name in ["x.h5", "x.keras"] {
        let saved = SaveOptions::new().to_bytes(&model, name).unwrap();
        assert_eq!(reopened(&model, saved, name).layers().len(), 4101);
    }
}
