//! Layers that only do something in training: at inference their output is their input, with
//! its mask.

use crate::{Call, Config, ConfigError, Layer, LayerError, Shape, Tensor};

/// Dropout and its kin at inference.
#[derive(Debug)]
pub struct Identity {
    class: String,
}

pub(super) fn build(class: &str, _config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Identity {
        class: class.into(),
    }))
}

impl Layer for Identity {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        Ok(inputs.to_vec())
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        Ok(inputs.to_vec())
    }
}
