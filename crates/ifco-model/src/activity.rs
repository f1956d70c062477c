//! What a layer's outputs add to the loss: Keras's `activity_regularizer`.
//!
//! Wherever Keras calls a layer as `layer(x)`, it adds regularizer(output) / batch size to the loss
//! for each output, states among them, whatever their masks say, in training and in evaluation
//! (`Layer.__call__`). It does not where it calls `layer.call(x)`: the layer inside of a
//! TimeDistributed.

use ndarray::ArrayViewD;

use crate::training::add;
use crate::{
    Array, Config, ConfigError, Forward, Generation, LayerError, Regularizer, Tensor, Training,
};

/// The regularizer of a layer's outputs.
#[derive(Debug)]
pub(crate) struct Activity(Result<Regularizer, ConfigError>);

/// What outputs add to the loss, and the gradient of that by each, where it is part of the way
/// back.
#[derive(Default)]
pub(crate) struct Penalty {
    pub value: f32,
    /// One for each output; none where they are not part of the way back.
    pub slopes: Vec<Array>,
}

impl Activity {
    /// That of a layer of this class, if it has one that Keras applies to what the layer returns.
    pub(crate) fn of(class: &str, config: &Config<'_>) -> Option<Self> {
        match class {
            "ActivityRegularization" => {
                let factor = |key| config.f64_or(key, 0.0);
                let both = factor("l1").and_then(|l1| Ok((l1, factor("l2")?)));
                Some(Self(both.map(|(l1, l2)| Regularizer::L1L2 { l1, l2 })))
            }
            // Its projections have it, and not the layer.
            "MultiHeadAttention" => None,
            // Keras 3 takes it and forgets it.
            "SimpleRNN" if config.generation == Generation::Keras3 => None,
            _ => Self::read(config),
        }
    }

    /// What stands in the configuration.
    pub(crate) fn read(config: &Config<'_>) -> Option<Self> {
        let regularizer = config.get("activity_regularizer")?;
        Some(Self(Regularizer::from_keras(regularizer)))
    }

    /// What these outputs of one call add to the loss. The gradients are part of the way back in
    /// training alone: whoever runs a model as at inference asks for those of what it predicts.
    pub(crate) fn penalty(
        &self,
        outputs: &[&Tensor],
        training: &Training,
    ) -> Result<Penalty, LayerError> {
        let with_rows = outputs.iter().map(|output| {
            let rows = output.shape().first().copied().unwrap_or(1);
            (output.view(), rows)
        });
        self.penalty_of(with_rows, training)
    }

    /// The same of arrays that may lie in another way, each with its batch's size.
    pub(crate) fn penalty_of<'v>(
        &self,
        outputs: impl Iterator<Item = (ArrayViewD<'v, f32>, usize)>,
        training: &Training,
    ) -> Result<Penalty, LayerError> {
        let mut penalty = Penalty {
            value: 0.0,
            slopes: Vec::new(),
        };
        let regularizer = match &self.0 {
            Ok(regularizer) => regularizer,
            Err(error) if training.is_training() => {
                return Err(LayerError::Other(error.to_string()));
            }
            Err(_) => return Ok(penalty),
        };
        let steps = training.folded_steps();
        if steps != 1 && matches!(regularizer, Regularizer::Orthogonal { .. }) {
            return Err(LayerError::Other(
                "an orthogonal activity_regularizer cannot be applied inside of a TimeDistributed"
                    .into(),
            ));
        }
        for (output, rows) in outputs {
            let rows = rows / steps;
            let scale = if rows == 0 { 0.0 } else { 1.0 / rows as f32 };
            let (value, mut slope) = regularizer
                .with_gradient(&output)
                .map_err(|error| LayerError::Other(error.to_string()))?;
            penalty.value += value * scale;
            if training.is_training() {
                slope *= scale;
                penalty.slopes.push(slope.into_shared());
            }
        }
        Ok(penalty)
    }

    /// What a call made, with its penalty.
    pub(crate) fn applied<'a>(
        &self,
        forward: Forward<'a>,
        training: &Training,
    ) -> Result<Forward<'a>, LayerError> {
        let outputs: Vec<&Tensor> = forward.outputs.iter().collect();
        let penalty = self.penalty(&outputs, training)?;
        let backward = forward.backward;
        Ok(Forward {
            penalty: forward.penalty + penalty.value,
            backward: Box::new(move |mut gradients| {
                penalty.add_to(&mut gradients);
                backward(gradients)
            }),
            ..forward
        })
    }
}

impl Penalty {
    /// Adds its gradients to those of the outputs.
    pub(crate) fn add_to(self, gradients: &mut Vec<Option<Array>>) {
        if gradients.len() < self.slopes.len() {
            gradients.resize(self.slopes.len(), None);
        }
        for (sum, slope) in gradients.iter_mut().zip(self.slopes) {
            add(sum, Some(slope));
        }
    }
}
