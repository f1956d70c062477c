//! Layers that bring inputs to a common scale: `Normalization` with a mean and a variance that
//! were adapted or given, `Rescaling` with fixed numbers.

use ndarray::{ArrayD, IxDyn};

use super::support::{
    array, check_weights, integers_or, known, one, output_shape, reshaped, resolve_axes, single,
    wrong_input, wrong_weight,
};
use crate::{
    Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients,
    NotStreamable, Shape, StepShape, Streamed, Tensor, Training, WeightSlot,
};

/// Keras's `Normalization`: `(x − mean) / √variance`, or the inverse.
#[derive(Debug)]
pub struct Normalization {
    axes: Vec<i64>,
    invert: bool,
    generation: Generation,
    /// Whether mean and variance are in the configuration; else they are weights.
    given: bool,
    statistics: Option<(ArrayD<f32>, ArrayD<f32>)>,
    /// Of how many values they were computed, which only training needs.
    count: ArrayD<f32>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let statistics = match (array(config, "mean")?, array(config, "variance")?) {
        (Some(mean), Some(variance)) if mean.shape() == variance.shape() => Some((mean, variance)),
        (None, None) => None,
        (None, Some(_)) => return Err(config.missing("mean")),
        (Some(_), None) => return Err(config.missing("variance")),
        _ => return Err(config.invalid("variance", "as many numbers as \"mean\"")),
    };
    Ok(Box::new(Normalization {
        axes: integers_or(config, "axis", &[-1])?,
        invert: config.bool_or("invert", false)?,
        generation: config.generation,
        given: statistics.is_some(),
        statistics,
        count: ndarray::arr0(0.0).into_dyn(),
    }))
}

impl Normalization {
    /// Mean or variance with the rank of the input, of size 1 along all axes but the kept ones.
    fn spread(&self, statistic: &ArrayD<f32>, shape: &[usize]) -> Result<ArrayD<f32>, LayerError> {
        let kept = resolve_axes(&self.axes, &known(shape))?;
        let sizes: Vec<usize> = kept.iter().map(|axis| shape[*axis]).collect();
        let full = statistic.broadcast(IxDyn(&sizes)).ok_or_else(|| {
            wrong_input(
                0,
                &known(shape),
                format!(
                    "{:?} along the axes {kept:?}, as the mean",
                    statistic.shape()
                ),
            )
        })?;
        let spread: Vec<usize> = (0..shape.len())
            .map(|axis| if kept.contains(&axis) { shape[axis] } else { 1 })
            .collect();
        reshaped(full.to_owned(), IxDyn(&spread))
    }
}

/// The values of an array that broadcasts to a tensor, for each value of one of its steps;
/// `None` where they differ from step to step.
fn of_step(values: &ArrayD<f32>, input: &StepShape) -> Option<Vec<f32>> {
    let shape = first_step(input);
    Some(values.broadcast(IxDyn(&shape))?.iter().copied().collect())
}

/// The shape of the first step of the first sequence.
fn first_step(input: &StepShape) -> Vec<usize> {
    let mut shape = vec![1; input.shape().len() - input.sizes.len()];
    shape.extend(&input.sizes);
    shape
}

impl Layer for Normalization {
    fn class_name(&self) -> &str {
        "Normalization"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        if self.given {
            return Vec::new();
        }
        let mut slots = WeightSlot::list("", &["mean", "variance", "count"]);
        slots.iter_mut().for_each(|slot| slot.trainable = false);
        slots
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let slots = self.weight_slots();
        let any = vec![None; self.axes.len()];
        check_weights("Normalization", &slots, &weights, &[&any, &any, &[]])?;
        let mut weights = weights.into_iter();
        if let (Some(mean), Some(variance)) = (weights.next(), weights.next()) {
            if mean.shape() != variance.shape() {
                let expected = format!("{:?} as \"mean\"", mean.shape());
                return Err(wrong_weight(&slots[1], &variance, &expected));
            }
            self.statistics = Some((mean, variance));
        }
        if let Some(count) = weights.next() {
            self.count = count;
        }
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        if self.given {
            return Some(Vec::new());
        }
        let (mean, variance) = self.statistics.clone()?;
        Some(vec![mean, variance, self.count.clone()])
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("Normalization", inputs)?;
        resolve_axes(&self.axes, shape)?;
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let (mean, variance) = self.statistics.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single("Normalization", inputs)?;
        let shape = output_shape(self, inputs)?;
        let mean = self.spread(mean, &shape)?;
        let deviation = self.spread(variance, &shape)?.mapv(deviation);
        let x = &input.data;
        let output = if self.invert {
            x * &deviation + mean
        } else {
            (x - &mean) / deviation
        };
        // In Keras 2 this layer lets no mask pass.
        let mask = input
            .mask
            .clone()
            .filter(|_| self.generation == Generation::Keras3);
        Ok(vec![Tensor::new(output).with_mask(mask)])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let (_, variance) = self.statistics.as_ref().ok_or(LayerError::NoWeights)?;
        let deviation = self.spread(variance, output.shape())?.mapv(deviation);
        Ok(Forward::new(output, move |gradient| {
            Ok(LayerGradients::of_input(match self.invert {
                true => &gradient * &deviation,
                false => &gradient / &deviation,
            }))
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let (mean, variance) = self.statistics.as_ref().ok_or(LayerError::NoWeights)?;
        let input = one(inputs)?;
        let shape = first_step(input);
        let by_step = || NotStreamable::new("its mean differs from step to step");
        let leading = shape.len() - input.sizes.len();
        let kept = resolve_axes(&self.axes, &input.shape())?;
        if kept.iter().any(|axis| *axis < leading) {
            return Err(by_step());
        }
        let mean = of_step(&self.spread(mean, &shape)?, input).ok_or_else(by_step)?;
        let deviation = self.spread(variance, &shape)?.mapv(deviation);
        let deviation = of_step(&deviation, input).ok_or_else(by_step)?;
        let invert = self.invert;
        let output = input.with_masked(input.masked && self.generation == Generation::Keras3);
        Ok(Streamed::in_place(output, move |values| {
            for ((value, mean), deviation) in values.iter_mut().zip(&mean).zip(&deviation) {
                *value = match invert {
                    true => *value * deviation + mean,
                    false => (*value - mean) / deviation,
                };
            }
        }))
    }
}

/// Never so small that a division by it would explode.
fn deviation(variance: f32) -> f32 {
    variance.sqrt().max(1e-7)
}

/// Keras's `Rescaling`: `x·scale + offset`.
#[derive(Debug)]
pub struct Rescaling {
    scale: ArrayD<f32>,
    offset: ArrayD<f32>,
    generation: Generation,
}

pub(super) fn build_rescaling(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let zero = || ArrayD::zeros(IxDyn(&[]));
    Ok(Box::new(Rescaling {
        scale: array(config, "scale")?.ok_or_else(|| config.missing("scale"))?,
        offset: array(config, "offset")?.unwrap_or_else(zero),
        generation: config.generation,
    }))
}

impl Layer for Rescaling {
    fn class_name(&self) -> &str {
        "Rescaling"
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        Ok(vec![single("Rescaling", inputs)?.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single("Rescaling", inputs)?;
        let shape = output_shape(self, inputs)?;
        let (scale, offset) = (
            self.scale.broadcast(IxDyn(&shape)),
            self.offset.broadcast(IxDyn(&shape)),
        );
        let (Some(scale), Some(offset)) = (scale, offset) else {
            let expected = format!(
                "a shape to which the scale of shape {:?} and the offset of shape {:?} broadcast",
                self.scale.shape(),
                self.offset.shape()
            );
            return Err(wrong_input(0, &known(&shape), expected));
        };
        let output = &input.data * &scale + offset;
        // In Keras 2 this layer lets no mask pass.
        let mask = input
            .mask
            .clone()
            .filter(|_| self.generation == Generation::Keras3);
        Ok(vec![Tensor::new(output).with_mask(mask)])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        Ok(Forward::new(output, |gradient| {
            Ok(LayerGradients::of_input(&gradient * &self.scale))
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?;
        let values = |array| {
            let why = "its scale or its offset differs from step to step";
            of_step(array, input).ok_or_else(|| NotStreamable::new(why))
        };
        let (scale, offset) = (values(&self.scale)?, values(&self.offset)?);
        let output = input.with_masked(input.masked && self.generation == Generation::Keras3);
        Ok(Streamed::in_place(output, move |values| {
            for ((value, scale), offset) in values.iter_mut().zip(&scale).zip(&offset) {
                *value = *value * scale + offset;
            }
        }))
    }
}
