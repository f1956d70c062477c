//! The ONNX cases of `fixtures/onnx`: whatever ONNX Runtime answered, ifco answers; and what
//! ifco's cells do not have, it says by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ifco_files::{arrays::npz, open};
use ndarray::ArrayD;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/onnx"))
}

fn cases() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("cases.json")).expect("the list is there");
    serde_json::from_str(&text).expect("it is JSON")
}

fn name(case: &Value) -> &str {
    case["name"].as_str().expect("a case has a name")
}

/// The case's arrays whose names begin with this letter, in order.
fn arrays(case: &Value, letter: char) -> Vec<ArrayD<f32>> {
    let all: BTreeMap<String, ArrayD<f32>> =
        npz::read(folder().join(format!("{}.npz", name(case))))
            .expect("the arrays are there")
            .into_iter()
            .collect();
    (0..)
        .map_while(|index| all.get(&format!("{letter}{index}")).cloned())
        .collect()
}

/// How an answer differs from the expected one, if it does.
fn difference(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> Option<String> {
    if found.shape() != expected.shape() {
        return Some(format!(
            "{:?} instead of {:?}",
            found.shape(),
            expected.shape()
        ));
    }
    let pairs = found.iter().zip(expected);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    (worst > 1e-5 || worst.is_nan()).then(|| format!("by {worst:e}"))
}

#[test]
fn answers_are_those_of_onnx_runtime() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases().iter().filter(|case| case.get("refused").is_none()) {
        let model = match open(folder().join(format!("{}.onnx", name(case)))) {
            Ok(model) => model,
            Err(error) => {
                wrong.push(format!("{error}: {:?}", error.help()));
                continue;
            }
        };
        let inputs = arrays(case, 'x');
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        // Small batches too, where the rows stand for themselves.
        for batch_size in [32, 2] {
            count += 1;
            let found = match model.predict_all(&views, batch_size, &mut |_| {}) {
                Ok(found) => found,
                Err(error) => {
                    wrong.push(format!("{}: {error}", name(case)));
                    continue;
                }
            };
            let expected = arrays(case, 'y');
            assert_eq!(case["outputs"], expected.len(), "{}", name(case));
            assert_eq!(found.len(), expected.len(), "{}", name(case));
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                if let Some(how) = difference(found, expected) {
                    wrong.push(format!("{} output {index} differs {how}", name(case)));
                }
            }
        }
    }
    assert!(count > 100, "only {count} runs");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `ifco show` tells of shapes: known wherever it follows from the file, and then right.
#[test]
fn shapes_are_told_before_a_graph_runs() {
    let (mut open_ones, mut told) = (Vec::new(), 0);
    for case in cases().iter().filter(|case| case.get("refused").is_none()) {
        let path = folder().join(format!("{}.onnx", name(case)));
        let model = open(path).expect("it opens");
        let (calls, outputs) = model.calls();
        for ((call, output), answer) in outputs.iter().zip(arrays(case, 'y')) {
            let layer = calls[*call].layer;
            let Ok(shapes) = &layer.output_shapes else {
                open_ones.push(name(case).to_owned());
                continue;
            };
            told += 1;
            let fits = |(size, found): (&Option<usize>, &usize)| size.is_none_or(|s| s == *found);
            let shape = &shapes[*output];
            assert!(
                shape.len() == answer.ndim() && shape.iter().zip(answer.shape()).all(fits),
                "{}: {} is told to give {shape:?} and gives {:?}",
                name(case),
                layer.name,
                answer.shape()
            );
        }
    }
    assert!(told > 150, "{told}");
    assert_eq!(
        open_ones,
        ["control_if"],
        "what it gives depends on what is computed"
    );
}

/// The axis of the batch in each input and each output.
fn batch_axes(name: &str) -> [Vec<Option<usize>>; 2] {
    let model = open(folder().join(format!("{name}.onnx"))).expect(name);
    [model.inputs(), model.outputs()]
        .map(|ports| ports.iter().map(|port| port.batch_axis).collect())
}

#[test]
fn the_batch_is_found_wherever_it_is() {
    for (name, inputs, outputs) in [
        ("torch_lstm_last", vec![0], vec![0]),
        ("torch_lstm_bi_stacked_dynamo", vec![0], vec![0]),
        ("torch_attention", vec![0], vec![0]),
        // (time, batch, features); states (layers, batch, units)
        ("torch_lstm_time_major", vec![1], vec![0]), // its last output
        ("torch_stateful", vec![1, 1, 1], vec![1, 1, 1]),
        ("torch_stateful_dynamo", vec![1, 1, 1], vec![1, 1, 1]),
        // Y is (time, directions, batch, units)
        ("lstm_forward", vec![1], vec![2, 1, 1]),
        ("lstm_forward_lens", vec![1, 0, 1, 1], vec![2, 1, 1]),
        ("lstm_layout_state", vec![0, 0, 0], vec![0, 0, 0]),
    ] {
        let some = |axes: Vec<usize>| axes.into_iter().map(Some).collect::<Vec<_>>();
        assert_eq!(batch_axes(name), [some(inputs), some(outputs)], "{name}");
    }
}

#[test]
fn a_row_alone_is_what_it_is_among_others() {
    let model = open(folder().join("torch_stateful.onnx")).expect("it opens");
    let cases = cases();
    let case = cases
        .iter()
        .find(|case| name(case) == "torch_stateful")
        .expect("it is listed");
    let inputs = arrays(case, 'x');
    assert_eq!(model.rows(&inputs), 6);
    let ports = model.inputs().iter();
    let one: Vec<_> = inputs
        .iter()
        .zip(ports)
        .map(|(input, port)| port.take_rows(input.view(), 4..5))
        .collect();
    let options = ifco_cell::TraceOptions::default();
    let traced = model.trace_all(&[], &one, &options).expect("it runs");
    for (_, trace) in &traced.traces {
        assert_eq!((trace.batch(), trace.time()), (1, 3));
    }
    for ((found, expected), port) in traced
        .outputs
        .iter()
        .zip(arrays(case, 'y'))
        .zip(model.outputs())
    {
        let expected = port.take_rows(expected.view(), 4..5).to_owned();
        assert_eq!(difference(found, &expected), None);
    }
}

#[test]
fn what_cells_do_not_have_is_refused_by_name() {
    let cases = cases();
    let refused = cases
        .iter()
        .filter_map(|case| Some((case, case.get("refused")?.as_str()?)));
    let mut count = 0;
    for (case, word) in refused {
        let error = open(folder().join(format!("{}.onnx", name(case)))).expect_err(name(case));
        let text = error.to_string();
        assert!(text.contains(word) && error.help().is_some(), "{text}");
        count += 1;
    }
    assert!(count >= 3, "only {count} cases");
}

#[test]
fn weights_can_be_given_back() {
    let mut with_peepholes = 0;
    for case in cases().iter().filter(|case| case.get("refused").is_none()) {
        let name = name(case);
        let mut model = open(folder().join(format!("{name}.onnx"))).expect(name);
        let weights = model.weights().expect(name);
        with_peepholes += usize::from(name.contains("_peepholes"));
        model.set_weights(weights.clone()).expect(name);
        assert_eq!(model.weights(), Some(weights), "{name}");
    }
    assert!(with_peepholes >= 2);
}
