//! `BatchNormalization`: `gamma·(x − mean) / √(variance + ε) + beta`, at inference with the mean and
//! the variance that training left, in training with those of the batch.

use ndarray::ArrayD;

use batch::Batch;

use super::normalization::{Affine, AffineGradients, check_sizes, same_shapes};
use super::support::{
    along, along_both, check_weights, integers_or, known, one, output_shape, resolve_axes, single,
};
use crate::{
    Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients,
    NotStreamable, Shape, StepShape, Streamed, Tensor, Training, WeightSlot,
};

mod batch;

/// Keras's `BatchNormalization`.
#[derive(Debug)]
pub struct BatchNormalization {
    axes: Vec<i64>,
    epsilon: f32,
    renorm: bool,
    generation: Generation,
    affine: Affine,
    /// Mean and variance.
    moving: Option<(Vec<f32>, Vec<f32>)>,
    /// How much of the moving averages stays when they take up a batch.
    momentum: f32,
    /// What follows gamma and beta in files, as it is there: mean, variance, and what training
    /// with `renorm` keeps.
    statistics: Vec<ArrayD<f32>>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(BatchNormalization {
        axes: integers_or(config, "axis", &[-1])?,
        epsilon: config.f32_or("epsilon", 1e-3)?,
        renorm: config.bool_or("renorm", false)?,
        generation: config.generation,
        affine: Affine::read(config)?,
        moving: None,
        momentum: config.f32_or("momentum", 0.99)?,
        statistics: Vec::new(),
    }))
}

impl BatchNormalization {
    /// Whether TensorFlow's fused kernel computes it, which Keras 2 uses for images.
    fn is_fused(&self, rank: usize) -> bool {
        self.generation < Generation::Keras3
            && matches!(rank, 4 | 5)
            && self.axes.len() == 1
            && !self.renorm
    }

    /// The fused kernel raises a small epsilon.
    fn epsilon(&self, rank: usize) -> f32 {
        if self.is_fused(rank) {
            self.epsilon.max(1.001e-5)
        } else {
            self.epsilon
        }
    }

    /// gamma·(x − mean)/√(variance + ε) + beta, as one factor and one summand for each value
    /// along the axes of an input of this rank.
    fn factors(&self, rank: usize) -> Result<(Vec<f32>, Vec<f32>), LayerError> {
        let (mean, variance) = self.moving.as_ref().ok_or(LayerError::NoWeights)?;
        let epsilon = self.epsilon(rank);
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
        Ok((factor, summand))
    }
}

impl BatchNormalization {
    /// The way back where the statistics are those that training left.
    fn fixed<'a>(&'a self, inputs: &[Tensor], output: Tensor) -> Result<Forward<'a>, LayerError> {
        let (mean, variance) = self.moving.as_ref().ok_or(LayerError::NoWeights)?;
        let input = inputs[0].data.clone();
        let axes = resolve_axes(&self.axes, &known(input.shape()))?;
        let epsilon = self.epsilon(input.ndim());
        let inverse = variance.iter().map(|v| 1.0 / f64::from(v + epsilon).sqrt());
        let inverse: Vec<f64> = inverse.collect();
        Ok(Forward::new(output, move |gradient| {
            let mut sums = AffineGradients::new(&self.affine);
            let gradient = along_both(input.view(), gradient.view(), &axes, |x, dy| {
                sums.add(dy, |at| f64::from(x[at] - mean[at]) * inverse[at]);
                self.affine.scale_gradient(dy);
                dy.iter_mut()
                    .zip(&inverse)
                    .for_each(|(dy, inverse)| *dy = (f64::from(*dy) * inverse) as f32);
            })?;
            let mut weights = sums.finish(&self.affine)?;
            weights.extend([None, None]);
            Ok(LayerGradients {
                inputs: vec![Some(gradient.into())],
                weights,
                ..LayerGradients::default()
            })
        }))
    }
}

fn scale(row: &mut [f32], (factor, summand): &(Vec<f32>, Vec<f32>)) {
    for ((value, factor), summand) in row.iter_mut().zip(factor).zip(summand) {
        *value = *value * factor + summand;
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
        self.statistics = weights.collect();
        if let [mean, variance, ..] = &self.statistics[..] {
            let flat = |array: &ArrayD<f32>| array.iter().copied().collect();
            self.moving = Some((flat(mean), flat(variance)));
        }
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        self.moving.as_ref()?;
        let mut weights = self.affine.weights()?;
        weights.extend(self.statistics.iter().cloned());
        Some(weights)
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("BatchNormalization", inputs)?;
        let features = self.moving.as_ref().map(|(mean, _)| mean.len());
        check_sizes(shape, &resolve_axes(&self.axes, shape)?, features)?;
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
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
        let factors = self.factors(shape.len())?;
        let axes = resolve_axes(&self.axes, &known(&shape))?;
        let output = along(input.view(), &axes, |row| scale(row, &factors))?;
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let mut output = self.call(inputs, call)?.remove(0);
        if !training.is_training() || !training.is_trainable() {
            return self.fixed(inputs, output);
        }
        if self.renorm {
            return Err(LayerError::NotTrainable {
                class: "BatchNormalization with renorm=True".into(),
            });
        }
        let batch = Batch::new(self, &inputs[0])?;
        let first = self.affine.names().len();
        let moving = batch.moving(self.momentum, self.is_fused(inputs[0].data.ndim()), first);
        output.data = batch.output(&self.affine)?.into();
        Ok(Forward {
            moving,
            ..Forward::new(output, move |gradient| {
                batch.backward(&self.affine, gradient)
            })
        })
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?;
        let row = input.through(self)?.row(&self.axes)?.max(1);
        if input.masked && self.generation == Generation::Keras3 && input.sizes.len() != 1 {
            return Err(NotStreamable::new(
                "Keras 3 takes a mask of the steps only with one axis of features",
            ));
        }
        let factors = self.factors(input.shape().len())?;
        Ok(Streamed::in_place(input.clone(), move |values| {
            values
                .chunks_exact_mut(row)
                .for_each(|row| scale(row, &factors));
        }))
    }
}
