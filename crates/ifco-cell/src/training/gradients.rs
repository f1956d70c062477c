//! The gradients, in the shapes of what they are by.

use ndarray::{Array1, Array2, Array3, ArrayD, ArrayViewD, IxDyn};

use crate::Cell;

/// The gradients of a loss by all that a recurrent layer reads: `f32`, or `f64` those of the
/// [textbook](mod@crate::reference).
///
/// See [`RecurrentLayer::forward_for_training`](crate::RecurrentLayer::forward_for_training) for an
/// example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Gradients<A = f32> {
    /// By the inputs, `(batch, time, features)`; zeros at masked steps.
    pub inputs: Array3<A>,
    /// By the states before the first step, `(batch, units)` each, in Keras's order.
    pub initial_states: Vec<Array2<A>>,
    /// By the weights of each cell.
    pub cells: Vec<CellGradients<A>>,
    /// Where it was asked for ([`BackwardOptions::states`](crate::BackwardOptions::states)): by
    /// each state after each step, `(batch, time, units)`, with the time axis of the inputs. A
    /// masked step has that of the state which it carries on.
    pub states: Option<Vec<Array3<A>>>,
}

/// The gradients by the weights of a cell, each in the shape of what it is by, in Keras's layout.
///
/// ```
/// use ifco_cell::{Cell, CellGradients, LstmCell, LstmWeights, Activation};
/// use ndarray::{Array1, Array2};
///
/// let weights = LstmWeights::new(
///     Array2::zeros((3, 8)), Array2::zeros((2, 8)), Some(Array1::zeros(8)))?;
/// let cell = Cell::from(LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid));
/// let none = CellGradients::<f32>::zeros(&cell);
/// let shapes: Vec<_> = none.arrays().map(|(name, array)| (name, array.shape().to_vec())).collect();
/// assert_eq!(shapes[0], ("kernel", vec![3, 8]));
/// assert_eq!(shapes[1], ("recurrent_kernel", vec![2, 8]));
/// assert_eq!(shapes[2], ("bias", vec![8]));
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CellGradients<A = f32> {
    /// By W, `(features, gates·units)`.
    pub kernel: Array2<A>,
    /// By U, `(units, gates·units)`.
    pub recurrent_kernel: Array2<A>,
    /// By b, where there is one: `(gates·units)`; of a GRU with `reset_after` `(2, gates·units)`.
    pub bias: Option<ArrayD<A>>,
    /// Of a projected LSTM: by W_p, `(units, outputs)`.
    pub projection: Option<Array2<A>>,
    /// Of an LSTM with peepholes: by p_i, p_f and p_o, `(3, units)`.
    pub peepholes: Option<Array2<A>>,
    /// Of an LSTM with layer normalization: by γ and β of each
    /// [norm](crate::LayerNorm::norms).
    pub norms: Vec<NormGradients<A>>,
}

/// The gradients by the γ and β of a layer normalization.
///
/// ```
/// use ifco_cell::NormGradients;
/// use ndarray::array;
///
/// let norm = NormGradients { name: "state_norm", gamma: array![0.5], beta: array![0.25] };
/// assert_eq!(norm.gamma.len(), norm.beta.len());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NormGradients<A = f32> {
    /// Which norm: a name of [`LayerNorm::norms`](crate::LayerNorm::norms).
    pub name: &'static str,
    /// By γ.
    pub gamma: Array1<A>,
    /// By β.
    pub beta: Array1<A>,
}

impl<A: ndarray::LinalgScalar> CellGradients<A> {
    /// Zeros, in the shapes of a cell's weights.
    pub fn zeros(cell: &Cell) -> Self {
        let (units, outputs) = (cell.units(), cell.outputs());
        let columns = cell.kind().gates() * units;
        let mut zeros = Self {
            kernel: Array2::zeros((cell.features(), columns)),
            recurrent_kernel: Array2::zeros((outputs, columns)),
            bias: None,
            projection: None,
            peepholes: None,
            norms: Vec::new(),
        };
        let bias = match cell {
            Cell::Lstm(cell) => {
                let weights = cell.weights();
                let of = |array: ndarray::ArrayView2<'_, f32>| Array2::zeros(array.dim());
                zeros.projection = weights.projection().map(of);
                zeros.peepholes = weights.peepholes().map(of);
                if let Some(norm) = weights.layer_norm() {
                    let norms = norm.norms().into_iter();
                    zeros.norms = norms
                        .map(|(name, norm)| NormGradients {
                            name,
                            gamma: Array1::zeros(norm.gamma.len()),
                            beta: Array1::zeros(norm.beta.len()),
                        })
                        .collect();
                }
                weights.fused_bias().map(|_| vec![columns])
            }
            // Keras's bias has no axis of rows where there is one row.
            Cell::Gru(cell) => cell
                .weights()
                .fused_bias()
                .map(|_| match cell.reset_after() {
                    true => vec![2, columns],
                    false => vec![columns],
                }),
            Cell::SimpleRnn(cell) => cell.weights().bias().map(|_| vec![columns]),
        };
        zeros.bias = bias.map(|shape| ArrayD::zeros(IxDyn(&shape)));
        zeros
    }

    /// The γ and β of a norm.
    pub(crate) fn norm_mut(&mut self, name: &str) -> Option<(&mut Array1<A>, &mut Array1<A>)> {
        let norm = self.norms.iter_mut().find(|norm| norm.name == name)?;
        Some((&mut norm.gamma, &mut norm.beta))
    }
}

impl<A> CellGradients<A> {
    /// All of them with their names: first Keras's, in the order of Keras's weights.
    pub fn arrays(&self) -> impl Iterator<Item = (&'static str, ArrayViewD<'_, A>)> {
        let mut arrays = vec![
            ("kernel", self.kernel.view().into_dyn()),
            ("recurrent_kernel", self.recurrent_kernel.view().into_dyn()),
        ];
        arrays.extend(self.bias.as_ref().map(|bias| ("bias", bias.view())));
        let matrices = [
            ("projection", &self.projection),
            ("peepholes", &self.peepholes),
        ];
        for (name, matrix) in matrices {
            arrays.extend(
                matrix
                    .as_ref()
                    .map(|matrix| (name, matrix.view().into_dyn())),
            );
        }
        for norm in &self.norms {
            arrays.push((norm.name, norm.gamma.view().into_dyn()));
            arrays.push((norm.name, norm.beta.view().into_dyn()));
        }
        arrays.into_iter()
    }
}

impl CellGradients {
    /// Adds those of other rows, of the arrays that Keras's weights have.
    pub(crate) fn add(&mut self, other: &Self) {
        self.kernel += &other.kernel;
        self.recurrent_kernel += &other.recurrent_kernel;
        if let (Some(own), Some(other)) = (&mut self.bias, &other.bias) {
            *own += other;
        }
    }
}

impl Gradients<f64> {
    /// In `f32`.
    pub(crate) fn narrow(self) -> Gradients {
        fn narrow<D: ndarray::Dimension>(array: &ndarray::Array<f64, D>) -> ndarray::Array<f32, D> {
            array.mapv(|value| value as f32)
        }
        let cells = self.cells.iter().map(|cell| CellGradients {
            kernel: narrow(&cell.kernel),
            recurrent_kernel: narrow(&cell.recurrent_kernel),
            bias: cell.bias.as_ref().map(narrow),
            projection: cell.projection.as_ref().map(narrow),
            peepholes: cell.peepholes.as_ref().map(narrow),
            norms: cell
                .norms
                .iter()
                .map(|norm| NormGradients {
                    name: norm.name,
                    gamma: narrow(&norm.gamma),
                    beta: narrow(&norm.beta),
                })
                .collect(),
        });
        Gradients {
            inputs: narrow(&self.inputs),
            initial_states: self.initial_states.iter().map(narrow).collect(),
            cells: cells.collect(),
            states: self
                .states
                .map(|states| states.iter().map(narrow).collect()),
        }
    }
}
