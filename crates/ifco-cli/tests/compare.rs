//! `ifco compare`, as users call it: on models that someone carried over wrongly.

mod common;

use std::path::Path;

use common::*;
use ifco::{Generation, Model};
use ndarray::{ArrayD, Axis, Slice, concatenate};
use serde_json::{Value, json};

/// A model with weights that are no pattern, of a seed.
fn made(layers: Value) -> Model {
    let input =
        json!({"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 6, 4]}});
    let mut list = vec![input];
    list.extend(layers.as_array().unwrap().iter().cloned());
    let json = json!({"class_name": "Sequential", "config": {"name": "m", "layers": list}});
    Model::from_config(&json, Generation::Keras3).unwrap()
}

fn filled(layers: Value, shapes: &[&[usize]]) -> Model {
    let mut state = 1u32;
    let mut number = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let arrays = shapes
        .iter()
        .map(|shape| ArrayD::from_shape_fn(*shape, |_| number()));
    let mut model = made(layers);
    model.set_weights(arrays.collect()).unwrap();
    model
}

fn lstm(more: Value) -> Model {
    let mut config = json!({"name": "l", "units": 4, "return_sequences": true});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let layers = json!([
        {"class_name": "LSTM", "config": config},
        {"class_name": "Dense", "config": {"name": "d", "units": 4}},
    ]);
    filled(layers, &[&[4, 16], &[4, 16], &[16], &[4, 4], &[4]])
}

fn file(folder: &Path, name: &str, model: &Model) -> String {
    let path = folder.join(name);
    ifco::save(model, &path).unwrap();
    path.display().to_string()
}

fn differs(a: &str, b: &str) -> Value {
    let output = ifco(&["compare", a, b, "--json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_same_model_agrees_with_itself_in_other_formats() {
    let folder = folder("compare_same");
    let source = model("stacked.keras");
    let other = folder.join("b.h5").display().to_string();
    works(&["convert", &source, &other]);
    let text = works(&["compare", &source, &other]);
    assert!(text.contains("agrees, largest difference 0"), "{text}");
    let text = works(&[
        "compare",
        &source,
        &other,
        "--input",
        &model("stacked_x.npy"),
    ]);
    assert!(text.contains("stacked_x.npy"), "{text}");
    let report: Value =
        serde_json::from_str(&works(&["compare", &source, &other, "--json"])).unwrap();
    assert_eq!(
        (&report["equal"], &report["hint"]),
        (&json!(true), &Value::Null)
    );
}

#[test]
fn every_mistake_is_found() {
    type Mistake = fn(&mut Vec<ArrayD<f32>>);
    fn blocks(weights: &mut [ArrayD<f32>], order: [usize; 4]) {
        for array in &mut weights[..3] {
            let last = Axis(array.ndim() - 1);
            let block = |gate: usize| array.slice_axis(last, Slice::from(gate * 4..gate * 4 + 4));
            *array = concatenate(last, &order.map(block)).unwrap();
        }
    }
    fn misread(array: &mut ArrayD<f32>) {
        let (rows, columns) = (array.shape()[0], array.shape()[1]);
        let turned: Vec<f32> = array.t().iter().copied().collect();
        *array = ArrayD::from_shape_vec(vec![rows, columns], turned).unwrap();
    }
    let mistakes: [(&str, &str, Mistake); 9] = [
        ("gates i and f are exchanged", "i", |w| {
            blocks(w, [1, 0, 2, 3])
        }),
        (
            "f and c are exchanged (i c f o is the order of Keras 1",
            "f",
            |w| blocks(w, [0, 2, 1, 3]),
        ),
        ("stand as i o f c", "f", |w| blocks(w, [0, 3, 1, 2])),
        ("lacks the forget bias", "f", |w| {
            w[2].slice_axis_mut(Axis(0), Slice::from(4..8))
                .map_inplace(|bias| *bias -= 1.0);
        }),
        ("1 too large", "f", |w| {
            w[2].slice_axis_mut(Axis(0), Slice::from(4..8))
                .map_inplace(|bias| *bias += 1.0);
        }),
        ("biases are missing", "i", |w| w[2].fill(0.0)),
        ("recurrent kernels are transposed", "i", |w| {
            misread(&mut w[1])
        }),
        (
            "B's kernels and recurrent kernels are transposed",
            "i",
            |w| {
                w[..2].iter_mut().for_each(misread);
            },
        ),
        ("Dense layers are transposed", "", |w| {
            w[3] = w[3].t().to_owned()
        }),
    ];
    let folder = folder("compare_mistakes");
    let right = lstm(json!({}));
    let a = file(&folder, "a.keras", &right);
    let a_graph = file(&folder, "a.onnx", &right);
    for (number, (hint, gate, mistake)) in mistakes.into_iter().enumerate() {
        let mut weights = right.weights().unwrap();
        mistake(&mut weights);
        let mut wrong = lstm(json!({}));
        wrong.set_weights(weights).unwrap();
        let report = differs(&a, &file(&folder, &format!("b{number}.keras"), &wrong));
        let found = report["hint"].as_str().unwrap_or("none");
        assert!(found.contains(hint), "{hint}: {found}");
        // The same where either is an ONNX graph.
        let graph = file(&folder, &format!("b{number}.onnx"), &wrong);
        for (a, b) in [(&a, &graph), (&a_graph, &graph)] {
            let found = differs(a, b)["hint"].as_str().unwrap_or("none").to_owned();
            assert!(found.contains(hint), "{hint} in ONNX: {found}");
        }
        let parting = &report["parting"];
        if gate.is_empty() {
            assert_eq!(parting["recurrent_layers_agree"], true);
            assert_eq!(parting["other_weights"], "d");
        } else {
            assert_eq!(parting["layers"], json!(["l", "l"]), "{hint}");
            assert_eq!(parting["gate"], gate, "{hint}");
        }
    }
}

#[test]
fn wrong_functions_and_directions_are_found() {
    let folder = folder("compare_options");
    let a = file(&folder, "a.keras", &lstm(json!({})));
    for (option, hint) in [
        (
            json!({"recurrent_activation": "hard_sigmoid"}),
            "hard_sigmoid instead of sigmoid",
        ),
        (
            json!({"go_backwards": true}),
            "backwards instead of forwards",
        ),
    ] {
        let b = file(&folder, "b.keras", &lstm(option));
        let report = differs(&a, &b);
        let found = report["hint"].as_str().unwrap_or("none");
        assert!(found.contains(hint), "{found}");
    }

    let both = |swap: bool| {
        let layers = json!([{"class_name": "Bidirectional", "config": {"name": "b", "merge_mode": "concat",
            "layer": {"class_name": "LSTM", "config": {"name": "l", "units": 3}}}}]);
        let shapes: [&[usize]; 6] = [&[4, 12], &[3, 12], &[12], &[4, 12], &[3, 12], &[12]];
        let mut model = filled(layers, &shapes);
        if swap {
            let mut weights = model.weights().unwrap();
            weights.rotate_left(3);
            model.set_weights(weights).unwrap();
        }
        model
    };
    let a = file(&folder, "both.keras", &both(false));
    let report = differs(&a, &file(&folder, "swapped.keras", &both(true)));
    let found = report["hint"].as_str().unwrap_or("none");
    assert!(found.contains("forward and backward weights"), "{found}");

    // The two hard sigmoids are one of 1.2 times the other.
    let hard = |factor: f32| {
        let mut model = lstm(json!({"recurrent_activation": "hard_sigmoid"}));
        let mut weights = model.weights().unwrap();
        for array in &mut weights[..3] {
            let last = Axis(array.ndim() - 1);
            for gate in [0, 1, 3] {
                array
                    .slice_axis_mut(last, Slice::from(gate * 4..gate * 4 + 4))
                    .map_inplace(|weight| *weight *= factor);
            }
        }
        model.set_weights(weights).unwrap();
        model
    };
    let a = file(&folder, "two.keras", &hard(1.2));
    let report = differs(&a, &file(&folder, "three.keras", &hard(1.0)));
    let found = report["hint"].as_str().unwrap_or("none");
    assert!(found.contains("hard sigmoid is Keras 3's"), "{found}");
}

#[test]
fn the_second_bias_of_pytorch() {
    let fixtures = format!("{}/../../fixtures/torch", env!("CARGO_MANIFEST_DIR"));
    let folder = folder("compare_torch");
    let a = format!("{fixtures}/lstm.pt");
    let mut wrong = ifco::open_assuming(&a, None::<&str>).unwrap().model;
    let ifco::Opened::Weights(file_of_a) = ifco::open_any(&a).unwrap() else {
        panic!()
    };
    let (_, ih) = file_of_a.groups[0]
        .arrays
        .iter()
        .find(|(name, _)| name == "bias_ih_l0")
        .unwrap();
    let mut weights = wrong.weights().unwrap();
    weights[2] = ih.clone(); // i f g o is i f c o
    wrong.set_weights(weights).unwrap();
    let report = differs(&a, &file(&folder, "b.keras", &wrong));
    let found = report["hint"].as_str().unwrap_or("none");
    assert!(found.contains("bias_hh, is missing"), "{found}");
}

#[test]
fn what_is_no_known_mistake_gets_no_hint() {
    let folder = folder("compare_other");
    let right = lstm(json!({}));
    let mut wrong = lstm(json!({}));
    let mut weights = right.weights().unwrap();
    weights[0] += 0.25;
    wrong.set_weights(weights).unwrap();
    let (a, b) = (
        file(&folder, "a.keras", &right),
        file(&folder, "b.keras", &wrong),
    );
    let report = differs(&a, &b);
    assert_eq!(report["hint"], Value::Null);
    assert_eq!(report["outputs"][0]["equal"], false);
    let output = ifco(&["compare", &a, &b]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("in layer \"l\", step 0, i: "), "{text}");
    assert!(text.contains("none of the usual mistakes"), "{text}");
    // What is allowed decides.
    works(&["compare", &a, &b, "--tolerance", "10"]);
    fails(2, &["compare", &a, &b, "--tolerance", "-1"]);
    let error = fails(1, &["compare", &a, &model("series.keras")]);
    assert!(error.contains("same input"), "{error}");
}
