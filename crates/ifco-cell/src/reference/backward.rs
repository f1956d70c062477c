//! Backpropagation through time, written out plainly in `f64`: the oracle of the gradients.
//!
//! Each row of the batch goes forward, keeping what every step started from, and then back. What a
//! step computed is computed again where it is wanted. `d…` is the gradient of the loss by
//! something: `dh` by h.
//!
//! ```text
//! LSTM, from dh and dc of a step's h' and c':
//!   do = dh∘φ(c')         dc += dh∘o∘φ'(c')
//!   di = dc∘c̃            df = dc∘c             dc̃ = dc∘i            dc (before) = dc∘f
//!   dz = di∘σ'(z_i), df∘σ'(z_f), dc̃∘φ'(z_c), do∘σ'(z_o)
//!   dW += x⊗dz            dU += h⊗dz           db += dz
//!   dx = W·dz             dh (before) = U·dz
//! ```

use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, s};

use super::{Dropped, activated, clipped, simple_rnn_sum, step_of, wide, wide2};
use crate::{
    Activation, Cell, CellGradients, Dropout, Gradients, GruCell, GruGate, RecurrentLayer,
    SimpleRnnCell,
};

mod lstm;

/// The gradients of a layer over `inputs` `(batch, time, features)`, given those of its outputs:
/// `d_outputs` `(batch, time, units)` in the order read (only that of the last step read is other
/// than 0 where the layer returns the last output), and `d_states` of the states after it.
///
/// The gradients by each state of each step are always there.
///
/// # Panics
/// When a shape does not fit.
///
/// ```
/// use ifco_cell::{
///     Activation, Dropout, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights,
///     reference::gradients,
/// };
/// use ndarray::{Array3, array};
///
/// let weights = SimpleRnnWeights::new(array![[2.0]], array![[3.0]], None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = 2x + 3h
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let mut d_outputs = Array3::zeros((1, 3, 1));
/// d_outputs[[0, 2, 0]] = 1.0; // of the last h
/// let x = Array3::ones((1, 3, 1));
/// let found =
///     gradients(&layer, x.view(), None, None, &Dropout::default(), d_outputs.view(), None);
/// assert_eq!(found.inputs.as_slice().unwrap(), [2.0 * 9.0, 2.0 * 3.0, 2.0]);
/// assert_eq!(found.initial_states[0], array![[27.0]]);
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
pub fn gradients(
    layer: &RecurrentLayer,
    inputs: ArrayView3<'_, f64>,
    mask: Option<ArrayView2<'_, bool>>,
    initial_states: Option<&[ArrayView2<'_, f64>]>,
    dropout: &Dropout,
    d_outputs: ArrayView3<'_, f64>,
    d_states: Option<&[ArrayView2<'_, f64>]>,
) -> Gradients<f64> {
    let (batch, time, _) = inputs.dim();
    let sizes: Vec<usize> = layer.state_sizes().collect();
    let mut found = Gradients {
        inputs: Array3::zeros(inputs.dim()),
        initial_states: sizes.iter().map(|u| Array2::zeros((batch, *u))).collect(),
        cells: layer.cells().iter().map(CellGradients::zeros).collect(),
        states: Some(
            sizes
                .iter()
                .map(|u| Array3::zeros((batch, time, *u)))
                .collect(),
        ),
    };
    for row in 0..batch {
        let dropped: Vec<_> = (0..layer.cells().len())
            .map(|index| Dropped::of(dropout, index, row))
            .collect();
        let t = |read: usize| match layer.options.go_backwards {
            true => time - 1 - read,
            false => read,
        };
        let counts = |read: usize| mask.is_none_or(|mask| mask[[row, t(read)]]);

        // Forward: what each step starts from.
        let mut states: Vec<Array1<f64>> = match initial_states {
            Some(initial) => initial.iter().map(|s| s.row(row).to_owned()).collect(),
            None => sizes.iter().map(|u| Array1::zeros(*u)).collect(),
        };
        let mut before = Vec::with_capacity(time);
        for read in 0..time {
            before.push(states.clone());
            if counts(read) {
                let mut x = inputs.slice(s![row, t(read), ..]).to_owned();
                let mut first = 0;
                for (cell, dropped) in layer.cells().iter().zip(&dropped) {
                    let own = first..first + cell.states();
                    let new = step_of(cell, dropped, x.view(), &states[own.clone()]);
                    x = new[0].clone();
                    states[own].clone_from_slice(&new);
                    first += cell.states();
                }
            }
        }

        // Back. `shown` is what reaches an output: a masked step repeats an earlier one.
        let mut d: Vec<Array1<f64>> = match d_states {
            Some(given) => given.iter().map(|d| d.row(row).to_owned()).collect(),
            None => sizes.iter().map(|u| Array1::zeros(*u)).collect(),
        };
        let mut shown = Array1::<f64>::zeros(layer.units());
        for read in (0..time).rev() {
            if counts(read) || !layer.options.zero_output_for_mask {
                shown += &d_outputs.slice(s![row, read, ..]);
            }
            if counts(read) {
                // h of the last cell is the output.
                let mut dx = std::mem::replace(&mut shown, Array1::zeros(layer.units()));
                // From the last cell to the first: each one's dx is the h of the one before.
                let mut end = sizes.len();
                for (index, cell) in layer.cells().iter().enumerate().rev() {
                    let first = end - cell.states();
                    d[first] += &dx;
                    keep(&mut found, first..end, &d, row, t(read));
                    let x = match first {
                        0 => inputs.slice(s![row, t(read), ..]).to_owned(),
                        _ => {
                            let below = layer.cells()[index - 1].states();
                            after(&before, &states, read + 1)[first - below].clone()
                        }
                    };
                    let step = Step {
                        dropped: &dropped[index],
                        x: x.view(),
                        before: &before[read][first..end],
                    };
                    let of_cell = &mut found.cells[index];
                    let (next_dx, mut next_d) = step.backward(cell, &d[first..end], of_cell);
                    if let Some(whole) = next_d.drain(cell.states()..).next() {
                        d[end - 1] = whole;
                        keep(&mut found, end - 1..end, &d, row, t(read));
                    }
                    dx = next_dx;
                    d[first..end].clone_from_slice(&next_d);
                    end = first;
                }
                found.inputs.slice_mut(s![row, t(read), ..]).assign(&dx);
            } else {
                keep(&mut found, 0..sizes.len(), &d, row, t(read));
            }
        }
        for (all, d) in found.initial_states.iter_mut().zip(&d) {
            all.row_mut(row).assign(d);
        }
    }
    found
}

/// The states after so many steps.
fn after<'a>(
    before: &'a [Vec<Array1<f64>>],
    last: &'a [Array1<f64>],
    steps: usize,
) -> &'a [Array1<f64>] {
    before.get(steps).map_or(last, |states| states)
}

fn keep(
    found: &mut Gradients<f64>,
    which: std::ops::Range<usize>,
    d: &[Array1<f64>],
    row: usize,
    t: usize,
) {
    for index in which {
        if let Some(states) = &mut found.states {
            states[index].slice_mut(s![row, t, ..]).assign(&d[index]);
        }
    }
}

/// One step of one cell, that goes back.
struct Step<'a, 'b> {
    dropped: &'a Dropped<'b>,
    x: ArrayView1<'a, f64>,
    /// The states that it started from.
    before: &'a [Array1<f64>],
}

impl Step<'_, '_> {
    /// From the gradients by the new states to those by x and by the old ones; those by the weights
    /// are added to `found`. Of an LSTM, last, also that by the new c with what comes through h.
    fn backward(
        &self,
        cell: &Cell,
        d: &[Array1<f64>],
        found: &mut CellGradients<f64>,
    ) -> (Array1<f64>, Vec<Array1<f64>>) {
        match cell {
            Cell::Lstm(cell) => self.lstm(cell, &d[0], &d[1], found),
            Cell::Gru(cell) => self.gru(cell, &d[0], found),
            Cell::SimpleRnn(cell) => self.simple_rnn(cell, &d[0], found),
        }
    }

    fn gru(
        &self,
        cell: &GruCell,
        dh: &Array1<f64>,
        found: &mut CellGradients<f64>,
    ) -> (Array1<f64>, Vec<Array1<f64>>) {
        let weights = cell.weights();
        let units = weights.units();
        let h = &self.before[0];
        let b = |row: usize, gate: GruGate| match weights.bias(gate) {
            Some(bias) if row < bias.nrows() => wide(bias.row(row)),
            _ => Array1::zeros(units),
        };
        let seen = |gate: GruGate| self.dropped.recurrent(gate as usize, h.view());
        let from_x = |gate: GruGate| {
            let x = self.dropped.input(gate as usize, self.x);
            x.dot(&wide2(weights.kernel(gate))) + b(0, gate)
        };
        let from_h = |h: &Array1<f64>, gate: GruGate| {
            h.dot(&wide2(weights.recurrent_kernel(gate))) + b(1, gate)
        };
        let of_gate = |gate: GruGate| from_x(gate) + from_h(&seen(gate), gate);
        let candidate = GruGate::Candidate;

        // Forward again.
        let (sum_z, sum_r) = (of_gate(GruGate::Update), of_gate(GruGate::Reset));
        let clip = |z: &Array1<f64>| clipped(z.clone(), cell.clip());
        let through = |activation, z: &Array1<f64>, d| {
            unclipped(z, cell.clip(), slope(activation, &clip(z), d))
        };
        let z = activated(cell.recurrent_activation(), clip(&sum_z));
        let r = activated(cell.recurrent_activation(), clip(&sum_r));
        let recurrent = match cell.reset_after() {
            true => from_h(&seen(candidate), candidate),
            false => from_h(&(&r * &seen(candidate)), candidate),
        };
        let sum_h = match cell.reset_after() {
            true => from_x(candidate) + &r * &recurrent,
            false => from_x(candidate) + &recurrent,
        };
        let h_tilde = activated(cell.activation(), clip(&sum_h));

        // h' = z∘h + (1 − z)∘h̃
        let d_z = dh * &(h - &h_tilde);
        let d_sum_h = through(cell.activation(), &sum_h, dh * &(1.0 - &z));
        let mut d_h = dh * &z;
        let u = wide2(weights.recurrent_kernel(candidate));
        let (d_r, d_recurrent) = if cell.reset_after() {
            let d_recurrent = &d_sum_h * &r;
            let d_seen = u.dot(&d_recurrent);
            d_h += &self.dropped.recurrent(candidate as usize, d_seen.view());
            found.add_recurrent(candidate as usize, &seen(candidate), &d_recurrent);
            (&d_sum_h * &recurrent, d_recurrent)
        } else {
            let d_kept = u.dot(&d_sum_h);
            let d_seen = &d_kept * &r;
            d_h += &self.dropped.recurrent(candidate as usize, d_seen.view());
            found.add_recurrent(candidate as usize, &(&r * &seen(candidate)), &d_sum_h);
            (&d_kept * &seen(candidate), d_sum_h.clone())
        };
        let d_sum_z = through(cell.recurrent_activation(), &sum_z, d_z);
        let d_sum_r = through(cell.recurrent_activation(), &sum_r, d_r);
        for (gate, d) in [(GruGate::Update, &d_sum_z), (GruGate::Reset, &d_sum_r)] {
            let d_seen = wide2(weights.recurrent_kernel(gate)).dot(d);
            d_h += &self.dropped.recurrent(gate as usize, d_seen.view());
            found.add_recurrent(gate as usize, &seen(gate), d);
        }
        let mut dx = Array1::zeros(self.x.len());
        for (gate, d, d_recurrent) in [
            (GruGate::Update, &d_sum_z, &d_sum_z),
            (GruGate::Reset, &d_sum_r, &d_sum_r),
            (candidate, &d_sum_h, &d_recurrent),
        ] {
            let d_seen = wide2(weights.kernel(gate)).dot(d);
            dx += &self.dropped.input(gate as usize, d_seen.view());
            found.add_kernel(gate as usize, &self.dropped.input(gate as usize, self.x), d);
            found.add_bias(0, gate as usize, d);
            if cell.reset_after() {
                found.add_bias(1, gate as usize, d_recurrent);
            }
        }
        (dx, vec![d_h])
    }

    fn simple_rnn(
        &self,
        cell: &SimpleRnnCell,
        dh: &Array1<f64>,
        found: &mut CellGradients<f64>,
    ) -> (Array1<f64>, Vec<Array1<f64>>) {
        let weights = cell.weights();
        let h = self.before[0].view();
        let z = simple_rnn_sum(cell, self.dropped, self.x, h);
        let seen = clipped(z.clone(), cell.clip());
        let dz = unclipped(&z, cell.clip(), slope(cell.activation(), &seen, dh.clone()));
        found.add_kernel(0, &self.dropped.input(0, self.x), &dz);
        found.add_recurrent(0, &self.dropped.recurrent(0, h), &dz);
        found.add_bias(0, 0, &dz);
        let dx = wide2(weights.kernel()).dot(&dz);
        let dh = wide2(weights.recurrent_kernel()).dot(&dz);
        (
            self.dropped.input(0, dx.view()),
            vec![self.dropped.recurrent(0, dh.view())],
        )
    }
}

/// The gradient by z, of the gradient `d` by what an activation makes of z.
fn slope(activation: Activation, z: &Array1<f64>, d: Array1<f64>) -> Array1<f64> {
    let mut d = d.to_vec();
    activation.backward_in_f64(&z.to_vec(), &mut d);
    Array1::from_vec(d)
}

/// The gradient by z of the gradient by what is clipped: none where the limit is passed.
fn unclipped(z: &Array1<f64>, limit: Option<f32>, mut d: Array1<f64>) -> Array1<f64> {
    if let Some(limit) = limit.map(f64::from) {
        for (d, z) in d.iter_mut().zip(z) {
            if z.abs() > limit {
                *d = 0.0;
            }
        }
    }
    d
}

impl CellGradients<f64> {
    /// dW_gate += x⊗dz
    fn add_kernel(&mut self, gate: usize, x: &Array1<f64>, dz: &Array1<f64>) {
        add_outer(&mut self.kernel, gate, x, dz);
    }

    /// dU_gate += h⊗dz
    fn add_recurrent(&mut self, gate: usize, h: &Array1<f64>, dz: &Array1<f64>) {
        add_outer(&mut self.recurrent_kernel, gate, h, dz);
    }

    /// db_gate += dz, in a row of the bias.
    fn add_bias(&mut self, row: usize, gate: usize, dz: &Array1<f64>) {
        if let Some(bias) = &mut self.bias {
            let first = gate * dz.len();
            let columns = *bias.shape().last().unwrap_or(&0);
            let mut own = bias.iter_mut().skip(row * columns + first);
            dz.iter().for_each(|d| {
                if let Some(b) = own.next() {
                    *b += d;
                }
            });
        }
    }
}

fn add_outer(to: &mut Array2<f64>, gate: usize, x: &Array1<f64>, dz: &Array1<f64>) {
    let first = gate * dz.len();
    let mut to = to.slice_mut(s![.., first..first + dz.len()]);
    for (mut to, x) in to.axis_iter_mut(Axis(0)).zip(x) {
        to.scaled_add(*x, dz);
    }
}
