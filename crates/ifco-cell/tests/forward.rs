//! The forward pass against the textbook of `reference`, on random layers.

use ifco_cell::{
    Activation, Cell, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions,
    SequenceOutput, SimpleRnnCell, SimpleRnnWeights, reference,
};
use ndarray::{Array2, Array3, ArrayView2};
use proptest::prelude::*;

mod numbers;

use numbers::Numbers;

/// The continuous ones: at a jump, `f32` and `f64` may land on either side.
fn activation() -> impl Strategy<Value = Activation> {
    let relu = |negative_slope, max_value, threshold| Activation::Relu {
        negative_slope,
        max_value,
        threshold,
    };
    let named: Vec<_> = [
        "linear",
        "relu",
        "relu6",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "hard_sigmoid",
        "hard_tanh",
        "softmax",
        "log_softmax",
        "softplus",
        "softsign",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "hard_silu",
        "exponential",
        "mish",
        "log_sigmoid",
        "squareplus",
        "soft_shrink",
        "tanh_shrink",
        "sparse_plus",
        "sparse_sigmoid",
    ]
    .iter()
    .map(|name| Activation::from_name(name).unwrap())
    .chain([
        Activation::HardSigmoidKeras2,
        Activation::Gelu { approximate: true },
        Activation::Celu { alpha: 0.3 },
        Activation::Elu { alpha: 0.3 },
        relu(0.1, Some(0.2), 0.0),
        Activation::SoftShrink { threshold: 0.1 },
    ])
    .collect();
    prop_oneof![
        1 => Just(Activation::Tanh),
        1 => Just(Activation::Sigmoid),
        2 => proptest::sample::select(named),
    ]
}

#[derive(Debug, Clone)]
struct CellPlan {
    kind: usize,
    units: usize,
    bias: bool,
    activation: Activation,
    recurrent_activation: Activation,
}

impl CellPlan {
    fn build(&self, features: usize, numbers: &mut Numbers) -> Cell {
        let gates = [4, 3, 3, 1][self.kind];
        let (units, columns) = (self.units, gates * self.units);
        let kernel = numbers.matrix(features, columns, 1.2 / (1.0 + features as f32).sqrt());
        let recurrent = numbers.matrix(units, columns, 1.2 / (1.0 + units as f32).sqrt());
        let (phi, sigma) = (self.activation, self.recurrent_activation);
        match self.kind {
            0 => {
                let bias = self.bias.then(|| numbers.vector(columns));
                LstmCell::new(
                    LstmWeights::new(kernel, recurrent, bias).unwrap(),
                    phi,
                    sigma,
                )
                .into()
            }
            1 | 2 => {
                let after = self.kind == 2;
                let rows = if after { 2 } else { 1 };
                let bias = self.bias.then(|| numbers.matrix(rows, columns, 0.5));
                let weights = GruWeights::new(kernel, recurrent, bias).unwrap();
                GruCell::new(weights, phi, sigma, after).unwrap().into()
            }
            _ => {
                let bias = self.bias.then(|| numbers.vector(columns));
                let weights = SimpleRnnWeights::new(kernel, recurrent, bias).unwrap();
                SimpleRnnCell::new(weights, phi).into()
            }
        }
    }
}

fn cell_plan() -> impl Strategy<Value = CellPlan> {
    (
        0..4usize,
        1..12usize,
        any::<bool>(),
        activation(),
        activation(),
    )
        .prop_map(
            |(kind, units, bias, activation, recurrent_activation)| CellPlan {
                kind,
                units,
                bias,
                activation,
                recurrent_activation,
            },
        )
}

#[derive(Debug, Clone)]
struct Plan {
    cells: Vec<CellPlan>,
    options: SequenceOptions,
    sizes: (usize, usize, usize),
    masked: bool,
    initial: bool,
    seed: u64,
}

fn plan() -> impl Strategy<Value = Plan> {
    let options = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(return_sequences, go_backwards, zero_output_for_mask)| SequenceOptions {
            return_sequences,
            go_backwards,
            zero_output_for_mask,
        },
    );
    // A few batches beyond one block of rows, and few rows more often than not.
    let batch = prop_oneof![4 => 0..8usize, 1 => 60..140usize];
    (
        proptest::collection::vec(cell_plan(), 1..4),
        options,
        (batch, 0..9usize, 0..20usize),
        any::<bool>(),
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(|(cells, options, sizes, masked, initial, seed)| Plan {
            cells,
            options,
            sizes,
            masked,
            initial,
            seed,
        })
}

fn wide<D: ndarray::Dimension>(array: &ndarray::Array<f32, D>) -> ndarray::Array<f64, D> {
    array.mapv(f64::from)
}

/// Greatest difference beside the size of the values; `None` when they are too great to say.
fn difference<D: ndarray::Dimension>(
    found: &ndarray::Array<f32, D>,
    right: &ndarray::Array<f64, D>,
) -> Option<f64> {
    assert_eq!(found.shape(), right.shape());
    let size = right.iter().fold(1.0, |size: f64, x| match x.is_finite() {
        true => size.max(x.abs()),
        false => f64::INFINITY,
    });
    (size < 20.0).then(|| {
        let worst = found
            .iter()
            .zip(right)
            .map(|(a, b)| (f64::from(*a) - b).abs());
        worst.fold(0.0, |worst: f64, x| match x.is_nan() {
            true => f64::INFINITY,
            false => worst.max(x),
        }) / size
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn forward_is_the_textbook(plan in plan()) {
        let (batch, time, features) = plan.sizes;
        let mut numbers = Numbers(plan.seed);
        let mut width = features;
        let cells = plan.cells.iter().map(|cell| {
            let built = cell.build(width, &mut numbers);
            width = cell.units;
            built
        });
        let layer = RecurrentLayer::new(cells.collect(), plan.options).unwrap();

        let inputs = Array3::from_shape_simple_fn((batch, time, features), || 4.0 * numbers.next() - 2.0);
        let mask = plan.masked.then(|| {
            Array2::from_shape_simple_fn((batch, time), || numbers.next() < 0.6)
        });
        let initial: Option<Vec<_>> = plan.initial.then(|| {
            layer.state_sizes().map(|units| numbers.matrix(batch, units, 1.0)).collect()
        });
        let views: Option<Vec<ArrayView2<f32>>> =
            initial.as_ref().map(|states| states.iter().map(|s| s.view()).collect());
        let found = layer
            .forward(inputs.view(), mask.as_ref().map(|m| m.view()), views.as_deref())
            .unwrap();

        let initial: Option<Vec<_>> = initial.map(|states| states.iter().map(wide).collect());
        let views: Option<Vec<_>> =
            initial.as_ref().map(|states| states.iter().map(|s| s.view()).collect());
        let right = reference::sequence(
            &layer, wide(&inputs).view(), mask.as_ref().map(|m| m.view()), views.as_deref(),
        );
        let output = match &found.output {
            SequenceOutput::Last(last) => difference(last, &right.last),
            SequenceOutput::Sequences(all) => difference(all, &right.outputs),
        };
        prop_assert_eq!(found.output.sequences().is_some(), plan.options.return_sequences);
        let states = found.states.iter().zip(&right.states);
        let states: Option<Vec<_>> = states.map(|(a, b)| difference(a, b)).collect();
        // Where a state exploded, all that follows from it depends on the last bits of it.
        if let (Some(output), Some(states)) = (output, states) {
            prop_assert!(output < 1e-4, "output differs by {}", output);
            prop_assert!(states.iter().all(|state| *state < 1e-4), "states differ by {:?}", states);
        }
    }

    #[test]
    fn any_memory_order_gives_the_same(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        let cell = CellPlan {
            kind: 0,
            units: 3,
            bias: true,
            activation: Activation::Tanh,
            recurrent_activation: Activation::Sigmoid,
        };
        let layer = RecurrentLayer::new(
            vec![cell.build(2, &mut numbers)],
            SequenceOptions::default(),
        ).unwrap();
        let inputs = Array3::from_shape_simple_fn((4, 5, 2), || numbers.next());
        let states = [numbers.matrix(4, 3, 1.0), numbers.matrix(4, 3, 1.0)];
        let mask = Array2::from_shape_simple_fn((4, 5), || numbers.next() < 0.5);
        let right = layer.forward(
            inputs.view(), Some(mask.view()), Some(&[states[0].view(), states[1].view()]),
        );
        let turned = inputs.view().permuted_axes([2, 1, 0]).as_standard_layout().into_owned();
        let flipped = states.each_ref().map(|s| s.t().as_standard_layout().into_owned());
        let mask = mask.t().as_standard_layout().into_owned();
        let found = layer.forward(
            turned.view().permuted_axes([2, 1, 0]),
            Some(mask.t()),
            Some(&[flipped[0].t(), flipped[1].t()]),
        );
        prop_assert_eq!(found, right);
    }
}

fn lstm(features: usize, units: usize) -> Cell {
    CellPlan {
        kind: 0,
        units,
        bias: true,
        activation: Activation::Tanh,
        recurrent_activation: Activation::Sigmoid,
    }
    .build(features, &mut Numbers(1))
}

#[test]
fn a_long_sequence_goes_through_many_chunks() {
    let layer = RecurrentLayer::new(
        vec![lstm(5, 40), lstm(40, 24)],
        SequenceOptions {
            return_sequences: true,
            ..SequenceOptions::default()
        },
    )
    .unwrap();
    let mut numbers = Numbers(2);
    let inputs = Array3::from_shape_simple_fn((7, 600, 5), || numbers.next());
    let found = layer.forward(inputs.view(), None, None).unwrap();
    let right = reference::sequence(&layer, wide(&inputs).view(), None, None);
    let worst = difference(found.output.sequences().unwrap(), &right.outputs);
    assert!(worst.unwrap() < 1e-5, "{worst:?}");
}

#[test]
fn a_masked_nan_is_never_seen() {
    let layer = RecurrentLayer::new(vec![lstm(2, 3)], SequenceOptions::default()).unwrap();
    let mut inputs = Array3::from_elem((1, 3, 2), 0.5);
    inputs[[0, 1, 0]] = f32::NAN;
    let mask = Array2::from_shape_vec((1, 3), vec![true, false, true]).unwrap();
    let found = layer
        .forward(inputs.view(), Some(mask.view()), None)
        .unwrap();
    assert!(found.output.last().unwrap().iter().all(|x| x.is_finite()));
}

#[test]
fn without_steps_the_states_stay_and_the_output_is_zeros() {
    let layer = RecurrentLayer::new(vec![lstm(2, 3)], SequenceOptions::default()).unwrap();
    let state = Array2::from_elem((4, 3), 0.25);
    let inputs = Array3::zeros((4, 0, 2));
    let initial = [state.view(), state.view()];
    let found = layer.forward(inputs.view(), None, Some(&initial)).unwrap();
    assert_eq!(found.output.last().unwrap(), Array2::<f32>::zeros((4, 3)));
    assert_eq!(found.states, [state.clone(), state.clone()]);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let error = RecurrentLayer::new(vec![], SequenceOptions::default()).unwrap_err();
    assert!(error.to_string().contains("at least one cell"), "{error}");
    let cells = vec![lstm(2, 3), lstm(4, 3)];
    let error = RecurrentLayer::new(cells, SequenceOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kernel has shape [4, 12], expected 3 rows in stacked cell 1, as cell 0 has 3 units"
    );

    let layer = RecurrentLayer::new(vec![lstm(2, 3)], SequenceOptions::default()).unwrap();
    let inputs = Array3::zeros((4, 5, 2));
    let wrong = Array3::zeros((4, 5, 3));
    let error = layer.forward(wrong.view(), None, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "inputs has shape [4, 5, 3], expected (batch, time, 2)"
    );
    let mask = Array2::from_elem((5, 4), true);
    let error = layer.forward(inputs.view(), Some(mask.view()), None);
    assert_eq!(error.unwrap_err().what, "mask");
    let state = Array2::zeros((4, 3));
    let error = layer.forward(inputs.view(), None, Some(&[state.view()]));
    assert_eq!(error.unwrap_err().what, "initial_state");
    let wrong = Array2::zeros((4, 2));
    let error = layer.forward(inputs.view(), None, Some(&[state.view(), wrong.view()]));
    assert_eq!(error.unwrap_err().what, "initial_state[1]");
}

#[test]
fn a_batch_that_cannot_fit_in_memory_is_an_error() {
    // Without features the inputs themselves take no memory, whatever batch and time they claim.
    let weights = LstmWeights::new(Array2::zeros((0, 8)), Array2::zeros((2, 8)), None).unwrap();
    let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
    let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default()).unwrap();
    let inputs = Array3::zeros((1 << 31, 1 << 31, 0));
    let error = layer.forward(inputs.view(), None, None).unwrap_err();
    assert_eq!(error.what, "inputs");
}
