//! `y = activation(x·W + b)` over the last axis.

use ifco_cell::Activation;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayD, Ix1, Ix2};

use super::support::{
    activate, add_bias, check_weights, elements, matrix, output_shape, positive, reshaped, single,
    tensor, values, wrong_input,
};
use crate::{Call, Config, ConfigError, Layer, LayerError, Shape, Tensor, WeightSlot};

/// Keras's `Dense`, on inputs of any rank from 2.
#[derive(Debug)]
pub struct Dense {
    units: usize,
    activation: Activation,
    use_bias: bool,
    kernel: Option<Array2<f32>>,
    bias: Option<Array1<f32>>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Dense {
        units: positive(config, "units", None)?,
        activation: config.activation_or("activation", Activation::Linear)?,
        use_bias: config.bool_or("use_bias", true)?,
        kernel: None,
        bias: None,
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
            self.kernel = Some(reshaped(kernel, Ix2(features, self.units))?);
        }
        if let Some(bias) = weights.next() {
            self.bias = Some(reshaped(bias, Ix1(self.units))?);
        }
        Ok(())
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("Dense", inputs)?;
        let Some((last, leading)) = shape
            .split_last()
            .filter(|(_, leading)| !leading.is_empty())
        else {
            return Err(wrong_input(0, shape, "(batch, …, features)"));
        };
        if let (Some(kernel), Some(features)) = (&self.kernel, last)
            && kernel.nrows() != *features
        {
            let expected = format!("{} features in the last axis", kernel.nrows());
            return Err(wrong_input(0, shape, expected));
        }
        let mut output = leading.to_vec();
        output.push(Some(self.units));
        Ok(vec![output])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let kernel = self.kernel.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single("Dense", inputs)?;
        let shape = output_shape(self, inputs)?;
        let rows = elements(&shape[..shape.len() - 1])?;
        let input_values = values(input);
        let x = matrix(rows, kernel.nrows(), &input_values)?;
        let mut y = Array2::zeros((rows, self.units));
        general_mat_mul(1.0, &x, kernel, 0.0, &mut y);
        let mut y = y.into_raw_vec_and_offset().0;
        if let Some(bias) = self.bias.as_ref().and_then(|bias| bias.as_slice()) {
            add_bias(&mut y, bias);
        }
        activate(&self.activation, &mut y, self.units);
        Ok(vec![tensor(&shape, y)?.with_mask(input.mask.clone())])
    }
}
