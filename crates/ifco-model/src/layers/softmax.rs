//! `Softmax` over one or several axes, with a mask.

use ndarray::IxDyn;

use super::support::{
    along, along_both, as_mask, integers_or, one, output_shape, resolve_axes, single, softmax,
};
use crate::{
    Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients, Mask,
    NotStreamable, Shape, StepShape, Streamed, Tensor, Training,
};
use ifco_cell::Activation;

/// How a softmax leaves positions out. Each Keras has its own way, and they differ where all
/// positions are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Masking {
    /// Keras 2: adds −10⁹.
    Add,
    /// Keras 2 with `softmax_robust_masking`: −10⁹ in place of the value.
    Replace,
    /// Keras 3: −10⁹ in place of the value, and 0 in place of the result.
    ReplaceAndZero,
}

impl Masking {
    pub(super) fn of(config: &Config<'_>, robust_key: &str) -> Result<Self, ConfigError> {
        Ok(match config.generation {
            Generation::Keras3 => Self::ReplaceAndZero,
            _ if config.bool_or(robust_key, false)? => Self::Replace,
            _ => Self::Add,
        })
    }

    /// What the softmax reads in place of a value that does not count.
    pub(super) fn masked(self, value: f32) -> f32 {
        match self {
            Self::Add => value - 1e9,
            Self::Replace | Self::ReplaceAndZero => -1e9,
        }
    }
}

/// Keras's `Softmax`.
#[derive(Debug)]
pub struct Softmax {
    axes: Vec<i64>,
    masking: Masking,
}

/// The axes of a `Softmax` layer's configuration.
pub(super) fn axes(config: &Config<'_>) -> Result<Vec<i64>, ConfigError> {
    let axes = integers_or(config, "axis", &[-1])?;
    if axes.is_empty() {
        return Err(config.invalid("axis", "at least one axis"));
    }
    Ok(axes)
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Softmax {
        axes: axes(config)?,
        masking: Masking::of(config, "robust_masking")?,
    }))
}

impl Layer for Softmax {
    fn class_name(&self) -> &str {
        "Softmax"
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("Softmax", inputs)?;
        resolve_axes(&self.axes, shape)?;
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single("Softmax", inputs)?;
        let shape = output_shape(self, inputs)?;
        let given = call.tensors.get("mask").and_then(|masks| masks.first());
        let mask = given.map(as_mask).or_else(|| input.mask.clone());
        let mut scores = input.data.to_owned();
        let mask_view = mask
            .as_ref()
            .map(|mask| broadcast(mask, &shape))
            .transpose()?;
        if let Some(mask) = &mask_view {
            scores.zip_mut_with(mask, |value, counts| {
                if !counts {
                    *value = self.masking.masked(*value);
                }
            });
        }
        let axes = resolve_axes(&self.axes, &super::support::known(&shape))?;
        let mut output = along(scores.view(), &axes, softmax)?;
        if let (Some(mask), Masking::ReplaceAndZero) = (&mask_view, self.masking) {
            output.zip_mut_with(mask, |value, counts| {
                if !counts {
                    *value = 0.0;
                }
            });
        }
        // What the layer passes on is the mask it worked with.
        drop(mask_view);
        Ok(vec![Tensor::from(output).with_mask(mask)])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let y = output.data.clone();
        let axes = resolve_axes(&self.axes, &super::support::known(y.shape()))?;
        let mask = output.mask.clone();
        Ok(Forward::new(output, move |mut gradient| {
            let zeroes = |gradient: &mut crate::Array| {
                if let Some(mask) = &mask {
                    let mask = broadcast(mask, y.shape())?;
                    gradient.zip_mut_with(&mask, |gradient, counts| {
                        if !counts {
                            *gradient = 0.0;
                        }
                    });
                }
                Ok::<_, LayerError>(())
            };
            if self.masking == Masking::ReplaceAndZero {
                zeroes(&mut gradient)?;
            }
            let gradient = along_both(y.view(), gradient.view(), &axes, |y, dy| {
                Activation::Softmax.backward(y, y, dy);
            })?;
            let mut gradient = gradient.into_shared();
            if self.masking != Masking::Add {
                zeroes(&mut gradient)?;
            }
            Ok(LayerGradients::of_input(gradient))
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?;
        if input.masked {
            // The mask of the steps would be taken for one of the values.
            return Err(NotStreamable::new(
                "Keras's Softmax takes a mask of its values, and not one of the steps",
            )
            .help("use Activation(\"softmax\")"));
        }
        let row = input.row(&self.axes)?.max(1);
        Ok(Streamed::in_place(input.clone(), move |values| {
            values.chunks_exact_mut(row).for_each(softmax);
        }))
    }
}

/// The mask as Keras broadcasts it: its last axis is the scores' last.
fn broadcast<'a>(
    mask: &'a Mask,
    shape: &[usize],
) -> Result<ndarray::ArrayViewD<'a, bool>, LayerError> {
    mask.broadcast(IxDyn(shape)).ok_or_else(|| {
        LayerError::Other(format!(
            "the mask has shape {:?}, expected one that broadcasts to the input's {shape:?}",
            mask.shape()
        ))
    })
}
