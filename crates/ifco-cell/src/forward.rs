//! The forward pass in `f32`.
//!
//! The batch goes in blocks of rows and the time in chunks of steps, so that the scratch is
//! small and the same however long the inputs are. For each chunk, cell after cell:
//!
//! ```text
//! z[all steps] = b + x·W          one matrix product for the whole chunk
//! for each step:  z[step] += h·U, activations, new states
//! ```
//!
//! and the h of all steps is the x of the next stacked cell. Running the cells one after the other
//! gives what running all of them step by step gives: what a cell puts out at a masked step is
//! never used, since the cells after it skip that step too.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};
use std::ops::Range;

use crate::{RecurrentLayer, Sequence, SequenceOutput};

mod pass;

use pass::Pass;

/// Rows of the batch that go through all steps together: enough for a matrix product to be
/// efficient, few enough for their states to stay in the cache.
const BLOCK_ROWS: usize = 64;

/// Values of scratch that a chunk of steps may use (1 MiB, which a cache holds); one step at least.
const CHUNK_VALUES: usize = 1 << 18;

/// Runs the layer over shapes that were checked.
pub(crate) fn run(
    layer: &RecurrentLayer,
    inputs: ArrayView3<'_, f32>,
    mask: Option<ArrayView2<'_, bool>>,
    initial_state: Option<&[ArrayView2<'_, f32>]>,
) -> Sequence {
    let (batch, time, _) = inputs.dim();
    let mut states: Vec<Array2<f32>> = match initial_state {
        Some(initial) => initial.iter().map(|state| state.to_owned()).collect(),
        None => layer
            .state_sizes()
            .map(|units| Array2::zeros((batch, units)))
            .collect(),
    };
    let mut last = Array2::zeros((batch, layer.units()));
    let mut sequences = layer
        .options
        .return_sequences
        .then(|| Array3::zeros((batch, time, layer.units())));

    if batch > 0 && time > 0 {
        let mut block = Block::new(layer, batch.min(BLOCK_ROWS), time);
        for first in (0..batch).step_by(BLOCK_ROWS) {
            let rows = first..batch.min(first + BLOCK_ROWS);
            block.load(rows.clone(), &states);
            block.run(inputs, mask, sequences.as_mut());
            block.store(&mut states, &mut last);
        }
    }
    Sequence {
        output: match sequences {
            Some(sequences) => SequenceOutput::Sequences(sequences),
            None => SequenceOutput::Last(last),
        },
        states,
    }
}

/// Some rows of the batch on their way through all steps. All scratch is time-major:
/// `(steps, rows, values)`.
struct Block<'a> {
    layer: &'a RecurrentLayer,
    /// Which rows of the batch.
    rows: Range<usize>,
    /// Steps in a chunk.
    steps: usize,
    x: Vec<f32>,
    /// Whether a step counts for a row, or is masked.
    counted: Vec<bool>,
    passes: Vec<Pass<'a>>,
    /// The output of the latest step, `(rows, units)`: not always h (see the masks in `layer`).
    output: Vec<f32>,
}

impl<'a> Block<'a> {
    fn new(layer: &'a RecurrentLayer, rows: usize, time: usize) -> Self {
        let cells = layer.cells().iter();
        let width: usize = cells.map(|cell| cell.kernel().ncols() + cell.units()).sum();
        let per_step = rows * (layer.features() + width);
        let steps = (CHUNK_VALUES / per_step.max(1)).clamp(1, time);
        Self {
            layer,
            rows: 0..rows,
            steps,
            x: vec![0.0; steps * rows * layer.features()],
            counted: vec![true; steps * rows],
            passes: layer
                .cells()
                .iter()
                .map(|cell| Pass::new(cell, rows, steps))
                .collect(),
            output: vec![0.0; rows * layer.units()],
        }
    }

    /// Takes other rows of the batch, with their states. There may be fewer than before.
    fn load(&mut self, rows: Range<usize>, states: &[Array2<f32>]) {
        self.rows = rows;
        let count = self.rows.len();
        self.output.truncate(count * self.layer.units());
        self.output.fill(0.0);
        let own = self.passes.iter_mut().flat_map(Pass::states);
        for (own, all) in own.zip(states) {
            own.truncate(count * all.ncols());
            let values = all.slice(s![self.rows.clone(), ..]);
            own.iter_mut()
                .zip(values)
                .for_each(|(own, all)| *own = *all);
        }
    }

    /// Hands the states and the last output back.
    fn store(&mut self, states: &mut [Array2<f32>], last: &mut Array2<f32>) {
        let own = self.passes.iter_mut().flat_map(Pass::states);
        for (own, all) in own.zip(states) {
            let values = all.slice_mut(s![self.rows.clone(), ..]);
            values
                .into_iter()
                .zip(own)
                .for_each(|(all, own)| *all = *own);
        }
        let values = last.slice_mut(s![self.rows.clone(), ..]);
        values
            .into_iter()
            .zip(&self.output)
            .for_each(|(all, own)| *all = *own);
    }

    fn run(
        &mut self,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        mut sequences: Option<&mut Array3<f32>>,
    ) {
        let time = inputs.dim().1;
        let rows = self.rows.len();
        for first in (0..time).step_by(self.steps) {
            let reads = first..time.min(first + self.steps);
            self.gather(reads.clone(), inputs, mask);
            let mut x = &self.x[..];
            for pass in &mut self.passes {
                pass.run(x, &self.counted, reads.len(), rows);
                x = &pass.outputs;
            }
            for step in 0..reads.len() {
                self.emit(step);
                if let Some(sequences) = sequences.as_deref_mut() {
                    let values = sequences.slice_mut(s![self.rows.clone(), first + step, ..]);
                    values
                        .into_iter()
                        .zip(&self.output)
                        .for_each(|(all, own)| *all = *own);
                }
            }
        }
    }

    /// Copies the inputs and the mask of some steps, in the order in which they are read.
    fn gather(
        &mut self,
        reads: Range<usize>,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
    ) {
        let time = inputs.dim().1;
        let (rows, features) = (self.rows.len(), self.layer.features());
        for (step, read) in reads.enumerate() {
            let t = match self.layer.options.go_backwards {
                true => time - 1 - read,
                false => read,
            };
            let x = &mut self.x[step * rows * features..][..rows * features];
            let values = inputs.slice(s![self.rows.clone(), t, ..]);
            x.iter_mut().zip(values).for_each(|(x, value)| *x = *value);
            if let Some(mask) = mask {
                let counted = &mut self.counted[step * rows..][..rows];
                let values = mask.slice(s![self.rows.clone(), t]);
                counted.iter_mut().zip(values).for_each(|(c, v)| *c = *v);
            }
        }
    }

    /// The output of a step of the chunk: h, or for a masked row what the options say.
    fn emit(&mut self, step: usize) {
        let (rows, units) = (self.rows.len(), self.layer.units());
        let Some(pass) = self.passes.last() else {
            return;
        };
        let h = pass.outputs[step * rows * units..].chunks_exact(units);
        let counted = &self.counted[step * rows..];
        for ((output, h), counted) in self.output.chunks_exact_mut(units).zip(h).zip(counted) {
            if *counted {
                output.copy_from_slice(h);
            } else if self.layer.options.zero_output_for_mask {
                output.fill(0.0);
            }
        }
    }
}
