//! A cell over a whole sequence for training: the forward pass that keeps its gates, and the way
//! back.
//!
//! Everything is `[step][row][unit]`, in the order read, with rows of whole vectors. A step's sums are
//! x·W + h·U, where x·W of few rows comes from one product for all steps; the gates become states.
//! On the way back a step makes dz of dh and dc, and dh before it of dz·Uᵀ; dW, dU, dx and db are
//! products over many steps at once.
//!
//! The sums are the same chains of multiply-adds as in [`sequence`](super::sequence), and what the
//! kernels make of them are the same operations: the states are those of the forward pass to the
//! last bit.
//!
//! With less memory, only the states before every so-manieth step are kept, and the way back runs
//! the steps from there once more.

use std::ops::Range;

use ndarray::Axis;

use super::buffer::Buffer;
use super::simd::Isa;
use crate::{Cell, CellGradients, Dropout};

mod backward;
mod forward;
mod kernels;
mod matrix;
mod shape;
mod shard;
mod spares;
mod steps;

use forward::{Factors, Steps};
use shape::{Group, Shape};
pub(crate) use shard::Shards;
use spares::Loan;
pub use spares::TrainingMemory;

/// Rows of the batch, and the steps.
#[derive(Debug, Clone)]
struct Extent<'a> {
    /// The first of the rows in the batch, for the masks.
    first: usize,
    rows: usize,
    time: usize,
    /// That of the forward pass: another one's last bits may differ.
    isa: Isa,
    /// Whether each counts, `[step][row]`; empty when all do.
    counted: &'a [bool],
    memory: &'a TrainingMemory,
    /// Keep only the states before every so-manieth step.
    every: Option<usize>,
}

impl Extent<'_> {
    fn has_uncounted(&self, step: usize) -> bool {
        let own = self.counted.get(step * self.rows..(step + 1) * self.rows);
        own.is_some_and(|own| own.contains(&false))
    }

    fn counts(&self, step: usize, row: usize) -> bool {
        self.counted.is_empty() || self.counted[step * self.rows + row]
    }

    /// The parts of the sequence that are kept, or run once more, together.
    fn parts(&self) -> impl DoubleEndedIterator<Item = Range<usize>> + ExactSizeIterator + use<> {
        let (time, every) = (self.time, self.every.unwrap_or(self.time).max(1));
        (0..time.div_ceil(every)).map(move |part| part * every..time.min((part + 1) * every))
    }
}

/// What a cell has kept.
#[derive(Debug, Clone)]
struct CellTape {
    shape: Shape,
    x: Loan,
    /// Of each part of the sequence: all, or the states before it.
    parts: Vec<Kept>,
}

#[derive(Debug, Clone)]
enum Kept {
    All(Steps),
    Before([Loan; 2]),
}

/// What came back.
struct CellBack {
    weights: CellGradients,
    /// `[step][row][feature]`
    dx: Loan,
    /// By the states before the first step, `[row][unit]`.
    states: [Loan; 2],
    /// By those after each step, where they are wanted: `[step][row][unit]`.
    kept: [Loan; 2],
}

/// What came out.
struct CellOutputs {
    /// h after each step, `[step][row][unit]`.
    h: Loan,
    /// The states after the last step, `[row][unit]`.
    last: [Loan; 2],
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
    Shape::of(cell, 0, &Dropout::default(), Isa::best()).is_fused
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
    fn forward(
        cell: &Cell,
        index: usize,
        x: Loan,
        states: [&[f32]; 2],
        dropout: &Dropout,
        extent: &Extent<'_>,
    ) -> (Self, CellOutputs) {
        let shape = Shape::of(cell, index, dropout, extent.isa);
        let of_step = extent.rows * shape.wide_units;
        let memory = extent.memory;
        let mut outputs = CellOutputs {
            h: memory.lend(extent.time * of_step),
            last: states.map(|state| memory.lend_copy(state)),
        };
        let mut tape = Self {
            shape,
            x,
            parts: Vec::new(),
        };
        let factors = Factors::new(&tape.shape, cell);
        for part in extent.parts() {
            let before = outputs.last;
            let states = [&before[0], &before[1]].map(|state| state.as_slice());
            let steps = tape.run(cell, index, &factors, part.clone(), states, dropout, extent);
            outputs.last = steps.last(of_step, memory);
            let h = &mut outputs.h.as_mut_slice()[part.start * of_step..part.end * of_step];
            h.copy_from_slice(steps.outputs(of_step));
            tape.parts.push(match extent.every {
                None => Kept::All(steps),
                Some(_) => Kept::Before(before),
            });
        }
        (tape, outputs)
    }
}

/// h as a group sees it.
fn kept_h(seen: &mut [f32], h: &[f32], group: &Group, masks: &Masks<'_>, stride: usize) {
    seen[..h.len()].copy_from_slice(h);
    masks.multiply(group, &mut seen[..h.len()], stride);
}
