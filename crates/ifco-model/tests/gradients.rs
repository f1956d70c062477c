//! The gradients of every layer against finite differences of what it computes, as at inference
//! and as in training, and against those of TensorFlow.
//!
//! The cases are those of `golden/layers.json`, with which the layers' outputs are compared.

mod golden_cases;

use ifco_model::{
    Array, Call, Config, Generation, Layer, LayerError, LayerGradients, Tensor, Training, layers,
};
use ndarray::{ArrayD, IxDyn};
use serde_json::{Value, json};

use golden_cases::{array, call, golden, tensor, weighted};

/// What the derivatives are taken by: each moves one value by this much to either side.
const STEP: f32 = 1.0 / 128.0;

/// A layer and what it is called with.
struct Case {
    layer: Box<dyn Layer>,
    inputs: Vec<Tensor>,
    call: Call,
    training: Training,
}

/// One of the values that a case depends on.
#[derive(Clone)]
enum Place {
    Input(usize),
    Named(String, usize),
    Weight(usize),
}

impl Case {
    /// Σ output·factor over all outputs.
    fn loss(&self) -> Result<f64, LayerError> {
        let mut training = self.training.clone();
        let forward = self
            .layer
            .call_for_training(&self.inputs, &self.call, &mut training)?;
        let sums = forward.outputs.iter().enumerate().map(|(index, output)| {
            let factors = weighted(index, output.shape());
            let each = output.data.iter().zip(&factors);
            each.map(|(y, factor)| f64::from(*y) * f64::from(*factor))
                .sum::<f64>()
        });
        Ok(sums.sum::<f64>() + f64::from(forward.penalty))
    }

    fn gradients(&self) -> Result<LayerGradients, LayerError> {
        let mut training = self.training.clone();
        let forward = self
            .layer
            .call_for_training(&self.inputs, &self.call, &mut training)?;
        let outputs = forward.outputs.iter().enumerate();
        let factors = outputs.map(|(index, output)| Some(weighted(index, output.shape()).into()));
        (forward.backward)(factors.collect())
    }

    fn moved(&mut self, place: &Place, index: usize, by: f32) -> Result<f64, LayerError> {
        let slot = match place {
            Place::Input(input) => &mut self.inputs[*input].data,
            Place::Named(name, at) => &mut self.call.tensors.get_mut(name).unwrap()[*at].data,
            Place::Weight(weight) => {
                let before = self.layer.weights().unwrap();
                let mut after = before.clone();
                *after[*weight].iter_mut().nth(index).unwrap() += by;
                self.layer.set_weights(after)?;
                let loss = self.loss();
                self.layer.set_weights(before)?;
                return loss;
            }
        };
        let before = slot.clone();
        *slot.iter_mut().nth(index).unwrap() += by;
        let loss = self.loss();
        match place {
            Place::Input(input) => self.inputs[*input].data = before,
            Place::Named(name, at) => {
                self.call.tensors.get_mut(name).unwrap()[*at].data = before;
            }
            Place::Weight(_) => {}
        }
        loss
    }

    /// What is wrong with one gradient.
    fn difference(&mut self, place: &Place, found: Option<Array>, size: usize) -> Option<String> {
        let mut found: Vec<f64> = match found {
            Some(found) => found.iter().map(|value| f64::from(*value)).collect(),
            None => Vec::new(),
        };
        found.resize(size, 0.0);
        let here = match self.loss() {
            Ok(here) => here,
            Err(error) => return Some(error.to_string()),
        };
        let step = f64::from(STEP);
        let scale = found
            .iter()
            .fold(1.0_f64, |most, value| most.max(value.abs()));
        for (index, found) in found.iter().enumerate() {
            let (Ok(up), Ok(down)) = (
                self.moved(place, index, STEP),
                self.moved(place, index, -STEP),
            ) else {
                return Some("it cannot run beside the case".into());
            };
            let (right, left, middle) = (
                (up - here) / step,
                (here - down) / step,
                (up - down) / (2.0 * step),
            );
            if middle.is_nan() {
                continue; // Keras divides by 0 there as well
            }
            let tolerance = 0.01 * scale.max(middle.abs());
            // At a kink any slope between those to its sides is one.
            let kink = (right - left).abs() > 4.0 * tolerance
                && *found >= right.min(left) - tolerance
                && *found <= right.max(left) + tolerance;
            if (found - middle).abs() > tolerance && !kink || found.is_nan() {
                return Some(format!(
                    "value {index} is {found}, by differences {middle} ({left} to {right})"
                ));
            }
        }
        None
    }

    /// What is wrong with any of the gradients.
    fn differences(&mut self, indices: bool) -> Vec<String> {
        let gradients = match self.gradients() {
            Ok(gradients) => gradients,
            Err(error) => return vec![error.to_string()],
        };
        let mut wrong = Vec::new();
        let inputs = if indices { 0 } else { self.inputs.len() };
        for input in 0..inputs {
            let found = gradients.inputs.get(input).cloned().flatten();
            let size = self.inputs[input].data.len();
            let difference = self.difference(&Place::Input(input), found, size);
            wrong.extend(difference.map(|what| format!("input {input}: {what}")));
        }
        let named: Vec<(String, usize)> = self
            .call
            .tensors
            .iter()
            .filter(|(name, _)| !name.ends_with("mask"))
            .flat_map(|(name, all)| (0..all.len()).map(|at| (name.clone(), at)))
            .collect();
        for (name, at) in named {
            let of_name = gradients.tensors.get(&name);
            let found = of_name.and_then(|all| all.get(at).cloned().flatten());
            let size = self.call.tensors[&name][at].data.len();
            let difference = self.difference(&Place::Named(name.clone(), at), found, size);
            wrong.extend(difference.map(|what| format!("{name} {at}: {what}")));
        }
        for (weight, slot) in self.layer.weight_slots().iter().enumerate() {
            if !slot.trainable {
                continue;
            }
            let found = gradients.weights.get(weight).cloned().flatten();
            let found = found.map(|gradient| gradient.into_dense().into_shared());
            let size = self.layer.weights().unwrap()[weight].len();
            let difference = self.difference(&Place::Weight(weight), found, size);
            wrong.extend(difference.map(|what| format!("{}: {what}", slot.name)));
        }
        wrong
    }
}

fn generation(version: &str) -> Generation {
    match version {
        "2" => Generation::Keras2,
        _ => Generation::Keras3,
    }
}

fn trainings() -> [(&'static str, Training); 2] {
    [
        ("at inference", Training::inference()),
        ("in training", Training::new(5).with_inputs(true)),
    ]
}

/// Layers that divide by a length of 0, or attend to nothing but what a mask leaves out: there
/// `f32` is too coarse for a difference. TensorFlow's gradients of those cases are in
/// `golden/gradients.json`.
const NO_DIFFERENCE: [&str; 6] = [
    "Dot",
    "UnitNormalization",
    "Softmax",
    "Attention",
    "AdditiveAttention",
    "MultiHeadAttention",
];

/// Whether an input carries a mask: one that adds −10⁹ to all scores of a query leaves no difference
/// of them.
fn is_masked(golden: &Value) -> bool {
    let inputs = golden["inputs"].as_array().unwrap();
    inputs.iter().any(|input| !input["mask"].is_null())
}

/// Whether a row of an input, or of a mask, is all zeros.
fn has_nothing(golden: &Value) -> bool {
    let inputs = golden["inputs"].as_array().unwrap().iter();
    let named = golden["call"].as_object().unwrap().values();
    let named = named.filter_map(Value::as_array).flatten();
    let zero_rows = |array: &ArrayD<f32>| {
        let rows = array.rows();
        rows.into_iter()
            .any(|row| row.iter().all(|value| *value == 0.0))
    };
    inputs.chain(named).any(|value| {
        zero_rows(&array(value)) || (!value["mask"].is_null() && zero_rows(&array(&value["mask"])))
    })
}

#[test]
fn each_layer_agrees_with_finite_differences() {
    let mut failures = Vec::new();
    let mut count = 0;
    for (number, golden) in golden().iter().enumerate() {
        let class = golden["class"].as_str().unwrap();
        for (version, config) in golden["configs"].as_object().expect("configs") {
            // Its noise leaves no gradient that a difference could show.
            if config["renorm"] == json!(true) {
                continue;
            }
            let adds = class == "MultiHeadAttention" && version == "2";
            let adds = adds && config["softmax_robust_masking"] != json!(true);
            if NO_DIFFERENCE.contains(&class) && has_nothing(golden) || adds && is_masked(golden) {
                continue;
            }
            // At 0 TensorFlow's slope is none of the two beside it.
            if class == "PReLU" && array(&golden["inputs"][0]).iter().any(|x| *x == 0.0) {
                continue;
            }
            for (when, training) in trainings() {
                let config = Config::new(class, generation(version), config).unwrap();
                let mut layer = layers::build(class, &config).unwrap();
                let weights = golden["weights"].as_array().unwrap();
                layer
                    .set_weights(weights.iter().map(array).collect())
                    .unwrap();
                let inputs = golden["inputs"].as_array().unwrap();
                let inputs: Vec<Tensor> = inputs.iter().map(tensor).collect();
                let mut case = Case {
                    layer,
                    inputs,
                    call: call(golden),
                    training,
                };
                count += 1;
                // An index has no gradient, and a mask that is drawn of the values has a step.
                let indices = ["Embedding", "Masking"].contains(&class);
                for what in case.differences(indices) {
                    let config = &golden["configs"][version];
                    failures.push(format!(
                        "{number}: {class} of Keras {version} {when} {config}: {what}"
                    ));
                }
            }
        }
    }
    assert!(count > 500, "only {count} cases");
    let shown: Vec<&str> = failures.iter().take(300).map(String::as_str).collect();
    assert!(
        failures.is_empty(),
        "{} differences:\n{}",
        failures.len(),
        shown.join("\n")
    );
}

/// Numbers that look drawn, and are the same each time.
fn numbers(shape: &[usize], from: usize, scale: f32) -> ArrayD<f32> {
    let mut at = from as u32;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((at >> 16) as f32 / 32_768.0 - 1.0) * scale
    })
}

fn lstm(more: Value) -> Value {
    let mut config = json!({"units": 3, "name": "lstm"});
    let more = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(more);
    config
}

fn around(class: &str, config: Value, more: Value) -> Value {
    let mut all = json!({"layer": {"class_name": class, "config": config}});
    all.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    all
}

#[test]
fn recurrent_layers_agree_with_finite_differences() {
    let sequences = json!({"return_sequences": true});
    let states = json!({"return_sequences": true, "return_state": true});
    let dropping = json!({"return_sequences": true, "dropout": 0.3, "recurrent_dropout": 0.2});
    let cells: Vec<Value> = ["LSTMCell", "GRUCell"]
        .iter()
        .map(|class| json!({"class_name": class, "config": {"units": 3, "dropout": 0.25}}))
        .collect();
    let cells = json!({"class_name": "StackedRNNCells", "config": {"cells": cells}});
    let stacked = json!({"cell": cells, "return_sequences": true});
    let mut cases = vec![
        ("LSTM", lstm(json!({}))),
        ("LSTM", lstm(states.clone())),
        ("LSTM", lstm(dropping.clone())),
        (
            "LSTM",
            lstm(json!({"return_sequences": true, "dropout": 0.5})),
        ),
        (
            "LSTM",
            lstm(json!({"go_backwards": true, "activation": "relu", "use_bias": false})),
        ),
        (
            "LSTM",
            lstm(json!({
                "go_backwards": true, "unroll": true, "return_sequences": true,
                "zero_output_for_mask": true,
            })),
        ),
        (
            "LSTM",
            lstm(json!({"ifco": {"peepholes": true, "proj_size": 2}})),
        ),
        ("GRU", lstm(states.clone())),
        ("GRU", lstm(dropping.clone())),
        ("GRU", lstm(json!({"reset_after": false}))),
        ("SimpleRNN", lstm(states.clone())),
        ("SimpleRNN", lstm(dropping)),
        ("RNN", stacked),
    ];
    for mode in [
        json!("concat"),
        json!("sum"),
        json!("mul"),
        json!("ave"),
        json!(null),
    ] {
        for inner in [json!({}), sequences.clone(), states.clone()] {
            let wrapped = around("LSTM", lstm(inner), json!({"merge_mode": mode}));
            cases.push(("Bidirectional", wrapped));
        }
    }
    let mut failures = Vec::new();
    for (number, (class, config)) in cases.iter().enumerate() {
        for version in ["2", "3"] {
            for masked in [false, true] {
                for (when, training) in trainings() {
                    let mut case = recurrent(class, config, version, masked, training);
                    for what in case.differences(false) {
                        failures.push(format!(
                            "{number}: {class} of Keras {version} {when}, mask {masked}, {config}: \
                             {what}"
                        ));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn recurrent(class: &str, config: &Value, version: &str, masked: bool, training: Training) -> Case {
    let (batch, time, features) = (2, 4, 3);
    let config = Config::new(class, generation(version), config).unwrap();
    let mut layer = layers::build(class, &config).unwrap();
    let x = Tensor::new(numbers(&[batch, time, features], 1, 1.0));
    let mask = ndarray::array![[true, false, true, true], [false, true, true, false]];
    let x = x.with_mask(masked.then(|| mask.into_dyn().into_shared()));
    set_drawn_weights(layer.as_mut(), features);
    // Unmasked ones are given initial states too.
    let states: usize = match (class, masked) {
        ("Bidirectional", false) => 4,
        ("LSTM", false) if layer.weights().unwrap().len() < 4 => 2,
        ("GRU" | "SimpleRNN", false) => 1,
        _ => 0,
    };
    let mut call = Call::default();
    if states > 0 {
        let state = |index| Tensor::new(numbers(&[batch, 3], 7 + index, 0.5));
        let all = (0..states).map(state).collect();
        call.tensors.insert("initial_state".into(), all);
    }
    Case {
        layer,
        inputs: vec![x],
        call,
        training,
    }
}

/// Weights for a layer with three units in each cell.
fn set_drawn_weights(layer: &mut dyn Layer, features: usize) {
    let slots = layer.weight_slots();
    let extra = slots.iter().any(|slot| slot.name == "projection");
    let class = layer.class_name().to_string();
    let shapes = slots.iter().map(|slot| {
        let second = slot.group.contains('1') || slot.group.contains("gru_cell");
        let gates = match class.as_str() {
            "GRU" => 3,
            "SimpleRNN" => 1,
            "RNN" if second => 3,
            _ => 4,
        };
        let outputs = if extra { 2 } else { 3 };
        match slot.name.as_str() {
            "kernel" => vec![if second { 3 } else { features }, 3 * gates],
            "recurrent_kernel" => vec![outputs, 3 * gates],
            "projection" => vec![3, outputs],
            "peepholes" => vec![3, 3],
            // Which of the two forms a GRU's has, it tells.
            _ => vec![3 * gates],
        }
    });
    let shapes: Vec<Vec<usize>> = shapes.collect();
    let draw = |two_rows: bool| {
        let arrays = shapes.iter().enumerate().map(|(index, shape)| {
            let mut shape = shape.clone();
            if two_rows && shape == [9] {
                shape.insert(0, 2);
            }
            numbers(&shape, 100 + index, 0.6)
        });
        arrays.collect::<Vec<_>>()
    };
    if layer.set_weights(draw(false)).is_err() {
        layer.set_weights(draw(true)).expect("one of the two fits");
    }
}

#[test]
fn each_layer_agrees_with_tensorflow() {
    let cases = golden();
    let entries: Vec<Value> =
        serde_json::from_str(include_str!("golden/gradients.json")).expect("JSON");
    assert!(entries.len() > 400, "only {} cases", entries.len());
    let mut failures = Vec::new();
    for entry in &entries {
        let number = entry["case"].as_u64().unwrap() as usize;
        let (golden, version) = (&cases[number], entry["version"].as_str().unwrap());
        let class = golden["class"].as_str().unwrap();
        let config = Config::new(class, generation(version), &golden["configs"][version]).unwrap();
        let mut layer = layers::build(class, &config).unwrap();
        let weights = golden["weights"].as_array().unwrap();
        layer
            .set_weights(weights.iter().map(array).collect())
            .unwrap();
        let case = Case {
            layer,
            inputs: golden["inputs"]
                .as_array()
                .unwrap()
                .iter()
                .map(tensor)
                .collect(),
            call: call(golden),
            training: match entry["training"] == json!(true) {
                true => Training::new(0).with_inputs(true),
                false => Training::inference(),
            },
        };
        let found = match case.gradients() {
            Ok(found) => found,
            Err(error) => {
                failures.push(format!("{number}: {class}: {error}"));
                continue;
            }
        };
        let slots = case.layer.weight_slots();
        let trainable = slots.iter().zip(0..).filter(|(slot, _)| slot.trainable);
        let of_weights = trainable.map(|(_, index)| {
            let gradient = found.weights.get(index).cloned().flatten();
            gradient.map(|gradient| gradient.into_dense().into_shared())
        });
        let mut of_inputs = found.inputs.clone();
        of_inputs.resize(case.inputs.len(), None);
        let parts = [
            ("inputs", of_inputs, &entry["inputs"]),
            ("weights", of_weights.collect(), &entry["weights"]),
        ];
        for (what, found, expected) in parts {
            for (index, (found, expected)) in
                found.iter().zip(expected.as_array().unwrap()).enumerate()
            {
                let found: Vec<f64> = found
                    .iter()
                    .flat_map(|array| array.iter().map(|value| f64::from(*value)))
                    .collect();
                if let Some(wrong) = unlike(&found, expected) {
                    failures.push(format!(
                        "{number}: {class} of Keras {version} {}, {what} {index}: {wrong}",
                        golden["configs"][version]
                    ));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// Where a gradient differs from TensorFlow's. None at all is as good as zeros.
fn unlike(found: &[f64], expected: &Value) -> Option<String> {
    let number = |value: &Value| match value.as_str() {
        Some(text) => text.parse().expect("nan or inf"),
        None => value.as_f64().expect("a number"),
    };
    let expected = expected
        .as_array()
        .map(|all| all.iter().map(number).collect());
    let mut expected: Vec<f64> = expected.unwrap_or_default();
    let mut found = found.to_vec();
    let len = found.len().max(expected.len());
    found.resize(len, 0.0);
    expected.resize(len, 0.0);
    let most = expected.iter().filter(|value| value.is_finite());
    let scale = most.fold(1.0_f64, |most, value| most.max(value.abs()));
    let close =
        |a: f64, b: f64| (a - b).abs() <= 1e-4 * scale || a == b || a.is_nan() && b.is_nan();
    let mut pairs = found.iter().zip(&expected).enumerate();
    let (index, (a, b)) = pairs.find(|(_, (a, b))| !close(**a, **b))?;
    Some(format!("value {index} is {a}, TensorFlow {b}"))
}
