//! A cell over a whole sequence for training: the forward pass that keeps its gates, and the way
//! back.
//!
//! Everything is `[step][row][unit]`, in the order read, with rows of whole vectors. x·W of all
//! steps is one product; then step by step h·U is added and the gates become states. On the way back
//! a step makes dz of dh and dc, and dh before it of dz·Uᵀ; dW, dU, dx and db are products over many
//! steps at once.
//!
//! The sums are the same chains of multiply-adds as in [`sequence`](super::sequence), and what the
//! kernels make of them are the same operations: the states are those of the forward pass to the
//! last bit.

use ndarray::Axis;

use super::buffer::Buffer;
use super::simd::Isa;
use crate::{Activation, Cell, CellGradients, Dropout};

mod kernels;
mod matrix;
mod shape;
mod shard;
mod steps;

use kernels::{GruBackward, GruForward, LstmBackward, LstmForward};
use matrix::{Factor, Onto, transpose};
use shape::{Group, Shape, recurrent_kernel};
pub(crate) use shard::Shards;
use steps::{Row, RowBack};

/// Rows times steps that are multiplied at once on the way back.
const ROWS_AT_ONCE: usize = 256;

/// Rows of the batch, and the steps.
#[derive(Debug, Clone)]
pub(super) struct Extent<'a> {
    /// The first of the rows in the batch, for the masks.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) time: usize,
    /// That of the forward pass: another one's last bits may differ.
    pub(super) isa: Isa,
    /// Whether each counts, `[step][row]`; empty when all do.
    pub(super) counted: &'a [bool],
}

impl Extent<'_> {
    fn has_uncounted(&self, step: usize) -> bool {
        let own = self.counted.get(step * self.rows..(step + 1) * self.rows);
        own.is_some_and(|own| own.contains(&false))
    }

    fn counts(&self, step: usize, row: usize) -> bool {
        self.counted.is_empty() || self.counted[step * self.rows + row]
    }
}

/// What a cell has kept.
#[derive(Debug, Clone)]
pub(super) struct CellTape {
    shape: Shape,
    x: Buffer,
    gates: Buffer,
    /// What the activations made the gates of; empty where a kernel does without.
    sums: Buffer,
    /// Of a GRU with `reset_after`: h·U of the candidate.
    recurrent: Buffer,
    /// From before the first step on.
    h: Buffer,
    c: Buffer,
}

/// What came back.
pub(super) struct CellBack {
    pub(super) weights: CellGradients,
    /// `[step][row][feature]`
    pub(super) dx: Buffer,
    /// By the states before the first step, `[row][unit]`.
    pub(super) states: [Buffer; 2],
    /// By those after each step, where they are wanted: `[step][row][unit]`.
    pub(super) kept: [Buffer; 2],
}

/// Whether a cell's training is here: all but the options that Keras does not have.
pub(crate) fn knows(cell: &Cell) -> bool {
    match cell {
        Cell::Lstm(cell) => !cell.has_longer_step(),
        Cell::Gru(cell) => cell.clip().is_none(),
        Cell::SimpleRnn(cell) => cell.clip().is_none(),
    }
}

/// Whether the states are those of the forward pass to the last bit.
pub(crate) fn is_exact(cell: &Cell) -> bool {
    match cell {
        Cell::Lstm(_) | Cell::Gru(_) => {
            Shape::of(cell, 0, &Dropout::default(), Isa::best()).is_fused
        }
        Cell::SimpleRnn(_) => false,
    }
}

/// From one row to the next of so many values.
fn wide(values: usize) -> usize {
    values.next_multiple_of(Isa::best().lanes())
}

/// A step of an array.
fn at(array: &Buffer, step: usize, values: usize) -> &[f32] {
    match array.len() {
        0 => &[],
        _ => &array.as_slice()[step * values..][..values],
    }
}

fn at_mut(array: &mut Buffer, step: usize, values: usize) -> &mut [f32] {
    match array.len() {
        0 => &mut [],
        _ => &mut array.as_mut_slice()[step * values..][..values],
    }
}

/// Rows as a group sees them: those of `from`, times the group's mask.
struct Masks<'a> {
    masks: Option<&'a ndarray::Array3<f32>>,
    extent: &'a Extent<'a>,
}

impl Masks<'_> {
    /// Multiplies each row, of whichever step, with its mask.
    fn multiply(&self, group: &Group, rows: &mut [f32], stride: usize) {
        let (Some(masks), Some(own)) = (self.masks, group.mask) else {
            return;
        };
        let masks = masks.index_axis(Axis(0), own);
        for (number, values) in rows.chunks_mut(stride.max(1)).enumerate() {
            let row = self.extent.first + number % self.extent.rows;
            values
                .iter_mut()
                .zip(masks.row(row))
                .for_each(|(value, mask)| *value *= mask);
        }
    }
}

impl CellTape {
    /// Runs a cell over `x` `[step][row][feature]` from the states in `h` and `c`, `[row][unit]`.
    pub(super) fn forward(
        cell: &Cell,
        index: usize,
        x: Buffer,
        states: [&[f32]; 2],
        dropout: &Dropout,
        extent: &Extent<'_>,
    ) -> Self {
        let shape = Shape::of(cell, index, dropout, extent.isa);
        let (rows, time) = (extent.rows, extent.time);
        let (up, gates) = (shape.wide_units, shape.gates);
        let (of_step, of_gates) = (rows * up, rows * gates * up);
        let is_lstm = matches!(cell, Cell::Lstm(_));
        let mut tape = Self {
            x,
            gates: Buffer::zeros(time * of_gates),
            sums: Buffer::zeros(if shape.is_fused { 0 } else { time * of_gates }),
            recurrent: match shape.slots > gates {
                true => Buffer::zeros(time * of_step),
                false => Buffer::default(),
            },
            h: Buffer::zeros((time + 1) * of_step),
            c: Buffer::zeros(if is_lstm { (time + 1) * of_step } else { 0 }),
            shape,
        };
        at_mut(&mut tape.h, 0, of_step).copy_from_slice(states[0]);
        if is_lstm {
            at_mut(&mut tape.c, 0, of_step).copy_from_slice(states[1]);
        }
        let shape = tape.shape.clone();

        // x·W of all steps.
        let (bias, recurrent_bias) = biases(cell);
        let (bias, recurrent_bias) = (shape.wide_bias(bias), shape.wide_bias(recurrent_bias));
        let masks = Masks {
            masks: dropout.inputs_of(index),
            extent,
        };
        let stride = shape.wide_features;
        for group in &shape.of_x {
            let first = group.gates.start * up;
            let factor = shape.factor(cell.kernel(), group);
            let mut masked = Vec::new();
            let mut x = &tape.x.as_slice()[..time * rows * stride];
            if group.mask.is_some() {
                masked.extend_from_slice(x);
                masks.multiply(group, &mut masked, stride);
                x = &masked;
            }
            if time * rows > 0 {
                let out = &mut tape.gates.as_mut_slice()[first..];
                let onto = Onto::Bias(&bias[first..]);
                factor.multiply((x, stride), time * rows, onto, (out, gates * up));
            }
        }

        // Step by step.
        let factors: Vec<Factor> = shape
            .of_h
            .iter()
            .map(|group| shape.factor(recurrent_kernel(cell), group))
            .collect();
        let masks = Masks {
            masks: dropout.recurrent_of(index),
            extent,
        };
        let mut seen = vec![0.0; of_step];
        for step in 0..time {
            let (before, after) = tape.h.as_mut_slice().split_at_mut((step + 1) * of_step);
            let (h, new_h) = (&before[step * of_step..], &mut after[..of_step]);
            let own = at_mut(&mut tape.gates, step, of_gates);
            let recurrent = at_mut(&mut tape.recurrent, step, of_step);
            for (group, factor) in shape.of_h.iter().zip(&factors) {
                let first = group.gates.start * up;
                let is_candidate = group.gates.start == 2 && !is_lstm;
                let mut rows_of = h;
                if group.mask.is_some() {
                    seen.copy_from_slice(h);
                    masks.multiply(group, &mut seen, up);
                    rows_of = &seen;
                }
                if is_candidate && !recurrent.is_empty() {
                    let onto = Onto::Bias(&recurrent_bias[first..]);
                    factor.multiply((rows_of, up), rows, onto, (recurrent, up));
                } else if !is_candidate {
                    let out = (&mut own[first..], gates * up);
                    factor.multiply((rows_of, up), rows, Onto::Sums, out);
                }
            }
            let (c, new_c) = match is_lstm {
                true => {
                    let (before, after) = tape.c.as_mut_slice().split_at_mut((step + 1) * of_step);
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
                    _ => GruForward {
                        gates: own,
                        recurrent,
                        h,
                        new_h,
                        units: up,
                    }
                    .run(shape.isa),
                }
            } else {
                let sums = at_mut(&mut tape.sums, step, of_gates);
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
                    add_candidates(&shape, rows, sums, own, recurrent);
                } else {
                    all(new_h, new_c, own, &|row| row.forward(cell));
                }
                if let (Cell::Gru(gru), false) = (cell, shape.slots > gates) {
                    let last = shape.of_h.len() - 1;
                    kept(&shape, rows, own, h, &mut seen, &masks);
                    let out = (&mut own[2 * up..], gates * up);
                    factors[last].multiply((&seen, up), rows, Onto::Sums, out);
                    sums.copy_from_slice_of(own, &shape, rows);
                    all(new_h, new_c, own, &|row| row.candidate(gru.activation()));
                }
            }
            if extent.has_uncounted(step) {
                for row in (0..rows).filter(|row| !extent.counts(step, *row)) {
                    let of = row * up..(row + 1) * up;
                    new_h[of.clone()].copy_from_slice(&h[of.clone()]);
                    if is_lstm {
                        new_c[of.clone()].copy_from_slice(&c[of]);
                    }
                }
            }
        }
        tape
    }

    /// h after each step, `[step][row][unit]`.
    pub(super) fn outputs(&self, extent: &Extent<'_>) -> &[f32] {
        &self.h.as_slice()[extent.rows * self.shape.wide_units..]
    }

    /// The states after the last step.
    pub(super) fn last(&self, extent: &Extent<'_>) -> [&[f32]; 2] {
        let of_step = extent.rows * self.shape.wide_units;
        [&self.h, &self.c].map(|state| at(state, extent.time, of_step))
    }

    /// `d_outputs` `[step][row][unit]` and those by the last states, back.
    #[allow(clippy::too_many_arguments, reason = "a whole pass")]
    pub(super) fn backward(
        &self,
        cell: &Cell,
        index: usize,
        d_outputs: &[f32],
        [mut dh, mut dc]: [Buffer; 2],
        dropout: &Dropout,
        extent: &Extent<'_>,
        keep: bool,
    ) -> CellBack {
        let shape = &self.shape;
        let (rows, time) = (extent.rows, extent.time);
        let (up, gates, slots) = (shape.wide_units, shape.gates, shape.slots);
        let (of_step, of_gates, of_dz) = (rows * up, rows * gates * up, rows * slots * up);
        let (features, stride) = (shape.features, shape.wide_features);
        let is_lstm = matches!(cell, Cell::Lstm(_));
        let resets_before = matches!(cell, Cell::Gru(gru) if !gru.reset_after());

        let of_x: Vec<Factor> = shape
            .of_x
            .iter()
            .map(|group| shape.transposed(cell.kernel(), group))
            .collect();
        let of_h: Vec<Factor> = shape
            .of_h
            .iter()
            .map(|group| shape.transposed(recurrent_kernel(cell), group))
            .collect();
        let input_masks = Masks {
            masks: dropout.inputs_of(index),
            extent,
        };
        let recurrent_masks = Masks {
            masks: dropout.recurrent_of(index),
            extent,
        };
        let together = (ROWS_AT_ONCE / rows.max(1)).clamp(1, time.max(1));
        let mut dz = Buffer::zeros(together * of_dz);
        let mut dx = Buffer::zeros(time * rows * stride);
        let kept_size = if keep { time * of_step } else { 0 };
        let mut kept_states = [
            Buffer::zeros(kept_size),
            Buffer::zeros(if is_lstm { kept_size } else { 0 }),
        ];
        let mut d_kernel = Buffer::zeros(features * gates * up);
        let mut d_recurrent = Buffer::zeros(shape.units * gates * up);
        let mut d_bias = vec![0.0f32; slots * up];
        let zeros = vec![0.0; up.max(stride)];
        let mut scratch = vec![0.0; of_step];
        let (mut saved_h, mut saved_c) = (vec![], vec![]);
        // Of a chunk: what is multiplied with dz, as it is and turned.
        let mut turned = vec![0.0; features.max(shape.units) * together * rows];
        let mut seen = vec![0.0; together * rows * up.max(stride)];
        let mut by_dz: Vec<(usize, Factor)> = Vec::new();

        let mut end = time;
        while end > 0 {
            let first = end.saturating_sub(together);
            for step in (first..end).rev() {
                let dh = &mut dh.as_mut_slice()[..of_step];
                let d_out = &d_outputs[step * of_step..][..of_step];
                dh.iter_mut().zip(d_out).for_each(|(d, out)| *d += out);
                let dc_len = if is_lstm { of_step } else { 0 };
                let dc = &mut dc.as_mut_slice()[..dc_len];
                if keep {
                    at_mut(&mut kept_states[0], step, of_step).copy_from_slice(dh);
                    if is_lstm {
                        at_mut(&mut kept_states[1], step, of_step).copy_from_slice(dc);
                    }
                }
                let masked = extent.has_uncounted(step);
                if masked {
                    saved_h = dh.to_vec();
                    saved_c = dc.to_vec();
                }
                let dz = at_mut(&mut dz, step - first, of_dz);
                let own = at(&self.gates, step, of_gates);
                let recurrent = at(&self.recurrent, step, of_step);
                let h = at(&self.h, step, of_step);
                if shape.is_fused && is_lstm {
                    if keep {
                        // Through h too: what the kernel adds to dc by itself.
                        let kept = at_mut(&mut kept_states[1], step, of_step);
                        add_shown(shape, rows, own, at(&self.c, step + 1, of_step), dh, kept);
                    }
                    LstmBackward {
                        gates: own,
                        c: at(&self.c, step, of_step),
                        new_c: at(&self.c, step + 1, of_step),
                        dh,
                        dc,
                        dz,
                        units: up,
                    }
                    .run(shape.isa);
                } else if shape.is_fused {
                    GruBackward {
                        gates: own,
                        recurrent,
                        h,
                        dh,
                        dz,
                        units: up,
                    }
                    .run(shape.isa);
                } else {
                    let sums = at(&self.sums, step, of_gates);
                    let c = at(&self.c, step, if is_lstm { of_step } else { 0 });
                    let new_c = match is_lstm {
                        true => at(&self.c, step + 1, of_step),
                        false => &[],
                    };
                    let mut d_kept = Vec::new();
                    for reset in [false, true] {
                        if reset && !resets_before {
                            break;
                        }
                        if reset {
                            let last = shape.of_h.len() - 1;
                            kept_h(&mut seen, h, &shape.of_h[last], &recurrent_masks, up);
                            d_kept = vec![0.0; of_step];
                            let from = (&dz[2 * up..], slots * up);
                            let out = (&mut d_kept[..], up);
                            of_h[last].multiply(from, rows, Onto::Bias(&zeros), out);
                        }
                        for row in 0..rows {
                            let of = row * up..row * up + shape.units;
                            let back = RowBack {
                                gates: &own[row * gates * up..][..gates * up],
                                sums: &sums[row * gates * up..][..gates * up],
                                stride: up,
                                recurrent: recurrent.get(of.clone()).unwrap_or_default(),
                                h: &h[of.clone()],
                                c: c.get(of.clone()).unwrap_or_default(),
                                new_c: new_c.get(of.clone()).unwrap_or_default(),
                                dh: &mut dh[of.clone()],
                                dc: dc.get_mut(of.clone()).unwrap_or_default(),
                                dz: &mut dz[row * slots * up..][..slots * up],
                            };
                            if reset {
                                back.reset(cell, &seen[of.clone()], &mut d_kept[of]);
                            } else {
                                if keep && is_lstm {
                                    let kept = at_mut(&mut kept_states[1], step, of_step);
                                    shown_of(cell, &back, &mut kept[of]);
                                }
                                back.backward(cell);
                            }
                        }
                    }
                    if resets_before {
                        let last = shape.of_h.len() - 1;
                        recurrent_masks.multiply(&shape.of_h[last], &mut d_kept, up);
                        dh.iter_mut().zip(&d_kept).for_each(|(d, kept)| *d += kept);
                    }
                }
                if masked {
                    for row in (0..rows).filter(|row| !extent.counts(step, *row)) {
                        dz[row * slots * up..(row + 1) * slots * up].fill(0.0);
                    }
                }
                // dh before the step.
                if !matches!(cell, Cell::Gru(_)) {
                    dh.fill(0.0);
                }
                for (group, factor) in shape.of_h.iter().zip(&of_h) {
                    if resets_before && group.gates.start == 2 {
                        continue;
                    }
                    let from = (&dz[group.slot * up..], slots * up);
                    if group.mask.is_none() {
                        factor.multiply(from, rows, Onto::Sums, (dh, up));
                    } else {
                        let onto = Onto::Bias(&zeros);
                        factor.multiply(from, rows, onto, (&mut scratch, up));
                        recurrent_masks.multiply(group, &mut scratch, up);
                        dh.iter_mut().zip(&scratch).for_each(|(d, more)| *d += more);
                    }
                }
                if masked {
                    for row in (0..rows).filter(|row| !extent.counts(step, *row)) {
                        let of = row * up..(row + 1) * up;
                        dh[of.clone()].copy_from_slice(&saved_h[of.clone()]);
                        if is_lstm {
                            if keep {
                                let kept = at_mut(&mut kept_states[1], step, of_step);
                                kept[of.clone()].copy_from_slice(&saved_c[of.clone()]);
                            }
                            dc[of.clone()].copy_from_slice(&saved_c[of]);
                        }
                    }
                }
            }

            // What is a product over the steps of the chunk.
            let count = (end - first) * rows;
            let dz = &dz.as_slice()[..count * slots * up];
            by_dz.clear();
            for row in dz.chunks_exact(slots * up) {
                d_bias.iter_mut().zip(row).for_each(|(b, d)| *b += d);
            }
            let mut pack = |group: &Group| -> usize {
                let key = group.slot * 64 + group.gates.len();
                if let Some(known) = by_dz.iter().position(|(known, _)| *known == key) {
                    return known;
                }
                let mut factor = Factor::empty(shape.isa, group.gates.len() * up);
                factor.pack(&dz[group.slot * up..], slots * up);
                by_dz.push((key, factor));
                by_dz.len() - 1
            };
            let indices_x: Vec<usize> = shape.of_x.iter().map(&mut pack).collect();
            let indices_h: Vec<usize> = shape.of_h.iter().map(&mut pack).collect();
            for (number, (group, by)) in shape.of_x.iter().zip(indices_x).enumerate() {
                let x = &self.x.as_slice()[first * rows * stride..][..count * stride];
                let seen = &mut seen[..count * stride];
                let mut x = x;
                if group.mask.is_some() {
                    seen.copy_from_slice(x);
                    input_masks.multiply(group, seen, stride);
                    x = seen;
                }
                transpose(x, stride, (count, features), &mut turned);
                let out = &mut d_kernel.as_mut_slice()[group.gates.start * up..];
                let out = (out, gates * up);
                by_dz[by]
                    .1
                    .multiply((&turned, count), features, Onto::Sums, out);

                let from = (&dz[group.slot * up..], slots * up);
                let dx = &mut dx.as_mut_slice()[first * rows * stride..][..count * stride];
                if group.mask.is_some() {
                    let mut part = vec![0.0; count * stride];
                    let out = (&mut part[..], stride);
                    of_x[number].multiply(from, count, Onto::Bias(&zeros), out);
                    input_masks.multiply(group, &mut part, stride);
                    dx.iter_mut().zip(&part).for_each(|(d, part)| *d += part);
                } else {
                    of_x[number].multiply(from, count, Onto::Bias(&zeros), (dx, stride));
                }
            }
            for (group, by) in shape.of_h.iter().zip(indices_h) {
                let mut h = &self.h.as_slice()[first * of_step..][..count * up];
                let seen = &mut seen[..count * up];
                if group.mask.is_some() || (resets_before && group.gates.start == 2) {
                    seen.copy_from_slice(h);
                    recurrent_masks.multiply(group, seen, up);
                    if resets_before && group.gates.start == 2 {
                        let own = &self.gates.as_slice()[first * of_gates..];
                        for (seen, own) in seen.chunks_mut(up).zip(own.chunks(gates * up)) {
                            let r = &own[up..2 * up];
                            seen.iter_mut().zip(r).for_each(|(seen, r)| *seen *= r);
                        }
                    }
                    h = seen;
                }
                transpose(h, up, (count, shape.units), &mut turned);
                let out = &mut d_recurrent.as_mut_slice()[group.gates.start * up..];
                let out = (out, gates * up);
                by_dz[by]
                    .1
                    .multiply((&turned, count), shape.units, Onto::Sums, out);
            }
            end = first;
        }

        let mut weights = CellGradients::zeros(cell);
        weights.kernel = shape.narrowed(d_kernel.as_slice(), features);
        weights.recurrent_kernel = shape.narrowed(d_recurrent.as_slice(), shape.units);
        if let Some(bias) = &mut weights.bias {
            let columns = gates * shape.units;
            for (number, b) in bias.iter_mut().enumerate() {
                let (row, gate) = (number / columns, number % columns / shape.units);
                let slot = if row == 1 && gate == 2 { 3 } else { gate };
                *b = d_bias[slot * up + number % shape.units];
            }
        }
        CellBack {
            weights,
            dx,
            states: [dh, dc],
            kept: kept_states,
        }
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

/// h as a group sees it.
fn kept_h(seen: &mut [f32], h: &[f32], group: &Group, masks: &Masks<'_>, stride: usize) {
    seen[..h.len()].copy_from_slice(h);
    masks.multiply(group, &mut seen[..h.len()], stride);
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

/// dc += dh∘o∘φ'(c), of a fused LSTM.
fn add_shown(shape: &Shape, rows: usize, own: &[f32], c: &[f32], dh: &[f32], dc: &mut [f32]) {
    let up = shape.wide_units;
    for row in 0..rows {
        let of = row * up..row * up + shape.units;
        let o = &own[(row * shape.gates + 3) * up..];
        let (c, dh) = (&c[of.clone()], &dh[of.clone()]);
        through_shown(Activation::Tanh, o, c, dh, &mut dc[of]);
    }
}

/// The same of a row.
fn shown_of(cell: &Cell, row: &RowBack<'_>, dc: &mut [f32]) {
    if let Cell::Lstm(cell) = cell {
        let o = &row.gates[3 * row.stride..];
        through_shown(cell.activation(), o, row.new_c, row.dh, dc);
    }
}

fn through_shown(phi: Activation, o: &[f32], c: &[f32], dh: &[f32], dc: &mut [f32]) {
    let mut shown = c.to_vec();
    phi.apply(&mut shown);
    let mut d: Vec<f32> = dh.iter().zip(o).map(|(dh, o)| dh * o).collect();
    phi.backward(c, &shown, &mut d);
    dc.iter_mut().zip(d).for_each(|(dc, d)| *dc += d);
}
