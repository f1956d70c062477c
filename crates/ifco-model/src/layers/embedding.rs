//! `Embedding`: a row of a table for each index. `Masking`: which steps count.

use ndarray::{ArcArray2, ArrayD, Axis, Ix2};

use super::support::{
    array, check_weights, elements, one, output_shape, positive, reshaped, single, tensor, values,
    wrong_input,
};
use crate::WeightUpdate;
use crate::session::copy;
use crate::{
    Call, Config, ConfigError, Forward, Generation, Gradient, Layer, LayerError, LayerGradients,
    NotStreamable, Shape, Step, StepShape, Streamed, Tensor, Time, Training, WeightSlot,
};

/// Keras's `Embedding`.
#[derive(Debug)]
pub struct Embedding {
    input_dim: usize,
    output_dim: usize,
    mask_zero: bool,
    /// Shared with the sessions.
    embeddings: Option<ArcArray2<f32>>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Embedding {
        input_dim: positive(config, "input_dim", None)?,
        output_dim: positive(config, "output_dim", None)?,
        mask_zero: config.bool_or("mask_zero", false)?,
        embeddings: None,
    }))
}

/// The row of a table of so many that a value of the input names.
fn row_index(value: f32, rows: usize) -> Option<usize> {
    // Every index that f32 holds exactly is below 2²⁴; rounding makes larger ones wrong
    // before they come here, but never larger than the comparison below allows. The cast makes
    // 0 of what is negative or NaN, and rounds towards 0: back again it is not the same then.
    let index = value as usize;
    (index < rows && index as f32 == value).then_some(index)
}

impl Embedding {
    /// The error for a value of an input of this shape, the so-manieth in row-major order.
    fn no_such_row(&self, value: f32, mut position: usize, shape: &[usize]) -> LayerError {
        let mut at: Vec<usize> = shape
            .iter()
            .rev()
            .map(|length| {
                let along = position % length;
                position /= length;
                along
            })
            .collect();
        at.reverse();
        LayerError::Other(format!(
            "input 0 has the value {value} at {at:?}, expected a whole number from 0 to {}: the \
             embedding has {} rows",
            self.input_dim - 1,
            self.input_dim
        ))
    }
}

impl Layer for Embedding {
    fn class_name(&self) -> &str {
        "Embedding"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        WeightSlot::list("", &["embeddings"])
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let shape = [Some(self.input_dim), Some(self.output_dim)];
        check_weights("Embedding", &self.weight_slots(), &weights, &[&shape])?;
        for embeddings in weights {
            let table = reshaped(embeddings, Ix2(self.input_dim, self.output_dim))?;
            self.embeddings = Some(table.into_shared());
        }
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let embeddings = self.embeddings.as_ref()?;
        Some(vec![embeddings.to_owned().into_dyn()])
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let mut shape = single("Embedding", inputs)?.clone();
        shape.push(Some(self.output_dim));
        Ok(vec![shape])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let embeddings = self.embeddings.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single("Embedding", inputs)?;
        let shape = output_shape(self, inputs)?;
        let mut output = Vec::with_capacity(elements(&shape)?);
        // Whole rows at a time: the weights are kept row-major.
        let table = embeddings.as_standard_layout();
        let table = table.as_slice().unwrap_or_default();
        for (position, value) in values(input).iter().enumerate() {
            let index = row_index(*value, self.input_dim)
                .ok_or_else(|| self.no_such_row(*value, position, input.shape()))?;
            output.extend_from_slice(&table[index * self.output_dim..][..self.output_dim]);
        }
        let mask = self
            .mask_zero
            .then(|| input.data.mapv(|value| value != 0.0).into());
        Ok(vec![tensor(&shape, output)?.with_mask(mask)])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let input = single("Embedding", inputs)?.clone();
        if let Some(entries) = &call.entries {
            return Ok(entries.begin(output, input.data.ndim()));
        }
        let wants = training.wants();
        Ok(Forward::new(output, move |gradient| {
            if !wants.weights {
                return Ok(LayerGradients::default());
            }
            // The call has checked them.
            let rows: Vec<usize> = values(&input).iter().map(|value| *value as usize).collect();
            let shape = Ix2(rows.len(), self.output_dim);
            let of_rows = reshaped(gradient.into_owned(), shape)?;
            Ok(LayerGradients {
                weights: vec![Some(Gradient::of_rows(&rows, of_rows, self.input_dim))],
                ..LayerGradients::default()
            })
        }))
    }

    fn enters(&self, _input: usize) -> bool {
        true
    }

    fn update_weights(&mut self, update: &mut WeightUpdate<'_>) -> Result<(), LayerError> {
        // In place, unless a session shares them.
        let table = self.embeddings.as_mut().ok_or(LayerError::NoWeights)?;
        update(0, table.view_mut().into_dyn())
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let table = self.embeddings.clone().ok_or(LayerError::NoWeights)?;
        let input = one(inputs)?;
        let is_one_index = input.sizes.is_empty() && matches!(input.time, Time::Steps(_));
        if self.mask_zero && !is_one_index {
            return Err(NotStreamable::new(
                "its mask_zero masks single indices of a step, and not steps",
            ));
        }
        let output = input.through(self)?.with_masked(self.mask_zero);
        let step = Box::new(Lookup {
            table,
            mask_zero: self.mask_zero,
        });
        Ok(Streamed { step, output })
    }
}

/// An embedding's part of a session.
#[derive(Debug)]
struct Lookup {
    table: ArcArray2<f32>,
    mask_zero: bool,
}

impl Step for Lookup {
    fn step(&mut self, x: &[f32], _counts: bool, out: &mut [f32]) -> bool {
        let (rows, columns) = (self.table.nrows(), self.table.ncols().max(1));
        let values = self.table.as_slice().unwrap_or_default();
        for (x, out) in x.iter().zip(out.chunks_exact_mut(columns)) {
            let row = row_index(*x, rows).and_then(|row| values.chunks_exact(columns).nth(row));
            copy(row.unwrap_or_default(), out);
        }
        // Where there is a mask, a step is one index.
        !self.mask_zero || x.first() != Some(&0.0)
    }

    fn check(&self, x: &[f32]) -> Result<(), (String, String)> {
        let rows = self.table.nrows();
        match x.iter().find(|value| row_index(**value, rows).is_none()) {
            None => Ok(()),
            Some(value) => Err((
                format!("the index {value}"),
                format!("a whole number from 0 to {}", rows.saturating_sub(1)),
            )),
        }
    }
}

/// Keras's `Masking`: a step of which every value is `mask_value` does not count.
#[derive(Debug)]
pub struct Masking {
    mask_value: f32,
    generation: Generation,
}

pub(super) fn build_masking(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let mask_value = match array(config, "mask_value")? {
        None => 0.0,
        Some(value) if value.len() == 1 => value.iter().copied().sum(),
        Some(_) => return Err(config.invalid("mask_value", "a number")),
    };
    Ok(Box::new(Masking {
        mask_value,
        generation: config.generation,
    }))
}

impl Masking {
    /// What stands in a step that does not count.
    fn masked(&self) -> f32 {
        // Keras 2 multiplies by the mask, which leaves NaN where the mask value is infinite.
        match self.generation {
            Generation::Keras3 => 0.0,
            _ => self.mask_value * 0.0,
        }
    }
}

impl Layer for Masking {
    fn class_name(&self) -> &str {
        "Masking"
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = single("Masking", inputs)?;
        if shape.len() < 2 {
            return Err(wrong_input(0, shape, "(batch, …, features)"));
        }
        Ok(vec![shape.clone()])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single("Masking", inputs)?;
        let shape = output_shape(self, inputs)?;
        let mask = input.data.map_axis(Axis(shape.len() - 1), |step| {
            step.iter().any(|value| *value != self.mask_value)
        });
        let masked = self.masked();
        let mut output = values(input).into_owned();
        let features = shape[shape.len() - 1];
        if features > 0 {
            for (step, counts) in output.chunks_exact_mut(features).zip(&mask) {
                if !counts {
                    step.fill(masked);
                }
            }
        }
        Ok(vec![tensor(&shape, output)?.with_mask(Some(mask.into()))])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        if let Some(entries) = &call.entries {
            let axes = output.data.ndim();
            return Ok(entries.begin(output, axes));
        }
        let mask = output.mask.clone();
        Ok(Forward::new(output, move |gradient| {
            Ok(LayerGradients::of_input(match mask {
                Some(mask) => masked_steps(gradient, &mask),
                None => gradient,
            }))
        }))
    }

    fn enters(&self, _input: usize) -> bool {
        true
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?;
        if input.sizes.len() != 1 || input.time == Time::Gone {
            return Err(NotStreamable::new(
                "it masks something else than steps of (batch, time, features)",
            ));
        }
        let step = Box::new(MaskStep {
            mask_value: self.mask_value,
            masked: self.masked(),
        });
        let output = input.with_masked(true);
        Ok(Streamed { step, output })
    }
}

/// A masking layer's part of a session.
#[derive(Debug)]
struct MaskStep {
    mask_value: f32,
    masked: f32,
}

impl Step for MaskStep {
    fn step(&mut self, x: &[f32], _counts: bool, out: &mut [f32]) -> bool {
        let counts = x.iter().any(|value| *value != self.mask_value);
        copy(x, out);
        if !counts {
            out.fill(self.masked);
        }
        counts
    }
}

/// The gradient with zeros in the steps that do not count.
fn masked_steps(mut gradient: crate::Array, mask: &crate::Mask) -> crate::Array {
    let last = Axis(gradient.ndim() - 1);
    for (mut step, counts) in gradient.lanes_mut(last).into_iter().zip(mask) {
        if !counts {
            step.fill(0.0);
        }
    }
    gradient
}
