//! A cell: weights and activations of one recurrent step.

use crate::{Activation, GruWeights, LstmWeights, SimpleRnnWeights};

/// An LSTM's weights and activations.
#[derive(Debug, Clone, PartialEq)]
pub struct LstmCell {
    /// The fused weights.
    pub weights: LstmWeights,
    /// Replaces both tanh.
    pub activation: Activation,
    /// Replaces the sigmoid of i, f and o.
    pub recurrent_activation: Activation,
}

/// A GRU's weights and activations.
#[derive(Debug, Clone, PartialEq)]
pub struct GruCell {
    /// The fused weights.
    pub weights: GruWeights,
    /// Of the candidate: tanh by default.
    pub activation: Activation,
    /// Of z and r: sigmoid by default.
    pub recurrent_activation: Activation,
    /// Whether the reset gate is applied after the recurrent product (Keras's default, and
    /// cuDNN's way) or before it.
    pub reset_after: bool,
}

/// A SimpleRNN's weights and activation.
#[derive(Debug, Clone, PartialEq)]
pub struct SimpleRnnCell {
    /// The weights.
    pub weights: SimpleRnnWeights,
    /// tanh by default.
    pub activation: Activation,
}

/// Any cell that Keras's `RNN` can hold.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Cell {
    /// `LSTMCell`: states h and c.
    Lstm(LstmCell),
    /// `GRUCell`: state h.
    Gru(GruCell),
    /// `SimpleRNNCell`: state h.
    SimpleRnn(SimpleRnnCell),
}

impl Cell {
    /// Number of units.
    pub fn units(&self) -> usize {
        match self {
            Cell::Lstm(cell) => cell.weights.units(),
            Cell::Gru(cell) => cell.weights.units(),
            Cell::SimpleRnn(cell) => cell.weights.units(),
        }
    }

    /// Number of input features.
    pub fn features(&self) -> usize {
        match self {
            Cell::Lstm(cell) => cell.weights.features(),
            Cell::Gru(cell) => cell.weights.features(),
            Cell::SimpleRnn(cell) => cell.weights.features(),
        }
    }

    /// How many state arrays it carries: h and c for an LSTM, h for the others.
    pub fn states(&self) -> usize {
        match self {
            Cell::Lstm(_) => 2,
            Cell::Gru(_) | Cell::SimpleRnn(_) => 1,
        }
    }
}
