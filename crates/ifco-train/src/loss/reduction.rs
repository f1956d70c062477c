//! How the values of all positions become one number: weights, masks, and the division.

use ndarray::{ArrayD, ArrayViewD};

use super::Rows;
use crate::TrainError;
use crate::arrays::{common_shape, drop_or_add_last_axis};
use crate::keras_object::KerasObject;

/// How the values of all positions become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their sum divided by how many there are; with a mask, by how many it leaves.
    ///
    /// Keras's `mean` is the same. Weights do not change the divisor.
    #[default]
    SumOverBatchSize,
    /// Their sum.
    Sum,
    /// Their sum divided by the weights' sum.
    MeanWithSampleWeight,
    /// None: each position keeps its own.
    None,
}

impl Reduction {
    pub(crate) fn read(object: &KerasObject<'_>) -> Result<Self, TrainError> {
        match object.text_or("reduction", "sum_over_batch_size")? {
            // `auto` is Keras 2's.
            "sum_over_batch_size" | "mean" | "auto" => Ok(Self::SumOverBatchSize),
            "sum" => Ok(Self::Sum),
            "mean_with_sample_weight" => Ok(Self::MeanWithSampleWeight),
            "none" => Ok(Self::None),
            _ => Err(object.invalid(
                "reduction",
                "\"sum_over_batch_size\", \"sum\", \"mean_with_sample_weight\" or \"none\"",
            )),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SumOverBatchSize => "sum_over_batch_size",
            Self::Sum => "sum",
            Self::MeanWithSampleWeight => "mean_with_sample_weight",
            Self::None => "none",
        }
    }
}

/// What the positions of a batch count for.
///
/// A loss of `(batch, time, features)` has the positions `(batch, time)`. Weights and mask have
/// that shape, or one that broadcasts to it as in NumPy: one weight a sample is `(batch, 1)`.
///
/// ```
/// use ifco_train::{Loss, Weighting};
/// use ndarray::array;
///
/// let loss = Loss::from_keras(&"mse".into())?;
/// let y_true = array![[[0.0], [0.0]]].into_dyn(); // (batch, time, features)
/// let y_pred = array![[[1.0], [9.0]]].into_dyn();
/// let mask = array![[true, false]].into_dyn();
/// let weighting = Weighting { mask: Some(mask.view()), ..Weighting::default() };
/// assert_eq!(loss.value(&y_true.view(), &y_pred.view(), &weighting)?, 1.0);
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Weighting<'a> {
    /// What a position's value is multiplied by.
    pub sample_weight: Option<ArrayViewD<'a, f32>>,
    /// Which positions count, as the model's mask reaches its output.
    pub mask: Option<ArrayViewD<'a, bool>>,
}

/// What each position's value is multiplied by and the sum divided by.
pub(super) struct Weights {
    /// As many as there are positions; absent: all one.
    each: Option<ArrayD<f32>>,
    divisor: f32,
}

impl Weights {
    pub fn total(&self, values: &ArrayD<f32>) -> f32 {
        let sum: f64 = match &self.each {
            Some(weights) => {
                let weighted = values.iter().zip(weights).map(|(v, w)| f64::from(v * w));
                weighted.sum()
            }
            None => values.iter().map(|v| f64::from(*v)).sum(),
        };
        self.divided(sum as f32)
    }

    /// Turns each position's gradient into its part of the total's.
    pub fn scale(&self, rows: &mut Rows) {
        if rows.width == 0 {
            return;
        }
        let positions = rows.gradient.chunks_mut(rows.width);
        match &self.each {
            Some(weights) => {
                for (slopes, weight) in positions.zip(weights) {
                    let factor = self.divided(*weight);
                    slopes.iter_mut().for_each(|slope| *slope *= factor);
                }
            }
            None => {
                let factor = self.divided(1.0);
                rows.gradient.iter_mut().for_each(|slope| *slope *= factor);
            }
        }
    }

    /// `x / divisor`, and 0 where that is none.
    fn divided(&self, x: f32) -> f32 {
        if self.divisor == 0.0 {
            0.0
        } else {
            x / self.divisor
        }
    }
}

pub(super) fn weigh(
    reduction: Reduction,
    rows: &Rows,
    weighting: &Weighting<'_>,
) -> Result<Weights, TrainError> {
    let mask = joined(weighting.mask.as_ref(), rows.mask.as_ref())?;
    let counted = reduction == Reduction::SumOverBatchSize;
    let weights = masked_weights(weighting.sample_weight.as_ref(), mask.as_ref(), counted)?;
    let values = rows.values.view();
    let count = values.len() as f32;
    let divisor = match (reduction, &weights) {
        (Reduction::Sum | Reduction::None, _) => 1.0,
        (Reduction::MeanWithSampleWeight, Some(weights)) => {
            weights.iter().map(|w| f64::from(*w)).sum::<f64>() as f32
        }
        _ => count,
    };
    let Some(weights) = weights else {
        return Ok(Weights {
            each: None,
            divisor,
        });
    };
    let (values, weights) = drop_or_add_last_axis(values, weights.view());
    let fitted = weights.broadcast(values.raw_dim()).map(|w| w.to_owned());
    let fitted = fitted.ok_or_else(|| {
        let expected = format!(
            "one that broadcasts to {:?}, the loss's positions",
            values.shape()
        );
        let what = match weighting.sample_weight {
            Some(_) => "sample_weight",
            None => "the mask",
        };
        TrainError::shape(what, weights.shape(), expected)
    })?;
    Ok(Weights {
        each: Some(fitted),
        divisor,
    })
}

fn joined(
    given: Option<&ArrayViewD<'_, bool>>,
    own: Option<&ArrayD<bool>>,
) -> Result<Option<ArrayD<bool>>, TrainError> {
    let (given, own) = match (given, own) {
        (None, None) => return Ok(None),
        (Some(one), None) => return Ok(Some(one.to_owned())),
        (None, Some(one)) => return Ok(Some(one.clone())),
        (Some(given), Some(own)) => (given, own),
    };
    let given = given.broadcast(own.raw_dim()).ok_or_else(|| {
        let expected = format!("{:?}, the loss's positions", own.shape());
        TrainError::shape("the mask", given.shape(), expected)
    })?;
    Ok(Some(&given & own))
}

/// The weights times the mask. Where positions are counted, the mask's ones are all / left, so
/// that dividing by all of them is dividing by what is left.
pub(crate) fn masked_weights(
    sample_weight: Option<&ArrayViewD<'_, f32>>,
    mask: Option<&ArrayD<bool>>,
    counted: bool,
) -> Result<Option<ArrayD<f32>>, TrainError> {
    let Some(mask) = mask else {
        return Ok(sample_weight.map(|weights| weights.to_owned()));
    };
    let left = mask.iter().filter(|counts| **counts).count();
    let weight = match (counted, left) {
        (false, _) => 1.0,
        (true, 0) => 0.0,
        (true, left) => mask.len() as f32 / left as f32,
    };
    let mask = mask.map(|counts| if *counts { weight } else { 0.0 });
    let Some(weights) = sample_weight else {
        return Ok(Some(mask));
    };
    let (mask, weights) = drop_or_add_last_axis(mask.view(), weights.view());
    let wrong = || {
        let expected = format!("one that broadcasts with the mask's {:?}", mask.shape());
        TrainError::shape("sample_weight", weights.shape(), expected)
    };
    let shape = common_shape(mask.shape(), weights.shape()).ok_or_else(wrong)?;
    let mask = mask.broadcast(shape.clone()).ok_or_else(wrong)?;
    let weights = weights.broadcast(shape).ok_or_else(wrong)?;
    Ok(Some(&mask * &weights))
}
