//! Small layers in every division of the work: each piece of the engine's unsafe code, for tools
//! that are thousands of times slower than a processor.
//!
//! `bash .ci/sanitize miri` runs these instead of what goes through many sizes. The sizes are those
//! at which vectors of 8, the portable ones, take another way: so many panels, or rows of a tile.

use std::ops::Range;
use std::thread;

use ndarray::Axis;

use super::*;
use crate::Precision;
use crate::engine::Stepper;

const FUSED: (Activation, Activation) = (Activation::Tanh, Activation::Sigmoid);
const ALSO_FUSED: (Activation, Activation) = (Activation::RELU, Activation::HardSigmoid);
const BY_ROWS: (Activation, Activation) = (Activation::LEAKY_RELU, Activation::Softmax);

const TIME: usize = 3;

/// Cells that take each way, and how many rows.
fn layers(numbers: &mut Numbers) -> Vec<(Vec<Cell>, usize)> {
    let mut layers = Vec::new();
    let mut add = |cells: Vec<Cell>, rows| layers.push((cells, rows));
    let (after, before) = (true, false);
    let gru = |reset_after| Kind::Gru { reset_after };
    // One, two, three panels, which are one group; then the last features wait for the chain of h·U.
    for (features, units) in [(0, 3), (2, 9), (14, 17)] {
        add(vec![cell(Kind::Lstm, (features, units), FUSED, numbers)], 3);
    }
    // Several groups, of an even and an odd number of panels, with few features and with more.
    for (features, units) in [(3, 25), (5, 33)] {
        add(vec![cell(Kind::Lstm, (features, units), FUSED, numbers)], 2);
    }
    for pair in [ALSO_FUSED, BY_ROWS] {
        add(vec![cell(Kind::Lstm, (2, 9), pair, numbers)], 3);
    }
    for pair in [FUSED, BY_ROWS] {
        add(vec![cell(gru(after), (2, 9), pair, numbers)], 3);
    }
    add(vec![cell(gru(before), (2, 9), FUSED, numbers)], 3);
    // One vector and four in a panel.
    for (units, rows) in [(7, 8), (25, 3)] {
        let of = (2, units);
        add(vec![cell(Kind::SimpleRnn, of, FUSED, numbers)], rows);
    }
    // With a projection of normalized gates, and without one of normalized products.
    for combination in [4, 2] {
        let lstm = extras::lstm(combination, (2, 9, 5), numbers);
        add(vec![lstm.into()], 3);
    }
    add(
        vec![
            cell(Kind::Lstm, (2, 9), FUSED, numbers),
            cell(gru(after), (9, 9), FUSED, numbers),
            cell(Kind::Lstm, (9, 5), FUSED, numbers),
        ],
        3,
    );
    // Whose stream goes from one kernel to the next.
    let plain = [(2, 3), (3, 5)].map(|of| cell(Kind::Lstm, of, FUSED, numbers));
    add(plain.into(), 2);
    layers
}

/// Some of so many rows, the order in memory of their inputs, and how they are divided.
fn divisions(rows: usize) -> Vec<(Range<usize>, usize, Plan)> {
    let plan = |members, split, block_rows, steps, hoisted| Plan {
        members,
        split,
        block_rows,
        steps,
        hoisted,
    };
    let (by_rows, by_units) = (Split::Rows, Split::Units);
    vec![
        // A single row, step by step and in chunks of which the last one is shorter.
        (1..2, 0, plan(1, by_rows, 1, 1, false)),
        (0..1, 1, plan(1, by_rows, 1, 2, true)),
        // Blocks of which the last one is smaller.
        (0..rows, 2, plan(1, by_rows, 2, 2, true)),
        (0..rows, 3, plan(2, by_rows, 7, 1, false)),
        (0..1, 4, plan(2, by_units, 1, 2, true)),
        (0..rows, 0, plan(2, by_units, 16, 2, true)),
        (0..2, 1, plan(3, by_units, 2, 1, false)),
    ]
}

fn can(plan: &Plan, work: &Work) -> bool {
    plan.split == Split::Rows || work.by_units && work.panels >= plan.members
}

/// The question to a layer with now these options and now those.
fn question(number: usize, cells: Vec<Cell>, rows: usize, numbers: &mut Numbers) -> Question {
    let mut question = Question::new(cells, (rows, TIME), numbers);
    let is_longer = |cell: &Cell| matches!(cell, Cell::Lstm(lstm) if lstm.has_longer_step());
    if question.mask.is_some() || question.layer.cells().iter().any(is_longer) {
        // Of a few random ones, too many would not count.
        let counts = |(row, time)| (row + time) % 3 > 0;
        question.mask = Some(Array2::from_shape_fn((rows, TIME), counts));
    }
    let bit = |bit: usize| number >> bit & 1 == 1;
    question.layer.options = SequenceOptions {
        return_sequences: !bit(0),
        go_backwards: bit(1),
        zero_output_for_mask: bit(2),
    };
    question
}

#[test]
fn every_division_gives_the_same() {
    let mut numbers = Numbers(10);
    for (number, (cells, rows)) in layers(&mut numbers).into_iter().enumerate() {
        let question = question(number, cells, rows, &mut numbers);
        // The textbook has no unsafe code, and takes Miri longer than the engine does.
        let right = (!cfg!(miri)).then(|| question.right());
        for (isa, precision) in everything(&question.layer) {
            let what = format!("{} {precision} of layer {number}", isa.name());
            let packed = Packed::for_isa(question.layer.cells(), isa, precision);
            let all = question.answer(&packed, 0..rows, 0, alone);
            if let (Some(right), Precision::F32) = (&right, precision) {
                check(&all, right, 1e-5, &what);
            }
            // Of Miri's, every layer has some.
            let each = match precision {
                _ if !cfg!(miri) => 1,
                Precision::F32 => 2,
                _ => 3,
            };
            let divisions = divisions(rows).into_iter();
            for (own, order, plan) in divisions.skip(number % each).step_by(each) {
                let count = own.len();
                if !can(&plan, &Work::of(&packed.cells, count, TIME)) {
                    continue;
                }
                let some = question.answer(&packed, own.clone(), order, |_| plan);
                assert!(
                    bits(&some, 0..count) == bits(&all, own.clone()),
                    "{what}: rows {own:?} differ with {plan:?} and order {order}"
                );
            }
        }
    }
}

#[test]
fn a_stream_goes_on_in_its_clone() {
    let mut numbers = Numbers(11);
    for (number, (cells, _)) in layers(&mut numbers).into_iter().enumerate() {
        // In order, and each step put out.
        let mut question = question(0, cells, 1, &mut numbers);
        question.mask = None;
        for (isa, precision) in everything(&question.layer) {
            let packed = Packed::for_isa(question.layer.cells(), isa, precision);
            let right = question.answer(&packed, 0..1, 0, alone);
            let layer = question.layer.clone().with_packed(packed);
            let mut stream = layer.stepper();
            for (own, given) in stream.states_mut().zip(question.states.iter().flatten()) {
                own.copy_from_slice(given.as_slice().unwrap());
            }
            let inputs = question.inputs.index_axis(Axis(0), 0);
            let mut outputs = Array2::zeros((TIME, layer.units()));
            let mut steps = |stream: &mut Stepper, times: Range<usize>| {
                outputs.slice_mut(s![times.clone(), ..]).fill(f32::NAN);
                for time in times {
                    let x = inputs.row(time).to_vec();
                    stream.step(&x, outputs.row_mut(time).into_slice().unwrap());
                }
                let states = stream.states().flatten().copied();
                let all: Vec<f32> = outputs.iter().copied().chain(states).collect();
                all.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            steps(&mut stream, 0..1);
            let mut branch = stream.clone();
            let found = thread::scope(|scope| {
                let elsewhere = scope.spawn(|| steps(&mut branch, 1..TIME));
                elsewhere.join().unwrap()
            });
            let what = format!("{} {precision} of layer {number}", isa.name());
            assert!(found == bits(&right, 0..1), "{what}, the clone");
            let found = steps(&mut stream, 1..TIME);
            assert!(found == bits(&right, 0..1), "{what}");
        }
    }
}

#[test]
fn callers_at_once_share_the_weights_and_the_helpers() {
    let mut numbers = Numbers(12);
    let cells = vec![cell(Kind::Lstm, (2, 9), FUSED, &mut numbers)];
    let mut question = question(0, cells, 2, &mut numbers);
    question.mask = None;
    let right = bits(
        &question.answer(question.layer.packed(), 0..2, 0, alone),
        0..2,
    );
    // A fresh one, whose weights the callers also pack at once.
    let layer = RecurrentLayer::new(question.layer.cells().to_vec(), question.layer.options);
    let layer = layer.unwrap();
    let call = || {
        let divide = |work: &Work| {
            let team = Team::gather(2);
            let plan = work.plan(team.members, Split::Units);
            (team, plan)
        };
        let states = question.states.as_ref();
        let states: Option<Vec<_>> =
            states.map(|states| states.iter().map(|state| state.view()).collect());
        let inputs = question.inputs.view();
        run_as(
            &layer,
            inputs,
            None,
            states.as_deref(),
            layer.packed(),
            divide,
        )
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..2 {
                    assert!(bits(&call(), 0..2) == right);
                }
            });
        }
    });
}

#[test]
fn without_a_step_the_last_outputs_are_zeros() {
    let cells = vec![cell(Kind::Lstm, (2, 3), FUSED, &mut Numbers(14))];
    let layer = RecurrentLayer::new(cells, SequenceOptions::default()).unwrap();
    for rows in [0, 2] {
        let inputs = Array3::zeros((rows, 0, 2));
        let found = crate::engine::run(&layer, inputs.view(), None, None);
        let right = Array2::zeros((rows, 3));
        assert_eq!(found.output.last(), Some(&right));
    }
}

/// What a layer is asked to run with.
fn everything(layer: &RecurrentLayer) -> impl Iterator<Item = (Isa, Precision)> {
    // Of those whose numbers are converted, Miri takes the ones that convert the most.
    let is_worth_it = layer.cells().iter().any(|cell| match cell {
        Cell::Lstm(lstm) => lstm.weights().projection().is_some(),
        Cell::Gru(gru) => !gru.reset_after(),
        Cell::SimpleRnn(_) => false,
    });
    let all = match is_worth_it || !cfg!(miri) {
        true => &Precision::ALL[..],
        false => &[Precision::F32],
    };
    let of = move |isa| all.iter().map(move |precision| (isa, *precision));
    Isa::all().into_iter().flat_map(of)
}
