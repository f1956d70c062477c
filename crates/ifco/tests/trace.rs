//! Traces of models that Keras saved, against gates computed from Keras's weights with NumPy: see
//! `traces/make.py`.

use ifco::arrays::npz;
use ifco::{Model, ModelTrace, TraceOptions};
use ndarray::{ArrayD, ArrayViewD, Axis};

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

/// The model, its inputs, and everything else by name.
fn golden(name: &str) -> (Box<Model>, Vec<ArrayD<f32>>, Vec<(String, ArrayD<f32>)>) {
    let model = ifco::open(path(&format!("{name}.keras"))).unwrap();
    let arrays = npz::read(path(&format!("{name}.npz"))).unwrap();
    let (inputs, arrays): (Vec<_>, Vec<_>) = arrays
        .into_iter()
        .partition(|(name, _)| name.starts_with('x'));
    let inputs = inputs.into_iter().map(|(_, array)| array).collect();
    (model.into(), inputs, arrays)
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
