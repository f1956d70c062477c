//! The steps back.

use super::kernels::{GruBackward, LstmBackward, SimpleBackward};
use super::matrix::{Factor, How, Left, Onto, Soon};
use super::shape::recurrent_kernel;
use super::steps::RowBack;
use super::{
    CellBack, CellTape, Extent, Factors, Group, Kept, Loan, Masks, Shape, Steps, at, at_mut, kept_h,
};
use crate::{Activation, BackwardOptions, Cell, CellGradients, Dropout};

/// Rows times steps that are multiplied at once on the way back.
const ROWS_AT_ONCE: usize = 256;

/// The way back through a cell, as far as it has come.
struct Way<'a> {
    cell: &'a Cell,
    shape: &'a Shape,
    extent: &'a Extent<'a>,
    input_masks: Masks<'a>,
    recurrent_masks: Masks<'a>,
    /// Wᵀ and Uᵀ.
    of_x: Vec<Factor>,
    of_h: Vec<Factor>,
    dh: Loan,
    dc: Loan,
    /// Of each step where they are wanted; empty where not.
    kept: [Loan; 2],
    dx: Loan,
    d_kernel: Loan,
    d_recurrent: Loan,
    d_bias: Vec<f32>,
    /// Of some steps.
    dz: Loan,
    by_dz: Vec<(usize, Factor)>,
    seen: Loan,
    scratch: Vec<f32>,
    zeros: Vec<f32>,
    saved: [Vec<f32>; 2],
}

impl CellTape {
    /// `d_outputs` `[step][row][unit]` and those by the last states, back.
    #[allow(clippy::too_many_arguments, reason = "a whole pass")]
    pub(super) fn backward(
        &self,
        cell: &Cell,
        index: usize,
        d_outputs: &[f32],
        d_states: [Loan; 2],
        dropout: &Dropout,
        extent: &Extent<'_>,
        options: &BackwardOptions,
    ) -> CellBack {
        let shape = &self.shape;
        let of_step = extent.rows * shape.wide_units;
        let together = (ROWS_AT_ONCE / extent.rows.max(1)).clamp(1, extent.time.max(1));
        let mut way = Way::new(
            cell, index, shape, d_states, dropout, extent, together, options,
        );
        let again = extent.every.map(|_| Factors::new(shape, cell));
        for (part, kept) in extent.parts().zip(&self.parts).rev() {
            let run;
            let steps = match (kept, &again) {
                (Kept::All(steps), _) => steps,
                (Kept::Before(states), Some(factors)) => {
                    let states = [&states[0], &states[1]].map(|state| state.as_slice());
                    run = self.run(cell, index, factors, part.clone(), states, dropout, extent);
                    &run
                }
                (Kept::Before(_), None) => continue,
            };
            let mut end = part.len();
            while end > 0 {
                let first = end.saturating_sub(together);
                for step in (first..end).rev() {
                    let of = part.start + step;
                    let d_out = &d_outputs[of * of_step..][..of_step];
                    way.step(steps, step, of, step - first, d_out);
                }
                way.products(steps, self.x.as_slice(), part.start, first, end - first);
                end = first;
            }
        }
        way.finish()
    }
}

impl<'a> Way<'a> {
    #[allow(clippy::too_many_arguments, reason = "a whole pass")]
    fn new(
        cell: &'a Cell,
        index: usize,
        shape: &'a Shape,
        [dh, dc]: [Loan; 2],
        dropout: &'a Dropout,
        extent: &'a Extent<'a>,
        together: usize,
        options: &BackwardOptions,
    ) -> Self {
        let (rows, time, memory) = (extent.rows, extent.time, extent.memory);
        let (up, stride) = (shape.wide_units, shape.wide_features);
        let of_step = rows * up;
        let is_lstm = matches!(cell, Cell::Lstm(_));
        let turned = |matrix, groups: &[Group]| -> Vec<Factor> {
            let of = |group| shape.transposed(matrix, group);
            groups.iter().map(of).collect()
        };
        let kept_size = if options.states { time * of_step } else { 0 };
        let of_x = if options.inputs {
            time * rows * stride
        } else {
            0
        };
        let dx = match shape.of_x.iter().any(|group| group.mask.is_some()) {
            true => memory.lend_zeros(of_x),
            false => memory.lend(of_x),
        };
        let dz = together * rows * shape.slots * up;
        Self {
            cell,
            shape,
            extent,
            input_masks: Masks {
                masks: dropout.inputs_of(index),
                extent,
            },
            recurrent_masks: Masks {
                masks: dropout.recurrent_of(index),
                extent,
            },
            of_x: match options.inputs {
                true => turned(cell.kernel(), &shape.of_x),
                false => Vec::new(),
            },
            of_h: turned(recurrent_kernel(cell), &shape.of_h),
            dh,
            dc,
            kept: [
                memory.lend_zeros(kept_size),
                memory.lend_zeros(if is_lstm { kept_size } else { 0 }),
            ],
            dx,
            d_kernel: memory.lend_zeros(shape.features * shape.gates * up),
            d_recurrent: memory.lend_zeros(shape.units * shape.gates * up),
            d_bias: vec![0.0; shape.slots * up],
            // Only a kernel writes the lanes that are no units.
            dz: match shape.is_fused {
                true => memory.lend(dz),
                false => memory.lend_zeros(dz),
            },
            by_dz: Vec::new(),
            seen: memory.lend(together * rows * up.max(stride)),
            scratch: vec![0.0; of_step],
            zeros: vec![0.0; of_step.max(stride)],
            saved: [vec![], vec![]],
        }
    }

    /// One step of the kept ones, which is the `of`-th of the sequence; its dz goes to `place`.
    fn step(&mut self, steps: &Steps, step: usize, of: usize, place: usize, d_out: &[f32]) {
        let (shape, extent, rows) = (self.shape, self.extent, self.extent.rows);
        let (up, gates, slots) = (shape.wide_units, shape.gates, shape.slots);
        let (of_step, of_gates, of_dz) = (rows * up, rows * gates * up, rows * slots * up);
        let is_lstm = matches!(self.cell, Cell::Lstm(_));
        let resets_before = matches!(self.cell, Cell::Gru(gru) if !gru.reset_after());
        let keep = self.kept[0].len() > 0;
        let dh = &mut self.dh.as_mut_slice()[..of_step];
        let dc = at_mut(&mut self.dc, 0, if is_lstm { of_step } else { 0 });
        let masked = extent.has_uncounted(of);
        // A kernel adds what comes by the output itself.
        let in_kernel = shape.is_fused && !keep && !masked;
        if !in_kernel {
            dh.iter_mut().zip(d_out).for_each(|(d, out)| *d += out);
        }
        let d_out = if in_kernel {
            d_out
        } else {
            &self.zeros[..of_step]
        };
        if keep {
            at_mut(&mut self.kept[0], of, of_step).copy_from_slice(dh);
            if is_lstm {
                at_mut(&mut self.kept[1], of, of_step).copy_from_slice(dc);
            }
        }
        if masked {
            self.saved = [dh.to_vec(), dc.to_vec()];
        }
        let dz = at_mut(&mut self.dz, place, of_dz);
        let own = at(&steps.gates, step, of_gates);
        let recurrent = at(&steps.recurrent, step, of_step);
        let h = at(&steps.h, step, of_step);
        let (c, new_c) = match is_lstm {
            true => (at(&steps.c, step, of_step), at(&steps.c, step + 1, of_step)),
            false => (&[][..], &[][..]),
        };
        match (shape.is_fused, self.cell) {
            (true, Cell::Lstm(_)) => {
                if keep {
                    // Through h too: what the kernel adds to dc by itself.
                    let kept = at_mut(&mut self.kept[1], of, of_step);
                    add_shown(shape, rows, own, new_c, dh, kept);
                }
                LstmBackward {
                    gates: own,
                    c,
                    new_c,
                    dh,
                    d_out,
                    dc,
                    dz,
                    units: up,
                }
                .run(shape.isa);
            }
            (true, Cell::Gru(_)) => GruBackward {
                gates: own,
                recurrent,
                h,
                dh,
                d_out,
                dz,
                units: up,
            }
            .run(shape.isa),
            (true, Cell::SimpleRnn(_)) => SimpleBackward {
                gates: own,
                dh,
                d_out,
                dz,
            }
            .run(shape.isa),
            (false, cell) => {
                let sums = at(&steps.sums, step, of_gates);
                let mut d_kept = Vec::new();
                for reset in [false, true] {
                    if reset && !resets_before {
                        break;
                    }
                    let seen = self.seen.as_mut_slice();
                    if reset {
                        let last = shape.of_h.len() - 1;
                        kept_h(seen, h, &shape.of_h[last], &self.recurrent_masks, up);
                        d_kept = vec![0.0; of_step];
                        let from = Left::rows(&dz[2 * up..], slots * up);
                        let out = (&mut d_kept[..], up);
                        self.of_h[last].multiply(from, rows, Onto::Sums, out);
                    }
                    for row in 0..rows {
                        let of_row = row * up..row * up + shape.units;
                        let back = RowBack {
                            gates: &own[row * gates * up..][..gates * up],
                            sums: &sums[row * gates * up..][..gates * up],
                            stride: up,
                            recurrent: recurrent.get(of_row.clone()).unwrap_or_default(),
                            h: &h[of_row.clone()],
                            c: c.get(of_row.clone()).unwrap_or_default(),
                            new_c: new_c.get(of_row.clone()).unwrap_or_default(),
                            dh: &mut dh[of_row.clone()],
                            dc: dc.get_mut(of_row.clone()).unwrap_or_default(),
                            dz: &mut dz[row * slots * up..][..slots * up],
                        };
                        if reset {
                            back.reset(cell, &seen[of_row.clone()], &mut d_kept[of_row]);
                        } else {
                            if keep && is_lstm {
                                let kept = at_mut(&mut self.kept[1], of, of_step);
                                shown_of(cell, &back, &mut kept[of_row]);
                            }
                            back.backward(cell);
                        }
                    }
                }
                if resets_before {
                    let last = shape.of_h.len() - 1;
                    self.recurrent_masks
                        .multiply(&shape.of_h[last], &mut d_kept, up);
                    dh.iter_mut().zip(&d_kept).for_each(|(d, kept)| *d += kept);
                }
            }
        }
        let uncounted = (0..rows).filter(|row| masked && !extent.counts(of, *row));
        for row in uncounted.clone() {
            dz[row * slots * up..(row + 1) * slots * up].fill(0.0);
        }
        // dh before the step.
        let mut onto = match self.cell {
            Cell::Gru(_) => Onto::Sums,
            Cell::Lstm(_) | Cell::SimpleRnn(_) => Onto::Bias(&self.zeros),
        };
        for (group, factor) in shape.of_h.iter().zip(&self.of_h) {
            if resets_before && group.gates.start == 2 {
                continue;
            }
            let from = Left::rows(&dz[group.slot * up..], slots * up);
            if group.mask.is_none() {
                // The gates of the step before are read soon.
                let soon = Soon::new(own.as_ptr().wrapping_sub(of_gates), of_gates);
                let how = How {
                    soon,
                    ..How::default()
                };
                factor.multiply_as(from, rows, onto, (dh, up), how);
            } else {
                if let Onto::Bias(_) = onto {
                    dh.fill(0.0);
                }
                let scratch = &mut self.scratch;
                factor.multiply(from, rows, Onto::Bias(&self.zeros), (scratch, up));
                self.recurrent_masks.multiply(group, scratch, up);
                dh.iter_mut().zip(scratch).for_each(|(d, more)| *d += *more);
            }
            onto = Onto::Sums;
        }
        for row in uncounted {
            let of_row = row * up..(row + 1) * up;
            dh[of_row.clone()].copy_from_slice(&self.saved[0][of_row.clone()]);
            if is_lstm {
                let saved = &self.saved[1][of_row.clone()];
                if keep {
                    let kept = at_mut(&mut self.kept[1], of, of_step);
                    kept[of_row.clone()].copy_from_slice(saved);
                }
                dc[of_row].copy_from_slice(saved);
            }
        }
    }

    /// What is a product over some steps, `count` from `first` on of those kept, which begin at
    /// `start` in the sequence.
    fn products(&mut self, steps: &Steps, x: &[f32], start: usize, first: usize, count: usize) {
        let (shape, rows) = (self.shape, self.extent.rows);
        let (up, gates, slots) = (shape.wide_units, shape.gates, shape.slots);
        let (features, stride) = (shape.features, shape.wide_features);
        let resets_before = matches!(self.cell, Cell::Gru(gru) if !gru.reset_after());
        let count = count * rows;
        let dz = &self.dz.as_slice()[..count * slots * up];
        for row in dz.chunks_exact(slots * up) {
            self.d_bias.iter_mut().zip(row).for_each(|(b, d)| *b += d);
        }
        let mut packed = Vec::new();
        let by_dz = &mut self.by_dz;
        let mut pack = |group: &Group| -> usize {
            let key = group.slot * 64 + group.gates.len();
            let known = by_dz.iter().position(|(known, _)| *known == key);
            let place = known.unwrap_or_else(|| {
                by_dz.push((key, Factor::empty(shape.isa, group.gates.len() * up)));
                by_dz.len() - 1
            });
            if !packed.contains(&place) {
                by_dz[place].1.pack(&dz[group.slot * up..], slots * up);
                packed.push(place);
            }
            place
        };
        let indices_x: Vec<usize> = shape.of_x.iter().map(&mut pack).collect();
        let indices_h: Vec<usize> = shape.of_h.iter().map(&mut pack).collect();
        let at_x = (start + first) * rows * stride;
        for (number, (group, by)) in shape.of_x.iter().zip(indices_x).enumerate() {
            let mut x = &x[at_x..][..count * stride];
            if group.mask.is_some() {
                let seen = &mut self.seen.as_mut_slice()[..count * stride];
                seen.copy_from_slice(x);
                self.input_masks.multiply(group, seen, stride);
                x = seen;
            }
            let out = &mut self.d_kernel.as_mut_slice()[group.gates.start * up..];
            let out = (out, gates * up);
            self.by_dz[by]
                .1
                .multiply(Left::columns(x, stride), features, Onto::Sums, out);

            let Some(of_x) = self.of_x.get(number) else {
                continue;
            };
            let from = Left::rows(&dz[group.slot * up..], slots * up);
            let dx = &mut self.dx.as_mut_slice()[at_x..][..count * stride];
            let onto = Onto::Bias(&self.zeros);
            if group.mask.is_some() {
                let mut part = vec![0.0; count * stride];
                of_x.multiply(from, count, onto, (&mut part, stride));
                self.input_masks.multiply(group, &mut part, stride);
                dx.iter_mut().zip(&part).for_each(|(d, part)| *d += part);
            } else {
                of_x.multiply(from, count, onto, (dx, stride));
            }
        }
        let of_step = rows * up;
        for (group, by) in shape.of_h.iter().zip(indices_h) {
            let mut h = &steps.h.as_slice()[first * of_step..][..count * up];
            let is_reset = resets_before && group.gates.start == 2;
            if group.mask.is_some() || is_reset {
                let seen = &mut self.seen.as_mut_slice()[..count * up];
                seen.copy_from_slice(h);
                self.recurrent_masks.multiply(group, seen, up);
                if is_reset {
                    let own = &steps.gates.as_slice()[first * rows * gates * up..];
                    for (seen, own) in seen.chunks_mut(up).zip(own.chunks(gates * up)) {
                        let r = &own[up..2 * up];
                        seen.iter_mut().zip(r).for_each(|(seen, r)| *seen *= r);
                    }
                }
                h = seen;
            }
            let out = &mut self.d_recurrent.as_mut_slice()[group.gates.start * up..];
            let out = (out, gates * up);
            self.by_dz[by]
                .1
                .multiply(Left::columns(h, up), shape.units, Onto::Sums, out);
        }
    }

    fn finish(self) -> CellBack {
        let (shape, up) = (self.shape, self.shape.wide_units);
        let mut weights = CellGradients::zeros(self.cell);
        weights.kernel = shape.narrowed(self.d_kernel.as_slice(), shape.features);
        weights.recurrent_kernel = shape.narrowed(self.d_recurrent.as_slice(), shape.units);
        if let Some(bias) = &mut weights.bias {
            let columns = shape.gates * shape.units;
            for (number, b) in bias.iter_mut().enumerate() {
                let (row, gate) = (number / columns, number % columns / shape.units);
                let slot = if row == 1 && gate == 2 { 3 } else { gate };
                *b = self.d_bias[slot * up + number % shape.units];
            }
        }
        CellBack {
            weights,
            dx: self.dx,
            states: [self.dh, self.dc],
            kept: self.kept,
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
