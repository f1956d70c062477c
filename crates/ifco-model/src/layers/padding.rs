//! Layers that lengthen or shorten the axes between batch and channels: `ZeroPadding1D`/`2D`,
//! `Cropping1D`/`2D`, `UpSampling1D`/`2D`. None of them passes a mask on.

use ndarray::{ArrayD, Axis, IxDyn, Slice};
use serde_json::Value;

use super::support::{
    channels_first, output_shape, positives, single, single_of_rank, tensor, wrong_input,
};
use crate::{
    Call, Config, ConfigError, Forward, Layer, LayerError, LayerGradients, Shape, Tensor, Training,
};

#[derive(Debug, Clone, Copy)]
enum Change {
    /// Zeros before and after.
    Pad(usize, usize),
    /// What is left out before and after.
    Crop(usize, usize),
    /// Each value so many times.
    Repeat(usize),
}

impl Change {
    fn length(self, length: usize) -> Option<usize> {
        match self {
            Self::Pad(before, after) => length.checked_add(before)?.checked_add(after),
            Self::Crop(before, after) => {
                let rest = length.checked_sub(before)?.checked_sub(after)?;
                (rest > 0).then_some(rest)
            }
            Self::Repeat(times) => length.checked_mul(times),
        }
    }

    /// What an input would have to be.
    fn expected(self) -> String {
        match self {
            Self::Crop(before, after) => {
                format!("more steps than the {before} and {after} that are cropped")
            }
            Self::Pad(..) | Self::Repeat(_) => "fewer steps: the output would be too long".into(),
        }
    }

    fn apply(
        self,
        input: &ArrayD<f32>,
        axis: Axis,
        length: usize,
    ) -> Result<ArrayD<f32>, LayerError> {
        let mut shape = input.shape().to_vec();
        match self {
            Self::Pad(before, _) => {
                let inner = before..before + shape[axis.0];
                shape[axis.0] = length;
                let mut output = ArrayD::zeros(IxDyn(&shape));
                output
                    .slice_axis_mut(axis, Slice::from(inner))
                    .assign(input);
                Ok(output)
            }
            Self::Crop(before, _) => {
                let kept = Slice::from(before..before + length);
                Ok(input.slice_axis(axis, kept).to_owned())
            }
            Self::Repeat(times) => {
                let mut output = Vec::with_capacity(input.len().saturating_mul(times));
                let inner: usize = shape[axis.0 + 1..].iter().product();
                let values: Vec<f32> = input.iter().copied().collect();
                let steps = values.chunks_exact(inner.max(1));
                for step in steps {
                    (0..times).for_each(|_| output.extend_from_slice(step));
                }
                shape[axis.0] = length;
                tensor(&shape, output).map(Tensor::into_owned)
            }
        }
    }
}

impl Change {
    /// The gradient of what had this length, of that of what was made of it.
    fn backward(
        self,
        gradient: &ArrayD<f32>,
        axis: Axis,
        length: usize,
    ) -> Result<ArrayD<f32>, LayerError> {
        match self {
            Self::Pad(before, after) => Self::Crop(before, after).apply(gradient, axis, length),
            Self::Crop(before, after) => Self::Pad(before, after).apply(gradient, axis, length),
            Self::Repeat(times) => {
                let mut shape = gradient.shape().to_vec();
                shape[axis.0] = length;
                shape.insert(axis.0 + 1, times);
                let values = gradient.iter().copied().collect();
                let split = tensor(&shape, values)?.into_owned();
                Ok(split.sum_axis(Axis(axis.0 + 1)))
            }
        }
    }
}

/// One of the layers that change lengths.
#[derive(Debug)]
pub struct Resize {
    class: String,
    changes: Vec<Change>,
    channels_first: bool,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let rank = if class.ends_with("2D") { 2 } else { 1 };
    let changes = match class {
        "ZeroPadding1D" | "ZeroPadding2D" => pairs(config, "padding", rank, 1)?
            .into_iter()
            .map(|(before, after)| Change::Pad(before, after))
            .collect(),
        "Cropping1D" | "Cropping2D" => pairs(config, "cropping", rank, usize::from(rank == 1))?
            .into_iter()
            .map(|(before, after)| Change::Crop(before, after))
            .collect(),
        _ => {
            let interpolation = config.str_or("interpolation", "nearest")?;
            if interpolation != "nearest" {
                return Err(config.invalid("interpolation", "\"nearest\""));
            }
            let sizes = positives(config, "size", rank, Some(2))?;
            sizes.into_iter().map(Change::Repeat).collect()
        }
    };
    Ok(Box::new(Resize {
        class: class.into(),
        changes,
        channels_first: channels_first(config)?,
    }))
}

/// `(before, after)` for each axis. Keras takes one number for all; in one dimension a pair; in
/// two dimensions a number or a pair for each.
fn pairs(
    config: &Config<'_>,
    key: &str,
    rank: usize,
    default: usize,
) -> Result<Vec<(usize, usize)>, ConfigError> {
    let expected = || config.invalid(key, "whole numbers of at least 0, two for each axis");
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let pair = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([before, after]) => Some((number(before)?, number(after)?)),
        Some(_) => None,
        None => number(value).map(|both| (both, both)),
    };
    let Some(value) = config.get(key) else {
        return Ok(vec![(default, default); rank]);
    };
    if rank == 1 || value.is_number() {
        let both = pair(value).ok_or_else(expected)?;
        return Ok(vec![both; rank]);
    }
    let list = value.as_array().filter(|list| list.len() == rank);
    list.and_then(|list| list.iter().map(pair).collect())
        .ok_or_else(expected)
}

impl Resize {
    fn first_axis(&self) -> usize {
        if self.channels_first { 2 } else { 1 }
    }
}

impl Layer for Resize {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let rank = self.changes.len() + 2;
        let axes = format!("a shape of {rank} sizes");
        let shape = single_of_rank(&self.class, inputs, rank, &axes)?;
        let mut output = shape.clone();
        for (size, change) in output[self.first_axis()..].iter_mut().zip(&self.changes) {
            if let Some(length) = *size {
                let changed = change.length(length);
                *size = Some(changed.ok_or_else(|| wrong_input(0, shape, change.expected()))?);
            }
        }
        Ok(vec![output])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single(&self.class, inputs)?;
        let shape = output_shape(self, inputs)?;
        let mut output = input.data.to_owned();
        for (axis, change) in (self.first_axis()..).zip(&self.changes) {
            output = change.apply(&output, Axis(axis), shape[axis])?;
        }
        Ok(vec![Tensor::from(output)])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let shape = single(&self.class, inputs)?.shape().to_vec();
        Ok(Forward::new(output, move |gradient| {
            let mut gradient = gradient.into_owned();
            let axes = self.first_axis()..;
            for (axis, change) in axes.zip(&self.changes) {
                gradient = change.backward(&gradient, Axis(axis), shape[axis])?;
            }
            Ok(LayerGradients::of_input(gradient))
        }))
    }
}
