//! One row, one step at a time, for a stream.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::Packed;
use super::block::{Block, Place};
use super::buffer::Buffer;
use super::cell::PackedCell;
use super::plan::{Plan, Scratch, Split};
use super::pool::Barrier;
use super::product::Rows;
use super::row::LstmRow;
use super::traffic::{Outputs, Passing};
use crate::{Cell, Precision};

/// The states of one stream, and the scratch of a step. After construction it takes no memory, no
/// lock and no system call.
#[derive(Debug, Clone)]
pub(crate) struct Stepper {
    cells: Arc<[Cell]>,
    packed: Arc<OnceLock<Packed>>,
    scratch: Arc<Scratch>,
    buffer: Buffer,
    /// Which of the two h of a cell is the latest.
    slot: usize,
    from_end: bool,
    /// Whether each cell is a plain LSTM: one kernel call.
    plain: bool,
}

const PLAN: Plan = Plan {
    members: 1,
    split: Split::Rows,
    block_rows: 1,
    steps: 1,
    hoisted: false,
};

impl Stepper {
    pub(crate) fn new(
        cells: Arc<[Cell]>,
        packed: Arc<OnceLock<Packed>>,
        precision: Precision,
    ) -> Self {
        let packed_cells = packed.get_or_init(|| Packed::new(&cells, precision));
        let scratch = Scratch::of(&packed_cells.cells, &PLAN);
        let mut cells_packed = packed_cells.cells.iter();
        Self {
            plain: cells_packed.all(PackedCell::is_plain_lstm),
            buffer: Buffer::zeros(scratch.shared + scratch.own),
            scratch: Arc::new(scratch),
            cells,
            packed,
            slot: 0,
            from_end: false,
        }
    }

    /// Takes one step, with as many values as there are features; puts out h of the last cell.
    pub(crate) fn step(&mut self, x: &[f32], output: &mut [f32]) {
        let Some(packed) = self.packed.get() else {
            return;
        };
        let values = self.buffer.as_mut_slice().as_mut_ptr();
        if self.plain {
            // The same as below, with nothing between the caller and the kernel.
            let mut input = Rows {
                at: x.as_ptr(),
                stride: 0,
            };
            let last = packed.cells.len() - 1;
            for (index, (cell, of)) in packed.cells.iter().zip(&self.scratch.cells).enumerate() {
                // SAFETY: the buffer was made for these cells, x has the features, and what is put out
                // are the values that `output` has.
                unsafe {
                    let h = Rows {
                        at: values.add(of.h + self.slot * of.slot),
                        stride: 0,
                    };
                    let new_h = values.add(of.h + (1 - self.slot) * of.slot);
                    LstmRow {
                        start: cell.gates.bias(0),
                        parts: [
                            cell.gates.kernel.part(0, input),
                            cell.gates.recurrent.part(0, h),
                        ],
                        c: values.add(of.c),
                        new_h,
                        outputs: match index == last {
                            true => Outputs {
                                at: output.as_mut_ptr(),
                                ..Outputs::NONE
                            },
                            false => Outputs::NONE,
                        },
                        units: output.len(),
                        panels: cell.gates.layout.panels(),
                        steps: 1,
                        from_end: self.from_end,
                    }
                    .run(packed.isa);
                    input.at = new_h;
                }
            }
            self.slot = 1 - self.slot;
            self.from_end = !self.from_end;
            return;
        }
        let barrier = Barrier::default();
        let mut block = Block {
            packed,
            cells: &self.cells,
            plan: PLAN,
            scratch: &self.scratch,
            rows: 1,
            member: 0,
            members: 1,
            barrier: &barrier,
            shared: Place(values),
            // SAFETY: the buffer holds what is shared and then what is the member's own.
            own: Place(unsafe { values.add(self.scratch.shared) }),
            slot: self.slot,
            from_end: self.from_end,
            passing: Passing::NONE,
        };
        // SAFETY: the buffer was made for this plan, and is this stream's alone; the caller has as
        // many values in x as the first cell reads.
        unsafe {
            let mut input = Rows {
                at: x.as_ptr(),
                stride: x.len(),
            };
            for index in 0..packed.cells.len() {
                block.steps(index, input, &[], Outputs::NONE, 1);
                input = block.outputs(index);
            }
            block.next_chunk(1);
        }
        (self.slot, self.from_end) = (block.slot, block.from_end);
        let last = &self.scratch.cells[packed.cells.len() - 1];
        let h = &self.buffer.as_slice()[last.h + self.slot * last.slot..];
        output.copy_from_slice(&h[..output.len()]);
    }

    /// Where the states are in the buffer, for each cell h, and c for an LSTM: one after the other.
    fn places<'a>(
        cells: &'a [Cell],
        scratch: &'a Scratch,
        slot: usize,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        let cells = cells.iter().zip(&scratch.cells);
        cells.flat_map(move |(cell, of)| {
            let firsts = [of.h + slot * of.slot, of.c]
                .into_iter()
                .take(cell.states());
            firsts.map(|first| first..first + cell.units())
        })
    }

    /// For each cell h, and c for an LSTM.
    pub(crate) fn states(&self) -> impl Iterator<Item = &[f32]> {
        Self::places(&self.cells, &self.scratch, self.slot)
            .map(|place| &self.buffer.as_slice()[place])
    }

    /// The same, to be written to.
    pub(crate) fn states_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let mut rest = self.buffer.as_mut_slice();
        let mut passed = 0;
        Self::places(&self.cells, &self.scratch, self.slot).map(move |place| {
            let (_, from) = std::mem::take(&mut rest).split_at_mut(place.start - passed);
            let (state, after) = from.split_at_mut(place.len());
            passed = place.end;
            rest = after;
            state
        })
    }
}
