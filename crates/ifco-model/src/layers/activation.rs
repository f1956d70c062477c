//! Layers that are an activation: `Activation`, `ReLU`, `LeakyReLU`,
//! `ThresholdedReLU`, `ELU`, `PReLU`.

use ifco_cell::Activation;
use ndarray::{ArrayD, Axis, IxDyn};

use super::derivative::Activated;
use super::support::{
    activate, array, one, output_shape, resolve_axes, single, sum_to_shape, tensor, values,
    wrong_input, wrong_weight,
};
use crate::{
    Call, Config, ConfigError, Forward, Layer, LayerError, LayerGradients, NotStreamable, Shape,
    StepShape, Streamed, Tensor, Time, Training, WeightSlot,
};

/// An activation that stands as a layer.
#[derive(Debug)]
pub struct Activate {
    class: String,
    activation: Activation,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let activation = match activation_of(class, config)? {
        Some(activation) => activation,
        None => {
            config.require("activation")?;
            config.activation_or("activation", Activation::Linear)?
        }
    };
    Ok(Box::new(Activate {
        class: class.into(),
        activation,
    }))
}

/// The function that a layer of this class applies; `None` when the layer is something else.
pub(super) fn activation_of(
    class: &str,
    config: &Config<'_>,
) -> Result<Option<Activation>, ConfigError> {
    let not_negative = |key: &str, default: f32| match number(config, key)?.unwrap_or(default) {
        number if number >= 0.0 => Ok(number),
        _ => Err(config.invalid(key, "a number of at least 0")),
    };
    Ok(Some(match class {
        "ReLU" => Activation::Relu {
            negative_slope: not_negative("negative_slope", 0.0)?,
            max_value: match config.get("max_value") {
                Some(_) => Some(not_negative("max_value", 0.0)?),
                None => None,
            },
            threshold: not_negative("threshold", 0.0)?,
        },
        "LeakyReLU" => Activation::Relu {
            // Keras 3's word, and Keras 2's; Keras 3 still reads the old one.
            negative_slope: match number(config, "alpha")? {
                Some(alpha) => alpha,
                None => not_negative("negative_slope", 0.3)?,
            },
            max_value: None,
            threshold: 0.0,
        },
        "ThresholdedReLU" => Activation::Relu {
            negative_slope: 0.0,
            max_value: None,
            threshold: not_negative("theta", 1.0)?,
        },
        "ELU" => Activation::Elu {
            alpha: number(config, "alpha")?.unwrap_or(1.0),
        },
        "Softmax" if matches!(super::softmax::axes(config)?.as_slice(), [-1]) => {
            Activation::Softmax
        }
        _ => return Ok(None),
    }))
}

/// A number, also as a wrapped array of no axes: Keras 2 writes NumPy scalars so.
fn number(config: &Config<'_>, key: &str) -> Result<Option<f32>, ConfigError> {
    match array(config, key)? {
        None => Ok(None),
        Some(value) if value.ndim() == 0 => Ok(value.first().copied()),
        Some(_) => Err(config.invalid(key, "a number")),
    }
}

impl Layer for Activate {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        Ok(vec![single(&self.class, inputs)?.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single(&self.class, inputs)?;
        let mut output = values(input).into_owned();
        let features = input.shape().last().copied().unwrap_or(1);
        activate(&self.activation, &mut output, features);
        Ok(vec![
            tensor(input.shape(), output)?.with_mask(input.mask.clone()),
        ])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        _call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let input = single(&self.class, inputs)?;
        let shape = input.shape().to_vec();
        let before = values(input).into_owned();
        let (output, activated) = Activated::apply(&self.activation, before, &shape)?;
        let output = output.with_mask(input.mask.clone());
        Ok(Forward::new(output, move |gradient| {
            let gradient = tensor(&shape, activated.backward(gradient))?;
            Ok(LayerGradients::of_input(gradient.data))
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?;
        let (activation, row) = (self.activation, input.activated(&self.activation)?);
        Ok(Streamed::in_place(input.clone(), move |values| {
            activate(&activation, values, row);
        }))
    }
}

/// Keras's `PReLU`: `x` above 0, `alpha·x` below, with an `alpha` that was learned.
#[derive(Debug)]
pub struct PRelu {
    shared_axes: Vec<i64>,
    /// The input's shape without the batch, and 1 for each shared axis.
    alpha: Option<ArrayD<f32>>,
}

pub(super) fn build_prelu(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let shared_axes = super::support::integers_or(config, "shared_axes", &[])?;
    // Keras takes an axis that counts from the end for another one than it says.
    if shared_axes.iter().any(|axis| *axis < 1) {
        return Err(config.invalid("shared_axes", "axes from 1, behind the batch"));
    }
    Ok(Box::new(PRelu {
        shared_axes,
        alpha: None,
    }))
}

impl Layer for PRelu {
    fn class_name(&self) -> &str {
        "PReLU"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        WeightSlot::list("", &["alpha"])
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        // Its shape is the input's, which is known when the layer is called.
        let slots = self.weight_slots();
        let [alpha] = <[_; 1]>::try_from(weights).map_err(|weights| {
            LayerError::Other(format!("a PReLU has one weight, got {}", weights.len()))
        })?;
        if alpha.ndim() == 0 {
            return Err(wrong_weight(
                &slots[0],
                &alpha,
                "the input's shape without the batch",
            ));
        }
        self.alpha = Some(alpha);
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        Some(vec![self.alpha.clone()?])
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("PReLU", inputs)?;
        let shared = resolve_axes(&self.shared_axes, shape)?;
        if let Some(alpha) = &self.alpha {
            let fits = alpha.ndim() + 1 == shape.len()
                && (1..).zip(alpha.shape()).all(|(axis, size)| {
                    (shared.contains(&axis) && *size == 1)
                        || shape[axis].is_none_or(|expected| expected == *size)
                });
            if !fits {
                let expected = format!("a shape for which alpha is {:?}", alpha.shape());
                return Err(wrong_input(0, shape, expected));
            }
        }
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let alpha = self.alpha.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single("PReLU", inputs)?;
        let shape = output_shape(self, inputs)?;
        let alpha = alpha.broadcast(IxDyn(&shape)).ok_or_else(|| {
            wrong_input(
                0,
                &super::support::known(&shape),
                format!("a shape for which alpha is {:?}", alpha.shape()),
            )
        })?;
        let output = ndarray::Zip::from(&input.data)
            .and(&alpha)
            .map_collect(|x, alpha| prelu(*x, *alpha));
        Ok(vec![Tensor::from(output).with_mask(input.mask.clone())])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let alpha = self.alpha.as_ref().ok_or(LayerError::NoWeights)?;
        let x = inputs[0].data.clone();
        Ok(Forward::new(output, move |gradient| {
            let below = x.mapv(|x| x.min(0.0));
            let of_alpha = sum_to_shape((&gradient * &below).sum_axis(Axis(0)), alpha.shape())?;
            let mut of_x = &x * 0.0 + alpha; // alpha, broadcast
            of_x.zip_mut_with(&x, |slope, x| {
                if *x > 0.0 {
                    *slope = 1.0;
                } else if *x == 0.0 {
                    *slope = 0.0; // as in TensorFlow
                }
            });
            of_x.zip_mut_with(&gradient, |slope, gradient| *slope *= gradient);
            Ok(LayerGradients {
                inputs: vec![Some(of_x.into())],
                weights: vec![Some(of_alpha.into())],
                ..LayerGradients::default()
            })
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let alpha = self.alpha.as_ref().ok_or(LayerError::NoWeights)?;
        let input = one(inputs)?;
        if matches!(input.time, Time::Steps(_)) && alpha.shape().first() != Some(&1) {
            return Err(
                NotStreamable::new("it learned a slope for each step of a sequence")
                    .help("train it with shared_axes=[1]"),
            );
        }
        let mut shape = vec![1; input.shape().len() - input.sizes.len() - 1];
        shape.extend(&input.sizes);
        let alpha: Option<Vec<f32>> = alpha
            .broadcast(IxDyn(&shape))
            .map(|alpha| alpha.iter().copied().collect());
        let alpha = alpha.ok_or_else(|| wrong_input(0, &input.shape(), "as alpha has"))?;
        Ok(Streamed::of(input.clone(), move |x, out| {
            for ((x, out), alpha) in x.iter().zip(out).zip(&alpha) {
                *out = prelu(*x, *alpha);
            }
        }))
    }
}

fn prelu(x: f32, alpha: f32) -> f32 {
    x.max(0.0) - alpha * (-x).max(0.0)
}
