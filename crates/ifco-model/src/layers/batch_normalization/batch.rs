//! Batch normalization with the statistics of the batch, and the way back.

use ndarray::{ArrayD, Axis, IxDyn};

use super::super::normalization::{Affine, AffineGradients};
use super::super::support::{elements, known, permuted, resolve_axes, restored};
use super::BatchNormalization;
use crate::{Array, LayerError, LayerGradients, MovingAverage, Tensor};

/// A batch, normalized: `rows` of a value for each channel, which is each position along the
/// layer's axes.
pub(super) struct Batch {
    shape: Vec<usize>,
    /// The axes with the layer's last.
    order: Vec<usize>,
    channels: usize,
    /// `(x − mean) / √(variance + ε)`, in that order of the axes.
    normal: Vec<f32>,
    /// Whether each value counts for the statistics; `None` is all.
    counts: Option<Vec<bool>>,
    /// How many values count, by channel.
    count: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
    /// 1 / √(variance + ε)
    inverse: Vec<f64>,
}

impl Batch {
    pub(super) fn new(layer: &BatchNormalization, input: &Tensor) -> Result<Self, LayerError> {
        let shape = input.shape().to_vec();
        let axes = resolve_axes(&layer.axes, &known(&shape))?;
        let mut order: Vec<usize> = (0..shape.len())
            .filter(|axis| !axes.contains(axis))
            .collect();
        order.extend(&axes);
        let sizes: Vec<usize> = axes.iter().map(|axis| shape[*axis]).collect();
        let channels = elements(&sizes)?;
        let values = permuted(input.view(), &order);
        let counts = match &input.mask {
            None => None,
            Some(mask) => Some(full_mask(mask, &shape, &order)?),
        };
        let counted = |index: usize| counts.as_ref().is_none_or(|counts| counts[index]);
        let all = || {
            let values = values.iter().enumerate();
            values
                .filter(|(index, _)| counted(*index))
                .map(|(index, value)| (index % channels, f64::from(*value)))
        };
        let mut count = vec![0.0; channels];
        let mut mean = vec![0.0; channels];
        for (channel, value) in all() {
            count[channel] += 1.0;
            mean[channel] += value;
        }
        // Keras guards the division so where there is a mask.
        let guard = if counts.is_some() { 1e-7 } else { 0.0 };
        for (mean, count) in mean.iter_mut().zip(&count) {
            *mean /= count + guard;
        }
        let mut variance = vec![0.0; channels];
        for (channel, value) in all() {
            variance[channel] += (value - mean[channel]).powi(2);
        }
        for (variance, count) in variance.iter_mut().zip(&count) {
            *variance /= count + guard;
        }
        let epsilon = f64::from(layer.epsilon(shape.len()));
        let inverse = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt());
        let inverse: Vec<f64> = inverse.collect();
        let normalized = values.iter().enumerate().map(|(index, value)| {
            let channel = index % channels;
            ((f64::from(*value) - mean[channel]) * inverse[channel]) as f32
        });
        Ok(Self {
            normal: normalized.collect(),
            shape,
            order,
            channels,
            counts,
            count,
            mean,
            variance,
            inverse,
        })
    }

    /// What the moving averages take up, of which the mean's is the weight `first`. The fused
    /// kernel estimates the variance without bias.
    pub(super) fn moving(&self, momentum: f32, fused: bool, first: usize) -> Vec<MovingAverage> {
        let unbiased = |(variance, count): (&f64, &f64)| match fused && *count > 1.0 {
            true => (variance * count / (count - 1.0)) as f32,
            false => *variance as f32,
        };
        let mean = self.mean.iter().map(|mean| *mean as f32).collect();
        let variance = self
            .variance
            .iter()
            .zip(&self.count)
            .map(unbiased)
            .collect();
        [(first, mean), (first + 1, variance)]
            .map(|(weight, value)| MovingAverage {
                weight,
                momentum,
                value,
            })
            .into()
    }

    pub(super) fn output(&self, affine: &Affine) -> Result<ArrayD<f32>, LayerError> {
        let mut output = self.normal.clone();
        if self.channels > 0 {
            output
                .chunks_exact_mut(self.channels)
                .for_each(|row| affine.apply(row));
        }
        restored(output, &self.shape, &self.order)
    }

    pub(super) fn backward(
        self,
        affine: &Affine,
        gradient: Array,
    ) -> Result<LayerGradients, LayerError> {
        let mut gradient = permuted(gradient.view(), &self.order);
        let channels = self.channels.max(1);
        let mut sums = AffineGradients::new(affine);
        let mut of_mean = vec![0.0; channels];
        let mut of_deviation = vec![0.0; channels];
        let rows = gradient.chunks_exact_mut(channels);
        for (row, normal) in rows.zip(self.normal.chunks_exact(channels)) {
            sums.add(row, |channel| f64::from(normal[channel]));
            affine.scale_gradient(row);
            for (channel, (dy, normal)) in row.iter().zip(normal).enumerate() {
                of_mean[channel] += f64::from(*dy);
                of_deviation[channel] += f64::from(*dy) * f64::from(*normal);
            }
        }
        for (index, (dy, normal)) in gradient.iter_mut().zip(&self.normal).enumerate() {
            let channel = index % channels;
            let counts = self.counts.as_ref().is_none_or(|counts| counts[index]);
            let of_statistics = match counts {
                true => {
                    let sum = of_mean[channel] + f64::from(*normal) * of_deviation[channel];
                    sum / self.count[channel]
                }
                false => 0.0,
            };
            *dy = (self.inverse[channel] * (f64::from(*dy) - of_statistics)) as f32;
        }
        let mut weights = sums.finish(affine)?;
        weights.extend([None, None]);
        Ok(LayerGradients {
            inputs: vec![Some(restored(gradient, &self.shape, &self.order)?.into())],
            weights,
            ..LayerGradients::default()
        })
    }
}

/// The mask of the steps as one of all values, with the axes in this order.
fn full_mask(
    mask: &crate::Mask,
    shape: &[usize],
    order: &[usize],
) -> Result<Vec<bool>, LayerError> {
    let expanded = mask.view().insert_axis(Axis(mask.ndim()));
    let full = expanded.broadcast(IxDyn(shape)).ok_or_else(|| {
        LayerError::Other(format!(
            "the mask has shape {:?}, expected one axis less than the input's {shape:?}",
            mask.shape()
        ))
    })?;
    Ok(full.permuted_axes(IxDyn(order)).iter().copied().collect())
}
