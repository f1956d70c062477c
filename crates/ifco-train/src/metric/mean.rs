//! Metrics that are a weighted mean over positions.

use ndarray::{ArrayD, Axis, IxDyn};

use crate::TrainError;
use crate::arrays::drop_or_add_last_axis;
use crate::loss::Weighting;
use crate::loss::masked_weights;

/// A sum and what it is divided by, as Keras's `Mean`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Mean {
    total: f32,
    count: f32,
}

impl Mean {
    /// Takes in one batch's values; `own_mask` is what a loss leaves out by itself, which Keras
    /// looks at only where there are weights too.
    pub fn update(
        &mut self,
        values: ArrayD<f32>,
        own_mask: Option<&ArrayD<bool>>,
        weighting: &Weighting<'_>,
    ) -> Result<(), TrainError> {
        let mask = weighting.mask.as_ref().map(|mask| mask.to_owned());
        let mut weights = masked_weights(weighting.sample_weight.as_ref(), mask.as_ref(), false)?;
        if weights.is_some() && own_mask.is_some() {
            weights = masked_weights(weights.as_ref().map(|w| w.view()).as_ref(), own_mask, false)?;
        }
        let samples = values.shape().first().copied().unwrap_or(1);
        let Some(weights) = weights else {
            self.add(&over_all_but_first(values), samples as f32);
            return Ok(());
        };
        let (values, weights) = drop_or_add_last_axis(values.view(), weights.view());
        let mut values = values.to_owned();
        while values.ndim() > weights.ndim() {
            values = mean_of_axis(values, weights.ndim());
        }
        let Some(spread) = weights.broadcast(values.raw_dim()) else {
            let expected = format!("one that broadcasts to {:?}, the positions", values.shape());
            return Err(TrainError::shape(
                "sample_weight",
                weights.shape(),
                expected,
            ));
        };
        let weighted = &values * &spread;
        let count = sum(&over_all_but_first(spread.to_owned()));
        self.add(&over_all_but_first(weighted), count);
        Ok(())
    }

    fn add(&mut self, values: &ArrayD<f32>, count: f32) {
        self.total += sum(values);
        self.count += count;
    }

    /// The mean; 0 of nothing.
    pub fn result(&self) -> f32 {
        if self.count == 0.0 {
            0.0
        } else {
            self.total / self.count
        }
    }
}

fn over_all_but_first(mut values: ArrayD<f32>) -> ArrayD<f32> {
    while values.ndim() > 1 {
        values = mean_of_axis(values, 1);
    }
    values
}

fn mean_of_axis(values: ArrayD<f32>, axis: usize) -> ArrayD<f32> {
    let shape: Vec<usize> = values.shape().to_vec();
    values.mean_axis(Axis(axis)).unwrap_or_else(|| {
        let left = shape.iter().enumerate().filter(|(i, _)| *i != axis);
        ArrayD::zeros(IxDyn(&left.map(|(_, length)| *length).collect::<Vec<_>>()))
    })
}

fn sum(values: &ArrayD<f32>) -> f32 {
    values.iter().map(|x| f64::from(*x)).sum::<f64>() as f32
}
