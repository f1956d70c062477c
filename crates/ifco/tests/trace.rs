//! Traces of models that Keras saved, against gates computed from Keras's weights with NumPy: see
//! `traces/make.py`.

use ifco::arrays::npz;
use ifco::{Generation, Model, ModelTrace, TraceOptions};
use ndarray::{ArrayD, ArrayView2, ArrayViewD, Axis, array, concatenate, s};
use serde_json::{Value, json};

const ALL: TraceOptions = TraceOptions {
    pre_activations: true,
};

fn path(file: &str) -> String {
    format!("{}/tests/traces/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn close(found: ArrayViewD<f32>, right: ArrayViewD<f32>, what: &str) {
    assert_eq!(found.shape(), right.shape(), "{what}");
    for (found, right) in found.iter().zip(&right) {
        let tolerance = 1e-5 + 1e-4 * right.abs();
        assert!(
            (found - right).abs() <= tolerance,
            "{what}: {found} is not {right}"
        );
    }
}

/// Arrays and what they are called.
type Named = Vec<(String, ArrayD<f32>)>;

/// The model, its inputs, and everything else by name.
fn golden(name: &str) -> (Model, Vec<ArrayD<f32>>, Named) {
    let model = ifco::open(path(&format!("{name}.keras"))).unwrap();
    let arrays = npz::read(path(&format!("{name}.npz"))).unwrap();
    let (inputs, arrays): (Vec<_>, Vec<_>) = arrays
        .into_iter()
        .partition(|(name, _)| name.starts_with('x'));
    let inputs = inputs.into_iter().map(|(_, array)| array).collect();
    (model, inputs, arrays)
}

fn traced(model: &Model, inputs: &[ArrayD<f32>]) -> ModelTrace {
    let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
    model.trace_all(&[], &views, &ALL).unwrap()
}

/// Every array of every cell is Keras's; how many there were.
fn check(name: &str) -> usize {
    let (model, inputs, arrays) = golden(name);
    let found = traced(&model, &inputs);
    let mut checked = 0;
    for (array_name, right) in &arrays {
        let Some((path, array)) = array_name.rsplit_once('/') else {
            close(found.outputs[0].view(), right.view(), array_name);
            continue;
        };
        let trace = found
            .get(path)
            .unwrap_or_else(|| panic!("no trace of {path}"));
        let array = match array {
            "pre_activations" => trace.pre_activations.as_ref().unwrap().view(),
            array => trace.get(array).unwrap(),
        };
        close(array.into_dyn(), right.view(), array_name);
        checked += 1;
    }
    let named: usize = found
        .traces
        .iter()
        .map(|(_, trace)| trace.names().len() + 1)
        .sum();
    assert_eq!(checked, named, "every array of {name} is checked");
    checked
}

#[test]
fn gates_are_those_of_keras() {
    assert_eq!(check("kinds"), 19);
    assert_eq!(check("activations"), 21);
    assert_eq!(check("stacked"), 21);
}

#[test]
fn masked_steps_and_both_directions_are_those_of_keras() {
    assert_eq!(check("masked"), 31);
    let (model, inputs, _) = golden("masked");
    let found = traced(&model, &inputs);
    let counts = inputs[0].map_axis(Axis(2), |x| x.iter().any(|x| *x != 0.0));
    for (path, trace) in &found.traces {
        assert_eq!(trace.mask.clone().unwrap().into_dyn(), counts, "{path}");
        assert_eq!(trace.reads_backward, path.ends_with("/backward"), "{path}");
    }
}

#[test]
fn initial_states_and_nested_models_are_those_of_keras() {
    assert_eq!(check("states"), 14);
    let (model, inputs, _) = golden("states");
    let found = traced(&model, &inputs);
    let encoder = found.get("encoder/lstm").unwrap();
    let decoder = found.get("decoder").unwrap();
    // c follows from the gates, and so has not the engine's last bits.
    for (begins, ended) in decoder.initial_state.iter().zip(encoder.last_states()) {
        close(begins.view().into_dyn(), ended.view().into_dyn(), "a state");
    }
    assert_eq!(encoder.inputs.clone().into_dyn(), inputs[0]);
    assert_eq!(decoder.inputs.clone().into_dyn(), inputs[1]);
}

#[test]
fn outputs_are_those_of_predict_to_the_bit() {
    for name in ["kinds", "masked", "states"] {
        let (model, inputs, _) = golden(name);
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        let predicted = model.predict_all(&views, 32, &mut |_| {}).unwrap();
        assert_eq!(traced(&model, &inputs).outputs, predicted, "{name}");
    }
}

#[test]
fn one_cell_and_what_cannot_be_traced() {
    let (model, inputs, _) = golden("kinds");
    let trace = model.trace("lstm", &inputs[0]).unwrap();
    assert_eq!(trace.names(), ["i", "f", "c_tilde", "o", "c", "h"]);
    assert_eq!(trace.pre_activations, None);
    let error = model.trace("lsmt", &inputs[0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model has no recurrent layer named \"lsmt\""
    );
    let error = model
        .trace("lstm", &ArrayD::zeros(vec![3, 7, 5]))
        .unwrap_err();
    assert!(
        error.to_string().contains("expected (None, None, 2)"),
        "{error}"
    );

    let (model, inputs, _) = golden("states");
    let error = model.trace("decoder", &inputs[0]).unwrap_err();
    assert!(error.to_string().contains("takes 2 inputs"), "{error}");
}

/// The trace of each row in chunks of three steps, as one.
fn in_chunks(model: &Model, inputs: &[ArrayD<f32>], path: &str) -> Vec<Vec<(String, ArrayD<f32>)>> {
    let mut stream = model.trace_stream(path, &ALL).unwrap();
    let input = inputs[stream.input()].view();
    let rows = input.axis_iter(Axis(0)).map(|row| {
        stream.reset();
        let row: ArrayView2<f32> = row.into_dimensionality().unwrap();
        let mut parts = Vec::new();
        for chunk in row.axis_chunks_iter(Axis(0), 3) {
            let trace = stream.push(chunk).unwrap();
            let sums = ("sums", trace.pre_activations.as_ref().unwrap().view());
            let named = trace.iter().chain([sums]);
            let named = named.map(|(name, array)| (name.to_string(), array.to_owned().into_dyn()));
            parts.push(named.collect::<Vec<_>>());
        }
        let joined = (0..parts[0].len()).map(|index| {
            let views: Vec<_> = parts.iter().map(|part| part[index].1.view()).collect();
            (
                parts[0][index].0.clone(),
                concatenate(Axis(1), &views).unwrap(),
            )
        });
        joined.collect()
    });
    rows.collect()
}

#[test]
fn in_chunks_it_is_the_same_trace() {
    let cases = [
        ("kinds", vec!["lstm", "after", "before", "simple"]),
        ("activations", vec!["hard", "rows", "gru", "simple"]),
        ("masked", vec!["lstm"]),
        ("stacked", vec!["cells/0", "cells/1", "cells/2"]),
        ("states", vec!["encoder/lstm"]),
    ];
    for (name, paths) in cases {
        let (model, inputs, _) = golden(name);
        let whole = traced(&model, &inputs);
        for path in paths {
            let right = whole.get(path).unwrap();
            for (row, arrays) in in_chunks(&model, &inputs, path).iter().enumerate() {
                for (array, found) in arrays {
                    let right = match array.as_str() {
                        "sums" => right.pre_activations.as_ref().unwrap().view(),
                        array => right.get(array).unwrap(),
                    };
                    let right = right.slice(s![row..row + 1, .., ..]);
                    close(
                        found.view(),
                        right.into_dyn(),
                        &format!("{name} {path} {array}"),
                    );
                }
            }
        }
    }
}

#[test]
fn what_needs_whole_sequences_says_so() {
    let why = |model: &str, path: &str| {
        let (model, _, _) = golden(model);
        model.trace_stream(path, &ALL).unwrap_err().to_string()
    };
    assert!(why("masked", "both/backward").contains("whole sequences"));
    assert!(why("stacked", "backwards").contains("go_backwards"));
    assert!(why("states", "decoder").contains("initial_state"));
    assert!(why("kinds", "lsmt").contains("no recurrent layer"));
    // Behind a Bidirectional nothing can be done step by step.
    assert!(why("masked", "last/forward").contains("Bidirectional"));
}

#[test]
fn a_layer_that_is_called_twice_has_two_traces() {
    let call = |first: &str, second: &str| json!([[[first, 0, 0, {}]], [[second, 0, 0, {}]]]);
    let layer = |class: &str, name: &str, config: Value, inbound: Value| {
        let mut config = config;
        config["name"] = name.into();
        json!({"class_name": class, "name": name, "config": config, "inbound_nodes": inbound})
    };
    let input = json!({"batch_input_shape": [null, null, 1]});
    let sum = json!({"units": 1, "activation": "linear", "use_bias": false});
    let config = json!({"class_name": "Functional", "config": {
        "name": "twice",
        "layers": [
            layer("InputLayer", "a", input.clone(), json!([])),
            layer("InputLayer", "b", input, json!([])),
            layer("SimpleRNN", "sum", sum, call("a", "b")),
            layer("Subtract", "difference", json!({}), json!([[["sum", 0, 0, {}], ["sum", 1, 0, {}]]])),
        ],
        "input_layers": [["a", 0, 0], ["b", 0, 0]],
        "output_layers": [["difference", 0, 0]],
    }});
    let mut model = Model::from_config(&config, Generation::Keras2).unwrap();
    let one = || array![[1.0f32]].into_dyn();
    model.set_weights(vec![one(), one()]).unwrap(); // h' = x + h
    let (a, b) = (
        array![[[1.0], [2.0]]].into_dyn(),
        array![[[5.0], [5.0], [5.0]]].into_dyn(),
    );
    let found = traced(&model, &[a, b]);
    let names: Vec<_> = found.traces.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sum", "sum#1"]);
    assert_eq!(
        found.get("sum").unwrap().h().as_slice(),
        Some(&[1.0, 3.0][..])
    );
    assert_eq!(
        found.get("sum#1").unwrap().h().as_slice(),
        Some(&[5.0, 10.0, 15.0][..])
    );
    assert_eq!(found.outputs[0], array![[-12.0]].into_dyn());
    let error = model.trace_stream("sum", &ALL).unwrap_err().to_string();
    assert!(error.contains("calls \"sum\" 2 times"), "{error}");
}

#[test]
fn of_a_layer_on_every_step_the_sequences_are_those_of_all_steps() {
    let inner = json!({"class_name": "SimpleRNN", "config": {
        "name": "sum", "units": 1, "activation": "linear", "use_bias": false}});
    let config = json!({"class_name": "Sequential", "config": {"layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 2, 3, 1]}},
        {"class_name": "TimeDistributed", "config": {"name": "each", "layer": inner}},
    ]}});
    let mut model = Model::from_config(&config, Generation::Keras3).unwrap();
    let one = || array![[1.0f32]].into_dyn();
    model.set_weights(vec![one(), one()]).unwrap();
    let x = ArrayD::from_shape_fn(vec![2, 2, 3, 1], |at| (10 * at[0] + 5 * at[1]) as f32);
    let trace = model.trace("each", &x).unwrap();
    assert_eq!(trace.dim(), (4, 3, 1));
    let last = trace.h().slice_move(s![.., 2, 0]).to_vec();
    assert_eq!(last, [0.0, 15.0, 30.0, 45.0]);
    assert!(model.trace_stream("each", &ALL).is_err());
}

#[test]
fn a_stateful_layer_goes_on_from_what_it_keeps() {
    let config = json!({"class_name": "Sequential", "config": {"layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [1, null, 1]}},
        {"class_name": "SimpleRNN", "config": {"name": "sum", "units": 1, "activation": "linear",
            "use_bias": false, "stateful": true}},
    ]}});
    let mut model = Model::from_config(&config, Generation::Keras3).unwrap();
    let one = || array![[1.0f32]].into_dyn();
    model.set_weights(vec![one(), one()]).unwrap();
    // Two batches of the one row that the model fixes.
    let x = array![[[1.0], [1.0]], [[1.0], [1.0]]].into_dyn();
    let trace = model.trace("sum", &x).unwrap();
    assert_eq!(
        trace.h().iter().copied().collect::<Vec<_>>(),
        [1.0, 2.0, 3.0, 4.0]
    );
    assert_eq!(trace.initial_state[0], array![[0.0], [2.0]]);
    assert_eq!(
        model.predict(&array![[[1.0]]].into_dyn()).unwrap()[[0, 0]],
        5.0
    );
}
