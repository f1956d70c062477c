//! The engine on every instruction set that this CPU has, however the work is divided.
//!
//! A layer is run over many rows by one thread and held to the textbook of `reference`; then over
//! some of those rows only, in any division of rows, units and steps among threads, and held to
//! the same bits.

use std::ops::Range;

use ndarray::{Array, Array2, Array3, ArrayView2, Dimension, s};

use super::Packed;
use super::plan::{Plan, Split, Work};
use super::pool::Team;
use super::sequence::run_as;
use super::simd::Isa;
use crate::reference::{self, ReferenceSequence};
use crate::{
    Activation, Cell, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer, Sequence,
    SequenceOptions, SequenceOutput, SimpleRnnCell, SimpleRnnWeights,
};

#[path = "../../tests/extras/mod.rs"]
mod extras;
#[path = "../../tests/numbers/mod.rs"]
mod numbers;
mod small;
mod training;

use numbers::Numbers;

impl Numbers {
    /// A whole number below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.next() * end as f32) as usize % end
    }

    fn coin(&mut self) -> bool {
        self.next() < 0.5
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lstm,
    Gru { reset_after: bool },
    SimpleRnn,
}

const KINDS: [Kind; 4] = [
    Kind::Lstm,
    Kind::Gru { reset_after: true },
    Kind::Gru { reset_after: false },
    Kind::SimpleRnn,
];

/// `activation` and `recurrent_activation`: all that are fused, and some that go row by row.
const ACTIVATIONS: [(Activation, Activation); 13] = [
    (Activation::Tanh, Activation::Sigmoid),
    (Activation::Softsign, Activation::Sigmoid),
    (Activation::Tanh, Activation::HardSigmoid),
    (Activation::Linear, Activation::HardSigmoidKeras2),
    (Activation::RELU, Activation::Sigmoid),
    (Activation::Tanh, Activation::Softmax),
    (Activation::RELU, Activation::HardSigmoid),
    (Activation::Linear, Activation::Sigmoid),
    (Activation::Tanh, Activation::HardSigmoidKeras2),
    (Activation::Softmax, Activation::Tanh),
    (Activation::Linear, Activation::HardSigmoid),
    (Activation::RELU, Activation::HardSigmoidKeras2),
    (Activation::LEAKY_RELU, Activation::Softsign),
];

fn cell(
    kind: Kind,
    (features, units): (usize, usize),
    (phi, sigma): (Activation, Activation),
    numbers: &mut Numbers,
) -> Cell {
    let gates = match kind {
        Kind::Lstm => 4,
        Kind::Gru { .. } => 3,
        Kind::SimpleRnn => 1,
    };
    let columns = gates * units;
    let kernel = numbers.matrix(features, columns, 1.0 / (1.0 + features as f32).sqrt());
    let recurrent = numbers.matrix(units, columns, 1.0 / (1.0 + units as f32).sqrt());
    let biased = numbers.next() < 0.8;
    match kind {
        Kind::Lstm => {
            let bias = biased.then(|| numbers.vector(columns));
            let weights = LstmWeights::new(kernel, recurrent, bias).unwrap();
            LstmCell::new(weights, phi, sigma).into()
        }
        Kind::Gru { reset_after } => {
            let rows = if reset_after { 2 } else { 1 };
            let bias = biased.then(|| numbers.matrix(rows, columns, 0.5));
            let weights = GruWeights::new(kernel, recurrent, bias).unwrap();
            let cell = GruCell::new(weights, phi, sigma, reset_after);
            cell.unwrap().into()
        }
        Kind::SimpleRnn => {
            let bias = biased.then(|| numbers.vector(columns));
            let weights = SimpleRnnWeights::new(kernel, recurrent, bias).unwrap();
            SimpleRnnCell::new(weights, phi).into()
        }
    }
}

/// Any order in memory of the same values.
fn reordered(inputs: &Array3<f32>, order: usize) -> Array3<f32> {
    let (batch, time, features) = inputs.dim();
    match order {
        // Time first, and column after column.
        1 => Array::from_shape_fn((time, batch, features), |(t, b, f)| inputs[[b, t, f]])
            .permuted_axes([1, 0, 2]),
        2 => Array::from_shape_fn((features, time, batch), |(f, t, b)| inputs[[b, t, f]])
            .reversed_axes(),
        // Every other value, with something else between them.
        3 => {
            let mut spread = Array3::from_elem((batch, 2 * time, 2 * features), f32::NAN);
            spread.slice_mut(s![.., ..;2, ..;2]).assign(inputs);
            spread.slice_move(s![.., ..;2, ..;2])
        }
        // From the last to the first.
        4 => {
            let flipped = inputs.slice(s![..;-1, ..;-1, ..;-1]);
            let flipped = flipped.as_standard_layout().into_owned();
            flipped.slice_move(s![..;-1, ..;-1, ..;-1])
        }
        _ => inputs.clone(),
    }
}

const ORDERS: usize = 5;

/// A layer with all that it may be given.
struct Question {
    layer: RecurrentLayer,
    inputs: Array3<f32>,
    mask: Option<Array2<bool>>,
    states: Option<Vec<Array2<f32>>>,
    /// How far from the textbook the engine may be.
    most: f64,
}

/// Without layer normalization, whose divisions by small deviations enlarge errors.
const MOST: f64 = 3e-6;

impl Question {
    fn new(cells: Vec<Cell>, (batch, time): (usize, usize), numbers: &mut Numbers) -> Self {
        let options = SequenceOptions {
            return_sequences: numbers.coin(),
            go_backwards: numbers.coin(),
            zero_output_for_mask: numbers.coin(),
        };
        let layer = RecurrentLayer::new(cells, options).unwrap();
        let size = (batch, time, layer.features());
        let inputs = Array3::from_shape_simple_fn(size, || 3.0 * numbers.next() - 1.5);
        let mask = numbers.coin().then(|| {
            let mut mask = Array2::from_shape_simple_fn((batch, time), || numbers.next() < 0.6);
            // A step that counts for nobody, and a sequence of which no step counts.
            mask.column_mut(numbers.below(time)).fill(false);
            mask.row_mut(numbers.below(batch)).fill(false);
            mask
        });
        let states = numbers.coin().then(|| {
            let sizes = layer.state_sizes();
            sizes
                .map(|units| numbers.matrix(batch, units, 1.0))
                .collect()
        });
        Self {
            layer,
            inputs,
            mask,
            states,
            most: MOST,
        }
    }

    /// What the engine says to some of the rows.
    fn answer(
        &self,
        packed: &Packed,
        rows: Range<usize>,
        order: usize,
        plan: impl FnOnce(&Work) -> Plan,
    ) -> Sequence {
        let inputs = reordered(
            &self.inputs.slice(s![rows.clone(), .., ..]).to_owned(),
            order,
        );
        let mask = self
            .mask
            .as_ref()
            .map(|mask| mask.slice(s![rows.clone(), ..]));
        let states: Option<Vec<Array2<f32>>> = self.states.as_ref().map(|states| {
            let of = |state: &Array2<f32>| {
                let own = state.slice(s![rows.clone(), ..]);
                match order % 2 {
                    0 => own.to_owned(),
                    _ => own.t().as_standard_layout().into_owned().reversed_axes(),
                }
            };
            states.iter().map(of).collect()
        });
        let states: Option<Vec<ArrayView2<'_, f32>>> = states
            .as_ref()
            .map(|states| states.iter().map(|state| state.view()).collect());
        let divide = |work: &Work| {
            let plan = plan(work);
            (team(plan.members), plan)
        };
        run_as(
            &self.layer,
            inputs.view(),
            mask,
            states.as_deref(),
            packed,
            divide,
        )
    }

    /// What the textbook says to all rows.
    fn right(&self) -> ReferenceSequence {
        let states: Option<Vec<_>> = self
            .states
            .as_ref()
            .map(|states| states.iter().map(|state| state.mapv(f64::from)).collect());
        let states: Option<Vec<_>> = states
            .as_ref()
            .map(|states| states.iter().map(|state| state.view()).collect());
        reference::sequence(
            &self.layer,
            self.inputs.mapv(f64::from).view(),
            self.mask.as_ref().map(|mask| mask.view()),
            states.as_deref(),
        )
    }
}

fn check(found: &Sequence, right: &ReferenceSequence, most: f64, what: &str) {
    match &found.output {
        SequenceOutput::Last(last) => close(last, &right.last, most, what),
        SequenceOutput::Sequences(all) => close(all, &right.outputs, most, what),
    }
    for (found, right) in found.states.iter().zip(&right.states) {
        close(found, right, most, what);
    }
}

fn close<D: Dimension>(found: &Array<f32, D>, right: &Array<f64, D>, most: f64, what: &str) {
    assert_eq!(found.shape(), right.shape(), "{what}");
    let size = right.iter().fold(1.0, |size: f64, x| size.max(x.abs()));
    for (found, right) in found.iter().zip(right) {
        let error = (f64::from(*found) - right).abs() / size;
        // Written so that a NaN fails.
        assert!(
            error <= most,
            "{what}: {found} and not {right}, off by {error:e}"
        );
    }
}

/// The numbers of some rows, bit by bit.
fn bits(sequence: &Sequence, rows: Range<usize>) -> Vec<u32> {
    let mut values: Vec<f32> = Vec::new();
    match &sequence.output {
        SequenceOutput::Last(last) => values.extend(last.slice(s![rows.clone(), ..])),
        SequenceOutput::Sequences(all) => values.extend(all.slice(s![rows.clone(), .., ..])),
    }
    for state in &sequence.states {
        values.extend(state.slice(s![rows.clone(), ..]));
    }
    values.into_iter().map(f32::to_bits).collect()
}

/// A team of exactly so many, once the other tests have let go of the helpers.
fn team(members: usize) -> Team {
    loop {
        let team = Team::gather(members);
        if team.members == members {
            return team;
        }
        std::thread::yield_now();
    }
}

/// What one thread would do.
fn alone(work: &Work) -> Plan {
    work.plan(1, Split::Rows)
}

/// Any way to do it.
fn any_plan(work: &Work, numbers: &mut Numbers) -> Plan {
    // Seldom more than there are cores, who then wait for each other for long.
    let members = [2, 2, 2, 3][numbers.below(4)];
    let (members, split) = match numbers.below(12) {
        0 if work.by_units && work.panels > 1 => (members.min(work.panels), Split::Units),
        1 => (members, Split::Rows),
        _ => (1, Split::Rows),
    };
    let hoisted = numbers.coin();
    Plan {
        members,
        split,
        block_rows: [1, 2, 3, 7, 16, 64][numbers.below(6)],
        steps: if hoisted { 1 + numbers.below(6) } else { 1 },
        hoisted,
    }
}

const ROWS: usize = 70;
const STEPS: usize = 5;
const BATCHES: [usize; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 70];
const UNITS: [usize; 8] = [1, 3, 8, 16, 17, 24, 40, 100];
const FEATURES: [usize; 4] = [0, 1, 5, 39];

/// On every instruction set: all rows as the textbook has them, and some rows, in any division,
/// as they are among all.
fn examine(question: &Question, what: &str, numbers: &mut Numbers) {
    let right = question.right();
    for isa in Isa::all() {
        let packed = Packed::for_isa(question.layer.cells(), isa, crate::Precision::F32);
        let rows = question.inputs.dim().0;
        let all = question.answer(&packed, 0..rows, 0, alone);
        let on_isa = format!("{} of {what}", isa.name());
        check(&all, &right, question.most, &on_isa);
        for batch in BATCHES.into_iter().filter(|batch| *batch <= rows) {
            let first = numbers.below(rows - batch + 1);
            let own = first..first + batch;
            let order = numbers.below(ORDERS);
            let mut chosen = None;
            let some = question.answer(&packed, own.clone(), order, |work| {
                *chosen.insert(any_plan(work, numbers))
            });
            assert!(
                bits(&some, 0..batch) == bits(&all, own.clone()),
                "{} of {what}: rows {own:?} differ with {chosen:?} and order {order}",
                isa.name(),
            );
        }
    }
}

/// All sizes of one kind of cell, each with one pair of activations after the other.
fn examine_kind(kind: Kind, seed: u64) {
    let mut numbers = Numbers(seed);
    let mut pairs = ACTIVATIONS.iter().cycle();
    for units in UNITS {
        for features in FEATURES {
            for pair in pairs.by_ref().take(2) {
                let cells = vec![cell(kind, (features, units), *pair, &mut numbers)];
                let question = Question::new(cells, (ROWS, STEPS), &mut numbers);
                let what = format!("{kind:?} {features} → {units}, {pair:?}");
                examine(&question, &what, &mut numbers);
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn an_lstm_is_the_textbook_on_every_instruction_set() {
    examine_kind(Kind::Lstm, 1);
}

#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn a_gru_is_the_textbook_on_every_instruction_set() {
    examine_kind(Kind::Gru { reset_after: true }, 2);
}

#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn a_gru_that_resets_before_is_the_textbook_on_every_instruction_set() {
    examine_kind(Kind::Gru { reset_after: false }, 3);
}

#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn a_simple_rnn_is_the_textbook_on_every_instruction_set() {
    examine_kind(Kind::SimpleRnn, 4);
}

#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn stacked_cells_are_the_textbook_on_every_instruction_set() {
    let mut numbers = Numbers(5);
    for number in 0..24 {
        let mut features = numbers.below(20);
        let mut what = format!("{features}");
        let mut cells = Vec::new();
        for _ in 0..2 + number % 2 {
            let units = 1 + numbers.below(40);
            let kind = KINDS[numbers.below(4)];
            // Mostly those that are fused.
            let pair = ACTIVATIONS[[0, 0, 2, 4, numbers.below(13)][numbers.below(5)]];
            cells.push(cell(kind, (features, units), pair, &mut numbers));
            what += &format!(" → {kind:?} {units} {pair:?}");
            features = units;
        }
        let question = Question::new(cells, (ROWS, STEPS), &mut numbers);
        examine(&question, &what, &mut numbers);
    }
}

/// `tests/options.rs` goes through all combinations, on the best instruction set.
#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn an_lstm_with_options_is_the_textbook_on_every_instruction_set() {
    let mut numbers = Numbers(9);
    for number in 0..40 {
        // 31 and the number of combinations have no common divisor: all options take turns.
        let combination = (number + 1) * 31 * 5 % extras::COMBINATIONS;
        let sizes = (
            FEATURES[number % FEATURES.len()].max(1),
            UNITS[number % UNITS.len()],
            [3, 16, 1, 33, 5][number % 5],
        );
        let lstm = extras::lstm(combination, sizes, &mut numbers);
        let what = format!("combination {combination}, {sizes:?}");
        let mut question = Question::new(vec![lstm.into()], (ROWS, STEPS), &mut numbers);
        question.most = 1e-5;
        examine(&question, &what, &mut numbers);
    }
}

#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn many_steps_go_through_many_chunks() {
    let mut numbers = Numbers(6);
    for kind in KINDS {
        let pair = ACTIVATIONS[0];
        let cells = vec![
            cell(kind, (5, 24), pair, &mut numbers),
            cell(Kind::Lstm, (24, 17), pair, &mut numbers),
        ];
        let question = Question::new(cells, (9, 140), &mut numbers);
        examine(&question, &format!("{kind:?} and an LSTM"), &mut numbers);
    }
}

#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn a_nan_is_handed_on_and_stays_in_its_row() {
    let mut numbers = Numbers(7);
    for isa in Isa::all() {
        for kind in KINDS {
            for pair in ACTIVATIONS {
                let cells = vec![cell(kind, (3, 17), pair, &mut numbers)];
                let packed = Packed::for_isa(&cells, isa, crate::Precision::F32);
                let mut question = Question::new(cells, (6, 3), &mut numbers);
                question.mask = None;
                let right = question.answer(&packed, 0..6, 0, alone);
                question.inputs[[2, 1, 1]] = f32::NAN;
                let found = question.answer(&packed, 0..6, 0, alone);
                for row in 0..6 {
                    let what = format!("{} of {kind:?}, {pair:?}, row {row}", isa.name());
                    if row == 2 {
                        for state in &found.states {
                            assert!(state.row(row).iter().all(|x| x.is_nan()), "{what}");
                        }
                    } else {
                        let (found, right) =
                            (bits(&found, row..row + 1), bits(&right, row..row + 1));
                        assert!(found == right, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "`small` has each piece of its unsafe code")]
fn the_greatest_inputs_saturate() {
    let mut numbers = Numbers(8);
    for isa in Isa::all() {
        for kind in KINDS {
            let pair = ACTIVATIONS[0];
            let cells = vec![cell(kind, (1, 40), pair, &mut numbers)];
            let packed = Packed::for_isa(&cells, isa, crate::Precision::F32);
            let mut question = Question::new(cells, (4, 3), &mut numbers);
            (question.mask, question.states) = (None, None);
            for (row, value) in [f32::MAX, f32::MIN, 1e30, -1e5].into_iter().enumerate() {
                question.inputs.slice_mut(s![row, .., ..]).fill(value);
            }
            let found = question.answer(&packed, 0..4, 0, alone);
            let h = &found.states[0];
            let what = format!("{} of {kind:?}", isa.name());
            assert!(h.iter().all(|h| h.abs() <= 1.0), "{what}: {h}");
            check(&found, &question.right(), MOST, &what);
        }
    }
}
