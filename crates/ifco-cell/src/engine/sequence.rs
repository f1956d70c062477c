//! A whole sequence through the cells of a layer.
//!
//! The batch goes in blocks of rows and the time in chunks of steps, so that the scratch is small
//! and the same however long the inputs are. For each chunk, cell after cell:
//!
//! ```text
//! z[all steps] = b + x·W          for a few rows: one product for the whole chunk
//! for each step:  z[step] (or b + x·W) + h·U, and at once the gates and states of those units
//! ```
//!
//! and the h of all steps is the x of the next stacked cell. Running the cells one after the other
//! gives what running all of them step by step gives: what a cell puts out at a masked step is
//! never used, since the cells after it skip that step too.

use std::cell::RefCell;
use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, ArrayView3};

use super::Packed;
use super::block::{Block, Place};
use super::buffer::{Buffer, LINE};
use super::plan::{Plan, Scratch, Split, Work};
use super::pool::{self, Barrier, Team};
use super::product::Rows;
use super::traffic::{Ahead, Outputs};
use crate::{RecurrentLayer, Sequence, SequenceOptions, SequenceOutput};

/// Scratch that a thread keeps for its next call, in values (16 MiB).
const KEPT_VALUES: usize = 4 << 20;

thread_local! {
    static SCRATCH: RefCell<Buffer> = RefCell::default();
}

/// Whether so many rows, so many values apart, have places enough in the caches: the product reads
/// them once for each panel.
fn spread_enough(stride: usize, rows: usize) -> bool {
    /// A level 2 cache has so many places at least, and each of them room for some lines.
    const PLACES: usize = 1024;
    const LINES: usize = 4;
    // The largest power of two in the distance says how few of the places the rows share.
    let shared = match stride.is_multiple_of(LINE) && stride > 0 {
        true => PLACES.min(1 << (stride / LINE).trailing_zeros()),
        false => 1,
    };
    rows * shared <= LINES * PLACES
}

/// Runs the layer over shapes that were checked.
pub(crate) fn run(
    layer: &RecurrentLayer,
    inputs: ArrayView3<'_, f32>,
    mask: Option<ArrayView2<'_, bool>>,
    initial_state: Option<&[ArrayView2<'_, f32>]>,
) -> Sequence {
    run_as(layer, inputs, mask, initial_state, layer.packed(), |work| {
        let (members, split) = work.split(pool::threads(), pool::are_near);
        let members = match split == Split::Units && pool::is_crowded() {
            true => 1,
            false => members,
        };
        let team = Team::gather(members);
        let plan = work.plan(team.members, split);
        (team, plan)
    })
}

/// [`run`], with these packed cells, and with who does it and in what parts decided by `divide`.
pub(super) fn run_as(
    layer: &RecurrentLayer,
    inputs: ArrayView3<'_, f32>,
    mask: Option<ArrayView2<'_, bool>>,
    initial_state: Option<&[ArrayView2<'_, f32>]>,
    packed: &Packed,
    divide: impl FnOnce(&Work) -> (Team, Plan),
) -> Sequence {
    let (batch, time, _) = inputs.dim();
    let units = layer.units();
    let mut states: Vec<Array2<f32>> = match initial_state {
        Some(initial) => initial
            .iter()
            .map(|state| state.as_standard_layout().into_owned())
            .collect(),
        None => layer
            .state_sizes()
            .map(|units| Array2::zeros((batch, units)))
            .collect(),
    };
    let output = match layer.options.return_sequences {
        true => time,
        false => 1,
    };
    // Every value is written, unless there is no step: then the last output is zeros. They begin with
    // a cache line: a vector that lies across two lines takes twice as long to write.
    let size = batch * output * units;
    let mut values: Vec<f32> = Vec::with_capacity(size + LINE - 1);
    let first = values.as_ptr().align_offset(LINE * size_of::<f32>());
    let first = first.min(LINE - 1);
    values.resize(first, 0.0);
    if batch > 0 && time > 0 {
        let (team, plan) = divide(&Work::of(&packed.cells, batch, time));
        let scratch = Scratch::of(&packed.cells, &plan);
        let call = Call {
            packed,
            cells: layer.cells(),
            options: layer.options,
            inputs,
            mask,
            states: states
                .iter_mut()
                .map(|state| Place(state.as_mut_ptr()))
                .collect(),
            output: Place(values.as_mut_ptr().wrapping_add(first)),
            plan,
            scratch: &scratch,
        };
        SCRATCH.with(|kept| match kept.try_borrow_mut() {
            Ok(mut kept) => {
                call.run(&team, &mut kept);
                if kept.len() > KEPT_VALUES {
                    *kept = Buffer::default();
                }
            }
            Err(_) => call.run(&team, &mut Buffer::default()),
        });
    } else {
        values.resize(first + size, 0.0);
    }
    // SAFETY: the blocks cover the batch, and each writes all that its rows put out.
    unsafe { values.set_len(first + size) };
    let values = Array1::from_vec(values).slice_move(ndarray::s![first..]);
    let shaped = |error: ndarray::ShapeError| -> ! { unreachable!("the size is right: {error}") };
    Sequence {
        output: match layer.options.return_sequences {
            true => SequenceOutput::Sequences(
                values
                    .into_shape_with_order((batch, time, units))
                    .unwrap_or_else(|error| shaped(error)),
            ),
            false => SequenceOutput::Last(
                values
                    .into_shape_with_order((batch, units))
                    .unwrap_or_else(|error| shaped(error)),
            ),
        },
        states,
    }
}

/// A forward pass.
struct Call<'a> {
    packed: &'a Packed,
    cells: &'a [crate::Cell],
    options: SequenceOptions,
    inputs: ArrayView3<'a, f32>,
    mask: Option<ArrayView2<'a, bool>>,
    /// `(batch, units)` each: first the initial ones, at the end the last ones.
    states: Vec<Place>,
    /// `(batch, time, units)` or `(batch, units)`.
    output: Place,
    plan: Plan,
    scratch: &'a Scratch,
}

impl Call<'_> {
    fn run(&self, team: &Team, buffer: &mut Buffer) {
        let Plan {
            members,
            split,
            block_rows,
            ..
        } = self.plan;
        let blocks = match split {
            Split::Rows => members,
            Split::Units => 1,
        };
        let block = self.scratch.shared;
        buffer.grow(blocks * block + members * self.scratch.own);
        let place = Place(buffer.as_mut_slice().as_mut_ptr());
        let batch = self.inputs.dim().0;
        let barrier = Barrier::default();
        team.run(&|member| {
            let (rows, first) = match split {
                Split::Rows => {
                    let of = |member| batch * member / members;
                    (of(member)..of(member + 1), member * block)
                }
                Split::Units => (0..batch, 0),
            };
            for start in rows.clone().step_by(block_rows) {
                // SAFETY: the buffer has grown to hold all of it.
                let (shared, own) = unsafe {
                    let own = blocks * block + member * self.scratch.own;
                    (Place(place.at(first)), Place(place.at(own)))
                };
                let rows = start..rows.end.min(start + block_rows);
                let mut passage = Passage {
                    call: self,
                    block: Block {
                        packed: self.packed,
                        cells: self.cells,
                        plan: self.plan,
                        scratch: self.scratch,
                        rows: rows.len(),
                        member: if split == Split::Units { member } else { 0 },
                        members: if split == Split::Units { members } else { 1 },
                        barrier: &barrier,
                        shared,
                        own,
                        slot: 0,
                        from_end: false,
                        ahead: Ahead::NONE,
                        h_outside: None,
                    },
                    rows,
                    counted: Vec::new(),
                };
                // SAFETY: members of the same block have different numbers, and blocks different
                // rows and, at the same time, different scratch.
                unsafe { passage.run() };
            }
        });
    }
}

/// Some rows of the batch on their way through all steps: what goes into a block and comes out.
///
/// Each member of the team brings and takes the units of its own panels.
struct Passage<'a, 'b> {
    call: &'b Call<'a>,
    block: Block<'b>,
    /// Which rows.
    rows: Range<usize>,
    /// Whether each step of the chunk counts for each row; empty without a mask.
    counted: Vec<bool>,
}

impl Passage<'_, '_> {
    /// # Safety
    /// No other thread has the same member's number and shared scratch, or the same own scratch.
    unsafe fn run(&mut self) {
        let time = self.call.inputs.dim().1;
        // SAFETY (all of this): the offsets are those that `Scratch` has planned.
        unsafe {
            self.load();
            for first in (0..time).step_by(self.call.plan.steps) {
                let reads = first..time.min(first + self.call.plan.steps);
                let steps = reads.len();
                let x = self.gather(reads.clone());
                self.look_ahead(reads.end);
                for index in 0..self.call.packed.cells.len() {
                    let x = match index.checked_sub(1) {
                        None => x,
                        Some(before) => self.block.outputs(before),
                    };
                    let outputs = match index == self.block.last_index() {
                        true => self.outputs(reads.start),
                        false => Outputs::NONE,
                    };
                    self.block.steps(index, x, &self.counted, outputs, steps);
                    self.block.ahead = Ahead::NONE;
                }
                if self.call.mask.is_some() {
                    self.emit(reads);
                }
                self.block.next_chunk(steps);
            }
            self.store();
        }
    }

    /// The states of this member's units, with what they are copied from and to: for each state
    /// array, `visit(array's row, scratch's row, how many)`.
    unsafe fn each_state(&self, visit: impl Fn(*mut f32, *mut f32, usize)) {
        let mut array = 0;
        for (index, cell) in self.call.cells.iter().enumerate() {
            for (state, size) in cell.state_sizes().enumerate() {
                let units = match state {
                    0 => self.block.outputs_of(index),
                    _ => self.block.units(index),
                };
                // SAFETY: rows and units are within the arrays and the scratch.
                unsafe {
                    let own = match state {
                        0 => self.block.h(index, 0),
                        _ => self.block.c(index),
                    };
                    for (row, all) in self.rows.clone().enumerate() {
                        visit(
                            self.call.states[array].at(all * size + units.start),
                            own.add(row * self.block.cell(index).stride + units.start),
                            units.len(),
                        );
                    }
                }
                array += 1;
            }
        }
    }

    /// Takes the initial states.
    unsafe fn load(&mut self) {
        // SAFETY: `each_state` gives places of so many values, which do not overlap.
        unsafe {
            self.each_state(|array, own, count| own.copy_from_nonoverlapping(array, count));
            let last = self.block.last_index();
            let units = self.block.outputs_of(last);
            for row in 0..self.rows.len() {
                self.last(row).add(units.start).write_bytes(0, units.len());
            }
        }
        self.block.barrier.wait(self.block.members);
    }

    /// Hands the states back, and the last output.
    unsafe fn store(&self) {
        // SAFETY: as for `load`.
        unsafe {
            self.each_state(|array, own, count| array.copy_from_nonoverlapping(own, count));
            if !self.call.options.return_sequences {
                let last = self.block.last_index();
                let units = self.block.outputs_of(last);
                let masked = self.call.mask.is_some();
                for (row, all) in self.rows.clone().enumerate() {
                    let from = match masked {
                        true => self.last(row),
                        false => self
                            .block
                            .h(last, 0)
                            .add(row * self.block.cell(last).stride),
                    };
                    self.call
                        .output
                        .at(all * self.block.cell(last).outputs + units.start)
                        .copy_from_nonoverlapping(from.add(units.start), units.len());
                }
            }
        }
        // The next block's states go where others may still read this one's.
        self.block.barrier.wait(self.block.members);
    }

    /// The output of the latest step for a row, where there is a mask.
    unsafe fn last(&self, row: usize) -> *mut f32 {
        let stride = self.block.cell(self.block.last_index()).stride;
        // SAFETY: `Scratch` has planned it.
        unsafe { self.block.shared.at(self.call.scratch.last + row * stride) }
    }

    /// The inputs of some steps in the order in which they are read, `[step][row][feature]`, with
    /// the distance from row to row; and their mask.
    unsafe fn gather(&mut self, reads: Range<usize>) -> Rows {
        let rows = self.rows.len();
        if let Some(mask) = self.call.mask {
            self.counted.clear();
            for read in reads.clone() {
                let t = self.time_of(read);
                let of = |row| mask[[row, t]];
                self.counted.extend(self.rows.clone().map(of));
            }
        }
        if let Some(rows) = self.in_place(reads.clone()) {
            return rows;
        }
        let inputs = self.call.inputs;
        let [row, step, feature] = [0, 1, 2].map(|axis| inputs.strides()[axis]);
        let features = inputs.dim().2;
        let stride = self.call.scratch.x_stride;
        // SAFETY: `Scratch` has planned so many rows of x for this member alone, and the inputs
        // have these rows, steps and features: without a slice of them for each, which would take
        // as long as the copy.
        unsafe {
            let x = self.block.own.at(self.call.scratch.x);
            for (number, read) in reads.enumerate() {
                let from = inputs.as_ptr().offset(self.time_of(read) as isize * step);
                for (number, all) in (number * rows..).zip(self.rows.clone()) {
                    let from = from.offset(all as isize * row);
                    let to = x.add(number * stride);
                    if feature == 1 || features <= 1 {
                        to.copy_from_nonoverlapping(from, features);
                        continue;
                    }
                    for index in 0..features {
                        *to.add(index) = *from.offset(index as isize * feature);
                    }
                }
            }
            Rows { at: x, stride }
        }
    }

    /// Which step of the inputs is read as the `read`-th.
    fn time_of(&self, read: usize) -> usize {
        match self.call.options.go_backwards {
            true => self.call.inputs.dim().1 - 1 - read,
            false => read,
        }
    }

    /// The inputs of some steps where they are, if they can be read from there as they are.
    fn in_place(&self, reads: Range<usize>) -> Option<Rows> {
        let inputs = self.call.inputs;
        let [row, step, feature] = [0, 1, 2].map(|axis| inputs.strides()[axis]);
        let stride = match (self.rows.len(), reads.len()) {
            (1, _) if !self.call.options.go_backwards => step,
            (rows, 1) if spread_enough(row.unsigned_abs(), rows) => row,
            _ => return None,
        };
        if feature != 1 && inputs.dim().2 > 1 {
            return None;
        }
        let t = self.time_of(reads.start);
        Some(Rows {
            at: inputs.slice(ndarray::s![self.rows.start, t, ..]).as_ptr(),
            stride: usize::try_from(stride).ok()?,
        })
    }

    /// Where the outputs go from step `read` on; with a mask nowhere, until [`emit`](Self::emit).
    fn outputs(&self, read: usize) -> Outputs {
        if self.call.mask.is_some() || !self.call.options.return_sequences {
            return Outputs::NONE;
        }
        let cell = self.block.cell(self.block.last_index());
        let (units, rows) = (cell.outputs, self.rows.len());
        let time = self.call.inputs.dim().1;
        let first = (self.rows.start * time + read) * units;
        let row = time * units;
        Outputs {
            // SAFETY: the output has a value for each row, step and unit.
            at: unsafe { self.call.output.at(first) },
            row,
            step: units,
            // Not the last one: it becomes a state. A single row is not worth it.
            hold_h: self.call.plan.steps == 1
                && read + 1 < time
                && rows > 1
                && cell.reads_outputs()
                && spread_enough(row, rows),
        }
    }

    /// Asks for the inputs of the next step to come nearer, meanwhile.
    fn look_ahead(&mut self, next: usize) {
        let inputs = self.call.inputs;
        // A few rows are read many steps at a time, in an order that the processor sees by itself.
        if next >= inputs.dim().1 || self.call.plan.steps > 1 {
            return;
        }
        let t = self.time_of(next);
        let first = inputs.slice(ndarray::s![self.rows.start, t, ..]);
        let panels = self.block.cell(0).gates.layout.panels();
        self.block.ahead = Ahead::new(
            first.as_ptr(),
            inputs.dim().2,
            inputs.strides()[0],
            panels.div_ceil(self.block.members),
        );
    }

    /// The outputs of a chunk with a mask: h, or for a masked row what the options say.
    unsafe fn emit(&self, reads: Range<usize>) {
        let options = self.call.options;
        let index = self.block.last_index();
        let (cell, units, time) = (
            self.block.cell(index),
            self.block.outputs_of(index),
            self.call.inputs.dim().1,
        );
        let (rows, count) = (self.rows.len(), units.len());
        // SAFETY: rows and units are within h, the output, and what `last` is.
        unsafe {
            for (step, read) in reads.enumerate() {
                let h = self.block.h(index, step + 1);
                for (row, all) in self.rows.clone().enumerate() {
                    let from = h.add(row * cell.stride + units.start);
                    let last = self.last(row).add(units.start);
                    if self.counted[step * rows + row] {
                        last.copy_from_nonoverlapping(from, count);
                    } else if options.zero_output_for_mask {
                        last.write_bytes(0, count);
                    }
                    if options.return_sequences {
                        let to = (all * time + read) * cell.outputs + units.start;
                        let to = self.call.output.at(to);
                        to.copy_from_nonoverlapping(last, count);
                    }
                }
            }
        }
    }
}
