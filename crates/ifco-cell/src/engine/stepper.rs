//! One row, one step at a time, for a stream.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::Packed;
use super::block::{Block, Place};
use super::buffer::Buffer;
use super::cell::PackedCell;
use super::plan::{CellScratch, Plan, Scratch, Split};
use super::pool::Barrier;
use super::product::Rows;
use super::row::LstmRow;
use super::simd::Isa;
use super::traffic::{Ahead, Outputs};
use crate::{Cell, Precision};

/// The states of one stream, and the scratch of a step. After construction it takes no memory, no
/// lock and no system call.
#[derive(Debug)]
pub(crate) struct Stepper {
    cells: Arc<[Cell]>,
    packed: Arc<OnceLock<Packed>>,
    scratch: Arc<Scratch>,
    buffer: Buffer,
    /// Which of the two h of a cell is the latest.
    slot: usize,
    from_end: bool,
    /// Where each cell is a plain LSTM.
    plain: Option<Plain>,
}

/// The steps of plain LSTMs, a kernel call each. They are put together once and not at each step:
/// a step of a few units takes a processor no longer than that does.
#[derive(Debug)]
struct Plain {
    isa: Isa,
    /// For each slot of the latest h, a call for each cell.
    calls: [Box<[LstmRow]>; 2],
}

// SAFETY: the pointers lead to the packed weights, which nobody changes, and into the buffer of the
// stepper that this is a part of: it alone follows them, in `step`, which wants it mutably.
unsafe impl Send for Plain {}
// SAFETY: as above; there is nothing that could be done with a shared one.
unsafe impl Sync for Plain {}

impl Plain {
    /// `None` where a cell is no plain LSTM. `values` are those of the stepper's buffer.
    fn of(packed: &Packed, scratch: &Scratch, values: *mut f32) -> Option<Self> {
        if !packed.cells.iter().all(PackedCell::is_plain_lstm) {
            return None;
        }
        let call = |slot: usize, index: usize| {
            let (cell, of) = (&packed.cells[index], &scratch.cells[index]);
            // What the cell below makes in this step.
            let below = index.checked_sub(1).map(|below| &scratch.cells[below]);
            let at = |of: &CellScratch, slot: usize| values.wrapping_add(of.h + slot * of.slot);
            let x = below.map_or(std::ptr::null_mut(), |below| at(below, 1 - slot));
            let rows = |at: *mut f32| Rows {
                at: at.cast_const(),
                stride: 0,
            };
            LstmRow {
                start: cell.gates.bias(0),
                parts: [
                    cell.gates.kernel.part(0, rows(x)),
                    cell.gates.recurrent.part(0, rows(at(of, slot))),
                ],
                c: values.wrapping_add(of.c),
                new_h: at(of, 1 - slot),
                outputs: Outputs::NONE,
                units: cell.gates.layout.units,
                panels: cell.gates.layout.panels(),
                steps: 1,
                // Back and forth, as the slots go.
                from_end: slot == 1,
            }
        };
        let calls = |slot| {
            let cells = 0..packed.cells.len();
            cells.map(|index| call(slot, index)).collect()
        };
        Some(Self {
            isa: packed.isa,
            calls: [calls(0), calls(1)],
        })
    }

    /// A step from the states in `slot`.
    ///
    /// # Safety
    /// The stepper's buffer and weights are there, x has the features of the first cell, and there
    /// is place for the units of the last one.
    #[inline]
    unsafe fn step(&mut self, slot: usize, x: *const f32, output: *mut f32) {
        let calls = &mut self.calls[slot];
        if let Some(first) = calls.first_mut() {
            first.parts[0].rows.at = x;
        }
        if let Some(last) = calls.last_mut() {
            last.outputs.at = output;
        }
        for call in &*calls {
            // SAFETY: the caller's promise.
            unsafe { call.run(self.isa) };
        }
    }
}

impl Clone for Stepper {
    fn clone(&self) -> Self {
        let mut buffer = self.buffer.clone();
        let plain = match (&self.plain, self.packed.get()) {
            (Some(_), Some(packed)) => Plain::of(packed, &self.scratch, buffer.as_mut_ptr()),
            _ => None,
        };
        Self {
            cells: Arc::clone(&self.cells),
            packed: Arc::clone(&self.packed),
            scratch: Arc::clone(&self.scratch),
            buffer,
            slot: self.slot,
            from_end: self.from_end,
            plain,
        }
    }
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
        let mut buffer = Buffer::lasting_zeros(scratch.shared + scratch.own);
        Self {
            plain: Plain::of(packed_cells, &scratch, buffer.as_mut_ptr()),
            buffer,
            scratch: Arc::new(scratch),
            cells,
            packed,
            slot: 0,
            from_end: false,
        }
    }

    /// Takes one step, with as many values as there are features; puts out h of the last cell.
    pub(crate) fn step(&mut self, x: &[f32], output: &mut [f32]) {
        if let Some(plain) = &mut self.plain {
            // SAFETY: x has the features, and the output the units.
            unsafe { plain.step(self.slot, x.as_ptr(), output.as_mut_ptr()) };
            self.slot = 1 - self.slot;
            return;
        }
        let Some(packed) = self.packed.get() else {
            return;
        };
        let values = self.buffer.as_mut_slice().as_mut_ptr();
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
            ahead: Ahead::NONE,
            h_outside: None,
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
            let firsts = [of.h + slot * of.slot, of.c].into_iter();
            let sizes = firsts.zip(cell.state_sizes());
            sizes.map(|(first, size)| first..first + size)
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
