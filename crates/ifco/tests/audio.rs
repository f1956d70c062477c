//! Models of sound, beyond the golden cases: streams, where they begin, what is told of them, and
//! real files where `../shared/data` has them.

use std::path::{Path, PathBuf};

use ifco::Model;
use ifco::arrays::{csv, npz};
use ndarray::{Array2, Axis, s};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/audio");
    folder.join(name)
}

/// A file that is no part of the repository; where it is absent, says so.
fn shared(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

/// The first sequence `(time, features)` of a case, and what is right for it.
fn case(name: &str) -> (Array2<f32>, Array2<f32>) {
    let arrays = npz::read(fixture(name)).unwrap();
    let first = |name: &str| {
        let (_, array) = arrays.iter().find(|(key, _)| key == name).unwrap();
        let first = array.index_axis(Axis(0), 0);
        first.into_dimensionality().unwrap().to_owned()
    };
    (first("x0"), first("y0"))
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn streams_give_what_predict_gives_and_begin_again_where_they_began() {
    for (model, arrays) in [
        ("nam_lstm.nam", "nam_lstm.npz"),
        ("nam_stacked.nam", "nam_stacked.npz"),
        ("guitarml_lstm.json", "guitarml_lstm.npz"),
        ("guitarml_knob.json", "guitarml_knob.npz"),
        ("rtneural_layers.json", "rtneural_layers.npz"),
        ("aida_skip.json", "aida_skip.npz"),
        ("aida_knobs.json", "aida_knobs.npz"),
    ] {
        let (x, y) = case(arrays);
        let model = ifco::open(fixture(model)).unwrap();
        let mut session = model.session().unwrap();
        for _ in 0..2 {
            for (x, y) in x.outer_iter().zip(y.outer_iter()) {
                let found = session.step(&x.to_vec()).to_vec();
                let difference = largest_difference(&found, &y.to_vec());
                assert!(difference < 1e-5, "{arrays}: {difference}");
            }
            session.reset();
        }
    }
}

/// A trace, which goes another way through the layer, begins there as well.
#[test]
fn a_nam_begins_at_its_own_states_everywhere() {
    let model = ifco::open(fixture("nam_lstm.nam")).unwrap();
    let session = model.session().unwrap();
    let states = session.states();
    assert_eq!(states[0].0, "lstm/h");
    assert!(
        states
            .iter()
            .all(|(_, values)| values.iter().all(|v| *v != 0.0))
    );

    let text = std::fs::read_to_string(fixture("nam_lstm.nam")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let numbers = numbers(&json);
    // Behind W (12, 4) and b (12) stand h and c.
    assert_eq!(states[0].1, &numbers[60..63]);
    assert_eq!(states[1].1, &numbers[63..66]);

    let (x, y) = case("nam_lstm.npz");
    let trace = model.trace("lstm", &x.clone().insert_axis(Axis(0)).into_dyn());
    let trace = trace.unwrap();
    let stream = model.trace_stream("lstm", &Default::default());
    let chunk = stream.unwrap().push(x.slice(s![..4, ..])).unwrap();
    let head = model.layer("dense").unwrap();
    assert_eq!(head.parameters, Some(4));
    for t in 0..4 {
        let (h, again) = (trace.h(), chunk.h());
        assert_eq!(h.slice(s![0, t, ..]), again.slice(s![0, t, ..]));
        let out: f32 = (0..3)
            .map(|unit| h[[0, t, unit]] * numbers[66 + unit])
            .sum();
        assert!((out + numbers[69] - y[[t, 0]]).abs() < 1e-5);
    }
}

#[test]
fn what_a_file_tells_is_kept() {
    let about = |name: &str| ifco::open(fixture(name)).unwrap().about().clone();
    let nam = about("nam_lstm.nam");
    assert_eq!(nam.format.as_deref(), Some("Neural Amp Modeler .nam 0.5.4"));
    assert_eq!(nam.sample_rate, Some(48000.0));
    assert!(nam.facts.contains(&("gear_type".into(), "amp".into())));
    let aida = about("aida_skip.json");
    assert_eq!(aida.format.as_deref(), Some("RTNeural JSON"));
    assert_eq!(aida.sample_rate, Some(48000.0)); // "48000", a text
    assert_eq!(aida.facts, [("name".into(), "Random".into())]);
    assert_eq!(about("guitarml_lstm.json").sample_rate, None);
    assert!(
        about("rtneural_layers.json")
            .assumed
            .iter()
            .any(|text| text.contains("causal"))
    );
}

#[test]
fn rtneurals_own_lstm_predicts_what_keras_did() {
    let Some(file) = shared("rtneural/lstm.json") else {
        return;
    };
    let column = |name: &str| csv::read(shared(name).unwrap()).unwrap();
    let x = column("rtneural/lstm_x_python.csv").insert_axis(Axis(0));
    let y = column("rtneural/lstm_y_python.csv");
    let found = ifco::open(file).unwrap().predict(&x.into_dyn()).unwrap();
    let (found, y): (Vec<f32>, Vec<f32>) = (found.into_iter().collect(), y.into_iter().collect());
    let difference = largest_difference(&found, &y);
    assert!(difference < 1e-6, "{difference}");
}

/// A real amplifier against the format's formulas, written out again here in f64.
#[test]
fn a_real_nam_sounds_as_its_formulas_say() {
    let Some(file) = shared("nam/lstm.nam") else {
        return;
    };
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let x: Vec<f32> = (0..4800).map(|t| (t as f32 * 0.03).sin() * 0.4).collect();
    let expected = plain_nam(&json, &x);
    let model: Model = ifco::open(file).unwrap();
    let mut session = model.session().unwrap();
    let found: Vec<f32> = x.iter().map(|x| session.step(&[*x])[0]).collect();
    let difference = largest_difference(&found, &expected);
    assert!(difference < 1e-5, "{difference}");
}

fn numbers(json: &Value) -> Vec<f32> {
    let weights = json["weights"].as_array().unwrap().iter();
    weights
        .map(|weight| weight.as_f64().unwrap() as f32)
        .collect()
}

/// One layer of one input.
fn plain_nam(json: &Value, x: &[f32]) -> Vec<f32> {
    let units = json["config"]["hidden_size"].as_u64().unwrap() as usize;
    assert_eq!(json["config"]["num_layers"], 1);
    let numbers: Vec<f64> = numbers(json).into_iter().map(f64::from).collect();
    let (w, rest) = numbers.split_at(4 * units * (1 + units));
    let (b, rest) = rest.split_at(4 * units);
    let (h, rest) = rest.split_at(units);
    let (c, head) = rest.split_at(units);
    let (mut h, mut c) = (h.to_vec(), c.to_vec());
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let step = |x: &f32| {
        let z: Vec<f64> = (0..4 * units)
            .map(|row| {
                let w = &w[row * (1 + units)..];
                let recurrent = (0..units).map(|unit| w[1 + unit] * h[unit]);
                b[row] + w[0] * f64::from(*x) + recurrent.sum::<f64>()
            })
            .collect();
        for unit in 0..units {
            let gate = |gate: usize| z[gate * units + unit]; // i f g o
            c[unit] = sigmoid(gate(1)) * c[unit] + sigmoid(gate(0)) * gate(2).tanh();
            h[unit] = sigmoid(gate(3)) * c[unit].tanh();
        }
        let out: f64 = h.iter().zip(head).map(|(h, w)| h * w).sum();
        (out + head[units]) as f32
    };
    x.iter().map(step).collect()
}
