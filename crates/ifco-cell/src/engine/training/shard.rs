//! Some rows of the batch through all cells, and back; and how a batch is divided.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use super::super::pool::{Team, threads};
use super::super::simd::Isa;
use super::{CellBack, CellTape, Extent, Loan, TrainingMemory, wide};
use crate::{
    BackwardOptions, CellGradients, Dropout, Gradients, RecurrentLayer, Sequence, SequenceGradient,
    SequenceOptions, SequenceOutput,
};

/// Rows that make a thread of their own worth it.
const ROWS_OF_A_THREAD: usize = 8;

/// All that a forward pass has kept: the batch in parts, each of which is one thread's.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    options: SequenceOptions,
    batch: usize,
    time: usize,
    memory: TrainingMemory,
    /// Keep only the states before every so-manieth step.
    every: Option<usize>,
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

/// The parts of an array of rows of so many values, each for its own thread.
fn divided<'a>(
    mut values: &'a mut [f32],
    parts: &[Range<usize>],
    of_row: usize,
) -> Vec<Mutex<&'a mut [f32]>> {
    let mut divided = Vec::with_capacity(parts.len());
    for part in parts {
        let (own, rest) = values.split_at_mut(part.len() * of_row);
        divided.push(Mutex::new(own));
        values = rest;
    }
    divided
}

impl Shards {
    /// Of a layer whose cells are all [known](super::knows): what it keeps, and what comes out.
    pub(crate) fn forward(
        layer: &RecurrentLayer,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial: Option<&[ArrayView2<'_, f32>]>,
        dropout: &Dropout,
        recompute: bool,
    ) -> (Self, Sequence) {
        let (batch, time, features) = inputs.dim();
        let units = layer.units();
        let inputs = inputs.as_standard_layout();
        let inputs = inputs.as_slice().unwrap_or_default();
        let count = threads().min(batch / ROWS_OF_A_THREAD).max(1);
        let ranges: Vec<Range<usize>> = (0..count)
            .map(|number| batch * number / count..batch * (number + 1) / count)
            .collect();
        let mut shards = Self {
            options: layer.options,
            batch,
            time,
            memory: TrainingMemory::keep(),
            // Of the steps that are kept and of those that are run again together the fewest.
            every: recompute.then(|| time.isqrt().max(1)),
            parts: Vec::new(),
        };
        let shown = match layer.options.return_sequences {
            true => time,
            false => 1,
        };
        let mut output = Array3::zeros((batch, shown, units));
        let places = output.as_slice_mut().unwrap_or_default();
        let places = divided(places, &ranges, shown * units);
        let found = each(count, |number| {
            let rows = ranges[number].clone();
            let inputs = &inputs[rows.start * time * features..rows.end * time * features];
            let mut output = places[number]
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            shards.forward_part(layer, inputs, mask, initial, dropout, rows, &mut output)
        });
        drop(places);
        let mut states: Vec<_> = layer
            .state_sizes()
            .map(|units| Array2::zeros((batch, units)))
            .collect();
        for (part, last) in found {
            for (state, last) in states.iter_mut().zip(&last) {
                put(last.as_slice(), &part.rows, state);
            }
            shards.parts.push(part);
        }
        let sequence = Sequence {
            output: match layer.options.return_sequences {
                true => SequenceOutput::Sequences(output),
                false => SequenceOutput::Last(output.index_axis_move(ndarray::Axis(1), 0)),
            },
            states,
        };
        (shards, sequence)
    }

    /// Of some rows, whose inputs and outputs are given, with their last states.
    #[allow(clippy::too_many_arguments, reason = "a whole pass")]
    fn forward_part(
        &self,
        layer: &RecurrentLayer,
        inputs: &[f32],
        mask: Option<ArrayView2<'_, bool>>,
        initial: Option<&[ArrayView2<'_, f32>]>,
        dropout: &Dropout,
        rows: Range<usize>,
        output: &mut [f32],
    ) -> (Shard, Vec<Loan>) {
        let time = self.time;
        let most = layer.cells().iter().map(crate::Cell::units).max();
        let mut shard = Shard {
            isa: Isa::for_units(most.unwrap_or(0)),
            counted: match mask {
                Some(mask) => (0..time)
                    .flat_map(|step| rows.clone().map(move |row| (row, step)))
                    .map(|(row, step)| mask[[row, self.read(step)]])
                    .collect(),
                None => Vec::new(),
            },
            rows,
            cells: Vec::new(),
        };
        let extent = self.extent(&shard);
        let (count, features) = (extent.rows, layer.features());
        let stride = wide(features);
        let mut x = self.memory.lend(time * count * stride);
        for step in 0..time {
            let rows = x.as_mut_slice()[step * count * stride..].chunks_mut(stride);
            for (row, to) in rows.take(count).enumerate() {
                let from = &inputs[(row * time + self.read(step)) * features..][..features];
                match extent.counts(step, row) {
                    true => to[..features].copy_from_slice(from),
                    // What is not seen may be anything: it is to be nothing in the products.
                    false => to[..features].fill(0.0),
                }
            }
        }
        let mut states = initial.map(|states| states.iter());
        let (mut cells, mut all_last) = (Vec::new(), Vec::new());
        for (index, cell) in layer.cells().iter().enumerate() {
            let own = cell.state_sizes().map(|units| {
                let given = states.as_mut().and_then(|states| states.next());
                gathered(given, units, &extent)
            });
            let own: Vec<Loan> = own.collect();
            let [h, c] = [0, 1].map(|state| own.get(state).map_or(&[][..], |loan| loan.as_slice()));
            let values = count * wide(cell.units());
            let c = &c[..values.min(c.len())];
            let (tape, out) =
                CellTape::forward(cell, index, x, [&h[..values], c], dropout, &extent);
            x = out.h;
            all_last.extend(out.last.into_iter().take(cell.states()));
            cells.push(tape);
        }
        self.show(layer.units(), x.as_slice(), &extent, output);
        shard.cells = cells;
        (shard, all_last)
    }

    /// Puts the last cell's h, `[step][row][unit]`, out.
    fn show(&self, units: usize, h: &[f32], extent: &Extent<'_>, output: &mut [f32]) {
        let (time, stride) = (self.time, wide(units));
        let sequences = self.options.return_sequences;
        let shown = if sequences { time } else { 1 };
        let mut latest = vec![0.0; units];
        for (row, output) in output.chunks_mut((shown * units).max(1)).enumerate() {
            latest.fill(0.0);
            for step in 0..time {
                let last = step + 1 == time;
                if !sequences && !last && extent.counted.is_empty() {
                    continue;
                }
                if extent.counts(step, row) {
                    let from = &h[(step * extent.rows + row) * stride..][..units];
                    latest.copy_from_slice(from);
                } else if self.options.zero_output_for_mask {
                    latest.fill(0.0);
                }
                if sequences || last {
                    let place = if sequences { step * units } else { 0 };
                    output[place..place + units].copy_from_slice(&latest);
                }
            }
        }
    }

    /// Which step of the inputs is read as the so-manieth.
    fn read(&self, step: usize) -> usize {
        match self.options.go_backwards {
            true => self.time - 1 - step,
            false => step,
        }
    }

    fn extent<'a>(&'a self, shard: &'a Shard) -> Extent<'a> {
        Extent {
            first: shard.rows.start,
            rows: shard.rows.len(),
            time: self.time,
            isa: shard.isa,
            counted: &shard.counted,
            memory: &self.memory,
            every: self.every,
        }
    }

    /// The gradients, of shapes that were checked.
    pub(crate) fn backward(
        &self,
        layer: &RecurrentLayer,
        dropout: &Dropout,
        d_output: SequenceGradient<'_>,
        d_states: Option<&[ArrayView2<'_, f32>]>,
        options: &BackwardOptions,
    ) -> Gradients {
        let (batch, time, features) = (self.batch, self.time, layer.features());
        let ranges: Vec<Range<usize>> = self.parts.iter().map(|part| part.rows.clone()).collect();
        let mut inputs = Array3::zeros((batch, time, features));
        let places = inputs.as_slice_mut().unwrap_or_default();
        let places = divided(places, &ranges, time * features);
        let backs = each(self.parts.len(), |number| {
            let part = &self.parts[number];
            let backs = self.backward_part(part, layer, dropout, d_output, d_states, options);
            if let (Some(first), true) = (backs.first(), options.inputs) {
                let mut place = places[number]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                self.spread(first.dx.as_slice(), part.rows.len(), features, &mut place);
            }
            backs
        });
        drop(places);
        let mut found = Gradients {
            inputs,
            initial_states: layer
                .state_sizes()
                .map(|units| Array2::zeros((batch, units)))
                .collect(),
            cells: Vec::new(),
            states: options.states.then(|| {
                let zeros = |units: usize| Array3::zeros((batch, time, units));
                layer.state_sizes().map(zeros).collect()
            }),
        };
        for (part, backs) in self.parts.iter().zip(backs) {
            let mut index = 0;
            for (number, (cell, back)) in layer.cells().iter().zip(backs).enumerate() {
                for (units, (of, kept)) in
                    cell.state_sizes().zip(back.states.iter().zip(&back.kept))
                {
                    put(of.as_slice(), &part.rows, &mut found.initial_states[index]);
                    if let Some(states) = &mut found.states {
                        let values = part.rows.start * time * units..part.rows.end * time * units;
                        let to = states[index].as_slice_mut().unwrap_or_default();
                        self.spread(kept.as_slice(), part.rows.len(), units, &mut to[values]);
                    }
                    index += 1;
                }
                match found.cells.get_mut(number) {
                    Some(sum) => CellGradients::add(sum, &back.weights),
                    None => found.cells.push(back.weights),
                }
            }
        }
        found
    }

    /// `[step][row][unit]`, in the order read, as it is in the batch.
    fn spread(&self, from: &[f32], rows: usize, units: usize, to: &mut [f32]) {
        let (time, stride) = (self.time, wide(units));
        for (row, to) in to.chunks_mut((time * units).max(1)).take(rows).enumerate() {
            for step in 0..time {
                let from = &from[(step * rows + row) * stride..][..units];
                to[self.read(step) * units..][..units].copy_from_slice(from);
            }
        }
    }

    fn backward_part(
        &self,
        part: &Shard,
        layer: &RecurrentLayer,
        dropout: &Dropout,
        d_output: SequenceGradient<'_>,
        d_states: Option<&[ArrayView2<'_, f32>]>,
        options: &BackwardOptions,
    ) -> Vec<CellBack> {
        let extent = self.extent(part);
        let d = self.d_outputs(layer.units(), d_output, &extent);
        let mut end = layer.state_sizes().count();
        let mut backs: Vec<CellBack> = Vec::new();
        for (index, (cell, tape)) in layer.cells().iter().zip(&part.cells).enumerate().rev() {
            let first = end - cell.states();
            let mut own = cell.state_sizes().enumerate().map(|(number, units)| {
                let given = d_states.map(|states| &states[first + number]);
                gathered(given, units, &extent)
            });
            let none = || self.memory.lend(0);
            let of = [(); 2].map(|()| own.next().unwrap_or_else(none));
            let d = match backs.last() {
                Some(after) => after.dx.as_slice(),
                None => d.as_slice(),
            };
            // What the cell before puts out is this one's inputs.
            let own_options = BackwardOptions {
                inputs: options.inputs || index > 0,
                ..*options
            };
            let back = tape.backward(cell, index, d, of, dropout, &extent, &own_options);
            backs.push(back);
            end = first;
        }
        backs.reverse();
        backs
    }

    /// The gradients by the last cell's h, `[step][row][unit]`.
    fn d_outputs(&self, units: usize, d: SequenceGradient<'_>, extent: &Extent<'_>) -> Loan {
        let (time, stride) = (self.time, wide(units));
        let values = time * extent.rows * stride;
        if let (SequenceGradient::Sequences(all), true) = (d, extent.counted.is_empty() && time > 0)
        {
            // The lanes that are no units reach nothing, but must be finite.
            let mut gathered = match stride == units {
                true => self.memory.lend(values),
                false => self.memory.lend_zeros(values),
            };
            let all = all.as_standard_layout();
            let all = &all.as_slice().unwrap_or_default()[extent.first * time * units..];
            for (place, to) in gathered.as_mut_slice().chunks_mut(stride).enumerate() {
                let (step, row) = (place / extent.rows, place % extent.rows);
                if step < time {
                    to[..units].copy_from_slice(&all[(row * time + step) * units..][..units]);
                }
            }
            return gathered;
        }
        let mut gathered = self.memory.lend_zeros(values);
        for row in 0..extent.rows {
            // A masked step repeats an earlier output: what comes to it goes there.
            let mut shown = vec![0.0; units];
            for step in (0..time).rev() {
                let given = match &d {
                    SequenceGradient::None => None,
                    SequenceGradient::Last(last) if step + 1 == time => {
                        Some(last.row(extent.first + row))
                    }
                    SequenceGradient::Last(_) => None,
                    SequenceGradient::Sequences(all) => {
                        Some(all.slice(ndarray::s![extent.first + row, step, ..]))
                    }
                };
                let counts = extent.counts(step, row);
                if let Some(given) = given.filter(|_| counts || !self.options.zero_output_for_mask)
                {
                    let each = shown.iter_mut().zip(given);
                    each.for_each(|(shown, d)| *shown += d);
                }
                if counts {
                    let to = &mut gathered.as_mut_slice()[(step * extent.rows + row) * stride..];
                    to[..units].copy_from_slice(&shown);
                    shown.fill(0.0);
                }
            }
        }
        gathered
    }
}

/// Rows of whole vectors, as they are in the batch.
fn put(from: &[f32], rows: &Range<usize>, to: &mut Array2<f32>) {
    let (units, stride) = (to.ncols(), wide(to.ncols()));
    for (number, row) in rows.clone().enumerate() {
        let from = ndarray::ArrayView1::from(&from[number * stride..][..units]);
        to.row_mut(row).assign(&from);
    }
}

/// Some rows of a state in whole vectors; zeros where there is none.
fn gathered(state: Option<&ArrayView2<'_, f32>>, units: usize, extent: &Extent<'_>) -> Loan {
    let stride = wide(units);
    let mut gathered = extent.memory.lend_zeros(extent.rows * stride);
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
