//! The sequence around the cell: direction, masks, states and what is returned.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3};

use crate::Cell;

/// How a recurrent layer reads and answers: Keras's arguments of the same names.
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
#[derive(Debug, Clone, PartialEq)]
pub struct RecurrentLayer {
    cells: Vec<Cell>,
    /// How the sequence is read and what is returned.
    pub options: SequenceOptions,
}

/// What a recurrent layer returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// The output of the last step, or of every one.
    pub output: SequenceOutput,
    /// The states after the last step, `(batch, units)` each, in Keras's order: for each cell
    /// h, and c for an LSTM.
    pub states: Vec<Array2<f32>>,
}

/// The output of a recurrent layer.
#[derive(Debug, Clone, PartialEq)]
pub enum SequenceOutput {
    /// `return_sequences=False`: `(batch, units)`.
    Last(Array2<f32>),
    /// `return_sequences=True`: `(batch, time, units)`.
    Sequences(Array3<f32>),
}

/// Inputs that do not fit the layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has shape {found:?}, expected {expected}")]
pub struct ForwardError {
    /// `inputs`, `mask` or `initial_state[k]`.
    pub what: String,
    /// Its shape.
    pub found: Vec<usize>,
    /// What would be right.
    pub expected: String,
}

impl RecurrentLayer {
    /// A layer of one cell, or of several stacked.
    ///
    /// # Errors
    /// When there is no cell, or one's features are not the units of the one before.
    pub fn new(cells: Vec<Cell>, options: SequenceOptions) -> Result<Self, crate::WeightsError> {
        Ok(Self { cells, options })
    }

    /// The cells, the first one first.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Runs the layer over `inputs` `(batch, time, features)`.
    ///
    /// `mask` is `(batch, time)`, true where the step counts. `initial_state` holds, for each
    /// cell, h `(batch, units)`, and c for an LSTM; zeros when absent.
    ///
    /// # Errors
    /// When a shape does not fit.
    pub fn forward(
        &self,
        _inputs: ArrayView3<'_, f32>,
        _mask: Option<ArrayView2<'_, bool>>,
        _initial_state: Option<&[ArrayView2<'_, f32>]>,
    ) -> Result<Sequence, ForwardError> {
        todo!()
    }
}
