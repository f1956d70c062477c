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
use std::mem::MaybeUninit;
use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use super::buffer::Buffer;
use super::cell::{PackedCell, starts};
use super::gates::{Equations, Gates, Values};
use super::plan::{Plan, Scratch, Split, Work};
use super::pool::{self, Barrier, Team};
use super::product::{Part, Product, Rows, Sums};
use super::{Packed, by_rows};
use crate::{RecurrentLayer, Sequence, SequenceOptions, SequenceOutput};

/// Up to this many rows, all panels of a step are one call.
const PANELS_AT_ONCE: usize = 3;

/// Scratch that a thread keeps for its next call, in values (16 MiB).
const KEPT_VALUES: usize = 4 << 20;

thread_local! {
    static SCRATCH: RefCell<Buffer> = RefCell::default();
}

/// Runs the layer over shapes that were checked.
pub(crate) fn run(
    layer: &RecurrentLayer,
    inputs: ArrayView3<'_, f32>,
    mask: Option<ArrayView2<'_, bool>>,
    initial_state: Option<&[ArrayView2<'_, f32>]>,
) -> Sequence {
    run_as(layer, inputs, mask, initial_state, layer.packed(), |work| {
        let (members, split) = work.split(pool::threads());
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
    // Every value is written, unless there is no step: then the last output is zeros.
    let mut values: Vec<MaybeUninit<f32>> = Vec::with_capacity(batch * output * units);
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
            output: Place(values.as_mut_ptr().cast()),
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
        values.resize(batch * output * units, MaybeUninit::new(0.0));
    }
    // SAFETY: the blocks cover the batch, and each writes all that its rows put out.
    let values = unsafe {
        values.set_len(batch * output * units);
        let mut values = std::mem::ManuallyDrop::new(values);
        Vec::from_raw_parts(
            values.as_mut_ptr().cast::<f32>(),
            values.len(),
            values.capacity(),
        )
    };
    let shaped = |error: ndarray::ShapeError| -> ! { unreachable!("the size is right: {error}") };
    Sequence {
        output: match layer.options.return_sequences {
            true => SequenceOutput::Sequences(
                Array3::from_shape_vec((batch, time, units), values)
                    .unwrap_or_else(|error| shaped(error)),
            ),
            false => SequenceOutput::Last(
                Array2::from_shape_vec((batch, units), values)
                    .unwrap_or_else(|error| shaped(error)),
            ),
        },
        states,
    }
}

/// Memory that several threads write, each in places of its own.
#[derive(Clone, Copy)]
struct Place(*mut f32);

// SAFETY: who writes where is decided by rows and units: see `Block`.
unsafe impl Sync for Place {}
// SAFETY: as above.
unsafe impl Send for Place {}

impl Place {
    /// # Safety
    /// Within what the place was made for.
    unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
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

impl<'a> Call<'a> {
    fn run(&'a self, team: &Team, buffer: &mut Buffer) {
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
                let mut block = Block {
                    call: self,
                    rows: start..rows.end.min(start + block_rows),
                    member: if split == Split::Units { member } else { 0 },
                    members: if split == Split::Units { members } else { 1 },
                    barrier: &barrier,
                    shared,
                    own,
                    counted: Vec::new(),
                    slot: 0,
                    from_end: false,
                };
                // SAFETY: members of the same block have different numbers, and blocks different
                // rows and, at the same time, different scratch.
                unsafe { block.run() };
            }
        });
    }
}

/// Some rows of the batch on their way through all steps, as one member of the team sees them.
///
/// All members of a block read all of h; each writes the units of its own panels only, in h, c and
/// the output. A barrier stands between writing h and reading it.
struct Block<'a, 'b> {
    call: &'a Call<'a>,
    rows: Range<usize>,
    member: usize,
    members: usize,
    barrier: &'b Barrier,
    shared: Place,
    own: Place,
    /// Whether each step of the chunk counts for each row; empty without a mask.
    counted: Vec<bool>,
    /// Where in h the chunk begins.
    slot: usize,
    /// Whether the next step goes through the panels from the last to the first.
    from_end: bool,
}

impl<'a> Block<'a, '_> {
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
                for index in 0..self.call.packed.cells.len() {
                    let (rows, stride) = match index.checked_sub(1) {
                        None => x,
                        Some(before) => (self.h(before, 1).cast_const(), self.cell(before).stride),
                    };
                    self.steps(index, rows, stride, steps);
                }
                self.emit(reads);
                self.next_chunk(steps);
            }
            self.store();
        }
    }

    fn cell(&self, index: usize) -> &'a PackedCell {
        &self.call.packed.cells[index]
    }

    /// The panels of a cell that are this member's.
    fn panels(&self, index: usize) -> Range<usize> {
        let panels = self.cell(index).gates.layout.panels();
        let of = |member| panels * member / self.members;
        of(self.member)..of(self.member + 1)
    }

    /// The units of those panels.
    fn units(&self, index: usize) -> Range<usize> {
        let cell = self.cell(index);
        let panels = self.panels(index);
        let of = |panel| cell.units.min(panel * cell.panel_units);
        of(panels.start)..of(panels.end)
    }

    /// h of a cell after `step` steps of the chunk.
    unsafe fn h(&self, index: usize, step: usize) -> *mut f32 {
        let slots = self.call.plan.steps + 1;
        let slot = (self.slot + step) % slots;
        let offset = slot * self.rows.len() * self.cell(index).stride;
        // SAFETY: `Scratch` has planned so many slots of so many rows.
        unsafe { self.shared.at(self.call.scratch.cells[index].h + offset) }
    }

    unsafe fn c(&self, index: usize) -> *mut f32 {
        // SAFETY: `Scratch` has planned it.
        unsafe { self.shared.at(self.call.scratch.cells[index].c) }
    }

    /// The states of this member's units, with what they are copied from and to: for each state
    /// array, `visit(array's row, scratch's row, how many)`.
    unsafe fn each_state(&self, visit: impl Fn(*mut f32, *mut f32, usize)) {
        let mut array = 0;
        for (index, cell) in self.call.cells.iter().enumerate() {
            let units = self.units(index);
            for state in 0..cell.states() {
                // SAFETY: rows and units are within the arrays and the scratch.
                unsafe {
                    let own = match state {
                        0 => self.h(index, 0),
                        _ => self.c(index),
                    };
                    for (row, all) in self.rows.clone().enumerate() {
                        visit(
                            self.call.states[array].at(all * cell.units() + units.start),
                            own.add(row * self.cell(index).stride + units.start),
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
            let last = self.last_index();
            let units = self.units(last);
            for row in 0..self.rows.len() {
                self.last(row).add(units.start).write_bytes(0, units.len());
            }
        }
        self.barrier.wait(self.members);
    }

    /// Hands the states back, and the last output.
    unsafe fn store(&self) {
        // SAFETY: as for `load`.
        unsafe {
            self.each_state(|array, own, count| array.copy_from_nonoverlapping(own, count));
            if !self.call.options.return_sequences {
                let last = self.last_index();
                let units = self.units(last);
                let masked = self.call.mask.is_some();
                for (row, all) in self.rows.clone().enumerate() {
                    let from = match masked {
                        true => self.last(row),
                        false => self.h(last, 0).add(row * self.cell(last).stride),
                    };
                    self.call
                        .output
                        .at(all * self.cell(last).units + units.start)
                        .copy_from_nonoverlapping(from.add(units.start), units.len());
                }
            }
        }
        // The next block's states go where others may still read this one's.
        self.barrier.wait(self.members);
    }

    fn last_index(&self) -> usize {
        self.call.packed.cells.len() - 1
    }

    /// The output of the latest step for a row, where there is a mask.
    unsafe fn last(&self, row: usize) -> *mut f32 {
        let stride = self.cell(self.last_index()).stride;
        // SAFETY: `Scratch` has planned it.
        unsafe { self.shared.at(self.call.scratch.last + row * stride) }
    }

    /// Makes h after the chunk the h before the next one.
    unsafe fn next_chunk(&mut self, steps: usize) {
        if self.call.plan.steps == 1 {
            self.slot ^= 1;
            return;
        }
        for index in 0..self.call.packed.cells.len() {
            let (units, stride) = (self.units(index), self.cell(index).stride);
            for row in 0..self.rows.len() {
                // SAFETY: two slots of the same h.
                unsafe {
                    let offset = row * stride + units.start;
                    let from = self.h(index, steps).add(offset);
                    self.h(index, 0)
                        .add(offset)
                        .copy_from_nonoverlapping(from, units.len());
                }
            }
        }
        self.barrier.wait(self.members);
    }

    /// The inputs of some steps in the order in which they are read, `[step][row][feature]`, with
    /// the distance from row to row; and their mask.
    unsafe fn gather(&mut self, reads: Range<usize>) -> (*const f32, usize) {
        let (time, rows) = (self.call.inputs.dim().1, self.rows.len());
        let backwards = self.call.options.go_backwards;
        let t = |read: usize| if backwards { time - 1 - read } else { read };
        if let Some(mask) = self.call.mask {
            self.counted.clear();
            for read in reads.clone() {
                let of = |row| mask[[row, t(read)]];
                self.counted.extend(self.rows.clone().map(of));
            }
        }
        let inputs = self.call.inputs;
        let [_, step, feature] = [0, 1, 2].map(|axis| inputs.strides()[axis]);
        let features = inputs.dim().2;
        if rows == 1 && !backwards && (feature == 1 || features <= 1) && step >= 0 {
            let first = inputs.slice(ndarray::s![self.rows.start, reads.start, ..]);
            return (first.as_ptr(), step.unsigned_abs());
        }
        let stride = self.call.scratch.x_stride;
        // SAFETY: `Scratch` has planned so many rows of x for this member alone.
        let x = unsafe { self.own.at(self.call.scratch.x) };
        for (step, read) in reads.enumerate() {
            for (row, all) in self.rows.clone().enumerate() {
                let values = inputs.slice(ndarray::s![all, t(read), ..]);
                // SAFETY: as above.
                let to = unsafe {
                    std::slice::from_raw_parts_mut(x.add((step * rows + row) * stride), features)
                };
                match values.as_slice() {
                    Some(values) => to.copy_from_slice(values),
                    None => to
                        .iter_mut()
                        .zip(values)
                        .for_each(|(to, value)| *to = *value),
                }
            }
        }
        (x, stride)
    }

    /// The outputs of the chunk: h, or for a masked row what the options say.
    unsafe fn emit(&self, reads: Range<usize>) {
        let options = self.call.options;
        let masked = self.call.mask.is_some();
        if !masked && !options.return_sequences {
            return;
        }
        let index = self.last_index();
        let (cell, units, time) = (
            self.cell(index),
            self.units(index),
            self.call.inputs.dim().1,
        );
        let (rows, count) = (self.rows.len(), units.len());
        // SAFETY: rows and units are within h, the output, and what `last` is.
        unsafe {
            for (step, read) in reads.enumerate() {
                let h = self.h(index, step + 1);
                for (row, all) in self.rows.clone().enumerate() {
                    let mut from = h.add(row * cell.stride + units.start);
                    if masked {
                        let last = self.last(row).add(units.start);
                        if self.counted[step * rows + row] {
                            last.copy_from_nonoverlapping(from, count);
                        } else if options.zero_output_for_mask {
                            last.write_bytes(0, count);
                        }
                        from = last;
                    }
                    if options.return_sequences {
                        let to = (all * time + read) * cell.units + units.start;
                        self.call
                            .output
                            .at(to)
                            .copy_from_nonoverlapping(from, count);
                    }
                }
            }
        }
    }

    /// All steps of the chunk for one cell; `x` has a row for each step and row of the block.
    unsafe fn steps(&mut self, index: usize, x: *const f32, x_stride: usize, steps: usize) {
        let rows = self.rows.len();
        let cell = self.cell(index);
        let hoisted = self.call.plan.hoisted || cell.needs_input_apart();
        // SAFETY: rows, panels and steps are within the scratch that was planned for them, and the
        // panels are this member's.
        unsafe {
            let z = self.own.at(self.call.scratch.z);
            if hoisted {
                let x = Rows {
                    at: x,
                    stride: x_stride,
                };
                let isa = self.call.packed.isa;
                let own = self.panels(index);
                let width = cell.gates.layout.width();
                cell.gates.inputs(own.clone(), x, steps * rows, z).run(isa);
                if let Some(candidate) = &cell.candidate {
                    let z = z.add(own.len() * steps * rows * width);
                    let all = 0..candidate.layout.panels();
                    candidate.inputs(all, x, steps * rows, z).run(isa);
                }
            }
            for step in 0..steps {
                let states = States {
                    h: self.h(index, step),
                    new_h: self.h(index, step + 1),
                    c: self.c(index),
                };
                let counted = match self.call.mask {
                    Some(_) => &self.counted[step * rows..][..rows],
                    None => &[],
                };
                // Common at the padded end of a batch.
                if !counted.is_empty() && !counted.contains(&true) {
                    self.keep(index, states);
                } else {
                    let x = Rows {
                        at: x.add(step * rows * x_stride),
                        stride: x_stride,
                    };
                    let input = match hoisted {
                        true => Input::Hoisted { z, step, steps },
                        false => Input::Here(x),
                    };
                    match cell.equations {
                        Some(equations) => self.step(index, equations, input, states, counted),
                        None => self.step_by_rows(index, z, (step, steps), states, counted),
                    }
                }
                self.barrier.wait(self.members);
                self.from_end = !self.from_end;
            }
        }
    }

    /// A step that counts for no row.
    unsafe fn keep(&self, index: usize, states: States) {
        let (units, stride) = (self.units(index), self.cell(index).stride);
        for row in 0..self.rows.len() {
            let offset = row * stride + units.start;
            // SAFETY: two slots of h.
            unsafe {
                let from = states.h.add(offset);
                states
                    .new_h
                    .add(offset)
                    .copy_from_nonoverlapping(from, units.len());
            }
        }
    }

    /// A step whose gates become states panel by panel.
    unsafe fn step(
        &self,
        index: usize,
        equations: Equations,
        input: Input,
        states: States,
        counted: &[bool],
    ) {
        let (cell, isa, rows) = (self.cell(index), self.call.packed.isa, self.rows.len());
        let (width, vectors) = (cell.gates.layout.width(), cell.gates.layout.vectors());
        let own = self.panels(index);
        let group = match rows <= PANELS_AT_ONCE {
            true => own.len(),
            false => 1,
        };
        let groups = own.len().div_ceil(group.max(1));
        for number in 0..groups {
            let number = if self.from_end {
                groups - 1 - number
            } else {
                number
            };
            let first = number * group;
            let panels = group.min(own.len() - first);
            let panel = own.start + first;
            // SAFETY: within the scratch, as planned; the panels are this member's.
            unsafe {
                let (start, x_part, x) = match input {
                    Input::Here(x) => (
                        cell.gates.bias_start(panel),
                        cell.gates.kernel.part(panel, x),
                        Values {
                            at: std::ptr::null(),
                            stride: 0,
                            panel_stride: 0,
                        },
                    ),
                    Input::Hoisted { z, step, steps } => {
                        let z = Values {
                            at: z.add((first * steps + step) * rows * width).cast_const(),
                            stride: width,
                            panel_stride: steps * rows * width,
                        };
                        let candidate = 2 * cell.gates.layout.lanes();
                        (
                            cell.start(panel, z),
                            Part::NONE,
                            Values {
                                at: z.at.wrapping_add(candidate),
                                ..z
                            },
                        )
                    }
                };
                let sums = Sums {
                    at: self.own.at(self.call.scratch.sums),
                    stride: width,
                    panel_stride: rows * width,
                };
                let h = Rows {
                    at: states.h,
                    stride: cell.stride,
                };
                Product {
                    start,
                    parts: [x_part, cell.gates.recurrent.part(panel, h)],
                    sums,
                    rows,
                    panels,
                    vectors,
                    from_end: self.from_end,
                }
                .run(isa);
                let offset = panel * cell.panel_units;
                Gates {
                    equations,
                    z: Values {
                        at: sums.at,
                        stride: sums.stride,
                        panel_stride: sums.panel_stride,
                    },
                    x,
                    h: states.h.add(offset),
                    new_h: states.new_h.add(offset),
                    c: states.c.add(offset),
                    stride: cell.stride,
                    panel_stride: cell.panel_units,
                    counted: match counted {
                        [] => std::ptr::null(),
                        counted => counted.as_ptr(),
                    },
                    rows,
                    panels,
                }
                .run(isa);
            }
        }
    }

    /// A step whose gates become states row by row: the only member has all panels.
    unsafe fn step_by_rows(
        &self,
        index: usize,
        z: *mut f32,
        (step, steps): (usize, usize),
        states: States,
        counted: &[bool],
    ) {
        let (cell, isa, rows) = (self.cell(index), self.call.packed.isa, self.rows.len());
        let (gates, units) = (&cell.gates, cell.units);
        let width = gates.layout.width();
        let counts = |row: &usize| counted.is_empty() || counted[*row];
        // SAFETY: within the scratch, as planned; slices of one row at a time, of places that
        // differ.
        unsafe {
            let sums = self.own.at(self.call.scratch.sums);
            let from_x = Values {
                at: z.add(step * rows * width).cast_const(),
                stride: width,
                panel_stride: steps * rows * width,
            };
            let h = Rows {
                at: states.h,
                stride: cell.stride,
            };
            gates.step(cell.start(0, from_x), h, rows, sums).run(isa);

            let row_scratch = self.own.at(self.call.scratch.row);
            let z_row = std::slice::from_raw_parts_mut(row_scratch, 4 * units);
            let x_row = std::slice::from_raw_parts_mut(row_scratch.add(4 * units), 3 * units);
            let state = |at: *mut f32, row: usize| {
                std::slice::from_raw_parts_mut(at.add(row * cell.stride), units)
            };
            self.keep(index, states);
            for row in (0..rows).filter(counts) {
                gates
                    .layout
                    .unpack_row(sums.add(row * width), rows * width, z_row);
                if cell.candidate.is_some() {
                    // c is free in a GRU: it keeps the update gate.
                    let (h, update) = (state(states.new_h, row), state(states.c, row));
                    by_rows::reset(&self.call.cells[index], z_row, h, update);
                } else {
                    if !cell.recurrent_bias.as_slice().is_empty() {
                        let at = from_x.at.add(row * width);
                        gates.layout.unpack_row(at, from_x.panel_stride, x_row);
                    }
                    let (h, c) = (state(states.new_h, row), state(states.c, row));
                    by_rows::update(
                        &self.call.cells[index],
                        z_row,
                        &x_row[x_row.len() - units..],
                        h,
                        c,
                    );
                }
            }
            let Some(candidate) = &cell.candidate else {
                return;
            };
            let width = candidate.layout.width();
            let from_x = Values {
                at: z
                    .add(gates.layout.panels() * from_x.panel_stride + step * rows * width)
                    .cast_const(),
                stride: width,
                panel_stride: steps * rows * width,
            };
            let seen = Rows {
                at: states.new_h,
                stride: cell.stride,
            };
            let start = starts(from_x, candidate.layout.lanes());
            candidate.step(start, seen, rows, sums).run(isa);
            for row in (0..rows).filter(counts) {
                let own = &mut z_row[..units];
                candidate
                    .layout
                    .unpack_row(sums.add(row * width), rows * width, own);
                let (new_h, update) = (state(states.new_h, row), state(states.c, row));
                new_h.copy_from_slice(state(states.h.cast_mut(), row));
                by_rows::candidate(&self.call.cells[index], own, new_h, update);
            }
        }
    }
}

/// The states of a cell at a step.
#[derive(Clone, Copy)]
struct States {
    h: *const f32,
    new_h: *mut f32,
    c: *mut f32,
}

/// Where a step has its x from.
#[derive(Clone, Copy)]
enum Input {
    /// b + x·W of all `steps` of the chunk: `[panel][step][row][vector][lane]`.
    Hoisted {
        z: *mut f32,
        step: usize,
        steps: usize,
    },
    /// The rows of x themselves.
    Here(Rows),
}
