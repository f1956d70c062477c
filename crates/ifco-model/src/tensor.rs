//! What travels along the edges of a model's graph.

use ndarray::{ArcArray, ArrayD, ArrayViewD, IxDyn};

/// An array of any rank that is cheap to clone: copies share memory until one is written to.
///
/// ```
/// use ifco_model::Array;
/// let zeros = Array::zeros(vec![2, 3]);
/// let mut copy = zeros.clone(); // shares its memory until here:
/// copy[[0, 0]] = 1.0;
/// assert_eq!(zeros[[0, 0]], 0.0);
/// ```
pub type Array = ArcArray<f32, IxDyn>;

/// True where a step counts. `(batch, time)` for a sequence.
///
/// ```
/// let mask: ifco_model::Mask = ndarray::array![[true, true, false]].into_dyn().into();
/// assert_eq!(mask.shape(), [1, 3]);
/// ```
pub type Mask = ArcArray<bool, IxDyn>;

/// A shape whose batch size, and perhaps more, is not known: Keras's `(None, 10, 3)`.
///
/// ```
/// let shape: ifco_model::Shape = vec![None, Some(10), Some(3)];
/// assert_eq!(ifco_model::display_shape(&shape), "(None, 10, 3)");
/// ```
pub type Shape = Vec<Option<usize>>;

/// An array, and the mask that Keras would carry along with it (`_keras_mask`).
///
/// ```
/// use ifco_model::Tensor;
/// use ndarray::array;
///
/// let x = array![[[1.0], [2.0]]].into_dyn(); // (batch, time, features)
/// let mask = array![[true, false]].into_dyn().into();
/// let tensor = Tensor::new(x.clone()).with_mask(Some(mask));
/// assert_eq!(tensor.shape(), [1, 2, 1]);
/// assert!(tensor.mask.is_some());
/// assert_eq!(tensor.into_owned(), x);
/// assert!(Tensor::number(2.0).shape().is_empty());
/// ```
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
///
/// ```
/// use ifco_model::display_shape;
/// assert_eq!(display_shape(&[None, Some(10), Some(3)]), "(None, 10, 3)");
/// assert_eq!(display_shape(&[None]), "(None,)");
/// ```
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
