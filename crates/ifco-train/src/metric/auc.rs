//! The area under a curve, from counts at thresholds.

use super::confusion::{Counts, divide_no_nan};

/// Which curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// Recall over the rate of false positives.
    Roc,
    /// Precision over recall.
    Pr,
    /// Precision gain over recall gain (Flach and Kull, 2015).
    PrGain,
}

/// How high the curve is between two thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summation {
    /// In the middle; of the PR curve, as Davis and Goadrich (2006) interpolate.
    Interpolation,
    /// As high as the lower.
    Minoring,
    /// As high as the higher.
    Majoring,
}

/// The area of each label's curve.
pub(super) fn areas(
    counts: &Counts,
    labels: usize,
    curve: Curve,
    summation: Summation,
) -> Vec<f32> {
    let area = |label: usize| {
        let of =
            |all: &[f32]| -> Vec<f32> { all.iter().skip(label).step_by(labels).copied().collect() };
        let tp = of(&counts.true_positives);
        let fp = of(&counts.false_positives);
        let tn = of(&counts.true_negatives);
        let missed = of(&counts.false_negatives);
        if (curve, summation) == (Curve::Pr, Summation::Interpolation) {
            return interpolated_pr(&tp, &fp, &missed);
        }
        let points: Vec<(f32, f32)> = (0..tp.len())
            .map(|t| point(curve, tp[t], fp[t], tn[t], missed[t]))
            .collect();
        let terms = points.windows(2).map(|pair| {
            let [(x, y), (next_x, next_y)] = [pair[0], pair[1]];
            let height = match summation {
                Summation::Interpolation => (y + next_y) / 2.0,
                Summation::Minoring => y.min(next_y),
                Summation::Majoring => y.max(next_y),
            };
            f64::from((x - next_x) * height)
        });
        terms.sum::<f64>() as f32
    };
    (0..labels).map(area).collect()
}

fn point(curve: Curve, tp: f32, fp: f32, tn: f32, missed: f32) -> (f32, f32) {
    let recall = divide_no_nan(tp, tp + missed);
    match curve {
        Curve::Roc => (divide_no_nan(fp, fp + tn), recall),
        Curve::Pr => (recall, divide_no_nan(tp, tp + fp)),
        Curve::PrGain if tp == 0.0 => (0.0, 1.0),
        Curve::PrGain => {
            let odds = divide_no_nan(tp + missed, tn + fp);
            let gain = |wrong: f32| 1.0 - odds * divide_no_nan(wrong, tp);
            (gain(missed).max(0.0), gain(fp))
        }
    }
}

fn interpolated_pr(tp: &[f32], fp: &[f32], missed: &[f32]) -> f32 {
    let positive = |t: usize| tp[t] + fp[t];
    let term = |t: usize| {
        let gained = tp[t] - tp[t + 1];
        let slope = divide_no_nan(gained, (positive(t) - positive(t + 1)).max(0.0));
        let intercept = tp[t + 1] - slope * positive(t + 1);
        let ratio = match (positive(t) > 0.0, positive(t + 1) > 0.0) {
            (true, true) => positive(t) / positive(t + 1),
            _ => 1.0,
        };
        let area = slope * (gained + intercept * ratio.ln());
        f64::from(divide_no_nan(area, (tp[t + 1] + missed[t + 1]).max(0.0)))
    };
    (0..tp.len().saturating_sub(1)).map(term).sum::<f64>() as f32
}
