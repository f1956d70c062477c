//! A step's gates, forward and back, on vectors: an LSTM's and a GRU's with tanh and the sigmoid.
//!
//! Rows are whole vectors long. What the lanes beyond the last unit hold is of no matter as long as
//! it is finite: the weights there are zeros.

use super::super::gates::{Phis, Sigmas, Sigmoid, Tanh, lstm_states};
use super::super::simd::{Isa, Kernel, Simd};
use crate::math::{SIGMOID_EXPONENT, TANH_EXPONENT};

/// What makes exponents of the sums of i, f, c̃ and o.
const LSTM_EXPONENTS: [f32; 4] = [
    SIGMOID_EXPONENT,
    SIGMOID_EXPONENT,
    TANH_EXPONENT,
    SIGMOID_EXPONENT,
];

/// A step of some rows of an LSTM. Of the gates `[row][gate][unit]`, of the states `[row][unit]`.
pub(super) struct LstmForward<'a> {
    /// The sums; then the gates.
    pub(super) gates: &'a mut [f32],
    pub(super) c: &'a [f32],
    pub(super) new_c: &'a mut [f32],
    pub(super) new_h: &'a mut [f32],
    /// Units in whole vectors.
    pub(super) units: usize,
}

impl LstmForward<'_> {
    pub(super) fn run(self, isa: Isa) {
        let rows = self.new_h.len() / self.units;
        assert!(self.gates.len() >= rows * 4 * self.units && self.c.len() >= rows * self.units);
        assert!(self.new_c.len() >= rows * self.units && self.units.is_multiple_of(isa.lanes()));
        isa.run(self);
    }
}

impl Kernel for LstmForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = (s.splat(1.0), None);
        let units = self.units;
        for row in 0..self.new_h.len() / units {
            for unit in (0..units).step_by(S::LANES) {
                let state = row * units + unit;
                // SAFETY: `run` has asserted that the rows are there, in whole vectors.
                unsafe {
                    let gates = self.gates.as_mut_ptr().add(row * 4 * units + unit);
                    let mut sums = [s.splat(0.0); 4];
                    for (gate, sum) in sums.iter_mut().enumerate() {
                        let exponent = s.splat(LSTM_EXPONENTS[gate]);
                        *sum = s.mul(exponent, s.load(gates.add(gate * units)));
                    }
                    let c = s.load(self.c.as_ptr().add(state));
                    let (c, h) = lstm_states(s, sums, c, Sigmoid, Tanh);
                    s.store(self.new_c.as_mut_ptr().add(state), c);
                    s.store(self.new_h.as_mut_ptr().add(state), h);
                    s.store(gates, Sigmoid.times(s, sums[0], one));
                    s.store(gates.add(units), Sigmoid.times(s, sums[1], one));
                    s.store(gates.add(2 * units), Tanh.of(s, sums[2]));
                    s.store(gates.add(3 * units), Sigmoid.times(s, sums[3], one));
                }
            }
        }
    }
}

/// A step of some rows of an LSTM, back.
pub(super) struct LstmBackward<'a> {
    pub(super) gates: &'a [f32],
    /// c before and after the step.
    pub(super) c: &'a [f32],
    pub(super) new_c: &'a [f32],
    pub(super) dh: &'a [f32],
    /// What the output adds to `dh`.
    pub(super) d_out: &'a [f32],
    /// Of c after the step; then of c before.
    pub(super) dc: &'a mut [f32],
    /// By the sums, as the gates lie.
    pub(super) dz: &'a mut [f32],
    pub(super) units: usize,
}

impl LstmBackward<'_> {
    pub(super) fn run(self, isa: Isa) {
        let states = self.dh.len();
        assert!(self.c.len() >= states && self.new_c.len() >= states && self.dc.len() >= states);
        assert!(self.gates.len() >= 4 * states && self.dz.len() >= 4 * states);
        assert!(self.d_out.len() >= states && self.units.is_multiple_of(isa.lanes()));
        isa.run(self);
    }
}

impl Kernel for LstmBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = s.splat(1.0);
        let units = self.units;
        for row in 0..self.dh.len() / units {
            for unit in (0..units).step_by(S::LANES) {
                let state = row * units + unit;
                // SAFETY: `run` has asserted that the rows are there, in whole vectors.
                unsafe {
                    let gates = self.gates.as_ptr().add(row * 4 * units + unit);
                    let [i, f, g, o] = [
                        s.load(gates),
                        s.load(gates.add(units)),
                        s.load(gates.add(2 * units)),
                        s.load(gates.add(3 * units)),
                    ];
                    let new_c = s.load(self.new_c.as_ptr().add(state));
                    let shown = Tanh.of(s, s.mul(s.splat(TANH_EXPONENT), new_c));
                    let d_out = s.load(self.d_out.as_ptr().add(state));
                    let dh = s.add(s.load(self.dh.as_ptr().add(state)), d_out);
                    let dc = self.dc.as_mut_ptr().add(state);
                    let d_shown = s.mul(dh, o);
                    let slope = s.neg_mul_add(shown, shown, one);
                    let d = s.mul_add(d_shown, slope, s.load(dc));
                    s.store(dc, s.mul(d, f));
                    let c = s.load(self.c.as_ptr().add(state));
                    let dz = self.dz.as_mut_ptr().add(row * 4 * units + unit);
                    // y∘(1 − y) is y − y∘y.
                    s.store(dz, s.mul(s.mul(d, g), s.neg_mul_add(i, i, i)));
                    s.store(dz.add(units), s.mul(s.mul(d, c), s.neg_mul_add(f, f, f)));
                    let d_g = s.mul(s.mul(d, i), s.neg_mul_add(g, g, one));
                    s.store(dz.add(2 * units), d_g);
                    let d_o = s.mul(s.mul(dh, shown), s.neg_mul_add(o, o, o));
                    s.store(dz.add(3 * units), d_o);
                }
            }
        }
    }
}

/// A step of some rows of a GRU with `reset_after`.
pub(super) struct GruForward<'a> {
    /// The sums of z and r, and x·W of the candidate; then the gates.
    pub(super) gates: &'a mut [f32],
    /// h·U of the candidate.
    pub(super) recurrent: &'a [f32],
    pub(super) h: &'a [f32],
    pub(super) new_h: &'a mut [f32],
    pub(super) units: usize,
}

impl GruForward<'_> {
    pub(super) fn run(self, isa: Isa) {
        let states = self.new_h.len();
        assert!(self.gates.len() >= 3 * states && self.recurrent.len() >= states);
        assert!(self.h.len() >= states && self.units.is_multiple_of(isa.lanes()));
        isa.run(self);
    }
}

impl Kernel for GruForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = (s.splat(1.0), None);
        let units = self.units;
        for row in 0..self.new_h.len() / units {
            for unit in (0..units).step_by(S::LANES) {
                let state = row * units + unit;
                // SAFETY: `run` has asserted that the rows are there, in whole vectors.
                unsafe {
                    let gates = self.gates.as_mut_ptr().add(row * 3 * units + unit);
                    let exponent = s.splat(SIGMOID_EXPONENT);
                    let z = s.mul(exponent, s.load(gates));
                    let r = s.mul(exponent, s.load(gates.add(units)));
                    let from_h = (s.load(self.recurrent.as_ptr().add(state)), None);
                    let reset = Sigmoid.times(s, r, from_h);
                    let sum = s.add(s.load(gates.add(2 * units)), reset);
                    let candidate = Tanh.of(s, s.mul(s.splat(TANH_EXPONENT), sum));
                    let h = s.load(self.h.as_ptr().add(state));
                    let change = (s.sub(h, candidate), None);
                    let h = s.add(candidate, Sigmoid.times(s, z, change));
                    s.store(self.new_h.as_mut_ptr().add(state), h);
                    s.store(gates, Sigmoid.times(s, z, one));
                    s.store(gates.add(units), Sigmoid.times(s, r, one));
                    s.store(gates.add(2 * units), candidate);
                }
            }
        }
    }
}

/// A step of some rows of a GRU with `reset_after`, back.
pub(super) struct GruBackward<'a> {
    pub(super) gates: &'a [f32],
    pub(super) recurrent: &'a [f32],
    pub(super) h: &'a [f32],
    /// Of h after the step; then what comes to h before it past the gates.
    pub(super) dh: &'a mut [f32],
    /// What the output adds to `dh`.
    pub(super) d_out: &'a [f32],
    /// By the sums of z and r, by x·W and by h·U of the candidate: `[row][4][unit]`.
    pub(super) dz: &'a mut [f32],
    pub(super) units: usize,
}

impl GruBackward<'_> {
    pub(super) fn run(self, isa: Isa) {
        let states = self.dh.len();
        assert!(self.gates.len() >= 3 * states && self.recurrent.len() >= states);
        assert!(self.h.len() >= states && self.dz.len() >= 4 * states);
        assert!(self.d_out.len() >= states);
        assert!(self.units.is_multiple_of(isa.lanes()));
        isa.run(self);
    }
}

impl Kernel for GruBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = s.splat(1.0);
        let units = self.units;
        for row in 0..self.dh.len() / units {
            for unit in (0..units).step_by(S::LANES) {
                let state = row * units + unit;
                // SAFETY: `run` has asserted that the rows are there, in whole vectors.
                unsafe {
                    let gates = self.gates.as_ptr().add(row * 3 * units + unit);
                    let (z, r) = (s.load(gates), s.load(gates.add(units)));
                    let candidate = s.load(gates.add(2 * units));
                    let recurrent = s.load(self.recurrent.as_ptr().add(state));
                    let h = s.load(self.h.as_ptr().add(state));
                    let dh = self.dh.as_mut_ptr().add(state);
                    let d = s.add(s.load(dh), s.load(self.d_out.as_ptr().add(state)));
                    s.store(dh, s.mul(d, z));
                    let slope = s.neg_mul_add(candidate, candidate, one);
                    let d_candidate = s.mul(s.neg_mul_add(d, z, d), slope);
                    let d_r = s.mul(s.mul(d_candidate, recurrent), s.neg_mul_add(r, r, r));
                    let d_z = s.mul(s.mul(d, s.sub(h, candidate)), s.neg_mul_add(z, z, z));
                    let dz = self.dz.as_mut_ptr().add(row * 4 * units + unit);
                    s.store(dz, d_z);
                    s.store(dz.add(units), d_r);
                    s.store(dz.add(2 * units), d_candidate);
                    s.store(dz.add(3 * units), s.mul(d_candidate, r));
                }
            }
        }
    }
}

/// A step of some rows of a SimpleRNN: h' = tanh(z).
pub(super) struct SimpleForward<'a> {
    /// The sums; then h'.
    pub(super) gates: &'a mut [f32],
    pub(super) new_h: &'a mut [f32],
}

impl SimpleForward<'_> {
    pub(super) fn run(self, isa: Isa) {
        let states = self.new_h.len();
        assert!(self.gates.len() >= states && states.is_multiple_of(isa.lanes()));
        isa.run(self);
    }
}

impl Kernel for SimpleForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for state in (0..self.new_h.len()).step_by(S::LANES) {
            // SAFETY: `run` has asserted that the values are there, in whole vectors.
            unsafe {
                let gate = self.gates.as_mut_ptr().add(state);
                let h = Tanh.of(s, s.mul(s.splat(TANH_EXPONENT), s.load(gate)));
                s.store(gate, h);
                s.store(self.new_h.as_mut_ptr().add(state), h);
            }
        }
    }
}

/// A step of some rows of a SimpleRNN, back.
pub(super) struct SimpleBackward<'a> {
    pub(super) gates: &'a [f32],
    pub(super) dh: &'a [f32],
    /// What the output adds to `dh`.
    pub(super) d_out: &'a [f32],
    pub(super) dz: &'a mut [f32],
}

impl SimpleBackward<'_> {
    pub(super) fn run(self, isa: Isa) {
        let states = self.dh.len();
        assert!(self.gates.len() >= states && self.dz.len() >= states);
        assert!(self.d_out.len() >= states && states.is_multiple_of(isa.lanes()));
        isa.run(self);
    }
}

impl Kernel for SimpleBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let one = s.splat(1.0);
        for state in (0..self.dh.len()).step_by(S::LANES) {
            // SAFETY: `run` has asserted that the values are there, in whole vectors.
            unsafe {
                let h = s.load(self.gates.as_ptr().add(state));
                let d_out = s.load(self.d_out.as_ptr().add(state));
                let d = s.add(s.load(self.dh.as_ptr().add(state)), d_out);
                let dz = s.mul(d, s.neg_mul_add(h, h, one));
                s.store(self.dz.as_mut_ptr().add(state), dz);
            }
        }
    }
}
