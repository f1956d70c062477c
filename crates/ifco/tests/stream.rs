//! The golden cases of `fixtures/` as streams: step by step, every model that can be streamed must
//! give what Keras predicted for the whole sequence.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ifco::arrays::npz;
use ifco::{Model, Session, Time};
use ndarray::{ArrayD, ArrayViewD, Axis};
use serde_json::Value;

fn fixture(path: &str) -> PathBuf {
    let root = [env!("CARGO_MANIFEST_DIR"), "..", "..", "fixtures"];
    root.iter().collect::<PathBuf>().join(path)
}

fn check(found: &[f32], expected: ArrayViewD<'_, f32>) -> Result<(), String> {
    let right: Vec<f32> = expected.iter().copied().collect();
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 + 1e-4 * b.abs();
    match found.len() == right.len() && found.iter().zip(&right).all(close) {
        true => Ok(()),
        false => Err(format!("{found:?} instead of {right:?}")),
    }
}

/// Streams one sequence; `expected` is its row of the output.
fn stream(
    session: &mut Session,
    sequence: ArrayViewD<'_, f32>,
    expected: ArrayViewD<'_, f32>,
) -> Result<(), String> {
    let is_sequence = session.output_shape().time != Time::Gone;
    let mut last = vec![0.0; session.output_len()];
    for (index, step) in sequence.axis_iter(Axis(0)).enumerate() {
        let x: Vec<f32> = step.iter().copied().collect();
        session.check(&x).map_err(|error| error.to_string())?;
        last.copy_from_slice(session.step(&x));
        if is_sequence {
            check(&last, expected.index_axis(Axis(0), index))
                .map_err(|what| format!("step {index}: {what}"))?;
        }
    }
    match is_sequence {
        true => Ok(()),
        false => check(&last, expected),
    }
}

/// What a masked step repeats, Keras begins anew for each batch, also where it keeps the states.
fn forget_outputs(session: &mut Session) {
    let states = session.states().into_iter();
    let states: Vec<(String, Vec<f32>)> = states
        .map(|(name, values)| match name.ends_with("/output") {
            true => (name, vec![0.0; values.len()]),
            false => (name, values.to_vec()),
        })
        .collect();
    let states = states.iter().map(|(name, values)| (&name[..], &values[..]));
    session.set_states(states).expect("its own states");
}

/// Every call of `predict` on one output of a model.
fn run(
    case: &Value,
    model: &Model,
    arrays: &BTreeMap<String, ArrayD<f32>>,
    output: usize,
) -> Result<(), String> {
    let calls = case["calls"].as_u64().expect("calls");
    let batch = case["batch_size"].as_u64().expect("batch_size") as usize;
    let stateful = model.layers().iter().any(|entry| entry.layer.is_stateful());
    let name = &model.outputs()[output].name;
    let fresh = || model.session_for(name).map_err(|error| error.to_string());
    // A stateful model goes on with row k of a batch where row k of the one before ended.
    let mut sessions: Vec<Session> = (0..batch).map(|_| fresh()).collect::<Result<_, _>>()?;
    for call in 0..calls {
        let prefix = match calls {
            1 => String::new(),
            _ => format!("call{call}_"),
        };
        let x = &arrays[&format!("{prefix}x0")];
        let y = &arrays[&format!("{prefix}y{output}")];
        for (row, (x, y)) in x.axis_iter(Axis(0)).zip(y.axis_iter(Axis(0))).enumerate() {
            let session = &mut sessions[row % batch];
            match stateful {
                true => forget_outputs(session),
                false => session.reset(),
            }
            stream(session, x, y).map_err(|what| format!("call {call}, row {row}: {what}"))?;
        }
    }
    Ok(())
}

#[test]
fn streams_are_what_keras_predicted() {
    let text = std::fs::read_to_string(fixture("cases.json")).expect("fixtures/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("a list of cases");
    let (mut streamed, mut wrong) = (Vec::new(), Vec::new());
    for case in &cases {
        let text = |key: &str| case[key].as_str();
        let file = fixture(text("file").expect("file"));
        let model = match text("architecture") {
            None => ifco::open(file),
            Some(json) => ifco::open_with_architecture(file, fixture(json)),
        };
        let model = model.expect("a model");
        if model.inputs().len() != 1 {
            continue;
        }
        let arrays = npz::read(fixture(text("arrays").expect("arrays"))).expect("arrays");
        let arrays: BTreeMap<String, ArrayD<f32>> = arrays.into_iter().collect();
        for (output, port) in model.outputs().iter().enumerate() {
            let name = format!("{}, {}", text("name").unwrap_or("?"), port.name);
            if let Err(why) = model.session_for(&port.name) {
                if std::env::var_os("IFCO_SHOW_REFUSED").is_some() {
                    println!("{name}: {why} / {:?}", why.help());
                }
                continue;
            }
            match run(case, &model, &arrays, output) {
                Ok(()) => streamed.push(name),
                Err(what) => wrong.push(format!("{name}: {what}")),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        streamed.len() >= 300,
        "only {} streamed: {streamed:#?}",
        streamed.len()
    );
    for wanted in [
        "keras3/lstm_default, lstm",
        "keras3/lstm_stateful_sequences, lstm",
        "keras3/mask_masking_lstm, zero_output",
        "keras3/mask_sequential_embedding_sequences, lstm",
    ] {
        assert!(
            streamed.iter().any(|name| name == wanted),
            "{wanted} is not streamed"
        );
    }
}
