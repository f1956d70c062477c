//! A cell's way through a sequence: all that its gates follow from.

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, s};

use super::{Trace, TraceOptions, gates};
use crate::{
    Cell, ForwardError, Precision, RecurrentLayer, Sequence, SequenceOptions, SequenceOutput,
};

/// What one cell read and put out at every step.
///
/// It is what a [`Trace`] is made of, in a fraction of its memory and time: the gates follow from
/// it ([`gates`](Self::gates)) whenever they are wanted. One passage goes on where another ended,
/// from its [`last_states`](Self::last_states).
///
/// The time axis is that of the input, as with a [`Trace`].
///
/// ```
/// use ifco_cell::{Activation, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights};
/// use ndarray::{Array3, array, s};
///
/// let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
///
/// let x = Array3::ones((1, 5, 1)); // (batch, time, features)
/// let begin = layer.pass(x.slice(s![.., ..3, ..]), None, None)?.remove(0);
/// assert_eq!(begin.h().as_slice(), Some(&[1.0, 2.0, 3.0][..]));
///
/// let states: Vec<_> = begin.last_states().iter().map(|state| state.view()).collect();
/// let end = layer.pass(x.slice(s![.., 3.., ..]), None, Some(&states))?.remove(0);
/// assert_eq!(end.h().as_slice(), Some(&[4.0, 5.0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Passage {
    /// Those of the layer: shared with it.
    pub(super) cells: Arc<[Cell]>,
    /// Which of them this is of.
    pub(super) index: usize,
    pub(super) inputs: Array3<f32>,
    pub(super) h: Array3<f32>,
    pub(super) initial_state: Vec<Array2<f32>>,
    pub(super) last_states: Vec<Array2<f32>>,
    pub(super) mask: Option<Array2<bool>>,
    pub(super) reads_backward: bool,
}

impl Passage {
    /// The cell.
    pub fn cell(&self) -> &Cell {
        &self.cells[self.index]
    }

    /// What it took: `(batch, time, features)`.
    pub fn inputs(&self) -> ArrayView3<'_, f32> {
        self.inputs.view()
    }

    /// The hidden states, `(batch, time, units)`; of a projected LSTM `(batch, time, outputs)`.
    pub fn h(&self) -> ArrayView3<'_, f32> {
        self.h.view()
    }

    /// The states before the first step read, `(batch, units)`: h, and c for an LSTM.
    pub fn initial_state(&self) -> &[Array2<f32>] {
        &self.initial_state
    }

    /// The states after the last step read, `(batch, units)`: h, and c for an LSTM.
    pub fn last_states(&self) -> &[Array2<f32>] {
        &self.last_states
    }

    /// Which steps counted, `(batch, time)`; `None` is all of them.
    pub fn mask(&self) -> Option<ArrayView2<'_, bool>> {
        self.mask.as_ref().map(|mask| mask.view())
    }

    /// Whether all steps counted.
    pub fn is_unmasked(&self) -> bool {
        let mask = self.mask.as_ref();
        mask.is_none_or(|mask| mask.iter().all(|counts| *counts))
    }

    /// Whether the last input step was read first.
    pub fn reads_backward(&self) -> bool {
        self.reads_backward
    }

    /// Computes what a [`Trace`] holds besides h, `(batch, time, units)` each, in the order of its
    /// [names](Trace::names), of which h is the last: `i f c_tilde o c`, `z r h_tilde`, nothing.
    ///
    /// ```
    /// # use ifco_cell::{Activation, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions};
    /// # use ndarray::{Array2, Array3};
    /// # let weights = LstmWeights::new(Array2::zeros((3, 8)), Array2::zeros((2, 8)), None)?;
    /// # let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
    /// # let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let passage = layer.pass(Array3::zeros((1, 7, 3)).view(), None, None)?.remove(0);
    /// let [i, f, c_tilde, o, c] = &passage.gates()[..] else { panic!("an LSTM") };
    /// assert_eq!(f[[0, 0, 0]], 0.5); // without weights every gate is half open
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gates(&self) -> Vec<Array3<f32>> {
        gates::gates(self, &TraceOptions::default()).0
    }

    /// Zeros in the shape of each state of every step, `(batch, time, units)`: the gradients of a
    /// loss that does not depend on them.
    pub fn zero_states(&self) -> Vec<Array3<f32>> {
        let (batch, time, _) = self.h.dim();
        let sizes = self.cell().state_sizes();
        sizes
            .map(|size| Array3::zeros((batch, time, size)))
            .collect()
    }

    /// Computes the whole trace.
    pub fn into_trace(self, options: &TraceOptions) -> Trace {
        let (mut arrays, pre_activations) = gates::gates(&self, options);
        arrays.push(self.h);
        Trace {
            kind: self.cells[self.index].kind(),
            arrays,
            inputs: self.inputs,
            initial_state: self.initial_state,
            mask: self.mask,
            pre_activations,
            reads_backward: self.reads_backward,
        }
    }
}

impl RecurrentLayer {
    /// Runs the layer over `inputs` `(batch, time, features)` as [`forward`](Self::forward) does,
    /// and keeps each cell's way: a passage for each of the stacked cells, the first one first.
    ///
    /// It computes in `f32`, whatever the layer's [precision](Self::precision); what the layer
    /// returns (`return_sequences`, `zero_output_for_mask`) is of no matter to it.
    ///
    /// # Errors
    /// When a shape does not fit, or the trace is larger than memory can be.
    ///
    /// See [`Passage`] for an example.
    pub fn pass(
        &self,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial_state: Option<&[ArrayView2<'_, f32>]>,
    ) -> Result<Vec<Passage>, ForwardError> {
        self.check(inputs, mask, initial_state)?;
        let (batch, time, _) = inputs.dim();
        // In f32 values: all arrays of the widest cell with what it takes.
        let widest = self.cells().iter().map(|cell| {
            let arrays = cell.kind().trace_names().len() + 2 * cell.kind().gates();
            cell.units()
                .max(cell.outputs())
                .saturating_mul(arrays)
                .saturating_add(cell.features())
        });
        self.check_size(inputs.shape(), batch, time, widest.max().unwrap_or(0))?;

        let mut states = initial_state.map(|states| states.iter());
        let mut x = inputs.as_standard_layout().into_owned();
        let mut passages = Vec::with_capacity(self.cells().len());
        for cell in self.cells() {
            let mut layer = match self.cells().len() {
                1 => self.clone(),
                _ => RecurrentLayer::of_cell(cell.clone()),
            };
            layer.options = SequenceOptions {
                return_sequences: true,
                go_backwards: self.options.go_backwards,
                zero_output_for_mask: false,
            };
            layer.set_precision(Precision::F32);
            let own = layer.state_sizes().map(|units| {
                let given = states.as_mut().and_then(|states| states.next());
                given.map_or_else(|| Array2::zeros((batch, units)), |state| state.to_owned())
            });
            let mut passage = gates::pass(&layer, x, mask, own.collect())?;
            // The copy of a stacked cell is not kept.
            passage.cells = Arc::clone(self.shared_cells());
            passage.index = passages.len();
            x = match passages.len() + 1 < self.cells().len() {
                true => passage.h.clone(),
                false => Array3::zeros((0, 0, 0)),
            };
            passages.push(passage);
        }
        Ok(passages)
    }

    /// What [`forward`](Self::forward) returns, from the passage of this layer's one cell over the
    /// same sequence, without computing it again. `None` where it does not follow from it: of
    /// stacked cells, where steps are masked, with another [precision](Self::precision).
    ///
    /// ```
    /// # use ifco_cell::{Activation, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights};
    /// # use ndarray::{Array3, array};
    /// # let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
    /// # let cell = SimpleRnnCell::new(weights, Activation::Linear);
    /// # let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let x = Array3::ones((1, 5, 1));
    /// let passages = layer.pass(x.view(), None, None)?;
    /// let sequence = layer.sequence_of(&passages).unwrap();
    /// assert_eq!(sequence, layer.forward(x.view(), None, None)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sequence_of(&self, passages: &[Passage]) -> Option<Sequence> {
        let [passage] = passages else { return None };
        let is_own = Arc::ptr_eq(&passage.cells, self.shared_cells());
        let backward = self.options.go_backwards;
        let is_same = is_own
            && self.cells().len() == 1
            && backward == passage.reads_backward
            && self.precision() == Precision::F32
            && passage.is_unmasked();
        if !is_same {
            return None;
        }
        let (batch, time, units) = passage.h.dim();
        let output = match self.options.return_sequences {
            true if backward => SequenceOutput::Sequences({
                let read = passage.h.slice(s![.., ..;-1, ..]);
                read.as_standard_layout().into_owned()
            }),
            true => SequenceOutput::Sequences(passage.h.clone()),
            false if time == 0 => SequenceOutput::Last(Array2::zeros((batch, units))),
            false => {
                let last = if backward { 0 } else { time - 1 };
                SequenceOutput::Last(passage.h.index_axis(Axis(1), last).to_owned())
            }
        };
        Some(Sequence {
            output,
            states: passage.last_states.clone(),
        })
    }
}
