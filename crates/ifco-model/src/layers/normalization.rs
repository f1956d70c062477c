//! Layers that normalize with what they see or have learned: `LayerNormalization`,
//! `BatchNormalization`, `UnitNormalization`, `GroupNormalization`.

use ndarray::{ArrayD, Ix1, IxDyn};

use super::support::{
    check_weights, elements, integers_or, inverse, known, output_shape, permuted, positive,
    reshaped, resolve_axes, single, wrong_input, wrong_weight,
};
use crate::{Call, Config, ConfigError, Generation, Layer, LayerError, Shape, Tensor, WeightSlot};

/// Divides a row by its length, or by `min_length` where that is more.
pub(super) fn scale_to_unit(row: &mut [f32], min_length: f32) {
    let squares: f32 = row.iter().map(|value| value * value).sum();
    let scale = 1.0 / squares.sqrt().max(min_length);
    row.iter_mut().for_each(|value| *value *= scale);
}

/// Mean and variance, summed in f64: Keras sums in f32, but in an order of its own.
fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let squares = values
        .iter()
        .map(|value| (f64::from(*value) - mean).powi(2));
    (mean, squares.sum::<f64>() / count)
}

/// Works on each row of the values along `axes` (sorted) together, as if those were the last.
fn along(
    input: &Tensor,
    axes: &[usize],
    mut work: impl FnMut(&mut [f32]),
) -> Result<ArrayD<f32>, LayerError> {
    let mut order: Vec<usize> = (0..input.data.ndim())
        .filter(|axis| !axes.contains(axis))
        .collect();
    order.extend(axes);
    let mut rows = permuted(input.view(), &order);
    let sizes: Vec<usize> = axes.iter().map(|axis| input.shape()[*axis]).collect();
    let len = elements(&sizes)?;
    if let (Some(values), 1..) = (rows.as_slice_mut(), len) {
        values.chunks_exact_mut(len).for_each(&mut work);
    }
    Ok(permuted(rows.view(), &inverse(&order)))
}

/// The weights that scale and shift what was normalized, in the order of the normalized values.
#[derive(Debug)]
struct Affine {
    scale: bool,
    center: bool,
    gamma: Option<Vec<f32>>,
    beta: Option<Vec<f32>>,
}

impl Affine {
    fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        names.extend(self.scale.then_some("gamma"));
        names.extend(self.center.then_some("beta"));
        names
    }

    /// Takes `gamma` and `beta` from the front of `weights`.
    fn take(&mut self, weights: &mut impl Iterator<Item = ArrayD<f32>>) -> Result<(), LayerError> {
        let mut next = |wanted: bool| {
            let array = if wanted { weights.next() } else { None };
            array
                .map(|array| {
                    let len = array.len();
                    reshaped(array, Ix1(len)).map(|array| array.into_raw_vec_and_offset().0)
                })
                .transpose()
        };
        self.gamma = next(self.scale)?;
        self.beta = next(self.center)?;
        Ok(())
    }

    fn ready(&self) -> Result<(), LayerError> {
        let missing = (self.scale && self.gamma.is_none()) || (self.center && self.beta.is_none());
        if missing {
            Err(LayerError::NoWeights)
        } else {
            Ok(())
        }
    }

    fn len(&self) -> Option<usize> {
        self.gamma.as_ref().or(self.beta.as_ref()).map(Vec::len)
    }

    fn apply(&self, row: &mut [f32]) {
        if let Some(gamma) = &self.gamma {
            row.iter_mut()
                .zip(gamma)
                .for_each(|(value, gamma)| *value *= gamma);
        }
        if let Some(beta) = &self.beta {
            row.iter_mut()
                .zip(beta)
                .for_each(|(value, beta)| *value += beta);
        }
    }
}

/// All weights hold one number for each position along the normalized axes: they must agree.
fn same_shapes(slots: &[WeightSlot], weights: &[ArrayD<f32>]) -> Result<(), LayerError> {
    for (slot, weight) in slots.iter().zip(weights) {
        if weight.shape() != weights[0].shape() {
            let expected = format!("{:?} as {:?}", weights[0].shape(), slots[0].name);
            return Err(wrong_weight(slot, weight, &expected));
        }
    }
    Ok(())
}

/// The sizes along `axes`, if known, must multiply to what the weights hold.
fn check_sizes(
    shape: &[Option<usize>],
    axes: &[usize],
    weights: Option<usize>,
) -> Result<(), LayerError> {
    let sizes: Option<Vec<usize>> = axes.iter().map(|axis| shape[*axis]).collect();
    let (Some(sizes), Some(weights)) = (sizes, weights) else {
        return Ok(());
    };
    if elements(&sizes)? != weights {
        let expected = format!("a shape with {weights} values along the axes {axes:?}");
        return Err(wrong_input(0, shape, expected));
    }
    Ok(())
}

/// Keras's `LayerNormalization`.
#[derive(Debug)]
pub struct LayerNormalization {
    axes: Vec<i64>,
    epsilon: f32,
    /// Keras 3's deprecated option: divides by the standard deviation without taking the mean
    /// away, which is not RMS normalization either.
    rms_scaling: bool,
    affine: Affine,
}

pub(super) fn build_layer(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let rms_scaling = config.bool_or("rms_scaling", false)?;
    Ok(Box::new(LayerNormalization {
        axes: integers_or(config, "axis", &[-1])?,
        epsilon: config.f32_or("epsilon", 1e-3)?,
        rms_scaling,
        affine: Affine {
            scale: config.bool_or("scale", true)? || rms_scaling,
            center: config.bool_or("center", true)? && !rms_scaling,
            gamma: None,
            beta: None,
        },
    }))
}

impl Layer for LayerNormalization {
    fn class_name(&self) -> &str {
        "LayerNormalization"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        WeightSlot::list("", &self.affine.names())
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let slots = self.weight_slots();
        let any = vec![None; self.axes.len()];
        check_weights("LayerNormalization", &slots, &weights, &[&any, &any])?;
        same_shapes(&slots, &weights)?;
        self.affine.take(&mut weights.into_iter())
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("LayerNormalization", inputs)?;
        check_sizes(shape, &resolve_axes(&self.axes, shape)?, self.affine.len())?;
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        self.affine.ready()?;
        let input = single("LayerNormalization", inputs)?;
        let shape = output_shape(self, inputs)?;
        let axes = resolve_axes(&self.axes, &known(&shape))?;
        let output = along(input, &axes, |row| {
            let (mean, variance) = moments(row);
            let shift = if self.rms_scaling { 0.0 } else { mean };
            let scale = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
            for value in row.iter_mut() {
                *value = ((f64::from(*value) - shift) * scale) as f32;
            }
            self.affine.apply(row);
        })?;
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }
}

/// Keras's `BatchNormalization` at inference: with the moving mean and variance.
#[derive(Debug)]
pub struct BatchNormalization {
    axes: Vec<i64>,
    epsilon: f32,
    renorm: bool,
    generation: Generation,
    affine: Affine,
    /// Mean and variance.
    moving: Option<(Vec<f32>, Vec<f32>)>,
}

pub(super) fn build_batch(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(BatchNormalization {
        axes: integers_or(config, "axis", &[-1])?,
        epsilon: config.f32_or("epsilon", 1e-3)?,
        renorm: config.bool_or("renorm", false)?,
        generation: config.generation,
        affine: Affine {
            scale: config.bool_or("scale", true)?,
            center: config.bool_or("center", true)?,
            gamma: None,
            beta: None,
        },
        moving: None,
    }))
}

impl BatchNormalization {
    /// TensorFlow's fused kernel, which Keras 2 uses for images, raises a small epsilon.
    fn epsilon(&self, rank: usize) -> f32 {
        let fused = self.generation < Generation::Keras3
            && matches!(rank, 4 | 5)
            && self.axes.len() == 1
            && !self.renorm;
        if fused {
            self.epsilon.max(1.001e-5)
        } else {
            self.epsilon
        }
    }
}

impl Layer for BatchNormalization {
    fn class_name(&self) -> &str {
        "BatchNormalization"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        let mut names = self.affine.names();
        let trainable = names.len();
        names.extend(["moving_mean", "moving_variance"]);
        if self.renorm {
            names.extend(["moving_stddev", "renorm_mean", "renorm_stddev"]);
        }
        let mut slots = WeightSlot::list("", &names);
        slots[trainable..]
            .iter_mut()
            .for_each(|slot| slot.trainable = false);
        slots
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let slots = self.weight_slots();
        if slots.len() != weights.len() {
            check_weights("BatchNormalization", &slots, &weights, &[])?;
        }
        same_shapes(&slots, &weights)?;
        let mut weights = weights.into_iter();
        self.affine.take(&mut weights)?;
        if let (Some(mean), Some(variance)) = (weights.next(), weights.next()) {
            let flat = |array: ArrayD<f32>| array.iter().copied().collect();
            self.moving = Some((flat(mean), flat(variance)));
        }
        Ok(())
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("BatchNormalization", inputs)?;
        let features = self.moving.as_ref().map(|(mean, _)| mean.len());
        check_sizes(shape, &resolve_axes(&self.axes, shape)?, features)?;
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let (mean, variance) = self.moving.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single("BatchNormalization", inputs)?;
        let shape = output_shape(self, inputs)?;
        if let (Some(mask), Generation::Keras3) = (&input.mask, self.generation)
            && mask.ndim() + 1 != shape.len()
        {
            return Err(LayerError::Other(format!(
                "the mask has shape {:?}, expected one axis less than the input's {shape:?}",
                mask.shape()
            )));
        }
        // gamma·(x − mean)/√(variance + ε) + beta, as one factor and one summand.
        let epsilon = self.epsilon(shape.len());
        let mut factor: Vec<f32> = variance
            .iter()
            .map(|variance| 1.0 / (variance + epsilon).sqrt())
            .collect();
        if let Some(gamma) = &self.affine.gamma {
            factor
                .iter_mut()
                .zip(gamma)
                .for_each(|(factor, gamma)| *factor *= gamma);
        }
        let mut summand: Vec<f32> = mean
            .iter()
            .zip(&factor)
            .map(|(mean, factor)| -mean * factor)
            .collect();
        if let Some(beta) = &self.affine.beta {
            summand
                .iter_mut()
                .zip(beta)
                .for_each(|(summand, beta)| *summand += beta);
        }
        let axes = resolve_axes(&self.axes, &known(&shape))?;
        let output = along(input, &axes, |row| {
            for ((value, factor), summand) in row.iter_mut().zip(&factor).zip(&summand) {
                *value = *value * factor + summand;
            }
        })?;
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }
}

/// Keras's `UnitNormalization`: to the length 1.
#[derive(Debug)]
pub struct UnitNormalization {
    axes: Vec<i64>,
    min_length: f32,
}

pub(super) fn build_unit(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(UnitNormalization {
        axes: integers_or(config, "axis", &[-1])?,
        // Keras 3 bounds the length, Keras 2 its square, by 10⁻¹².
        min_length: match config.generation {
            Generation::Keras3 => 1e-12,
            _ => 1e-6,
        },
    }))
}

impl Layer for UnitNormalization {
    fn class_name(&self) -> &str {
        "UnitNormalization"
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("UnitNormalization", inputs)?;
        resolve_axes(&self.axes, shape)?;
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single("UnitNormalization", inputs)?;
        let shape = output_shape(self, inputs)?;
        let axes = resolve_axes(&self.axes, &known(&shape))?;
        let output = along(input, &axes, |row| scale_to_unit(row, self.min_length))?;
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }
}

/// Keras's `GroupNormalization`: over everything but the batch, for each group of channels.
#[derive(Debug)]
pub struct GroupNormalization {
    /// `None` (Keras writes −1) is a group for each channel.
    groups: Option<usize>,
    axis: i64,
    epsilon: f32,
    affine: Affine,
}

pub(super) fn build_group(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
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
        affine: Affine {
            scale: config.bool_or("scale", true)?,
            center: config.bool_or("center", true)?,
            gamma: None,
            beta: None,
        },
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
        let axis = self.axis(&known(&shape))?;
        let channels = shape[axis];
        let groups = self.groups.unwrap_or(channels).max(1);
        // (batch, channels, …): then a group's values lie together.
        let mut order: Vec<usize> = (0..shape.len()).filter(|other| *other != axis).collect();
        order.insert(1, axis);
        let mut data = permuted(input.view(), &order);
        let sizes: Vec<usize> = order[2..].iter().map(|axis| shape[*axis]).collect();
        let positions = elements(&sizes)?;
        let group = channels / groups * positions;
        if let (Some(values), 1..) = (data.as_slice_mut(), group) {
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
        let output = permuted(data.view(), &inverse(&order));
        debug_assert_eq!(output.raw_dim(), IxDyn(&shape));
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }
}
