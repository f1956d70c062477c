//! The same forward pass, keeping every gate.
//!
//! ```text
//! LSTM        i f c_tilde o c h
//! GRU         z r h_tilde h
//! SimpleRNN   h
//! ```
//!
//! in the order of the equations ([`reference`](mod@crate::reference)), each `(batch, time, units)`;
//! h of a projected LSTM is `(batch, time, outputs)`.
//! h is what [`RecurrentLayer::forward`] computes; the gates follow from it, for all steps at once:
//! `z = b + x·W + h_before·U`, and the activations of the cell's gates on its columns.

use ndarray::{
    Array, Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, RemoveAxis, concatenate, s,
};

use crate::{CellKind, ForwardError, RecurrentLayer};

mod digest;
mod gates;
mod gradient;
mod passage;

pub use digest::{ArrayDigest, Change, Digest, DigestBuilder, Memory, UnitDigest};
pub use gradient::{Flow, FlowDigest, FlowDigestBuilder, GradientTrace};
pub use passage::Passage;

/// What a trace keeps besides the arrays that every one has.
///
/// ```
/// use ifco_cell::TraceOptions;
/// assert!(!TraceOptions::default().pre_activations);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceOptions {
    /// Keep [`Trace::pre_activations`].
    pub pre_activations: bool,
}

/// Everything that one cell computed over a sequence.
///
/// The time axis is that of the *input*: index t belongs to input step t, whichever way the layer
/// reads, so that the input's labels fit. (A layer with `go_backwards=True` returns its sequence in
/// the order it was read; its trace is the other way round.)
///
/// A masked step computes nothing: its gates and pre-activations are 0, and h and c are the states
/// that are carried over it. [`mask`](Self::mask) tells which steps these are.
///
/// ```
/// use ifco_cell::{
///     Activation, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions, TraceOptions,
/// };
/// use ndarray::{Array, Array2, Array3};
///
/// let (features, units) = (3, 2);
/// let weights = LstmWeights::new(
///     Array2::zeros((features, 4 * units)),
///     Array2::zeros((units, 4 * units)),
///     None,
/// )?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
///
/// let x = Array3::zeros((5, 7, features)); // (batch, time, features)
/// let traces = layer.trace(x.view(), None, None, &TraceOptions::default())?;
/// let [trace] = &traces[..] else { panic!("one for each stacked cell") };
/// assert_eq!(trace.names(), ["i", "f", "c_tilde", "o", "c", "h"]);
/// let f = trace.get("f").unwrap();
/// assert_eq!(f.dim(), (5, 7, units));
/// assert_eq!(f[[0, 0, 0]], 0.5); // without weights every gate is half open
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    kind: CellKind,
    /// One for each of the names.
    arrays: Vec<Array3<f32>>,
    /// What the cell took: `(batch, time, features)`. Of a stacked cell, h of the one before.
    pub inputs: Array3<f32>,
    /// The states before the first step read, `(batch, units)`: h, and c for an LSTM.
    pub initial_state: Vec<Array2<f32>>,
    /// Which steps counted, `(batch, time)`; `None` is all of them.
    pub mask: Option<Array2<bool>>,
    /// z: what the activations were applied to, `(batch, time, gates·units)`, in the columns of Keras's
    /// `kernel`: i f c o; z r h of a GRU; the units of a SimpleRNN. Where it was
    /// [asked for](TraceOptions::pre_activations).
    ///
    /// Of a GRU's candidate that is the whole sum, the reset gate included:
    /// `x·W_h + b_h + r∘(h·U_h + b'_h)` with `reset_after=True`,
    /// `x·W_h + b_h + (r∘h)·U_h` without. Of an LSTM with [options](crate::LstmOptions) it is what
    /// comes of them too: normalized, with the peephole and the forget bias, and clipped; of a
    /// forget gate that is coupled to the input gate it is 0.
    pub pre_activations: Option<Array3<f32>>,
    /// Whether the last input step was read first.
    pub reads_backward: bool,
}

impl Trace {
    /// What kind of cell it is of.
    pub fn kind(&self) -> CellKind {
        self.kind
    }

    /// The names of its arrays, in the order of the equations.
    pub fn names(&self) -> &'static [&'static str] {
        self.kind.trace_names()
    }

    /// The array of this name, `(batch, time, units)`; h of a projected LSTM has as many
    /// columns as it puts out. Also what the activations were applied to,
    /// by [its name](CellKind::pre_activations_name), `(batch, time, gates·units)`, where that was
    /// [asked for](TraceOptions::pre_activations).
    pub fn get(&self, name: &str) -> Option<ArrayView3<'_, f32>> {
        if name == self.kind.pre_activations_name() {
            return self.pre_activations.as_ref().map(|sums| sums.view());
        }
        let index = self.names().iter().position(|known| *known == name)?;
        self.arrays.get(index).map(|array| array.view())
    }

    /// Its arrays with their names, in the order of the equations.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, ArrayView3<'_, f32>)> {
        let arrays = self.arrays.iter().map(|array| array.view());
        self.names().iter().copied().zip(arrays)
    }

    /// The hidden states, `(batch, time, units)`: what the cell puts out. Of a projected LSTM
    /// `(batch, time, outputs)`.
    pub fn h(&self) -> ArrayView3<'_, f32> {
        self.arrays[self.arrays.len() - 1].view()
    }

    /// How many sequences, steps and units.
    pub fn dim(&self) -> (usize, usize, usize) {
        self.arrays[0].dim()
    }

    /// Number of sequences.
    pub fn batch(&self) -> usize {
        self.dim().0
    }

    /// Number of steps.
    pub fn time(&self) -> usize {
        self.dim().1
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        self.dim().2
    }

    /// Whether step `t` of sequence `row` counts: false where it is masked.
    pub fn counts(&self, row: usize, t: usize) -> bool {
        let mask = self.mask.as_ref();
        mask.is_none_or(|mask| mask.get([row, t]).copied().unwrap_or(false))
    }

    /// The state `"h"` or `"c"` that step `t` of sequence `row` read, `(units)`: that after the step
    /// before, or the initial one. `None` where there is no such state or step.
    ///
    /// ```
    /// # use ifco_cell::*;
    /// # use ndarray::{Array3, array};
    /// let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
    /// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
    /// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let h = array![[10.0]];
    /// let x = Array3::ones((1, 3, 1));
    /// let traces = layer.trace(x.view(), None, Some(&[h.view()]), &TraceOptions::default())?;
    /// assert_eq!(traces[0].before("h", 0, 0).unwrap()[0], 10.0);
    /// assert_eq!(traces[0].before("h", 0, 1).unwrap()[0], 11.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn before(&self, state: &str, row: usize, t: usize) -> Option<ArrayView1<'_, f32>> {
        let index = self.kind.states().iter().position(|name| *name == state)?;
        let (batch, time, _) = self.dim();
        if row >= batch || t >= time {
            return None;
        }
        let before = match self.reads_backward {
            false => t.checked_sub(1),
            true => Some(t + 1).filter(|t| *t < time),
        };
        match before {
            Some(before) => Some(self.get(state)?.slice_move(s![row, before, ..])),
            None => Some(self.initial_state.get(index)?.row(row)),
        }
    }

    /// The states after the last step read, `(batch, units)`: h, and c for an LSTM. A trace of what
    /// comes next goes on from them.
    pub fn last_states(&self) -> Vec<Array2<f32>> {
        let last = match self.reads_backward {
            false => self.time().checked_sub(1),
            true => Some(0).filter(|_| self.time() > 0),
        };
        let Some(last) = last else {
            return self.initial_state.clone();
        };
        let states = self.kind.states().iter().filter_map(|name| self.get(name));
        states
            .map(|state| state.index_axis(Axis(1), last).to_owned())
            .collect()
    }

    /// The traces of several batches as one, in order. `None` where they are not of one cell, or
    /// there is none.
    pub fn concatenate(mut traces: Vec<Trace>) -> Option<Trace> {
        if traces.len() < 2 {
            return traces.pop();
        }
        let first = &traces[0];
        if traces.iter().any(|trace| trace.kind != first.kind) {
            return None;
        }
        let masks: Vec<Array2<bool>> = match traces.iter().any(|trace| trace.mask.is_some()) {
            false => Vec::new(),
            true => traces
                .iter()
                .map(|trace| match &trace.mask {
                    Some(mask) => mask.clone(),
                    None => Array2::from_elem((trace.batch(), trace.time()), true),
                })
                .collect(),
        };
        let arrays = (0..first.arrays.len())
            .map(|index| joined(traces.iter().map(|trace| trace.arrays.get(index))))
            .collect::<Option<_>>()?;
        let initial_state = (0..first.initial_state.len())
            .map(|index| joined(traces.iter().map(|trace| trace.initial_state.get(index))))
            .collect::<Option<_>>()?;
        Some(Trace {
            kind: first.kind,
            arrays,
            inputs: joined(traces.iter().map(|trace| Some(&trace.inputs)))?,
            initial_state,
            mask: match masks.is_empty() {
                true => None,
                false => Some(joined(masks.iter().map(Some))?),
            },
            pre_activations: match first.pre_activations {
                None => None,
                Some(_) => Some(joined(
                    traces.iter().map(|trace| trace.pre_activations.as_ref()),
                )?),
            },
            reads_backward: first.reads_backward,
        })
    }
}

/// The arrays one below the other; `None` where one is missing or of another shape.
fn joined<'a, A: Clone + 'a, D: RemoveAxis + 'a>(
    arrays: impl Iterator<Item = Option<&'a Array<A, D>>>,
) -> Option<Array<A, D>> {
    let views: Option<Vec<_>> = arrays.map(|array| Some(array?.view())).collect();
    concatenate(Axis(0), &views?).ok()
}

impl RecurrentLayer {
    /// Runs the layer over `inputs` `(batch, time, features)` as [`forward`](Self::forward) does,
    /// and keeps everything: a trace for each of the stacked cells, the first one first.
    ///
    /// It computes in `f32`, whatever the layer's [precision](Self::precision); what the layer
    /// returns (`return_sequences`, `zero_output_for_mask`) is of no matter to it. Memory beyond
    /// the traces themselves does not grow with time or batch, but for one array as large as h.
    ///
    /// # Errors
    /// When a shape does not fit, or the trace is larger than memory can be.
    ///
    /// See [`Trace`] for an example.
    pub fn trace(
        &self,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial_state: Option<&[ArrayView2<'_, f32>]>,
        options: &TraceOptions,
    ) -> Result<Vec<Trace>, ForwardError> {
        let passages = self.pass(inputs, mask, initial_state)?;
        let traces = passages.into_iter();
        Ok(traces.map(|passage| passage.into_trace(options)).collect())
    }
}
