//! A layer of a class that ifco does not know: it can be shown, but not run.

use crate::{Call, Layer, LayerError, Shape, Tensor};

/// Stands for a layer that cannot be run, so that the rest of its model can be shown.
#[derive(Debug)]
pub struct Unknown {
    class: String,
}

impl Unknown {
    /// A layer of this class.
    pub fn new(class: &str) -> Self {
        Self {
            class: class.into(),
        }
    }

    fn error(&self) -> LayerError {
        LayerError::Unsupported {
            class: self.class.clone(),
        }
    }
}

impl Layer for Unknown {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, _inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        Err(self.error())
    }

    fn call(&self, _inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        Err(self.error())
    }

    fn can_run(&self) -> bool {
        false
    }
}
