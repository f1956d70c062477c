//! Every layer against what Keras itself computed for it, weights, masks and all.
//!
//! `golden/layers.json` holds one case for each layer and set of options, with the configuration
//! that each generation writes; two cases where the generations differ. `make_layers.py` beside
//! it makes them.

mod golden_cases;

use std::collections::BTreeMap;

use ifco_model::{Call, Config, Generation, Layer, Shape, Tensor, layers};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Value, json};

use golden_cases::{array, call, golden, tensor};

/// What differs between Keras's outputs and these; `None` when nothing does.
fn difference(case: &Value, generation: Generation, config: &Value) -> Option<String> {
    let class = case["class"].as_str().unwrap();
    let config = Config::new(class, generation, config).unwrap();
    let mut layer = match layers::build(class, &config) {
        Ok(layer) => layer,
        Err(error) => return Some(error.to_string()),
    };
    let inputs: Vec<Tensor> = case["inputs"].as_array()?.iter().map(tensor).collect();
    let call = call(case);
    let weights: Vec<_> = case["weights"].as_array()?.iter().map(array).collect();
    if !weights.is_empty() && layer.call(&inputs, &call).is_ok() {
        return Some("ran without weights".into());
    }
    if let Err(error) = layer.set_weights(weights) {
        return Some(error.to_string());
    }
    let outputs = match layer.call(&inputs, &call) {
        Ok(outputs) => outputs,
        Err(error) => return Some(error.to_string()),
    };
    let expected: Vec<Tensor> = case["outputs"].as_array()?.iter().map(tensor).collect();
    if outputs.len() != expected.len() {
        return Some(format!(
            "{} outputs instead of {}",
            outputs.len(),
            expected.len()
        ));
    }
    for (output, expected) in outputs.iter().zip(&expected) {
        if output.shape() != expected.shape() {
            return Some(format!(
                "shape {:?}, Keras {:?}",
                output.shape(),
                expected.shape()
            ));
        }
        for (index, (a, b)) in output.data.iter().zip(&expected.data).enumerate() {
            let close = (a - b).abs() <= 1e-5 + 1e-5 * b.abs();
            if !(close || a == b || (a.is_nan() && b.is_nan())) {
                return Some(format!("value {index} is {a}, Keras {b}"));
            }
        }
        if output.mask != expected.mask {
            return Some(format!("mask {:?}, Keras {:?}", output.mask, expected.mask));
        }
    }
    // The shapes told in advance: with all sizes known, and without batch, without any.
    let known = |n: &usize| Some(*n);
    let shapes: Vec<Shape> = inputs
        .iter()
        .map(|x| x.shape().iter().map(known).collect())
        .collect();
    // Inputs that are passed by name are not in sight of `output_shapes`.
    if ["value", "query"]
        .iter()
        .any(|name| call.tensors.contains_key(*name))
    {
        return None;
    }
    for unknown in 0..3 {
        let mut shapes = shapes.clone();
        for shape in &mut shapes {
            let rank = shape.len();
            let last = if unknown == 2 { rank - 1 } else { unknown };
            shape[..last].fill(None);
        }
        let told = match layer.output_shapes(&shapes, &Call::default()) {
            Ok(told) => told,
            Err(error) => return Some(format!("output_shapes({shapes:?}): {error}")),
        };
        let fits = told[0].len() == outputs[0].shape().len()
            && told[0]
                .iter()
                .zip(outputs[0].shape())
                .all(|(a, b)| a.is_none_or(|a| a == *b));
        let all_told =
            shapes.iter().flatten().any(Option::is_none) || told[0].iter().all(Option::is_some);
        let batch_unknown = shapes.iter().any(|shape| shape[0].is_some()) || told[0][0].is_none();
        if !(fits && all_told && batch_unknown) {
            return Some(format!("told {told:?} for {shapes:?}"));
        }
    }
    None
}

#[test]
fn layers_agree_with_keras() {
    let cases = golden();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let class = case["class"].as_str().unwrap();
        for (version, config) in case["configs"].as_object().expect("configs") {
            let generation = match version.as_str() {
                "2" => Generation::Keras2,
                _ => Generation::Keras3,
            };
            *seen.entry(class).or_default() += 1;
            if let Some(difference) = difference(case, generation, config) {
                failures.push(format!(
                    "{number}: {class} of Keras {version} {config}: {difference}"
                ));
            }
        }
    }
    for class in layers::SUPPORTED.iter().skip(10) {
        if !seen.contains_key(class) {
            failures.push(format!("{class}: no case"));
        }
    }
    assert!(
        failures.is_empty(),
        "{} differences in {} cases:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

/// Whatever stands in a configuration, a weight or an input, a layer answers with an error or a
/// result: it neither panics nor allocates what a number in a file asks for.
#[test]
fn nothing_in_a_file_makes_a_layer_panic() {
    let hostile = [
        json!(0),
        json!(-1),
        json!(3),
        json!(1_000_000_000_000_000_u64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!("x"),
        json!([]),
        json!([0]),
        json!([-1, 1]),
        json!([1, 1]),
        json!([3, 1_000_000_000_000_000_u64]),
        json!([[1_000_000_000_000_000_u64, 1], [0, u64::MAX]]),
        json!({"config": {"value": [[1.0], [2.0, 3.0]]}}),
        json!(true),
    ];
    for case in golden() {
        let class = case["class"].as_str().unwrap();
        for (version, config) in case["configs"].as_object().unwrap() {
            let generation = match version.as_str() {
                "2" => Generation::Keras2,
                _ => Generation::Keras3,
            };
            run_with_odd_data(&case, generation, config);
            for key in config.as_object().unwrap().keys() {
                for value in &hostile {
                    let mut config = config.clone();
                    config[key] = value.clone();
                    let read = Config::new(class, generation, &config).unwrap();
                    if let Ok(layer) = layers::build(class, &read) {
                        run(layer, &case, |_| (), |_| ());
                    }
                }
            }
        }
    }
}

fn run(
    mut layer: Box<dyn Layer>,
    case: &Value,
    change_inputs: impl Fn(&mut Vec<Tensor>),
    change_weights: impl Fn(&mut Vec<ArrayD<f32>>),
) {
    let mut inputs: Vec<Tensor> = case["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(tensor)
        .collect();
    let mut weights: Vec<_> = case["weights"]
        .as_array()
        .unwrap()
        .iter()
        .map(array)
        .collect();
    change_inputs(&mut inputs);
    change_weights(&mut weights);
    let known = |x: &Tensor| -> Shape { x.shape().iter().copied().map(Some).collect() };
    let shapes: Vec<Shape> = inputs.iter().map(known).collect();
    let _ = layer.output_shapes(&shapes, &Call::default());
    let _ = layer.set_weights(weights);
    let told = layer.output_shapes(&shapes, &Call::default());
    let call = call(case);
    if let Ok(outputs) = layer.call(&inputs, &call)
        && call.tensors.is_empty()
    {
        let told = told.expect("a shape, as the call succeeded");
        assert_eq!(told[0], known(&outputs[0]), "{} {layer:?}", case["class"]);
    }
}

fn run_with_odd_data(case: &Value, generation: Generation, config: &Value) {
    let class = case["class"].as_str().unwrap();
    let config = Config::new(class, generation, config).unwrap();
    let build = || layers::build(class, &config).unwrap();
    let resize = |shape: &[usize]| {
        let size: usize = shape.iter().product();
        let values = (0..size).map(|n| n as f32 - 3.0).collect();
        ArrayD::from_shape_vec(IxDyn(shape), values).unwrap()
    };
    let count = case["inputs"].as_array().unwrap().len();
    let mut odd_shapes: Vec<Vec<usize>> = [
        &[][..],
        &[0],
        &[2],
        &[2, 0],
        &[0, 5],
        &[2, 2, 0],
        &[2, 0, 3],
    ]
    .into_iter()
    .map(<[usize]>::to_vec)
    .collect();
    odd_shapes.extend([
        vec![0, 4, 3],
        vec![1, 2, 3, 4],
        vec![3, 1, 1, 1, 2],
        vec![2, 7, 7],
    ]);
    for at in 0..count {
        for shape in &odd_shapes {
            run(
                build(),
                case,
                |inputs| inputs[at] = Tensor::from(resize(shape)),
                |_| (),
            );
            let mask = resize(shape).mapv(|n| n > 0.0);
            let masked = |inputs: &mut Vec<Tensor>| inputs[at].mask = Some(mask.clone().into());
            run(build(), case, masked, |_| ());
        }
        run(build(), case, |inputs| drop(inputs.remove(at)), |_| ());
        run(
            build(),
            case,
            |inputs| inputs.insert(at, inputs[at].clone()),
            |_| (),
        );
        let transposed = |inputs: &mut Vec<Tensor>| {
            inputs[at] = Tensor::new(inputs[at].data.clone().reversed_axes());
        };
        run(build(), case, transposed, |_| ());
    }
    for at in 0..case["weights"].as_array().unwrap().len() {
        for shape in &odd_shapes {
            run(build(), case, |_| (), |weights| weights[at] = resize(shape));
        }
        run(build(), case, |_| (), |weights| drop(weights.remove(at)));
        let transposed = |weights: &mut Vec<ArrayD<f32>>| {
            weights[at] = weights[at].clone().reversed_axes();
        };
        run(build(), case, |_| (), transposed);
    }
}

/// What an LSTM has beyond Keras's comes below the key `ifco`, its arrays after Keras's.
#[test]
fn an_lstm_takes_the_options_of_other_frameworks() {
    let (features, units, outputs) = (3, 4, 2);
    let build = |own: serde_json::Value| {
        let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 5, features]}},
            {"class_name": "LSTM", "config": {"name": "lstm", "units": units,
                "return_state": true, "ifco": own}},
        ]}});
        ifco_model::Model::from_config(&json, ifco_model::Generation::Keras3)
    };
    let mut model = build(serde_json::json!({
        "proj_size": outputs, "peepholes": true, "layer_norm": "products", "epsilon": 1e-3,
        "input_forget": true, "clip": 0.5, "cell_clip": 0.4, "projection_clip": 0.3,
        "forget_bias": 1.0, "output_activation": "softsign",
    }))
    .unwrap();
    let slots: Vec<String> = model
        .weight_slots()
        .into_iter()
        .map(|slot| slot.name)
        .collect();
    assert_eq!(
        slots,
        [
            "kernel",
            "recurrent_kernel",
            "bias",
            "projection",
            "peepholes",
            "kernel_norm/gamma",
            "kernel_norm/beta",
            "recurrent_norm/gamma",
            "recurrent_norm/beta",
            "state_norm/gamma",
            "state_norm/beta",
        ]
    );
    let shapes = [
        vec![features, 4 * units],
        vec![outputs, 4 * units],
        vec![4 * units],
        vec![units, outputs],
        vec![3, units],
        vec![4 * units],
        vec![4 * units],
        vec![4 * units],
        vec![4 * units],
        vec![units],
        vec![units],
    ];
    let weights = |shapes: &[Vec<usize>]| {
        let array = |shape: &Vec<usize>| ArrayD::from_elem(IxDyn(shape), 0.5_f32);
        shapes.iter().map(array).collect::<Vec<_>>()
    };
    model.set_weights(weights(&shapes)).unwrap();
    assert_eq!(model.weights().unwrap(), weights(&shapes));
    let lstm = model.lstm("lstm").unwrap();
    assert_eq!(lstm.extras().len(), 9);
    let shapes_out = model
        .layers()
        .last()
        .unwrap()
        .output_shapes
        .clone()
        .unwrap();
    let (h, c) = (vec![None, Some(outputs)], vec![None, Some(units)]);
    assert_eq!(shapes_out, [h.clone(), h, c]);

    let mut wrong = shapes;
    wrong[3] = vec![units, outputs + 1];
    let error = model.set_weights(weights(&wrong)).unwrap_err().to_string();
    assert!(error.contains("with proj_size=2"), "{error}");
    for (own, what) in [
        (serde_json::json!({"peephole": true}), "peephole"),
        (serde_json::json!({"proj_size": 0}), "at least 1"),
        (serde_json::json!({"layer_norm": "both"}), "products"),
    ] {
        let error = build(own).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn both_directions_are_joined_unless_the_configuration_says_apart() {
    let outputs = |more: Value| {
        let inner = json!({"class_name": "LSTM", "config": {"name": "lstm", "units": 3}});
        let mut config = json!({"name": "both", "layer": inner});
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        let config = Config::new("both", Generation::Keras3, &config).unwrap();
        let layer = layers::build("Bidirectional", &config).unwrap();
        let input: Shape = vec![None, Some(4), Some(2)];
        layer.output_shapes(&[input], &Call::default()).unwrap()
    };
    // Keras's own default.
    assert_eq!(outputs(json!({})), [[None, Some(6)]]);
    let apart = outputs(json!({"merge_mode": null}));
    assert_eq!(apart, [[None, Some(3)], [None, Some(3)]]);
}
