//! A model's inputs and outputs, and where in their arrays the rows of a batch lie.

use std::ops::Range;

use ndarray::{ArrayD, ArrayViewD, Axis, Slice};

use crate::Shape;

/// An input or an output of a model.
///
/// ```
/// use ifco_model::{Generation, Model};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
///     {"class_name": "GRU", "config": {"name": "gru", "units": 8}},
/// ]}});
/// let model = Model::from_config(&json, Generation::Keras3)?;
/// let port = &model.inputs()[0];
/// assert_eq!(port.shape, Some(vec![None, Some(10), Some(3)])); // (batch, time, features)
/// assert_eq!(model.outputs()[0].shape, Some(vec![None, Some(8)]));
/// # Ok::<(), ifco_model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The layer's name, which Keras also uses as the key of a dictionary of inputs.
    pub name: String,
    /// Its shape; `None` where it cannot be told.
    pub shape: Option<Shape>,
    /// The axis of the batch: the first one in every model of Keras. In an ONNX file it may be
    /// another, as in `(time, batch, features)`, and `None` where the file does not let it be
    /// told: then the model runs on all that it is given at once, as on one row.
    pub batch_axis: Option<usize>,
}

impl Port {
    /// The axis of time of an input that has one: the first that is not the batch's.
    ///
    /// ```
    /// use ifco_model::Port;
    /// let mut port = Port { name: "x".into(), shape: None, batch_axis: Some(0) };
    /// assert_eq!(port.time_axis(), 1); // (batch, time, features)
    /// port.batch_axis = Some(1);
    /// assert_eq!(port.time_axis(), 0); // (time, batch, features)
    /// ```
    pub fn time_axis(&self) -> usize {
        usize::from(self.batch_axis == Some(0))
    }

    /// Its shape with the batch moved to the front: as it would be in a model of Keras. `None`
    /// where it is not known.
    ///
    /// ```
    /// use ifco_model::Port;
    /// use ndarray::Array;
    ///
    /// let shape = Some(vec![None, Some(4), Some(3)]); // (time, batch, features)
    /// let port = Port { name: "x".into(), shape, batch_axis: Some(1) };
    /// assert_eq!(port.batch_first(), Some(vec![Some(4), None, Some(3)]));
    /// let x = Array::zeros((4, 100, 3)).into_dyn();
    /// assert_eq!(port.from_batch_first(x).shape(), [100, 4, 3]);
    /// ```
    pub fn batch_first(&self) -> Option<Shape> {
        let mut shape = self.shape.clone()?;
        let axis = self.batch_axis?;
        shape.get_mut(..=axis)?.rotate_right(1);
        Some(shape)
    }

    /// An array whose batch comes first, as the port has it.
    pub fn from_batch_first(&self, mut array: ArrayD<f32>) -> ArrayD<f32> {
        let axis = self.batch_axis.filter(|axis| *axis < array.ndim());
        for at in 0..axis.unwrap_or(0) {
            array.swap_axes(at, at + 1);
        }
        array
    }

    /// How many rows an array of this shape holds.
    ///
    /// ```
    /// use ifco_model::Port;
    /// let mut port = Port { name: "x".into(), shape: None, batch_axis: Some(1) };
    /// assert_eq!(port.rows(&[100, 4, 3]), 4); // (time, batch, features)
    /// assert_eq!(port.steps(&[100, 4, 3]), 100);
    /// port.batch_axis = None;
    /// assert_eq!(port.rows(&[100, 4, 3]), 1);
    /// ```
    pub fn rows(&self, shape: &[usize]) -> usize {
        match self.batch_axis {
            Some(axis) => shape.get(axis).copied().unwrap_or(0),
            None => 1,
        }
    }

    /// How many steps each row of an array of this shape has; 1 where it has no axis of time.
    pub fn steps(&self, shape: &[usize]) -> usize {
        shape.get(self.time_axis()).copied().unwrap_or(1)
    }

    /// Some rows of an array; all of it where it cannot be told what a row is. Rows that are not
    /// there are left out.
    ///
    /// ```
    /// use ifco_model::Port;
    /// use ndarray::Array;
    ///
    /// let port = Port { name: "x".into(), shape: None, batch_axis: Some(1) };
    /// let x = Array::zeros((100, 4, 3)).into_dyn();
    /// assert_eq!(port.take_rows(x.view(), 1..3).shape(), [100, 2, 3]);
    /// ```
    pub fn take_rows<'a>(
        &self,
        array: ArrayViewD<'a, f32>,
        rows: Range<usize>,
    ) -> ArrayViewD<'a, f32> {
        let Some(axis) = self.batch_axis.filter(|axis| *axis < array.ndim()) else {
            return array;
        };
        let size = array.shape()[axis];
        let (start, end) = (rows.start.min(size), rows.end.min(size));
        let mut array = array;
        array.slice_axis_inplace(Axis(axis), Slice::from(start..end.max(start)));
        array
    }
}
