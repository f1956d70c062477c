//! The gates of an LSTM with options: step after step, as some of them see the cell state.

use ndarray::{Array2, Array3, ArrayView1, s};

use super::{Before, CHUNK, Walk, add_product, sums};
use crate::LstmCell;
use crate::engine::extras;

/// All steps of a cell.
pub(super) struct Steps<'a> {
    pub cell: &'a LstmCell,
    pub walk: &'a Walk<'a>,
    pub before: &'a Before<'a>,
    pub inputs: &'a Array3<f32>,
}

impl Steps<'_> {
    /// i, f, c̃, o and c, `(batch, time, units)` each, and where they are wanted the
    /// pre-activations. `initial` is c before the first step.
    pub fn trace(
        &self,
        initial: &Array2<f32>,
        wants_pre_activations: bool,
    ) -> (Vec<Array3<f32>>, Option<Array3<f32>>) {
        let weights = self.cell.weights();
        let (batch, time, _) = self.inputs.dim();
        let units = weights.units();
        let mut arrays = vec![Array3::zeros((batch, time, units)); 5];
        let mut pre_activations =
            wants_pre_activations.then(|| Array3::zeros((batch, time, 4 * units)));
        let bias = match extras::sums_apart(self.cell) {
            true => None,
            false => self.cell.whole_bias(),
        };
        // Some steps of a sequence at a time: the products of all of them, then one by one.
        let chunk = (CHUNK / (4 * units)).clamp(1, time.max(1));
        let mut z = Array2::zeros((chunk, 4 * units));
        let mut from_x = Array2::zeros((chunk, 4 * units));
        let mut h = Array2::zeros((chunk, weights.outputs()));
        let mut pre = vec![0.0; 4 * units];
        for row in 0..batch {
            let mut c = initial.row(row).to_vec();
            let steps: Vec<usize> = self.walk.steps().collect();
            for steps in steps.chunks(chunk) {
                // In the order of time, whichever way they are read.
                let first = steps.iter().copied().min().unwrap_or(0);
                let count = steps.len();
                let x = self.inputs.slice(s![row, first..first + count, ..]);
                let mut h = h.slice_mut(s![..count, ..]);
                self.before.copy(row * time + first, h.view_mut());
                let mut z = z.slice_mut(s![..count, ..]);
                let mut from_x = from_x.slice_mut(s![..count, ..]);
                let (kernel, recurrent) =
                    (weights.fused_kernel(), weights.fused_recurrent_kernel());
                if extras::sums_apart(self.cell) {
                    from_x.fill(0.0);
                    add_product(x, kernel, &mut from_x);
                    z.fill(0.0);
                    add_product(h.view(), recurrent, &mut z);
                } else {
                    let bias = bias.as_deref().map(ArrayView1::from);
                    sums((kernel, recurrent), bias, x, h.view(), &mut z);
                }
                for &t in steps {
                    if self.walk.counts(row, t) {
                        let (mut z, mut x) = (z.row_mut(t - first), from_x.row_mut(t - first));
                        let (Some(z), Some(x)) = (z.as_slice_mut(), x.as_slice_mut()) else {
                            continue; // they were made in standard layout
                        };
                        extras::sums(self.cell, z, x);
                        extras::gates(self.cell, z, &mut c, Some(&mut pre));
                        for (array, gate) in arrays.iter_mut().zip(z.chunks_exact(units)) {
                            array
                                .slice_mut(s![row, t, ..])
                                .assign(&ArrayView1::from(gate));
                        }
                        if let Some(all) = &mut pre_activations {
                            all.slice_mut(s![row, t, ..])
                                .assign(&ArrayView1::from(&pre));
                        }
                    }
                    arrays[4]
                        .slice_mut(s![row, t, ..])
                        .assign(&ArrayView1::from(&c));
                }
            }
        }
        (arrays, pre_activations)
    }
}
