//! Small layers there and back: the unsafe code of training, for Miri as in [`small`](super::small).
//!
//! `tests/training.rs` goes through many more.

use super::*;
use crate::{BackwardOptions, Dropout, Gradients, SequenceGradient, TapeOptions};

const TIME: usize = 2;

/// With a kernel for their steps, and without one.
const PAIRS: [(Activation, Activation); 2] = [
    (Activation::Tanh, Activation::Sigmoid),
    (Activation::Softsign, Activation::Softmax),
];

fn values<A: Copy + Into<f64>>(gradients: &Gradients<A>) -> Vec<f64> {
    let states = gradients.initial_states.iter().flatten();
    let mut values: Vec<A> = gradients.inputs.iter().chain(states).copied().collect();
    for cell in &gradients.cells {
        cell.arrays().for_each(|(_, array)| values.extend(array));
    }
    values.into_iter().map(A::into).collect()
}

fn near(found: &[f64], right: &[f64], what: &str) {
    assert_eq!(found.len(), right.len(), "{what}");
    for (found, right) in found.iter().zip(right) {
        let error = (found - right).abs() / right.abs().max(1.0);
        assert!(error < 1e-4, "{what}: {found} and not {right}");
    }
}

/// Masks that drop something of each gate on its own, or of all at once.
fn dropout(cell: &Cell, rows: usize, numbers: &mut Numbers) -> Dropout {
    let mut masks = |count, size| {
        let of = |_| if numbers.coin() { 0.0 } else { 1.5 };
        vec![Some(Array3::from_shape_fn((count, rows, size), of))]
    };
    Dropout {
        inputs: masks(1, cell.features()),
        recurrent: masks(cell.kind().gates(), cell.units()),
    }
}

/// The gradients, where what is kept is all or little.
fn gradients(question: &Question, dropout: &Dropout, d: &Array3<f32>, all: bool) -> Gradients {
    let tape_options = TapeOptions { recompute: !all };
    let (sequence, tape) = question
        .layer
        .forward_for_training_with(
            question.inputs.view(),
            question.mask.as_ref().map(|mask| mask.view()),
            None,
            dropout,
            &tape_options,
        )
        .unwrap();
    assert!(sequence.output.sequences().is_some());
    let options = BackwardOptions {
        states: !all,
        inputs: true,
    };
    let d = SequenceGradient::Sequences(d.view());
    tape.backward_with(&question.layer, d, None, &options)
        .unwrap()
}

#[test]
fn small_layers_have_the_textbooks_gradients() {
    let mut numbers = Numbers(13);
    // Rows whose step is one product, some for two threads; then few, of which x·W of all steps is
    // one product; then units of more than one panel.
    let cases = KINDS.into_iter().flat_map(|kind| {
        let rows = if kind == Kind::SimpleRnn { 16 } else { 6 };
        [(kind, PAIRS[0], 3, rows), (kind, PAIRS[1], 3, 2)]
    });
    let cases = cases.chain([(Kind::Lstm, PAIRS[0], 9, 2)]);
    for (number, (kind, pair, units, rows)) in cases.enumerate() {
        let cells = vec![cell(kind, (3, units), pair, &mut numbers)];
        let mut question = Question::new(cells, (rows, TIME), &mut numbers);
        question.layer.options.return_sequences = true;
        let is_dropped = number % 2 == 1;
        let dropout = match is_dropped {
            true => dropout(&question.layer.cells()[0], rows, &mut numbers),
            false => Dropout::default(),
        };
        let size = (rows, TIME, units);
        let d = Array3::from_shape_simple_fn(size, || numbers.signed());
        let what = format!("{kind:?} {pair:?} of {units} units and {rows} rows");
        let found = values(&gradients(&question, &dropout, &d, true));
        let again = values(&gradients(&question, &dropout, &d, false));
        near(&again, &found, &what);
        // As in `small`.
        if !cfg!(miri) {
            let wide = |array: &Array3<f32>| array.mapv(f64::from);
            let right = reference::gradients(
                &question.layer,
                wide(&question.inputs).view(),
                question.mask.as_ref().map(|mask| mask.view()),
                None,
                &dropout,
                wide(&d).view(),
                None,
            );
            near(&found, &values(&right), &what);
        }
    }
}
