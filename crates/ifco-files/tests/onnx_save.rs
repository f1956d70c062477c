//! Models of `fixtures/` saved as ONNX and opened again: they compute the same. ONNX Runtime's own
//! word on such files is in `compare/live_onnx.py`.

use std::path::PathBuf;

use ifco_cell::Cell;
use ifco_files::{Opened, SaveError, SaveOptions, in_keras_layers, open, open_bytes};
use ifco_model::{Generation, Model};
use ndarray::ArrayD;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
}

fn saved(model: &Model) -> Result<Model, SaveError> {
    let saved = SaveOptions::new().to_bytes(model, "copy.onnx")?;
    match open_bytes(saved.bytes, "copy.onnx") {
        Ok(Opened::Model(copy)) => Ok(*copy),
        other => panic!("what was saved does not open: {other:?}"),
    }
}

/// Numbers from −1 to 1, or small indices for an Embedding.
fn input(model: &Model, index: usize, time: usize) -> ArrayD<f32> {
    let embeds = model
        .layers()
        .iter()
        .any(|entry| entry.layer.class_name() == "Embedding");
    let port = &model.inputs()[index];
    let shape = port.shape.iter().flatten().enumerate();
    let shape = shape.map(|(axis, size)| match (axis, size) {
        (0, None) => 3,
        (_, Some(size)) => *size,
        (_, None) => time,
    });
    let shape: Vec<usize> = shape.collect();
    let mut number = index as f32 * 0.3;
    ArrayD::from_shape_simple_fn(shape, || {
        number += 0.7;
        match embeds {
            true => (number * 3.0).floor() % 2.0,
            false => number.sin(),
        }
    })
}

#[test]
fn what_is_saved_computes_the_same() {
    let text = std::fs::read_to_string(fixtures().join("cases.json")).expect("the list is there");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("it is JSON");
    let (mut same, mut refused, mut wrong) = (0, 0, Vec::new());
    for case in &cases {
        let file = case["file"].as_str().expect("a case has a file");
        let Ok(model) = open(fixtures().join(file)) else {
            continue; // weights alone
        };
        let copy = match saved(&model) {
            Ok(copy) => copy,
            Err(error) => {
                assert!(error.help().is_some(), "{file}: {error} without help");
                refused += 1;
                continue;
            }
        };
        let inputs: Vec<_> = (0..model.inputs().len())
            .map(|index| input(&model, index, 6))
            .collect();
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        model.reset_states();
        let Ok(expected) = model.predict_all(&views, 64, &mut |_| {}) else {
            continue; // a model that wants other numbers
        };
        // A stateful layer's states are further inputs, zeros at first.
        let states = copy.inputs().iter().skip(inputs.len()).map(|port| {
            let shape = port.shape.as_ref().expect("a state has a shape");
            ArrayD::<f32>::zeros(vec![inputs[0].shape()[0], shape[1].expect("its units")])
        });
        let all: Vec<_> = inputs.iter().cloned().chain(states).collect();
        let views: Vec<_> = all.iter().map(|input| input.view()).collect();
        match copy.predict_all(&views, 64, &mut |_| {}) {
            Err(error) => wrong.push(format!("{file}: {error}")),
            Ok(found) => {
                for (found, expected) in found.iter().zip(&expected) {
                    let pairs = found.iter().zip(expected);
                    let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    if found.shape() != expected.shape() || apart > 1e-5 {
                        wrong.push(format!("{file}: {apart:e}"));
                    }
                }
                same += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        same >= 20 && refused > 0,
        "{same} the same, {refused} refused"
    );
}

#[test]
fn a_stateful_model_goes_on_where_its_states_say() {
    let json = serde_json::json!({"class_name": "Sequential", "config": {"name": "m", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [2, null, 1]}},
        {"class_name": "SimpleRNN", "config": {"name": "sum", "units": 1, "activation": "linear",
            "use_bias": false, "stateful": true, "return_sequences": true}},
    ]}});
    let mut model =
        Model::from_config(&json, ifco_model::Generation::Keras3).expect("it is a model");
    let one = || ArrayD::ones(vec![1, 1]);
    model.set_weights(vec![one(), one()]).expect("they fit"); // h' = x + h
    let copy = saved(&model).expect("it is saved");
    let names = |ports: &[ifco_model::Port]| -> Vec<String> {
        ports.iter().map(|port| port.name.clone()).collect()
    };
    assert_eq!(names(copy.inputs()), ["x", "sum_h"]);
    assert_eq!(names(copy.outputs()), ["sum", "sum_h_next"]);
    let x = ArrayD::from_shape_vec(vec![2, 2, 1], vec![1.0, 2.0, 3.0, 4.0]).expect("four");
    let h = ArrayD::from_shape_vec(vec![2, 1], vec![10.0, 20.0]).expect("two");
    let outputs = copy
        .predict_all(&[x.view(), h.view()], 32, &mut |_| {})
        .expect("it runs");
    assert_eq!(
        outputs[0].iter().copied().collect::<Vec<_>>(),
        [11.0, 13.0, 23.0, 27.0]
    );
    assert_eq!(outputs[1].iter().copied().collect::<Vec<_>>(), [13.0, 27.0]);
}

#[test]
fn a_forget_bias_becomes_a_bias() {
    for use_bias in [true, false] {
        let json = json!({"class_name": "Sequential", "config": {"name": "m", "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 2]}},
            {"class_name": "LSTM", "config": {"name": "lstm", "units": 3, "use_bias": use_bias,
                "ifco": {"forget_bias": 1.0, "clip": 2.0}}},
        ]}});
        let mut model = Model::from_config(&json, Generation::Keras3).expect("it is one");
        let mut number = 0.1f32;
        let shapes: [&[usize]; 3] = [&[2, 12], &[3, 12], &[12]];
        let arrays = shapes[..2 + usize::from(use_bias)].iter().map(|shape| {
            ArrayD::from_shape_simple_fn(*shape, || {
                number += 0.7;
                number.sin()
            })
        });
        model.set_weights(arrays.collect()).expect("they fit");
        let copy = saved(&model).expect("ONNX has biases");
        let x = input(&model, 0, 5);
        let run = |model: &Model| {
            let all = model.predict_all(&[x.view()], 32, &mut |_| {});
            all.expect("it runs")[0].clone().into_flat()
        };
        let pairs = run(&model).into_iter().zip(run(&copy));
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "use_bias={use_bias}: by {worst}");
        let cells = copy.cells();
        let (_, cell) = cells.first().expect("it has one");
        assert_eq!(cell.extras(), ["clip"]);
    }
}

/// A recurrent layer of 3 units over 2 features with weights that are all different.
fn recurrent(class: &str, mut config: Value, two_ways: bool) -> Model {
    config["name"] = json!("r");
    config["units"] = json!(3);
    let outputs = config["ifco"]["proj_size"].as_u64().unwrap_or(3) as usize;
    let gates = match class {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    let mut shapes = vec![vec![2, 3 * gates], vec![outputs, 3 * gates]];
    if config["use_bias"] != json!(false) {
        let is_reset_after = class == "GRU" && config["reset_after"] != json!(false);
        shapes.push(match is_reset_after {
            true => vec![2, 9],
            false => vec![3 * gates],
        });
    }
    if outputs != 3 {
        shapes.push(vec![3, outputs]);
    }
    if config["ifco"]["peepholes"] == json!(true) {
        shapes.push(vec![3, 3]);
    }
    let norms: &[usize] = match config["ifco"]["layer_norm"].as_str() {
        Some("gates") => &[12, 12, 3, 3],
        Some(_) => &[12, 12, 12, 12, 3, 3],
        None => &[],
    };
    shapes.extend(norms.iter().map(|size| vec![*size]));
    let mut layer = json!({"class_name": class, "config": config});
    if two_ways {
        shapes.extend(shapes.clone());
        layer = json!({"class_name": "Bidirectional", "config": {"name": "b", "layer": layer,
            "merge_mode": "concat"}});
    }
    let json = json!({"class_name": "Sequential", "config": {"name": "m", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 2]}},
        layer,
    ]}});
    let mut model = Model::from_config(&json, Generation::Keras3).expect("it is one");
    let mut number = 0.1f32;
    let arrays = shapes.into_iter().map(|shape| {
        ArrayD::from_shape_simple_fn(shape, || {
            number += 0.7;
            0.6 * number.sin()
        })
    });
    model.set_weights(arrays.collect()).expect("they fit");
    model
}

/// What ONNX's operators lack is written step by step, and what is written is known again: the same
/// cell with the same weights, as the graph itself and as Keras's layer.
#[test]
fn a_step_that_onnx_has_no_operator_for_is_spelled_out() {
    let steps = [
        ("LSTM", json!({"ifco": {"proj_size": 2}})),
        (
            "LSTM",
            json!({"ifco": {"proj_size": 1, "projection_clip": 0.1, "cell_clip": 0.3,
            "peepholes": true, "forget_bias": 1.0, "clip": 0.9}}),
        ),
        (
            "LSTM",
            json!({"use_bias": false, "ifco": {"layer_norm": "gates", "epsilon": 1e-6,
            "forget_bias": 1.0, "cell_clip": 2.0}}),
        ),
        (
            "LSTM",
            json!({"ifco": {"layer_norm": "products", "peepholes": true}}),
        ),
        (
            "LSTM",
            json!({"use_bias": false, "ifco": {"cell_clip": 0.2, "forget_bias": 0.5}}),
        ),
        (
            "LSTM",
            json!({"activation": "gelu", "recurrent_activation": "hard_sigmoid",
            "ifco": {"output_activation": "hard_tanh"}}),
        ),
        (
            "LSTM",
            json!({"recurrent_activation": "softmax", "activation": "mish"}),
        ),
        (
            "LSTM",
            json!({"activation": "log_sigmoid", "recurrent_activation": "sparse_sigmoid"}),
        ),
        ("GRU", json!({"activation": "silu"})),
        (
            "GRU",
            json!({"activation": "selu", "reset_after": false, "use_bias": false}),
        ),
        (
            "GRU",
            json!({"activation": "tanh_shrink", "reset_after": false, "ifco": {"clip": 0.5}}),
        ),
        (
            "GRU",
            json!({"activation": "hard_silu", "use_bias": false, "ifco": {"clip": 0.5}}),
        ),
        ("SimpleRNN", json!({"activation": "squareplus"})),
        (
            "SimpleRNN",
            json!({"activation": "soft_shrink", "use_bias": false}),
        ),
        ("SimpleRNN", json!({"activation": "hard_tanh"})),
    ];
    for (index, (class, mut config)) in steps.into_iter().enumerate() {
        config["return_sequences"] = json!(index % 2 == 0);
        for two_ways in [false, true] {
            config["go_backwards"] = json!(index % 3 == 0 && !two_ways);
            let model = recurrent(class, config.clone(), two_ways);
            let written = SaveOptions::new()
                .to_bytes(&model, "copy.onnx")
                .expect("it is written");
            assert!(
                written.notes.iter().any(|note| note.contains("Scan")),
                "{config}"
            );
            let copy = saved(&model).expect("it is written");
            let layers = in_keras_layers(&copy)
                .expect("it is a graph")
                .expect("of layers");
            for copy in [&copy, &layers] {
                let (cells, own) = (copy.cells(), model.cells());
                let cell = |(_, cell): &(String, &Cell)| Cell::clone(cell);
                let [cells, own] = [cells, own].map(|all| all.iter().map(cell).collect::<Vec<_>>());
                assert_eq!(cells, own, "{class} {config}");
            }
            let x = input(&model, 0, 5);
            let run = |model: &Model| {
                let all = model.predict_all(&[x.view()], 32, &mut |_| {});
                all.expect("it runs")[0].clone().into_flat()
            };
            let pairs = run(&model).into_iter().zip(run(&copy));
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-6, "{class} {config}: by {worst}");
        }
    }
}

#[test]
fn what_onnx_or_the_writer_lacks_is_refused_by_name() {
    let layer = |class: &str, config: Value| {
        let json = serde_json::json!({"class_name": "Sequential", "config": {"name": "m", "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 4, 2]}},
            {"class_name": class, "config": config},
        ]}});
        Model::from_config(&json, ifco_model::Generation::Keras3).expect("it is a model")
    };
    for (class, config, word) in [
        (
            "Masking",
            serde_json::json!({"name": "m", "mask_value": 0.0}),
            "masks",
        ),
        (
            "UpSampling1D",
            serde_json::json!({"name": "up", "size": 2}),
            "does not write",
        ),
        (
            "LSTM",
            serde_json::json!({"name": "lstm", "units": 2}),
            "no weights",
        ),
    ] {
        let error = saved(&layer(class, config)).expect_err(class);
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.help().is_some(), "{error}");
    }
    // Of a graph, a node that is no layer.
    let graph = open(fixtures().join("onnx/control_if.onnx")).expect("it opens");
    let error = saved(&graph).expect_err("a Loop is no layer of Keras");
    assert!(error.to_string().contains("Loop"), "{error}");
}
