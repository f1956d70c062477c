//! The way back, kept: the gradient of a loss by every state of every step, beside the trace.
//!
//! ```text
//! LSTM        dh dc forget_product
//! GRU         dh update_product
//! SimpleRNN   dh
//! ```
//!
//! dh and dc are ∂L/∂h_t and ∂L/∂c_t, whole: along every way from step t to the loss. One of these
//! ways is the constant error carousel of Hochreiter and Schmidhuber, *Long Short-Term Memory*
//! (1997), with the forget gate of Gers, Schmidhuber and Cummins, *Learning to Forget* (2000): from
//! a cell state to the next it multiplies by the forget gate alone,
//!
//! ```text
//! ∂c_T/∂c_t along c  =  f_{t+1}∘f_{t+2}∘…∘f_T
//! ```
//!
//! which `forget_product` holds for each t, T being the last step. For h' = z∘h + (1 − z)∘h̃ it is
//! the product of update gates.

use ndarray::{Array2, Array3, ArrayView3, ArrayViewMut1, s};

use super::Trace;
use crate::CellKind;

mod digest;

pub use digest::{Flow, FlowDigest, FlowDigestBuilder};

/// A trace with the gradients of a loss by the states.
///
/// The time axis is that of the input, as with a [`Trace`].
///
/// ```
/// use ifco_cell::{
///     Activation, BackwardOptions, Dropout, GradientTrace, RecurrentLayer, SequenceGradient,
///     SequenceOptions, SimpleRnnCell, SimpleRnnWeights, TraceOptions,
/// };
/// use ndarray::{Array3, array};
///
/// let weights = SimpleRnnWeights::new(array![[2.0]], array![[0.5]], None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = 2x + h/2
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let x = Array3::ones((1, 4, 1));
/// let trace = layer.trace(x.view(), None, None, &TraceOptions::default())?.remove(0);
///
/// let (_, tape) = layer.forward_for_training(x.view(), None, None, &Dropout::default())?;
/// let (of_output, keep) = (array![[1.0]], BackwardOptions { states: true, ..BackwardOptions::default() });
/// let of_output = SequenceGradient::Last(of_output.view()); // of the last h itself
/// let states = tape.backward_with(&layer, of_output, None, &keep)?.states.unwrap();
///
/// let gradient = GradientTrace::new(trace, states).unwrap();
/// assert_eq!(gradient.dh().as_slice().unwrap(), [0.125, 0.25, 0.5, 1.0]);
/// let half_life = gradient.digest().flow("dh").unwrap().half_lives[0];
/// assert!((half_life - 1.0).abs() < 1e-6); // half of it is gone after each step back
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GradientTrace {
    /// What the cell computed.
    pub trace: Trace,
    /// By each state, in Keras's order: h, and c for an LSTM.
    states: Vec<Array3<f32>>,
}

impl GradientTrace {
    /// Of a trace, and the gradients by each state after each step, as
    /// [`Gradients::states`](crate::Gradients::states) has them, h first. `None` where these have
    /// not the shapes of the trace's states.
    pub fn new(trace: Trace, states: Vec<Array3<f32>>) -> Option<Self> {
        let names = trace.kind().states();
        let fits = states.len() == names.len()
            && names.iter().zip(&states).all(|(name, states)| {
                let state = trace.get(name);
                state.is_some_and(|state| state.dim() == states.dim())
            });
        fits.then_some(Self { trace, states })
    }

    /// The names of its arrays: those of the kind's states with a `d` before them, and the
    /// [product of the gates](Trace::carousel), where there is one.
    pub fn names(kind: CellKind) -> &'static [&'static str] {
        match kind {
            CellKind::Lstm => &["dh", "dc", "forget_product"],
            CellKind::Gru => &["dh", "update_product"],
            CellKind::SimpleRnn => &["dh"],
        }
    }

    /// ∂L/∂h after each step, `(batch, time, units)`; of a projected LSTM
    /// `(batch, time, outputs)`. A masked step has that of the state which it carries on.
    pub fn dh(&self) -> ArrayView3<'_, f32> {
        self.states[0].view()
    }

    /// ∂L/∂c after each step, `(batch, time, units)`, of an LSTM: with what comes through h.
    pub fn dc(&self) -> Option<ArrayView3<'_, f32>> {
        self.states.get(1).map(|dc| dc.view())
    }

    /// Its arrays with their [names](Self::names), `(batch, time, units)` each.
    pub fn arrays(&self) -> Vec<(&'static str, Array3<f32>)> {
        let arrays = self.states.iter().cloned().chain(self.trace.carousel());
        let names = Self::names(self.trace.kind()).iter().copied();
        names.zip(arrays).collect()
    }

    /// The gradient in a few numbers.
    ///
    /// See [`GradientTrace`] for an example.
    pub fn digest(&self) -> FlowDigest {
        let mut builder = FlowDigestBuilder::new(self.trace.kind());
        builder.add(self);
        builder.finish()
    }
}

impl Trace {
    /// The constant error carousel: for each step, what the gates alone leave of its state by the
    /// last step read, which is also what they let through of the gradient on its way back.
    /// `(batch, time, units)`: the product of the forget gates (of a GRU: the update gates) of all
    /// steps read after it, without those that are masked. The last step has 1. `None` of a
    /// SimpleRNN.
    ///
    /// A clipped state is not accounted for.
    ///
    /// ```
    /// # use ifco_cell::*;
    /// # use ndarray::{Array2, Array3, array};
    /// // One unit without weights: its forget gate is what the bias makes it.
    /// let bias = array![0.0, f32::ln(3.0), 0.0, 0.0]; // σ(ln 3) = 3/4
    /// let weights = LstmWeights::new(Array2::zeros((1, 4)), Array2::zeros((1, 4)), Some(bias))?;
    /// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
    /// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let x = Array3::zeros((1, 3, 1));
    /// let trace = layer.trace(x.view(), None, None, &TraceOptions::default())?.remove(0);
    /// let kept = trace.carousel().unwrap();
    /// assert_eq!(kept.map(|kept| (kept * 100.0).round()).as_slice().unwrap(), [56.0, 75.0, 100.0]);
    /// assert_eq!(trace.carousel_between(0, 1).unwrap()[[0, 0]], kept[[0, 1, 0]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn carousel(&self) -> Option<Array3<f32>> {
        let gate = self.get(self.keeping()?)?;
        let mut kept = Array3::ones(gate.dim());
        for row in 0..self.batch() {
            // From the step read last to the one read first.
            for read in (1..self.time()).rev() {
                let (before, own) = (self.read(read - 1), self.read(read));
                let (mut to, from) = kept.multi_slice_mut((s![row, before, ..], s![row, own, ..]));
                to.assign(&from);
                self.keep(row, own, &mut to);
            }
        }
        Some(kept)
    }

    /// The same between two steps of the input, `(batch, units)`: the product over the steps read
    /// after `from`, up to and with `to`. `None` of a SimpleRNN, and where there is no such step or
    /// `to` is read before `from`.
    pub fn carousel_between(&self, from: usize, to: usize) -> Option<Array2<f32>> {
        self.keeping()?;
        let (batch, time, units) = self.dim();
        if from >= time || to >= time {
            return None;
        }
        // Reading is its own reverse.
        let (from, to) = (self.read(from), self.read(to));
        if to < from {
            return None;
        }
        let mut kept = Array2::ones((batch, units));
        for (row, mut kept) in kept.outer_iter_mut().enumerate() {
            for read in from + 1..=to {
                self.keep(row, self.read(read), &mut kept);
            }
        }
        Some(kept)
    }

    /// The gate that says how much of the state stays.
    pub(super) fn keeping(&self) -> Option<&'static str> {
        keeping(self.kind())
    }

    /// The input step that is read at this place, counted from 0.
    pub(super) fn read(&self, place: usize) -> usize {
        match self.reads_backward {
            false => place,
            true => self.time() - 1 - place,
        }
    }

    /// Multiplies with the gate of a step, unless that is masked.
    fn keep(&self, row: usize, t: usize, kept: &mut ArrayViewMut1<'_, f32>) {
        let gate = self.keeping().and_then(|gate| self.get(gate));
        if let (true, Some(gate)) = (self.counts(row, t), gate) {
            *kept *= &gate.slice_move(s![row, t, ..]);
        }
    }
}

/// The gate that says how much of the state stays: `f` of an LSTM, `z` of a GRU.
pub(super) fn keeping(kind: CellKind) -> Option<&'static str> {
    match kind {
        CellKind::Lstm => Some("f"),
        CellKind::Gru => Some("z"),
        CellKind::SimpleRnn => None,
    }
}
