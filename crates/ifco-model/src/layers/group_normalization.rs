//! `GroupNormalization`: each group of channels to mean 0 and variance 1, over all positions.

use ndarray::ArrayD;

use super::normalization::{Affine, AffineGradients, check_sizes, moments, same_shapes};
use super::support::{
    check_weights, elements, integers_or, known, output_shape, permuted, positive, resolve_axes,
    restored, single, wrong_input,
};
use crate::{
    Array, Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients,
    Shape, Tensor, Training, WeightSlot,
};

/// Keras's `GroupNormalization`.
#[derive(Debug)]
pub struct GroupNormalization {
    /// `None` (Keras writes −1) is a group for each channel.
    groups: Option<usize>,
    axis: i64,
    epsilon: f32,
    generation: Generation,
    affine: Affine,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let axes = integers_or(config, "axis", &[-1])?;
    let [axis] = axes[..] else {
        return Err(config.invalid("axis", "one whole number"));
    };
    let per_channel = config.get("groups").and_then(serde_json::Value::as_i64) == Some(-1);
    Ok(Box::new(GroupNormalization {
        groups: if per_channel {
            None
        } else {
            Some(positive(config, "groups", Some(32))?)
        },
        axis,
        epsilon: config.f32_or("epsilon", 1e-3)?,
        generation: config.generation,
        affine: Affine::read(config)?,
    }))
}

impl GroupNormalization {
    fn axis(&self, shape: &[Option<usize>]) -> Result<usize, LayerError> {
        let axes = resolve_axes(&[self.axis], shape)?;
        axes.first()
            .copied()
            .filter(|axis| *axis != 0)
            .ok_or_else(|| wrong_input(0, shape, "a shape with the channels behind the batch"))
    }
}

impl GroupNormalization {
    fn backward(&self, input: &Array, gradient: &Array) -> Result<LayerGradients, LayerError> {
        let shape = input.shape();
        let (order, positions, group) = self.layout(shape)?;
        let channels = shape[order[1]];
        let values = permuted(input.view(), &order);
        let mut gradient = permuted(gradient.view(), &order);
        let mut sums = AffineGradients::new(&self.affine);
        if group > 0 {
            let groups = values
                .chunks_exact(group)
                .zip(gradient.chunks_exact_mut(group));
            for (index, (x, dy)) in groups.enumerate() {
                let (mean, variance) = moments(x);
                let inverse = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
                let normal = |x: f32| (f64::from(x) - mean) * inverse;
                let first = index * (group / positions) % channels;
                let (mut sum, mut along) = (0.0, 0.0);
                let of_channels = x
                    .chunks_exact(positions)
                    .zip(dy.chunks_exact_mut(positions));
                for (channel, (x, dy)) in (first..).zip(of_channels) {
                    let gamma = self.affine.gamma.as_ref();
                    let gamma = gamma.and_then(|gamma| gamma.get(channel)).unwrap_or(&1.0);
                    for (x, dy) in x.iter().zip(dy) {
                        if let Some(of_gamma) = sums.gamma.get_mut(channel) {
                            *of_gamma += f64::from(*dy) * normal(*x);
                        }
                        if let Some(of_beta) = sums.beta.get_mut(channel) {
                            *of_beta += f64::from(*dy);
                        }
                        *dy *= gamma;
                        sum += f64::from(*dy);
                        along += f64::from(*dy) * normal(*x);
                    }
                }
                let (sum, along) = (sum / group as f64, along / group as f64);
                for (x, dy) in x.iter().zip(dy) {
                    *dy = (inverse * (f64::from(*dy) - sum - normal(*x) * along)) as f32;
                }
            }
        }
        Ok(LayerGradients {
            inputs: vec![Some(restored(gradient, shape, &order)?.into())],
            weights: sums.finish(&self.affine)?,
            ..LayerGradients::default()
        })
    }

    /// The order of the axes in which a group's values lie together, (batch, channels, …); how
    /// many values a channel has, and a group.
    fn layout(&self, shape: &[usize]) -> Result<(Vec<usize>, usize, usize), LayerError> {
        let axis = self.axis(&known(shape))?;
        let groups = self.groups.unwrap_or(shape[axis]).max(1);
        let mut order: Vec<usize> = (0..shape.len()).filter(|other| *other != axis).collect();
        order.insert(1, axis);
        let sizes: Vec<usize> = order[2..].iter().map(|axis| shape[*axis]).collect();
        let positions = elements(&sizes)?;
        Ok((order, positions, shape[axis] / groups * positions))
    }
}

impl Layer for GroupNormalization {
    fn class_name(&self) -> &str {
        "GroupNormalization"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        WeightSlot::list("", &self.affine.names())
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let slots = self.weight_slots();
        check_weights("GroupNormalization", &slots, &weights, &[&[None], &[None]])?;
        same_shapes(&slots, &weights)?;
        self.affine.take(&mut weights.into_iter())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        self.affine.weights()
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("GroupNormalization", inputs)?;
        let axis = self.axis(shape)?;
        check_sizes(shape, &[axis], self.affine.len())?;
        if let (Some(channels), Some(groups)) = (shape[axis], self.groups)
            && channels % groups != 0
        {
            let expected = format!("channels in {groups} equal groups at axis {axis}");
            return Err(wrong_input(0, shape, expected));
        }
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        self.affine.ready()?;
        let input = single("GroupNormalization", inputs)?;
        let shape = output_shape(self, inputs)?;
        if input.mask.is_some() && self.generation < Generation::Keras3 {
            return Err(LayerError::Other(
                "Keras 2 cannot normalize groups of an input with a mask".into(),
            ));
        }
        let (order, positions, group) = self.layout(&shape)?;
        let channels = shape[order[1]];
        let mut values = permuted(input.view(), &order);
        if group > 0 {
            for (index, values) in values.chunks_exact_mut(group).enumerate() {
                let (mean, variance) = moments(values);
                let scale = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
                let first = index * (group / positions) % channels;
                for (channel, values) in (first..).zip(values.chunks_exact_mut(positions)) {
                    let at = |weights: &Option<Vec<f32>>, default: f32| {
                        weights
                            .as_ref()
                            .and_then(|w| w.get(channel).copied())
                            .unwrap_or(default)
                    };
                    let (gamma, beta) = (at(&self.affine.gamma, 1.0), at(&self.affine.beta, 0.0));
                    for value in values {
                        *value = ((f64::from(*value) - mean) * scale) as f32 * gamma + beta;
                    }
                }
            }
        }
        let output = restored(values, &shape, &order)?;
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let input = single("GroupNormalization", inputs)?.data.clone();
        Ok(Forward::new(output, move |gradient| {
            self.backward(&input, &gradient)
        }))
    }
}
