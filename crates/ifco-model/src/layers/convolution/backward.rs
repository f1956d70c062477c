//! The way back through a convolution: the gradient of the rows that were multiplied with the kernel
//! goes to where they were read, and adds up where windows overlap.

use ndarray::{Array2, Axis, IxDyn, s};

use super::super::support::{flat, matrix, product, reshaped, sum_of_rows};
use super::super::window::Layout;
use super::{BLOCK, Convolution, Kind};
use crate::training::Wants;
use crate::{Gradient, LayerError, LayerGradients, Tensor};

/// The gradients of the channels-last input and of the kernel.
struct Gradients {
    input: Vec<f32>,
    kernel: Array2<f32>,
}

impl Convolution {
    /// Of the gradient of the sums, channels last, and of what stands between depthwise and
    /// pointwise product.
    pub(super) fn backward(
        &self,
        input: &Tensor,
        output: &[usize],
        between: Option<&[f32]>,
        gradient: Vec<f32>,
        wants: Wants,
    ) -> Result<LayerGradients, LayerError> {
        let weights = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let layout = self.windows.lay(input, output);
        let bias = self
            .use_bias
            .then(|| flat(&sum_of_rows(&gradient, weights.bias.len())));
        let (mut gradient, mut of_pointwise) = (gradient, None);
        if let (Some(pointwise), Some(between)) = (&weights.pointwise, between) {
            let both = Wants {
                inputs: true,
                ..wants
            };
            let rows = layout.windows();
            let gradients = pointwise.backward(between, &gradient, rows, both)?;
            gradient = gradients.input.unwrap_or_default();
            of_pointwise = gradients.weights.map(|(kernel, _)| kernel);
        }
        let gradients = match self.kind {
            Kind::Full { groups, .. } => {
                full(&layout, &weights.kernel, groups, &gradient, wants.inputs)?
            }
            Kind::Depthwise { multiplier } | Kind::Separable { multiplier, .. } => {
                depthwise(&layout, &weights.kernel, multiplier, &gradient)
            }
        };
        let of_input = wants.inputs.then(|| {
            let restored = self.windows.restore(gradients.input, input.shape());
            restored.map(|tensor| tensor.data)
        });
        let mut of_weights: Vec<Option<Gradient>> = Vec::new();
        if wants.weights {
            // In the shapes of the weights themselves.
            let shapes = crate::Layer::weights(self).ok_or(LayerError::NoWeights)?;
            let flat = [
                Some(gradients.kernel.into_dyn()),
                of_pointwise.map(Array2::into_dyn),
                bias,
            ];
            for (array, weight) in flat.into_iter().flatten().zip(shapes) {
                of_weights.push(Some(reshaped(array, IxDyn(weight.shape()))?.into()));
            }
        }
        Ok(LayerGradients {
            inputs: vec![of_input.transpose()?],
            weights: of_weights,
            ..LayerGradients::default()
        })
    }
}

/// Of [`full`](super::full): block by block as there.
fn full(
    layout: &Layout<'_>,
    kernel: &Array2<f32>,
    groups: usize,
    gradient: &[f32],
    inputs_wanted: bool,
) -> Result<Gradients, LayerError> {
    let mut of_input = layout.zeros();
    let mut of_kernel = Array2::zeros(kernel.raw_dim());
    let (columns, all) = kernel.dim();
    let (filters, channels) = (all / groups, layout.channels / groups);
    let block = (BLOCK / columns).clamp(1, layout.windows().max(1));
    let gradient = matrix(layout.windows(), all, gradient)?;
    let mut rows = vec![0.0; block * columns];
    for start in (0..layout.windows()).step_by(block) {
        let end = layout.windows().min(start + block);
        let rows = &mut rows[..(end - start) * columns];
        for group in 0..groups {
            let of_group = group * channels..(group + 1) * channels;
            rows.fill(0.0);
            for (window, row) in (start..end).zip(rows.chunks_exact_mut(columns)) {
                layout.read(window, |position, values| {
                    row[position * channels..(position + 1) * channels]
                        .copy_from_slice(&values[of_group.clone()]);
                });
            }
            let own = group * filters..(group + 1) * filters;
            let dy = gradient.slice(s![start..end, own.clone()]);
            let x = matrix(end - start, columns, rows)?;
            let sum = product(x.t(), dy);
            let mut of_own = of_kernel.slice_mut(s![.., own.clone()]);
            of_own += &matrix(columns, filters, &sum)?;
            if !inputs_wanted {
                continue;
            }
            let of_rows = product(dy, kernel.slice(s![.., own]).t());
            for (window, row) in (start..end).zip(of_rows.chunks_exact(columns)) {
                layout.visit(window, |position, at| {
                    let sums = &mut of_input[at][of_group.clone()];
                    let values = &row[position * channels..(position + 1) * channels];
                    sums.iter_mut().zip(values).for_each(|(sum, dy)| *sum += dy);
                });
            }
        }
    }
    Ok(Gradients {
        input: of_input,
        kernel: of_kernel,
    })
}

/// Of [`depthwise`](super::depthwise).
fn depthwise(
    layout: &Layout<'_>,
    kernel: &Array2<f32>,
    multiplier: usize,
    gradient: &[f32],
) -> Gradients {
    let mut of_input = layout.zeros();
    let mut of_kernel = Array2::zeros(kernel.raw_dim());
    let features = kernel.ncols().max(1);
    for (window, dy) in gradient.chunks_exact(features).enumerate() {
        layout.visit(window, |position, at| {
            let filters = kernel.row(position);
            let mut of_filters = of_kernel.index_axis_mut(Axis(0), position);
            let values = layout.values_at(at.clone());
            for (channel, (x, sum)) in values.iter().zip(&mut of_input[at]).enumerate() {
                for output in channel * multiplier..(channel + 1) * multiplier {
                    *sum += dy[output] * filters[output];
                    of_filters[output] += dy[output] * x;
                }
            }
        });
    }
    Gradients {
        input: of_input,
        kernel: of_kernel,
    }
}
