//! A step's gates, forward and back, for any activations: a row at a time.

use crate::{Activation, Cell};

/// A row of a step: what it starts from, and where its gates go. All `(units)`, of the gates side
/// by side `stride` apart.
pub(super) struct Row<'a> {
    /// The sums; then the gates.
    pub(super) gates: &'a mut [f32],
    pub(super) stride: usize,
    /// Of a GRU with `reset_after`: h·U of the candidate.
    pub(super) recurrent: &'a [f32],
    pub(super) h: &'a [f32],
    pub(super) c: &'a [f32],
    pub(super) new_h: &'a mut [f32],
    pub(super) new_c: &'a mut [f32],
}

impl Row<'_> {
    fn gate(&mut self, gate: usize, units: usize) -> &mut [f32] {
        &mut self.gates[gate * self.stride..][..units]
    }

    /// Of a GRU without `reset_after` only z and r.
    pub(super) fn forward(mut self, cell: &Cell) {
        let units = self.new_h.len();
        match cell {
            Cell::Lstm(cell) => {
                let (phi, sigma) = (cell.activation(), cell.recurrent_activation());
                for (gate, of) in [sigma, sigma, phi, sigma].into_iter().enumerate() {
                    of.apply(self.gate(gate, units));
                }
                let (gates, stride) = (&*self.gates, self.stride);
                for unit in 0..units {
                    let of = |gate: usize| gates[gate * stride + unit];
                    self.new_c[unit] = of(1) * self.c[unit] + of(0) * of(2);
                }
                self.new_h.copy_from_slice(self.new_c);
                phi.apply(self.new_h);
                for unit in 0..units {
                    self.new_h[unit] *= gates[3 * stride + unit];
                }
            }
            Cell::Gru(cell) => {
                cell.recurrent_activation().apply(self.gate(0, units));
                cell.recurrent_activation().apply(self.gate(1, units));
                if cell.reset_after() {
                    let stride = self.stride;
                    for unit in 0..units {
                        let r = self.gates[stride + unit];
                        self.gates[2 * stride + unit] += r * self.recurrent[unit];
                    }
                    self.candidate(cell.activation());
                }
            }
            Cell::SimpleRnn(cell) => {
                cell.activation().apply(self.gate(0, units));
                self.new_h.copy_from_slice(&self.gates[..units]);
            }
        }
    }

    /// h̃ = φ(its sum);  h' = z∘h + (1 − z)∘h̃
    pub(super) fn candidate(mut self, phi: Activation) {
        let units = self.new_h.len();
        phi.apply(self.gate(2, units));
        for unit in 0..units {
            let z = self.gates[unit];
            let h_tilde = self.gates[2 * self.stride + unit];
            self.new_h[unit] = z * self.h[unit] + (1.0 - z) * h_tilde;
        }
    }
}

/// A row of a step, back.
pub(super) struct RowBack<'a> {
    pub(super) gates: &'a [f32],
    /// What the activations made the gates of.
    pub(super) sums: &'a [f32],
    pub(super) stride: usize,
    pub(super) recurrent: &'a [f32],
    pub(super) h: &'a [f32],
    pub(super) c: &'a [f32],
    pub(super) new_c: &'a [f32],
    /// Of h after the step; of a GRU then what comes to h before it past the gates.
    pub(super) dh: &'a mut [f32],
    /// Of c after the step; then of c before it.
    pub(super) dc: &'a mut [f32],
    pub(super) dz: &'a mut [f32],
}

impl RowBack<'_> {
    /// d by the sum of a gate, of the d by the gate that stands in its place.
    fn through(&mut self, of: Activation, gate: usize, slot: usize) {
        let units = self.dh.len();
        let own = gate * self.stride..gate * self.stride + units;
        let place = &mut self.dz[slot * self.stride..][..units];
        of.backward(&self.sums[own.clone()], &self.gates[own], place);
    }

    /// Of a GRU without `reset_after` only z and the candidate.
    pub(super) fn backward(mut self, cell: &Cell) {
        let (units, stride) = (self.dh.len(), self.stride);
        match cell {
            Cell::Lstm(cell) => {
                let (phi, sigma) = (cell.activation(), cell.recurrent_activation());
                let mut shown = self.new_c.to_vec();
                phi.apply(&mut shown);
                let o = &self.gates[3 * stride..][..units];
                let mut d: Vec<f32> = self.dh.iter().zip(o).map(|(dh, o)| dh * o).collect();
                phi.backward(self.new_c, &shown, &mut d);
                for unit in 0..units {
                    let of = |gate: usize| self.gates[gate * stride + unit];
                    let d = self.dc[unit] + d[unit];
                    self.dz[unit] = d * of(2);
                    self.dz[stride + unit] = d * self.c[unit];
                    self.dz[2 * stride + unit] = d * of(0);
                    self.dz[3 * stride + unit] = self.dh[unit] * shown[unit];
                    self.dc[unit] = d * of(1);
                }
                for (gate, of) in [sigma, sigma, phi, sigma].into_iter().enumerate() {
                    self.through(of, gate, gate);
                }
            }
            Cell::Gru(cell) => {
                for unit in 0..units {
                    let (z, h_tilde) = (self.gates[unit], self.gates[2 * stride + unit]);
                    let d = self.dh[unit];
                    self.dz[unit] = d * (self.h[unit] - h_tilde);
                    self.dz[2 * stride + unit] = d * (1.0 - z);
                    self.dh[unit] = d * z;
                }
                self.through(cell.recurrent_activation(), 0, 0);
                self.through(cell.activation(), 2, 2);
                if cell.reset_after() {
                    for unit in 0..units {
                        let d = self.dz[2 * stride + unit];
                        self.dz[stride + unit] = d * self.recurrent[unit];
                        self.dz[3 * stride + unit] = d * self.gates[stride + unit];
                    }
                    self.through(cell.recurrent_activation(), 1, 1);
                }
            }
            Cell::SimpleRnn(cell) => {
                self.dz[..units].copy_from_slice(self.dh);
                self.through(cell.activation(), 0, 0);
            }
        }
    }

    /// Of a GRU without `reset_after`: r, from the gradient by r∘h, `d_kept`, and the h that the
    /// candidate sees; `d_kept` becomes that by this h.
    pub(super) fn reset(mut self, cell: &Cell, seen: &[f32], d_kept: &mut [f32]) {
        let Cell::Gru(cell) = cell else { return };
        let stride = self.stride;
        for unit in 0..self.dh.len() {
            self.dz[stride + unit] = d_kept[unit] * seen[unit];
            d_kept[unit] *= self.gates[stride + unit];
        }
        self.through(cell.recurrent_activation(), 1, 1);
    }
}
