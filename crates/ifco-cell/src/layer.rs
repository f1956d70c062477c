//! The sequence around the cell: direction, masks, states and what is returned.
//!
//! Keras's semantics, where they are easy to get wrong:
//!
//! - `go_backwards` reads from the end and returns the sequence as it was read: the first output
//!   belongs to the last step.
//! - A masked step keeps all states and repeats the previous *output*, which before the first
//!   unmasked step is zeros even where `initial_state` is not; with `zero_output_for_mask` it
//!   outputs zeros. The last output follows the same rule, so that with `zero_output_for_mask` a
//!   sequence whose last step is masked returns zeros.
//! - In stacked cells the mask covers the whole stack at once.

use std::sync::{Arc, OnceLock};

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use crate::engine::{self, Packed, Stepper};
use crate::{Cell, Precision, WeightsError};

/// How a recurrent layer reads and answers: Keras's arguments of the same names.
///
/// ```
/// use ifco_cell::SequenceOptions;
///
/// let options = SequenceOptions {
///     return_sequences: true,
///     ..SequenceOptions::default()
/// };
/// assert!(!options.go_backwards);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequenceOptions {
    /// Return the output of every step instead of the last one's.
    pub return_sequences: bool,
    /// Read the sequence from its end; a returned sequence is in the order it was read.
    pub go_backwards: bool,
    /// A masked step outputs zeros instead of repeating the previous output.
    pub zero_output_for_mask: bool,
}

/// A recurrent layer: one cell, or several stacked (each step goes through all of them, as
/// with Keras's `StackedRNNCells`).
///
/// ```
/// use ifco_cell::{
///     Activation, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions, SequenceOutput,
/// };
/// use ndarray::{Array1, Array2, Array3};
///
/// let (features, units) = (3, 2);
/// let weights = LstmWeights::new(
///     Array2::zeros((features, 4 * units)),
///     Array2::zeros((units, 4 * units)),
///     Some(Array1::ones(4 * units)),
/// )?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
///
/// let inputs = Array3::zeros((5, 7, features)); // 5 sequences of 7 steps
/// let sequence = layer.forward(inputs.view(), None, None)?;
/// assert_eq!(sequence.output.last().unwrap().dim(), (5, units));
/// assert_eq!(sequence.states.len(), 2); // h and c
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RecurrentLayer {
    /// Shared with the sessions.
    cells: Arc<[Cell]>,
    /// The weights as the engine reads them, from the first use on; clones share them.
    packed: Arc<OnceLock<Packed>>,
    precision: Precision,
    /// How the sequence is read and what is returned.
    pub options: SequenceOptions,
}

/// What a recurrent layer returns.
///
/// ```
/// use ifco_cell::{
///     Activation, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights,
/// };
/// use ndarray::{Array2, Array3};
///
/// let weights = SimpleRnnWeights::new(Array2::ones((1, 1)), Array2::ones((1, 1)), None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
///
/// let x = Array3::ones((1, 4, 1)); // (batch, time, features)
/// let sequence = layer.forward(x.view(), None, None)?;
/// assert_eq!(sequence.output.last().unwrap()[[0, 0]], 4.0);
/// assert_eq!(sequence.states[0][[0, 0]], 4.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// The output of the last step, or of every one.
    pub output: SequenceOutput,
    /// The states after the last step, `(batch, units)` each, in Keras's order: for each cell
    /// h, and c for an LSTM. h of a projected LSTM is `(batch, outputs)`.
    pub states: Vec<Array2<f32>>,
}

/// The output of a recurrent layer.
///
/// ```
/// use ifco_cell::SequenceOutput;
/// use ndarray::Array2;
///
/// let output = SequenceOutput::Last(Array2::zeros((5, 2)));
/// assert_eq!(output.last().unwrap().dim(), (5, 2));
/// assert!(output.sequences().is_none());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum SequenceOutput {
    /// `return_sequences=False`: `(batch, units)`.
    Last(Array2<f32>),
    /// `return_sequences=True`: `(batch, time, units)`.
    Sequences(Array3<f32>),
}

impl SequenceOutput {
    /// The output of the last step, `(batch, units)`, where that is what was asked for.
    pub fn last(&self) -> Option<&Array2<f32>> {
        match self {
            SequenceOutput::Last(last) => Some(last),
            SequenceOutput::Sequences(_) => None,
        }
    }

    /// The output of every step, `(batch, time, units)`, where that is what was asked for.
    pub fn sequences(&self) -> Option<&Array3<f32>> {
        match self {
            SequenceOutput::Last(_) => None,
            SequenceOutput::Sequences(sequences) => Some(sequences),
        }
    }

    /// The same, owned.
    pub(crate) fn into_sequences(self) -> Option<Array3<f32>> {
        match self {
            SequenceOutput::Last(_) => None,
            SequenceOutput::Sequences(sequences) => Some(sequences),
        }
    }
}

/// Inputs that do not fit the layer.
///
/// ```
/// use ifco_cell::{
///     Activation, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights,
/// };
/// use ndarray::{Array2, Array3};
///
/// let weights = SimpleRnnWeights::new(Array2::zeros((3, 2)), Array2::zeros((2, 2)), None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Tanh);
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let error = layer.forward(Array3::zeros((5, 7, 4)).view(), None, None).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "inputs has shape [5, 7, 4], expected (batch, time, 3)",
/// );
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has shape {found:?}, expected {expected}")]
pub struct ForwardError {
    /// `inputs`, `mask`, `initial_state` or `initial_state[k]`.
    pub what: String,
    /// Its shape; of `initial_state`, how many there are.
    pub found: Vec<usize>,
    /// What would be right.
    pub expected: String,
}

impl PartialEq for RecurrentLayer {
    fn eq(&self, other: &Self) -> bool {
        (&self.cells, self.options, self.precision)
            == (&other.cells, other.options, other.precision)
    }
}

impl RecurrentLayer {
    /// A layer of one cell, or of several stacked.
    ///
    /// # Errors
    /// When there is no cell, or one's features are not as many as the one before puts out.
    ///
    /// ```
    /// use ifco_cell::{Activation, GruCell, GruWeights, RecurrentLayer, SequenceOptions};
    /// use ndarray::Array2;
    ///
    /// let gru = |features, units| {
    ///     let (kernel, recurrent) = ((features, 3 * units), (units, 3 * units));
    ///     let weights = GruWeights::new(Array2::zeros(kernel), Array2::zeros(recurrent), None)?;
    ///     GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, true)
    /// };
    /// // The second cell's features are the units of the first.
    /// let cells = vec![gru(3, 8)?.into(), gru(8, 2)?.into()];
    /// let layer = RecurrentLayer::new(cells, SequenceOptions::default())?;
    /// assert_eq!((layer.features(), layer.units()), (3, 2));
    /// assert_eq!(layer.cells().len(), 2);
    /// assert!(layer.state_sizes().eq([8, 2]));
    /// # Ok::<(), ifco_cell::WeightsError>(())
    /// ```
    pub fn new(cells: Vec<Cell>, options: SequenceOptions) -> Result<Self, WeightsError> {
        if cells.is_empty() {
            return Err(WeightsError {
                array: "kernel",
                found: vec![],
                expected: "at least one cell to take it from".to_string(),
            });
        }
        for (index, pair) in cells.windows(2).enumerate() {
            let (units, features) = (pair[0].outputs(), pair[1].features());
            if features != units {
                return Err(WeightsError {
                    array: "kernel",
                    found: pair[1].kernel().shape().to_vec(),
                    expected: format!(
                        "{units} rows in stacked cell {}, as cell {index} puts out {units} values",
                        index + 1,
                    ),
                });
            }
        }
        Ok(Self {
            cells: cells.into(),
            packed: Arc::default(),
            precision: Precision::F32,
            options,
        })
    }

    /// A layer of this cell alone, with Keras's default options.
    pub(crate) fn of_cell(cell: Cell) -> Self {
        Self {
            cells: [cell].into(),
            packed: Arc::default(),
            precision: Precision::F32,
            options: SequenceOptions::default(),
        }
    }

    /// The cells, the first one first.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// How exactly the weights are kept while the layer runs.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Keeps the weights so while the layer runs: fewer bits are faster and less exact. They are
    /// packed anew at the next run; clones of this layer stay as they are.
    ///
    /// ```
    /// use ifco_cell::{
    ///     Activation, LstmCell, LstmWeights, Precision, RecurrentLayer, SequenceOptions,
    /// };
    /// use ndarray::{Array2, Array3};
    ///
    /// let (features, units) = (3, 2);
    /// let weights = LstmWeights::new(
    ///     Array2::from_elem((features, 4 * units), 0.1),
    ///     Array2::from_elem((units, 4 * units), 0.3),
    ///     None,
    /// )?;
    /// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
    /// let mut layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
    ///
    /// let x = Array3::from_elem((5, 7, features), 0.7); // (batch, time, features)
    /// let exact = layer.forward(x.view(), None, None)?;
    /// layer.set_precision(Precision::Bf16);
    /// let near = layer.forward(x.view(), None, None)?;
    /// let error = exact.output.last().unwrap() - near.output.last().unwrap();
    /// assert!(error.iter().all(|error| error.abs() < 0.01));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_precision(&mut self, precision: Precision) {
        if precision != self.precision {
            self.precision = precision;
            self.packed = Arc::default();
        }
    }

    /// The same, to be kept.
    pub(crate) fn shared_cells(&self) -> &Arc<[Cell]> {
        &self.cells
    }

    /// The cells as the engine reads them.
    pub(crate) fn packed(&self) -> &Packed {
        self.packed
            .get_or_init(|| Packed::new(&self.cells, self.precision))
    }

    /// The same layer on cells that were packed in another way.
    #[cfg(test)]
    pub(crate) fn with_packed(mut self, packed: Packed) -> Self {
        self.packed = Arc::new(packed.into());
        self
    }

    /// One row's way through the cells, step by step.
    pub(crate) fn stepper(&self) -> Stepper {
        self.packed();
        Stepper::new(
            Arc::clone(&self.cells),
            Arc::clone(&self.packed),
            self.precision,
        )
    }

    /// Number of input features: those of the first cell.
    pub fn features(&self) -> usize {
        self.cells.first().map_or(0, Cell::features)
    }

    /// Number of units of the output: those of the last cell, or what its projection makes of them.
    pub fn units(&self) -> usize {
        self.cells.last().map_or(0, Cell::outputs)
    }

    /// The units of each state array, in Keras's order: for each cell h, and c for an LSTM.
    pub fn state_sizes(&self) -> impl Iterator<Item = usize> {
        self.cells.iter().flat_map(Cell::state_sizes)
    }

    /// Runs the layer over `inputs` `(batch, time, features)`.
    ///
    /// `mask` is `(batch, time)`, true where the step counts. `initial_state` holds, for each
    /// cell, h `(batch, units)`, and c for an LSTM; zeros when absent.
    ///
    /// No sequences and no steps are legal, though Keras refuses them: without steps the states
    /// stay as they were and the last output is zeros. Memory beyond inputs and outputs does
    /// not grow with time or batch.
    ///
    /// # Errors
    /// When a shape does not fit.
    ///
    /// ```
    /// use ifco_cell::{
    ///     Activation, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights,
    /// };
    /// use ndarray::{Array3, array};
    ///
    /// let weights = SimpleRnnWeights::new(array![[1.0]], array![[1.0]], None)?;
    /// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x + h
    /// let options = SequenceOptions { return_sequences: true, ..SequenceOptions::default() };
    /// let layer = RecurrentLayer::new(vec![cell.into()], options)?;
    ///
    /// let x = Array3::ones((1, 3, 1));
    /// let mask = array![[true, false, true]]; // the second step does not count
    /// let h = array![[10.0]];
    /// let sequence = layer.forward(x.view(), Some(mask.view()), Some(&[h.view()]))?;
    /// let output = sequence.output.sequences().unwrap();
    /// assert_eq!(output.as_slice().unwrap(), [11.0, 11.0, 12.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward(
        &self,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial_state: Option<&[ArrayView2<'_, f32>]>,
    ) -> Result<Sequence, ForwardError> {
        self.check(inputs, mask, initial_state)?;
        Ok(engine::run(self, inputs, mask, initial_state))
    }

    /// Whether inputs, mask and states fit the layer.
    pub(crate) fn check(
        &self,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial_state: Option<&[ArrayView2<'_, f32>]>,
    ) -> Result<(), ForwardError> {
        let (batch, time, features) = inputs.dim();
        if features != self.features() {
            let expected = format!("(batch, time, {})", self.features());
            return Err(refuse("inputs", inputs.shape(), expected));
        }
        if let Some(mask) = mask
            && mask.dim() != (batch, time)
        {
            let expected = format!("({batch}, {time}), the batch and time of inputs");
            return Err(refuse("mask", mask.shape(), expected));
        }
        self.check_size(inputs.shape(), batch, time, self.units())?;
        if let Some(initial) = initial_state {
            let count = self.state_sizes().count();
            if initial.len() != count {
                let expected = format!("{count} arrays: for each cell h, and c for an LSTM");
                return Err(refuse("initial_state", &[initial.len()], expected));
            }
            for (k, (state, units)) in initial.iter().zip(self.state_sizes()).enumerate() {
                if state.dim() != (batch, units) {
                    let (what, expected) = (
                        format!("initial_state[{k}]"),
                        format!("({batch}, {units}): (batch, units)"),
                    );
                    return Err(refuse(&what, state.shape(), expected));
                }
            }
        }
        Ok(())
    }

    /// Whether memory can hold so many values for each step. (Inputs without features can claim
    /// any batch and time.)
    pub(crate) fn check_size(
        &self,
        inputs: &[usize],
        batch: usize,
        time: usize,
        values: usize,
    ) -> Result<(), ForwardError> {
        let bytes = [batch, time, values, size_of::<f32>()]
            .into_iter()
            .try_fold(1usize, usize::checked_mul);
        if bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok()) {
            return Ok(());
        }
        let expected = "a batch and time whose output fits in memory".to_string();
        Err(refuse("inputs", inputs, expected))
    }
}

fn refuse(what: &str, found: &[usize], expected: String) -> ForwardError {
    ForwardError {
        what: what.to_string(),
        found: found.to_vec(),
        expected,
    }
}
