//! `Concatenate`: inputs side by side along one axis.
//!
//! Masks are put side by side the same way, as if each had the features of its input. Of the
//! result, Keras 2 passes on the steps of which all features count, Keras 3 those of which any
//! does: beside each other along the features, masks are and-ed by Keras 2 and or-ed by Keras 3.

use ndarray::{Array, ArrayD, ArrayViewD, Axis, Dimension, IxDyn, Slice};

use super::support::{
    combine_masks, expand_mask, integers_or, output_shape, resolve_axis, unmasked, wrong_input,
};
use crate::{
    Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients, Mask,
    NotStreamable, Shape, StepShape, Streamed, Tensor, Training,
};

/// Keras's `Concatenate`.
#[derive(Debug)]
pub struct Concatenate {
    axis: i64,
    generation: Generation,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let axes = integers_or(config, "axis", &[-1])?;
    let [axis] = axes[..] else {
        return Err(config.invalid("axis", "one whole number"));
    };
    Ok(Box::new(Concatenate {
        axis,
        generation: config.generation,
    }))
}

impl Concatenate {
    fn axis(&self, first: &[Option<usize>]) -> Result<usize, LayerError> {
        resolve_axis(self.axis, first.len())
            .ok_or_else(|| wrong_input(0, first, format!("a shape that has axis {}", self.axis)))
    }

    fn output_mask(&self, inputs: &[Tensor], axis: usize) -> Result<Option<Mask>, LayerError> {
        if inputs.iter().all(|input| input.mask.is_none()) {
            return Ok(None);
        }
        let masks: Vec<Mask> = inputs
            .iter()
            .map(|input| self.input_mask(input))
            .collect::<Result<_, _>>()?;
        let misfit = || {
            let shapes: Vec<&[usize]> = masks.iter().map(|mask| mask.shape()).collect();
            LayerError::Other(format!(
                "masks of shapes {shapes:?} cannot be joined along axis {axis}: Keras cannot \
                 either"
            ))
        };
        if masks.iter().any(|mask| mask.ndim() <= axis) {
            return Err(misfit());
        }
        let views: Vec<ArrayViewD<'_, bool>> = masks.iter().map(|mask| mask.view()).collect();
        let joined = ndarray::concatenate(Axis(axis), &views).map_err(|_| misfit())?;
        let last = Axis(joined.ndim() - 1);
        let keras3 = self.generation == Generation::Keras3;
        let mask: Array<bool, IxDyn> = joined.map_axis(last, |features| {
            if keras3 {
                features.iter().any(|counts| *counts)
            } else {
                features.iter().all(|counts| *counts)
            }
        });
        Ok(Some(mask.into()))
    }

    /// The input's mask as the part of the joined one that it makes.
    fn input_mask(&self, input: &Tensor) -> Result<Mask, LayerError> {
        let Some(mask) = &input.mask else {
            return Ok(Mask::from_elem(input.data.raw_dim(), true));
        };
        if mask.ndim() >= input.data.ndim() {
            return Ok(mask.clone());
        }
        let expanded = expand_mask(mask, mask.ndim());
        if self.generation < Generation::Keras3 {
            return Ok(expanded);
        }
        let nothing = Mask::from_elem(input.data.raw_dim(), false);
        combine_masks(&expanded, &nothing, |mask, _| mask)
    }
}

/// The parts of these sizes that were joined along an axis.
pub(super) fn split_along(
    joined: &crate::Array,
    axis: Axis,
    sizes: &[usize],
) -> Vec<Option<crate::Array>> {
    let mut start = 0;
    let part = |size: &usize| {
        let slice = Slice::from(start..start + size);
        start += size;
        Some(joined.slice_axis(axis, slice).to_shared())
    };
    sizes.iter().map(part).collect()
}

impl Layer for Concatenate {
    fn class_name(&self) -> &str {
        "Concatenate"
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let Some((first, others)) = inputs.split_first() else {
            return Err(LayerError::Other(
                "a Concatenate takes inputs, got 0".into(),
            ));
        };
        let axis = self.axis(first)?;
        let mut output = first.clone();
        for (index, other) in (1..).zip(others) {
            let fits = other.len() == output.len()
                && output
                    .iter()
                    .zip(other)
                    .enumerate()
                    .all(|(at, (a, b))| at == axis || a.is_none() || b.is_none() || a == b);
            if !fits {
                let expected = format!("{} except at axis {axis}", crate::display_shape(first));
                return Err(wrong_input(index, other, expected));
            }
            for (at, (size, other)) in output.iter_mut().zip(other).enumerate() {
                *size = if at == axis {
                    size.zip(*other).and_then(|(a, b)| a.checked_add(b))
                } else {
                    size.or(*other)
                };
            }
        }
        Ok(vec![output])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let shape = output_shape(self, inputs)?;
        let axis = self.axis(&super::support::known(&shape))?;
        let views: Vec<ArrayViewD<'_, f32>> = inputs.iter().map(Tensor::view).collect();
        let joined: ArrayD<f32> = ndarray::concatenate(Axis(axis), &views)
            .map_err(|error| LayerError::Other(format!("the inputs cannot be joined: {error}")))?;
        debug_assert_eq!(joined.raw_dim().slice(), shape);
        Ok(vec![
            Tensor::from(joined).with_mask(self.output_mask(inputs, axis)?),
        ])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let axis = Axis(self.axis(&super::support::known(output.shape()))?);
        let sizes: Vec<usize> = inputs.iter().map(|input| input.shape()[axis.0]).collect();
        Ok(Forward::new(output, move |gradient| {
            Ok(LayerGradients {
                inputs: split_along(&gradient, axis, &sizes),
                ..LayerGradients::default()
            })
        }))
    }

    /// The inputs of a step stand one after the other already.
    fn stream(&self, inputs: &[StepShape], call: &Call) -> Result<Streamed, NotStreamable> {
        unmasked(inputs)?;
        let Some(first) = inputs.first() else {
            return Err(NotStreamable::new("it takes nothing"));
        };
        let shapes: Vec<Shape> = inputs.iter().map(StepShape::shape).collect();
        self.output_shapes(&shapes, call)?;
        let is_features = self.axis(&shapes[0])? + 1 == shapes[0].len();
        if !is_features || inputs.iter().any(|input| input.sizes.len() != 1) {
            return Err(NotStreamable::new(
                "it joins something else than the features of steps",
            ));
        }
        let features = inputs.iter().map(StepShape::len).sum();
        Ok(Streamed::in_place(first.with_sizes(vec![features]), |_| {}))
    }
}
