//! The equations, written out plainly in `f64`, one gate a line: the oracle of the tests.
//!
//! This is the file to read first. Nothing here is fast; [`RecurrentLayer::forward`] must give
//! the same numbers to the accuracy of `f32`, and tests hold it to that.
//!
//! ```text
//! LSTM        i  = σ(x·W_i + h·U_i + b_i)          how much of the candidate enters the cell
//!             f  = σ(x·W_f + h·U_f + b_f)          how much of the old cell state stays
//!             c̃  = φ(x·W_c + h·U_c + b_c)          the candidate
//!             o  = σ(x·W_o + h·U_o + b_o)          how much of the cell is shown
//!             c' = f∘c + i∘c̃
//!             h' = o∘φ(c')
//!
//! GRU         z  = σ(x·W_z + h·U_z + b_z)          how much of the old hidden state stays
//!             r  = σ(x·W_r + h·U_r + b_r)          how much of it the candidate sees
//!             h̃  = φ(x·W_h + b_h + (r∘h)·U_h)      the candidate, reset_after=False
//!             h̃  = φ(x·W_h + b_h + r∘(h·U_h + b'_h))              reset_after=True
//!             h' = z∘h + (1 − z)∘h̃
//!
//! SimpleRNN   h' = φ(x·W + h·U + b)
//! ```
//!
//! σ is the cell's `recurrent_activation` and φ its `activation`: by default the sigmoid and tanh.
//! With a `clip`, what they are applied to is kept between −clip and clip.
//! What an LSTM may do besides (peepholes, projection, clipping, …) stands at
//! [`LstmOptions`](crate::LstmOptions).

use std::ops::Range;

use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis};

use crate::{
    Activation, Cell, Dropout, Gate, GruCell, GruGate, LayerNorm, LstmCell, Norm, NormedSums,
    RecurrentLayer, SimpleRnnCell,
};

mod activate;
mod backward;
mod dropped;

pub use activate::{activate, activate_backward};
pub use backward::gradients;
use dropped::Dropped;

/// Everything that one step of an LSTM computes, `(units)` each; h of a projected one is
/// `(outputs)`.
///
/// Of a cell without weights, to see what each is:
///
/// ```
/// use ifco_cell::{Activation, LstmCell, LstmWeights, reference::lstm_step};
/// use ndarray::{Array2, array};
///
/// let weights = LstmWeights::new(Array2::zeros((1, 4)), Array2::zeros((1, 4)), None)?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let (x, h, c) = (array![1.0], array![0.0], array![2.0]);
/// let step = lstm_step(&cell, x.view(), h.view(), c.view());
/// assert_eq!((step.i[0], step.f[0], step.c_tilde[0], step.o[0]), (0.5, 0.5, 0.0, 0.5));
/// assert_eq!(step.c[0], 1.0); // f·c + i·c̃
/// assert_eq!(step.h[0], 0.5 * 1f64.tanh()); // o·tanh(c)
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LstmStep {
    /// The input gate.
    pub i: Array1<f64>,
    /// The forget gate.
    pub f: Array1<f64>,
    /// The candidate c̃.
    pub c_tilde: Array1<f64>,
    /// The output gate.
    pub o: Array1<f64>,
    /// The new cell state.
    pub c: Array1<f64>,
    /// The new hidden state, which is the step's output.
    pub h: Array1<f64>,
}

/// One step of an LSTM on one sequence: `x` is `(features)`, `h` and `c` are `(units)`. All
/// [options](crate::LstmOptions) are here; without any it is the six lines above.
///
/// ```
/// use ifco_cell::{Activation, LstmCell, LstmWeights, reference::lstm_step};
/// use ndarray::{Array1, Array2};
///
/// let weights = LstmWeights::new(Array2::zeros((3, 8)), Array2::zeros((2, 8)), None)?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let (x, state) = (Array1::ones(3), Array1::ones(2));
/// let step = lstm_step(&cell, x.view(), state.view(), state.view());
/// // Without weights every gate is half open and the candidate is 0.
/// assert_eq!(step.f[0], 0.5);
/// assert_eq!(step.c[0], 0.5);
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
///
/// # Panics
/// When a length does not fit the cell.
pub fn lstm_step(
    cell: &LstmCell,
    x: ArrayView1<'_, f64>,
    h: ArrayView1<'_, f64>,
    c: ArrayView1<'_, f64>,
) -> LstmStep {
    lstm_step_of(cell, &Dropped::NOTHING, x, h, c)
}

/// [`lstm_step`], with what the masks leave of x and h.
fn lstm_step_of(
    cell: &LstmCell,
    dropped: &Dropped<'_>,
    x: ArrayView1<'_, f64>,
    h: ArrayView1<'_, f64>,
    c: ArrayView1<'_, f64>,
) -> LstmStep {
    let (weights, options) = (cell.weights(), cell.options());
    let phi = |z| activated(cell.activation(), z);
    let sigma = |z| activated(cell.recurrent_activation(), z);
    let z = |gate: Gate| lstm_sum(cell, gate, dropped, x, h);
    let peephole = |gate: Gate, c: ArrayView1<'_, f64>| match weights.peephole(gate) {
        Some(p) => wide(p) * c,
        None => Array1::zeros(weights.units()),
    };
    let clip = |z| clipped(z, options.clip);

    let i = sigma(clip(z(Gate::Input) + peephole(Gate::Input, c)));
    let f = match options.input_forget {
        true => 1.0 - &i,
        false => {
            let z = z(Gate::Forget) + f64::from(options.forget_bias);
            sigma(clip(z + peephole(Gate::Forget, c)))
        }
    };
    let c_tilde = phi(clip(z(Gate::Cell)));
    let c = &f * &c + &i * &c_tilde;
    let c = match weights.layer_norm() {
        Some(norm) => normalized(c, &norm.state, 0..weights.units(), norm.epsilon),
        None => c,
    };
    let c = clipped(c, options.cell_clip);
    let o = sigma(clip(z(Gate::Output) + peephole(Gate::Output, c.view())));
    let h = &o * &activated(cell.output_activation(), c.clone());
    let h = match weights.projection() {
        Some(projection) => clipped(h.dot(&wide2(projection)), options.projection_clip),
        None => h,
    };
    LstmStep {
        i,
        f,
        c_tilde,
        o,
        c,
        h,
    }
}

/// x·W + h·U + b of one gate; with layer normalization, of what it normalizes.
fn lstm_sum(
    cell: &LstmCell,
    gate: Gate,
    dropped: &Dropped<'_>,
    x: ArrayView1<'_, f64>,
    h: ArrayView1<'_, f64>,
) -> Array1<f64> {
    let weights = cell.weights();
    let columns = gate.columns(weights.units());
    let b = weights
        .bias(gate)
        .map_or(Array1::zeros(weights.units()), wide);
    let from_x = |gate: Gate| {
        let x = dropped.input(gate as usize, x);
        x.dot(&wide2(weights.kernel(gate)))
    };
    let from_h = |gate: Gate| {
        let h = dropped.recurrent(gate as usize, h);
        h.dot(&wide2(weights.recurrent_kernel(gate)))
    };
    let Some(LayerNorm { sums, epsilon, .. }) = weights.layer_norm() else {
        return from_x(gate) + from_h(gate) + b;
    };
    match sums {
        NormedSums::Gates(norm) => {
            let z = from_x(gate) + from_h(gate) + b;
            normalized(z, norm, columns, *epsilon)
        }
        // Over the four gates together, of which this one's part is wanted.
        NormedSums::Products { kernel, recurrent } => {
            let all = 0..4 * weights.units();
            let z = normalized(joined(Gate::ALL.map(from_x)), kernel, all.clone(), *epsilon)
                + normalized(joined(Gate::ALL.map(from_h)), recurrent, all, *epsilon);
            z.slice(ndarray::s![columns]).to_owned() + b
        }
    }
}

/// The gates side by side.
fn joined(gates: [Array1<f64>; 4]) -> Array1<f64> {
    gates.iter().flatten().copied().collect()
}

/// `(z − mean) / sqrt(variance + ε)·γ + β`, with a part of γ and β.
fn normalized(z: Array1<f64>, norm: &Norm, part: Range<usize>, epsilon: f32) -> Array1<f64> {
    let mean = z.mean().unwrap_or(0.0);
    let variance = z.mapv(|z| (z - mean).powi(2)).mean().unwrap_or(0.0);
    let gamma = wide(norm.gamma.slice(ndarray::s![part.clone()]));
    let beta = wide(norm.beta.slice(ndarray::s![part]));
    (z - mean) / (variance + f64::from(epsilon)).sqrt() * gamma + beta
}

/// Between −limit and limit, where there is a limit. A NaN stays one.
fn clipped(z: Array1<f64>, limit: Option<f32>) -> Array1<f64> {
    match limit.map(f64::from) {
        Some(limit) => z.mapv_into(|z| z.clamp(-limit, limit)),
        None => z,
    }
}

/// Everything that one step of a GRU computes, `(units)` each.
///
/// See [`gru_step`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct GruStep {
    /// The update gate.
    pub z: Array1<f64>,
    /// The reset gate.
    pub r: Array1<f64>,
    /// The candidate h̃.
    pub h_tilde: Array1<f64>,
    /// The new hidden state, which is the step's output.
    pub h: Array1<f64>,
}

/// One step of a GRU on one sequence: `x` is `(features)`, `h` is `(units)`.
///
/// # Panics
/// When a length does not fit the cell.
///
/// ```
/// use ifco_cell::{Activation, GruCell, GruWeights, reference::gru_step};
/// use ndarray::{Array2, array};
///
/// let weights = GruWeights::new(Array2::zeros((1, 3)), Array2::zeros((1, 3)), None)?;
/// let cell = GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, true)?;
/// let step = gru_step(&cell, array![1.0].view(), array![4.0].view());
/// // Without weights half of h stays, and the candidate is 0.
/// assert_eq!((step.z[0], step.h_tilde[0], step.h[0]), (0.5, 0.0, 2.0));
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
pub fn gru_step(cell: &GruCell, x: ArrayView1<'_, f64>, h: ArrayView1<'_, f64>) -> GruStep {
    gru_step_of(cell, &Dropped::NOTHING, x, h)
}

/// [`gru_step`], with what the masks leave of x and of the h that the gates see; the h that stays
/// is whole.
fn gru_step_of(
    cell: &GruCell,
    dropped: &Dropped<'_>,
    x: ArrayView1<'_, f64>,
    h: ArrayView1<'_, f64>,
) -> GruStep {
    let weights = cell.weights();
    let phi = |z| activated(cell.activation(), z);
    let sigma = |z| activated(cell.recurrent_activation(), z);
    // Row 0 of the bias belongs to the input, row 1 (with reset_after) to the recurrent product.
    let b = |row: usize, gate: GruGate| match weights.bias(gate) {
        Some(bias) if row < bias.nrows() => wide(bias.row(row)),
        _ => Array1::zeros(weights.units()),
    };
    let input = |gate: GruGate| {
        let x = dropped.input(gate as usize, x);
        x.dot(&wide2(weights.kernel(gate))) + b(0, gate)
    };
    let seen_h = |gate: GruGate| dropped.recurrent(gate as usize, h);
    let recurrent =
        |h: Array1<f64>, gate: GruGate| h.dot(&wide2(weights.recurrent_kernel(gate))) + b(1, gate);
    let clip = |z| clipped(z, cell.clip());
    let of_gate = |gate: GruGate| sigma(clip(input(gate) + recurrent(seen_h(gate), gate)));

    let z = of_gate(GruGate::Update);
    let r = of_gate(GruGate::Reset);
    let seen = if cell.reset_after() {
        &r * &recurrent(seen_h(GruGate::Candidate), GruGate::Candidate)
    } else {
        recurrent(&r * &seen_h(GruGate::Candidate), GruGate::Candidate)
    };
    let h_tilde = phi(clip(input(GruGate::Candidate) + seen));
    let h = &z * &h + (1.0 - &z) * &h_tilde;
    GruStep { z, r, h_tilde, h }
}

/// One step of a SimpleRNN on one sequence: the new h. `x` is `(features)`, `h` is `(units)`.
///
/// # Panics
/// When a length does not fit the cell.
///
/// ```
/// use ifco_cell::{Activation, SimpleRnnCell, SimpleRnnWeights, reference::simple_rnn_step};
/// use ndarray::array;
///
/// let weights = SimpleRnnWeights::new(array![[2.0]], array![[1.0]], Some(array![0.5]))?;
/// let cell = SimpleRnnCell::new(weights, Activation::Linear);
/// // 3·2 + 4·1 + 0.5
/// assert_eq!(simple_rnn_step(&cell, array![3.0].view(), array![4.0].view()), array![10.5]);
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
pub fn simple_rnn_step(
    cell: &SimpleRnnCell,
    x: ArrayView1<'_, f64>,
    h: ArrayView1<'_, f64>,
) -> Array1<f64> {
    simple_rnn_step_of(cell, &Dropped::NOTHING, x, h)
}

/// [`simple_rnn_step`], with what the masks leave of x and h.
fn simple_rnn_step_of(
    cell: &SimpleRnnCell,
    dropped: &Dropped<'_>,
    x: ArrayView1<'_, f64>,
    h: ArrayView1<'_, f64>,
) -> Array1<f64> {
    let z = simple_rnn_sum(cell, dropped, x, h);
    activated(cell.activation(), clipped(z, cell.clip()))
}

/// x·W + h·U + b
fn simple_rnn_sum(
    cell: &SimpleRnnCell,
    dropped: &Dropped<'_>,
    x: ArrayView1<'_, f64>,
    h: ArrayView1<'_, f64>,
) -> Array1<f64> {
    let weights = cell.weights();
    let b = weights.bias().map_or(Array1::zeros(weights.units()), wide);
    let (x, h) = (dropped.input(0, x), dropped.recurrent(0, h));
    x.dot(&wide2(weights.kernel())) + h.dot(&wide2(weights.recurrent_kernel())) + b
}

/// One step of any cell: its new states, h first. The output is h.
///
/// # Panics
/// When a length or the number of states does not fit the cell.
///
/// ```
/// use ifco_cell::{Activation, Cell, LstmCell, LstmWeights, reference::step};
/// use ndarray::{Array1, Array2};
///
/// let weights = LstmWeights::new(Array2::zeros((3, 8)), Array2::zeros((2, 8)), None)?;
/// let cell = Cell::from(LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid));
/// let states = step(&cell, Array1::ones(3).view(), &[Array1::zeros(2), Array1::ones(2)]);
/// assert_eq!(states.len(), 2); // h and c
/// assert_eq!(states[1], Array1::from_elem(2, 0.5));
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
pub fn step(cell: &Cell, x: ArrayView1<'_, f64>, states: &[Array1<f64>]) -> Vec<Array1<f64>> {
    step_of(cell, &Dropped::NOTHING, x, states)
}

/// [`step`], with what the masks leave of x and h.
fn step_of(
    cell: &Cell,
    dropped: &Dropped<'_>,
    x: ArrayView1<'_, f64>,
    states: &[Array1<f64>],
) -> Vec<Array1<f64>> {
    let h = states[0].view();
    match cell {
        Cell::Lstm(cell) => {
            let LstmStep { h, c, .. } = lstm_step_of(cell, dropped, x, h, states[1].view());
            vec![h, c]
        }
        Cell::Gru(cell) => vec![gru_step_of(cell, dropped, x, h).h],
        Cell::SimpleRnn(cell) => vec![simple_rnn_step_of(cell, dropped, x, h)],
    }
}

/// What [`sequence`] returns.
///
/// See the example there.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceSequence {
    /// The output of every step, in the order read: `(batch, time, units)`.
    pub outputs: Array3<f64>,
    /// The output of the last step: `(batch, units)`.
    pub last: Array2<f64>,
    /// The states after the last step, `(batch, units)` each, in Keras's order.
    pub states: Vec<Array2<f64>>,
}

/// Runs a layer over `inputs` `(batch, time, features)`, one sequence and one step at a time, as
/// [`RecurrentLayer::forward`] does. `return_sequences` is ignored: both outputs are returned.
///
/// # Panics
/// When a shape does not fit.
///
/// ```
/// use ifco_cell::reference::sequence;
/// use ifco_cell::{
///     Activation, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights,
/// };
/// use ndarray::{Array3, array};
///
/// let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let result = sequence(&layer, Array3::ones((1, 3, 1)).view(), None, None);
/// assert_eq!(result.outputs.as_slice().unwrap(), [1.0, 2.0, 3.0]);
/// assert_eq!(result.last, array![[3.0]]);
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
pub fn sequence(
    layer: &RecurrentLayer,
    inputs: ArrayView3<'_, f64>,
    mask: Option<ArrayView2<'_, bool>>,
    initial_state: Option<&[ArrayView2<'_, f64>]>,
) -> ReferenceSequence {
    sequence_with_dropout(layer, inputs, mask, initial_state, &Dropout::default())
}

/// [`sequence`] in training: with dropout masks on what each cell reads and on its h.
///
/// # Panics
/// When a shape does not fit.
///
/// See [`Dropout`] for an example.
pub fn sequence_with_dropout(
    layer: &RecurrentLayer,
    inputs: ArrayView3<'_, f64>,
    mask: Option<ArrayView2<'_, bool>>,
    initial_state: Option<&[ArrayView2<'_, f64>]>,
    dropout: &Dropout,
) -> ReferenceSequence {
    let (batch, time, _) = inputs.dim();
    let units = layer.units();
    let sizes: Vec<usize> = layer.state_sizes().collect();
    let mut outputs = Array3::zeros((batch, time, units));
    let mut last = Array2::zeros((batch, units));
    let mut finals: Vec<_> = sizes.iter().map(|u| Array2::zeros((batch, *u))).collect();

    for row in 0..batch {
        let mut states: Vec<Array1<f64>> = match initial_state {
            Some(initial) => initial.iter().map(|s| s.row(row).to_owned()).collect(),
            None => sizes.iter().map(|u| Array1::zeros(*u)).collect(),
        };
        let mut output = Array1::zeros(units);
        for read in 0..time {
            let t = match layer.options.go_backwards {
                true => time - 1 - read,
                false => read,
            };
            if mask.is_none_or(|mask| mask[[row, t]]) {
                // Through all cells: each one's h is the next one's x.
                output = inputs.slice(ndarray::s![row, t, ..]).to_owned();
                let mut first = 0;
                for (index, cell) in layer.cells().iter().enumerate() {
                    let own = first..first + cell.states();
                    let dropped = Dropped::of(dropout, index, row);
                    let new = step_of(cell, &dropped, output.view(), &states[own.clone()]);
                    output = new[0].clone();
                    states[own].clone_from_slice(&new);
                    first += cell.states();
                }
            } else if layer.options.zero_output_for_mask {
                output.fill(0.0);
            } // else the states stay and the previous output is repeated
            outputs
                .slice_mut(ndarray::s![row, read, ..])
                .assign(&output);
        }
        last.row_mut(row).assign(&output);
        for (all, state) in finals.iter_mut().zip(&states) {
            all.index_axis_mut(Axis(0), row).assign(state);
        }
    }
    ReferenceSequence {
        outputs,
        last,
        states: finals,
    }
}

fn activated(activation: Activation, mut z: Array1<f64>) -> Array1<f64> {
    let mut row = z.to_vec();
    activate(activation, &mut row);
    z.assign(&Array1::from_vec(row));
    z
}

fn wide(values: ArrayView1<'_, f32>) -> Array1<f64> {
    values.mapv(f64::from)
}

fn wide2(values: ArrayView2<'_, f32>) -> Array2<f64> {
    values.mapv(f64::from)
}
