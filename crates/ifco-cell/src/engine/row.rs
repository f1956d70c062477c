//! One row through some steps of an LSTM with Keras's default activations, in one call.
//!
//! A single row has little to do between one step and the next, so that all which is not
//! arithmetic counts. A group of panels keeps its sums in registers, from where its gates become
//! states at once; meanwhile the processor already reads the weights of the next group.

use super::gates::{Sigmoid, Tanh, Values, lstm_states};
use super::product::{Part, in_order};
use super::simd::{Beside, Isa, Kernel, Simd};
use super::traffic::Outputs;

/// Some steps of one row.
#[derive(Debug)]
pub(super) struct LstmRow {
    /// What the sums start from at the first step, gate beside gate; the stride is from one step to
    /// the next.
    pub(super) start: Values<*const f32>,
    /// x and h at the first step; the stride of the rows is from one step to the next.
    pub(super) parts: [Part; 2],
    pub(super) c: *mut f32,
    /// h after the first step; those of the next steps are as far apart as the h that are read.
    pub(super) new_h: *mut f32,
    /// Where h goes too.
    pub(super) outputs: Outputs,
    /// From the first panel on, without those lanes that are no units.
    pub(super) units: usize,
    pub(super) panels: usize,
    pub(super) steps: usize,
    /// Whether the first step goes from the last panel to the first; the next one goes back.
    pub(super) from_end: bool,
}

/// Up to this many panels are one group.
pub(super) const MOST_PANELS: usize = 3;

/// Panels of a group where there are more: enough sums to hide the latency of an addition, few
/// enough that the next group's weights are asked for while the gates are computed.
const GROUP: usize = 2;

impl LstmRow {
    /// # Safety
    /// All pointers are valid for what they are said to hold, and nobody else writes there.
    #[inline]
    pub(super) unsafe fn run(&self, isa: Isa) {
        match self.steps {
            1 => isa.run(One(self)),
            _ => isa.run(Several(self)),
        }
    }
}

/// A step whose pointers its maker vouches for: a stream's, which is not to pay for what several
/// steps would share.
struct One<'a>(&'a LstmRow);

/// Steps whose pointers their maker vouches for.
struct Several<'a>(&'a LstmRow);

impl Kernel for One<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: the promise of `LstmRow::run`.
        unsafe { step(s, self.0, 0, self.0.from_end) };
    }
}

impl Kernel for Several<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut from_end = self.0.from_end;
        for number in 0..self.0.steps {
            // SAFETY: the promise of `LstmRow::run`.
            unsafe { step(s, self.0, number, from_end) };
            from_end = !from_end;
        }
    }
}

/// # Safety
/// As for [`LstmRow::run`].
#[inline(always)]
unsafe fn step<S: Simd>(s: S, of: &LstmRow, step: usize, from_end: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        match of.panels {
            1 => group::<S, 1>(s, of, step, 0),
            2 => group::<S, 2>(s, of, step, 0),
            MOST_PANELS => group::<S, MOST_PANELS>(s, of, step, 0),
            _ => groups(s, of, step, from_end),
        }
    }
}

/// # Safety
/// As for [`LstmRow::run`].
#[inline(always)]
unsafe fn groups<S: Simd>(s: S, of: &LstmRow, step: usize, from_end: bool) {
    let groups = of.panels / GROUP;
    for index in 0..groups {
        let index = in_order(index, groups, from_end);
        let first = index * GROUP;
        // SAFETY: the caller's promise.
        unsafe {
            // An odd one goes with the last group: alone it would have too few sums.
            if index + 1 == groups && !of.panels.is_multiple_of(GROUP) {
                group::<S, { GROUP + 1 }>(s, of, step, first);
            } else {
                group::<S, GROUP>(s, of, step, first);
            }
        }
    }
}

/// A step of `P` panels from `first` on.
///
/// # Safety
/// As for [`LstmRow::run`].
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "panel and gate, as everywhere")]
unsafe fn group<S: Simd, const P: usize>(s: S, of: &LstmRow, step: usize, first: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[s.splat(0.0); P]; 4];
        for gate in 0..4 {
            for p in 0..P {
                let offset = step * of.start.stride + (first + p) * of.start.panel_stride;
                sums[gate][p] = s.load(of.start.at.add(offset + gate * S::LANES));
            }
        }
        for part in of.parts {
            let values = part.rows.at.wrapping_add(step * part.rows.stride);
            let mut weights = part.panels.wrapping_add(first * part.panel_stride);
            for k in 0..part.depth {
                let value = s.splat(*values.add(k));
                for p in 0..P {
                    for gate in 0..4 {
                        let vector = s.load(weights.add(p * part.panel_stride + gate * S::LANES));
                        sums[gate][p] = s.mul_add(value, vector, sums[gate][p]);
                    }
                }
                weights = weights.add(4 * S::LANES);
            }
        }
        let unit = first * S::LANES;
        let c = of.c.add(unit);
        let panels = Beside::<S, P>(s);
        let (new_c, h) = lstm_states(panels, sums, panels.load(c), Sigmoid, Tanh);
        panels.store(c, new_c);
        panels.store(of.new_h.add(step * of.parts[1].rows.stride + unit), h);
        of.outputs.from(step, 0).put(panels, 0, unit, of.units, h);
    }
}
