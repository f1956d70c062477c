//! `x·W + b`: the product that dense layers, attention heads and pointwise convolutions share.

use ndarray::{Array1, Array2, Array3, Ix3};

use super::support::{
    add_bias, elements, matrix, permuted, product, reshaped, sum_of_rows, tensor, values,
};
use crate::training::Wants;
use crate::{Array, LayerError, Tensor};

/// The weights of a product over the last axis of its input, or over the last few made one.
#[derive(Debug, Clone)]
pub(super) struct Projection {
    /// `(inputs, outputs)`, several axes of each made one.
    pub(super) kernel: Array2<f32>,
    /// Empty where there is none.
    pub(super) bias: Vec<f32>,
}

impl Projection {
    /// The product with each of `rows` rows of values.
    pub(super) fn apply(&self, input: &[f32], rows: usize) -> Result<Vec<f32>, LayerError> {
        let x = matrix(rows, self.kernel.nrows(), input)?;
        elements(&[rows, self.kernel.ncols()])?;
        if self.kernel.ncols() == 1 && self.kernel.nrows() > 0 && self.kernel.is_standard_layout() {
            let mut y = vec![0.0; rows];
            self.apply_to(input, &mut y);
            return Ok(y);
        }
        let mut y = product(x, self.kernel.view());
        add_bias(&mut y, &self.bias);
        Ok(y)
    }

    /// The gradients of what [`apply`](Self::apply) took, of that of what it gave.
    pub(super) fn backward(
        &self,
        input: &[f32],
        gradient: &[f32],
        rows: usize,
        wants: Wants,
    ) -> Result<ProjectionGradients, LayerError> {
        let (inputs, outputs) = self.kernel.dim();
        let x = matrix(rows, inputs, input)?;
        let dy = matrix(rows, outputs, gradient)?;
        let weights = wants.weights.then(|| -> Result<_, LayerError> {
            let kernel = product(x.t(), dy);
            let kernel = Array2::from_shape_vec((inputs, outputs), kernel)
                .map_err(|error| LayerError::Other(error.to_string()))?;
            let bias = (!self.bias.is_empty()).then(|| sum_of_rows(gradient, outputs));
            Ok((kernel, bias))
        });
        Ok(ProjectionGradients {
            input: wants.inputs.then(|| product(dy, self.kernel.t())),
            weights: weights.transpose()?,
        })
    }

    /// The product with each row of `input`, without taking memory.
    pub(super) fn apply_to(&self, input: &[f32], output: &mut [f32]) {
        let (inputs, outputs) = (self.kernel.nrows().max(1), self.kernel.ncols().max(1));
        let kernel = self.kernel.as_slice().unwrap_or_default();
        let rows = input.chunks_exact(inputs);
        if outputs == 1 {
            // One sum alone would wait for each of its additions.
            let bias = self.bias.first().copied().unwrap_or_default();
            let sums = rows.map(|x| bias + dot(x, kernel));
            output.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum);
            return;
        }
        output.fill(0.0);
        add_bias(output, &self.bias);
        for (x, y) in rows.zip(output.chunks_exact_mut(outputs)) {
            for (x, weights) in x.iter().zip(kernel.chunks_exact(outputs)) {
                y.iter_mut().zip(weights).for_each(|(y, w)| *y += x * w);
            }
        }
    }

    /// The product with one row at a time, where there is a single output: all that is looked up
    /// was, which for a few units takes as long as the sum.
    pub(super) fn of_one_output(&self) -> Option<impl Fn(&[f32]) -> f32 + Send + 'static> {
        if self.kernel.ncols() != 1 {
            return None;
        }
        let kernel: Box<[f32]> = self.kernel.iter().copied().collect();
        let bias = self.bias.first().copied().unwrap_or_default();
        Some(move |x: &[f32]| bias + dot(x, &kernel))
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
        let array = tensor(&sizes, projected)?;
        let sizes: Vec<usize> = order.iter().map(|axis| sizes[*axis]).collect();
        let last = sizes.len() - 1;
        let (accompanying, steps) = (&sizes[..last - attended], &sizes[last - attended..last]);
        let flat = (elements(accompanying)?, elements(steps)?, sizes[last]);
        let data = Array1::from(permuted(array.view(), order));
        Ok(Heads {
            data: reshaped(data.into_dyn(), Ix3(flat.0, flat.1, flat.2))?,
            accompanying: accompanying.to_vec(),
            steps: steps.to_vec(),
        })
    }
}

/// Σ x·w, as sums beside each other.
fn dot(x: &[f32], w: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (wholes, rest) = (x.chunks_exact(LANES), x.chunks_exact(LANES).remainder());
    let ends = w.get(x.len() - rest.len()..).unwrap_or_default();
    for (x, w) in wholes.zip(w.chunks_exact(LANES)) {
        for (sum, (x, w)) in sums.iter_mut().zip(x.iter().zip(w)) {
            *sum += x * w;
        }
    }
    for (sum, (x, w)) in sums.iter_mut().zip(rest.iter().zip(ends)) {
        *sum += x * w;
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (b + f)) + ((c + g) + (d + h))
}

/// The gradients of a product's input and weights, those that were asked for.
pub(super) struct ProjectionGradients {
    pub(super) input: Option<Vec<f32>>,
    /// Of the kernel, and of the bias if there is one.
    pub(super) weights: Option<(Array2<f32>, Option<Vec<f32>>)>,
}

impl ProjectionGradients {
    /// The gradient of an input of this shape.
    pub(super) fn input_of(&mut self, shape: &[usize]) -> Result<Option<Array>, LayerError> {
        let input = self.input.take().map(|values| tensor(shape, values));
        Ok(input.transpose()?.map(|tensor| tensor.data))
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
