//! F scores and the coefficient of determination.

use ndarray::{ArrayViewD, Ix2};

use super::Average;
use crate::arrays::drop_or_add_last_axis;
use crate::{EPSILON, TrainError};

fn matrices<'a>(
    y_true: &'a ArrayViewD<'_, f32>,
    y_pred: &'a ArrayViewD<'_, f32>,
) -> Result<(ndarray::ArrayView2<'a, f32>, ndarray::ArrayView2<'a, f32>), TrainError> {
    let (y, p) = drop_or_add_last_axis(y_true.view(), y_pred.view());
    let wrong = |what: &str, shape: &[usize]| {
        TrainError::shape(what, shape, "(batch, outputs), the same for both")
    };
    if y.shape() != p.shape() {
        return Err(wrong("y_true", y.shape()));
    }
    let shape = p.shape().to_vec();
    let (Ok(y), Ok(p)) = (
        y.into_dimensionality::<Ix2>(),
        p.into_dimensionality::<Ix2>(),
    ) else {
        return Err(wrong("y_pred", &shape));
    };
    Ok((y, p))
}

/// Grows `sums` to one for each column, which all batches must have.
fn fit(sums: &mut Vec<f32>, columns: usize) -> Result<(), TrainError> {
    if sums.is_empty() {
        sums.resize(columns, 0.0);
    }
    if sums.len() == columns {
        return Ok(());
    }
    let expected = format!("{} columns, as the batches before", sums.len());
    Err(TrainError::shape("y_pred", &[columns], expected))
}

/// Counts of an F score, by class.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct FScore {
    true_positives: Vec<f32>,
    false_positives: Vec<f32>,
    false_negatives: Vec<f32>,
    weights: Vec<f32>,
}

impl FScore {
    pub fn update(
        &mut self,
        threshold: Option<f64>,
        y_true: &ArrayViewD<'_, f32>,
        y_pred: &ArrayViewD<'_, f32>,
        sample_weight: Option<&ArrayViewD<'_, f32>>,
    ) -> Result<(), TrainError> {
        let (y, p) = matrices(y_true, y_pred)?;
        let weights = one_a_sample(sample_weight, y.nrows())?;
        let counts = [
            &mut self.true_positives,
            &mut self.false_positives,
            &mut self.false_negatives,
            &mut self.weights,
        ];
        for sums in counts {
            fit(sums, y.ncols())?;
        }
        for (row, (y, p)) in y.rows().into_iter().zip(p.rows()).enumerate() {
            let weight = weights.as_ref().map_or(1.0, |weights| weights[row]);
            let largest = p.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for (class, (y, p)) in y.iter().zip(p).enumerate() {
                let positive = f32::from(match threshold {
                    Some(threshold) => *p > threshold as f32,
                    None => *p >= largest && p.abs() > 1e-9,
                });
                self.true_positives[class] += positive * y * weight;
                self.false_positives[class] += positive * (1.0 - y) * weight;
                self.false_negatives[class] += (1.0 - positive) * y * weight;
                self.weights[class] += y * weight;
            }
        }
        Ok(())
    }

    /// One for each class, or their average.
    pub fn result(&self, average: Average, beta: f64) -> Vec<f32> {
        let score = |tp: f32, fp: f32, missed: f32| {
            let precision = tp / (tp + fp + EPSILON);
            let recall = tp / (tp + missed + EPSILON);
            let square = (beta * beta) as f32;
            let mean = precision * recall / (square * precision + recall + EPSILON);
            mean * (1.0 + beta * beta) as f32
        };
        let classes = || {
            let wrong = self.false_positives.iter().zip(&self.false_negatives);
            let all = self.true_positives.iter().zip(wrong);
            all.map(|(tp, (fp, missed))| score(*tp, *fp, *missed))
        };
        let total = |sums: &[f32]| sums.iter().sum::<f32>();
        match average {
            Average::None => classes().collect(),
            Average::Micro => {
                let wrong = (total(&self.false_positives), total(&self.false_negatives));
                vec![score(total(&self.true_positives), wrong.0, wrong.1)]
            }
            Average::Macro => {
                vec![classes().sum::<f32>() / self.true_positives.len().max(1) as f32]
            }
            Average::Weighted => {
                let all = total(&self.weights) + EPSILON;
                vec![
                    classes()
                        .zip(&self.weights)
                        .map(|(score, w)| score * (w / all))
                        .sum(),
                ]
            }
        }
    }
}

fn one_a_sample(
    sample_weight: Option<&ArrayViewD<'_, f32>>,
    samples: usize,
) -> Result<Option<Vec<f32>>, TrainError> {
    let Some(weights) = sample_weight else {
        return Ok(None);
    };
    if weights.len() != samples {
        let expected = format!("({samples}), one weight a sample");
        return Err(TrainError::shape(
            "sample_weight",
            weights.shape(),
            expected,
        ));
    }
    Ok(Some(weights.iter().copied().collect()))
}

/// Sums of the coefficient of determination, by output.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Determination {
    sum: Vec<f32>,
    squared_sum: Vec<f32>,
    residual: Vec<f32>,
    count: Vec<f32>,
    samples: f32,
}

impl Determination {
    pub fn update(
        &mut self,
        y_true: &ArrayViewD<'_, f32>,
        y_pred: &ArrayViewD<'_, f32>,
        sample_weight: Option<&ArrayViewD<'_, f32>>,
    ) -> Result<(), TrainError> {
        let (y, p) = matrices(y_true, y_pred)?;
        let weights = one_a_sample(sample_weight, y.nrows())?;
        let columns = y.ncols();
        for sums in [
            &mut self.sum,
            &mut self.squared_sum,
            &mut self.residual,
            &mut self.count,
        ] {
            fit(sums, columns)?;
        }
        for column in 0..columns {
            let mut batch = [0.0_f64; 4];
            for (row, (y, p)) in y.column(column).iter().zip(p.column(column)).enumerate() {
                let weight = weights.as_ref().map_or(1.0, |weights| weights[row]);
                let weighted = y * weight;
                let error = y - p;
                let terms = [weighted, y * weighted, error * error * weight, weight];
                batch
                    .iter_mut()
                    .zip(terms)
                    .for_each(|(sum, term)| *sum += f64::from(term));
            }
            self.sum[column] += batch[0] as f32;
            self.squared_sum[column] += batch[1] as f32;
            self.residual[column] += batch[2] as f32;
            self.count[column] += batch[3] as f32;
        }
        self.samples += (y.nrows() * columns) as f32;
        Ok(())
    }

    pub fn result(&self, average: Average, regressors: usize) -> Vec<f32> {
        let each = |column: usize| {
            let mean = self.sum[column] / self.count[column];
            let total = self.squared_sum[column] - self.sum[column] * mean;
            let score = 1.0 - self.residual[column] / total;
            (total, if score.is_infinite() { 0.0 } else { score })
        };
        let all: Vec<(f32, f32)> = (0..self.sum.len()).map(each).collect();
        let scores = || all.iter().map(|(_, score)| score);
        let mut result: Vec<f32> = match average {
            Average::None => scores().copied().collect(),
            Average::Weighted => {
                let weighted: f32 = all.iter().map(|(total, score)| total * score).sum();
                vec![weighted / all.iter().map(|(total, _)| total).sum::<f32>()]
            }
            _ => vec![scores().sum::<f32>() / all.len() as f32],
        };
        let regressors = regressors as f32;
        if regressors != 0.0 && regressors < self.samples - 1.0 {
            let adjusted = (self.samples - 1.0, self.samples - regressors - 1.0);
            result
                .iter_mut()
                .for_each(|r2| *r2 = 1.0 - (1.0 - *r2) * adjusted.0 / adjusted.1);
        }
        result
    }
}
