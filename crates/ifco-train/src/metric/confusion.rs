//! True and false positives and negatives at one or more thresholds.

use ndarray::{ArrayD, ArrayViewD, Axis};

use crate::arrays::{drop_or_add_last_axis, standard};
use crate::{EPSILON, TrainError};

/// What stands for −∞ where only the best k count.
pub(super) const NEVER: f64 = -1e10;

/// The thresholds and what is compared with them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub thresholds: Vec<f64>,
    /// As many columns as there are labels, or one for all elements.
    pub labels: Option<usize>,
    /// Only the k best of each position can be positive.
    pub top_k: Option<usize>,
    /// Only this class counts.
    pub class_id: Option<usize>,
    /// A factor for each label.
    pub label_weights: Option<Vec<f64>>,
}

/// For each threshold and label, how many (weights' sums) there were, in f32 as Keras has them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counts {
    pub true_positives: Vec<f32>,
    pub false_positives: Vec<f32>,
    pub true_negatives: Vec<f32>,
    pub false_negatives: Vec<f32>,
}

impl Counts {
    pub fn new(question: &Question) -> Self {
        let zeros = vec![0.0; question.thresholds.len() * question.labels.unwrap_or(1)];
        Self {
            true_positives: zeros.clone(),
            false_positives: zeros.clone(),
            true_negatives: zeros.clone(),
            false_negatives: zeros,
        }
    }

    pub fn update(
        &mut self,
        question: &Question,
        y_true: &ArrayViewD<'_, f32>,
        y_pred: &ArrayViewD<'_, f32>,
        sample_weight: Option<&ArrayViewD<'_, f32>>,
    ) -> Result<(), TrainError> {
        let (p, y) = drop_or_add_last_axis(y_pred.view(), y_true.view());
        if y.shape() != p.shape() {
            let expected = format!("{:?}, the prediction's", p.shape());
            return Err(TrainError::shape("y_true", y.shape(), expected));
        }
        let weights = spread_weights(sample_weight, &p, question.class_id.is_some())?;
        let (y, mut p) = (y.to_owned(), p.to_owned());
        if let Some(k) = question.top_k {
            keep_best(&mut p, k)?;
        }
        let (y, p) = match question.class_id {
            Some(class) => (one_class(y, class)?, one_class(p, class)?),
            None => (y, p),
        };
        let labels = question.labels.unwrap_or(1);
        let width = p.shape().last().copied().unwrap_or(1);
        if question.labels.is_some() && (p.ndim() != 2 || width != labels) {
            let expected = format!("(batch, {labels}), one column for each label");
            return Err(TrainError::shape("y_pred", p.shape(), expected));
        }
        if let Some(factors) = &question.label_weights
            && factors.len() != width
            && question.labels.is_none()
        {
            let expected = format!("{} columns, one for each label weight", factors.len());
            return Err(TrainError::shape("y_pred", p.shape(), expected));
        }
        let elements = standard(&y.view()).into_owned();
        let even = is_even(&question.thresholds);
        let mut sums = Sums::new(question.thresholds.len(), labels);
        for (i, (y, p)) in elements.iter().zip(&p).enumerate() {
            let column = i % width.max(1);
            let mut weight = weights.as_ref().map_or(1.0, |weights| weights[i]);
            if let (Some(factors), None) = (&question.label_weights, question.labels) {
                weight *= factors[column] as f32;
            }
            let label = if question.labels.is_some() { column } else { 0 };
            let truth = *y != 0.0;
            sums.all[usize::from(truth)][label] += f64::from(weight);
            if even {
                if let Some(last) = question.gap(*p).checked_sub(1) {
                    sums.above(truth, last, label, weight);
                }
                continue;
            }
            for (t, threshold) in question.thresholds.iter().enumerate() {
                if *p > *threshold as f32 {
                    sums.above(truth, t, label, weight);
                }
            }
        }
        if even {
            sums.pass_down();
        }
        sums.add_to(self);
        Ok(())
    }
}

impl Question {
    /// How many thresholds, from the first on, a prediction is above, where they are spread evenly
    /// from 0 to 1: it is then not compared with them but rounded into one of their gaps, as Keras
    /// does.
    fn gap(&self, p: f32) -> usize {
        let gaps = (self.thresholds.len() - 1) as f32;
        let gap = (p.clamp(0.0, 1.0) * gaps).ceil() as usize;
        // The ends of an AUC lie a little outside, so that 0 too is above the first.
        let outside = self.thresholds.first().is_some_and(|first| *first < 0.0);
        if outside { gap.max(1) } else { gap }
    }
}

/// One batch's sums of weights, in f64; by what is true, then by threshold and label.
struct Sums {
    labels: usize,
    positive: [Vec<f64>; 2],
    all: [Vec<f64>; 2],
}

impl Sums {
    fn new(thresholds: usize, labels: usize) -> Self {
        let zeros = vec![0.0; thresholds * labels];
        Self {
            labels,
            positive: [zeros.clone(), zeros],
            all: [vec![0.0; labels], vec![0.0; labels]],
        }
    }

    fn above(&mut self, truth: bool, threshold: usize, label: usize, weight: f32) {
        self.positive[usize::from(truth)][threshold * self.labels + label] += f64::from(weight);
    }

    /// What is above a threshold is above those before it.
    fn pass_down(&mut self) {
        for sums in &mut self.positive {
            for i in (0..sums.len().saturating_sub(self.labels)).rev() {
                sums[i] += sums[i + self.labels];
            }
        }
    }

    fn add_to(self, counts: &mut Counts) {
        for (i, (fp, tp)) in self.positive[0].iter().zip(&self.positive[1]).enumerate() {
            let label = i % self.labels;
            counts.true_positives[i] += *tp as f32;
            counts.false_positives[i] += *fp as f32;
            counts.true_negatives[i] += (self.all[0][label] - fp) as f32;
            counts.false_negatives[i] += (self.all[1][label] - tp) as f32;
        }
    }
}

/// Whether thresholds lie at k / (n − 1), as near as NumPy's `allclose` asks.
fn is_even(thresholds: &[f64]) -> bool {
    let gaps = thresholds.len().saturating_sub(1) as f64;
    let near = |(k, threshold): (usize, &f64)| {
        let even = k as f64 / gaps;
        (threshold - even).abs() <= f64::from(EPSILON) * 1.01 + 1e-5 * even
    };
    thresholds.len() >= 3 && thresholds.iter().enumerate().all(near)
}

/// A weight for each element.
fn spread_weights(
    sample_weight: Option<&ArrayViewD<'_, f32>>,
    p: &ArrayViewD<'_, f32>,
    one_class: bool,
) -> Result<Option<Vec<f32>>, TrainError> {
    let Some(weights) = sample_weight else {
        return Ok(None);
    };
    let mut weights = weights.view().insert_axis(Axis(weights.ndim()));
    if weights.ndim() == p.ndim() + 1 {
        weights = weights.index_axis_move(Axis(p.ndim()), 0);
    }
    let mut shape = p.shape().to_vec();
    if let (true, Some(last)) = (one_class, shape.last_mut()) {
        *last = 1;
    }
    match weights.broadcast(shape.as_slice()) {
        Some(spread) => Ok(Some(spread.iter().copied().collect())),
        None => {
            let expected = format!("one that broadcasts to {shape:?}");
            Err(TrainError::shape(
                "sample_weight",
                weights.shape(),
                expected,
            ))
        }
    }
}

/// Leaves the k best of each position; the first of equal ones.
fn keep_best(p: &mut ArrayD<f32>, k: usize) -> Result<(), TrainError> {
    let Some(last) = p.ndim().checked_sub(1) else {
        return Err(TrainError::shape("y_pred", &[], "at least one axis"));
    };
    for mut row in p.lanes_mut(Axis(last)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        for left_out in order.into_iter().skip(k) {
            row[left_out] = NEVER as f32;
        }
    }
    Ok(())
}

fn one_class(array: ArrayD<f32>, class: usize) -> Result<ArrayD<f32>, TrainError> {
    let last = array.ndim().saturating_sub(1);
    if array.ndim() < 2 || class >= array.shape()[last] {
        let expected = format!("(batch, classes) with a class {class}");
        return Err(TrainError::shape("y_pred", array.shape(), expected));
    }
    let picked = array.index_axis_move(Axis(last), class);
    Ok(picked.insert_axis(Axis(last)))
}

/// `a / b`, and 0 where b is 0.
pub(super) fn divide_no_nan(a: f32, b: f32) -> f32 {
    if b == 0.0 { 0.0 } else { a / b }
}
