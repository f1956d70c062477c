//! The gates of all steps, from the hidden states that the engine computed.

use std::sync::{Arc, Mutex, PoisonError};

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayViewMut2, Axis, s};

use super::{Passage, TraceOptions};
use crate::engine::pool::{Team, threads};
use crate::{Activation, Cell, ForwardError, Gate, GruCell, GruGate, RecurrentLayer};

mod extras;

/// How many pre-activations are computed at a time: 1 MiB of them.
const CHUNK: usize = 1 << 18;

/// So many multiply-adds are done before another thread has woken up.
const WORTH_A_THREAD: usize = 1 << 22;

/// The hidden states of a layer of one cell that returns sequences and repeats what is masked.
pub(super) fn pass(
    layer: &RecurrentLayer,
    inputs: Array3<f32>,
    mask: Option<ArrayView2<'_, bool>>,
    initial_state: Vec<Array2<f32>>,
) -> Result<Passage, ForwardError> {
    let backward = layer.options.go_backwards;
    let (batch, time, _) = inputs.dim();
    let views: Vec<_> = initial_state.iter().map(|state| state.view()).collect();
    let sequence = layer.forward(inputs.view(), mask, Some(&views))?;
    let mut h = match sequence.output.into_sequences() {
        Some(h) if backward => {
            // The engine gives the steps as it read them.
            h.slice_move(s![.., ..;-1, ..])
                .as_standard_layout()
                .into_owned()
        }
        Some(h) => h,
        None => Array3::zeros((batch, time, layer.units())),
    };
    if mask.is_some() {
        // What is put out before the first step that counts is zeros, but the state is not.
        let walk = Walk {
            backward,
            mask,
            time,
        };
        walk.carry(&mut h, &initial_state[0]);
    }
    Ok(Passage {
        cells: Arc::clone(layer.shared_cells()),
        index: 0,
        inputs,
        h,
        initial_state,
        last_states: sequence.states,
        mask: mask.map(|mask| mask.to_owned()),
        reads_backward: backward,
    })
}

/// What the gates of a passage are, and c of an LSTM, in the order of the equations.
pub(super) fn gates(
    passage: &Passage,
    options: &TraceOptions,
) -> (Vec<Array3<f32>>, Option<Array3<f32>>) {
    let cell = passage.cell();
    let (batch, time, _) = passage.inputs.dim();
    let walk = Walk {
        backward: passage.reads_backward,
        mask: passage.mask.as_ref().map(|mask| mask.view()),
        time,
    };
    let before = Before {
        h: &passage.h,
        initial: &passage.initial_state[0],
        backward: passage.reads_backward,
    };
    if let Cell::Lstm(lstm) = cell
        && lstm.has_longer_step()
    {
        let steps = extras::Steps {
            cell: lstm,
            walk: &walk,
            before: &before,
            inputs: &passage.inputs,
        };
        return steps.trace(&passage.initial_state[1], options.pre_activations);
    }
    let (units, gates) = (cell.units(), cell.kind().gates());
    let count = match cell {
        // Its one sum is that of h, which is known.
        Cell::SimpleRnn(_) => 0,
        _ => gates,
    };
    let mut sums = Sums {
        pre_activations: options
            .pre_activations
            .then(|| Array3::zeros((batch, time, gates * units))),
        gates: (0..count)
            .map(|_| Array3::zeros((batch, time, units)))
            .collect(),
    };
    let is_asked = count > 0 || options.pre_activations;
    if is_asked && units > 0 && batch > 0 && time > 0 {
        sums.fill(cell, &passage.inputs, &before);
    }
    walk.clear_masked(&mut sums);
    let mut arrays = sums.gates;
    if let Cell::Lstm(_) = cell {
        let mut c = Array3::zeros((batch, time, units));
        walk.cell_states(&arrays, &passage.initial_state[1], &mut c);
        arrays.push(c);
    }
    (arrays, sums.pre_activations)
}

/// The order in which the steps are read, and which of them count.
struct Walk<'a> {
    backward: bool,
    mask: Option<ArrayView2<'a, bool>>,
    time: usize,
}

impl Walk<'_> {
    fn counts(&self, row: usize, t: usize) -> bool {
        self.mask.is_none_or(|mask| mask[[row, t]])
    }

    fn steps(&self) -> impl Iterator<Item = usize> {
        let (backward, time) = (self.backward, self.time);
        (0..time).map(move |read| if backward { time - 1 - read } else { read })
    }

    /// Makes masked steps hold the state before them.
    fn carry(&self, h: &mut Array3<f32>, initial: &Array2<f32>) {
        for (row, mut h) in h.outer_iter_mut().enumerate() {
            let mut state = initial.row(row).to_owned();
            for t in self.steps() {
                match self.counts(row, t) {
                    true => state.assign(&h.row(t)),
                    false => h.row_mut(t).assign(&state),
                }
            }
        }
    }

    /// Nothing is computed where a step is masked, whatever stands there in the input.
    fn clear_masked(&self, sums: &mut Sums) {
        let Some(mask) = self.mask else { return };
        for array in sums.gates.iter_mut().chain(&mut sums.pre_activations) {
            for (mut step, counts) in array.lanes_mut(Axis(2)).into_iter().zip(mask) {
                if !counts {
                    step.fill(0.0);
                }
            }
        }
    }

    /// `c' = f∘c + i∘c̃`, step after step.
    fn cell_states(&self, gates: &[Array3<f32>], initial: &Array2<f32>, c: &mut Array3<f32>) {
        let [i, f, c_tilde, _] =
            [Gate::Input, Gate::Forget, Gate::Cell, Gate::Output].map(|gate| &gates[gate as usize]);
        for (row, mut c) in c.outer_iter_mut().enumerate() {
            let mut state = initial.row(row).to_owned();
            for t in self.steps() {
                if self.counts(row, t) {
                    let step = s![row, t, ..];
                    ndarray::Zip::from(&mut state)
                        .and(i.slice(step))
                        .and(f.slice(step))
                        .and(c_tilde.slice(step))
                        .for_each(|c, i, f, c_tilde| *c = f * *c + i * c_tilde);
                }
                c.row_mut(t).assign(&state);
            }
        }
    }
}

/// The hidden state that each step read.
struct Before<'a> {
    h: &'a Array3<f32>,
    initial: &'a Array2<f32>,
    backward: bool,
}

impl Before<'_> {
    /// Writes those of the steps from `first` on, where the steps of all sequences are counted one
    /// after the other.
    fn copy(&self, first: usize, mut out: ArrayViewMut2<'_, f32>) {
        let time = self.h.dim().1;
        for (n, mut out) in out.outer_iter_mut().enumerate() {
            let (row, t) = ((first + n) / time, (first + n) % time);
            let before = match self.backward {
                false => t.checked_sub(1),
                true => Some(t + 1).filter(|t| *t < time),
            };
            match before {
                Some(before) => out.assign(&self.h.slice(s![row, before, ..])),
                None => out.assign(&self.initial.row(row)),
            }
        }
    }
}

/// The sums that go into the gates, and the gates, `(batch, time, units)` each.
struct Sums {
    pre_activations: Option<Array3<f32>>,
    gates: Vec<Array3<f32>>,
}

/// Some steps, and where what is computed of them goes.
struct Stretch<'a> {
    first: usize,
    count: usize,
    pre_activations: Option<&'a mut [f32]>,
    gates: Vec<&'a mut [f32]>,
}

impl Sums {
    /// Computes everything, some steps at a time, on as many threads as there are.
    fn fill(&mut self, cell: &Cell, inputs: &Array3<f32>, before: &Before<'_>) {
        let (batch, time, features) = inputs.dim();
        let steps = batch * time;
        let units = cell.units();
        let columns = cell.kind().gates() * units;
        let Ok(inputs) = inputs.view().into_shape_with_order((steps, features)) else {
            return; // it is in standard layout
        };
        let work = steps
            .saturating_mul(columns)
            .saturating_mul(features + units);
        let most = if work < WORTH_A_THREAD { 1 } else { threads() };
        let rows = (CHUNK / columns).clamp(1, steps.div_ceil(most));
        let stretches = Mutex::new(self.stretches(steps, rows, columns, units));
        let next = || {
            let mut left = stretches.lock().unwrap_or_else(PoisonError::into_inner);
            left.pop()
        };
        let team = Team::gather(most.min(steps.div_ceil(rows)));
        team.run(&|_| {
            let mut z = Array2::zeros((rows, columns));
            let mut h = Array2::zeros((rows, units));
            let mut scratch = match cell {
                Cell::Gru(_) => Array2::zeros((rows, columns)),
                _ => Array2::zeros((0, 0)),
            };
            while let Some(stretch) = next() {
                let Stretch { first, count, .. } = stretch;
                let x = inputs.slice(s![first..first + count, ..]);
                let mut z = z.slice_mut(s![..count, ..]);
                before.copy(first, h.slice_mut(s![..count, ..]));
                let h = h.slice(s![..count, ..]);
                match cell {
                    Cell::Lstm(cell) => {
                        let weights = cell.weights();
                        let kernels = (weights.fused_kernel(), weights.fused_recurrent_kernel());
                        let bias = cell.whole_bias();
                        sums(kernels, bias.as_deref().map(ArrayView1::from), x, h, &mut z);
                    }
                    Cell::Gru(cell) => {
                        let scratch = scratch.slice_mut(s![..count, ..]);
                        gru_sums(cell, x, h, &mut z, scratch);
                    }
                    Cell::SimpleRnn(cell) => {
                        let weights = cell.weights();
                        let kernels = (weights.kernel(), weights.recurrent_kernel());
                        sums(kernels, weights.bias(), x, h, &mut z);
                        clipped(z.view_mut(), cell.clip());
                    }
                }
                stretch.take(cell, z.view());
            }
        });
    }

    /// Everything in stretches of so many steps, the last of which may have fewer.
    fn stretches(
        &mut self,
        steps: usize,
        rows: usize,
        columns: usize,
        units: usize,
    ) -> Vec<Stretch<'_>> {
        // They were made in standard layout.
        let mut stretches: Vec<Stretch<'_>> = (0..steps)
            .step_by(rows)
            .map(|first| Stretch {
                first,
                count: rows.min(steps - first),
                pre_activations: None,
                gates: Vec::with_capacity(self.gates.len()),
            })
            .collect();
        if let Some(all) = &mut self.pre_activations {
            let parts = all.as_slice_mut().unwrap_or_default();
            let parts = parts.chunks_mut(rows * columns);
            for (stretch, part) in stretches.iter_mut().zip(parts) {
                stretch.pre_activations = Some(part);
            }
        }
        for array in &mut self.gates {
            let parts = array.as_slice_mut().unwrap_or_default();
            for (stretch, part) in stretches.iter_mut().zip(parts.chunks_mut(rows * units)) {
                stretch.gates.push(part);
            }
        }
        stretches
    }
}

impl Stretch<'_> {
    /// The sums of its steps, and the gates that they make.
    fn take(self, cell: &Cell, z: ArrayView2<'_, f32>) {
        if let Some(all) = self.pre_activations {
            all.iter_mut().zip(z).for_each(|(place, z)| *place = *z);
        }
        let units = cell.units();
        for (gate, place) in self.gates.into_iter().enumerate() {
            let own = z.slice(s![.., gate * units..(gate + 1) * units]);
            for (place, own) in place.chunks_exact_mut(units).zip(own.outer_iter()) {
                place.iter_mut().zip(own).for_each(|(place, z)| *place = *z);
            }
            activation(cell, gate).apply_rows(place, units);
        }
    }
}

/// Of the gate that stands at this place in the fused arrays.
fn activation(cell: &Cell, gate: usize) -> Activation {
    match cell {
        Cell::Lstm(cell) if gate == Gate::Cell as usize => cell.activation(),
        Cell::Lstm(cell) => cell.recurrent_activation(),
        Cell::Gru(cell) if gate == GruGate::Candidate as usize => cell.activation(),
        Cell::Gru(cell) => cell.recurrent_activation(),
        Cell::SimpleRnn(cell) => cell.activation(),
    }
}

/// `out += a·b`
fn add_product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, out: &mut ArrayViewMut2<'_, f32>) {
    general_mat_mul(1.0, &a, &b, 1.0, out);
}

/// `z = b + x·W + h·U`
fn sums(
    (kernel, recurrent_kernel): (ArrayView2<'_, f32>, ArrayView2<'_, f32>),
    bias: Option<ArrayView1<'_, f32>>,
    x: ArrayView2<'_, f32>,
    h: ArrayView2<'_, f32>,
    z: &mut ArrayViewMut2<'_, f32>,
) {
    match bias {
        Some(bias) => z.assign(&bias),
        None => z.fill(0.0),
    }
    add_product(x, kernel, z);
    add_product(h, recurrent_kernel, z);
}

/// The columns z r h; those of h need r, which is computed here for that.
fn gru_sums(
    cell: &GruCell,
    x: ArrayView2<'_, f32>,
    h: ArrayView2<'_, f32>,
    z: &mut ArrayViewMut2<'_, f32>,
    mut recurrent: ArrayViewMut2<'_, f32>,
) {
    let weights = cell.weights();
    let units = weights.units();
    z.fill(0.0);
    recurrent.fill(0.0);
    if let Some(bias) = weights.fused_bias() {
        z.assign(&bias.row(0));
        if bias.nrows() > 1 {
            recurrent.assign(&bias.row(1));
        }
    }
    add_product(x, weights.fused_kernel(), z);
    let gates = s![.., ..2 * units];
    if cell.reset_after() {
        add_product(h, weights.fused_recurrent_kernel(), &mut recurrent);
    } else {
        let of_gates = weights.fused_recurrent_kernel().slice_move(gates);
        add_product(h, of_gates, &mut recurrent.slice_mut(gates));
    }
    let mut of_gates = z.slice_mut(gates);
    of_gates += &recurrent.slice(gates);
    clipped(of_gates, cell.clip());

    let mut r = z.slice(s![.., GruGate::Reset.columns(units)]).to_owned();
    if let Some(r) = r.as_slice_mut() {
        cell.recurrent_activation().apply_rows(r, units);
    }
    let candidate = s![.., GruGate::Candidate.columns(units)];
    let mut z = z.slice_mut(candidate);
    if cell.reset_after() {
        r *= &recurrent.slice(candidate);
        z += &r;
    } else {
        r *= &h;
        add_product(
            r.view(),
            weights.recurrent_kernel(GruGate::Candidate),
            &mut z,
        );
    }
    clipped(z, cell.clip());
}

/// Keeps values between −limit and limit, where there is a limit. A NaN stays one.
fn clipped(mut values: ArrayViewMut2<'_, f32>, limit: Option<f32>) {
    if let Some(limit) = limit {
        values.mapv_inplace(|value| value.clamp(-limit, limit));
    }
}
