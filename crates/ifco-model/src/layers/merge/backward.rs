//! The way back through a merge: for each input a gradient of the output's shape, or of one that
//! broadcasts to it.

use ndarray::{ArrayD, ArrayViewD, IxDyn};

use super::super::support::combine_masks;
use super::{Merge, Operand, Operation, choose, misfit, zip};
use crate::{Generation, LayerError, Mask};

/// One step of the chain `result = extreme(result, x)` that a Maximum or Minimum is.
struct Link {
    /// The two sides that were compared, after the masks: the result so far, and the input.
    sides: [ArrayD<f32>; 2],
    /// What counts of each.
    masks: [Option<Mask>; 2],
}

impl Merge {
    pub(super) fn backward(
        &self,
        operands: &[Operand],
        gradient: ArrayD<f32>,
    ) -> Result<Vec<ArrayD<f32>>, LayerError> {
        match self.operation {
            Operation::Add => Ok(vec![gradient; operands.len()]),
            Operation::Average => {
                let share = gradient / operands.len() as f32;
                Ok(vec![share; operands.len()])
            }
            Operation::Subtract => {
                let negative = gradient.mapv(|value| -value);
                Ok(vec![gradient, negative])
            }
            Operation::Multiply => self.product_backward(operands, gradient),
            Operation::Maximum | Operation::Minimum => self.extreme_backward(operands, gradient),
        }
    }

    fn product_backward(
        &self,
        operands: &[Operand],
        mut gradient: ArrayD<f32>,
    ) -> Result<Vec<ArrayD<f32>>, LayerError> {
        let mut factors = Vec::with_capacity(operands.len());
        let mut masks = Vec::with_capacity(operands.len());
        for operand in operands {
            let mut factor = operand.data.to_owned();
            let mask = match self.generation {
                Generation::Keras3 => operand.full_mask()?,
                _ => None,
            };
            if let Some(mask) = &mask {
                fill_masked(&mut factor, mask, 1.0)?;
            }
            factors.push(factor);
            masks.push(mask);
        }
        let all: Option<Vec<&Mask>> = masks.iter().map(Option::as_ref).collect();
        if let Some([first, others @ ..]) = all.as_deref() {
            let any = others.iter().try_fold((*first).clone(), |any, mask| {
                combine_masks(&any, mask, |a, b| a | b)
            })?;
            fill_masked(&mut gradient, &any, 0.0)?;
        }
        let mut gradients = Vec::with_capacity(operands.len());
        for (index, mask) in masks.iter().enumerate() {
            let mut product = gradient.clone();
            for (other, factor) in factors.iter().enumerate() {
                if other != index {
                    product = zip(product.view(), factor.view(), |a, b| a * b)?;
                }
            }
            if let Some(mask) = mask {
                fill_masked(&mut product, mask, 0.0)?;
            }
            gradients.push(product);
        }
        Ok(gradients)
    }

    fn extreme_backward(
        &self,
        operands: &[Operand],
        gradient: ArrayD<f32>,
    ) -> Result<Vec<ArrayD<f32>>, LayerError> {
        let links = self.links(operands)?;
        let mut gradients = Vec::with_capacity(operands.len());
        let mut of_result = gradient;
        for link in links.iter().rev() {
            let [result, x] = &link.sides;
            let first = zip(result.view(), x.view(), |result, x| match self.operation {
                Operation::Minimum => f32::from(u8::from(result <= x)),
                _ => f32::from(u8::from(result >= x)),
            })?;
            let mut to_result = zip(of_result.view(), first.view(), |dy, first| dy * first)?;
            let mut to_x = zip(of_result.view(), first.view(), |dy, first| {
                dy * (1.0 - first)
            })?;
            let [result_mask, x_mask] = &link.masks;
            // In the order that undoes that of the forward: where only one side counts, it stood
            // for both.
            if let Some(mask) = result_mask {
                let moved = masked(to_result.view(), mask, false)?;
                to_result = masked(to_result.view(), mask, true)?;
                to_x += &moved;
            }
            if let Some(mask) = x_mask {
                let moved = masked(to_x.view(), mask, false)?;
                to_x = masked(to_x.view(), mask, true)?;
                to_result += &moved;
            }
            gradients.push(to_x);
            of_result = to_result;
        }
        gradients.push(of_result);
        gradients.reverse();
        Ok(gradients)
    }

    fn links(&self, operands: &[Operand]) -> Result<Vec<Link>, LayerError> {
        let mut links = Vec::new();
        let Some((first, others)) = operands.split_first() else {
            return Ok(links);
        };
        let mask_of = |operand: &Operand| match self.generation {
            Generation::Keras3 => operand.full_mask(),
            _ => Ok(None),
        };
        let (mut result, mut result_mask) = (first.data.to_owned(), mask_of(first)?);
        for operand in others {
            let mask = mask_of(operand)?;
            let (mut x, mut y) = (operand.data.to_owned(), result);
            if let Some(mask) = &mask {
                x = choose(mask, x.view(), y.view())?;
            }
            if let Some(mask) = &result_mask {
                y = choose(mask, y.view(), x.view())?;
            }
            let both = match (&mask, &result_mask) {
                (Some(a), Some(b)) => Some(combine_masks(a, b, |a, b| a | b)?),
                _ => None,
            };
            result = self.binary(&y, x.view())?;
            links.push(Link {
                sides: [y, x],
                masks: [result_mask, mask],
            });
            result_mask = both;
        }
        Ok(links)
    }
}

/// The values where the mask says `counts`, and zeros elsewhere.
fn masked(
    values: ArrayViewD<'_, f32>,
    mask: &Mask,
    counts: bool,
) -> Result<ArrayD<f32>, LayerError> {
    let nothing = ArrayD::zeros(IxDyn(&[]));
    match counts {
        true => choose(mask, values, nothing.view()),
        false => choose(mask, nothing.view(), values),
    }
}

/// Puts a value wherever the mask does not count.
fn fill_masked(values: &mut ArrayD<f32>, mask: &Mask, with: f32) -> Result<(), LayerError> {
    let mask = mask
        .broadcast(values.raw_dim())
        .ok_or_else(|| misfit(values.shape(), mask.shape()))?;
    ndarray::Zip::from(values)
        .and(&mask)
        .for_each(|value, counts| {
            if !counts {
                *value = with;
            }
        });
    Ok(())
}
