//! From the sums of the gates to the new states for any activation, and with a clip of a GRU or
//! SimpleRNN: a row at a time, since some (softmax) look at a whole row.

use crate::cell::clip;
use crate::{Cell, GruCell, LstmCell};

/// The new states of a row. `z`: the sums of the gates, side by side, `units` each; `x`: of a GRU
/// with `reset_after`, the candidate's x·W. `h` and `c` are replaced.
pub(super) fn update(cell: &Cell, z: &mut [f32], x: &[f32], h: &mut [f32], c: &mut [f32]) {
    match cell {
        Cell::Lstm(cell) => lstm(cell, z, h, c),
        Cell::Gru(cell) => gru_reset_after(cell, z, x, h),
        Cell::SimpleRnn(cell) => {
            let z = &mut z[..h.len()];
            clip(z, cell.clip());
            cell.activation().apply(z);
            h.copy_from_slice(z);
        }
    }
}

/// i, f, o = σ(z_i, z_f, z_o);  c̃ = φ(z_c);  c' = f∘c + i∘c̃;  h' = o∘φ(c')
fn lstm(cell: &LstmCell, z: &mut [f32], h: &mut [f32], c: &mut [f32]) {
    let units = h.len();
    let (phi, sigma) = (cell.activation(), cell.recurrent_activation());
    let (i_f, c_o) = z.split_at_mut(2 * units);
    let (c_tilde, o) = c_o.split_at_mut(units);
    sigma.apply_rows(i_f, units);
    phi.apply(c_tilde);
    sigma.apply(o);

    let (i, f) = i_f.split_at_mut(units);
    // The new c goes to i's place too, where φ may have it.
    for (((c, i), f), c_tilde) in c.iter_mut().zip(i.iter_mut()).zip(f).zip(c_tilde) {
        *c = *f * *c + *i * *c_tilde;
        *i = *c;
    }
    phi.apply(i);
    for ((h, o), shown) in h.iter_mut().zip(o).zip(i) {
        *h = *o * *shown;
    }
}

/// z, r = σ(x_z + h_z, x_r + h_r);  h̃ = φ(x_h + r∘h_h);  h' = z∘h + (1 − z)∘h̃
fn gru_reset_after(cell: &GruCell, z: &mut [f32], x: &[f32], h: &mut [f32]) {
    let units = h.len();
    let (z_r, h_tilde) = z.split_at_mut(2 * units);
    clip(z_r, cell.clip());
    cell.recurrent_activation().apply_rows(z_r, units);
    let (z, r) = z_r.split_at_mut(units);
    for ((h_tilde, r), x) in h_tilde.iter_mut().zip(r).zip(x) {
        *h_tilde = *x + *r * *h_tilde;
    }
    let h_tilde = &mut h_tilde[..units];
    clip(h_tilde, cell.clip());
    cell.activation().apply(h_tilde);
    mix(h, z, h_tilde);
}

/// z, r = σ(x_z + h_z, x_r + h_r): `update` becomes z, and `h` what the candidate sees, r∘h. Only
/// of a GRU with `reset_after=False`.
pub(super) fn reset(cell: &Cell, z: &mut [f32], h: &mut [f32], update: &mut [f32]) {
    let Cell::Gru(cell) = cell else { return };
    let units = h.len();
    let z_r = &mut z[..2 * units];
    clip(z_r, cell.clip());
    cell.recurrent_activation().apply_rows(z_r, units);
    let (z, r) = z_r.split_at(units);
    update.copy_from_slice(z);
    h.iter_mut().zip(r).for_each(|(h, r)| *h *= r);
}

/// h̃ = φ(x_h + (r∘h)·U_h);  h' = z∘h + (1 − z)∘h̃: the rest of the step after [`reset`].
pub(super) fn candidate(cell: &Cell, h_tilde: &mut [f32], h: &mut [f32], update: &[f32]) {
    let Cell::Gru(cell) = cell else { return };
    clip(h_tilde, cell.clip());
    cell.activation().apply(h_tilde);
    mix(h, update, h_tilde);
}

/// h' = z∘h + (1 − z)∘h̃
fn mix(h: &mut [f32], z: &[f32], h_tilde: &[f32]) {
    for ((h, z), h_tilde) in h.iter_mut().zip(z).zip(h_tilde) {
        *h = z * *h + (1.0 - z) * h_tilde;
    }
}
