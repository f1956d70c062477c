//! The gradients by the states of every step against finite differences, the carousel, the digest.

use ifco_cell::{
    Activation, BackwardOptions, Cell, Dropout, GradientTrace, GruCell, GruWeights, LstmCell,
    LstmWeights, RecurrentLayer, SequenceGradient, SequenceOptions, SimpleRnnCell,
    SimpleRnnWeights, TraceOptions, reference,
};
use ndarray::{Array2, Array3, ArrayView2, Axis, array, s};

mod numbers;

use numbers::Numbers;

const FEATURES: usize = 3;
const UNITS: usize = 5;
const TIME: usize = 6;

fn lstm(numbers: &mut Numbers, recurrent: f32) -> Cell {
    let weights = LstmWeights::new(
        numbers.matrix(FEATURES, 4 * UNITS, 1.0),
        numbers.matrix(UNITS, 4 * UNITS, recurrent),
        Some(numbers.vector(4 * UNITS)),
    );
    LstmCell::new(weights.unwrap(), Activation::Tanh, Activation::Sigmoid).into()
}

fn cells(numbers: &mut Numbers) -> Vec<Cell> {
    let gru = GruWeights::new(
        numbers.matrix(FEATURES, 3 * UNITS, 1.0),
        numbers.matrix(UNITS, 3 * UNITS, 1.0),
        Some(numbers.matrix(2, 3 * UNITS, 0.5)),
    );
    let gru = GruCell::new(gru.unwrap(), Activation::Tanh, Activation::Sigmoid, true);
    let rnn = SimpleRnnWeights::new(
        numbers.matrix(FEATURES, UNITS, 1.0),
        numbers.matrix(UNITS, UNITS, 1.0),
        Some(numbers.vector(UNITS)),
    );
    let rnn = SimpleRnnCell::new(rnn.unwrap(), Activation::Tanh);
    vec![lstm(numbers, 1.0), gru.unwrap().into(), rnn.into()]
}

fn layer(cell: Cell, go_backwards: bool) -> RecurrentLayer {
    let options = SequenceOptions {
        go_backwards,
        ..SequenceOptions::default()
    };
    RecurrentLayer::new(vec![cell], options).unwrap()
}

/// The gradients by the states of a loss that is what the last states count, and its trace.
fn traced(
    layer: &RecurrentLayer,
    x: &Array3<f32>,
    mask: Option<ArrayView2<'_, bool>>,
    counts: &[Array2<f32>],
) -> GradientTrace {
    let options = TraceOptions::default();
    let trace = layer.trace(x.view(), mask, None, &options).unwrap();
    let forward = layer.forward_for_training(x.view(), mask, None, &Dropout::default());
    let (_, tape) = forward.unwrap();
    let counts: Vec<_> = counts.iter().map(|counts| counts.view()).collect();
    let keep = BackwardOptions {
        states: true,
        ..BackwardOptions::default()
    };
    let found = tape.backward_with(layer, SequenceGradient::None, Some(&counts), &keep);
    let states = found.unwrap().states.unwrap();
    GradientTrace::new(trace.into_iter().next().unwrap(), states).unwrap()
}

fn wide(array: &Array2<f32>) -> Array2<f64> {
    array.mapv(f64::from)
}

#[test]
fn states_have_the_gradients_that_finite_differences_have() {
    let mut numbers = Numbers(5);
    for cell in cells(&mut numbers) {
        for go_backwards in [false, true] {
            let layer = layer(cell.clone(), go_backwards);
            let x = Array3::from_shape_simple_fn((2, TIME, FEATURES), || numbers.signed());
            // One sequence ends early, the other one has a gap.
            let mut mask = Array2::from_elem((2, TIME), true);
            (mask[[0, TIME - 1]], mask[[1, 2]]) = (false, false);
            let sizes: Vec<usize> = layer.state_sizes().collect();
            let counts: Vec<_> = sizes.iter().map(|u| numbers.matrix(2, *u, 1.0)).collect();
            let found = traced(&layer, &x, Some(mask.view()), &counts);

            let wide_x = x.mapv(f64::from);
            for read in 0..TIME {
                // The states after so many steps, and the loss of what follows from them.
                let part = |from: usize, to: usize, states: Option<&[Array2<f64>]>| {
                    let steps = match go_backwards {
                        true => TIME - to..TIME - from,
                        false => from..to,
                    };
                    let views: Option<Vec<_>> =
                        states.map(|states| states.iter().map(|state| state.view()).collect());
                    reference::sequence(
                        &layer,
                        wide_x.slice(s![.., steps.clone(), ..]),
                        Some(mask.slice(s![.., steps])),
                        views.as_deref(),
                    )
                    .states
                };
                let states = part(0, read + 1, None);
                let loss = |states: &[Array2<f64>]| {
                    let last = part(read + 1, TIME, Some(states));
                    let of_states = last.iter().zip(&counts);
                    of_states
                        .map(|(state, counts)| (state * &wide(counts)).sum())
                        .sum::<f64>()
                };
                let t = if go_backwards { TIME - 1 - read } else { read };
                for (index, state) in states.iter().enumerate() {
                    let all = if index == 0 {
                        found.dh()
                    } else {
                        found.dc().unwrap()
                    };
                    for ((row, unit), _) in state.indexed_iter() {
                        let moved = |by: f64| {
                            let mut states = states.clone();
                            states[index][[row, unit]] += by;
                            loss(&states)
                        };
                        // What a state does besides: c of a step is shown in its h too.
                        let mut right = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                        if index == 1 && mask[[row, t]] {
                            let o = f64::from(found.trace.get("o").unwrap()[[row, t, unit]]);
                            let slope = 1.0 - state[[row, unit]].tanh().powi(2);
                            right += f64::from(found.dh()[[row, t, unit]]) * o * slope;
                        }
                        let value = f64::from(all[[row, t, unit]]);
                        assert!(
                            (value - right).abs() < 1e-5,
                            "{:?} by state {index} at {t}: {value} is not {right}",
                            layer.cells()[0].kind()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn without_recurrent_weights_the_carousel_is_the_whole_gradient() {
    let mut numbers = Numbers(11);
    for go_backwards in [false, true] {
        let layer = layer(lstm(&mut numbers, 0.0), go_backwards);
        let x = Array3::from_shape_simple_fn((2, TIME, FEATURES), || numbers.signed());
        let mut mask = Array2::from_elem((2, TIME), true);
        mask[[1, 3]] = false;
        // The loss is the last c, which nothing but c before it reaches.
        let counts = [Array2::zeros((2, UNITS)), Array2::ones((2, UNITS))];
        let found = traced(&layer, &x, Some(mask.view()), &counts);
        let kept = found.trace.carousel().unwrap();
        for (dc, kept) in found.dc().unwrap().iter().zip(&kept) {
            assert!((dc - kept).abs() <= 1e-6 * kept.abs(), "{dc} is not {kept}");
        }
        let (first, last) = if go_backwards {
            (TIME - 1, 0)
        } else {
            (0, TIME - 1)
        };
        let between = found.trace.carousel_between(first, last).unwrap();
        let whole = kept.index_axis(Axis(1), first);
        assert!((&between - &whole).iter().all(|d| d.abs() < 1e-7));
        assert_eq!(found.trace.carousel_between(last, first), None);
        assert_eq!(found.trace.carousel_between(first, TIME), None);
        let same = found.trace.carousel_between(first, first).unwrap();
        assert_eq!(same, Array2::<f32>::ones((2, UNITS)));
        // So the gradient's half-lives are those of the gates.
        let digest = found.digest();
        let pairs = digest.flow("dc").unwrap().half_lives.iter();
        for (dc, kept) in pairs.zip(&digest.carousel().unwrap().half_lives) {
            assert!((dc - kept).abs() < 1e-4 * kept.abs(), "{dc} is not {kept}");
        }
    }
}

/// h' = x + u∘h of two units: the gradient of the sum of the last h is a power of u.
fn powers(u: [f32; 2], time: usize) -> GradientTrace {
    let recurrent = array![[u[0], 0.0], [0.0, u[1]]];
    let weights = SimpleRnnWeights::new(Array2::ones((1, 2)), recurrent, None).unwrap();
    let layer = layer(
        SimpleRnnCell::new(weights, Activation::Linear).into(),
        false,
    );
    let x = Array3::ones((1, time, 1));
    traced(&layer, &x, None, &[Array2::ones((1, 2))])
}

#[test]
fn the_digest_tells_what_vanishes_and_what_grows() {
    let digest = powers([0.5, 0.25], 9).digest();
    let dh = digest.flow("dh").unwrap();
    assert!((dh.half_lives[0] - 1.0).abs() < 1e-6 && (dh.half_lives[1] - 0.5).abs() < 1e-6);
    assert!((dh.last() - f64::sqrt(2.0)).abs() < 1e-9);
    assert!((dh.ratio() - 0.5_f64.powi(8) / 2.0_f64.sqrt()).abs() < 1e-6);
    assert_eq!(dh.vanishes(0.01), Some(7)); // 1/128 of √2 is less than 1 %
    assert_eq!(dh.largest().0, 0);
    assert_eq!(digest.carousel(), None);

    let digest = powers([2.0, 0.5], 9).digest();
    let dh = digest.flow("dh").unwrap();
    assert!((dh.half_lives[0] + 1.0).abs() < 1e-6, "it doubles");
    assert_eq!(dh.longest()[0].0, 0);
    assert_eq!((dh.vanishes(0.01), dh.largest().0), (None, 8));

    let nothing = powers([0.0, 1.0], 3).digest();
    let half_lives = &nothing.flow("dh").unwrap().half_lives;
    assert!(half_lives[0].is_nan() && half_lives[1].is_infinite());
    let none = powers([0.5, 0.5], 0).digest();
    assert!(none.flow("dh").unwrap().last().is_nan() && none.counted == 0);
}

/// A sequence that is shorter and whose loss is smaller has the same half-lives.
#[test]
fn half_lives_are_those_within_the_sequences() {
    let recurrent = array![[0.5, 0.0], [0.0, 0.25]];
    let weights = SimpleRnnWeights::new(Array2::ones((1, 2)), recurrent, None).unwrap();
    let layer = layer(
        SimpleRnnCell::new(weights, Activation::Linear).into(),
        false,
    );
    let mut mask = Array2::from_elem((2, 9), true);
    mask.slice_mut(s![1, 5..]).fill(false);
    let counts = array![[1.0, 1.0], [1e-6, 1e-6]];
    let found = traced(
        &layer,
        &Array3::ones((2, 9, 1)),
        Some(mask.view()),
        &[counts],
    );
    let digest = found.digest();
    assert_eq!((digest.counted, digest.masked), (14, 4));
    let half_lives = &digest.flow("dh").unwrap().half_lives;
    assert!((half_lives[0] - 1.0).abs() < 1e-5 && (half_lives[1] - 0.5).abs() < 1e-5);
}

#[test]
fn other_shapes_are_no_gradients_of_a_trace() {
    let trace = powers([0.5, 0.5], 3).trace;
    assert_eq!(GradientTrace::new(trace.clone(), vec![]), None);
    assert_eq!(
        GradientTrace::new(trace, vec![Array3::zeros((1, 2, 2))]),
        None
    );
}
