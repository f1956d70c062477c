//! Some rows on their way through the cells: the part that a sequence and a stream share.

use std::ops::Range;

use super::cell::{PackedCell, starts};
use super::gates::{Equations, Gates, Values};
use super::plan::{Plan, Scratch};
use super::pool::Barrier;
use super::product::{Part, Product, Rows, Sums, in_order};
use super::row::{LstmRow, MOST_PANELS};
use super::traffic::{Ahead, Outputs, Passing};
use super::{Packed, by_rows, extras};
use crate::{Cell, LstmCell};

/// Rows times panels whose sums become states together, about: few enough that the sums are still
/// near, many enough that it is seldom. To go over from multiply-adds to gates, which are long chains
/// of operations, and back costs as much as the gates of six rows.
const ROWS_AT_ONCE: usize = 64;

/// So many features (the last ones) wait for the chain of h·U where a row is one group of 1, 2 or 3
/// panels: a step has to wait for the gates of the step before, and that is their time.
const LATE_FEATURES: [usize; MOST_PANELS] = [24, 8, 2];

/// Up to so many features more, x·W costs a row less in that chain than as a product of its own.
const FEW_FEATURES: usize = 4;

/// Memory that several threads write, each in places of its own.
#[derive(Clone, Copy)]
pub(super) struct Place(pub(super) *mut f32);

// SAFETY: who writes where is decided by rows and units: see `Block`.
unsafe impl Sync for Place {}
// SAFETY: as above.
unsafe impl Send for Place {}

impl Place {
    /// # Safety
    /// Within what the place was made for.
    pub(super) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// Some rows of a batch on their way through the cells, as one member of a team sees them.
///
/// All members read all of h; each writes the units of its own panels only. A barrier stands
/// between writing h and reading it.
pub(super) struct Block<'a> {
    pub(super) packed: &'a Packed,
    pub(super) cells: &'a [Cell],
    pub(super) plan: Plan,
    pub(super) scratch: &'a Scratch,
    /// How many.
    pub(super) rows: usize,
    pub(super) member: usize,
    pub(super) members: usize,
    pub(super) barrier: &'a Barrier,
    /// What all members of the block have together, as `Scratch` divides it.
    pub(super) shared: Place,
    /// What this member has alone.
    pub(super) own: Place,
    /// Where in h the chunk begins.
    pub(super) slot: usize,
    /// Whether the next step goes through the panels from the last to the first: what the cache
    /// still holds is read before it is replaced.
    pub(super) from_end: bool,
    /// What the first cell reads next.
    pub(super) ahead: Ahead,
    /// The last cell's h, where it is among the outputs and not in the scratch.
    pub(super) h_outside: Option<Rows>,
}

impl<'a> Block<'a> {
    pub(super) fn cell(&self, index: usize) -> &'a PackedCell {
        &self.packed.cells[index]
    }

    /// The panels of a cell that are this member's.
    fn panels(&self, index: usize) -> Range<usize> {
        let panels = self.cell(index).gates.layout.panels();
        let of = |member| panels * member / self.members;
        of(self.member)..of(self.member + 1)
    }

    /// The units of those panels.
    pub(super) fn units(&self, index: usize) -> Range<usize> {
        let cell = self.cell(index);
        let panels = self.panels(index);
        let of = |panel| cell.units.min(panel * cell.panel_units);
        of(panels.start)..of(panels.end)
    }

    /// The values of h that are this member's: those of its units, or of a projection all.
    pub(super) fn outputs_of(&self, index: usize) -> Range<usize> {
        match self.cell(index).projection {
            // Its gates go row by row: there is only one member.
            Some(_) => 0..self.cell(index).outputs,
            None => self.units(index),
        }
    }

    /// h of a cell after `step` steps of the chunk.
    pub(super) unsafe fn h(&self, index: usize, step: usize) -> *mut f32 {
        let slots = self.plan.steps + 1;
        let slot = self.slot + step;
        let slot = if slot < slots { slot } else { slot - slots };
        let offset = slot * self.rows * self.cell(index).stride;
        // SAFETY: `Scratch` has planned so many slots of so many rows.
        unsafe { self.shared.at(self.scratch.cells[index].h + offset) }
    }

    /// The outputs of a cell for the whole chunk: the x of the next one.
    pub(super) unsafe fn outputs(&self, index: usize) -> Rows {
        Rows {
            // SAFETY: a chunk has a step.
            at: unsafe { self.h(index, 1) },
            stride: self.cell(index).stride,
        }
    }

    pub(super) unsafe fn c(&self, index: usize) -> *mut f32 {
        // SAFETY: `Scratch` has planned it.
        unsafe { self.shared.at(self.scratch.cells[index].c) }
    }

    pub(super) fn last_index(&self) -> usize {
        self.packed.cells.len() - 1
    }

    /// Makes h after the chunk the h before the next one.
    pub(super) unsafe fn next_chunk(&mut self, steps: usize) {
        if self.plan.steps == 1 {
            self.slot ^= 1;
            return;
        }
        for index in 0..self.packed.cells.len() {
            let (units, stride) = (self.outputs_of(index), self.cell(index).stride);
            for row in 0..self.rows {
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

    /// All steps of the chunk for one cell; `x` has a row for each step and row of the block.
    ///
    /// `counted`: whether each step counts for each row; empty when all do. `outputs`: where h goes
    /// too, which is nowhere unless all do.
    ///
    /// # Safety
    /// The scratch is as `Scratch` has planned it, no other thread has the same member's number
    /// with it, and x is there.
    pub(super) unsafe fn steps(
        &mut self,
        index: usize,
        x: Rows,
        counted: &[bool],
        outputs: Outputs,
        steps: usize,
    ) {
        let rows = self.rows;
        let cell = self.cell(index);
        if rows == 1 && counted.is_empty() && cell.is_plain_lstm() {
            // SAFETY: the caller's promise.
            unsafe { self.steps_of_row(index, x, outputs, steps) };
            return;
        }
        let hoisted = self.plan.hoisted || cell.needs_input_apart();
        // SAFETY: rows, panels and steps are within the scratch that was planned for them, and the
        // panels are this member's.
        unsafe {
            let (isa, z) = (self.packed.isa, self.own.at(self.scratch.z));
            let narrow = self.own.at(self.scratch.narrow_x);
            let x = cell.gates.kernel.rows(isa, x, steps * rows, narrow);
            if hoisted {
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
                    h: match self.h_outside {
                        Some(h) if index == self.last_index() => h,
                        _ => Rows {
                            at: self.h(index, step),
                            stride: cell.stride,
                        },
                    },
                    new_h: match outputs.hold_h {
                        true => std::ptr::null_mut(),
                        false => self.h(index, step + 1),
                    },
                    c: self.c(index),
                    outputs: outputs.from(step, 0),
                };
                let counted = match counted {
                    [] => counted,
                    counted => &counted[step * rows..][..rows],
                };
                // Common at the padded end of a batch.
                if !counted.is_empty() && !counted.contains(&true) {
                    self.keep(index, states);
                } else {
                    let x = Rows {
                        at: x.at.add(step * rows * x.stride),
                        ..x
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
                if index == self.last_index() {
                    self.h_outside = outputs.hold_h.then_some(Rows {
                        at: states.outputs.at,
                        stride: outputs.row,
                    });
                }
                self.barrier.wait(self.members);
                self.from_end ^= true;
            }
        }
    }

    /// All steps of the chunk of a plain LSTM's only row, as [`steps`](Self::steps).
    unsafe fn steps_of_row(&mut self, index: usize, x: Rows, outputs: Outputs, steps: usize) {
        let (cell, isa) = (self.cell(index), self.packed.isa);
        let gates = &cell.gates;
        let own = self.panels(index);
        // Alone there is nothing to wait for between two steps.
        let together = if self.members == 1 { steps } else { 1 };
        let late = LATE_FEATURES.get(gates.layout.panels().saturating_sub(1));
        let late = late.copied().unwrap_or_default();
        // The features whose x·W is there before the first step: the first ones.
        let early = match cell.features.saturating_sub(late) {
            ..=FEW_FEATURES => 0,
            early => early,
        };
        // SAFETY: panels and steps are within the scratch that was planned for them, and the panels
        // are this member's.
        unsafe {
            let z = self.own.at(self.scratch.z);
            let width = gates.layout.width();
            let start = match early {
                0 => gates.bias(own.start),
                early => {
                    let mut product = gates.inputs(own.clone(), x, steps, z);
                    product.parts[0] = product.parts[0].to(early);
                    product.run(isa);
                    Values {
                        at: z.cast_const(),
                        stride: width,
                        panel_stride: steps * width,
                    }
                }
            };
            let offset = own.start * cell.panel_units;
            for step in (0..steps).step_by(together.max(1)) {
                let x = Rows {
                    at: x.at.add(step * x.stride),
                    ..x
                };
                let h = Rows {
                    at: self.h(index, step),
                    stride: cell.stride,
                };
                LstmRow {
                    start: Values {
                        at: start.at.add(step * start.stride),
                        ..start
                    },
                    parts: [
                        gates.kernel.part(own.start, x).from(early, width),
                        gates.recurrent.part(own.start, h),
                    ],
                    c: self.c(index).add(offset),
                    new_h: self.h(index, step + 1).add(offset),
                    outputs: outputs.from(step, offset),
                    units: cell.units - offset,
                    panels: own.len(),
                    steps: together,
                    from_end: self.from_end,
                }
                .run(isa);
                self.barrier.wait(self.members);
                self.from_end ^= together % 2 == 1;
            }
        }
    }

    /// A step that counts for no row.
    unsafe fn keep(&self, index: usize, states: States) {
        let (units, stride) = (self.outputs_of(index), self.cell(index).stride);
        for row in 0..self.rows {
            let offset = row * stride + units.start;
            // SAFETY: two slots of h.
            unsafe {
                let from = states.h.at.add(offset);
                states
                    .new_h
                    .add(offset)
                    .copy_from_nonoverlapping(from, units.len());
            }
        }
    }

    /// A step whose gates become states panel by panel.
    unsafe fn step(
        &mut self,
        index: usize,
        equations: Equations,
        input: Input,
        states: States,
        counted: &[bool],
    ) {
        let (cell, isa, rows) = (self.cell(index), self.packed.isa, self.rows);
        let (width, vectors) = (cell.gates.layout.width(), cell.gates.layout.vectors());
        let own = self.panels(index);
        let group = (ROWS_AT_ONCE / rows).clamp(1, own.len().max(1));
        let groups = own.len().div_ceil(group);
        // SAFETY: the scratch is planned for so many rows.
        let h = unsafe {
            let narrow = self.own.at(self.scratch.narrow_h);
            cell.gates.recurrent.rows(isa, states.h, rows, narrow)
        };
        for number in 0..groups {
            let first = in_order(number, groups, self.from_end) * group;
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
                let parts = [x_part, cell.gates.recurrent.part(panel, h)];
                let offset = panel * cell.panel_units;
                let sums = Sums {
                    at: self.own.at(self.scratch.sums),
                    stride: width,
                    panel_stride: rows * width,
                };
                let passing = Passing {
                    ahead: self.ahead.from(first),
                    outputs: states.outputs.from(0, offset),
                    panel_units: cell.panel_units,
                };
                Product {
                    start,
                    parts,
                    sums,
                    rows,
                    panels,
                    vectors,
                    arithmetic: cell.gates.recurrent.arithmetic(),
                    from_end: self.from_end,
                }
                .run_beside(isa, &passing);
                Gates {
                    equations,
                    z: Values {
                        at: sums.at,
                        stride: sums.stride,
                        panel_stride: sums.panel_stride,
                    },
                    x,
                    h: states.h.at.add(offset),
                    h_stride: states.h.stride,
                    new_h: match states.new_h.is_null() {
                        true => states.new_h,
                        false => states.new_h.add(offset),
                    },
                    c: states.c.add(offset),
                    stride: cell.stride,
                    panel_stride: cell.panel_units,
                    outputs: states.outputs.from(0, offset),
                    units: cell.units - offset,
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
        let (cell, isa, rows) = (self.cell(index), self.packed.isa, self.rows);
        let (gates, units) = (&cell.gates, cell.units);
        let width = gates.layout.width();
        let counts = |row: &usize| counted.is_empty() || counted[*row];
        // SAFETY: within the scratch, as planned; slices of one row at a time, of places that
        // differ.
        unsafe {
            let sums = self.own.at(self.scratch.sums);
            let from_x = Values {
                at: z.add(step * rows * width).cast_const(),
                stride: width,
                panel_stride: steps * rows * width,
            };
            let narrow = self.own.at(self.scratch.narrow_h);
            let h = gates.recurrent.rows(isa, states.h, rows, narrow);
            gates.step(cell.start(0, from_x), h, rows, sums).run(isa);

            if let (true, Cell::Lstm(lstm)) = (cell.is_longer, &self.cells[index]) {
                self.keep(index, states);
                self.longer_lstm(index, lstm, from_x, sums, states, counted);
                self.put_out(index, states);
                return;
            }
            let row_scratch = self.own.at(self.scratch.row);
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
                    by_rows::reset(&self.cells[index], z_row, h, update);
                } else {
                    if !cell.recurrent_bias.as_slice().is_empty() {
                        let at = from_x.at.add(row * width);
                        gates.layout.unpack_row(at, from_x.panel_stride, x_row);
                    }
                    let (h, c) = (state(states.new_h, row), state(states.c, row));
                    by_rows::update(
                        &self.cells[index],
                        z_row,
                        &x_row[x_row.len() - units..],
                        h,
                        c,
                    );
                }
            }
            let Some(candidate) = &cell.candidate else {
                self.put_out(index, states);
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
            let seen = candidate.recurrent.rows(isa, seen, rows, narrow);
            let start = starts(from_x, candidate.layout.lanes());
            candidate.step(start, seen, rows, sums).run(isa);
            for row in (0..rows).filter(counts) {
                let own = &mut z_row[..units];
                candidate
                    .layout
                    .unpack_row(sums.add(row * width), rows * width, own);
                let (new_h, update) = (state(states.new_h, row), state(states.c, row));
                new_h.copy_from_slice(state(states.h.at.cast_mut(), row));
                by_rows::candidate(&self.cells[index], own, new_h, update);
            }
            self.put_out(index, states);
        }
    }

    /// The rows of a step of an LSTM with options, from the sums of its gates on.
    unsafe fn longer_lstm(
        &self,
        index: usize,
        lstm: &LstmCell,
        from_x: Values<*const f32>,
        sums: *mut f32,
        states: States,
        counted: &[bool],
    ) {
        let (cell, isa, rows) = (self.cell(index), self.packed.isa, self.rows);
        let (layout, units) = (&cell.gates.layout, cell.units);
        let width = layout.width();
        let counts = |row: &usize| counted.is_empty() || counted[*row];
        // SAFETY: within the scratch, as planned; slices of one row at a time, of places that
        // differ.
        unsafe {
            let row_scratch = self.own.at(self.scratch.row);
            let z = std::slice::from_raw_parts_mut(row_scratch, 4 * units);
            let x = std::slice::from_raw_parts_mut(row_scratch.add(4 * units), 4 * units);
            let all_shown = self.own.at(self.scratch.shown);
            for row in (0..rows).filter(counts) {
                layout.unpack_row(sums.add(row * width), rows * width, z);
                if cell.sums_apart {
                    layout.unpack_row(from_x.at.add(row * width), from_x.panel_stride, x);
                }
                let c = std::slice::from_raw_parts_mut(states.c.add(row * cell.stride), units);
                let shown = match cell.projection {
                    Some(_) => all_shown.add(row * cell.stride),
                    None => states.new_h.add(row * cell.stride),
                };
                let shown = std::slice::from_raw_parts_mut(shown, units);
                extras::sums(lstm, z, x);
                extras::gates(lstm, z, c, None);
                extras::shown(lstm, &z[3 * units..], c, shown);
            }
            let Some(projection) = &cell.projection else {
                return;
            };
            let shown = Rows {
                at: all_shown,
                stride: cell.stride,
            };
            let narrow = self.own.at(self.scratch.narrow_shown);
            let shown = projection.panels.rows(isa, shown, rows, narrow);
            projection.of(shown, rows, sums).run(isa);
            let layout = &projection.layout;
            let width = layout.width();
            for row in (0..rows).filter(counts) {
                let h = states.new_h.add(row * cell.stride);
                let h = std::slice::from_raw_parts_mut(h, cell.outputs);
                layout.unpack_row(sums.add(row * width), rows * width, h);
                extras::clip_projected(lstm, h);
            }
        }
    }

    /// Puts out a step's h, of all units.
    unsafe fn put_out(&self, index: usize, states: States) {
        let (outputs, cell) = (states.outputs, self.cell(index));
        if outputs.is_none() {
            return;
        }
        for row in 0..self.rows {
            // SAFETY: the outputs have place for the units of these rows.
            unsafe {
                let from = states.new_h.add(row * cell.stride);
                let to = outputs.at.add(row * outputs.row);
                to.copy_from_nonoverlapping(from, cell.outputs);
            }
        }
    }
}

/// The states of a cell at a step.
#[derive(Clone, Copy)]
struct States {
    h: Rows,
    /// Null where the outputs hold it.
    new_h: *mut f32,
    c: *mut f32,
    outputs: Outputs,
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
