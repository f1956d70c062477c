//! `x·W + b`: the product that dense layers, attention heads and pointwise convolutions share.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array3, ArrayD, ArrayView2, Ix3, IxDyn};

use super::support::{add_bias, elements, matrix, permuted, reshaped, values};
use crate::{LayerError, Tensor};

/// The weights of a product over the last axis of its input, or over the last few made one.
#[derive(Debug)]
pub(super) struct Projection {
    /// `(inputs, outputs)`, several axes of each made one.
    pub(super) kernel: Array2<f32>,
    /// Empty where there is none.
    pub(super) bias: Vec<f32>,
}

impl Projection {
    /// The product with each of `rows` rows of values.
    pub(super) fn apply(&self, input: &[f32], rows: usize) -> Result<Vec<f32>, LayerError> {
        let columns = self.kernel.ncols();
        let x: ArrayView2<'_, f32> = matrix(rows, self.kernel.nrows(), input)?;
        elements(&[rows, columns])?;
        let mut y = Array2::zeros((rows, columns));
        general_mat_mul(1.0, &x, &self.kernel, 0.0, &mut y);
        let mut y = y.into_raw_vec_and_offset().0;
        add_bias(&mut y, &self.bias);
        Ok(y)
    }

    /// The product with a tensor, split into `heads`: its last axis becomes `(heads,
    /// dimensions)`. Then the axes are brought to `order`, in which the last `attended` before
    /// the dimensions are those of the steps.
    pub(super) fn split(
        &self,
        input: &Tensor,
        heads: usize,
        order: &[usize],
        attended: usize,
    ) -> Result<Heads, LayerError> {
        let (_, leading) = input.shape().split_last().unwrap_or((&0, &[]));
        let mut sizes = leading.to_vec();
        let projected = self.apply(&values(input), elements(&sizes)?)?;
        sizes.extend([heads, self.kernel.ncols() / heads]);
        let array = ArrayD::from_shape_vec(IxDyn(&sizes), projected)
            .map_err(|error| LayerError::Other(error.to_string()))?;
        let array = permuted(array.view(), order);
        let last = array.ndim() - 1;
        let accompanying = array.shape()[..last - attended].to_vec();
        let steps = array.shape()[last - attended..last].to_vec();
        let flat = Ix3(
            elements(&accompanying)?,
            elements(&steps)?,
            array.shape()[last],
        );
        Ok(Heads {
            data: reshaped(array, flat)?,
            accompanying,
            steps,
        })
    }
}

/// What the heads see of a tensor.
pub(super) struct Heads {
    /// `(accompanying, steps, dimensions)`.
    pub(super) data: Array3<f32>,
    /// The sizes of the axes that only accompany: the batch, the heads, what is not attended to.
    pub(super) accompanying: Vec<usize>,
    /// The sizes of the axes attended over.
    pub(super) steps: Vec<usize>,
}
