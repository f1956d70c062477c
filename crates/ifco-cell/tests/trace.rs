//! Traces against the textbook of `reference`, on random layers.

use ifco_cell::reference::{gru_step, lstm_step, simple_rnn_step};
use ifco_cell::{
    Activation, Cell, GruGate, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions, Trace,
    TraceOptions,
};
use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, array, s};
use proptest::prelude::*;

mod numbers;
mod plans;

use numbers::Numbers;
use plans::{difference, plan, wide};

const ALL: TraceOptions = TraceOptions {
    pre_activations: true,
};

/// The sums of one step, in Keras's columns.
fn sums(cell: &Cell, x: ArrayView1<f64>, h: ArrayView1<f64>) -> Array1<f64> {
    let product = |row: ArrayView1<f64>, matrix: ArrayView2<f32>| row.dot(&matrix.mapv(f64::from));
    let vector = |bias: Option<ArrayView1<f32>>, columns: usize| {
        bias.map_or(Array1::zeros(columns), |bias| bias.mapv(f64::from))
    };
    match cell {
        Cell::Lstm(cell) => {
            let weights = cell.weights();
            product(x, weights.fused_kernel())
                + product(h, weights.fused_recurrent_kernel())
                + vector(weights.fused_bias(), 4 * weights.units())
        }
        Cell::Gru(cell) => {
            let weights = cell.weights();
            let (units, bias) = (weights.units(), weights.fused_bias());
            let row = |row: usize| {
                let bias = bias.filter(|bias| row < bias.nrows());
                vector(
                    bias.map(|bias| bias.row(row).to_owned())
                        .as_ref()
                        .map(|b| b.view()),
                    3 * units,
                )
            };
            let input = product(x, weights.fused_kernel()) + row(0);
            let recurrent = product(h, weights.fused_recurrent_kernel()) + row(1);
            let r = gru_step(cell, x, h).r;
            let mut sums = &input + &recurrent;
            let seen = match cell.reset_after() {
                true => &r * &recurrent.slice(s![2 * units..]),
                false => product(
                    (&r * &h).view(),
                    weights.recurrent_kernel(GruGate::Candidate),
                ),
            };
            let candidate = &input.slice(s![2 * units..]) + &seen;
            sums.slice_mut(s![2 * units..]).assign(&candidate);
            sums
        }
        Cell::SimpleRnn(cell) => {
            let weights = cell.weights();
            product(x, weights.kernel())
                + product(h, weights.recurrent_kernel())
                + vector(weights.bias(), weights.units())
        }
        _ => unreachable!(),
    }
}

/// What one step computes, in the order of the trace's names; then the sums.
fn step(cell: &Cell, x: ArrayView1<f64>, states: &[Array1<f64>]) -> Vec<Array1<f64>> {
    let z = sums(cell, x, states[0].view());
    match cell {
        Cell::Lstm(cell) => {
            let step = lstm_step(cell, x, states[0].view(), states[1].view());
            vec![step.i, step.f, step.c_tilde, step.o, step.c, step.h, z]
        }
        Cell::Gru(cell) => {
            let step = gru_step(cell, x, states[0].view());
            vec![step.z, step.r, step.h_tilde, step.h, z]
        }
        Cell::SimpleRnn(cell) => vec![simple_rnn_step(cell, x, states[0].view()), z],
        _ => unreachable!(),
    }
}

/// The arrays of each cell's trace, step by step in `f64`; the sums at the end.
fn textbook(
    layer: &RecurrentLayer,
    inputs: &Array3<f64>,
    mask: Option<&Array2<bool>>,
    initial: &[Array2<f64>],
) -> Vec<Vec<Array3<f64>>> {
    let (batch, time, _) = inputs.dim();
    let mut x = inputs.clone();
    let mut initial = initial.iter();
    let mut all = Vec::new();
    for cell in layer.cells() {
        let (units, gates) = (cell.units(), cell.kind().gates());
        let names = cell.kind().trace_names();
        let mut arrays: Vec<_> = names
            .iter()
            .map(|_| Array3::zeros((batch, time, units)))
            .collect();
        arrays.push(Array3::zeros((batch, time, gates * units)));
        let starts: Vec<_> = initial.by_ref().take(cell.states()).collect();
        for row in 0..batch {
            let mut states: Vec<_> = starts.iter().map(|s| s.row(row).to_owned()).collect();
            for read in 0..time {
                let t = if layer.options.go_backwards {
                    time - 1 - read
                } else {
                    read
                };
                let place = s![row, t, ..];
                if mask.is_none_or(|mask| mask[[row, t]]) {
                    let values = step(cell, x.slice(place), &states);
                    for (array, value) in arrays.iter_mut().zip(&values) {
                        array.slice_mut(place).assign(value);
                    }
                    let of = |name| values[names.iter().position(|n| *n == name).unwrap()].clone();
                    states = cell.kind().states().iter().map(|name| of(*name)).collect();
                }
                for (name, state) in cell.kind().states().iter().zip(&states) {
                    let index = names.iter().position(|n| n == name).unwrap();
                    arrays[index].slice_mut(place).assign(state);
                }
            }
        }
        x = arrays[names.len() - 1].clone();
        all.push(arrays);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_trace_is_the_textbook(plan in plan()) {
        let (batch, time, features) = plan.sizes;
        let mut numbers = Numbers(plan.seed);
        let layer = plan.layer(&mut numbers);
        let inputs =
            Array3::from_shape_simple_fn((batch, time, features), || 4.0 * numbers.next() - 2.0);
        let mask = plan.masked.then(|| {
            Array2::from_shape_simple_fn((batch, time), || numbers.next() < 0.6)
        });
        let initial: Vec<_> = layer.state_sizes().map(|units| match plan.initial {
            true => numbers.matrix(batch, units, 1.0),
            false => Array2::zeros((batch, units)),
        }).collect();
        let views: Vec<_> = initial.iter().map(|state| state.view()).collect();
        let states = plan.initial.then_some(&views[..]);
        let traces = layer
            .trace(inputs.view(), mask.as_ref().map(|mask| mask.view()), states, &ALL)
            .unwrap();
        prop_assert_eq!(traces.len(), layer.cells().len());

        let starts: Vec<_> = initial.iter().map(wide).collect();
        let right = textbook(&layer, &wide(&inputs), mask.as_ref(), &starts);
        let mut exploded = false;
        for (trace, right) in traces.iter().zip(&right) {
            let named = trace.iter().chain([(
                "sums", trace.pre_activations.as_ref().unwrap().view(),
            )]);
            // Where a state exploded, all that follows from it depends on the last bits of it.
            exploded |= right.iter().any(|array| {
                difference(&Array3::zeros(array.dim()), array).is_none()
            });
            if exploded {
                break;
            }
            prop_assert_eq!(trace.names().len() + 1, right.len());
            for ((name, found), right) in named.zip(right) {
                let difference = difference(&found.to_owned(), right).unwrap();
                prop_assert!(difference < 1e-4, "{} differs by {}", name, difference);
            }
            prop_assert_eq!(&trace.mask, &mask);
            prop_assert_eq!(trace.reads_backward, plan.options.go_backwards);
        }
        let states: Vec<_> = traces.iter().flat_map(Trace::last_states).collect();
        prop_assert_eq!(traces[0].inputs.view(), inputs.view());

        // The states after it are those of the forward pass, to the bit for h.
        let forward = layer
            .forward(inputs.view(), mask.as_ref().map(|mask| mask.view()), Some(&views))
            .unwrap();
        for (found, right) in states.iter().zip(&forward.states) {
            if let (Some(difference), false) = (difference(found, &wide(right)), exploded) {
                prop_assert!(difference < 1e-4, "a state differs by {}", difference);
            }
        }
    }
}

fn lstm(features: usize, units: usize, seed: u64) -> Cell {
    let mut numbers = Numbers(seed);
    let weights = LstmWeights::new(
        numbers.matrix(features, 4 * units, 0.7),
        numbers.matrix(units, 4 * units, 0.7),
        Some(numbers.vector(4 * units)),
    );
    LstmCell::new(weights.unwrap(), Activation::Tanh, Activation::Sigmoid).into()
}

fn layer(cells: Vec<Cell>, go_backwards: bool) -> RecurrentLayer {
    let options = SequenceOptions {
        return_sequences: true,
        go_backwards,
        zero_output_for_mask: false,
    };
    RecurrentLayer::new(cells, options).unwrap()
}

fn inputs(batch: usize, time: usize, features: usize) -> Array3<f32> {
    let mut numbers = Numbers(7);
    Array3::from_shape_simple_fn((batch, time, features), || numbers.signed())
}

fn reversed(array: ArrayView3<f32>) -> Array3<f32> {
    array.slice(s![.., ..;-1, ..]).to_owned()
}

#[test]
fn h_is_that_of_the_engine_to_the_bit() {
    for go_backwards in [false, true] {
        let layer = layer(vec![lstm(3, 33, 1), lstm(33, 20, 2)], go_backwards);
        // Many chunks of steps.
        let x = inputs(3, 3000, 3);
        let traces = layer.trace(x.view(), None, None, &ALL).unwrap();
        let forward = layer.forward(x.view(), None, None).unwrap();
        let h = forward.output.sequences().unwrap();
        let right = match go_backwards {
            true => reversed(h.view()),
            false => h.clone(),
        };
        assert_eq!(traces[1].h(), right);
        assert_eq!(traces[1].inputs, traces[0].h());
        // o∘tanh(c) is that h as well, to the accuracy of f32.
        let (o, c) = (traces[1].get("o").unwrap(), traces[1].get("c").unwrap());
        let again = &o * &c.mapv(f32::tanh);
        let worst = difference(&again, &right.mapv(f64::from)).unwrap();
        assert!(worst < 1e-5, "{worst}");
    }
}

#[test]
fn the_time_is_that_of_the_input_whichever_way_it_reads() {
    let x = inputs(2, 9, 3);
    let forward = layer(vec![lstm(3, 4, 1)], false);
    let backward = layer(vec![lstm(3, 4, 1)], true);
    let right = forward
        .trace(reversed(x.view()).view(), None, None, &ALL)
        .unwrap();
    let found = backward.trace(x.view(), None, None, &ALL).unwrap();
    for ((name, found), (_, right)) in found[0].iter().zip(right[0].iter()) {
        assert_eq!(found, reversed(right), "{name}");
    }
    // What a step read is the state of the step after it in time.
    assert_eq!(
        found[0].before("c", 1, 3).unwrap(),
        found[0].get("c").unwrap().slice(s![1, 4, ..])
    );
    assert_eq!(found[0].before("h", 1, 8).unwrap(), Array1::<f32>::zeros(4));
    assert_eq!(found[0].before("h", 1, 9), None);
    assert_eq!(found[0].before("z", 1, 3), None);
    assert_eq!(
        found[0].last_states()[1],
        found[0].get("c").unwrap().index_axis(Axis(1), 0)
    );
}

#[test]
fn a_masked_step_computes_nothing_and_carries_the_states() {
    let mut x = inputs(1, 5, 3);
    x.slice_mut(s![0, 0, ..]).fill(f32::NAN);
    x.slice_mut(s![0, 3, ..]).fill(f32::NAN);
    let mask = array![[false, true, true, false, true]];
    let (h, c) = (array![[0.5, -0.5]], array![[2.0, 1.0]]);
    let traces = layer(vec![lstm(3, 2, 1)], false)
        .trace(
            x.view(),
            Some(mask.view()),
            Some(&[h.view(), c.view()]),
            &ALL,
        )
        .unwrap();
    let trace = &traces[0];
    for (name, array) in trace.iter() {
        assert!(array.iter().all(|value| value.is_finite()), "{name}");
    }
    // Not zeros, as what the layer puts out there.
    assert_eq!(trace.get("h").unwrap().index_axis(Axis(1), 0), h);
    assert_eq!(trace.get("c").unwrap().index_axis(Axis(1), 0), c);
    for name in ["h", "c"] {
        let array = trace.get(name).unwrap();
        assert_eq!(array.index_axis(Axis(1), 3), array.index_axis(Axis(1), 2));
    }
    for name in ["i", "f", "c_tilde", "o"] {
        let array = trace.get(name).unwrap();
        assert_eq!(array.slice(s![0, 3, ..]), Array1::<f32>::zeros(2), "{name}");
        assert!(array.slice(s![0, 4, ..]).iter().all(|value| *value != 0.0));
    }
    let z = trace.pre_activations.as_ref().unwrap();
    assert_eq!(trace.get("z"), Some(z.view()));
    assert_eq!(z.slice(s![0, 0, ..]), Array1::<f32>::zeros(8));
    assert!(!trace.counts(0, 3) && trace.counts(0, 4));

    let digest = trace.digest();
    assert_eq!((digest.counted, digest.masked), (3, 2));
    let f = trace.get("f").unwrap();
    let mean = [1, 2, 4]
        .map(|t| f64::from(f[[0, t, 1]]))
        .iter()
        .sum::<f64>()
        / 3.0;
    assert!((digest.array("f").unwrap().units[1].mean - mean).abs() < 1e-12);
}

#[test]
fn a_trace_in_parts_is_the_whole_trace() {
    let layer = layer(vec![lstm(3, 4, 1)], false);
    let x = inputs(4, 20, 3);
    let mask = Array2::from_shape_fn((4, 20), |(row, t)| t < 5 * (row + 1));
    let whole = layer
        .trace(x.view(), Some(mask.view()), None, &ALL)
        .unwrap()
        .remove(0);
    let rows = |rows: std::ops::Range<usize>| {
        let mask = mask.slice(s![rows.clone(), ..]);
        let x = x.slice(s![rows, .., ..]);
        layer.trace(x, Some(mask), None, &ALL).unwrap().remove(0)
    };
    let joined = Trace::concatenate(vec![rows(0..1), rows(1..4)]).unwrap();
    let worst = |one: ArrayView3<f32>, other: ArrayView3<f32>| {
        (&one - &other)
            .iter()
            .fold(0.0, |worst: f32, x| worst.max(x.abs()))
    };
    for ((name, one), (_, other)) in joined.iter().zip(whole.iter()) {
        assert!(worst(one, other) < 1e-6, "{name}");
    }
    assert_eq!(joined.mask, whole.mask);
    assert_eq!(joined.inputs, whole.inputs);
    assert_eq!(joined.initial_state, whole.initial_state);
    assert_eq!(joined.pre_activations.unwrap().dim(), (4, 20, 16));
    assert_eq!(Trace::concatenate(vec![]), None);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let layer = layer(vec![lstm(3, 4, 1)], false);
    let error = layer
        .trace(inputs(2, 5, 2).view(), None, None, &ALL)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "inputs has shape [2, 5, 2], expected (batch, time, 3)"
    );
    let mask = Array2::from_elem((5, 2), true);
    let error = layer.trace(inputs(2, 5, 3).view(), Some(mask.view()), None, &ALL);
    assert_eq!(error.unwrap_err().what, "mask");
    // One output would just fit in memory, the trace of it does not.
    let weights = LstmWeights::new(Array2::zeros((0, 4)), Array2::zeros((1, 4)), None).unwrap();
    let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
    let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default()).unwrap();
    let error = layer.trace(
        Array3::zeros((1 << 30, 1 << 30, 0)).view(),
        None,
        None,
        &ALL,
    );
    assert_eq!(error.unwrap_err().what, "inputs");
}

#[test]
fn a_digest_counts_as_one_would_by_hand() {
    // Gates by their biases alone: i shut in unit 0 and open in unit 1, f open, o half open.
    let bias = array![-5.0, 5.0, 4.0, 5.0, 1.0, -3.0, 0.0, 0.0]; // i f c o of two units
    let weights = LstmWeights::new(Array2::zeros((1, 8)), Array2::zeros((2, 8)), Some(bias));
    let cell = LstmCell::new(weights.unwrap(), Activation::Tanh, Activation::Sigmoid);
    let layer = layer(vec![cell.into()], false);
    let x = Array3::zeros((3, 10, 1));
    let trace = layer
        .trace(x.view(), None, None, &TraceOptions::default())
        .unwrap()
        .remove(0);
    let digest = trace.digest();
    assert_eq!(
        (digest.sequences, digest.counted, digest.masked),
        (3, 30, 0)
    );
    let names: Vec<_> = digest.arrays.iter().map(|array| array.name).collect();
    assert_eq!(names, trace.names());
    let i = digest.array("i").unwrap();
    assert_eq!((i.below(), i.above()), (Some(0.5), Some(0.5)));
    assert_eq!((i.units[0].below, i.units[0].above), (1.0, 0.0));
    let f = digest.array("f").unwrap();
    assert_eq!((f.below(), f.above()), (Some(0.0), Some(1.0)));
    let o = digest.array("o").unwrap();
    assert_eq!((o.below(), o.above(), o.mean), (Some(0.0), Some(0.0), 0.5));
    assert_eq!(digest.array("c").unwrap().below(), None);
    let c_tilde = digest.array("c_tilde").unwrap();
    assert!((c_tilde.units[0].mean - 1f64.tanh()).abs() < 1e-6);
    assert_eq!((c_tilde.units[1].below, c_tilde.units[1].above), (1.0, 0.0));
    let memory = digest.memory.as_ref().unwrap();
    let steps = |b: f64| 1.0 + b.exp(); // 1/(1 − σ(b))
    assert!(
        (memory.steps[0] - steps(4.0)).abs() < 1e-2,
        "{:?}",
        memory.steps
    );
    assert!((memory.median() - (steps(4.0) + steps(5.0)) / 2.0).abs() < 2e-2);
    assert_eq!(memory.longest()[0].0, 1);
    // Unit 1 takes nearly all of its candidate at each step, unit 0 nothing.
    assert_eq!(digest.changes[0].unit, 1);
    let c = trace.get("c").unwrap();
    assert_eq!(digest.changes[0].largest, c[[0, 0, 1]].abs());
    assert_eq!((digest.changes[0].sequence, digest.changes[0].step), (0, 0));
    assert!((digest.changes[0].mean - f64::from(c[[0, 9, 1]].abs()) / 10.0).abs() < 1e-6);
}

#[test]
fn a_gate_that_never_closes_remembers_for_good() {
    let bias = array![0.0, 9.0, 0.0, 0.0];
    let weights = LstmWeights::new(Array2::zeros((1, 4)), Array2::zeros((1, 4)), Some(bias));
    let hard = Activation::HardSigmoid; // exactly 1 there
    let cell = LstmCell::new(weights.unwrap(), Activation::Tanh, hard);
    let trace = layer(vec![cell.into()], false)
        .trace(Array3::zeros((1, 3, 1)).view(), None, None, &ALL)
        .unwrap()
        .remove(0);
    assert_eq!(trace.digest().memory.unwrap().steps, [f64::INFINITY]);
    // Nothing counted, nothing said.
    let none = layer(vec![lstm(1, 2, 1)], false)
        .trace(Array3::zeros((1, 0, 1)).view(), None, None, &ALL)
        .unwrap()
        .remove(0)
        .digest();
    assert_eq!((none.counted, none.sequences), (0, 1));
    assert!(none.array("f").unwrap().mean.is_nan());
}
