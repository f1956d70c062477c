//! The forward pass against the textbook of `reference`, on random layers.

use ifco_cell::{
    Activation, Cell, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions, SequenceOutput,
    reference,
};
use ndarray::{Array2, Array3, ArrayView2};
use proptest::prelude::*;

mod numbers;
mod plans;

use numbers::Numbers;
use plans::{CellPlan, difference, plan, wide};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn forward_is_the_textbook(plan in plan()) {
        let (batch, time, features) = plan.sizes;
        let mut numbers = Numbers(plan.seed);
        let layer = plan.layer(&mut numbers);

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
        "kernel has shape [4, 12], expected 3 rows in stacked cell 1, as cell 0 puts out 3 values"
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
