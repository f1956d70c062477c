//! Layers that normalize with what they see: `LayerNormalization`, `UnitNormalization`; and what
//! they share with [`batch_normalization`](super::batch_normalization) and
//! [`group_normalization`](super::group_normalization).

use ndarray::{ArrayD, Ix1, IxDyn};

use super::support::{
    along, along_both, check_weights, elements, flat, integers_or, known, one, output_shape,
    reshaped, resolve_axes, single, wrong_input, wrong_weight,
};
use crate::{
    Call, Config, ConfigError, Forward, Generation, Gradient, Layer, LayerError, LayerGradients,
    NotStreamable, Shape, StepShape, Streamed, Tensor, Training, WeightSlot,
};

/// Divides a row by its length, or by `min_length` where that is more.
pub(super) fn scale_to_unit(row: &mut [f32], min_length: f32) {
    let squares: f32 = row.iter().map(|value| value * value).sum();
    let scale = 1.0 / squares.sqrt().max(min_length);
    row.iter_mut().for_each(|value| *value *= scale);
}

/// The gradient of a row, in place of that of what [`scale_to_unit`] made of it.
pub(super) fn unit_backward(x: &[f32], min_length: f32, gradient: &mut [f32]) {
    let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    let length = sum(&mut x.iter().map(|x| f64::from(*x).powi(2))).sqrt();
    if length <= f64::from(min_length) {
        let scale = 1.0 / min_length;
        gradient.iter_mut().for_each(|value| *value *= scale);
        return;
    }
    let both = gradient.iter().zip(x);
    let along = sum(&mut both.map(|(g, x)| f64::from(*g) * f64::from(*x) / length));
    for (gradient, x) in gradient.iter_mut().zip(x) {
        let unit = f64::from(*x) / length;
        *gradient = ((f64::from(*gradient) - unit * along) / length) as f32;
    }
}

/// Mean and variance, summed in f64: Keras sums in f32, but in an order of its own.
pub(super) fn moments(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let squares = values
        .iter()
        .map(|value| (f64::from(*value) - mean).powi(2));
    (mean, squares.sum::<f64>() / count)
}

/// The weights that scale and shift what was normalized, in the order of the normalized values.
#[derive(Debug, Clone)]
pub(super) struct Affine {
    pub(super) scale: bool,
    pub(super) center: bool,
    pub(super) gamma: Option<Vec<f32>>,
    pub(super) beta: Option<Vec<f32>>,
    /// The shape of each in files: an axis for each of the layer's.
    shape: Vec<usize>,
}

impl Affine {
    /// Without weights yet, as `scale` and `center` of the configuration say.
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            scale: config.bool_or("scale", true)?,
            center: config.bool_or("center", true)?,
            gamma: None,
            beta: None,
            shape: Vec::new(),
        })
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        names.extend(self.scale.then_some("gamma"));
        names.extend(self.center.then_some("beta"));
        names
    }

    /// Takes `gamma` and `beta` from the front of `weights`.
    pub(super) fn take(
        &mut self,
        weights: &mut impl Iterator<Item = ArrayD<f32>>,
    ) -> Result<(), LayerError> {
        let shape = &mut self.shape;
        let mut next = |wanted: bool| {
            let array = if wanted { weights.next() } else { None };
            array
                .map(|array| {
                    *shape = array.shape().to_vec();
                    let len = array.len();
                    reshaped(array, Ix1(len)).map(|array| array.into_raw_vec_and_offset().0)
                })
                .transpose()
        };
        self.gamma = next(self.scale)?;
        self.beta = next(self.center)?;
        Ok(())
    }

    /// What it took.
    pub(super) fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        self.ready().ok()?;
        let both = [&self.gamma, &self.beta].into_iter().flatten();
        both.map(|values| reshaped(flat(values), IxDyn(&self.shape)).ok())
            .collect()
    }

    pub(super) fn ready(&self) -> Result<(), LayerError> {
        let missing = (self.scale && self.gamma.is_none()) || (self.center && self.beta.is_none());
        if missing {
            Err(LayerError::NoWeights)
        } else {
            Ok(())
        }
    }

    pub(super) fn len(&self) -> Option<usize> {
        self.gamma.as_ref().or(self.beta.as_ref()).map(Vec::len)
    }

    pub(super) fn apply(&self, row: &mut [f32]) {
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

impl Affine {
    /// The gradient of what was normalized, in place of that of the row that came of it.
    pub(super) fn scale_gradient(&self, row: &mut [f32]) {
        if let Some(gamma) = &self.gamma {
            row.iter_mut()
                .zip(gamma)
                .for_each(|(value, gamma)| *value *= gamma);
        }
    }
}

/// The gradients of gamma and beta, summed in f64.
pub(super) struct AffineGradients {
    pub(super) gamma: Vec<f64>,
    pub(super) beta: Vec<f64>,
}

impl AffineGradients {
    pub(super) fn new(affine: &Affine) -> Self {
        let zeros = vec![0.0; affine.len().unwrap_or(0)];
        Self {
            gamma: zeros.clone(),
            beta: zeros,
        }
    }

    /// Adds a row of the output's gradient; `normal` tells what was normalized.
    pub(super) fn add(&mut self, row: &[f32], normal: impl Fn(usize) -> f64) {
        let sums = self.gamma.iter_mut().zip(&mut self.beta);
        for ((index, dy), (gamma, beta)) in row.iter().enumerate().zip(sums) {
            *gamma += f64::from(*dy) * normal(index);
            *beta += f64::from(*dy);
        }
    }

    /// Of those weights that there are, in their order.
    pub(super) fn finish(self, affine: &Affine) -> Result<Vec<Option<Gradient>>, LayerError> {
        let array = |sums: Vec<f64>| {
            let sums: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
            Ok(Some(Gradient::Dense(reshaped(
                flat(&sums),
                IxDyn(&affine.shape),
            )?)))
        };
        let of_gamma = affine.scale.then_some(self.gamma);
        let of_beta = affine.center.then_some(self.beta);
        of_gamma.into_iter().chain(of_beta).map(array).collect()
    }
}

/// All weights hold one number for each position along the normalized axes: they must agree.
pub(super) fn same_shapes(slots: &[WeightSlot], weights: &[ArrayD<f32>]) -> Result<(), LayerError> {
    for (slot, weight) in slots.iter().zip(weights) {
        if weight.shape() != weights[0].shape() {
            let expected = format!("{:?} as {:?}", weights[0].shape(), slots[0].name);
            return Err(wrong_weight(slot, weight, &expected));
        }
    }
    Ok(())
}

/// The sizes along `axes`, if known, must multiply to what the weights hold.
pub(super) fn check_sizes(
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
            shape: Vec::new(),
        },
    }))
}

impl LayerNormalization {
    /// The gradient of a row in place of that of its output.
    fn row_backward(&self, x: &[f32], dy: &mut [f32], sums: &mut AffineGradients) {
        let (mean, variance) = moments(x);
        let inverse = 1.0 / (variance + f64::from(self.epsilon)).sqrt();
        let shift = if self.rms_scaling { 0.0 } else { mean };
        let output = |x: f32| (f64::from(x) - shift) * inverse;
        sums.add(dy, |index| output(x[index]));
        self.affine.scale_gradient(dy);

        let count = x.len() as f64;
        let both = || dy.iter().zip(x);
        let along: f64 = both().map(|(dy, x)| f64::from(*dy) * output(*x)).sum();
        let sum: f64 = dy.iter().map(|dy| f64::from(*dy)).sum();
        // With rms_scaling the mean is not taken away, and its gradient is not there either.
        let (sum, along) = (
            if self.rms_scaling { 0.0 } else { sum / count },
            along / count,
        );
        for (dy, x) in dy.iter_mut().zip(x) {
            let normal = (f64::from(*x) - mean) * inverse;
            *dy = (inverse * (f64::from(*dy) - sum - normal * along)) as f32;
        }
    }
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

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        self.affine.weights()
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
        let output = along(input.view(), &axes, |row| {
            standardize(row, self.epsilon, self.rms_scaling);
            self.affine.apply(row);
        })?;
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let input = single("LayerNormalization", inputs)?.data.clone();
        let axes = resolve_axes(&self.axes, &known(input.shape()))?;
        Ok(Forward::new(output, move |gradient| {
            let mut sums = AffineGradients::new(&self.affine);
            let gradient = along_both(input.view(), gradient.view(), &axes, |x, dy| {
                self.row_backward(x, dy, &mut sums);
            })?;
            Ok(LayerGradients {
                inputs: vec![Some(gradient.into())],
                weights: sums.finish(&self.affine)?,
                ..LayerGradients::default()
            })
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        self.affine.ready()?;
        let input = one(inputs)?;
        let row = input.through(self)?.row(&self.axes)?.max(1);
        let (epsilon, rms_scaling) = (self.epsilon, self.rms_scaling);
        let affine = self.affine.clone();
        Ok(Streamed::in_place(input.clone(), move |values| {
            for row in values.chunks_exact_mut(row) {
                standardize(row, epsilon, rms_scaling);
                affine.apply(row);
            }
        }))
    }
}

/// Mean 0 and variance 1, or with `rms_scaling` variance 1 alone.
fn standardize(row: &mut [f32], epsilon: f32, rms_scaling: bool) {
    let (mean, variance) = moments(row);
    let shift = if rms_scaling { 0.0 } else { mean };
    let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
    for value in row.iter_mut() {
        *value = ((f64::from(*value) - shift) * scale) as f32;
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
        let output = along(input.view(), &axes, |row| {
            scale_to_unit(row, self.min_length)
        })?;
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let input = single("UnitNormalization", inputs)?.data.clone();
        let axes = resolve_axes(&self.axes, &known(input.shape()))?;
        Ok(Forward::new(output, move |gradient| {
            let gradient = along_both(input.view(), gradient.view(), &axes, |x, dy| {
                unit_backward(x, self.min_length, dy);
            })?;
            Ok(LayerGradients::of_input(gradient))
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?;
        let (row, min_length) = (input.row(&self.axes)?.max(1), self.min_length);
        Ok(Streamed::in_place(input.clone(), move |values| {
            for row in values.chunks_exact_mut(row) {
                scale_to_unit(row, min_length);
            }
        }))
    }
}
