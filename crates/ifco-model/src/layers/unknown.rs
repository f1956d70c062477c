//! A layer of a class that ifco does not know: it can be shown, but not run.

use crate::{Call, Layer, LayerError, Shape, Tensor};

/// Stands for a layer that cannot be run, so that the rest of its model can be shown.
///
/// ```
/// use ifco_model::{Layer, layers::Unknown};
/// let layer = Unknown::new("Lambda");
/// assert_eq!(layer.class_name(), "Lambda");
/// assert!(!layer.can_run());
/// ```
#[derive(Debug)]
pub struct Unknown {
    class: String,
    /// The class, or more exactly what it is that ifco cannot run.
    what: String,
}

impl Unknown {
    /// A layer of this class.
    pub fn new(class: &str) -> Self {
        Self::described(class, class)
    }

    /// A layer of a class that ifco runs otherwise, but not in this form.
    pub(super) fn described(class: &str, what: &str) -> Self {
        Self {
            class: class.into(),
            what: what.into(),
        }
    }

    fn error(&self) -> LayerError {
        LayerError::Unsupported {
            class: self.what.clone(),
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
