//! The way back through an activation.

use ifco_cell::Activation;

use super::support::{activate, into_values, tensor, values};
use crate::{Array, LayerError, Tensor};

/// An activation that was applied, and what its derivative needs.
pub(super) struct Activated {
    activation: Activation,
    /// How many values a row has, for those that work on rows.
    features: usize,
    /// What it was applied to; `None` where the output tells the derivative.
    before: Option<Vec<f32>>,
    after: Array,
}

impl Activated {
    /// Applies the activation to rows of as many values as the last axis has.
    pub(super) fn apply(
        activation: &Activation,
        mut values: Vec<f32>,
        shape: &[usize],
    ) -> Result<(Tensor, Self), LayerError> {
        let before = (!told_by_output(activation)).then(|| values.clone());
        let features = shape.last().copied().unwrap_or(1);
        activate(activation, &mut values, features);
        let output = tensor(shape, values)?;
        let after = output.data.clone();
        let activated = Self {
            activation: *activation,
            features,
            before,
            after,
        };
        Ok((output, activated))
    }

    /// The gradient of what it was applied to, of that of its output.
    pub(super) fn backward(&self, gradient: Array) -> Vec<f32> {
        let mut gradient = into_values(gradient);
        if self.activation == Activation::Linear {
            return gradient;
        }
        let after = Tensor::new(self.after.clone());
        let after = values(&after);
        let before = self.before.as_deref().unwrap_or(&after);
        self.activation
            .backward_rows(before, &after, &mut gradient, self.features);
        gradient
    }
}

/// Whether the output alone tells the derivative.
fn told_by_output(activation: &Activation) -> bool {
    matches!(
        activation,
        Activation::Linear | Activation::Sigmoid | Activation::Tanh | Activation::Softmax
    )
}
