//! Layers that only do something in training: at inference their output is their input, with
//! its mask.

use super::support::{one, single, wrong_input};
use crate::{
    Call, Config, ConfigError, Generation, Layer, LayerError, NotStreamable, Shape, StepShape,
    Streamed, Tensor,
};

/// Dropout and its kin at inference.
#[derive(Debug)]
pub struct Identity {
    class: String,
    /// The only rank it takes, if Keras insists on one.
    rank: Option<usize>,
    passes_mask: bool,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Identity {
        class: class.into(),
        rank: match class {
            "SpatialDropout1D" => Some(3),
            "SpatialDropout2D" => Some(4),
            _ => None,
        },
        // Keras 2's Identity returns a copy, and does not say that it supports masking.
        passes_mask: class != "Identity" || config.generation == Generation::Keras3,
    }))
}

impl Layer for Identity {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single(&self.class, inputs)?;
        match self.rank {
            Some(rank) if rank != shape.len() => {
                Err(wrong_input(0, shape, format!("a shape of {rank} sizes")))
            }
            _ => Ok(vec![shape.clone()]),
        }
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        super::support::output_shape(self, inputs)?;
        let masked = |input: &Tensor| input.mask.clone().filter(|_| self.passes_mask);
        Ok(inputs
            .iter()
            .map(|input| input.clone().with_mask(masked(input)))
            .collect())
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?.through(self)?;
        let output = input.with_masked(input.masked && self.passes_mask);
        Ok(Streamed::in_place(output, |_| {}))
    }
}
