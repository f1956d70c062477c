//! What some LSTMs have beside kernel, recurrent kernel and bias: peepholes, a projection, layer
//! normalization.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use super::{LstmWeights, WeightsError, check_bias, check_columns, standard};
use crate::Gate;

/// The scale γ and shift β of a layer normalization:
/// `(x − mean(x)) / sqrt(variance(x) + ε)·γ + β`.
///
/// ```
/// use ifco_cell::Norm;
/// use ndarray::array;
///
/// let norm = Norm { gamma: array![1.0, 1.0], beta: array![0.0, 0.5] };
/// assert_eq!(norm.gamma.len(), norm.beta.len());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// γ: what the normalized values are multiplied with.
    pub gamma: Array1<f32>,
    /// β: what is then added.
    pub beta: Array1<f32>,
}

/// What a layer-normalized LSTM normalizes before its activations. Two kinds are in use, which
/// give different numbers.
///
/// See [`LayerNorm`] for an example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NormedSums {
    /// Each gate's sum `x·W + h·U + b` by itself, over its units, with the gate's part of γ and β,
    /// `(4·units)` each in the order i f c o: TensorFlow 1's
    /// `tf.contrib.rnn.LayerNormBasicLSTMCell` (which has no bias).
    Gates(Norm),
    /// `x·W` and `h·U` by themselves, each over the four gates together, `(4·units)`; the bias is
    /// added afterwards: TensorFlow Addons' `LayerNormLSTMCell`.
    Products {
        /// Of `x·W`.
        kernel: Norm,
        /// Of `h·U`.
        recurrent: Norm,
    },
}

/// The layer normalization of an LSTM ([Ba et al. 2016](https://arxiv.org/abs/1607.06450)): of what
/// goes into the gates, and of the new cell state.
///
/// ```
/// use ifco_cell::{LayerNorm, LstmWeights, Norm, NormedSums};
/// use ndarray::{Array1, Array2};
///
/// let units = 2;
/// let norm = |size| Norm { gamma: Array1::ones(size), beta: Array1::zeros(size) };
/// let weights = LstmWeights::new(Array2::zeros((3, 8)), Array2::zeros((units, 8)), None)?
///     .with_layer_norm(LayerNorm {
///         sums: NormedSums::Gates(norm(4 * units)),
///         state: norm(units),
///         epsilon: 1e-12, // LayerNormBasicLSTMCell's; TensorFlow Addons' is 1e-3
///     })?;
/// assert!(weights.layer_norm().is_some());
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// What is normalized before the activations.
    pub sums: NormedSums,
    /// Of the new cell state, over its units, `(units)`: the state that is kept is the normalized
    /// one.
    pub state: Norm,
    /// ε, which is added to the variance.
    pub epsilon: f32,
}

impl LayerNorm {
    /// Its arrays by the name of what they normalize: `norm` of the gates, or `kernel_norm` and
    /// `recurrent_norm`; then `state_norm`.
    pub fn norms(&self) -> Vec<(&'static str, &Norm)> {
        let mut norms = match &self.sums {
            NormedSums::Gates(norm) => vec![("norm", norm)],
            NormedSums::Products { kernel, recurrent } => {
                vec![("kernel_norm", kernel), ("recurrent_norm", recurrent)]
            }
        };
        norms.push(("state_norm", &self.state));
        norms
    }
}

impl LstmWeights {
    /// Takes the fused arrays of an LSTM whose hidden state is projected, in any memory order:
    /// `h' = (o∘φ(c'))·W_p`.
    ///
    /// `projection` W_p is `(units, outputs)`, `recurrent_kernel` `(outputs, 4·units)`, `kernel`
    /// `(features, 4·units)`. It is TensorFlow 1's `projection/kernel` (`num_proj`), and PyTorch's
    /// `weight_hr_l{k}` (`proj_size`) transposed.
    ///
    /// # Errors
    /// When the shapes do not fit each other, or there is no unit or no output.
    ///
    /// ```
    /// use ifco_cell::LstmWeights;
    /// use ndarray::Array2;
    ///
    /// let (features, units, outputs) = (3, 8, 2);
    /// let weights = LstmWeights::projected(
    ///     Array2::zeros((features, 4 * units)),
    ///     Array2::zeros((outputs, 4 * units)),
    ///     None,
    ///     Array2::zeros((units, outputs)),
    /// )?;
    /// assert_eq!((weights.units(), weights.outputs()), (8, 2));
    /// # Ok::<(), ifco_cell::WeightsError>(())
    /// ```
    pub fn projected(
        kernel: Array2<f32>,
        recurrent_kernel: Array2<f32>,
        bias: Option<Array1<f32>>,
        projection: Array2<f32>,
    ) -> Result<Self, WeightsError> {
        let (units, outputs) = projection.dim();
        if units == 0 || outputs == 0 {
            return Err(WeightsError::new(
                "projection",
                projection.shape(),
                "(units, outputs) with at least one of each".into(),
            ));
        }
        let columns = units.checked_mul(Gate::ALL.len());
        if Some(recurrent_kernel.ncols()) != columns || recurrent_kernel.nrows() != outputs {
            return Err(WeightsError::new(
                "recurrent_kernel",
                recurrent_kernel.shape(),
                format!(
                    "(outputs, 4·units) with the {units} units and {outputs} outputs of projection"
                ),
            ));
        }
        check_columns(&kernel, recurrent_kernel.ncols(), Gate::ALL.len(), units)?;
        check_bias(bias.as_ref(), kernel.ncols())?;
        Ok(Self {
            kernel: standard(kernel),
            recurrent_kernel: standard(recurrent_kernel),
            bias: bias.map(standard),
            projection: Some(standard(projection)),
            peepholes: None,
            layer_norm: None,
        })
    }

    /// The same with peepholes, through which the gates see the cell state: `peepholes` is
    /// `(3, units)` with the rows p_i, p_f and p_o.
    ///
    /// ```text
    /// z_i += p_i∘c      z_f += p_f∘c      z_o += p_o∘c'
    /// ```
    ///
    /// ONNX keeps them in P as p_i, p_o, p_f
    /// ([`Packing::peepholes_to_keras`](crate::packing::Packing::peepholes_to_keras)),
    /// TensorFlow 1 as `w_i_diag`, `w_f_diag`, `w_o_diag` or `wci`, `wcf`, `wco`.
    ///
    /// # Errors
    /// When the shape is another.
    ///
    /// ```
    /// use ifco_cell::{Gate, LstmWeights};
    /// use ndarray::{Array2, array};
    ///
    /// let weights = LstmWeights::new(Array2::zeros((3, 8)), Array2::zeros((2, 8)), None)?
    ///     .with_peepholes(array![[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])?;
    /// assert_eq!(weights.peephole(Gate::Output).unwrap(), array![0.5, 0.6]);
    /// assert!(weights.peephole(Gate::Cell).is_none()); // the candidate has none
    /// # Ok::<(), ifco_cell::WeightsError>(())
    /// ```
    pub fn with_peepholes(mut self, peepholes: Array2<f32>) -> Result<Self, WeightsError> {
        let units = self.units();
        if peepholes.dim() != (3, units) {
            return Err(WeightsError::new(
                "peepholes",
                peepholes.shape(),
                format!("(3, {units}): p_i, p_f and p_o, a value for each unit"),
            ));
        }
        self.peepholes = Some(standard(peepholes));
        Ok(self)
    }

    /// The same with layer normalization.
    ///
    /// # Errors
    /// When an array has another length than what it normalizes, or ε is below 0 or not finite.
    ///
    /// See [`LayerNorm`] for an example.
    pub fn with_layer_norm(mut self, layer_norm: LayerNorm) -> Result<Self, WeightsError> {
        let epsilon = layer_norm.epsilon;
        if !epsilon.is_finite() || epsilon < 0.0 {
            return Err(WeightsError::new(
                "layer_norm",
                &[],
                format!("an epsilon of at least 0, not {epsilon}"),
            ));
        }
        for (name, norm) in layer_norm.norms() {
            let size = match name {
                "state_norm" => self.units(),
                _ => self.kernel.ncols(),
            };
            for array in [&norm.gamma, &norm.beta] {
                if array.len() != size {
                    return Err(WeightsError::new(
                        name,
                        array.shape(),
                        format!("({size},): a gamma and a beta for each value"),
                    ));
                }
            }
        }
        self.layer_norm = Some(Box::new(layer_norm));
        Ok(self)
    }

    /// How many values the hidden state h has: the projection's outputs, or as many as units.
    pub fn outputs(&self) -> usize {
        self.recurrent_kernel.nrows()
    }

    /// W_p, `(units, outputs)`, where the hidden state is projected.
    pub fn projection(&self) -> Option<ArrayView2<'_, f32>> {
        self.projection.as_ref().map(|projection| projection.view())
    }

    /// p_i, p_f and p_o, `(3, units)`, where there are peepholes.
    pub fn peepholes(&self) -> Option<ArrayView2<'_, f32>> {
        self.peepholes.as_ref().map(|peepholes| peepholes.view())
    }

    /// One gate's peephole, `(units)`; `None` of the candidate, which never has one.
    pub fn peephole(&self, gate: Gate) -> Option<ArrayView1<'_, f32>> {
        let row = match gate {
            Gate::Input => 0,
            Gate::Forget => 1,
            Gate::Output => 2,
            Gate::Cell => return None,
        };
        Some(self.peepholes.as_ref()?.row(row))
    }

    /// The layer normalization, where there is one.
    pub fn layer_norm(&self) -> Option<&LayerNorm> {
        self.layer_norm.as_deref()
    }
}
