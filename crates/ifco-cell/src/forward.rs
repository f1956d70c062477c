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

use crate::product::{Columns, add_product};
use crate::{Cell, GruCell, LstmCell, RecurrentLayer, Sequence, SequenceOutput, SimpleRnnCell};

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

/// One cell's part of a chunk.
struct Pass<'a> {
    cell: &'a Cell,
    /// The gates before their activation, `(steps, rows, gates·units)`.
    z: Vec<f32>,
    /// h after each step, `(steps, rows, units)`.
    outputs: Vec<f32>,
    h: Vec<f32>,
    /// Of an LSTM, else empty.
    c: Vec<f32>,
    /// Of a GRU, else empty: its recurrent product, which it does not simply add to z.
    recurrent: Vec<f32>,
    /// Of a GRU with `reset_after=False`, else empty: r∘h.
    seen: Vec<f32>,
}

impl<'a> Pass<'a> {
    fn new(cell: &'a Cell, rows: usize, steps: usize) -> Self {
        let state = rows * cell.units();
        let z = rows * cell.kernel().ncols();
        let some = |length: usize, is: bool| vec![0.0; if is { length } else { 0 }];
        Self {
            cell,
            z: vec![0.0; steps * z],
            outputs: vec![0.0; steps * state],
            h: vec![0.0; state],
            c: some(state, matches!(cell, Cell::Lstm(_))),
            recurrent: some(z, matches!(cell, Cell::Gru(_))),
            seen: some(
                state,
                matches!(cell, Cell::Gru(cell) if !cell.reset_after()),
            ),
        }
    }

    /// The states in Keras's order.
    fn states(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let count = self.cell.states();
        [&mut self.h, &mut self.c].into_iter().take(count)
    }

    fn run(&mut self, x: &[f32], counted: &[bool], steps: usize, rows: usize) {
        let (units, features) = (self.cell.units(), self.cell.features());
        let columns = self.cell.kernel().ncols();
        let z = &mut self.z[..steps * rows * columns];
        fill_rows(z, columns, self.cell.input_bias());
        let x = &x[..steps * rows * features];
        add_product(x, Columns::all(self.cell.kernel()), z);

        let outputs = self.outputs.chunks_exact_mut(rows * units);
        let counted = counted.chunks_exact(rows);
        for ((z, output), counted) in z.chunks_exact_mut(rows * columns).zip(outputs).zip(counted) {
            // Common at the padded end of a batch.
            if !counted.contains(&true) {
                continue;
            }
            match self.cell {
                Cell::Lstm(cell) => lstm(cell, z, &mut self.h, &mut self.c, counted),
                Cell::Gru(cell) if cell.reset_after() => {
                    let recurrent = &mut self.recurrent[..rows * columns];
                    gru_reset_after(cell, z, &mut self.h, recurrent, counted);
                }
                Cell::Gru(cell) => {
                    let seen = &mut self.seen[..rows * units];
                    let recurrent = &mut self.recurrent[..rows * columns];
                    gru_reset_before(cell, z, &mut self.h, recurrent, seen, counted);
                }
                Cell::SimpleRnn(cell) => simple_rnn(cell, z, &mut self.h, counted),
            }
            output.copy_from_slice(&self.h);
        }
    }
}

/// Every row = `values`, or zeros.
fn fill_rows(matrix: &mut [f32], columns: usize, values: Option<&[f32]>) {
    match values {
        Some(values) => matrix
            .chunks_exact_mut(columns)
            .for_each(|row| row.copy_from_slice(values)),
        None => matrix.fill(0.0),
    }
}

/// The rows that count: their z, and their h.
fn counting<'a>(
    z: &'a mut [f32],
    h: &'a mut [f32],
    counted: &'a [bool],
) -> impl Iterator<Item = (usize, &'a mut [f32], &'a mut [f32])> {
    let rows = counted.len();
    let (columns, units) = (z.len() / rows, h.len() / rows);
    z.chunks_exact_mut(columns)
        .zip(h.chunks_exact_mut(units))
        .enumerate()
        .filter(|(row, _)| counted[*row])
        .map(|(row, (z, h))| (row, z, h))
}

/// i, f, o = σ(z_i, z_f, z_o);  c̃ = φ(z_c);  c' = f∘c + i∘c̃;  h' = o∘φ(c')
fn lstm(cell: &LstmCell, z: &mut [f32], h: &mut [f32], c: &mut [f32], counted: &[bool]) {
    let units = cell.weights().units();
    let (phi, sigma) = (cell.activation(), cell.recurrent_activation());
    let u = Columns::all(cell.weights().fused_recurrent_kernel());
    add_product(h, u, z);
    for (row, z, h) in counting(z, h, counted) {
        let c = &mut c[row * units..][..units];
        let (i_f, c_o) = z.split_at_mut(2 * units);
        let (c_tilde, o) = c_o.split_at_mut(units);
        sigma.apply_rows(i_f, units);
        phi.apply(c_tilde);
        sigma.apply(o);

        let (i, f) = i_f.split_at_mut(units);
        // The new c goes to i's place too, where φ may have it.
        for (((c, i), f), c_tilde) in c.iter_mut().zip(i.iter_mut()).zip(f).zip(c_tilde) {
            *c = *f * *c + *i * *c_tilde;
            *i = *c;
        }
        phi.apply(i);
        for ((h, o), shown) in h.iter_mut().zip(o).zip(i) {
            *h = *o * *shown;
        }
    }
}

/// z, r = σ(x_z + h_z, x_r + h_r);  h̃ = φ(x_h + r∘h_h);  h' = z∘h + (1 − z)∘h̃
fn gru_reset_after(
    cell: &GruCell,
    x: &mut [f32],
    h: &mut [f32],
    recurrent: &mut [f32],
    counted: &[bool],
) {
    let weights = cell.weights();
    let units = weights.units();
    let bias = weights.fused_bias();
    let bias = bias.as_ref().and_then(|bias| bias.row(1).to_slice());
    fill_rows(recurrent, 3 * units, bias);
    add_product(h, Columns::all(weights.fused_recurrent_kernel()), recurrent);
    for (row, x, h) in counting(x, h, counted) {
        let recurrent = &recurrent[row * 3 * units..][..3 * units];
        let (z_r, h_tilde) = x.split_at_mut(2 * units);
        let (h_z_r, h_h) = recurrent.split_at(2 * units);
        z_r.iter_mut().zip(h_z_r).for_each(|(x, h)| *x += h);
        cell.recurrent_activation().apply_rows(z_r, units);
        let (z, r) = z_r.split_at_mut(units);
        for ((h_tilde, r), h_h) in h_tilde.iter_mut().zip(r).zip(h_h) {
            *h_tilde += *r * h_h;
        }
        cell.activation().apply(h_tilde);
        mix(h, z, h_tilde);
    }
}

/// z, r = σ(x_z + h_z, x_r + h_r);  h̃ = φ(x_h + (r∘h)·U_h);  h' = z∘h + (1 − z)∘h̃
fn gru_reset_before(
    cell: &GruCell,
    x: &mut [f32],
    h: &mut [f32],
    recurrent: &mut [f32],
    seen: &mut [f32],
    counted: &[bool],
) {
    let weights = cell.weights();
    let units = weights.units();
    let rows = counted.len();
    let u = weights.fused_recurrent_kernel();
    let (h_z_r, h_h) = recurrent.split_at_mut(rows * 2 * units);
    h_z_r.fill(0.0);
    h_h.fill(0.0);
    add_product(h, Columns::some(u, 0..2 * units), h_z_r);
    for (row, x, h) in counting(x, h, counted) {
        let z_r = &mut x[..2 * units];
        let h_z_r = &h_z_r[row * 2 * units..];
        z_r.iter_mut().zip(h_z_r).for_each(|(x, h)| *x += h);
        cell.recurrent_activation().apply_rows(z_r, units);
        let seen = &mut seen[row * units..][..units];
        for ((seen, r), h) in seen.iter_mut().zip(&z_r[units..]).zip(h) {
            *seen = *r * *h;
        }
    }
    add_product(seen, Columns::some(u, 2 * units..3 * units), h_h);
    for (row, x, h) in counting(x, h, counted) {
        let (z, h_tilde) = x.split_at_mut(2 * units);
        let h_h = &h_h[row * units..];
        h_tilde.iter_mut().zip(h_h).for_each(|(x, h)| *x += h);
        cell.activation().apply(h_tilde);
        mix(h, &z[..units], h_tilde);
    }
}

/// h' = z∘h + (1 − z)∘h̃
fn mix(h: &mut [f32], z: &[f32], h_tilde: &[f32]) {
    for ((h, z), h_tilde) in h.iter_mut().zip(z).zip(h_tilde) {
        *h = z * *h + (1.0 - z) * h_tilde;
    }
}

/// h' = φ(z)
fn simple_rnn(cell: &SimpleRnnCell, z: &mut [f32], h: &mut [f32], counted: &[bool]) {
    add_product(h, Columns::all(cell.weights().recurrent_kernel()), z);
    for (_, z, h) in counting(z, h, counted) {
        cell.activation().apply(z);
        h.copy_from_slice(z);
    }
}
