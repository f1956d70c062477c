//! What goes on beside the arithmetic: outputs that leave, and inputs that come.
//!
//! Both are far from the processor. Done at once between two steps they would make it wait for
//! memory; done a little with each panel, they pass while it computes.

use std::ops::Range;

use super::simd::{Simd, prefetch};

/// Where the h of some steps goes, besides the scratch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outputs {
    /// The first unit of the first row, after the first step.
    pub(super) at: *mut f32,
    /// From one row to the next.
    pub(super) row: usize,
    /// From one step to the next.
    pub(super) step: usize,
}

impl Outputs {
    /// Nowhere.
    pub(super) const NONE: Outputs = Outputs {
        at: std::ptr::null_mut(),
        row: 0,
        step: 0,
    };

    pub(super) fn is_none(&self) -> bool {
        self.at.is_null()
    }

    /// Those of the units from `unit` on, after `step` more steps; or still nowhere.
    pub(super) fn from(self, step: usize, unit: usize) -> Outputs {
        match self.is_none() {
            true => self,
            false => Outputs {
                at: self.at.wrapping_add(step * self.step + unit),
                ..self
            },
        }
    }

    /// Asks for the places of some rows, of the units from `unit` on: writing to memory that is far
    /// away waits for it too.
    #[inline]
    fn ask(&self, rows: Range<usize>, unit: usize) {
        if !self.is_none() {
            let at = self.at.wrapping_add(unit);
            rows.for_each(|row| prefetch(at.wrapping_add(row * self.row)));
        }
    }

    /// Puts out a vector of a row, from `unit` on, of which `units` are there in all.
    ///
    /// # Safety
    /// There is place for the row's units.
    #[inline(always)]
    pub(super) unsafe fn put<S: Simd>(
        &self,
        s: S,
        row: usize,
        unit: usize,
        units: usize,
        h: S::F32,
    ) {
        if self.is_none() {
            return;
        }
        let count = units.saturating_sub(unit);
        // SAFETY: the caller's promise.
        unsafe {
            let to = self.at.add(row * self.row).wrapping_add(unit);
            match count >= S::LANES {
                true => s.store(to, h),
                // The last lanes of the last panel are no units.
                false => s.store_first(to, h, count),
            }
        }
    }
}

/// What passes beside a product.
pub(super) struct Passing {
    pub(super) ahead: Ahead,
    /// Those of the product's first panel.
    pub(super) outputs: Outputs,
    /// From one panel to the next in the outputs.
    pub(super) panel_units: usize,
}

impl Passing {
    /// Nothing.
    pub(super) const NONE: Passing = Passing {
        ahead: Ahead::NONE,
        outputs: Outputs::NONE,
        panel_units: 0,
    };

    /// Asks for a little of it, with each tile: memory takes only so many questions at a time, and
    /// the weights have theirs.
    #[inline]
    pub(super) fn ask(&mut self, rows: Range<usize>, panel: usize) {
        self.ahead.ask();
        self.outputs.ask(rows, panel * self.panel_units);
    }
}

/// Rows of values that will be read soon, asked for a few cache lines at a time.
pub(super) struct Ahead {
    at: *const f32,
    /// From one to the next, in values: lines of a row, rows, steps.
    strides: [isize; 3],
    counts: [usize; 3],
    next: [usize; 3],
    /// Lines at a time.
    share: usize,
}

impl Ahead {
    /// Nothing.
    pub(super) const NONE: Ahead = Ahead {
        at: std::ptr::null(),
        strides: [0; 3],
        counts: [0; 3],
        next: [0; 3],
        share: 0,
    };

    /// Rows of `values` each, of some steps, in about `times` times.
    pub(super) fn new(
        at: *const f32,
        values: usize,
        [rows, steps]: [usize; 2],
        [row, step]: [isize; 2],
        times: usize,
    ) -> Self {
        const LINE: usize = super::buffer::LINE;
        // A row may begin within a line.
        let lines = values.div_ceil(LINE) + usize::from(!values.is_multiple_of(LINE));
        Self {
            at,
            strides: [LINE as isize, row, step],
            counts: [lines, rows, steps],
            next: [0; 3],
            share: (lines * rows * steps).div_ceil(times.max(1)),
        }
    }

    /// Asks for the next few lines; for none when all are asked for.
    #[inline]
    pub(super) fn ask(&mut self) {
        for _ in 0..self.share {
            let offset = |axis: usize| self.next[axis] as isize * self.strides[axis];
            prefetch(self.at.wrapping_offset(offset(0) + offset(1) + offset(2)));
            for axis in 0..3 {
                self.next[axis] += 1;
                if self.next[axis] < self.counts[axis] {
                    break;
                }
                if axis == 2 {
                    self.share = 0;
                    return;
                }
                self.next[axis] = 0;
            }
        }
    }
}
