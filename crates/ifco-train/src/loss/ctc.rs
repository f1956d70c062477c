//! Connectionist temporal classification (Graves et al., 2006).
//!
//! The labels l₁ l₂ … with a blank around each are the states s of a chain. With p(t, k) the
//! softmax of step t,
//!
//! ```text
//! α(t, s) = p(t, s) · (α(t−1, s) + α(t−1, s−1) [+ α(t−1, s−2) unless s is a blank or repeats it])
//! β(t, s) the same from the end, without p(t, s)
//! loss    = −ln (α(T, last blank) + α(T, last label))
//! ∂loss/∂x(t, k) = p(t, k) − Σ over s of label k: α(t, s) β(t, s) / total
//! ```
//!
//! all in logarithms and in f64, in which long sequences keep their digits.

use ndarray::{ArrayD, ArrayViewD, IxDyn};

use super::Rows;
use super::crossentropy::log_sum_exp;
use crate::TrainError;
use crate::arrays::standard;

const BLANK: usize = 0;

/// The loss of each sample; `y` `(batch, labels)`, `x` `(batch, time, classes)`.
pub(super) fn rows(
    y: &ArrayViewD<'_, f32>,
    x: &ArrayViewD<'_, f32>,
    gradient: bool,
) -> Result<Rows, TrainError> {
    let &[batch, time, classes] = x.shape() else {
        return Err(TrainError::shape(
            "y_pred",
            x.shape(),
            "(batch, time, classes)",
        ));
    };
    let labels = match *y.shape() {
        [samples, labels] if samples == batch => labels,
        _ => {
            let expected = format!("({batch}, labels), filled up with 0");
            return Err(TrainError::shape("y_true", y.shape(), expected));
        }
    };
    let (y, x) = (standard(y), standard(x));
    let width = time * classes;
    let mut slopes = vec![0.0; if gradient { x.len() } else { 0 }];
    let mut values = Vec::with_capacity(batch);
    for row in 0..batch {
        let targets = &y[row * labels..(row + 1) * labels];
        // As Keras: as many labels as are not 0, from the start.
        let length = targets
            .iter()
            .filter(|label| **label != BLANK as f32)
            .count();
        let chain = Chain::of(row, &targets[..length], classes)?;
        if chain.needed > time {
            return Err(TrainError::LabelsTooLong {
                row,
                needed: chain.needed,
                time,
            });
        }
        let logits = &x[row * width..(row + 1) * width];
        let slopes = slopes.get_mut(row * width..(row + 1) * width);
        values.push(chain.loss(logits, time, classes, slopes.unwrap_or_default()));
    }
    Ok(Rows {
        values: ArrayD::from_shape_vec(IxDyn(&[batch]), values)
            .map_err(|_| TrainError::shape("the loss", &[batch], "(batch)"))?,
        gradient: slopes,
        width,
        mask: None,
    })
}

/// The labels with a blank around each.
struct Chain {
    states: Vec<usize>,
    /// How few steps can go through it.
    needed: usize,
}

impl Chain {
    fn of(row: usize, labels: &[f32], classes: usize) -> Result<Self, TrainError> {
        let mut states = vec![BLANK];
        for label in labels {
            if label.fract() != 0.0 || *label < 0.0 || *label >= classes as f32 {
                return Err(TrainError::Class {
                    row,
                    found: label.to_string(),
                    last: classes.saturating_sub(1),
                });
            }
            states.extend([*label as usize, BLANK]);
        }
        let repeated = labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
        Ok(Self {
            states,
            needed: labels.len() + repeated,
        })
    }

    /// Whether a label may follow the one before it without the blank between them.
    fn skips_blank(&self, s: usize) -> bool {
        s >= 2 && self.states[s] != BLANK && self.states[s] != self.states[s - 2]
    }

    fn loss(&self, logits: &[f32], time: usize, classes: usize, slopes: &mut [f32]) -> f32 {
        let count = self.states.len();
        let log_p: Vec<f64> = logits
            .chunks(classes)
            .flat_map(|step| {
                let sum = f64::from(log_sum_exp(step));
                step.iter().map(move |x| f64::from(*x) - sum)
            })
            .collect();
        let at = |t: usize, s: usize| log_p[t * classes + self.states[s]];
        let none = f64::NEG_INFINITY;

        let mut alpha = vec![none; time * count];
        for (s, first) in alpha.iter_mut().enumerate().take(count.min(2)) {
            *first = at(0, s);
        }
        for t in 1..time {
            let (before, now) = alpha.split_at_mut(t * count);
            let before = &before[(t - 1) * count..];
            for s in 0..count {
                let mut sum = before[s];
                if s >= 1 {
                    sum = log_add(sum, before[s - 1]);
                }
                if self.skips_blank(s) {
                    sum = log_add(sum, before[s - 2]);
                }
                now[s] = sum + at(t, s);
            }
        }
        let end = &alpha[(time - 1) * count..];
        let total = match count {
            1 => end[0],
            _ => log_add(end[count - 1], end[count - 2]),
        };
        if slopes.is_empty() {
            return -total as f32;
        }

        let mut beta = vec![none; count];
        for state in beta.iter_mut().rev().take(2) {
            *state = 0.0;
        }
        for t in (0..time).rev() {
            let slopes = &mut slopes[t * classes..(t + 1) * classes];
            let mut visits = vec![0.0_f64; classes];
            for s in 0..count {
                visits[self.states[s]] += (alpha[t * count + s] + beta[s] - total).exp();
            }
            for (k, slope) in slopes.iter_mut().enumerate() {
                *slope = (log_p[t * classes + k].exp() - visits[k]) as f32;
            }
            // β(t − 1) of β(t): what is read at t is p(t, of the state gone to).
            let mut before = vec![none; count];
            for s in 0..count {
                let here = beta[s] + at(t, s);
                before[s] = log_add(before[s], here);
                if s >= 1 {
                    before[s - 1] = log_add(before[s - 1], here);
                }
                if self.skips_blank(s) {
                    before[s - 2] = log_add(before[s - 2], here);
                }
            }
            beta = before;
        }
        -total as f32
    }
}

/// ln(eᵃ + eᵇ).
fn log_add(a: f64, b: f64) -> f64 {
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    if small == f64::NEG_INFINITY {
        return large;
    }
    large + (small - large).exp().ln_1p()
}
