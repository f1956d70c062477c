//! Some rows of the batch through all cells, and back; and how a batch is divided.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};

use super::super::buffer::Buffer;
use super::super::pool::{Team, threads};
use super::super::simd::Isa;
use super::{CellBack, CellTape, Extent, wide};
use crate::{
    CellGradients, Dropout, Gradients, RecurrentLayer, Sequence, SequenceGradient, SequenceOptions,
    SequenceOutput,
};

/// Rows that make a thread of their own worth it.
const ROWS_OF_A_THREAD: usize = 8;

/// All that a forward pass has kept: the batch in parts, each of which is one thread's.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    options: SequenceOptions,
    batch: usize,
    time: usize,
    parts: Vec<Shard>,
}

#[derive(Debug, Clone)]
struct Shard {
    isa: Isa,
    rows: Range<usize>,
    counted: Vec<bool>,
    cells: Vec<CellTape>,
}

/// Does each part at the same time, and gives the results in order.
fn each<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let results: Vec<Mutex<Option<T>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let team = Team::gather(count);
    team.run(&|member| {
        for number in (member..count).step_by(team.members) {
            let result = work(number);
            *results[number]
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(result);
        }
    });
    let taken = results.into_iter();
    taken
        .filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

impl Shards {
    /// Of a layer whose cells are all [known](super::knows).
    pub(crate) fn forward(
        layer: &RecurrentLayer,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial: Option<&[ArrayView2<'_, f32>]>,
        dropout: &Dropout,
    ) -> Self {
        let (batch, time, _) = inputs.dim();
        let count = threads().min(batch / ROWS_OF_A_THREAD).max(1);
        let parts = each(count, |number| {
            let rows = batch * number / count..batch * (number + 1) / count;
            Shard::forward(layer, inputs, mask, initial, dropout, rows)
        });
        Self {
            options: layer.options,
            batch,
            time,
            parts,
        }
    }

    /// What the layer puts out.
    pub(crate) fn sequence(&self, layer: &RecurrentLayer) -> Sequence {
        let (batch, time, units) = (self.batch, self.time, layer.units());
        let stride = wide(units);
        let sequences = self.options.return_sequences;
        let mut all = Array3::zeros((batch, if sequences { time } else { 1 }, units));
        let mut states: Vec<_> = layer
            .state_sizes()
            .map(|u| Array2::zeros((batch, u)))
            .collect();
        for part in &self.parts {
            let extent = part.extent(time);
            let Some(last) = part.cells.last() else {
                continue;
            };
            let h = last.outputs(&extent);
            for row in 0..extent.rows {
                let mut output = vec![0.0; units];
                for step in 0..time {
                    if extent.counts(step, row) {
                        output.copy_from_slice(&h[(step * extent.rows + row) * stride..][..units]);
                    } else if self.options.zero_output_for_mask {
                        output.fill(0.0);
                    }
                    if sequences || step + 1 == time {
                        let place = if sequences { step } else { 0 };
                        let output = ndarray::ArrayView1::from(&output[..]);
                        all.slice_mut(s![extent.first + row, place, ..])
                            .assign(&output);
                    }
                }
            }
            let mut index = 0;
            for (cell, tape) in layer.cells().iter().zip(&part.cells) {
                for state in tape.last(&extent).into_iter().take(cell.states()) {
                    put(state, &extent, &mut states[index]);
                    index += 1;
                }
            }
        }
        Sequence {
            output: match sequences {
                true => SequenceOutput::Sequences(all),
                false => SequenceOutput::Last(all.remove_axis_of_one()),
            },
            states,
        }
    }

    /// The gradients, of shapes that were checked.
    pub(crate) fn backward(
        &self,
        layer: &RecurrentLayer,
        dropout: &Dropout,
        d_output: SequenceGradient<'_>,
        d_states: Option<&[ArrayView2<'_, f32>]>,
        keep: bool,
    ) -> Gradients {
        let (batch, time) = (self.batch, self.time);
        let zeros = |units: usize| Array3::zeros((batch, time, units));
        let mut found = Gradients {
            inputs: zeros(layer.features()),
            initial_states: layer
                .state_sizes()
                .map(|u| Array2::zeros((batch, u)))
                .collect(),
            cells: layer.cells().iter().map(CellGradients::zeros).collect(),
            states: keep.then(|| layer.state_sizes().map(zeros).collect()),
        };
        let backs = each(self.parts.len(), |number| {
            let part = &self.parts[number];
            part.backward(layer, self.options, time, dropout, d_output, d_states, keep)
        });
        for (part, backs) in self.parts.iter().zip(&backs) {
            let extent = part.extent(time);
            let t = |step: usize| match self.options.go_backwards {
                true => time - 1 - step,
                false => step,
            };
            if let Some(first) = backs.first() {
                spread(first.dx.as_slice(), &extent, t, &mut found.inputs);
            }
            let mut index = 0;
            for (number, (cell, back)) in layer.cells().iter().zip(backs).enumerate() {
                found.cells[number].add(&back.weights);
                for state in 0..cell.states() {
                    put(
                        back.states[state].as_slice(),
                        &extent,
                        &mut found.initial_states[index],
                    );
                    if let Some(states) = &mut found.states {
                        spread(back.kept[state].as_slice(), &extent, t, &mut states[index]);
                    }
                    index += 1;
                }
            }
        }
        found
    }
}

/// Rows of whole vectors, as they are in the batch.
fn put(from: &[f32], extent: &Extent<'_>, to: &mut Array2<f32>) {
    let (units, stride) = (to.ncols(), wide(to.ncols()));
    for row in 0..extent.rows {
        let from = ndarray::ArrayView1::from(&from[row * stride..][..units]);
        to.row_mut(extent.first + row).assign(&from);
    }
}

/// The same of all steps.
fn spread(from: &[f32], extent: &Extent<'_>, t: impl Fn(usize) -> usize, to: &mut Array3<f32>) {
    let (units, stride) = (to.dim().2, wide(to.dim().2));
    for step in 0..extent.time {
        for row in 0..extent.rows {
            let from = &from[(step * extent.rows + row) * stride..][..units];
            let from = ndarray::ArrayView1::from(from);
            to.slice_mut(s![extent.first + row, t(step), ..])
                .assign(&from);
        }
    }
}

trait OnlyStep {
    fn remove_axis_of_one(self) -> Array2<f32>;
}

impl OnlyStep for Array3<f32> {
    /// Of the one step that there is.
    fn remove_axis_of_one(self) -> Array2<f32> {
        self.index_axis_move(ndarray::Axis(1), 0)
    }
}

impl Shard {
    fn extent(&self, time: usize) -> Extent<'_> {
        Extent {
            first: self.rows.start,
            rows: self.rows.len(),
            time,
            isa: self.isa,
            counted: &self.counted,
        }
    }

    fn forward(
        layer: &RecurrentLayer,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial: Option<&[ArrayView2<'_, f32>]>,
        dropout: &Dropout,
        rows: Range<usize>,
    ) -> Self {
        let (_, time, features) = inputs.dim();
        let t = |step: usize| match layer.options.go_backwards {
            true => time - 1 - step,
            false => step,
        };
        let most = layer.cells().iter().map(crate::Cell::units).max();
        let mut shard = Shard {
            isa: Isa::for_units(most.unwrap_or(0)),
            counted: match mask {
                Some(mask) => (0..time)
                    .flat_map(|step| rows.clone().map(move |row| (row, step)))
                    .map(|(row, step)| mask[[row, t(step)]])
                    .collect(),
                None => Vec::new(),
            },
            rows,
            cells: Vec::new(),
        };
        let count = shard.rows.len();
        let stride = wide(features);
        let mut x = Buffer::zeros(time * count * stride);
        let extent = shard.extent(time);
        let all = x.as_mut_slice();
        for step in 0..time {
            for row in 0..count {
                // What is not seen may be anything: it is to be nothing in the products.
                if extent.counts(step, row) {
                    let from = inputs.slice(s![extent.first + row, t(step), ..]);
                    let to = &mut all[(step * count + row) * stride..][..features];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
        let mut states = initial.map(|states| states.iter());
        let mut cells: Vec<CellTape> = Vec::new();
        for (index, cell) in layer.cells().iter().enumerate() {
            let mut own = cell.state_sizes().map(|units| {
                let given = states.as_mut().and_then(|states| states.next());
                gathered(given, units, &extent)
            });
            let (h, c) = (
                own.next().unwrap_or_default(),
                own.next().unwrap_or_default(),
            );
            let values = count * wide(cell.units());
            let h = &h.as_slice()[..values];
            let c = c.as_slice().get(..values).unwrap_or_default();
            let tape = CellTape::forward(cell, index, x, [h, c], dropout, &extent);
            x = match index + 1 < layer.cells().len() {
                true => {
                    let mut next = Buffer::zeros(time * values);
                    next.as_mut_slice()[..time * values]
                        .copy_from_slice(&tape.outputs(&extent)[..time * values]);
                    next
                }
                false => Buffer::default(),
            };
            cells.push(tape);
        }
        shard.cells = cells;
        shard
    }

    #[allow(clippy::too_many_arguments, reason = "those of the whole batch")]
    fn backward(
        &self,
        layer: &RecurrentLayer,
        options: SequenceOptions,
        time: usize,
        dropout: &Dropout,
        d_output: SequenceGradient<'_>,
        d_states: Option<&[ArrayView2<'_, f32>]>,
        keep: bool,
    ) -> Vec<CellBack> {
        let extent = self.extent(time);
        let units = layer.units();
        let stride = wide(units);
        let mut d = Buffer::zeros(time * extent.rows * stride);
        let all = d.as_mut_slice();
        for row in 0..extent.rows {
            // A masked step repeats an earlier output: what comes to it goes there.
            let mut shown = vec![0.0; units];
            for step in (0..time).rev() {
                let given = match d_output {
                    SequenceGradient::None => None,
                    SequenceGradient::Last(last) if step + 1 == time => {
                        Some(last.slice_move(s![extent.first + row, ..]))
                    }
                    SequenceGradient::Last(_) => None,
                    SequenceGradient::Sequences(all) => {
                        Some(all.slice_move(s![extent.first + row, step, ..]))
                    }
                };
                let counts = extent.counts(step, row);
                if let Some(given) = given.filter(|_| counts || !options.zero_output_for_mask) {
                    shown
                        .iter_mut()
                        .zip(given)
                        .for_each(|(shown, d)| *shown += d);
                }
                if counts {
                    let to = &mut all[(step * extent.rows + row) * stride..][..units];
                    to.copy_from_slice(&shown);
                    shown.fill(0.0);
                }
            }
        }
        let mut end = layer.state_sizes().count();
        let mut backs: Vec<CellBack> = Vec::new();
        for (index, (cell, tape)) in layer.cells().iter().zip(&self.cells).enumerate().rev() {
            let first = end - cell.states();
            let mut own = cell.state_sizes().enumerate().map(|(number, units)| {
                gathered(
                    d_states.map(|states| &states[first + number]),
                    units,
                    &extent,
                )
            });
            let of = [
                own.next().unwrap_or_default(),
                own.next().unwrap_or_default(),
            ];
            let d = match backs.last() {
                Some(after) => after.dx.as_slice(),
                None => d.as_slice(),
            };
            let back = tape.backward(cell, index, d, of, dropout, &extent, keep);
            backs.push(back);
            end = first;
        }
        backs.reverse();
        backs
    }
}

/// Some rows of a state in whole vectors; zeros where there is none.
fn gathered(state: Option<&ArrayView2<'_, f32>>, units: usize, extent: &Extent<'_>) -> Buffer {
    let stride = wide(units);
    let mut gathered = Buffer::zeros(extent.rows * stride);
    if let Some(state) = state {
        let rows = gathered.as_mut_slice().chunks_mut(stride);
        for (to, row) in rows.take(extent.rows).zip(extent.first..) {
            to.iter_mut()
                .zip(state.row(row))
                .for_each(|(to, from)| *to = *from);
        }
    }
    gathered
}
