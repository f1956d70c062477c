//! `Embedding`: a row of a table for each index. `Masking`: which steps count.

use ndarray::{Array2, ArrayD, Axis, Ix2};

use super::support::{
    array, check_weights, elements, output_shape, positive, reshaped, single, tensor, values,
    wrong_input,
};
use crate::{Call, Config, ConfigError, Generation, Layer, LayerError, Shape, Tensor, WeightSlot};

/// Keras's `Embedding`.
#[derive(Debug)]
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    mask_zero: bool,
    embeddings: Option<Array2<f32>>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Embedding {
        input_dim: positive(config, "input_dim", None)?,
        output_dim: positive(config, "output_dim", None)?,
        mask_zero: config.bool_or("mask_zero", false)?,
        embeddings: None,
    }))
}

impl Embedding {
    /// The row that a value of the input names.
    fn index(&self, value: f32) -> Option<usize> {
        // Every index that f32 holds exactly is below 2²⁴; rounding makes larger ones wrong
        // before they come here, but never larger than the comparison below allows.
        let whole = value.fract() == 0.0 && value >= 0.0;
        let index = value as usize;
        (whole && index < self.input_dim).then_some(index)
    }
}

impl Layer for Embedding {
    fn class_name(&self) -> &str {
        "Embedding"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        WeightSlot::list("", &["embeddings"])
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let shape = [Some(self.input_dim), Some(self.output_dim)];
        check_weights("Embedding", &self.weight_slots(), &weights, &[&shape])?;
        for embeddings in weights {
            self.embeddings = Some(reshaped(embeddings, Ix2(self.input_dim, self.output_dim))?);
        }
        Ok(())
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, LayerError> {
        let mut shape = single("Embedding", inputs)?.clone();
        shape.push(Some(self.output_dim));
        Ok(vec![shape])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let embeddings = self.embeddings.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single("Embedding", inputs)?;
        let shape = output_shape(self, inputs)?;
        let mut output = Vec::with_capacity(elements(&shape)?);
        for (position, value) in input.data.indexed_iter() {
            let index = self.index(*value).ok_or_else(|| {
                LayerError::Other(format!(
                    "input 0 has the value {value} at {:?}, expected a whole number from 0 to {}: \
                     the embedding has {} rows",
                    ndarray::Dimension::slice(&position),
                    self.input_dim - 1,
                    self.input_dim
                ))
            })?;
            output.extend(embeddings.row(index));
        }
        let mask = self
            .mask_zero
            .then(|| input.data.mapv(|value| value != 0.0).into());
        Ok(vec![tensor(&shape, output)?.with_mask(mask)])
    }
}

/// Keras's `Masking`: a step of which every value is `mask_value` does not count.
#[derive(Debug)]
pub struct Masking {
    mask_value: f32,
    generation: Generation,
}

pub(super) fn build_masking(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let mask_value = match array(config, "mask_value")? {
        None => 0.0,
        Some(value) if value.len() == 1 => value.iter().copied().sum(),
        Some(_) => return Err(config.invalid("mask_value", "a number")),
    };
    Ok(Box::new(Masking {
        mask_value,
        generation: config.generation,
    }))
}

impl Layer for Masking {
    fn class_name(&self) -> &str {
        "Masking"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>, LayerError> {
        let shape = single("Masking", inputs)?;
        if shape.len() < 2 {
            return Err(wrong_input(0, shape, "(batch, …, features)"));
        }
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single("Masking", inputs)?;
        let shape = output_shape(self, inputs)?;
        let mask = input.data.map_axis(Axis(shape.len() - 1), |step| {
            step.iter().any(|value| *value != self.mask_value)
        });
        // Keras 2 multiplies by the mask, which leaves NaN where the mask value is infinite.
        let masked = match self.generation {
            Generation::Keras3 => 0.0,
            _ => self.mask_value * 0.0,
        };
        let mut output = values(input).into_owned();
        let features = shape[shape.len() - 1];
        if features > 0 {
            for (step, counts) in output.chunks_exact_mut(features).zip(&mask) {
                if !counts {
                    step.fill(masked);
                }
            }
        }
        Ok(vec![tensor(&shape, output)?.with_mask(Some(mask.into()))])
    }
}
