//! What losses and metrics say of a batch.

use ifco_model::Tensor;
use ndarray::ArrayD;

use super::{Data, FitError};
use crate::fused::Behind;
use crate::loss::Weighting;
use crate::{OutputTraining, TrainError};

/// The mean loss since the last reset, by samples; each output's by batches, since Keras does not
/// know their sizes there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunningLoss {
    /// How many samples.
    pub samples: usize,
    /// How many batches.
    pub batches: usize,
    /// The sum of each batch's loss times its samples.
    pub total: f64,
    /// The sum of each output's loss over the batches.
    pub each: Vec<f64>,
}

/// What the losses say of one batch.
#[derive(Default)]
pub(super) struct Judged {
    pub total: f32,
    pub each: Vec<f32>,
    pub slopes: Vec<Option<ArrayD<f32>>>,
}

/// Losses, their gradients if they are asked for, and the metrics of one batch.
pub(super) fn judge(
    outputs: &mut [OutputTraining],
    last: &[Option<Behind>],
    predictions: &[Tensor],
    batch: &Data,
    training: bool,
) -> Result<Judged, FitError> {
    if batch.targets.len() != outputs.len() || predictions.len() != outputs.len() {
        return Err(FitError::Data(format!(
            "there are targets for {} outputs, but the model has {}",
            batch.targets.len(),
            outputs.len()
        )));
    }
    if !batch.sample_weights.is_empty() && batch.sample_weights.len() != outputs.len() {
        return Err(FitError::Data(format!(
            "there are sample weights for {} outputs, but the model has {}",
            batch.sample_weights.len(),
            outputs.len()
        )));
    }
    let mut judged = Judged::default();
    for (i, output) in outputs.iter_mut().enumerate() {
        let (prediction, y_true) = (&predictions[i], batch.targets[i].view());
        let weighting = Weighting {
            sample_weight: batch.sample_weights.get(i).map(|weights| weights.view()),
            mask: prediction.mask.as_ref().map(|mask| mask.view()),
        };
        let mut slope = None;
        let mut value = 0.0;
        if let Some(loss) = &output.loss {
            let y_pred = prediction.view();
            if training {
                let mut result = loss.with_gradient(&y_true, &y_pred, &weighting)?;
                if output.loss_weight != 1.0 {
                    result.gradient *= output.loss_weight;
                }
                (value, slope) = (result.total, Some(result.gradient));
            } else {
                value = loss.value(&y_true, &y_pred, &weighting)?;
            }
        }
        judged.total += value * output.loss_weight;
        if let Some(behind) = &last[i] {
            let (penalty, decay) = behind.penalty(prediction).map_err(TrainError::from)?;
            judged.total += penalty;
            if let (Some(slope), Some(decay)) = (&mut slope, decay) {
                *slope += &decay;
            }
        }
        judged.each.push(value);
        judged.slopes.push(slope);
        if output.metrics.is_empty() && output.weighted_metrics.is_empty() {
            continue;
        }
        let seen = match last[i] {
            Some(behind) => behind.last.of(prediction.clone().into_owned()),
            None => prediction.clone().into_owned(),
        };
        let unweighted = Weighting {
            sample_weight: None,
            mask: weighting.mask.clone(),
        };
        for (_, metric) in &mut output.metrics {
            metric.update(&y_true, &seen.view(), &unweighted)?;
        }
        for (_, metric) in &mut output.weighted_metrics {
            metric.update(&y_true, &seen.view(), &weighting)?;
        }
    }
    Ok(judged)
}

impl RunningLoss {
    /// By samples; 0 before the first.
    pub fn mean(&self) -> f64 {
        match self.samples {
            0 => 0.0,
            samples => self.total / samples as f64,
        }
    }

    pub(super) fn add(&mut self, judged: &Judged, samples: usize) {
        self.samples = self.samples.saturating_add(samples);
        self.batches = self.batches.saturating_add(1);
        self.total += f64::from(judged.total) * samples as f64;
        for (sum, value) in self.each.iter_mut().zip(&judged.each) {
            *sum += f64::from(*value);
        }
    }
}
