//! What travels along the edges of a model's graph.

use ndarray::{ArcArray, ArrayD, ArrayViewD, IxDyn};

/// An array of any rank that is cheap to clone: copies share memory until one is written to.
pub type Array = ArcArray<f32, IxDyn>;

/// True where a step counts. `(batch, time)` for a sequence.
pub type Mask = ArcArray<bool, IxDyn>;

/// A shape whose batch size, and perhaps more, is not known: Keras's `(None, 10, 3)`.
pub type Shape = Vec<Option<usize>>;

/// An array, and the mask that Keras would carry along with it (`_keras_mask`).
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The values; the first axis is the batch.
    pub data: Array,
    /// Which steps count; `None` is all of them.
    pub mask: Option<Mask>,
}

impl Tensor {
    /// A tensor without a mask.
    pub fn new(data: impl Into<Array>) -> Self {
        Self {
            data: data.into(),
            mask: None,
        }
    }

    /// A single number: an array without axes.
    pub fn number(value: f32) -> Self {
        Self::new(ArcArray::from_elem(IxDyn(&[]), value))
    }

    /// The same values with this mask.
    pub fn with_mask(mut self, mask: Option<Mask>) -> Self {
        self.mask = mask;
        self
    }

    /// The shape of the values.
    pub fn shape(&self) -> &[usize] {
        self.data.shape()
    }

    /// A view of the values.
    pub fn view(&self) -> ArrayViewD<'_, f32> {
        self.data.view()
    }

    /// The values as an owned array, copied only if somebody else holds them too.
    pub fn into_owned(self) -> ArrayD<f32> {
        self.data.into_owned()
    }
}

impl From<ArrayD<f32>> for Tensor {
    fn from(data: ArrayD<f32>) -> Self {
        Self::new(data)
    }
}

/// A shape as Keras prints it: `(None, 10, 3)`.
pub fn display_shape(shape: &[Option<usize>]) -> String {
    let sizes: Vec<String> = shape
        .iter()
        .map(|size| size.map_or("None".into(), |n| n.to_string()))
        .collect();
    match sizes.as_slice() {
        [one] => format!("({one},)"),
        many => format!("({})", many.join(", ")),
    }
}
