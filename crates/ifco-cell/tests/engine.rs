//! What the engine promises whatever the number of threads, of rows beside each other and of
//! callers: the same numbers, bit by bit.
//!
//! `src/engine/tests.rs` forces every division of the work on small layers; here the engine
//! divides as it does for users, on layers that are large enough for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use ifco_cell::{
    Activation, Cell, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer, Sequence,
    SequenceOptions, SequenceOutput, SimpleRnnCell, SimpleRnnWeights, reference, set_threads,
};
use ndarray::{Array2, Array3, Axis, s};

/// The number of threads is of the whole process: one test at a time sets it.
fn threads_are_mine() -> MutexGuard<'static, ()> {
    static THREADS: Mutex<()> = Mutex::new(());
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values from −scale to scale, always the same ones.
fn matrix(rows: usize, columns: usize, scale: f32) -> Array2<f32> {
    let mut state = (rows * 31 + columns) as u64;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        scale * (2.0 * (state >> 40) as f32 / (1u64 << 24) as f32 - 1.0)
    })
}

fn inputs(batch: usize, time: usize, features: usize) -> Array3<f32> {
    let values = matrix(batch * time, features, 1.0);
    values
        .into_shape_with_order((batch, time, features))
        .unwrap()
}

fn lstm(features: usize, units: usize) -> Cell {
    let scale = 1.0 / (units as f32).sqrt();
    let weights = LstmWeights::new(
        matrix(features, 4 * units, scale),
        matrix(units, 4 * units, scale),
        Some(matrix(1, 4 * units, 0.5).remove_axis(Axis(0))),
    );
    LstmCell::new(weights.unwrap(), Activation::Tanh, Activation::Sigmoid).into()
}

fn gru(features: usize, units: usize, reset_after: bool) -> Cell {
    let scale = 1.0 / (units as f32).sqrt();
    let rows = if reset_after { 2 } else { 1 };
    let weights = GruWeights::new(
        matrix(features, 3 * units, scale),
        matrix(units, 3 * units, scale),
        Some(matrix(rows, 3 * units, 0.5)),
    );
    let (phi, sigma) = (Activation::Tanh, Activation::Sigmoid);
    let cell = GruCell::new(weights.unwrap(), phi, sigma, reset_after);
    cell.unwrap().into()
}

fn simple_rnn(features: usize, units: usize, activation: Activation) -> Cell {
    let scale = 1.0 / (units as f32).sqrt();
    let (kernel, recurrent) = (matrix(features, units, scale), matrix(units, units, scale));
    let weights = SimpleRnnWeights::new(kernel, recurrent, None);
    SimpleRnnCell::new(weights.unwrap(), activation).into()
}

fn layer(cells: Vec<Cell>) -> RecurrentLayer {
    let options = SequenceOptions {
        return_sequences: true,
        ..SequenceOptions::default()
    };
    RecurrentLayer::new(cells, options).unwrap()
}

/// Layers and inputs that are worth several threads: some by rows, some by units.
fn cases() -> Vec<(&'static str, RecurrentLayer, Array3<f32>)> {
    let softsign = Activation::Softsign;
    vec![
        ("rows", layer(vec![lstm(40, 64)]), inputs(33, 20, 40)),
        ("units", layer(vec![lstm(64, 264)]), inputs(1, 12, 64)),
        (
            "units of a few rows",
            layer(vec![lstm(7, 264)]),
            inputs(5, 9, 7),
        ),
        (
            "units of a GRU",
            layer(vec![gru(30, 300, true)]),
            inputs(2, 9, 30),
        ),
        (
            "the early reset",
            layer(vec![gru(30, 150, false)]),
            inputs(9, 9, 30),
        ),
        (
            "a stack",
            layer(vec![lstm(20, 150), gru(150, 130, true), lstm(130, 170)]),
            inputs(3, 9, 20),
        ),
        (
            "a SimpleRNN",
            layer(vec![simple_rnn(40, 500, Activation::Tanh)]),
            inputs(3, 9, 40),
        ),
        (
            "a SimpleRNN row by row",
            layer(vec![simple_rnn(40, 300, softsign)]),
            inputs(9, 9, 40),
        ),
    ]
}

fn sequences(sequence: &Sequence) -> &Array3<f32> {
    sequence.output.sequences().unwrap()
}

/// Equal bit by bit: −0 is not 0.
fn same(a: &Sequence, b: &Sequence) -> bool {
    let bits = |sequence: &Sequence| -> Vec<u32> {
        let states = sequence.states.iter().flatten();
        states
            .chain(sequences(sequence))
            .map(|x| x.to_bits())
            .collect()
    };
    bits(a) == bits(b)
}

#[test]
fn any_number_of_threads_gives_the_same() {
    let _mine = threads_are_mine();
    for (name, layer, inputs) in cases() {
        set_threads(1);
        let alone = layer.forward(inputs.view(), None, None).unwrap();
        let right = reference::sequence(&layer, inputs.mapv(f64::from).view(), None, None);
        let close = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-5;
        assert!(
            sequences(&alone).iter().zip(&right.outputs).all(close),
            "{name}"
        );
        for threads in [2, 3, 2, 0, 1] {
            set_threads(threads);
            let found = layer.forward(inputs.view(), None, None).unwrap();
            assert!(same(&found, &alone), "{name} with {threads} threads");
        }
    }
    set_threads(0);
}

#[test]
fn a_row_alone_is_the_row_in_any_batch() {
    for (name, layer, inputs) in cases() {
        let all = layer.forward(inputs.view(), None, None).unwrap();
        for row in 0..inputs.dim().0 {
            let own = inputs.slice(s![row..row + 1, .., ..]);
            let alone = layer.forward(own, None, None).unwrap();
            let among = Sequence {
                output: SequenceOutput::Sequences(
                    sequences(&all).slice(s![row..row + 1, .., ..]).to_owned(),
                ),
                states: (all.states.iter())
                    .map(|state| state.slice(s![row..row + 1, ..]).to_owned())
                    .collect(),
            };
            assert!(same(&alone, &among), "{name}, row {row}");
        }
    }
}

#[test]
fn steps_in_several_calls_are_the_steps_in_one() {
    for (name, layer, inputs) in cases() {
        let whole = layer.forward(inputs.view(), None, None).unwrap();
        let mut states: Option<Vec<Array2<f32>>> = None;
        let mut parts = Vec::new();
        for chunk in inputs.axis_chunks_iter(Axis(1), 4) {
            let views = states.as_ref().map(|states| {
                let views = states.iter().map(|state| state.view());
                views.collect::<Vec<_>>()
            });
            let part = layer.forward(chunk, None, views.as_deref()).unwrap();
            parts.push(sequences(&part).clone());
            states = Some(part.states);
        }
        let parts: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let joined = Sequence {
            output: SequenceOutput::Sequences(ndarray::concatenate(Axis(1), &parts).unwrap()),
            states: states.unwrap(),
        };
        assert!(same(&joined, &whole), "{name}");
    }
}

#[test]
fn callers_at_once_all_get_the_right_numbers() {
    let _mine = threads_are_mine();
    set_threads(1);
    let cases = cases();
    let right: Vec<_> = cases
        .iter()
        .map(|(_, layer, inputs)| layer.forward(inputs.view(), None, None).unwrap())
        .collect();
    // Fresh layers, so that the callers also pack the weights at once.
    let cases: Vec<_> = cases
        .into_iter()
        .map(|(name, old, inputs)| (name, layer(old.cells().to_vec()), inputs))
        .collect();
    set_threads(2);
    thread::scope(|scope| {
        for caller in 0..4 {
            let (cases, right) = (&cases, &right);
            scope.spawn(move || {
                for round in 0..3 {
                    for index in 0..cases.len() {
                        // Two callers are at the same layer, two at another one.
                        let index = (index + caller / 2 * 3) % cases.len();
                        let (name, layer, inputs) = &cases[index];
                        let found = layer.forward(inputs.view(), None, None).unwrap();
                        assert!(
                            same(&found, &right[index]),
                            "{name}, caller {caller}, round {round}"
                        );
                    }
                }
            });
        }
    });
    set_threads(0);
}

#[test]
fn directions_at_once_all_get_the_right_numbers() {
    let _mine = threads_are_mine();
    set_threads(2);
    for (name, layer, inputs) in cases() {
        let mut backward = layer.clone();
        backward.options.go_backwards = true;
        let one_after_the_other = (
            layer.forward(inputs.view(), None, None).unwrap(),
            backward.forward(inputs.view(), None, None).unwrap(),
        );
        let (a, b) = ifco_cell::join(
            || layer.forward(inputs.view(), None, None).unwrap(),
            || backward.forward(inputs.view(), None, None).unwrap(),
        );
        assert!(same(&a, &one_after_the_other.0), "{name}");
        assert!(same(&b, &one_after_the_other.1), "{name}, backwards");
    }
    set_threads(0);
}
