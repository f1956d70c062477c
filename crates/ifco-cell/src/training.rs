//! Training: the forward pass that keeps what the backward pass needs, and the gradients.
//!
//! ```
//! use ifco_cell::{
//!     Activation, Dropout, RecurrentLayer, SequenceGradient, SequenceOptions, SimpleRnnCell,
//!     SimpleRnnWeights,
//! };
//! use ndarray::{Array3, array};
//!
//! let weights = SimpleRnnWeights::new(array![[2.0]], array![[3.0]], Some(array![0.0]))?;
//! let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = 2x + 3h + b
//! let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
//!
//! let x = Array3::ones((1, 2, 1)); // (batch, time, features)
//! let (sequence, tape) =
//!     layer.forward_for_training(x.view(), None, None, &Dropout::default())?;
//! assert_eq!(sequence.output.last().unwrap(), array![[8.0]]);
//!
//! // Of the loss by the output; here the loss is the output itself.
//! let d_output = array![[1.0]];
//! let found = tape.backward(&layer, SequenceGradient::Last(d_output.view()), None)?;
//! assert_eq!(found.inputs.as_slice().unwrap(), [6.0, 2.0]);
//! assert_eq!(found.cells[0].kernel, array![[4.0]]); // 3·x + x
//! assert_eq!(found.cells[0].recurrent_kernel, array![[2.0]]); // h after the first step
//! assert_eq!(found.cells[0].bias.as_ref().unwrap()[[0]], 4.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};

pub use crate::engine::training::TrainingMemory;
use crate::engine::training::{self, Shards};
use crate::{ForwardError, RecurrentLayer, Sequence, SequenceOptions, SequenceOutput, reference};

mod dropout;
mod gradients;

pub use dropout::Dropout;
pub use gradients::{CellGradients, Gradients, NormGradients};

/// The gradient of the loss by what a layer put out.
///
/// ```
/// use ifco_cell::SequenceGradient;
/// use ndarray::Array2;
///
/// let d = Array2::ones((5, 2)); // (batch, units)
/// let gradient = SequenceGradient::Last(d.view());
/// assert!(matches!(gradient, SequenceGradient::Last(_)));
/// ```
#[derive(Debug, Clone, Copy)]
pub enum SequenceGradient<'a> {
    /// Of the last output, `(batch, units)`.
    Last(ArrayView2<'a, f32>),
    /// Of every output, `(batch, time, units)`, in the order in which they were put out.
    Sequences(ArrayView3<'a, f32>),
    /// The loss does not see the output, but only the states.
    None,
}

/// What a forward pass keeps for the way back.
///
/// ```
/// use ifco_cell::TapeOptions;
///
/// assert!(!TapeOptions::default().recompute);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TapeOptions {
    /// Keep the states before every √time-th step alone, and run the steps from there again on the
    /// way back: of a long sequence a fraction of the memory, for a third more work. The gradients
    /// are the same, but those of the weights are summed in another order.
    pub recompute: bool,
}

/// What the backward pass is to give beside the gradients.
///
/// ```
/// use ifco_cell::BackwardOptions;
///
/// let options = BackwardOptions { states: true, ..BackwardOptions::default() };
/// assert!(options.inputs);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackwardOptions {
    /// Keep the gradient by every state of every step, ∂L/∂h_t and ∂L/∂c_t.
    pub states: bool,
    /// Make the gradient by the inputs, a sixth of the work. Without it there are zeros in its place.
    pub inputs: bool,
}

impl Default for BackwardOptions {
    /// The gradients, and no more.
    fn default() -> Self {
        Self {
            states: false,
            inputs: true,
        }
    }
}

/// What a forward pass has kept for the way back.
///
/// Made by [`RecurrentLayer::forward_for_training`]; see the example there.
#[derive(Debug, Clone)]
pub struct Tape {
    options: SequenceOptions,
    /// batch, time, features
    sizes: (usize, usize, usize),
    inputs: Array3<f32>,
    mask: Option<Array2<bool>>,
    initial_states: Option<Vec<Array2<f32>>>,
    dropout: Dropout,
    /// Units of the output, and of each state.
    units: usize,
    state_sizes: Vec<usize>,
    /// What the engine has kept; without it the textbook goes forward again.
    shards: Option<Shards>,
}

impl RecurrentLayer {
    /// Runs the layer as [`forward`](Self::forward) does, and keeps what
    /// [`Tape::backward`] needs.
    ///
    /// The outputs are those of `forward` but for the last bits, where there is no `dropout` and the
    /// layer's [precision](Self::precision) is that of `f32`, in which training always computes. For
    /// that, a layer of other cells than Keras's with their default activations (of a GRU with
    /// `reset_after`) runs forward twice. An LSTM with [options](crate::LstmOptions) that Keras does
    /// not have goes through the [textbook](mod@crate::reference), which is slow.
    ///
    /// # Errors
    /// When a shape does not fit.
    ///
    /// ```
    /// use ifco_cell::{
    ///     Activation, Dropout, GruCell, GruWeights, RecurrentLayer, SequenceGradient,
    ///     SequenceOptions,
    /// };
    /// use ndarray::{Array2, Array3};
    ///
    /// let (features, units) = (3, 2);
    /// let weights = GruWeights::new(
    ///     Array2::from_elem((features, 3 * units), 0.1),
    ///     Array2::from_elem((units, 3 * units), 0.2),
    ///     Some(Array2::zeros((2, 3 * units))),
    /// )?;
    /// let cell = GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, true)?;
    /// let options = SequenceOptions { return_sequences: true, ..SequenceOptions::default() };
    /// let layer = RecurrentLayer::new(vec![cell.into()], options)?;
    ///
    /// let x = Array3::ones((5, 7, features)); // 5 sequences of 7 steps
    /// let (sequence, tape) =
    ///     layer.forward_for_training(x.view(), None, None, &Dropout::default())?;
    /// let outputs = sequence.output.sequences().unwrap();
    ///
    /// // Half the sum of all squares as the loss: its gradient is the outputs themselves.
    /// let found = tape.backward(&layer, SequenceGradient::Sequences(outputs.view()), None)?;
    /// assert_eq!(found.inputs.dim(), (5, 7, features));
    /// assert_eq!(found.cells[0].kernel.dim(), (features, 3 * units));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward_for_training(
        &self,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial_states: Option<&[ArrayView2<'_, f32>]>,
        dropout: &Dropout,
    ) -> Result<(Sequence, Tape), ForwardError> {
        let options = TapeOptions::default();
        self.forward_for_training_with(inputs, mask, initial_states, dropout, &options)
    }

    /// [`forward_for_training`](Self::forward_for_training), with a say in what is kept.
    ///
    /// # Errors
    /// When a shape does not fit.
    ///
    /// ```
    /// # use ifco_cell::*;
    /// # use ndarray::{Array3, array};
    /// # let weights = SimpleRnnWeights::new(array![[0.5]], array![[0.5]], None)?;
    /// # let cell = SimpleRnnCell::new(weights, Activation::Tanh);
    /// # let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let (x, none) = (Array3::ones((1, 100, 1)), Dropout::default());
    /// let (d, less) = (array![[1.0]], TapeOptions { recompute: true });
    /// let (_, all) = layer.forward_for_training(x.view(), None, None, &none)?;
    /// let (_, few) = layer.forward_for_training_with(x.view(), None, None, &none, &less)?;
    /// let d = SequenceGradient::Last(d.view());
    /// let (all, few) = (all.backward(&layer, d, None)?, few.backward(&layer, d, None)?);
    /// assert_eq!(all.inputs, few.inputs); // to the last bit
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward_for_training_with(
        &self,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial_states: Option<&[ArrayView2<'_, f32>]>,
        dropout: &Dropout,
        options: &TapeOptions,
    ) -> Result<(Sequence, Tape), ForwardError> {
        self.check(inputs, mask, initial_states)?;
        dropout.check(self, inputs.dim().0)?;
        let is_known = self.cells().iter().all(training::knows) && !inputs.is_empty();
        let run = is_known.then(|| {
            let recompute = options.recompute;
            Shards::forward(self, inputs, mask, initial_states, dropout, recompute)
        });
        let (shards, found) = run.unzip();
        let is_exact = self.cells().iter().all(training::is_exact) || !dropout.is_none();
        let tape = Tape {
            options: self.options,
            sizes: inputs.dim(),
            // The shards have their own copy.
            inputs: match is_known {
                true => Array3::zeros((0, 0, 0)),
                false => inputs.to_owned(),
            },
            mask: mask.map(|mask| mask.to_owned()),
            initial_states: initial_states
                .map(|states| states.iter().map(|state| state.to_owned()).collect()),
            dropout: dropout.clone(),
            units: self.units(),
            state_sizes: self.state_sizes().collect(),
            shards,
        };
        let sequence = match (found, dropout.is_none()) {
            (Some(found), _) if is_exact => found,
            (_, true) => {
                let mut layer = self.clone();
                layer.set_precision(crate::Precision::F32);
                layer.forward(inputs, mask, initial_states)?
            }
            (_, false) => tape.forward(self),
        };
        Ok((sequence, tape))
    }
}

impl Tape {
    /// The gradients of the loss, given that by the layer's output and, where the loss sees them,
    /// those by the states after the last step, `(batch, units)` each in the order of
    /// [`RecurrentLayer::state_sizes`].
    ///
    /// `layer` is the one that ran, with the same weights.
    ///
    /// # Errors
    /// When a shape does not fit.
    ///
    /// See [`RecurrentLayer::forward_for_training`] for an example.
    pub fn backward(
        &self,
        layer: &RecurrentLayer,
        d_output: SequenceGradient<'_>,
        d_states: Option<&[ArrayView2<'_, f32>]>,
    ) -> Result<Gradients, ForwardError> {
        self.backward_with(layer, d_output, d_states, &BackwardOptions::default())
    }

    /// [`backward`](Self::backward), with more than the gradients.
    ///
    /// # Errors
    /// When a shape does not fit.
    ///
    /// ```
    /// # use ifco_cell::*;
    /// # use ndarray::{Array3, array};
    /// # let weights = SimpleRnnWeights::new(array![[2.0]], array![[3.0]], None)?;
    /// # let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = 2x + 3h
    /// # let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    /// let x = Array3::ones((1, 3, 1));
    /// let (_, tape) = layer.forward_for_training(x.view(), None, None, &Dropout::default())?;
    /// let (d_output, options) = (array![[1.0]], BackwardOptions { states: true, ..BackwardOptions::default() });
    /// let d_output = SequenceGradient::Last(d_output.view());
    /// let found = tape.backward_with(&layer, d_output, None, &options)?;
    /// let d_h = &found.states.unwrap()[0]; // (batch, time, units)
    /// assert_eq!(d_h.as_slice().unwrap(), [9.0, 3.0, 1.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backward_with(
        &self,
        layer: &RecurrentLayer,
        d_output: SequenceGradient<'_>,
        d_states: Option<&[ArrayView2<'_, f32>]>,
        options: &BackwardOptions,
    ) -> Result<Gradients, ForwardError> {
        self.check(layer, d_output, d_states)?;
        if let Some(shards) = &self.shards {
            return Ok(shards.backward(layer, &self.dropout, d_output, d_states, options));
        }
        let (batch, time, _) = self.sizes;
        let mut d_outputs = Array3::<f64>::zeros((batch, time, self.units));
        match d_output {
            SequenceGradient::None => {}
            SequenceGradient::Last(last) => {
                if let Some(read) = time.checked_sub(1) {
                    let wide = last.mapv(f64::from);
                    d_outputs.slice_mut(s![.., read, ..]).assign(&wide);
                }
            }
            SequenceGradient::Sequences(all) => d_outputs.assign(&all.mapv(f64::from)),
        }
        let initial = self.initial_states.as_ref().map(|states| wide_all(states));
        let d_states = d_states.map(wide_all);
        let mut layer = layer.clone();
        layer.options = self.options;
        let found = reference::gradients(
            &layer,
            self.inputs.mapv(f64::from).view(),
            self.mask.as_ref().map(|mask| mask.view()),
            views(&initial).as_deref(),
            &self.dropout,
            d_outputs.view(),
            views(&d_states).as_deref(),
        );
        let mut found = found.narrow();
        found.states = found.states.filter(|_| options.states);
        Ok(found)
    }

    /// The forward pass with dropout.
    fn forward(&self, layer: &RecurrentLayer) -> Sequence {
        let initial = self.initial_states.as_ref().map(|states| wide_all(states));
        let found = reference::sequence_with_dropout(
            layer,
            self.inputs.mapv(f64::from).view(),
            self.mask.as_ref().map(|mask| mask.view()),
            views(&initial).as_deref(),
            &self.dropout,
        );
        let narrow = |state: &Array2<f64>| state.mapv(|value| value as f32);
        Sequence {
            output: match self.options.return_sequences {
                true => SequenceOutput::Sequences(found.outputs.mapv(|value| value as f32)),
                false => SequenceOutput::Last(narrow(&found.last)),
            },
            states: found.states.iter().map(narrow).collect(),
        }
    }

    fn check(
        &self,
        layer: &RecurrentLayer,
        d_output: SequenceGradient<'_>,
        d_states: Option<&[ArrayView2<'_, f32>]>,
    ) -> Result<(), ForwardError> {
        let refuse = |what: &str, found: &[usize], expected: String| ForwardError {
            what: what.to_string(),
            found: found.to_vec(),
            expected,
        };
        let (batch, time, features) = self.sizes;
        let sizes = &self.state_sizes;
        if layer.features() != features || !layer.state_sizes().eq(sizes.iter().copied()) {
            return Err(refuse(
                "layer",
                &[layer.features(), layer.units()],
                format!("the one that ran: {features} features, states of {sizes:?}"),
            ));
        }
        let units = self.units;
        let sequences = self.options.return_sequences;
        let (found, fits) = match &d_output {
            SequenceGradient::None => (vec![], true),
            SequenceGradient::Last(last) => (
                last.shape().to_vec(),
                !sequences && last.dim() == (batch, units),
            ),
            SequenceGradient::Sequences(all) => (
                all.shape().to_vec(),
                sequences && all.dim() == (batch, time, units),
            ),
        };
        if !fits {
            let expected = match sequences {
                true => format!("({batch}, {time}, {units}): that of SequenceGradient::Sequences"),
                false => format!("({batch}, {units}): that of SequenceGradient::Last"),
            };
            return Err(refuse("d_output", &found, expected));
        }
        let Some(d_states) = d_states else {
            return Ok(());
        };
        if d_states.len() != sizes.len() {
            let expected = format!("{}: one for each state", sizes.len());
            return Err(refuse("d_states", &[d_states.len()], expected));
        }
        for (k, (d, size)) in d_states.iter().zip(sizes).enumerate() {
            if d.dim() != (batch, *size) {
                let expected = format!("({batch}, {size}): (batch, units)");
                return Err(refuse(&format!("d_states[{k}]"), d.shape(), expected));
            }
        }
        Ok(())
    }
}

fn wide_all<S: ndarray::Data<Elem = f32>>(
    states: &[ndarray::ArrayBase<S, ndarray::Ix2>],
) -> Vec<Array2<f64>> {
    let wide = |state: &ndarray::ArrayBase<S, ndarray::Ix2>| state.mapv(f64::from);
    states.iter().map(wide).collect()
}

fn views(states: &Option<Vec<Array2<f64>>>) -> Option<Vec<ArrayView2<'_, f64>>> {
    let states = states.as_ref()?;
    Some(states.iter().map(|state| state.view()).collect())
}
