//! `GroupNormalization`: each group of channels to mean 0 and variance 1, over all positions.

use ndarray::ArrayD;

use super::normalization::{Affine, check_sizes, moments, same_shapes};
use super::support::{
    check_weights, elements, integers_or, known, output_shape, permuted, positive, resolve_axes,
    restored, single, wrong_input,
};
use crate::{Call, Config, ConfigError, Generation, Layer, LayerError, Shape, Tensor, WeightSlot};

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
        let axis = self.axis(&known(&shape))?;
        let channels = shape[axis];
        let groups = self.groups.unwrap_or(channels).max(1);
        // (batch, channels, …): then a group's values lie together.
        let mut order: Vec<usize> = (0..shape.len()).filter(|other| *other != axis).collect();
        order.insert(1, axis);
        let mut values = permuted(input.view(), &order);
        let sizes: Vec<usize> = order[2..].iter().map(|axis| shape[*axis]).collect();
        let positions = elements(&sizes)?;
        let group = channels / groups * positions;
        if group > 0 {
            for (index, values) in values.chunks_exact_mut(group).enumerate() {
                let (mean, variance) = moments(values);
                let scale = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
                let first = index % groups * (channels / groups);
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
}
