//! The masks of dropout, as the caller drew them.

use ndarray::Array3;

use crate::{ForwardError, RecurrentLayer};

/// Dropout of a recurrent layer for one call: factors that are drawn already, 0 or `1 / (1 − rate)`
/// (or any others), for all steps the same.
///
/// A cell's masks are `(1, batch, features)`: one for all gates, or `(gates, batch, features)`: one
/// for each gate, in the order of the kernel's columns. Those of the hidden state have `units` (of a
/// projected LSTM `outputs`) in place of features. An empty list, or `None`, is no dropout.
///
/// What Keras draws, for each call of the layer anew:
///
/// - Keras 3, `dropout` alone: one mask. With `implementation=1`, which `recurrent_dropout`
///   forces: a mask for each gate, of inputs and of h. A SimpleRNN always has one.
/// - Keras 2: the same, but that an LSTM or GRU layer that its fused kernel can run (tanh, sigmoid,
///   no `recurrent_dropout`) draws one mask for *every step*: multiply the inputs with it instead,
///   and their gradient.
///
/// The h that a GRU keeps (`z∘h`) is whole: only what the gates see of it is dropped.
///
/// ```
/// use ifco_cell::{
///     Activation, Dropout, RecurrentLayer, SequenceOptions, SimpleRnnCell, SimpleRnnWeights,
/// };
/// use ndarray::{Array3, array};
///
/// let weights = SimpleRnnWeights::new(array![[1.0], [1.0]], array![[1.0]], None)?;
/// let cell = SimpleRnnCell::new(weights, Activation::Linear); // h' = x_0 + x_1 + h
/// let layer = RecurrentLayer::new(vec![cell.into()], SequenceOptions::default())?;
/// let dropout = Dropout {
///     inputs: vec![Some(array![[[0.0, 2.0]]])], // x_0 is dropped, of a rate of 0.5
///     recurrent: vec![],
/// };
/// let x = Array3::ones((1, 3, 2));
/// let (sequence, _) = layer.forward_for_training(x.view(), None, None, &dropout)?;
/// assert_eq!(sequence.output.last().unwrap(), array![[6.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dropout {
    /// For each cell: of what it reads, Keras's `dropout`.
    pub inputs: Vec<Option<Array3<f32>>>,
    /// For each cell: of its hidden state, Keras's `recurrent_dropout`.
    pub recurrent: Vec<Option<Array3<f32>>>,
}

impl Dropout {
    /// Whether nothing is dropped.
    pub fn is_none(&self) -> bool {
        let mut all = self.inputs.iter().chain(&self.recurrent);
        all.all(|masks| masks.is_none())
    }

    /// The masks of what a cell reads.
    pub(crate) fn inputs_of(&self, cell: usize) -> Option<&Array3<f32>> {
        self.inputs.get(cell)?.as_ref()
    }

    /// The masks of a cell's hidden state.
    pub(crate) fn recurrent_of(&self, cell: usize) -> Option<&Array3<f32>> {
        self.recurrent.get(cell)?.as_ref()
    }

    pub(crate) fn check(&self, layer: &RecurrentLayer, batch: usize) -> Result<(), ForwardError> {
        let cells = layer.cells();
        for (what, all) in [("inputs", &self.inputs), ("recurrent", &self.recurrent)] {
            if all.len() > cells.len() {
                return Err(ForwardError {
                    what: format!("dropout.{what}"),
                    found: vec![all.len()],
                    expected: format!("at most {}: one for each cell", cells.len()),
                });
            }
            for (k, (masks, cell)) in all.iter().zip(cells).enumerate() {
                let Some(masks) = masks else { continue };
                let gates = cell.kind().gates();
                let (size, name) = match what {
                    "inputs" => (cell.features(), "features"),
                    _ => (cell.outputs(), "units"),
                };
                let fits = [1, gates].map(|count| masks.dim() == (count, batch, size));
                if !fits.contains(&true) {
                    let one_or = if gates == 1 { "" } else { "1 or " };
                    return Err(ForwardError {
                        what: format!("dropout.{what}[{k}]"),
                        found: masks.shape().to_vec(),
                        expected: format!(
                            "({one_or}{gates}, {batch}, {size}): (gates, batch, {name})"
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}
