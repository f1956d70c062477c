//! Metrics: numbers that say how good a model is, gathered batch by batch.

mod accuracy;
mod auc;
mod confusion;
mod kind;
mod mean;
mod scores;

use ndarray::{ArrayD, ArrayViewD, Axis};
use serde_json::{Map, Value, json};

use crate::keras_object::{KerasObject, snake_case, written};
use crate::loss::{Classes, Weighting};
use crate::{LossKind, TrainError};

pub use auc::{Curve, Summation};
pub use kind::{Count, MetricKind};

use confusion::{Counts, Question, divide_no_nan};
use mean::Mean;
use scores::{Determination, FScore};

/// A metric and what it has gathered since it was made or [reset](Self::reset).
///
/// Keras's masks count in means (accuracies, losses), and in nothing else.
///
/// ```
/// use ifco_train::{Metric, Weighting};
/// use ndarray::array;
///
/// let mut accuracy = Metric::from_keras(&"accuracy".into())?;
/// let y_true = array![2.0, 0.0].into_dyn(); // classes
/// let y_pred = array![[0.1, 0.2, 0.7], [0.3, 0.6, 0.1]].into_dyn();
/// accuracy.update(&y_true.view(), &y_pred.view(), &Weighting::default())?;
/// assert_eq!(accuracy.result(), [0.5]);
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// What it measures.
    pub kind: MetricKind,
    /// Its name in logs.
    pub name: String,
    /// The name that it was made from, where that was all.
    spelled: Option<String>,
    gathered: Gathered,
}

/// What becomes of several classes' or outputs' scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Nothing: each is given.
    None,
    /// The score of all counts together.
    Micro,
    /// Their mean.
    Macro,
    /// Their mean, weighted by how often each class is true, or by each output's variance.
    Weighted,
}

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
}

#[derive(Debug, Clone, PartialEq)]
enum Gathered {
    Nothing,
    Mean(Mean),
    Counts(Question, Counts),
    FScore(FScore),
    Determination(Determination),
}

impl Metric {
    /// A metric under its usual name.
    pub fn new(kind: MetricKind) -> Self {
        Self {
            name: match &kind {
                MetricKind::Loss(LossKind::LogCosh) => "logcosh".into(),
                MetricKind::FBetaScore { beta, .. } if *beta != 1.0 => "fbeta_score".into(),
                kind => snake_case(kind.class()),
            },
            kind,
            spelled: None,
            gathered: Gathered::Nothing,
        }
    }

    /// Reads one item of what a `compile_config` has under `metrics`: a name, a class with its
    /// configuration, or a function, of Keras 2 or 3.
    ///
    /// # Errors
    /// When it is a user's own, or an option is not valid.
    pub fn from_keras(value: &Value) -> Result<Self, TrainError> {
        let object = KerasObject::read("metric", value)?;
        let mut metric = Self::new(MetricKind::read(&object)?);
        if object.is_name() {
            metric.name = object.name.into();
            metric.spelled = Some(object.name.into());
        } else {
            let usual = metric.name.clone();
            metric.name = object.text_or("name", &usual)?.into();
        }
        Ok(metric)
    }

    /// The metric as Keras 3 writes it; one that was read from a name is that name.
    pub fn to_keras(&self) -> Value {
        if let Some(name) = &self.spelled {
            return json!(name);
        }
        let mut config = Map::new();
        config.insert("name".into(), json!(self.name));
        config.insert("dtype".into(), json!("float32"));
        config.extend(self.kind.options());
        written("keras.metrics", self.kind.class(), Value::Object(config))
    }

    /// Which way is better, where Keras knows.
    pub fn direction(&self) -> Option<Direction> {
        self.kind.direction()
    }

    /// Forgets all batches.
    pub fn reset(&mut self) {
        self.gathered = Gathered::Nothing;
    }

    /// Takes in one batch.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn update(
        &mut self,
        y_true: &ArrayViewD<'_, f32>,
        y_pred: &ArrayViewD<'_, f32>,
        weighting: &Weighting<'_>,
    ) -> Result<(), TrainError> {
        let weights = weighting.sample_weight.as_ref();
        match &self.kind {
            MetricKind::FBetaScore { threshold, .. } => {
                let mut score = match std::mem::replace(&mut self.gathered, Gathered::Nothing) {
                    Gathered::FScore(score) => score,
                    _ => FScore::default(),
                };
                let result = score.update(*threshold, y_true, y_pred, weights);
                self.gathered = Gathered::FScore(score);
                return result;
            }
            MetricKind::R2Score { .. } => {
                let mut score = match std::mem::replace(&mut self.gathered, Gathered::Nothing) {
                    Gathered::Determination(score) => score,
                    _ => Determination::default(),
                };
                let result = score.update(y_true, y_pred, weights);
                self.gathered = Gathered::Determination(score);
                return result;
            }
            _ => {}
        }
        let columns = y_pred.shape().last().copied().unwrap_or(1);
        if let Some(question) = self.kind.question(columns) {
            if !matches!(self.gathered, Gathered::Counts(..)) {
                let counts = Counts::new(&question);
                self.gathered = Gathered::Counts(question, counts);
            }
            let Gathered::Counts(question, counts) = &mut self.gathered else {
                return Ok(());
            };
            if let MetricKind::Auc {
                from_logits: true, ..
            } = self.kind
            {
                let probabilities = y_pred.mapv(|x| 1.0 / (1.0 + (-x).exp()));
                return counts.update(question, y_true, &probabilities.view(), weights);
            }
            return counts.update(question, y_true, y_pred, weights);
        }
        let (values, mask) = self.kind.values(y_true, y_pred)?;
        let mut mean = match &self.gathered {
            Gathered::Mean(mean) => *mean,
            _ => Mean::default(),
        };
        match self.kind {
            // Keras has no mask here.
            MetricKind::RootMeanSquaredError => {
                let unmasked = Weighting {
                    mask: None,
                    ..weighting.clone()
                };
                mean.update(values, None, &unmasked)?;
            }
            // Here what is left out counts for nothing, with weights or without.
            MetricKind::Perplexity { .. } => {
                let ones = ArrayD::ones(values.raw_dim());
                let weighting = Weighting {
                    sample_weight: weights.cloned().or(Some(ones.view())),
                    mask: weighting.mask.clone(),
                };
                mean.update(values, mask.as_ref(), &weighting)?;
            }
            _ => mean.update(values, mask.as_ref(), weighting)?,
        }
        self.gathered = Gathered::Mean(mean);
        Ok(())
    }

    /// The metric of all batches: one number, or one for each threshold, class or output where it
    /// is asked for so. Before the first batch it is 0, or empty.
    pub fn result(&self) -> Vec<f32> {
        match (&self.gathered, &self.kind) {
            (Gathered::Mean(mean), MetricKind::RootMeanSquaredError) => vec![mean.result().sqrt()],
            (Gathered::Mean(mean), MetricKind::Perplexity { .. }) => vec![mean.result().exp()],
            (Gathered::Mean(mean), _) => vec![mean.result()],
            (Gathered::Counts(question, counts), kind) => of_counts(kind, question, counts),
            (Gathered::FScore(score), MetricKind::FBetaScore { average, beta, .. }) => {
                score.result(*average, *beta)
            }
            (
                Gathered::Determination(score),
                MetricKind::R2Score {
                    average,
                    num_regressors,
                },
            ) => score.result(*average, *num_regressors),
            (_, MetricKind::FBetaScore { .. } | MetricKind::R2Score { .. }) => Vec::new(),
            _ => vec![0.0],
        }
    }
}

fn of_counts(kind: &MetricKind, question: &Question, counts: &Counts) -> Vec<f32> {
    let quotient = |others: &[f32]| {
        let all = counts.true_positives.iter().zip(others);
        all.map(|(tp, other)| divide_no_nan(*tp, tp + other))
            .collect()
    };
    match kind {
        MetricKind::Confusion { count, .. } => match count {
            Count::TruePositives => counts.true_positives.clone(),
            Count::FalsePositives => counts.false_positives.clone(),
            Count::TrueNegatives => counts.true_negatives.clone(),
            Count::FalseNegatives => counts.false_negatives.clone(),
            Count::Precision => quotient(&counts.false_positives),
            Count::Recall => quotient(&counts.false_negatives),
        },
        MetricKind::Auc {
            curve, summation, ..
        } => {
            let labels = question.labels.unwrap_or(1);
            let areas = auc::areas(counts, labels, *curve, *summation);
            match (&question.label_weights, question.labels) {
                (Some(factors), Some(_)) => {
                    let weighted = areas.iter().zip(factors).map(|(area, f)| area * *f as f32);
                    let whole = factors.iter().map(|f| *f as f32).sum();
                    vec![divide_no_nan(weighted.sum(), whole)]
                }
                _ => vec![areas.iter().sum::<f32>() / areas.len() as f32],
            }
        }
        _ => Vec::new(),
    }
}

impl MetricKind {
    /// The value of each position, and which count, where the metric leaves some out by itself.
    fn values(
        &self,
        y: &ArrayViewD<'_, f32>,
        p: &ArrayViewD<'_, f32>,
    ) -> Result<(ArrayD<f32>, Option<ArrayD<bool>>), TrainError> {
        let rows = |loss: &LossKind, y: &ArrayViewD<'_, f32>| {
            let rows = loss.rows(y, p, false)?;
            Ok((rows.values, rows.mask))
        };
        // Sparse accuracies take targets with a last axis of 1, or without.
        let values = match self {
            Self::Loss(loss) => return rows(loss, y),
            Self::Perplexity {
                from_logits,
                mask_token_id,
            } => {
                let loss = LossKind::SparseCategoricalCrossentropy {
                    from_logits: *from_logits,
                    ignore_class: *mask_token_id,
                };
                return rows(&loss, y);
            }
            Self::AnyAccuracy => match Classes::of(y.shape(), p.shape()) {
                Classes::Binary => return Self::BinaryAccuracy { threshold: 0.5 }.values(y, p),
                Classes::Sparse => accuracy::of_classes(y, p, true, None)?,
                Classes::OneHot => accuracy::of_classes(y, p, false, None)?,
            },
            Self::Accuracy => accuracy::elementwise(y, p, |y, p| y == p)?,
            Self::BinaryAccuracy { threshold } => {
                let threshold = *threshold as f32;
                accuracy::elementwise(y, p, |y, p| y == f32::from(p > threshold))?
            }
            Self::CategoricalAccuracy => accuracy::of_classes(y, p, false, None)?,
            Self::SparseCategoricalAccuracy => accuracy::of_classes(y, p, true, None)?,
            Self::TopKCategoricalAccuracy { k } => accuracy::of_classes(y, p, false, Some(*k))?,
            Self::SparseTopKCategoricalAccuracy { k } => {
                let without = match y.ndim() == p.ndim() && y.shape().last() == Some(&1) {
                    true => y.view().index_axis_move(Axis(y.ndim() - 1), 0),
                    false => y.view(),
                };
                accuracy::of_classes(&without, p, true, Some(*k))?
            }
            Self::RootMeanSquaredError => accuracy::values(y, p, |y, p| (p - y) * (p - y))?,
            Self::CosineSimilarity => {
                let (values, mask) = rows(&LossKind::CosineSimilarity, y)?;
                return Ok((values.mapv(|cosine| -cosine), mask));
            }
            _ => ArrayD::zeros(p.raw_dim()),
        };
        Ok((values, None))
    }
}
