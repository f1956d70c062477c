//! Layers that merge inputs element by element: `Add`, `Subtract`, `Multiply`, `Average`,
//! `Maximum`, `Minimum`.
//!
//! Inputs of different ranks get axes of size 1 behind the batch; then shapes broadcast as in
//! NumPy. The generations treat masks differently. Keras 2 computes as if there were none and
//! passes on the steps that count in every masked input. Keras 3 passes on a mask only if all
//! inputs have one: the steps that count in any of them; and `Multiply`, `Maximum` and
//! `Minimum` leave out what does not count in one input but in another.

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Zip};

use super::support::{
    broadcast_shape, combine_masks, known, output_shape, reshaped, sum_to_shape, unmasked,
    wrong_input,
};
use crate::session::copy;
use crate::{
    Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients, Mask,
    NotStreamable, Shape, StepShape, Streamed, Tensor, Training,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Average,
    Maximum,
    Minimum,
}

impl Operation {
    fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add | Self::Average => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            // Unlike f32::max and f32::min these keep a NaN, as TensorFlow does.
            Self::Maximum if a.is_nan() || a > b => a,
            Self::Minimum if a.is_nan() || a < b => a,
            Self::Maximum | Self::Minimum => b,
        }
    }
}

mod backward;

/// One of Keras's element-wise merge layers.
#[derive(Debug)]
pub struct Merge {
    class: String,
    operation: Operation,
    generation: Generation,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(Merge {
        class: class.into(),
        operation: match class {
            "Subtract" => Operation::Subtract,
            "Multiply" => Operation::Multiply,
            "Average" => Operation::Average,
            "Maximum" => Operation::Maximum,
            "Minimum" => Operation::Minimum,
            _ => Operation::Add,
        },
        generation: config.generation,
    }))
}

/// The shape of all inputs, where they are unmasked steps of one shape.
fn same_steps(inputs: &[StepShape]) -> Result<&StepShape, NotStreamable> {
    let (first, others) = inputs
        .split_first()
        .ok_or_else(|| NotStreamable::new("it takes nothing"))?;
    if others
        .iter()
        .any(|other| (&other.sizes, other.time) != (&first.sizes, first.time))
    {
        return Err(NotStreamable::new("its inputs are not all of one shape"));
    }
    unmasked(inputs)?;
    Ok(first)
}

/// An input with the axes that it lacks, and the mask that the operation still sees on it.
struct Operand {
    data: crate::Array,
    mask: Option<Mask>,
}

impl Operand {
    fn new(input: &Tensor, rank: usize) -> Self {
        let mut data = input.data.clone();
        // Keras 3's masks are attributes of tensors: the reshaped one has none.
        let mask = (data.ndim() == rank).then(|| input.mask.clone()).flatten();
        while data.ndim() < rank {
            let behind_batch = Axis(1.min(data.ndim()));
            data = data.insert_axis(behind_batch);
        }
        Self { data, mask }
    }

    /// The mask with the data's shape: one step's mask for each of its features.
    fn full_mask(&self) -> Result<Option<Mask>, LayerError> {
        let Some(mask) = &self.mask else {
            return Ok(None);
        };
        let expanded = mask.clone().insert_axis(Axis(mask.ndim()));
        let full = expanded
            .broadcast(IxDyn(self.data.shape()))
            .ok_or_else(|| {
                LayerError::Other(format!(
                    "a mask of shape {:?} does not fit an input of shape {:?}",
                    mask.shape(),
                    self.data.shape()
                ))
            })?;
        Ok(Some(full.to_shared()))
    }
}

impl Merge {
    fn binary(&self, a: &ArrayD<f32>, b: ArrayViewD<'_, f32>) -> Result<ArrayD<f32>, LayerError> {
        zip(a.view(), b, |a, b| self.operation.apply(a, b))
    }

    /// Keras 3's `Maximum` and `Minimum`: where only one side counts, it stands for both.
    fn masked_extreme(&self, operands: &[Operand]) -> Result<Option<ArrayD<f32>>, LayerError> {
        let mut state: Option<(ArrayD<f32>, Option<Mask>)> = None;
        for operand in operands {
            let mask = operand.full_mask()?;
            let Some((output, output_mask)) = state else {
                state = Some((operand.data.to_owned(), mask));
                continue;
            };
            let mut x = operand.data.to_owned();
            let mut y = output;
            if let Some(mask) = &mask {
                x = choose(mask, x.view(), y.view())?;
            }
            if let Some(mask) = &output_mask {
                y = choose(mask, y.view(), x.view())?;
            }
            let both = match (mask, output_mask) {
                (Some(a), Some(b)) => Some(combine_masks(&a, &b, |a, b| a | b)?),
                _ => None,
            };
            state = Some((self.binary(&y, x.view())?, both));
        }
        Ok(state.map(|(output, _)| output))
    }

    /// Keras 3's `Multiply`: what does not count is 1 as a factor, and 0 as a product.
    fn masked_product(&self, operands: &[Operand]) -> Result<Option<ArrayD<f32>>, LayerError> {
        let mut product: Option<ArrayD<f32>> = None;
        let mut counts: Option<Mask> = None;
        let all_masked = operands.iter().all(|operand| operand.mask.is_some());
        for operand in operands {
            let mut x = operand.data.to_owned();
            if let Some(mask) = operand.full_mask()? {
                x.zip_mut_with(&mask, |x, counts| {
                    if !counts {
                        *x = 1.0;
                    }
                });
                counts = Some(match counts {
                    Some(counts) => combine_masks(&counts, &mask, |a, b| a | b)?,
                    None => mask,
                });
            }
            product = Some(match product {
                Some(product) => self.binary(&product, x.view())?,
                None => x,
            });
        }
        if let (Some(product), Some(counts), true) = (&mut product, counts, all_masked) {
            product.zip_mut_with(&counts, |product, counts| {
                if !counts {
                    *product = 0.0;
                }
            });
        }
        Ok(product)
    }

    fn plain(&self, operands: &[Operand]) -> Result<Option<ArrayD<f32>>, LayerError> {
        let Some((first, others)) = operands.split_first() else {
            return Ok(None);
        };
        let mut output = first.data.to_owned();
        for other in others {
            output = self.binary(&output, other.data.view())?;
        }
        if self.operation == Operation::Average {
            let count = operands.len() as f32;
            output.mapv_inplace(|sum| sum / count);
        }
        Ok(Some(output))
    }

    fn output_mask(&self, inputs: &[Tensor]) -> Result<Option<Mask>, LayerError> {
        let masks: Vec<&Mask> = inputs
            .iter()
            .filter_map(|input| input.mask.as_ref())
            .collect();
        let Some((first, others)) = masks.split_first() else {
            return Ok(None);
        };
        if self.generation == Generation::Keras3 {
            if masks.len() < inputs.len() {
                return Ok(None);
            }
            return others
                .iter()
                .try_fold((*first).clone(), |all, mask| {
                    combine_masks(&all, mask, |a, b| a | b)
                })
                .map(Some);
        }
        if let Some(other) = others.iter().find(|mask| mask.shape() != first.shape()) {
            return Err(LayerError::Other(format!(
                "masks of shapes {:?} and {:?} do not fit together",
                first.shape(),
                other.shape()
            )));
        }
        others
            .iter()
            .try_fold((*first).clone(), |all, mask| {
                combine_masks(&all, mask, |a, b| a & b)
            })
            .map(Some)
    }
}

impl Layer for Merge {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let count_fits = match self.operation {
            Operation::Subtract => inputs.len() == 2,
            _ => !inputs.is_empty(),
        };
        if !count_fits {
            return Err(LayerError::Other(format!(
                "a {} takes {}, got {}",
                self.class,
                if self.operation == Operation::Subtract {
                    "2 inputs"
                } else {
                    "inputs"
                },
                inputs.len()
            )));
        }
        let rank = inputs.iter().map(Vec::len).max().unwrap_or(0);
        let mut output = vec![Some(1); rank];
        for (index, input) in inputs.iter().enumerate() {
            let mut sizes = input.clone();
            while sizes.len() < rank {
                sizes.insert(1.min(sizes.len()), Some(1));
            }
            for (axis, (size, other)) in output.iter_mut().zip(sizes).enumerate() {
                *size = match (*size, other) {
                    (a, b) if a == b => a,
                    (Some(1), b) => b,
                    (a, Some(1)) => a,
                    // The batch is the only size that another input can tell.
                    (None, b) | (b, None) => (axis == 0).then_some(b).flatten(),
                    _ => {
                        let expected = "a shape that broadcasts with the other inputs'";
                        return Err(wrong_input(index, input, expected));
                    }
                };
            }
        }
        Ok(vec![output])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let shape = output_shape(self, inputs)?;
        let operands: Vec<Operand> = inputs
            .iter()
            .map(|input| Operand::new(input, shape.len()))
            .collect();
        let output = match (self.generation, self.operation) {
            (Generation::Keras3, Operation::Maximum | Operation::Minimum) => {
                self.masked_extreme(&operands)?
            }
            (Generation::Keras3, Operation::Multiply) => self.masked_product(&operands)?,
            _ => self.plain(&operands)?,
        };
        let output = output.ok_or_else(|| LayerError::Other("there are no inputs".into()))?;
        Ok(vec![
            Tensor::from(output).with_mask(self.output_mask(inputs)?),
        ])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let rank = output.data.ndim();
        let inputs = inputs.to_vec();
        Ok(Forward::new(output, move |gradient| {
            let operands: Vec<Operand> = inputs
                .iter()
                .map(|input| Operand::new(input, rank))
                .collect();
            let gradients = self.backward(&operands, gradient.into_owned())?;
            let shaped = gradients.into_iter().zip(&inputs).zip(&operands);
            let shaped = shaped.map(|((gradient, input), operand)| {
                let gradient = sum_to_shape(gradient, operand.data.shape())?;
                let gradient = reshaped(gradient, IxDyn(input.shape()))?;
                Ok(Some(gradient.into()))
            });
            Ok(LayerGradients {
                inputs: shaped.collect::<Result<_, LayerError>>()?,
                ..LayerGradients::default()
            })
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let shape = same_steps(inputs)?;
        let width = shape.len().max(1);
        let (operation, count) = (self.operation, inputs.len() as f32);
        Ok(Streamed::of(shape.clone(), move |x, out| {
            let mut inputs = x.chunks_exact(width);
            copy(inputs.next().unwrap_or_default(), out);
            for x in inputs {
                out.iter_mut()
                    .zip(x)
                    .for_each(|(out, x)| *out = operation.apply(*out, *x));
            }
            if operation == Operation::Average {
                out.iter_mut().for_each(|sum| *sum /= count);
            }
        }))
    }
}

/// `a` where the mask counts, else `b`.
fn choose(
    mask: &Mask,
    a: ArrayViewD<'_, f32>,
    b: ArrayViewD<'_, f32>,
) -> Result<ArrayD<f32>, LayerError> {
    let shape = broadcast_shape(a.shape(), b.shape())
        .and_then(|shape| broadcast_shape(&shape, mask.shape()));
    let views = shape.as_ref().and_then(|shape| {
        let shape = IxDyn(shape);
        Some((
            mask.broadcast(shape.clone())?,
            a.broadcast(shape.clone())?,
            b.broadcast(shape)?,
        ))
    });
    let Some((mask, a, b)) = views else {
        return Err(misfit(a.shape(), b.shape()));
    };
    Ok(Zip::from(&mask)
        .and(&a)
        .and(&b)
        .map_collect(|counts, a, b| if *counts { *a } else { *b }))
}

fn zip(
    a: ArrayViewD<'_, f32>,
    b: ArrayViewD<'_, f32>,
    with: impl Fn(f32, f32) -> f32,
) -> Result<ArrayD<f32>, LayerError> {
    let shape = broadcast_shape(a.shape(), b.shape());
    let views = shape
        .as_ref()
        .and_then(|shape| Some((a.broadcast(IxDyn(shape))?, b.broadcast(IxDyn(shape))?)));
    let Some((a, b)) = views else {
        return Err(misfit(a.shape(), b.shape()));
    };
    Ok(Zip::from(&a).and(&b).map_collect(|a, b| with(*a, *b)))
}

fn misfit(a: &[usize], b: &[usize]) -> LayerError {
    wrong_input(
        1,
        &known(b),
        format!("a shape that broadcasts with {:?}", a),
    )
}
