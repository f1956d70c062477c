//! A step of an LSTM, back, with all [options](crate::LstmOptions).

use ndarray::{Array1, Axis, s};

use super::super::{clipped, joined, lstm_step_of, lstm_sum, wide, wide2};
use super::{Step, slope, unclipped};
use crate::{CellGradients, Gate, LayerNorm, LstmCell, Norm, NormedSums};

impl Step<'_, '_> {
    pub(super) fn lstm(
        &self,
        cell: &LstmCell,
        dh: &Array1<f64>,
        dc: &Array1<f64>,
        found: &mut CellGradients<f64>,
    ) -> (Array1<f64>, Vec<Array1<f64>>) {
        let (weights, options) = (cell.weights(), cell.options());
        let units = weights.units();
        let (h, c) = (self.before[0].view(), &self.before[1]);
        let (phi, sigma) = (cell.activation(), cell.recurrent_activation());
        let peephole = |gate: Gate| match weights.peephole(gate) {
            Some(p) => wide(p),
            None => Array1::zeros(units),
        };

        // Forward again: what goes into each activation.
        let step = lstm_step_of(cell, self.dropped, self.x, h, c.view());
        let z = |gate: Gate, c: &Array1<f64>| {
            lstm_sum(cell, gate, self.dropped, self.x, h) + peephole(gate) * c
        };
        let z_i = z(Gate::Input, c);
        let z_f = z(Gate::Forget, c) + f64::from(options.forget_bias);
        let z_c = z(Gate::Cell, c);
        let z_o = z(Gate::Output, &step.c);
        let whole_c = &step.f * c + &step.i * &step.c_tilde;
        let scaled_c = match weights.layer_norm() {
            Some(norm) => Normed::of(whole_c.clone(), norm.epsilon).affine(&norm.state, 0),
            None => whole_c.clone(),
        };

        // h' = clip(o∘ψ(c')·P)
        let psi = cell.output_activation();
        let shown_c = super::activated(psi, step.c.clone());
        let d_shown = match weights.projection() {
            Some(projection) => {
                let (projection, shown) = (wide2(projection), &step.o * &shown_c);
                let d = unclipped(&shown.dot(&projection), options.projection_clip, dh.clone());
                if let Some(found) = &mut found.projection {
                    for (mut row, shown) in found.axis_iter_mut(Axis(0)).zip(&shown) {
                        row.scaled_add(*shown, &d);
                    }
                }
                projection.dot(&d)
            }
            None => dh.clone(),
        };
        let clip = |z: &Array1<f64>, d| unclipped(z, options.clip, d);
        let through = |activation, z: &Array1<f64>, d| {
            clip(z, slope(activation, &clipped(z.clone(), options.clip), d))
        };
        let dz_o = through(sigma, &z_o, &d_shown * &shown_c);
        let mut dc = dc + &slope(psi, &step.c, &d_shown * &step.o);
        dc += &(peephole(Gate::Output) * &dz_o);

        let whole_dc = dc.clone();

        // c' = clip(norm(f∘c + i∘c̃))
        let dc = unclipped(&scaled_c, options.cell_clip, dc);
        let dc = match weights.layer_norm() {
            Some(norm) => {
                let normed = Normed::of(whole_c, norm.epsilon);
                normed.backward(&norm.state, 0, &dc, found.norm_mut("state_norm"))
            }
            None => dc,
        };
        let mut d_i = &dc * &step.c_tilde;
        let d_f = &dc * c;
        let mut dc_before = &dc * &step.f;
        let dz_f = if options.input_forget {
            d_i -= &d_f; // f = 1 − i
            Array1::zeros(units)
        } else {
            through(sigma, &z_f, d_f)
        };
        let dz_i = through(sigma, &z_i, d_i);
        let dz_c = through(phi, &z_c, &dc * &step.i);
        dc_before += &(peephole(Gate::Input) * &dz_i);
        dc_before += &(peephole(Gate::Forget) * &dz_f);
        if let Some(found) = &mut found.peepholes {
            found.row_mut(0).scaled_add(1.0, &(&dz_i * c));
            found.row_mut(1).scaled_add(1.0, &(&dz_f * c));
            found.row_mut(2).scaled_add(1.0, &(&dz_o * &step.c));
        }
        let (dx, dh) = self.lstm_sums(cell, [dz_i, dz_f, dz_c, dz_o], found);
        (dx, vec![dh, dc_before, whole_dc])
    }

    /// x·W + h·U + b of the gates, and what normalizes them.
    fn lstm_sums(
        &self,
        cell: &LstmCell,
        dz: [Array1<f64>; 4],
        found: &mut CellGradients<f64>,
    ) -> (Array1<f64>, Array1<f64>) {
        let weights = cell.weights();
        let units = weights.units();
        let h = self.before[0].view();
        let seen_x = |gate: Gate| self.dropped.input(gate as usize, self.x);
        let seen_h = |gate: Gate| self.dropped.recurrent(gate as usize, h);
        let from_x = |gate: Gate| seen_x(gate).dot(&wide2(weights.kernel(gate)));
        let from_h = |gate: Gate| seen_h(gate).dot(&wide2(weights.recurrent_kernel(gate)));

        // The gradients by b, by x·W and by h·U.
        let (db, d_from_x, d_from_h) = match weights.layer_norm() {
            None => (joined(dz.clone()), joined(dz.clone()), joined(dz)),
            Some(LayerNorm {
                sums: NormedSums::Gates(norm),
                epsilon,
                ..
            }) => {
                let raw = Gate::ALL.map(|gate| {
                    let b = weights.bias(gate).map_or(Array1::zeros(units), wide);
                    let normed = Normed::of(from_x(gate) + from_h(gate) + b, *epsilon);
                    let first = gate as usize * units;
                    normed.backward(norm, first, &dz[gate as usize], found.norm_mut("norm"))
                });
                (joined(raw.clone()), joined(raw.clone()), joined(raw))
            }
            Some(LayerNorm {
                sums: NormedSums::Products { kernel, recurrent },
                epsilon,
                ..
            }) => {
                let dz = joined(dz);
                let normed = Normed::of(joined(Gate::ALL.map(from_x)), *epsilon);
                let d_x = normed.backward(kernel, 0, &dz, found.norm_mut("kernel_norm"));
                let normed = Normed::of(joined(Gate::ALL.map(from_h)), *epsilon);
                let d_h = normed.backward(recurrent, 0, &dz, found.norm_mut("recurrent_norm"));
                (dz, d_x, d_h)
            }
        };
        let (mut dx, mut dh) = (Array1::zeros(self.x.len()), Array1::zeros(h.len()));
        for gate in Gate::ALL {
            let own = |all: &Array1<f64>| all.slice(s![gate.columns(units)]).to_owned();
            let (d_x, d_h) = (own(&d_from_x), own(&d_from_h));
            let index = gate as usize;
            found.add_bias(0, index, &own(&db));
            found.add_kernel(index, &seen_x(gate), &d_x);
            found.add_recurrent(index, &seen_h(gate), &d_h);
            let d_seen = wide2(weights.kernel(gate)).dot(&d_x);
            dx += &self.dropped.input(index, d_seen.view());
            let d_seen = wide2(weights.recurrent_kernel(gate)).dot(&d_h);
            dh += &self.dropped.recurrent(index, d_seen.view());
        }
        (dx, dh)
    }
}

/// Values less their mean, by their deviation.
struct Normed {
    values: Array1<f64>,
    deviation: f64,
}

impl Normed {
    fn of(z: Array1<f64>, epsilon: f32) -> Self {
        let mean = z.mean().unwrap_or(0.0);
        let variance = z.mapv(|z| (z - mean).powi(2)).mean().unwrap_or(0.0);
        let deviation = (variance + f64::from(epsilon)).sqrt();
        Self {
            values: (z - mean) / deviation,
            deviation,
        }
    }

    /// γ and β from their value `first` on.
    fn affine(&self, norm: &Norm, first: usize) -> Array1<f64> {
        let own = s![first..first + self.values.len()];
        &self.values * &wide(norm.gamma.slice(own)) + wide(norm.beta.slice(own))
    }

    fn backward(
        &self,
        norm: &Norm,
        first: usize,
        d: &Array1<f64>,
        found: Option<(&mut Array1<f64>, &mut Array1<f64>)>,
    ) -> Array1<f64> {
        let own = s![first..first + self.values.len()];
        if let Some((gamma, beta)) = found {
            gamma.slice_mut(own).scaled_add(1.0, &(d * &self.values));
            beta.slice_mut(own).scaled_add(1.0, d);
        }
        let d = d * &wide(norm.gamma.slice(own));
        let mean = d.mean().unwrap_or(0.0);
        let along = (&d * &self.values).mean().unwrap_or(0.0);
        (d - mean - &self.values * along) / self.deviation
    }
}
