//! The steps forward.

use std::ops::Range;

use super::kernels::{GruForward, LstmForward, SimpleForward};
use super::matrix::{Factor, How, Left, Onto, Soon};
use super::shape::recurrent_kernel;
use super::steps::Row;
use super::{CellTape, Extent, Loan, Masks, Shape, TrainingMemory, at, at_mut, kept_h};
use crate::{Cell, Dropout};

/// From so many rows on a step's x·W and h·U are one product. Of fewer, x·W of all steps is one:
/// then W is not read again at each step.
const ROWS_OF_A_STEP: usize = 6;

/// W, U and the bias, to multiply with.
pub(super) struct Factors {
    of_x: Vec<Factor>,
    of_h: Vec<Factor>,
    bias: Vec<f32>,
    recurrent_bias: Vec<f32>,
}

impl Factors {
    pub(super) fn new(shape: &Shape, cell: &Cell) -> Self {
        let factors = |matrix, groups: &[super::Group]| {
            let of = |group| shape.factor(matrix, group);
            groups.iter().map(of).collect()
        };
        let (bias, recurrent_bias) = biases(cell);
        Self {
            of_x: factors(cell.kernel(), &shape.of_x),
            of_h: factors(recurrent_kernel(cell), &shape.of_h),
            bias: shape.wide_bias(bias),
            recurrent_bias: shape.wide_bias(recurrent_bias),
        }
    }
}

/// Some steps, with all that the way back wants.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    pub(super) gates: Loan,
    /// What the activations made the gates of; empty where a kernel does without.
    pub(super) sums: Loan,
    /// Of a GRU with `reset_after`: h·U of the candidate.
    pub(super) recurrent: Loan,
    /// From before the first step on.
    pub(super) h: Loan,
    pub(super) c: Loan,
    count: usize,
}

impl Steps {
    /// h after each step.
    pub(super) fn outputs(&self, of_step: usize) -> &[f32] {
        &self.h.as_slice()[of_step..(self.count + 1) * of_step]
    }

    /// The states after the last step.
    pub(super) fn last(&self, of_step: usize, memory: &TrainingMemory) -> [Loan; 2] {
        [&self.h, &self.c].map(|state| memory.lend_copy(at(state, self.count, of_step)))
    }
}

impl CellTape {
    /// Runs some steps from these states, `[row][unit]`.
    #[allow(clippy::too_many_arguments, reason = "a whole pass")]
    pub(super) fn run(
        &self,
        cell: &Cell,
        index: usize,
        weights: &Factors,
        part: Range<usize>,
        states: [&[f32]; 2],
        dropout: &Dropout,
        extent: &Extent<'_>,
    ) -> Steps {
        let shape = &self.shape;
        let (rows, count) = (extent.rows, part.len());
        let (up, gates) = (shape.wide_units, shape.gates);
        let (of_step, of_gates) = (rows * up, rows * gates * up);
        let is_lstm = matches!(cell, Cell::Lstm(_));
        // Only a kernel writes the lanes that are no units.
        let lend = |values: usize| match shape.is_fused {
            true => extent.memory.lend(values),
            false => extent.memory.lend_zeros(values),
        };
        let mut steps = Steps {
            gates: lend(count * of_gates),
            sums: lend(if shape.is_fused { 0 } else { count * of_gates }),
            recurrent: lend(if shape.slots > gates {
                count * of_step
            } else {
                0
            }),
            h: lend((count + 1) * of_step),
            c: lend(if is_lstm { (count + 1) * of_step } else { 0 }),
            count,
        };
        at_mut(&mut steps.h, 0, of_step).copy_from_slice(&states[0][..of_step]);
        if is_lstm {
            at_mut(&mut steps.c, 0, of_step).copy_from_slice(&states[1][..of_step]);
        }

        let stride = shape.wide_features;
        let x = &self.x.as_slice()[part.start * rows * stride..part.end * rows * stride];
        let masks = Masks {
            masks: dropout.inputs_of(index),
            extent,
        };
        let at_once = rows >= ROWS_OF_A_STEP
            && shape.of_x == shape.of_h
            && shape.of_x.iter().all(|group| group.mask.is_none());
        if !at_once {
            for (group, factor) in shape.of_x.iter().zip(&weights.of_x) {
                let first = group.gates.start * up;
                let mut masked = Vec::new();
                let mut x = x;
                if group.mask.is_some() {
                    masked.extend_from_slice(x);
                    masks.multiply(group, &mut masked, stride);
                    x = &masked;
                }
                let out = &mut steps.gates.as_mut_slice()[first..];
                let onto = Onto::Bias(&weights.bias[first..]);
                let out = (out, gates * up);
                factor.multiply(Left::rows(x, stride), count * rows, onto, out);
            }
        }

        let masks = Masks {
            masks: dropout.recurrent_of(index),
            extent,
        };
        let mut seen = vec![0.0; of_step];
        for step in 0..count {
            let (before, after) = steps.h.as_mut_slice().split_at_mut((step + 1) * of_step);
            let (h, new_h) = (&before[step * of_step..], &mut after[..of_step]);
            let own = at_mut(&mut steps.gates, step, of_gates);
            let recurrent = at_mut(&mut steps.recurrent, step, of_step);
            for (number, (group, factor)) in shape.of_h.iter().zip(&weights.of_h).enumerate() {
                let first = group.gates.start * up;
                let is_candidate = group.gates.start == 2 && !is_lstm;
                if at_once {
                    // The gates of the next step are written to soon.
                    let soon = Soon::new(own.as_ptr().wrapping_add(of_gates), of_gates);
                    let from_end = step % 2 == 1;
                    let x = &x[step * rows * stride..][..rows * stride];
                    let beside = (factor, Left::rows(h, up));
                    let (onto, out) = (Onto::Bias(&weights.bias), (&mut *own, gates * up));
                    let x = Left::rows(x, stride);
                    let how = How { from_end, soon };
                    weights.of_x[number].multiply_beside(x, beside, rows, onto, out, how);
                    continue;
                }
                let mut rows_of = h;
                if group.mask.is_some() {
                    seen.copy_from_slice(h);
                    masks.multiply(group, &mut seen, up);
                    rows_of = &seen;
                }
                let left = Left::rows(rows_of, up);
                if is_candidate && !recurrent.is_empty() {
                    let onto = Onto::Bias(&weights.recurrent_bias[first..]);
                    factor.multiply(left, rows, onto, (recurrent, up));
                } else if !is_candidate {
                    let out = (&mut own[first..], gates * up);
                    factor.multiply(left, rows, Onto::Sums, out);
                }
            }
            let (c, new_c) = match is_lstm {
                true => {
                    let (before, after) = steps.c.as_mut_slice().split_at_mut((step + 1) * of_step);
                    (&before[step * of_step..], &mut after[..of_step])
                }
                false => (&[][..], &mut [][..]),
            };
            if shape.is_fused {
                match cell {
                    Cell::Lstm(_) => LstmForward {
                        gates: own,
                        c,
                        new_c,
                        new_h,
                        units: up,
                    }
                    .run(shape.isa),
                    Cell::SimpleRnn(_) => SimpleForward { gates: own, new_h }.run(shape.isa),
                    Cell::Gru(_) => GruForward {
                        gates: own,
                        recurrent,
                        h,
                        new_h,
                        units: up,
                    }
                    .run(shape.isa),
                }
            } else {
                let sums = at_mut(&mut steps.sums, step, of_gates);
                let all = |new_h: &mut [f32],
                           new_c: &mut [f32],
                           own: &mut [f32],
                           visit: &dyn Fn(Row<'_>)| {
                    for row in 0..rows {
                        let of = row * up..row * up + shape.units;
                        visit(Row {
                            gates: &mut own[row * gates * up..][..gates * up],
                            stride: up,
                            recurrent: recurrent.get(of.clone()).unwrap_or_default(),
                            h: &h[of.clone()],
                            c: c.get(of.clone()).unwrap_or_default(),
                            new_h: &mut new_h[of.clone()],
                            new_c: new_c.get_mut(of).unwrap_or_default(),
                        });
                    }
                };
                sums.copy_from_slice(own);
                if shape.slots > gates {
                    // What the candidate is made of has its own part of h·U, by r.
                    all(new_h, new_c, own, &|row| row.forward(cell));
                    add_candidates(shape, rows, sums, own, recurrent);
                } else {
                    all(new_h, new_c, own, &|row| row.forward(cell));
                }
                if let (Cell::Gru(gru), false) = (cell, shape.slots > gates) {
                    let last = shape.of_h.len() - 1;
                    kept(shape, rows, own, h, &mut seen, &masks);
                    let out = (&mut own[2 * up..], gates * up);
                    weights.of_h[last].multiply(Left::rows(&seen, up), rows, Onto::Sums, out);
                    sums.copy_from_slice_of(own, shape, rows);
                    all(new_h, new_c, own, &|row| row.candidate(gru.activation()));
                }
            }
            if extent.has_uncounted(part.start + step) {
                for row in (0..rows).filter(|row| !extent.counts(part.start + step, *row)) {
                    let of = row * up..(row + 1) * up;
                    new_h[of.clone()].copy_from_slice(&h[of.clone()]);
                    if is_lstm {
                        new_c[of.clone()].copy_from_slice(&c[of]);
                    }
                }
            }
        }
        steps
    }
}

/// The bias of x·W, with all that may be added at once, and that of a GRU's h·U.
fn biases(cell: &Cell) -> (Option<Vec<f32>>, Option<Vec<f32>>) {
    match cell {
        Cell::Lstm(cell) => (cell.whole_bias(), None),
        Cell::SimpleRnn(cell) => (cell.weights().bias().map(|bias| bias.to_vec()), None),
        Cell::Gru(cell) => {
            let Some(bias) = cell.weights().fused_bias() else {
                return (None, None);
            };
            let mut input = bias.row(0).to_vec();
            if !cell.reset_after() {
                return (Some(input), None);
            }
            let recurrent = bias.row(1).to_vec();
            let gates = 2 * cell.weights().units();
            for (b, r) in input[..gates].iter_mut().zip(&recurrent) {
                *b += r;
            }
            (Some(input), Some(recurrent))
        }
    }
}

/// Of a GRU without `reset_after`: what the candidate sees of h.
fn kept(shape: &Shape, rows: usize, own: &[f32], h: &[f32], seen: &mut [f32], masks: &Masks<'_>) {
    let (up, last) = (shape.wide_units, shape.of_h.len() - 1);
    kept_h(seen, h, &shape.of_h[last], masks, up);
    for row in 0..rows {
        let r = &own[(row * shape.gates + 1) * up..][..up];
        let seen = &mut seen[row * up..][..up];
        seen.iter_mut().zip(r).for_each(|(seen, r)| *seen *= r);
    }
}

/// Of a GRU with `reset_after`: the sums of the candidate, which have x·W so far.
fn add_candidates(shape: &Shape, rows: usize, sums: &mut [f32], own: &[f32], recurrent: &[f32]) {
    let up = shape.wide_units;
    for row in 0..rows {
        let of = |gate: usize| (row * shape.gates + gate) * up;
        for unit in 0..shape.units {
            let r = own[of(1) + unit];
            sums[of(2) + unit] += r * recurrent[row * up + unit];
        }
    }
}

trait CandidateSums {
    fn copy_from_slice_of(&mut self, own: &[f32], shape: &Shape, rows: usize);
}

impl CandidateSums for [f32] {
    /// The third gate's part of some rows.
    fn copy_from_slice_of(&mut self, own: &[f32], shape: &Shape, rows: usize) {
        let up = shape.wide_units;
        for row in 0..rows {
            let of = (row * shape.gates + 2) * up;
            self[of..of + up].copy_from_slice(&own[of..of + up]);
        }
    }
}
