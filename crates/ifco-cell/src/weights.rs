//! The fused arrays of a recurrent layer in Keras's layout, and a view per gate.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};

use crate::{Gate, GruGate};

/// Arrays whose shapes do not make a recurrent layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{array} has shape {found:?}, expected {expected}")]
pub struct WeightsError {
    /// The array that is wrong: `kernel`, `recurrent_kernel` or `bias`.
    pub array: &'static str,
    /// Its shape.
    pub found: Vec<usize>,
    /// What would be right, in words.
    pub expected: String,
}

/// The weights of one LSTM, fused as Keras keeps them.
///
/// `kernel` is `(features, 4·units)`, `recurrent_kernel` is `(units, 4·units)`, `bias` is
/// `(4·units)`; columns in the order i f c o.
#[derive(Debug, Clone, PartialEq)]
pub struct LstmWeights {
    kernel: Array2<f32>,
    recurrent_kernel: Array2<f32>,
    bias: Option<Array1<f32>>,
}

impl LstmWeights {
    /// Takes the fused arrays.
    ///
    /// # Errors
    /// When the shapes do not fit each other.
    pub fn new(
        kernel: Array2<f32>,
        recurrent_kernel: Array2<f32>,
        bias: Option<Array1<f32>>,
    ) -> Result<Self, WeightsError> {
        // TODO validate
        Ok(Self {
            kernel,
            recurrent_kernel,
            bias,
        })
    }

    /// Number of units u: the size of the hidden state and of the cell state.
    pub fn units(&self) -> usize {
        self.recurrent_kernel.nrows()
    }

    /// Number of input features.
    pub fn features(&self) -> usize {
        self.kernel.nrows()
    }

    /// W of one gate, `(features, units)`: `kernel[:, u:2u]` for the forget gate. A view.
    pub fn kernel(&self, gate: Gate) -> ArrayView2<'_, f32> {
        self.kernel.slice(s![.., gate.columns(self.units())])
    }

    /// U of one gate, `(units, units)`. A view.
    pub fn recurrent_kernel(&self, gate: Gate) -> ArrayView2<'_, f32> {
        self.recurrent_kernel
            .slice(s![.., gate.columns(self.units())])
    }

    /// b of one gate, `(units)`; `None` with `use_bias=False`. A view.
    pub fn bias(&self, gate: Gate) -> Option<ArrayView1<'_, f32>> {
        let bias = self.bias.as_ref()?;
        Some(bias.slice(s![gate.columns(self.units())]))
    }

    /// The whole `kernel`, `(features, 4·units)`.
    pub fn fused_kernel(&self) -> ArrayView2<'_, f32> {
        self.kernel.view()
    }

    /// The whole `recurrent_kernel`, `(units, 4·units)`.
    pub fn fused_recurrent_kernel(&self) -> ArrayView2<'_, f32> {
        self.recurrent_kernel.view()
    }

    /// The whole `bias`, `(4·units)`.
    pub fn fused_bias(&self) -> Option<ArrayView1<'_, f32>> {
        self.bias.as_ref().map(|bias| bias.view())
    }
}

/// The weights of one GRU, fused as Keras keeps them: columns z r h.
///
/// `bias` has one row, `(1, 3·units)`, or with `reset_after=True` two, `(2, 3·units)`: the
/// input's and the recurrent one's.
#[derive(Debug, Clone, PartialEq)]
pub struct GruWeights {
    kernel: Array2<f32>,
    recurrent_kernel: Array2<f32>,
    bias: Option<Array2<f32>>,
}

impl GruWeights {
    /// Takes the fused arrays.
    ///
    /// # Errors
    /// When the shapes do not fit each other.
    pub fn new(
        kernel: Array2<f32>,
        recurrent_kernel: Array2<f32>,
        bias: Option<Array2<f32>>,
    ) -> Result<Self, WeightsError> {
        Ok(Self {
            kernel,
            recurrent_kernel,
            bias,
        })
    }

    /// Number of units u: the size of the hidden state.
    pub fn units(&self) -> usize {
        self.recurrent_kernel.nrows()
    }

    /// Number of input features.
    pub fn features(&self) -> usize {
        self.kernel.nrows()
    }

    /// W of one gate, `(features, units)`. A view.
    pub fn kernel(&self, gate: GruGate) -> ArrayView2<'_, f32> {
        self.kernel.slice(s![.., gate.columns(self.units())])
    }

    /// U of one gate, `(units, units)`. A view.
    pub fn recurrent_kernel(&self, gate: GruGate) -> ArrayView2<'_, f32> {
        self.recurrent_kernel
            .slice(s![.., gate.columns(self.units())])
    }

    /// b of one gate: `(1, units)`, or `(2, units)` with `reset_after=True`. A view.
    pub fn bias(&self, gate: GruGate) -> Option<ArrayView2<'_, f32>> {
        let bias = self.bias.as_ref()?;
        Some(bias.slice(s![.., gate.columns(self.units())]))
    }

    /// The whole `kernel`, `(features, 3·units)`.
    pub fn fused_kernel(&self) -> ArrayView2<'_, f32> {
        self.kernel.view()
    }

    /// The whole `recurrent_kernel`, `(units, 3·units)`.
    pub fn fused_recurrent_kernel(&self) -> ArrayView2<'_, f32> {
        self.recurrent_kernel.view()
    }

    /// The whole `bias`, `(1 or 2, 3·units)`.
    pub fn fused_bias(&self) -> Option<ArrayView2<'_, f32>> {
        self.bias.as_ref().map(|bias| bias.view())
    }
}

/// The weights of one SimpleRNN: `kernel` `(features, units)`, `recurrent_kernel`
/// `(units, units)`, `bias` `(units)`.
#[derive(Debug, Clone, PartialEq)]
pub struct SimpleRnnWeights {
    kernel: Array2<f32>,
    recurrent_kernel: Array2<f32>,
    bias: Option<Array1<f32>>,
}

impl SimpleRnnWeights {
    /// Takes the arrays.
    ///
    /// # Errors
    /// When the shapes do not fit each other.
    pub fn new(
        kernel: Array2<f32>,
        recurrent_kernel: Array2<f32>,
        bias: Option<Array1<f32>>,
    ) -> Result<Self, WeightsError> {
        Ok(Self {
            kernel,
            recurrent_kernel,
            bias,
        })
    }

    /// Number of units u: the size of the hidden state.
    pub fn units(&self) -> usize {
        self.recurrent_kernel.nrows()
    }

    /// Number of input features.
    pub fn features(&self) -> usize {
        self.kernel.nrows()
    }

    /// The `kernel`, `(features, units)`.
    pub fn kernel(&self) -> ArrayView2<'_, f32> {
        self.kernel.view()
    }

    /// The `recurrent_kernel`, `(units, units)`.
    pub fn recurrent_kernel(&self) -> ArrayView2<'_, f32> {
        self.recurrent_kernel.view()
    }

    /// The `bias`, `(units)`.
    pub fn bias(&self) -> Option<ArrayView1<'_, f32>> {
        self.bias.as_ref().map(|bias| bias.view())
    }
}
