//! The fused arrays of a recurrent layer in Keras's layout, and a view per gate.

use ndarray::{Array, Array1, Array2, ArrayView1, ArrayView2, Dimension, s};

use crate::{Gate, GruGate};

mod extras;

pub use extras::{LayerNorm, Norm, NormedSums};

/// Arrays whose shapes do not make a recurrent layer.
///
/// ```
/// use ifco_cell::LstmWeights;
/// use ndarray::Array2;
///
/// // 9 columns are no four gates of 2 units.
/// let error = LstmWeights::new(Array2::zeros((3, 9)), Array2::zeros((2, 8)), None).unwrap_err();
/// assert_eq!((error.array, error.found), ("kernel", vec![3, 9]));
/// assert!(error.expected.starts_with("(features, 8)"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{array} has shape {found:?}, expected {expected}")]
pub struct WeightsError {
    /// The array that is wrong: `kernel`, `recurrent_kernel`, `bias`, `projection`, `peepholes`, or
    /// one of layer normalization.
    pub array: &'static str,
    /// Its shape.
    pub found: Vec<usize>,
    /// What would be right, in words.
    pub expected: String,
}

impl WeightsError {
    fn new(array: &'static str, found: &[usize], expected: String) -> Self {
        Self {
            array,
            found: found.to_vec(),
            expected,
        }
    }
}

/// Checks `kernel` `(features, gates·units)` against `recurrent_kernel` `(units, gates·units)`.
///
/// The recurrent kernel is the one that says how many units there are.
fn check_kernels(
    kernel: &Array2<f32>,
    recurrent_kernel: &Array2<f32>,
    gates: usize,
) -> Result<(), WeightsError> {
    let units = recurrent_kernel.nrows();
    let columns = gate_columns(gates);
    let fits = units
        .checked_mul(gates)
        .is_some_and(|columns| units >= 1 && columns == recurrent_kernel.ncols());
    if !fits {
        return Err(WeightsError::new(
            "recurrent_kernel",
            recurrent_kernel.shape(),
            format!("(units, {columns}) with at least one unit"),
        ));
    }
    check_columns(kernel, recurrent_kernel.ncols(), gates, units)
}

/// Checks that `kernel` has the columns of the recurrent kernel.
fn check_columns(
    kernel: &Array2<f32>,
    columns: usize,
    gates: usize,
    units: usize,
) -> Result<(), WeightsError> {
    if kernel.ncols() == columns {
        return Ok(());
    }
    let of_gates = gate_columns(gates);
    Err(WeightsError::new(
        "kernel",
        kernel.shape(),
        format!(
            "(features, {columns}), that is (features, {of_gates}) with the {units} units of \
             recurrent_kernel",
        ),
    ))
}

/// The columns of a fused array, in words.
fn gate_columns(gates: usize) -> String {
    match gates {
        1 => "units".to_string(),
        _ => format!("{gates}·units"),
    }
}

fn check_bias(bias: Option<&Array1<f32>>, columns: usize) -> Result<(), WeightsError> {
    match bias {
        Some(bias) if bias.len() != columns => Err(WeightsError::new(
            "bias",
            bias.shape(),
            format!("({columns},), one value for each column of kernel"),
        )),
        _ => Ok(()),
    }
}

/// The array in row-major order: as it is when it already was, else copied.
///
/// Every reader of the weights may then take whole rows as slices.
fn standard<D: Dimension>(array: Array<f32, D>) -> Array<f32, D> {
    if array.is_standard_layout() {
        array
    } else {
        array.as_standard_layout().into_owned()
    }
}

/// The weights of one LSTM, fused as Keras keeps them.
///
/// `kernel` is `(features, 4·units)`, `recurrent_kernel` is `(units, 4·units)`, `bias` is
/// `(4·units)`; columns in the order i f c o. A projection, peepholes and layer normalization may
/// stand beside them: see [`projected`](Self::projected),
/// [`with_peepholes`](Self::with_peepholes) and [`with_layer_norm`](Self::with_layer_norm).
///
/// ```
/// use ifco_cell::{Gate, LstmWeights};
/// use ndarray::{Array1, Array2, s};
///
/// let (features, units) = (3, 2);
/// let kernel = Array2::from_shape_fn((features, 4 * units), |(row, column)| {
///     (10 * row + column) as f32
/// });
/// let weights = LstmWeights::new(
///     kernel.clone(),
///     Array2::zeros((units, 4 * units)),
///     Some(Array1::zeros(4 * units)),
/// )?;
/// // kernel[:, u:2*u]
/// assert_eq!(weights.kernel(Gate::Forget), kernel.slice(s![.., 2..4]));
/// assert_eq!(weights.recurrent_kernel(Gate::Forget).dim(), (units, units));
/// assert_eq!(weights.bias(Gate::Forget).unwrap().len(), units);
/// assert_eq!((weights.features(), weights.units()), (features, units));
///
/// // And whole, as a view or for good:
/// assert_eq!(weights.fused_kernel(), kernel);
/// let (fused_kernel, _recurrent_kernel, _bias) = weights.into_parts();
/// assert_eq!(fused_kernel, kernel);
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LstmWeights {
    kernel: Array2<f32>,
    recurrent_kernel: Array2<f32>,
    bias: Option<Array1<f32>>,
    /// `(units, outputs)`.
    projection: Option<Array2<f32>>,
    /// `(3, units)`: of i, f and o.
    peepholes: Option<Array2<f32>>,
    /// Boxed: it is large, and few have it.
    layer_norm: Option<Box<LayerNorm>>,
}

impl LstmWeights {
    /// Takes the fused arrays, in any memory order (they are kept row-major).
    ///
    /// # Errors
    /// When the shapes do not fit each other, or there is no unit.
    pub fn new(
        kernel: Array2<f32>,
        recurrent_kernel: Array2<f32>,
        bias: Option<Array1<f32>>,
    ) -> Result<Self, WeightsError> {
        check_kernels(&kernel, &recurrent_kernel, Gate::ALL.len())?;
        check_bias(bias.as_ref(), kernel.ncols())?;
        Ok(Self {
            kernel: standard(kernel),
            recurrent_kernel: standard(recurrent_kernel),
            bias: bias.map(standard),
            projection: None,
            peepholes: None,
            layer_norm: None,
        })
    }

    /// Gives the fused arrays back: `kernel`, `recurrent_kernel`, `bias`. A projection, peepholes
    /// and layer normalization are left out: see [`LstmCell::extras`](crate::LstmCell::extras).
    pub fn into_parts(self) -> (Array2<f32>, Array2<f32>, Option<Array1<f32>>) {
        (self.kernel, self.recurrent_kernel, self.bias)
    }

    /// Number of units u: the size of the cell state, and of the hidden state unless that is
    /// [projected](Self::projected).
    pub fn units(&self) -> usize {
        match &self.projection {
            Some(projection) => projection.nrows(),
            None => self.recurrent_kernel.nrows(),
        }
    }

    /// Number of input features.
    pub fn features(&self) -> usize {
        self.kernel.nrows()
    }

    /// W of one gate, `(features, units)`: `kernel[:, u:2u]` for the forget gate. A view.
    pub fn kernel(&self, gate: Gate) -> ArrayView2<'_, f32> {
        self.kernel.slice(s![.., gate.columns(self.units())])
    }

    /// U of one gate, `(units, units)`; `(outputs, units)` with a projection. A view.
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

    /// The whole `recurrent_kernel`, `(units, 4·units)`; `(outputs, 4·units)` with a projection.
    pub fn fused_recurrent_kernel(&self) -> ArrayView2<'_, f32> {
        self.recurrent_kernel.view()
    }

    /// The whole `bias`, `(4·units)`; `None` with `use_bias=False`.
    pub fn fused_bias(&self) -> Option<ArrayView1<'_, f32>> {
        self.bias.as_ref().map(|bias| bias.view())
    }
}

/// The weights of one GRU, fused as Keras keeps them: columns z r h.
///
/// `bias` has one row, `(1, 3·units)`, or with `reset_after=True` two, `(2, 3·units)`: the
/// input's and the recurrent one's.
///
/// ```
/// use ifco_cell::{GruGate, GruWeights};
/// use ndarray::Array2;
///
/// let (features, units) = (5, 2);
/// let weights = GruWeights::new(
///     Array2::zeros((features, 3 * units)),
///     Array2::zeros((units, 3 * units)),
///     Some(Array2::zeros((2, 3 * units))), // reset_after=True
/// )?;
/// assert_eq!(weights.kernel(GruGate::Candidate).dim(), (features, units)); // kernel[:, 2*u:]
/// assert_eq!(weights.bias(GruGate::Candidate).unwrap().dim(), (2, units));
/// assert_eq!(weights.fused_recurrent_kernel().dim(), (units, 3 * units));
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GruWeights {
    kernel: Array2<f32>,
    recurrent_kernel: Array2<f32>,
    bias: Option<Array2<f32>>,
}

impl GruWeights {
    /// Takes the fused arrays, in any memory order (they are kept row-major). A file that
    /// holds the bias of `reset_after=False` as a vector gives it one row first.
    ///
    /// # Errors
    /// When the shapes do not fit each other, or there is no unit.
    pub fn new(
        kernel: Array2<f32>,
        recurrent_kernel: Array2<f32>,
        bias: Option<Array2<f32>>,
    ) -> Result<Self, WeightsError> {
        check_kernels(&kernel, &recurrent_kernel, GruGate::ALL.len())?;
        if let Some(bias) = &bias {
            let columns = kernel.ncols();
            if !matches!(bias.nrows(), 1 | 2) || bias.ncols() != columns {
                return Err(WeightsError::new(
                    "bias",
                    bias.shape(),
                    format!("(2, {columns}) with reset_after=True or (1, {columns}) without"),
                ));
            }
        }
        Ok(Self {
            kernel: standard(kernel),
            recurrent_kernel: standard(recurrent_kernel),
            bias: bias.map(standard),
        })
    }

    /// Gives the fused arrays back: `kernel`, `recurrent_kernel`, `bias`.
    pub fn into_parts(self) -> (Array2<f32>, Array2<f32>, Option<Array2<f32>>) {
        (self.kernel, self.recurrent_kernel, self.bias)
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

    /// b of one gate: `(1, units)`, or `(2, units)` with `reset_after=True`; `None` with
    /// `use_bias=False`. A view.
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

    /// The whole `bias`, `(1 or 2, 3·units)`; `None` with `use_bias=False`.
    pub fn fused_bias(&self) -> Option<ArrayView2<'_, f32>> {
        self.bias.as_ref().map(|bias| bias.view())
    }
}

/// The weights of one SimpleRNN: `kernel` `(features, units)`, `recurrent_kernel`
/// `(units, units)`, `bias` `(units)`.
///
/// ```
/// use ifco_cell::SimpleRnnWeights;
/// use ndarray::Array2;
///
/// let weights = SimpleRnnWeights::new(Array2::zeros((3, 2)), Array2::zeros((2, 2)), None)?;
/// assert_eq!((weights.features(), weights.units()), (3, 2));
/// assert_eq!(weights.kernel().dim(), (3, 2));
/// assert!(weights.bias().is_none()); // use_bias=False
///
/// let wrong = SimpleRnnWeights::new(Array2::zeros((3, 2)), Array2::zeros((2, 5)), None);
/// assert_eq!(
///     wrong.unwrap_err().to_string(),
///     "recurrent_kernel has shape [2, 5], expected (units, units) with at least one unit",
/// );
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SimpleRnnWeights {
    kernel: Array2<f32>,
    recurrent_kernel: Array2<f32>,
    bias: Option<Array1<f32>>,
}

impl SimpleRnnWeights {
    /// Takes the arrays, in any memory order (they are kept row-major).
    ///
    /// # Errors
    /// When the shapes do not fit each other, or there is no unit.
    pub fn new(
        kernel: Array2<f32>,
        recurrent_kernel: Array2<f32>,
        bias: Option<Array1<f32>>,
    ) -> Result<Self, WeightsError> {
        check_kernels(&kernel, &recurrent_kernel, 1)?;
        check_bias(bias.as_ref(), kernel.ncols())?;
        Ok(Self {
            kernel: standard(kernel),
            recurrent_kernel: standard(recurrent_kernel),
            bias: bias.map(standard),
        })
    }

    /// Gives the arrays back: `kernel`, `recurrent_kernel`, `bias`.
    pub fn into_parts(self) -> (Array2<f32>, Array2<f32>, Option<Array1<f32>>) {
        (self.kernel, self.recurrent_kernel, self.bias)
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

    /// The `bias`, `(units)`; `None` with `use_bias=False`.
    pub fn bias(&self) -> Option<ArrayView1<'_, f32>> {
        self.bias.as_ref().map(|bias| bias.view())
    }
}

#[cfg(test)]
mod tests;
