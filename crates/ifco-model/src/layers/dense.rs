//! `y = activation(x·W + b)` over the last axis.

use std::sync::Arc;

use ifco_cell::Activation;
use ndarray::{ArrayD, ArrayViewMut1, Ix2};

use super::derivative::Activated;
use super::projection::Projection;
use super::support::{
    activate, check_weights, elements, flat, one, output_shape, positive, reshaped, single, tensor,
    values, wrong_input,
};
use crate::WeightUpdate;
use crate::{
    Call, Config, ConfigError, Forward, Layer, LayerError, LayerGradients, NotStreamable, Shape,
    StepShape, Streamed, Tensor, Training, WeightSlot,
};

/// Keras's `Dense`, on inputs of any rank from 2.
#[derive(Debug)]
pub struct Dense {
    units: usize,
    activation: Activation,
    use_bias: bool,
    /// Shared with the sessions.
    weights: Option<Arc<Projection>>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Dense {
        units: positive(config, "units", None)?,
        activation: config.activation_or("activation", Activation::Linear)?,
        use_bias: config.bool_or("use_bias", true)?,
        weights: None,
    }))
}

impl Layer for Dense {
    fn class_name(&self) -> &str {
        "Dense"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        let names: &[&str] = if self.use_bias {
            &["kernel", "bias"]
        } else {
            &["kernel"]
        };
        WeightSlot::list("", names)
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let shapes: [&[_]; 2] = [&[None, Some(self.units)], &[Some(self.units)]];
        check_weights("Dense", &self.weight_slots(), &weights, &shapes)?;
        let mut weights = weights.into_iter();
        if let Some(kernel) = weights.next() {
            let features = kernel.shape()[0];
            self.weights = Some(Arc::new(Projection {
                kernel: reshaped(kernel, Ix2(features, self.units))?,
                bias: weights.flatten().collect(),
            }));
        }
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let weights = self.weights.as_ref()?;
        let kernel = weights.kernel.clone().into_dyn();
        let bias = self.use_bias.then(|| flat(&weights.bias));
        Some([kernel].into_iter().chain(bias).collect())
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("Dense", inputs)?;
        let Some((last, leading)) = shape
            .split_last()
            .filter(|(_, leading)| !leading.is_empty())
        else {
            return Err(wrong_input(0, shape, "(batch, …, features)"));
        };
        if let (Some(weights), Some(features)) = (&self.weights, last)
            && weights.kernel.nrows() != *features
        {
            let rows = weights.kernel.nrows();
            let expected = format!("{rows} features in the last axis");
            return Err(wrong_input(0, shape, expected));
        }
        let mut output = leading.to_vec();
        output.push(Some(self.units));
        Ok(vec![output])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let weights = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single("Dense", inputs)?;
        let shape = output_shape(self, inputs)?;
        let rows = elements(&shape[..shape.len() - 1])?;
        let mut output = weights.apply(&values(input), rows)?;
        activate(&self.activation, &mut output, self.units);
        Ok(vec![tensor(&shape, output)?.with_mask(input.mask.clone())])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        _call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let weights = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single("Dense", inputs)?.clone();
        let shape = output_shape(self, inputs)?;
        let rows = elements(&shape[..shape.len() - 1])?;
        let output = weights.apply(&values(&input), rows)?;
        let (output, activated) = Activated::apply(&self.activation, output, &shape)?;
        let output = output.with_mask(input.mask.clone());
        let wants = training.wants();
        Ok(Forward::new(output, move |gradient| {
            let gradient = activated.backward(gradient);
            let mut gradients = weights.backward(&values(&input), &gradient, rows, wants)?;
            let of_weights = gradients.weights.take().map(|(kernel, bias)| {
                let bias = bias.map(|bias| flat(&bias).into());
                [Some(kernel.into_dyn().into()), bias]
            });
            Ok(LayerGradients {
                inputs: vec![gradients.input_of(input.shape())?],
                weights: of_weights.into_iter().flatten().collect(),
                ..LayerGradients::default()
            })
        }))
    }

    fn update_weights(&mut self, update: &mut WeightUpdate<'_>) -> Result<(), LayerError> {
        // In place, unless a session shares them.
        let weights = Arc::make_mut(self.weights.as_mut().ok_or(LayerError::NoWeights)?);
        update(0, weights.kernel.view_mut().into_dyn())?;
        match self.use_bias {
            true => update(1, ArrayViewMut1::from(&mut weights.bias[..]).into_dyn()),
            false => Ok(()),
        }
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let weights = Arc::clone(self.weights.as_ref().ok_or(LayerError::NoWeights)?);
        let input = one(inputs)?;
        if input.sizes.is_empty() {
            return Err(NotStreamable::new(
                "its input (batch, features) has no time axis along which a stream could run",
            ));
        }
        let output = input.through(self)?;
        let (activation, units) = (self.activation, output.activated(&self.activation)?);
        if let (Some(sum), [_]) = (weights.of_one_output(), &input.sizes[..]) {
            let sum = move |x: &[f32], out: &mut [f32]| {
                out.iter_mut().take(1).for_each(|y| *y = sum(x));
            };
            return Ok(match activation {
                Activation::Linear => Streamed::of(output, sum),
                activation => Streamed::of(output, move |x, out| {
                    sum(x, out);
                    activate(&activation, out, units);
                }),
            });
        }
        Ok(Streamed::of(output, move |x, out| {
            weights.apply_to(x, out);
            activate(&activation, out, units);
        }))
    }
}
