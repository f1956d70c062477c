//! Where the arrays that a user gives enter the graph.

use crate::{Call, Config, ConfigError, Layer, LayerError, Shape, Tensor};

/// Keras's `InputLayer`.
///
/// ```
/// use ifco_model::{Call, Layer, layers::InputLayer};
/// let input = InputLayer { shape: Some(vec![None, Some(10), Some(3)]) };
/// let shapes = input.output_shapes(&[], &Call::default())?;
/// assert_eq!(shapes, [[None, Some(10), Some(3)]]);
/// # Ok::<(), ifco_model::LayerError>(())
/// ```
#[derive(Debug)]
pub struct InputLayer {
    /// The shape it expects, batch first; `None` when the file does not tell.
    pub shape: Option<Shape>,
}

impl InputLayer {
    /// From `batch_shape` (Keras 3) or `batch_input_shape` (Keras 1 and 2).
    pub(super) fn from_config(config: &Config<'_>) -> Result<Self, ConfigError> {
        let key = ["batch_shape", "batch_input_shape"]
            .into_iter()
            .find(|k| config.get(k).is_some());
        let Some(key) = key else {
            return Ok(Self { shape: None });
        };
        let shape = config.get(key).and_then(crate::from_config::as_shape);
        shape
            .map(|shape| Self { shape: Some(shape) })
            .ok_or_else(|| config.invalid(key, "a shape such as [null, 10, 3]"))
    }
}

impl Layer for InputLayer {
    fn class_name(&self) -> &str {
        "InputLayer"
    }

    fn output_shapes(&self, _inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        match &self.shape {
            Some(shape) => Ok(vec![shape.clone()]),
            None => Err(LayerError::Other(
                "the file does not tell the input's shape".into(),
            )),
        }
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        Ok(inputs.to_vec())
    }
}
