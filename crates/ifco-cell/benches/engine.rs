//! Whole forward passes and single steps, alone: `cargo bench -p ifco-cell`.
//!
//! `bench/` measures the same beside other libraries; this is for work on the kernels.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ifco_cell::{
    Activation, Cell, Dropout, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer,
    SequenceGradient, SequenceOptions, TrainingMemory,
};
use ndarray::{Array, Array1, Array2, Array3, Dimension, ShapeBuilder};

fn main() {
    divan::main();
}

/// batch, time, features, units
type Shape = (usize, usize, usize, usize);

const SHAPES: [Shape; 16] = [
    (1, 100, 32, 32),
    (1, 100, 64, 64),
    (1, 100, 128, 128),
    (1, 100, 256, 256),
    (1, 100, 512, 512),
    (1, 50, 1024, 1024),
    (8, 100, 128, 128),
    (32, 100, 64, 64),
    (32, 100, 128, 128),
    (32, 100, 256, 256),
    (32, 50, 512, 512),
    (64, 25, 1024, 1024),
    (128, 32, 32, 64),
    (256, 20, 128, 128),
    (32, 100, 39, 100),
    (1, 1000, 1, 24),
];

/// Numbers from −scale to scale, always the same.
fn numbers<D: Dimension>(shape: impl ShapeBuilder<Dim = D>, scale: f32) -> Array<f32, D> {
    let mut state = 1u32;
    Array::from_shape_simple_fn(shape, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
    })
}

fn layer(cell: Cell) -> RecurrentLayer {
    let options = SequenceOptions {
        return_sequences: true,
        ..SequenceOptions::default()
    };
    RecurrentLayer::new(vec![cell], options).expect("a cell")
}

fn lstm(features: usize, units: usize) -> RecurrentLayer {
    let scale = 1.0 / (units as f32).sqrt();
    let weights = LstmWeights::new(
        numbers((features, 4 * units), scale),
        numbers((units, 4 * units), scale),
        Some(Array1::ones(4 * units)),
    );
    let weights = weights.expect("shapes that fit");
    layer(LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid).into())
}

fn gru(features: usize, units: usize) -> RecurrentLayer {
    let scale = 1.0 / (units as f32).sqrt();
    let weights = GruWeights::new(
        numbers((features, 3 * units), scale),
        numbers((units, 3 * units), scale),
        Some(Array2::zeros((2, 3 * units))),
    );
    let weights = weights.expect("shapes that fit");
    let cell = GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, true);
    layer(cell.expect("a bias of two rows").into())
}

/// Items are floating-point operations: 10⁹ items a second are a GFLOP/s.
fn forward(bencher: Bencher, layer: &RecurrentLayer, gates: usize, shape: Shape, threads: usize) {
    let (batch, time, features, units) = shape;
    let inputs: Array3<f32> = numbers((batch, time, features), 1.0);
    ifco_cell::set_threads(threads);
    bencher
        .counter(ItemsCount::new(
            2 * gates * units * (features + units) * batch * time,
        ))
        .bench_local(|| layer.forward(black_box(inputs.view()), None, None));
}

#[divan::bench(args = SHAPES)]
fn lstm_1_thread(bencher: Bencher, shape: Shape) {
    forward(bencher, &lstm(shape.2, shape.3), 4, shape, 1);
}

#[divan::bench(args = SHAPES)]
fn lstm_2_threads(bencher: Bencher, shape: Shape) {
    forward(bencher, &lstm(shape.2, shape.3), 4, shape, 2);
}

#[divan::bench(args = [(32, 100, 128, 128)])]
fn gru_1_thread(bencher: Bencher, shape: Shape) {
    forward(bencher, &gru(shape.2, shape.3), 3, shape, 1);
}

/// Forward and back: three times the operations of forward.
#[divan::bench(args = [
    (32, 100, 64, 64),
    (32, 100, 128, 128),
    (32, 100, 256, 256),
    (64, 50, 512, 512),
    (1, 100, 128, 128),
])]
fn lstm_training_1_thread(bencher: Bencher, shape: Shape) {
    let (batch, time, features, units) = shape;
    let layer = lstm(features, units);
    let inputs: Array3<f32> = numbers((batch, time, features), 1.0);
    let d: Array3<f32> = numbers((batch, time, units), 1.0);
    ifco_cell::set_threads(1);
    let operations = 3 * 8 * units * (features + units) * batch * time;
    let (none, _kept) = (Dropout::default(), TrainingMemory::keep());
    bencher
        .counter(ItemsCount::new(operations))
        .bench_local(|| {
            let (_, tape) = layer
                .forward_for_training(black_box(inputs.view()), None, None, &none)
                .expect("shapes that fit");
            tape.backward(&layer, SequenceGradient::Sequences(d.view()), None)
        });
}

/// One step of a stream, of one feature.
#[divan::bench(args = [8, 16, 24, 32, 40, 64, 128])]
fn step(bencher: Bencher, units: usize) {
    let mut session = lstm(1, units).session().expect("a layer that streams");
    bencher.bench_local(|| black_box(session.step(black_box(&[0.5]))[0]));
}
