//! A cell: the weights and activations of one recurrent step.

use crate::{Activation, Gate, GruGate, GruWeights, LstmWeights, SimpleRnnWeights, WeightsError};
use ndarray::ArrayView2;

mod options;

pub(crate) use options::clip;
pub use options::{LstmOptions, LstmOptionsError};

/// An LSTM's weights and activations: Keras's `LSTMCell`, and with [`LstmOptions`] and the further
/// arrays of its weights what other frameworks' LSTMs do besides.
///
/// ```
/// use ifco_cell::{Activation, Gate, LstmCell, LstmWeights};
/// use ndarray::{Array1, Array2};
///
/// let (features, units) = (3, 2);
/// let weights = LstmWeights::new(
///     Array2::zeros((features, 4 * units)),
///     Array2::zeros((units, 4 * units)),
///     Some(Array1::zeros(4 * units)),
/// )?;
/// // Keras's defaults
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// assert_eq!(cell.weights().kernel(Gate::Forget).dim(), (features, units));
/// assert_eq!(cell.recurrent_activation().name(), "sigmoid");
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LstmCell {
    weights: LstmWeights,
    activation: Activation,
    recurrent_activation: Activation,
    options: LstmOptions,
}

impl LstmCell {
    /// A cell. `activation` replaces both tanh, `recurrent_activation` the sigmoid of i, f and o.
    pub fn new(
        weights: LstmWeights,
        activation: Activation,
        recurrent_activation: Activation,
    ) -> Self {
        Self {
            weights,
            activation,
            recurrent_activation,
            options: LstmOptions::default(),
        }
    }

    /// The weights, gate by gate or fused.
    pub fn weights(&self) -> &LstmWeights {
        &self.weights
    }

    /// Of the candidate and of the cell state that is shown: tanh by default.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Of i, f and o: sigmoid by default.
    pub fn recurrent_activation(&self) -> Activation {
        self.recurrent_activation
    }
}

/// A GRU's weights and activations: Keras's `GRUCell`.
///
/// ```
/// use ifco_cell::{Activation, GruCell, GruGate, GruWeights};
/// use ndarray::Array2;
///
/// let weights = GruWeights::new(
///     Array2::zeros((3, 6)),
///     Array2::zeros((2, 6)),
///     Some(Array2::zeros((2, 6))), // one row for the input, one for the recurrent product
/// )?;
/// // Keras's defaults
/// let cell = GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, true)?;
/// assert_eq!(cell.weights().kernel(GruGate::Reset).dim(), (3, 2));
/// assert!(cell.reset_after());
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GruCell {
    weights: GruWeights,
    activation: Activation,
    recurrent_activation: Activation,
    reset_after: bool,
    clip: Option<f32>,
}

impl GruCell {
    /// A cell. `activation` is the candidate's, `recurrent_activation` that of z and r.
    ///
    /// # Errors
    /// When the bias does not have the rows that `reset_after` asks for: two with it, one
    /// without.
    pub fn new(
        weights: GruWeights,
        activation: Activation,
        recurrent_activation: Activation,
        reset_after: bool,
    ) -> Result<Self, WeightsError> {
        if let Some(bias) = weights.fused_bias() {
            let rows = if reset_after { 2 } else { 1 };
            if bias.nrows() != rows {
                return Err(WeightsError {
                    array: "bias",
                    found: bias.shape().to_vec(),
                    expected: format!(
                        "({rows}, {columns}) with reset_after={reset_after}",
                        columns = bias.ncols(),
                        reset_after = if reset_after { "True" } else { "False" },
                    ),
                });
            }
        }
        Ok(Self {
            weights,
            activation,
            recurrent_activation,
            reset_after,
            clip: None,
        })
    }

    /// The weights, gate by gate or fused.
    pub fn weights(&self) -> &GruWeights {
        &self.weights
    }

    /// Of the candidate: tanh by default.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Of z and r: sigmoid by default.
    pub fn recurrent_activation(&self) -> Activation {
        self.recurrent_activation
    }

    /// Whether the reset gate is applied after the recurrent product (Keras's default, and
    /// cuDNN's way) or before it.
    pub fn reset_after(&self) -> bool {
        self.reset_after
    }
}

/// A SimpleRNN's weights and activation: Keras's `SimpleRNNCell`.
///
/// ```
/// use ifco_cell::{Activation, SimpleRnnCell, SimpleRnnWeights};
/// use ndarray::Array2;
///
/// let weights = SimpleRnnWeights::new(Array2::zeros((3, 2)), Array2::zeros((2, 2)), None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Tanh);
/// assert_eq!(cell.weights().units(), 2);
/// assert_eq!(cell.activation(), Activation::Tanh);
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SimpleRnnCell {
    weights: SimpleRnnWeights,
    activation: Activation,
    clip: Option<f32>,
}

impl SimpleRnnCell {
    /// A cell.
    pub fn new(weights: SimpleRnnWeights, activation: Activation) -> Self {
        Self {
            weights,
            activation,
            clip: None,
        }
    }

    /// The weights.
    pub fn weights(&self) -> &SimpleRnnWeights {
        &self.weights
    }

    /// tanh by default.
    pub fn activation(&self) -> Activation {
        self.activation
    }
}

/// Any cell that Keras's `RNN` can hold.
///
/// ```
/// use ifco_cell::{Activation, Cell, SimpleRnnCell, SimpleRnnWeights};
/// use ndarray::Array2;
///
/// let weights = SimpleRnnWeights::new(Array2::zeros((3, 2)), Array2::zeros((2, 2)), None)?;
/// let cell = Cell::from(SimpleRnnCell::new(weights, Activation::Tanh));
/// assert_eq!((cell.features(), cell.units(), cell.states()), (3, 2, 1));
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
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
    /// What kind of cell it is.
    pub fn kind(&self) -> CellKind {
        match self {
            Cell::Lstm(_) => CellKind::Lstm,
            Cell::Gru(_) => CellKind::Gru,
            Cell::SimpleRnn(_) => CellKind::SimpleRnn,
        }
    }

    /// Number of units.
    pub fn units(&self) -> usize {
        match self {
            Cell::Lstm(cell) => cell.weights.units(),
            Cell::Gru(cell) => cell.weights.units(),
            Cell::SimpleRnn(cell) => cell.weights.units(),
        }
    }

    /// How many values its hidden state h has, which is what it puts out: as many as units, unless
    /// an LSTM's is [projected](LstmWeights::projected).
    pub fn outputs(&self) -> usize {
        match self {
            Cell::Lstm(cell) => cell.weights.outputs(),
            _ => self.units(),
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

    /// What makes it another cell than Keras's, by name: see [`LstmCell::extras`]. Of a GRU and a
    /// SimpleRNN `clip`, and activations that Keras has not.
    ///
    /// ```
    /// use ifco_cell::{Activation, Cell, SimpleRnnCell, SimpleRnnWeights};
    /// use ndarray::Array2;
    ///
    /// let weights = SimpleRnnWeights::new(Array2::zeros((3, 2)), Array2::zeros((2, 2)), None)?;
    /// let cell = SimpleRnnCell::new(weights, Activation::Tanh).with_clip(Some(2.0))?;
    /// assert_eq!(Cell::from(cell).extras(), ["clip"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn extras(&self) -> Vec<&'static str> {
        match self {
            Cell::Lstm(cell) => cell.extras(),
            Cell::Gru(cell) => {
                options::extras_of(cell.clip, cell.activation, Some(cell.recurrent_activation))
            }
            Cell::SimpleRnn(cell) => options::extras_of(cell.clip, cell.activation, None),
        }
    }

    /// The whole `kernel`: as many rows as features, the gates side by side.
    pub(crate) fn kernel(&self) -> ArrayView2<'_, f32> {
        match self {
            Cell::Lstm(cell) => cell.weights.fused_kernel(),
            Cell::Gru(cell) => cell.weights.fused_kernel(),
            Cell::SimpleRnn(cell) => cell.weights.kernel(),
        }
    }

    /// How many state arrays it carries: h and c for an LSTM, h for the others.
    pub fn states(&self) -> usize {
        self.kind().states().len()
    }

    /// How many values each state has: h, and c for an LSTM.
    ///
    /// ```
    /// use ifco_cell::{Activation, Cell, LstmCell, LstmWeights};
    /// use ndarray::Array2;
    ///
    /// let (kernel, recurrent) = (Array2::zeros((1, 32)), Array2::zeros((2, 32)));
    /// let weights = LstmWeights::projected(kernel, recurrent, None, Array2::zeros((8, 2)))?;
    /// let cell = Cell::from(LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid));
    /// assert!(cell.state_sizes().eq([2, 8]));
    /// # Ok::<(), ifco_cell::WeightsError>(())
    /// ```
    pub fn state_sizes(&self) -> impl Iterator<Item = usize> + use<> {
        [self.outputs(), self.units()]
            .into_iter()
            .take(self.states())
    }
}

/// What kind of cell it is, without its weights.
///
/// ```
/// use ifco_cell::CellKind;
/// assert_eq!(CellKind::Lstm.name(), "LSTM");
/// assert_eq!(CellKind::Lstm.trace_names(), ["i", "f", "c_tilde", "o", "c", "h"]);
/// assert_eq!(CellKind::Gru.states(), ["h"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CellKind {
    /// `LSTMCell`.
    Lstm,
    /// `GRUCell`.
    Gru,
    /// `SimpleRNNCell`.
    SimpleRnn,
}

impl CellKind {
    /// Keras's name of the layer: `LSTM`, `GRU` or `SimpleRNN`.
    pub fn name(self) -> &'static str {
        match self {
            CellKind::Lstm => "LSTM",
            CellKind::Gru => "GRU",
            CellKind::SimpleRnn => "SimpleRNN",
        }
    }

    /// How many gates its fused arrays hold side by side.
    pub fn gates(self) -> usize {
        match self {
            CellKind::Lstm => Gate::ALL.len(),
            CellKind::Gru => GruGate::ALL.len(),
            CellKind::SimpleRnn => 1,
        }
    }

    /// Its states, in Keras's order.
    pub fn states(self) -> &'static [&'static str] {
        match self {
            CellKind::Lstm => &["h", "c"],
            CellKind::Gru | CellKind::SimpleRnn => &["h"],
        }
    }

    /// What a [`Trace`](crate::Trace) of it holds, in the order of the equations.
    pub fn trace_names(self) -> &'static [&'static str] {
        match self {
            CellKind::Lstm => &["i", "f", "c_tilde", "o", "c", "h"],
            CellKind::Gru => &["z", "r", "h_tilde", "h"],
            CellKind::SimpleRnn => &["h"],
        }
    }

    /// What a [`Trace`](crate::Trace) calls what the activations are applied to: `z`, as the
    /// equations do; of a GRU, whose z is its update gate, `pre_activations`.
    ///
    /// ```
    /// use ifco_cell::CellKind;
    /// assert_eq!(CellKind::Lstm.pre_activations_name(), "z");
    /// assert_eq!(CellKind::Gru.pre_activations_name(), "pre_activations");
    /// ```
    pub fn pre_activations_name(self) -> &'static str {
        match self {
            CellKind::Gru => "pre_activations",
            CellKind::Lstm | CellKind::SimpleRnn => "z",
        }
    }
}

impl From<LstmCell> for Cell {
    fn from(cell: LstmCell) -> Self {
        Cell::Lstm(cell)
    }
}

impl From<GruCell> for Cell {
    fn from(cell: GruCell) -> Self {
        Cell::Gru(cell)
    }
}

impl From<SimpleRnnCell> for Cell {
    fn from(cell: SimpleRnnCell) -> Self {
        Cell::SimpleRnn(cell)
    }
}
