//! The gradients of the textbook against finite differences, and what is refused.

use ifco_cell::{
    Activation, BackwardOptions, Cell, Dropout, Gradients, GruCell, GruWeights, LayerNorm,
    LstmCell, LstmWeights, Norm, NormedSums, RecurrentLayer, SequenceGradient, SequenceOptions,
    SequenceOutput, SimpleRnnCell, SimpleRnnWeights, reference,
};
use ndarray::{Array2, Array3, ArrayView2};
use proptest::prelude::*;

mod extras;
mod numbers;
mod plans;

use numbers::Numbers;
use plans::{CellPlan, Plan, difference, plan, wide};

/// A layer, what it is run on, and how much each output and each last state counts in the loss.
struct Question {
    layer: RecurrentLayer,
    inputs: Array3<f32>,
    mask: Option<Array2<bool>>,
    initial: Vec<Array2<f32>>,
    dropout: Dropout,
    d_outputs: Array3<f32>,
    d_states: Vec<Array2<f32>>,
}

/// Masks of a cell, with 0, 1 or as many of them as it has gates.
fn masks(cell: &Cell, batch: usize, size: usize, numbers: &mut Numbers) -> Option<Array3<f32>> {
    let count = match (3.0 * numbers.next()) as usize {
        0 => return None,
        1 => 1,
        _ => cell.kind().gates(),
    };
    let mask = |_| if numbers.next() < 0.4 { 0.0 } else { 1.5 };
    Some(Array3::from_shape_fn((count, batch, size), mask))
}

impl Question {
    fn new(layer: RecurrentLayer, plan: &Plan, numbers: &mut Numbers) -> Self {
        let (batch, time, features) = plan.sizes;
        let mut array = |shape| Array3::from_shape_simple_fn(shape, || 1.5 * numbers.signed());
        let inputs = array((batch, time, features));
        let mut d_outputs = array((batch, time, layer.units()));
        if !plan.options.return_sequences && time > 0 {
            d_outputs
                .slice_mut(ndarray::s![.., ..time - 1, ..])
                .fill(0.0);
        }
        let mask = plan
            .masked
            .then(|| Array2::from_shape_simple_fn((batch, time), || numbers.next() < 0.6));
        let mut states = || -> Vec<_> {
            let sizes = layer.state_sizes();
            sizes
                .map(|units| numbers.matrix(batch, units, 1.0))
                .collect()
        };
        let (initial, d_states) = (states(), states());
        let mut dropout = Dropout::default();
        if plan.initial {
            for cell in layer.cells() {
                let of_inputs = masks(cell, batch, cell.features(), numbers);
                dropout.inputs.push(of_inputs);
                let of_h = masks(cell, batch, cell.outputs(), numbers);
                dropout.recurrent.push(of_h);
            }
        }
        Self {
            layer,
            inputs,
            mask,
            initial,
            dropout,
            d_outputs,
            d_states,
        }
    }

    fn mask(&self) -> Option<ArrayView2<'_, bool>> {
        self.mask.as_ref().map(|mask| mask.view())
    }

    /// The loss: all outputs and last states, weighted.
    fn loss(&self, layer: &RecurrentLayer, inputs: &Array3<f64>, initial: &[Array2<f64>]) -> f64 {
        let views: Vec<_> = initial.iter().map(|state| state.view()).collect();
        let found = reference::sequence_with_dropout(
            layer,
            inputs.view(),
            self.mask(),
            Some(&views),
            &self.dropout,
        );
        let of_states = found.states.iter().zip(&self.d_states);
        (found.outputs * wide(&self.d_outputs)).sum()
            + of_states
                .map(|(state, d)| (state * &wide(d)).sum())
                .sum::<f64>()
    }

    fn textbook(&self) -> Gradients<f64> {
        let initial: Vec<_> = self.initial.iter().map(wide).collect();
        let initial: Vec<_> = initial.iter().map(|state| state.view()).collect();
        let d_states: Vec<_> = self.d_states.iter().map(wide).collect();
        let d_states: Vec<_> = d_states.iter().map(|state| state.view()).collect();
        reference::gradients(
            &self.layer,
            wide(&self.inputs).view(),
            self.mask(),
            Some(&initial),
            &self.dropout,
            wide(&self.d_outputs).view(),
            Some(&d_states),
        )
    }

    fn backward(&self, options: &BackwardOptions) -> (ifco_cell::Sequence, Gradients) {
        let initial: Vec<_> = self.initial.iter().map(|state| state.view()).collect();
        let (sequence, tape) = self
            .layer
            .forward_for_training(
                self.inputs.view(),
                self.mask(),
                Some(&initial),
                &self.dropout,
            )
            .unwrap();
        let d_states: Vec<_> = self.d_states.iter().map(|state| state.view()).collect();
        let (_, time, _) = self.inputs.dim();
        let d_output = match (self.layer.options.return_sequences, time) {
            (true, _) => SequenceGradient::Sequences(self.d_outputs.view()),
            (false, 0) => SequenceGradient::None,
            (false, time) => {
                let last = self.d_outputs.slice(ndarray::s![.., time - 1, ..]);
                SequenceGradient::Last(last)
            }
        };
        let found = tape.backward_with(&self.layer, d_output, Some(&d_states), options);
        (sequence, found.unwrap())
    }

    /// Holds a derivative to what the loss does where a value is moved to both sides. The moved
    /// values are of `f32`, as weights are: the step is what is left of it.
    fn hold(&self, what: &str, found: f64, value: f64, loss: impl Fn(f64) -> f64) {
        let step = 1e-3 * value.abs().max(1.0);
        let slope = |step: f64| {
            let (above, below) = ((value + step) as f32, (value - step) as f32);
            let (above, below) = (f64::from(above), f64::from(below));
            (loss(above) - loss(below)) / (above - below)
        };
        // Richardson's extrapolation: what is left is of the fourth order.
        let (whole, half) = (slope(step), slope(step / 2.0));
        let right = (4.0 * half - whole) / 3.0;
        let error = (found - right).abs() / right.abs().max(1.0);
        // A kink near by shows in that half the step gives something else.
        let doubt = (whole - half).abs() / right.abs().max(1.0);
        assert!(error < 1e-6 + doubt, "{what}: {found} and not {right}");
        assert!(doubt < 0.2, "{what}: {whole} and {half}: too rough to say");
    }

    /// Some values of every array, moved.
    fn check(&self, numbers: &mut Numbers) {
        let found = self.textbook();
        let inputs = wide(&self.inputs);
        let initial: Vec<_> = self.initial.iter().map(wide).collect();
        let some = |array: &[f64], numbers: &mut Numbers| -> Vec<usize> {
            let len = array.len();
            (0..len.min(3))
                .map(|_| (numbers.next() * len as f32) as usize % len)
                .collect()
        };
        for index in some(found.inputs.as_slice().unwrap(), numbers) {
            let value = inputs.as_slice().unwrap()[index];
            let d = found.inputs.as_slice().unwrap()[index];
            self.hold("inputs", d, value, |value| {
                let mut moved = inputs.clone();
                moved.as_slice_mut().unwrap()[index] = value;
                self.loss(&self.layer, &moved, &initial)
            });
        }
        for (k, d) in found.initial_states.iter().enumerate() {
            for index in some(d.as_slice().unwrap(), numbers) {
                let value = initial[k].as_slice().unwrap()[index];
                self.hold(
                    "initial_state",
                    d.as_slice().unwrap()[index],
                    value,
                    |value| {
                        let mut moved = initial.clone();
                        moved[k].as_slice_mut().unwrap()[index] = value;
                        self.loss(&self.layer, &inputs, &moved)
                    },
                );
            }
        }
        for (k, of_cell) in found.cells.iter().enumerate() {
            for (array, (name, d)) in of_cell.arrays().enumerate() {
                let d = d.as_slice().unwrap();
                for index in some(d, numbers) {
                    let cell = &self.layer.cells()[k];
                    let mut value = 0.0;
                    with_weight(cell, array, index, |weight| value = f64::from(*weight));
                    self.hold(name, d[index], value, |value| {
                        let mut cells = self.layer.cells().to_vec();
                        cells[k] = with_weight(cell, array, index, |weight| {
                            *weight = value as f32;
                        });
                        let layer = RecurrentLayer::new(cells, self.layer.options).unwrap();
                        self.loss(&layer, &inputs, &initial)
                    });
                }
            }
        }
    }
}

/// The cell with one weight changed: of the so-manieth array of its gradients.
fn with_weight(cell: &Cell, array: usize, index: usize, mut change: impl FnMut(&mut f32)) -> Cell {
    let mut count = 0;
    let mut at = |values: Option<&mut [f32]>| {
        if let Some(values) = values {
            if count == array {
                change(&mut values[index]);
            }
            count += 1;
        }
    };
    match cell {
        Cell::Lstm(cell) => {
            let weights = cell.weights();
            let mut projection = weights.projection().map(|array| array.to_owned());
            let mut peepholes = weights.peepholes().map(|array| array.to_owned());
            let mut layer_norm = weights.layer_norm().cloned();
            let (mut kernel, mut recurrent, mut bias) = weights.clone().into_parts();
            at(kernel.as_slice_mut());
            at(recurrent.as_slice_mut());
            at(bias.as_mut().and_then(|array| array.as_slice_mut()));
            at(projection.as_mut().and_then(|array| array.as_slice_mut()));
            at(peepholes.as_mut().and_then(|array| array.as_slice_mut()));
            if let Some(LayerNorm { sums, state, .. }) = &mut layer_norm {
                let mut of_norm = |norm: &mut Norm| {
                    at(norm.gamma.as_slice_mut());
                    at(norm.beta.as_slice_mut());
                };
                match sums {
                    NormedSums::Gates(norm) => of_norm(norm),
                    NormedSums::Products { kernel, recurrent } => {
                        of_norm(kernel);
                        of_norm(recurrent);
                    }
                    _ => unreachable!(),
                }
                of_norm(state);
            }
            let mut weights = match projection {
                Some(projection) => {
                    LstmWeights::projected(kernel, recurrent, bias, projection).unwrap()
                }
                None => LstmWeights::new(kernel, recurrent, bias).unwrap(),
            };
            if let Some(peepholes) = peepholes {
                weights = weights.with_peepholes(peepholes).unwrap();
            }
            if let Some(layer_norm) = layer_norm {
                weights = weights.with_layer_norm(layer_norm).unwrap();
            }
            LstmCell::new(weights, cell.activation(), cell.recurrent_activation())
                .with_options(cell.options())
                .unwrap()
                .into()
        }
        Cell::Gru(cell) => {
            let (mut kernel, mut recurrent, mut bias) = cell.weights().clone().into_parts();
            at(kernel.as_slice_mut());
            at(recurrent.as_slice_mut());
            at(bias.as_mut().and_then(|array| array.as_slice_mut()));
            let weights = GruWeights::new(kernel, recurrent, bias).unwrap();
            let (phi, sigma) = (cell.activation(), cell.recurrent_activation());
            let made = GruCell::new(weights, phi, sigma, cell.reset_after()).unwrap();
            made.with_clip(cell.clip()).unwrap().into()
        }
        Cell::SimpleRnn(cell) => {
            let (mut kernel, mut recurrent, mut bias) = cell.weights().clone().into_parts();
            at(kernel.as_slice_mut());
            at(recurrent.as_slice_mut());
            at(bias.as_mut().and_then(|array| array.as_slice_mut()));
            let weights = SimpleRnnWeights::new(kernel, recurrent, bias).unwrap();
            let made = SimpleRnnCell::new(weights, cell.activation());
            made.with_clip(cell.clip()).unwrap().into()
        }
        _ => unreachable!(),
    }
}

/// Those without a kink, where a difference says nothing.
const SMOOTH: [Activation; 16] = [
    Activation::Linear,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softmax,
    Activation::LogSoftmax,
    Activation::Softplus,
    Activation::Softsign,
    Activation::Elu { alpha: 1.0 },
    Activation::Gelu { approximate: false },
    Activation::Gelu { approximate: true },
    Activation::Silu,
    Activation::Mish,
    Activation::LogSigmoid,
    Activation::Squareplus { b: 4.0 },
    Activation::TanhShrink,
    Activation::Celu { alpha: 0.3 },
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 60 } else { 400 }))]

    #[test]
    fn the_textbook_is_what_differences_say(plan in plan(), of in proptest::collection::vec(0..16usize, 6)) {
        let mut plan = plan;
        plan.sizes = (plan.sizes.0 % 4, plan.sizes.1 % 5, plan.sizes.2 % 6);
        let mut choice = of.iter().cycle();
        for cell in &mut plan.cells {
            cell.units = cell.units.min(5);
            cell.activation = SMOOTH[*choice.next().unwrap()];
            cell.recurrent_activation = SMOOTH[*choice.next().unwrap()];
        }
        let mut numbers = Numbers(plan.seed);
        let layer = plan.layer(&mut numbers);
        let question = Question::new(layer, &plan, &mut numbers);
        let size = question.loss(
            &question.layer,
            &wide(&question.inputs),
            &question.initial.iter().map(wide).collect::<Vec<_>>(),
        );
        // What explodes has no use for differences.
        if size.abs() < 100.0 {
            question.check(&mut numbers);
        }
    }
}

/// Every activation alone: a value moved to both sides.
#[test]
fn every_activation_has_its_slope() {
    let relu = |negative_slope, max_value, threshold| Activation::Relu {
        negative_slope,
        max_value,
        threshold,
    };
    let others = [
        Activation::Affine {
            alpha: 0.7,
            beta: 0.2,
        },
        Activation::ScaledTanh {
            alpha: 1.5,
            beta: 0.6,
        },
        Activation::HardSigmoidOf {
            alpha: 0.3,
            beta: 0.4,
        },
        Activation::HardSigmoidKeras2,
        Activation::Gelu { approximate: true },
        Activation::Celu { alpha: 0.3 },
        Activation::Elu { alpha: 0.3 },
        Activation::Threshold {
            threshold: 0.5,
            default_value: -2.0,
        },
        relu(0.1, None, 0.0),
        relu(0.1, Some(2.0), 0.0),
        relu(0.0, None, 1.5),
        relu(0.0, Some(6.0), 0.0),
        relu(0.2, Some(3.0), -1.0),
        relu(0.2, None, -1.0),
    ];
    let mut numbers = Numbers(5);
    for activation in Activation::named().chain(others) {
        for _ in 0..200 {
            let x: Vec<f64> = (0..4).map(|_| f64::from(4.0 * numbers.signed())).collect();
            let weights: Vec<f64> = (0..4).map(|_| f64::from(numbers.signed())).collect();
            let mut d = weights.clone();
            reference::activate_backward(activation, &x, &mut d);
            let narrow =
                |values: &[f64]| -> Vec<f32> { values.iter().map(|x| *x as f32).collect() };
            let (narrow_x, mut y, mut narrow_d) = (narrow(&x), narrow(&x), narrow(&weights));
            activation.apply(&mut y);
            activation.backward(&narrow_x, &y, &mut narrow_d);
            for index in 0..4 {
                let step = 1e-5;
                let at = |step: f64| -> f64 {
                    let mut y = x.clone();
                    y[index] += step;
                    reference::activate(activation, &mut y);
                    y.iter().zip(&weights).map(|(y, weight)| y * weight).sum()
                };
                let right = (at(step) - at(-step)) / (2.0 * step);
                let error = (d[index] - right).abs() / right.abs().max(1.0);
                assert!(
                    error < 1e-6,
                    "{activation:?} of {x:?}: {} and not {right}",
                    d[index]
                );
                let error = (f64::from(narrow_d[index]) - d[index]).abs() / d[index].abs().max(1.0);
                assert!(
                    error < 1e-5,
                    "{activation:?} of {x:?}: {} in f32",
                    narrow_d[index]
                );
            }
        }
    }
}

#[test]
fn every_combination_of_options_has_its_gradients() {
    for combination in (0..extras::COMBINATIONS).step_by(5) {
        let mut numbers = Numbers(combination as u64 + 1);
        let sizes = (3, 4, 3);
        let cell = extras::lstm(combination, sizes, &mut numbers);
        // What is clipped has kinks everywhere: `what_is_clipped_has_no_gradient` sees to those.
        let options = ifco_cell::LstmOptions {
            clip: cell.options().clip.map(|_| 8.0),
            cell_clip: cell.options().cell_clip.map(|_| 8.0),
            projection_clip: cell.options().projection_clip.map(|_| 8.0),
            ..cell.options()
        };
        let cell = cell.with_options(options).unwrap();
        let options = SequenceOptions {
            return_sequences: true,
            ..SequenceOptions::default()
        };
        let layer = RecurrentLayer::new(vec![cell.into()], options).unwrap();
        let plan = Plan {
            cells: vec![],
            options,
            sizes: (2, 4, 3),
            masked: combination % 2 == 0,
            initial: combination % 3 == 0,
            seed: 0,
        };
        Question::new(layer, &plan, &mut numbers).check(&mut numbers);
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
fn what_is_clipped_has_no_gradient() {
    let cell = match lstm(2, 3) {
        Cell::Lstm(cell) => cell,
        _ => unreachable!(),
    };
    let options = ifco_cell::LstmOptions {
        cell_clip: Some(1e-6),
        ..cell.options()
    };
    let cell = cell.with_options(options).unwrap();
    let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default()).unwrap();
    let inputs = Array3::from_elem((1, 1, 2), 0.7);
    let none = Dropout::default();
    let (_, tape) = layer
        .forward_for_training(inputs.view(), None, None, &none)
        .unwrap();
    let d = Array2::ones((1, 3));
    let found = tape
        .backward(&layer, SequenceGradient::Last(d.view()), None)
        .unwrap();
    let kernel = &found.cells[0].kernel;
    // c is at its bound: only what the output gate lets through still moves the output.
    assert!(kernel.slice(ndarray::s![.., ..9]).iter().all(|d| *d == 0.0));
    assert!(kernel.slice(ndarray::s![.., 9..]).iter().all(|d| *d != 0.0));
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let layer = RecurrentLayer::new(vec![lstm(2, 3)], SequenceOptions::default()).unwrap();
    let inputs = Array3::zeros((4, 5, 2));
    let dropout = |inputs, recurrent| Dropout { inputs, recurrent };
    for (dropout, what) in [
        (
            dropout(vec![Some(Array3::zeros((2, 4, 2)))], vec![]),
            "dropout.inputs[0]",
        ),
        (
            dropout(vec![Some(Array3::zeros((1, 4, 3)))], vec![]),
            "dropout.inputs[0]",
        ),
        (
            dropout(vec![], vec![Some(Array3::zeros((4, 4, 2)))]),
            "dropout.recurrent[0]",
        ),
        (dropout(vec![None, None], vec![]), "dropout.inputs"),
    ] {
        let error = layer.forward_for_training(inputs.view(), None, None, &dropout);
        assert_eq!(error.unwrap_err().what, what);
    }
    let none = Dropout::default();
    let (sequence, tape) = layer
        .forward_for_training(inputs.view(), None, None, &none)
        .unwrap();
    assert!(matches!(sequence.output, SequenceOutput::Last(_)));
    let (d, all) = (Array2::zeros((4, 2)), Array3::zeros((4, 5, 3)));
    for wrong in [
        SequenceGradient::Last(d.view()),
        SequenceGradient::Sequences(all.view()),
    ] {
        let error = tape.backward(&layer, wrong, None).unwrap_err();
        assert_eq!(error.what, "d_output");
    }
    let states = [d.view(), d.view()];
    let error = tape
        .backward(&layer, SequenceGradient::None, Some(&states))
        .unwrap_err();
    assert_eq!(error.what, "d_states[0]");
    let error = tape
        .backward(&layer, SequenceGradient::None, Some(&states[..1]))
        .unwrap_err();
    assert_eq!(error.what, "d_states");
    let other = RecurrentLayer::new(vec![lstm(2, 4)], SequenceOptions::default()).unwrap();
    let error = tape
        .backward(&other, SequenceGradient::None, None)
        .unwrap_err();
    assert_eq!(error.what, "layer");
}

#[test]
fn the_outputs_are_those_of_forward() {
    let options = SequenceOptions {
        return_sequences: true,
        ..SequenceOptions::default()
    };
    let layer = RecurrentLayer::new(vec![lstm(5, 24), lstm(24, 17)], options).unwrap();
    let mut numbers = Numbers(3);
    let inputs = Array3::from_shape_simple_fn((9, 12, 5), || numbers.signed());
    let (found, _) = layer
        .forward_for_training(inputs.view(), None, None, &Dropout::default())
        .unwrap();
    let right = layer.forward(inputs.view(), None, None).unwrap();
    let (found, right) = (
        found.output.sequences().unwrap(),
        right.output.sequences().unwrap(),
    );
    // Not bit for bit: the weights of `forward` are packed with a factor that the sums of training
    // are multiplied by.
    let differs = found
        .indexed_iter()
        .find(|(at, value)| (right[*at] - **value).abs() > 1e-6);
    assert_eq!(differs.map(|(at, value)| (at, *value, right[at])), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn gradients_are_the_textbooks(plan in plan()) {
        let mut plan = plan;
        plan.sizes.0 %= 40;
        let mut numbers = Numbers(plan.seed);
        let layer = plan.layer(&mut numbers);
        let question = Question::new(layer, &plan, &mut numbers);
        let options = BackwardOptions {
            states: true,
            ..BackwardOptions::default()
        };
        let (sequence, found) = question.backward(&options);
        let outputs = match &sequence.output {
            SequenceOutput::Last(last) => last.iter().copied().collect::<Vec<_>>(),
            SequenceOutput::Sequences(all) => all.iter().copied().collect(),
        };
        let most = outputs.iter().fold(0.0, |most: f32, x| if x.is_finite() { most.max(x.abs()) } else { f32::INFINITY });
        if most < 20.0 {
            let right = question.textbook();
            compare(&found, &right)?;
        }
    }
}

/// Fails where a gradient is far from the textbook's, beside the size of all of its array.
fn compare(found: &Gradients, right: &Gradients<f64>) -> Result<(), TestCaseError> {
    let mut pairs = vec![(
        "inputs",
        found.inputs.clone().into_dyn(),
        right.inputs.clone().into_dyn(),
    )];
    for (found, right) in found.initial_states.iter().zip(&right.initial_states) {
        pairs.push((
            "initial states",
            found.clone().into_dyn(),
            right.clone().into_dyn(),
        ));
    }
    let states = found
        .states
        .iter()
        .flatten()
        .zip(right.states.iter().flatten());
    for (found, right) in states {
        pairs.push(("states", found.clone().into_dyn(), right.clone().into_dyn()));
    }
    for (found, right) in found.cells.iter().zip(&right.cells) {
        for ((name, found), (_, right)) in found.arrays().zip(right.arrays()) {
            pairs.push((name, found.to_owned(), right.to_owned()));
        }
    }
    for (name, found, right) in pairs {
        // Where the gradient exploded, all that follows from it depends on its last bits.
        if let Some(difference) = difference(&found, &right) {
            prop_assert!(difference < 1e-4, "{} differs by {}", name, difference);
        }
    }
    Ok(())
}
