//! Crossentropies, from probabilities and from what a sigmoid or softmax would be taken of.
//!
//! From probabilities, q = clip(p, ε, 1 − ε) is taken first; where that changes p, the gradient
//! is zero, as TensorFlow has it.

use ifco_cell::Activation;

use super::LossKind;
use super::elementwise::{each_row, mean};
use crate::{EPSILON, TrainError};

const ALMOST_ONE: f32 = (1.0 - 1e-7_f64) as f32;

/// Crossentropies whose targets have the prediction's shape; as [`super::elementwise::rows`].
pub(super) fn dense(
    kind: &LossKind,
    y: &[f32],
    p: &[f32],
    width: usize,
    slopes: &mut [f32],
) -> Vec<f32> {
    match *kind {
        LossKind::BinaryCrossentropy {
            from_logits,
            label_smoothing,
        } => {
            let (keep, add) = smoothing(label_smoothing, 2);
            let f = if from_logits { binary_of_logit } else { binary };
            mean(y, p, width, slopes, |y, p| f(y * keep + add, p))
        }
        LossKind::BinaryFocalCrossentropy {
            apply_class_balancing,
            alpha,
            gamma,
            from_logits,
            label_smoothing,
        } => {
            let (keep, add) = smoothing(label_smoothing, 2);
            let (alpha, gamma) = (alpha as f32, gamma as f32);
            mean(y, p, width, slopes, |y, p| {
                let y = y * keep + add;
                let weight = match apply_class_balancing {
                    true => y * alpha + (1.0 - y) * (1.0 - alpha),
                    false => 1.0,
                };
                let probability = if from_logits { sigmoid(p) } else { p };
                let (value, mut slope) = binary_focal(y, probability, gamma);
                if from_logits {
                    slope *= probability * (1.0 - probability);
                }
                (weight * value, weight * slope)
            })
        }
        LossKind::CategoricalCrossentropy {
            from_logits,
            label_smoothing,
        } => {
            let (keep, add) = smoothing(label_smoothing, width);
            each_row(y, p, width, slopes, |y, p, slopes| {
                let y: Vec<f32> = y.iter().map(|y| y * keep + add).collect();
                match from_logits {
                    true => categorical_of_logits(&y, p, slopes),
                    false => categorical(&y, p, slopes, |y, q| (-y * q.ln(), -y / q)),
                }
            })
        }
        LossKind::CategoricalFocalCrossentropy {
            alpha,
            gamma,
            from_logits,
            label_smoothing,
        } => {
            let (keep, add) = smoothing(label_smoothing, width);
            let (alpha, gamma) = (alpha as f32, gamma as f32);
            let focal = |y: f32, q: f32| {
                let factor = alpha * (1.0 - q).powf(gamma);
                let falling = alpha * gamma * (1.0 - q).powf(gamma - 1.0);
                (-factor * y * q.ln(), falling * y * q.ln() - factor * y / q)
            };
            each_row(y, p, width, slopes, |y, p, slopes| {
                let y: Vec<f32> = y.iter().map(|y| y * keep + add).collect();
                if !from_logits {
                    return categorical(&y, p, slopes, focal);
                }
                let probabilities = softmax(p);
                let value = categorical(&y, &probabilities, slopes, focal);
                let through: f32 = slopes.iter().zip(&probabilities).map(|(s, q)| s * q).sum();
                for (slope, q) in slopes.iter_mut().zip(&probabilities) {
                    *slope = q * (*slope - through);
                }
                value
            })
        }
        // The other kinds are computed elsewhere.
        _ => vec![0.0; p.len() / width.max(1)],
    }
}

/// Crossentropy with targets that name classes; as [`super::elementwise::rows`].
pub(super) fn sparse(
    kind: &LossKind,
    y: &[f32],
    p: &[f32],
    width: usize,
    slopes: &mut [f32],
) -> Result<Vec<f32>, TrainError> {
    let LossKind::SparseCategoricalCrossentropy {
        from_logits,
        ignore_class,
    } = *kind
    else {
        return Ok(Vec::new());
    };
    let known = |class: &f32| ignore_class.is_some_and(|ignored| *class == ignored as f32);
    for (row, class) in y.iter().enumerate() {
        // A fraction is cut off, as by Keras's cast.
        let whole = class.trunc();
        if !(known(class) || whole > -1.0 && whole < width as f32) {
            return Err(TrainError::Class {
                row,
                found: class.to_string(),
                last: width.saturating_sub(1),
            });
        }
    }
    let mut values = vec![0.0; y.len()];
    let of_row = |class: &f32, p: &[f32], slopes: &mut [f32]| match known(class) {
        true => 0.0,
        false => sparse_row(class.trunc() as usize, p, from_logits, slopes),
    };
    rows_on_threads(ifco_cell::threads(), y, p, &mut values, slopes, &of_row);
    Ok(values)
}

/// So many exponentials are worth a thread of their own.
const WORTH_A_THREAD: usize = 1 << 15;

/// Each row's value, and its slopes where they are wanted; the same on however many threads.
fn rows_on_threads(
    threads: usize,
    y: &[f32],
    p: &[f32],
    values: &mut [f32],
    slopes: &mut [f32],
    of_row: &(impl Fn(&f32, &[f32], &mut [f32]) -> f32 + Sync),
) {
    let width = p.len() / y.len().max(1);
    if threads > 1 && y.len() > 1 && p.len() >= 2 * WORTH_A_THREAD {
        let here = threads / 2;
        let half = (y.len() * here / threads).max(1);
        let (y, y_rest) = y.split_at(half);
        let (p, p_rest) = p.split_at(half * width);
        let (values, values_rest) = values.split_at_mut(half);
        let (slopes, slopes_rest) = slopes.split_at_mut(slopes.len().min(half * width));
        ifco_cell::join(
            || rows_on_threads(here, y, p, values, slopes, of_row),
            || {
                rows_on_threads(
                    threads - here,
                    y_rest,
                    p_rest,
                    values_rest,
                    slopes_rest,
                    of_row,
                )
            },
        );
        return;
    }
    let mut slopes = slopes.chunks_mut(width.max(1));
    for ((class, p), value) in y.iter().zip(p.chunks(width.max(1))).zip(values) {
        *value = of_row(class, p, slopes.next().unwrap_or_default());
    }
}

/// ln Σ eˣ − x of the class; the slopes are softmax(x), less one at the class.
fn sparse_row(class: usize, p: &[f32], from_logits: bool, slopes: &mut [f32]) -> f32 {
    let logits: Vec<f32>;
    let x = match from_logits {
        true => p,
        false => {
            let logit = |p: &f32| p.clamp(EPSILON, ALMOST_ONE).ln();
            logits = p.iter().map(logit).collect();
            &logits
        }
    };
    if slopes.is_empty() {
        return log_sum_exp(x) - x[class];
    }
    slopes.copy_from_slice(x);
    Activation::Softmax.apply(slopes);
    let share = slopes[class];
    slopes[class] -= 1.0;
    if !from_logits {
        for (slope, p) in slopes.iter_mut().zip(p) {
            let inside = (EPSILON..=ALMOST_ONE).contains(p);
            *slope = if inside { *slope / p } else { 0.0 };
        }
    }
    match share > f32::MIN_POSITIVE {
        true => -share.ln(),
        false => log_sum_exp(x) - x[class],
    }
}

/// What a target is multiplied by and what is added to it.
fn smoothing(amount: f64, classes: usize) -> (f32, f32) {
    if amount == 0.0 {
        return (1.0, 0.0);
    }
    ((1.0 - amount) as f32, (amount / classes as f64) as f32)
}

fn binary(y: f32, p: f32) -> (f32, f32) {
    let q = p.clamp(EPSILON, ALMOST_ONE);
    let value = -(y * q.ln() + (1.0 - y) * (1.0 - q).ln());
    let slope = if q == p {
        (1.0 - y) / (1.0 - q) - y / q
    } else {
        0.0
    };
    (value, slope)
}

fn binary_of_logit(y: f32, x: f32) -> (f32, f32) {
    let value = x.max(0.0) - x * y + (-x.abs()).exp().ln_1p();
    (value, sigmoid(x) - y)
}

/// (1 − p of what is true)^γ times the crossentropy.
fn binary_focal(y: f32, p: f32, gamma: f32) -> (f32, f32) {
    let (crossentropy, slope) = binary(y, p);
    let true_one = y * p + (1.0 - y) * (1.0 - p);
    let factor = (1.0 - true_one).powf(gamma);
    let falling = gamma * (1.0 - true_one).powf(gamma - 1.0) * (1.0 - 2.0 * y);
    (
        factor * crossentropy,
        factor * slope + falling * crossentropy,
    )
}

/// Σ f(y, q) with q = clip(p / Σp).
fn categorical(
    y: &[f32],
    p: &[f32],
    slopes: &mut [f32],
    f: impl Fn(f32, f32) -> (f32, f32),
) -> f32 {
    let whole: f32 = p.iter().sum();
    let mut total = 0.0;
    let mut through = 0.0;
    for (k, (y, p)) in y.iter().zip(p).enumerate() {
        let share = p / whole;
        let q = share.clamp(EPSILON, ALMOST_ONE);
        let (value, slope) = f(*y, q);
        total += value;
        if let Some(by_q) = slopes.get_mut(k) {
            *by_q = if q == share { slope } else { 0.0 };
            through += *by_q * share;
        }
    }
    for slope in slopes.iter_mut() {
        *slope = (*slope - through) / whole;
    }
    total
}

/// Σ y (ln Σ eˣ − x). The gradient is softmax(x) − y, also where Σ y is not 1, as TensorFlow has it.
fn categorical_of_logits(y: &[f32], x: &[f32], slopes: &mut [f32]) -> f32 {
    let log_sum = log_sum_exp(x);
    for ((slope, y), x) in slopes.iter_mut().zip(y).zip(x) {
        *slope = (x - log_sum).exp() - y;
    }
    y.iter().zip(x).map(|(y, x)| y * (log_sum - x)).sum()
}

/// ln Σ eˣ, for large x too.
pub(super) fn log_sum_exp(x: &[f32]) -> f32 {
    let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !largest.is_finite() {
        return largest;
    }
    largest + x.iter().map(|x| (x - largest).exp()).sum::<f32>().ln()
}

fn softmax(x: &[f32]) -> Vec<f32> {
    let log_sum = log_sum_exp(x);
    x.iter().map(|x| (x - log_sum).exp()).collect()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
