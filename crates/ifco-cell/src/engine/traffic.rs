//! What goes on beside the arithmetic: outputs that leave, and inputs that come.
//!
//! Both are far from the processor. Done at once between two steps they would make it wait for
//! memory; done a little with each panel, they pass while it computes.

use std::ops::Range;

use super::buffer::LINE;
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
    /// Whether the next step reads h from here, and it goes nowhere else.
    pub(super) hold_h: bool,
}

impl Outputs {
    /// Nowhere.
    pub(super) const NONE: Outputs = Outputs {
        at: std::ptr::null_mut(),
        row: 0,
        step: 0,
        hold_h: false,
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
    #[inline(always)]
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
    #[inline(always)]
    pub(super) fn ask(&self, rows: Range<usize>, panel: usize) {
        self.ahead.ask(rows.clone(), panel);
        self.outputs.ask(rows, panel * self.panel_units);
    }
}

/// Rows of values that will be read soon: with each panel, a few cache lines of each row.
///
/// This stands between two tiles, where nothing is multiplied, and is to be short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// The first line of the product's first panel.
    at: *const f32,
    /// From one row to the next.
    row: isize,
    /// Lines with a panel.
    share: usize,
}

impl Ahead {
    /// Nothing.
    pub(super) const NONE: Ahead = Ahead {
        at: std::ptr::null(),
        row: 0,
        share: 0,
    };

    /// Rows of so many `values`, `row` apart, beside so many panels.
    pub(super) fn new(at: *const f32, values: usize, row: isize, panels: usize) -> Self {
        // A row may begin within a line.
        let lines = values.div_ceil(LINE) + usize::from(!values.is_multiple_of(LINE));
        Self {
            at,
            row,
            share: lines.div_ceil(panels.max(1)),
        }
    }

    /// What is left of it from a panel on.
    pub(super) fn from(self, panel: usize) -> Self {
        Self {
            at: self.at.wrapping_add(panel * self.share * LINE),
            ..self
        }
    }

    #[inline(always)]
    fn ask(&self, rows: Range<usize>, panel: usize) {
        let mut at = self.at.wrapping_add(panel * self.share * LINE);
        for _ in 0..self.share {
            for row in rows.clone() {
                prefetch(at.wrapping_offset(row as isize * self.row));
            }
            at = at.wrapping_add(LINE);
        }
    }
}
