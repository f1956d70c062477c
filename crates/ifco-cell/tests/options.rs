//! LSTMs with options against the textbook of `reference`: forward, traces, sessions, and what is
//! refused.

use ifco_cell::reference::{self, lstm_step};
use ifco_cell::{
    Activation, Cell, DigestBuilder, Dropout, Gate, GruCell, GruWeights, LayerNorm, LstmCell,
    LstmOptions, LstmWeights, Norm, NormedSums, Precision, RecurrentLayer, SequenceOptions,
    SimpleRnnCell, SimpleRnnWeights, TraceOptions,
};
use ndarray::{Array, Array1, Array2, Array3, ArrayView, Dimension, array, s};

mod extras;
mod numbers;

use numbers::Numbers;

/// Every combination; some of them under Miri, which is thousands of times slower.
fn combinations() -> impl Iterator<Item = usize> {
    (0..extras::COMBINATIONS).step_by(if cfg!(miri) { 101 } else { 1 })
}

const TIME: usize = 5;
const SIZES: (usize, usize, usize) = (3, 7, 4);

struct Question {
    layer: RecurrentLayer,
    inputs: Array3<f32>,
    mask: Option<Array2<bool>>,
    states: Vec<Array2<f32>>,
}

impl Question {
    /// A layer of the combination, now with and now without each option of the sequence.
    fn new(combination: usize) -> Self {
        let mut numbers = Numbers(combination as u64);
        let cell = extras::lstm(combination, SIZES, &mut numbers);
        let mut coin = || numbers.next() < 0.5;
        let options = SequenceOptions {
            return_sequences: true,
            go_backwards: coin(),
            zero_output_for_mask: coin(),
        };
        let is_masked = coin();
        let layer = RecurrentLayer::new(vec![cell.into()], options).unwrap();
        let inputs = Array3::from_shape_simple_fn((3, TIME, SIZES.0), || 2.0 * numbers.signed());
        let mask =
            is_masked.then(|| Array2::from_shape_simple_fn((3, TIME), || numbers.next() < 0.6));
        let states = layer.state_sizes().collect::<Vec<_>>();
        let states = states.iter().map(|size| numbers.matrix(3, *size, 0.8));
        Self {
            states: states.collect(),
            layer,
            inputs,
            mask,
        }
    }

    fn textbook(&self) -> reference::ReferenceSequence {
        let states: Vec<_> = self.states.iter().map(|s| s.mapv(f64::from)).collect();
        let states: Vec<_> = states.iter().map(|state| state.view()).collect();
        reference::sequence(
            &self.layer,
            self.inputs.mapv(f64::from).view(),
            self.mask.as_ref().map(|mask| mask.view()),
            Some(&states),
        )
    }

    fn forward(&self) -> ifco_cell::Sequence {
        let states: Vec<_> = self.states.iter().map(|state| state.view()).collect();
        let mask = self.mask.as_ref().map(|mask| mask.view());
        self.layer
            .forward(self.inputs.view(), mask, Some(&states))
            .unwrap()
    }
}

fn close<D: Dimension>(found: ArrayView<'_, f32, D>, right: &Array<f64, D>, most: f64, what: &str) {
    assert_eq!(found.shape(), right.shape(), "{what}");
    for (found, right) in found.iter().zip(right) {
        let error = (f64::from(*found) - right).abs() / right.abs().max(1.0);
        // Written so that a NaN fails.
        assert!(error <= most, "{what}: {found} and not {right}");
    }
}

#[test]
fn every_combination_is_the_textbook() {
    for combination in combinations() {
        let question = Question::new(combination);
        let what = format!("combination {combination}");
        let (found, right) = (question.forward(), question.textbook());
        let outputs = found.output.sequences().unwrap();
        close(outputs.view(), &right.outputs, 1e-5, &what);
        for (found, right) in found.states.iter().zip(&right.states) {
            close(found.view(), right, 1e-5, &what);
        }
    }
}

#[test]
fn every_combination_is_traced() {
    for combination in combinations() {
        let question = Question::new(combination);
        let what = format!("trace of combination {combination}");
        let states: Vec<_> = question.states.iter().map(|state| state.view()).collect();
        let options = TraceOptions {
            pre_activations: true,
        };
        let mask = question.mask.as_ref().map(|mask| mask.view());
        let traces = question
            .layer
            .trace(question.inputs.view(), mask, Some(&states), &options);
        let trace = &traces.unwrap()[0];
        let Cell::Lstm(cell) = &question.layer.cells()[0] else {
            unreachable!()
        };
        let pre_activations = trace.pre_activations.as_ref().unwrap();
        for row in 0..3 {
            for t in (0..TIME).filter(|t| trace.counts(row, *t)) {
                let before = |state| trace.before(state, row, t).unwrap().mapv(f64::from);
                let x = question.inputs.slice(s![row, t, ..]).mapv(f64::from);
                let right = lstm_step(cell, x.view(), before("h").view(), before("c").view());
                let arrays = [right.i, right.f, right.c_tilde, right.o, right.c, right.h];
                for (name, right) in trace.names().iter().zip(&arrays) {
                    let found = trace.get(name).unwrap();
                    close(
                        found.slice(s![row, t, ..]),
                        right,
                        1e-5,
                        &format!("{name}, {what}"),
                    );
                }
                // The gates are what the activations make of the pre-activations.
                for (gate, right) in Gate::ALL.into_iter().zip(&arrays) {
                    let columns = gate.columns(SIZES.1);
                    let mut z = pre_activations.slice(s![row, t, columns]).to_vec();
                    if gate == Gate::Forget && cell.options().input_forget {
                        assert!(z.iter().all(|z| *z == 0.0), "{what}");
                        continue;
                    }
                    if let Some(clip) = cell.options().clip {
                        assert!(z.iter().all(|z| z.abs() <= clip), "{what}");
                    }
                    match gate {
                        Gate::Cell => cell.activation().apply(&mut z),
                        _ => cell.recurrent_activation().apply(&mut z),
                    }
                    close(Array1::from_vec(z).view(), right, 1e-5, &what);
                }
            }
        }
        let outputs = question.layer.units();
        assert_eq!(trace.h().dim(), (3, TIME, outputs), "{what}");
        assert_eq!(trace.dim(), (3, TIME, SIZES.1), "{what}");
        let digest = trace.digest();
        assert_eq!(digest.array("h").unwrap().units.len(), outputs, "{what}");
        assert_eq!(digest.array("c").unwrap().units.len(), SIZES.1, "{what}");
        let last = trace.last_states();
        for (found, right) in last.iter().zip(&question.forward().states) {
            close(found.view(), &right.mapv(f64::from), 1e-5, &what);
        }
    }
}

#[test]
fn every_combination_streams() {
    for combination in combinations() {
        let mut question = Question::new(combination);
        question.layer.options.go_backwards = false;
        question.mask = None;
        let right = question.forward();
        let right = right.output.sequences().unwrap();
        let mut session = question.layer.session().unwrap();
        for row in 0..2 {
            let states: Vec<_> = question
                .states
                .iter()
                .map(|s| s.row(row).to_vec())
                .collect();
            let states: Vec<_> = states.iter().map(|state| &state[..]).collect();
            session.set_states(&states).unwrap();
            for t in 0..TIME {
                let x = question.inputs.slice(s![row, t, ..]).to_vec();
                let found = session.step(&x);
                let right = right.slice(s![row, t, ..]).to_vec();
                assert_eq!(found, right, "combination {combination}, step {t}");
            }
        }
    }
}

#[test]
fn fewer_bits_are_near() {
    for combination in combinations().step_by(5) {
        let mut question = Question::new(combination);
        let exact = question.textbook();
        for (precision, most) in [(Precision::Bf16, 0.06), (Precision::Int8, 0.15)] {
            question.layer.set_precision(precision);
            let found = question.forward();
            let what = format!("{precision} of combination {combination}");
            close(
                found.output.sequences().unwrap().view(),
                &exact.outputs,
                most,
                &what,
            );
        }
    }
}

#[test]
fn projected_cells_are_stacked() {
    let mut numbers = Numbers(5);
    let projected = 3; // no normalization, a projection
    let cells = vec![
        extras::lstm(projected, (3, 9, 4), &mut numbers).into(),
        extras::lstm(0, (4, 6, 6), &mut numbers).into(),
        extras::lstm(projected, (6, 2, 5), &mut numbers).into(), // more outputs than units
    ];
    let layer = RecurrentLayer::new(cells, SequenceOptions::default()).unwrap();
    assert_eq!((layer.features(), layer.units()), (3, 5));
    assert!(layer.state_sizes().eq([4, 9, 6, 6, 5, 2]));
    let inputs = Array3::from_shape_simple_fn((20, TIME, 3), || numbers.signed());
    let found = layer.forward(inputs.view(), None, None).unwrap();
    let right = reference::sequence(&layer, inputs.mapv(f64::from).view(), None, None);
    close(
        found.output.last().unwrap().view(),
        &right.last,
        1e-5,
        "stacked",
    );
    let traces = layer
        .trace(inputs.view(), None, None, &TraceOptions::default())
        .unwrap();
    let last = traces[2].h();
    let last = last.slice(s![.., TIME - 1, ..]);
    close(last, &right.last, 1e-5, "traces");
    // In parts.
    let mut parts = DigestBuilder::new(traces[0].kind(), traces[0].units());
    for first in 0..2 {
        let rows = inputs.slice(s![10 * first..10 * first + 10, .., ..]);
        let traces = layer
            .trace(rows, None, None, &TraceOptions::default())
            .unwrap();
        parts.add(&traces[0], 10 * first, 0);
    }
    assert_eq!(parts.finish(), traces[0].digest());
}

/// `forget_bias` is as if it stood in the bias.
#[test]
fn a_forget_bias_is_a_bias() {
    let mut numbers = Numbers(6);
    let (kernel, recurrent) = (numbers.matrix(3, 20, 0.5), numbers.matrix(5, 20, 0.5));
    let cell = |bias: Option<Array1<f32>>, forget_bias| {
        let weights = LstmWeights::new(kernel.clone(), recurrent.clone(), bias).unwrap();
        LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid)
            .with_options(LstmOptions {
                forget_bias,
                ..LstmOptions::default()
            })
            .unwrap()
    };
    let mut bias = Array1::zeros(20);
    bias.slice_mut(s![5..10]).fill(1.5);
    let run = |cell: LstmCell| {
        let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default()).unwrap();
        let inputs = Array3::from_elem((2, 4, 3), 0.7);
        let trace = layer.trace(inputs.view(), None, None, &TraceOptions::default());
        let f = trace.unwrap()[0].get("f").unwrap().to_owned();
        (layer.forward(inputs.view(), None, None).unwrap(), f)
    };
    assert_eq!(run(cell(None, 1.5)), run(cell(Some(bias), 0.0)));
}

/// A GRU without and with `reset_after`, and a SimpleRNN, with this clip.
fn clipping(kind: usize, clip: f32, numbers: &mut Numbers) -> Cell {
    let (features, units) = (3, 7);
    let phi = Activation::ScaledTanh {
        alpha: 1.5,
        beta: 0.6,
    };
    match kind {
        2 => {
            let (kernel, recurrent) = (
                numbers.matrix(features, units, 1.5),
                numbers.matrix(units, units, 1.5),
            );
            let weights =
                SimpleRnnWeights::new(kernel, recurrent, Some(numbers.vector(units))).unwrap();
            let cell = SimpleRnnCell::new(weights, phi).with_clip(Some(clip));
            cell.unwrap().into()
        }
        _ => {
            let kernel = numbers.matrix(features, 3 * units, 1.5);
            let recurrent = numbers.matrix(units, 3 * units, 1.5);
            let bias = numbers.matrix(kind + 1, 3 * units, 0.5);
            let weights = GruWeights::new(kernel, recurrent, Some(bias)).unwrap();
            let sigma = Activation::Sigmoid;
            let cell = GruCell::new(weights, phi, sigma, kind == 1).unwrap();
            cell.with_clip(Some(clip)).unwrap().into()
        }
    }
}

#[test]
fn gru_and_simple_rnn_clip_as_the_textbook() {
    for kind in 0..3 {
        let mut numbers = Numbers(kind as u64);
        let cell = clipping(kind, 0.4, &mut numbers);
        let extras = cell.extras();
        assert_eq!(extras, ["clip", "activation"]);
        let options = SequenceOptions {
            return_sequences: true,
            ..SequenceOptions::default()
        };
        let layer = RecurrentLayer::new(vec![cell], options).unwrap();
        let inputs = Array3::from_shape_simple_fn((2, TIME, 3), || 2.0 * numbers.signed());
        let wide = inputs.mapv(f64::from);
        let right = reference::sequence(&layer, wide.view(), None, None);
        let found = layer.forward(inputs.view(), None, None).unwrap();
        let outputs = found.output.sequences().unwrap();
        let what = format!("kind {kind}");
        close(outputs.view(), &right.outputs, 1e-5, &what);
        // One that clips nothing gives something else.
        let free = clipping(kind, 1e9, &mut Numbers(kind as u64));
        let free = RecurrentLayer::new(vec![free], options).unwrap();
        let other = free.forward(inputs.view(), None, None).unwrap();
        assert_ne!(other.output.sequences(), Some(outputs), "{what}");

        let mut session = layer.session().unwrap();
        for t in 0..TIME {
            let x: Vec<f32> = inputs.slice(s![0, t, ..]).to_vec();
            let step = Array1::from_vec(session.step(&x).to_vec());
            let right = right.outputs.slice(s![0, t, ..]).to_owned();
            close(step.view(), &right, 1e-5, &format!("{what}, step {t}"));
        }
        let options = TraceOptions {
            pre_activations: true,
        };
        let traces = layer.trace(inputs.view(), None, None, &options).unwrap();
        let pre = traces[0].pre_activations.as_ref().unwrap();
        assert!(pre.iter().all(|z| z.abs() <= 0.4), "{what}");
        assert!(pre.iter().any(|z| z.abs() == 0.4), "{what}");
        close(traces[0].h().view(), &right.outputs, 1e-5, &what);
        if let Cell::Gru(cell) = &layer.cells()[0] {
            let before = traces[0].before("h", 1, 3).unwrap().mapv(f64::from);
            let x = wide.slice(s![1, 3, ..]);
            let step = reference::gru_step(cell, x, before.view());
            for (name, right) in [("z", step.z), ("r", step.r), ("h_tilde", step.h_tilde)] {
                let found = traces[0].get(name).unwrap();
                close(
                    found.slice(s![1, 3, ..]),
                    &right,
                    1e-5,
                    &format!("{name}, {what}"),
                );
            }
        }
    }
}

#[test]
fn what_is_clipped_has_no_slope() {
    for kind in 0..3 {
        let mut numbers = Numbers(7 + kind as u64);
        let layer = |cell| RecurrentLayer::new(vec![cell], SequenceOptions::default()).unwrap();
        let inputs = Array3::from_shape_simple_fn((2, TIME, 3), || 2.0 * numbers.signed());
        let d = Array3::from_shape_fn((2, TIME, 7), |(_, t, _)| f64::from(u8::from(t + 1 == TIME)));
        let gradients = |inputs: &Array3<f64>| {
            let mut numbers = Numbers(kind as u64);
            let layer = layer(clipping(kind, 0.4, &mut numbers));
            let run = reference::sequence(&layer, inputs.view(), None, None);
            let nothing = Dropout::default();
            let found =
                reference::gradients(&layer, inputs.view(), None, None, &nothing, d.view(), None);
            (run.last.sum(), found.inputs)
        };
        let wide = inputs.mapv(f64::from);
        let (_, found) = gradients(&wide);
        let mut flat = 0;
        for index in [
            (0, 0, 0),
            (0, TIME - 1, 1),
            (1, TIME - 1, 2),
            (1, TIME - 2, 0),
        ] {
            let at = |step: f64| {
                let mut moved = wide.clone();
                moved[index] += step;
                gradients(&moved).0
            };
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            let error = (slope - found[index]).abs();
            assert!(
                error < 1e-5,
                "kind {kind} {index:?}: {} and not {slope}",
                found[index]
            );
            flat += usize::from(slope != 0.0);
        }
        assert!(flat > 0, "kind {kind}");
    }
}

#[test]
fn wrong_shapes_and_numbers_are_refused() {
    let zeros = Array2::<f32>::zeros;
    let projected = |kernel, recurrent, projection| {
        LstmWeights::projected(zeros(kernel), zeros(recurrent), None, zeros(projection))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        projected((3, 32), (2, 32), (7, 2)),
        "recurrent_kernel has shape [2, 32], expected (outputs, 4·units) with the 7 units and 2 \
         outputs of projection"
    );
    assert_eq!(
        projected((3, 28), (2, 32), (8, 2)),
        "kernel has shape [3, 28], expected (features, 32), that is (features, 4·units) with the \
         8 units of recurrent_kernel"
    );
    assert_eq!(
        projected((3, 32), (0, 32), (8, 0)),
        "projection has shape [8, 0], expected (units, outputs) with at least one of each"
    );
    let plain = || LstmWeights::new(zeros((3, 8)), zeros((2, 8)), None).unwrap();
    assert_eq!(
        plain()
            .with_peepholes(zeros((3, 3)))
            .unwrap_err()
            .to_string(),
        "peepholes has shape [3, 3], expected (3, 2): p_i, p_f and p_o, a value for each unit"
    );
    let norm = |size| Norm {
        gamma: Array1::ones(size),
        beta: Array1::zeros(size),
    };
    let normed = |sums, state, epsilon| {
        let layer_norm = LayerNorm {
            sums: NormedSums::Gates(norm(sums)),
            state: norm(state),
            epsilon,
        };
        plain()
            .with_layer_norm(layer_norm)
            .map_err(|error| error.to_string())
    };
    assert!(normed(8, 2, 1e-3).is_ok());
    let expected = |name: &str, found: usize, size: usize| {
        Err(format!(
            "{name} has shape [{found}], expected ({size},): a gamma and a beta for each value"
        ))
    };
    assert_eq!(normed(2, 2, 1e-3), expected("norm", 2, 8));
    assert_eq!(normed(8, 8, 1e-3), expected("state_norm", 8, 2));
    assert!(
        normed(8, 2, f32::NAN)
            .unwrap_err()
            .contains("epsilon of at least 0, not NaN")
    );

    let option = |options| {
        let cell = LstmCell::new(plain(), Activation::Tanh, Activation::Sigmoid);
        cell.with_options(options).map_err(|error| error.option)
    };
    let none = LstmOptions::default();
    assert!(option(none).is_ok());
    for bad in [0.0, -1.0, f32::NAN] {
        assert_eq!(
            option(LstmOptions {
                clip: Some(bad),
                ..none
            }),
            Err("clip")
        );
        assert_eq!(
            option(LstmOptions {
                cell_clip: Some(bad),
                ..none
            }),
            Err("cell_clip")
        );
    }
    let projection_clip = Some(1.0);
    assert_eq!(
        option(LstmOptions {
            projection_clip,
            ..none
        }),
        Err("projection_clip")
    );
    let forget_bias = f32::INFINITY;
    assert_eq!(
        option(LstmOptions {
            forget_bias,
            ..none
        }),
        Err("forget_bias")
    );
    let onnx = ifco_cell::packing::find("onnx").unwrap();
    assert!(onnx.peepholes_to_keras(array![1.0, 2.0].view()).is_err());
}
