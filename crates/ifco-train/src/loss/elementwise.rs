//! Losses of numbers: distances, hinges, divergences.

use super::LossKind;
use crate::EPSILON;

/// The value of each row of `width` elements; `slopes`, where not empty, becomes each value's
/// gradient by the prediction.
pub(super) fn rows(
    kind: &LossKind,
    y: &[f32],
    p: &[f32],
    width: usize,
    slopes: &mut [f32],
) -> Vec<f32> {
    match *kind {
        LossKind::MeanSquaredError => mean(y, p, width, slopes, |y, p| {
            let error = p - y;
            (error * error, 2.0 * error)
        }),
        LossKind::MeanAbsoluteError => {
            mean(y, p, width, slopes, |y, p| ((p - y).abs(), sign(p - y)))
        }
        LossKind::MeanAbsolutePercentageError => mean(y, p, width, slopes, |y, p| {
            let size = y.abs().max(EPSILON);
            let error = (p - y) / size;
            (100.0 * error.abs(), 100.0 * sign(error) / size)
        }),
        LossKind::MeanSquaredLogarithmicError => mean(y, p, width, slopes, |y, p| {
            let argument = p.max(EPSILON) + 1.0;
            let error = argument.ln() - (y.max(EPSILON) + 1.0).ln();
            let slope = if p >= EPSILON {
                2.0 * error / argument
            } else {
                0.0
            };
            (error * error, slope)
        }),
        LossKind::Huber { delta } => {
            let delta = delta as f32;
            mean(y, p, width, slopes, |y, p| {
                let error = p - y;
                if error.abs() <= delta {
                    (0.5 * error * error, error)
                } else {
                    let straight = delta * error.abs() - 0.5 * delta * delta;
                    (straight, delta * sign(error))
                }
            })
        }
        LossKind::LogCosh => mean(y, p, width, slopes, |y, p| {
            let error = p - y;
            let value = error + softplus(-2.0 * error) - std::f32::consts::LN_2;
            (value, error.tanh())
        }),
        LossKind::Hinge | LossKind::SquaredHinge => {
            let binary = y.iter().all(|y| *y == 0.0 || *y == 1.0);
            let squared = matches!(kind, LossKind::SquaredHinge);
            mean(y, p, width, slopes, |y, p| {
                let y = if binary { 2.0 * y - 1.0 } else { y };
                let margin = 1.0 - y * p;
                let (lack, slope) = if margin >= 0.0 {
                    (margin, -y)
                } else {
                    (0.0, 0.0)
                };
                match squared {
                    true => (lack * lack, 2.0 * lack * slope),
                    false => (lack, slope),
                }
            })
        }
        LossKind::Poisson => mean(y, p, width, slopes, |y, p| {
            (p - y * (p + EPSILON).ln(), 1.0 - y / (p + EPSILON))
        }),
        LossKind::KlDivergence => sum(y, p, width, slopes, |y, p| {
            let (truth, found) = (y.clamp(EPSILON, 1.0), p.clamp(EPSILON, 1.0));
            let slope = if found == p { -truth / p } else { 0.0 };
            (truth * (truth / found).ln(), slope)
        }),
        LossKind::CosineSimilarity => each_row(y, p, width, slopes, cosine),
        LossKind::CategoricalHinge => each_row(y, p, width, slopes, categorical_hinge),
        // The other kinds are computed elsewhere.
        _ => vec![0.0; p.len() / width.max(1)],
    }
}

/// The mean over each row of a value; `f` gives value and slope.
pub(super) fn mean(
    y: &[f32],
    p: &[f32],
    width: usize,
    slopes: &mut [f32],
    f: impl Fn(f32, f32) -> (f32, f32),
) -> Vec<f32> {
    let width_f32 = width as f32;
    let mut values = sum(y, p, width, slopes, f);
    values.iter_mut().for_each(|value| *value /= width_f32);
    slopes.iter_mut().for_each(|slope| *slope /= width_f32);
    values
}

fn sum(
    y: &[f32],
    p: &[f32],
    width: usize,
    slopes: &mut [f32],
    f: impl Fn(f32, f32) -> (f32, f32),
) -> Vec<f32> {
    each_row(y, p, width, slopes, |y, p, slopes| {
        if slopes.is_empty() {
            return y.iter().zip(p).map(|(y, p)| f(*y, *p).0).sum();
        }
        let mut total = 0.0;
        for ((y, p), slope) in y.iter().zip(p).zip(slopes) {
            let (value, by_p) = f(*y, *p);
            total += value;
            *slope = by_p;
        }
        total
    })
}

/// Applies `f` to each row; its last argument is empty when no gradient is asked for.
pub(super) fn each_row(
    y: &[f32],
    p: &[f32],
    width: usize,
    slopes: &mut [f32],
    f: impl Fn(&[f32], &[f32], &mut [f32]) -> f32,
) -> Vec<f32> {
    if width == 0 {
        return Vec::new();
    }
    let mut slopes = slopes.chunks_mut(width);
    let rows = y.chunks(width).zip(p.chunks(width));
    rows.map(|(y, p)| f(y, p, slopes.next().unwrap_or_default()))
        .collect()
}

/// −ŷ·p̂. The gradient by p is −(ŷ − p̂ (ŷ·p̂)) / |p|.
///
/// Of an all-zero prediction TensorFlow's gradient is not a number; here it is that of p / ε.
fn cosine(y: &[f32], p: &[f32], slopes: &mut [f32]) -> f32 {
    let inverse_length = |x: &[f32]| {
        let squares: f32 = x.iter().map(|x| x * x).sum();
        (1.0 / squares.sqrt()).min(1.0 / EPSILON)
    };
    let (by_y, by_p) = (inverse_length(y), inverse_length(p));
    let similarity: f32 = y.iter().zip(p).map(|(y, p)| (y * by_y) * (p * by_p)).sum();
    let turns = if by_p < 1.0 / EPSILON {
        similarity
    } else {
        0.0
    };
    for ((slope, y), p) in slopes.iter_mut().zip(y).zip(p) {
        *slope = -by_p * (y * by_y - p * by_p * turns);
    }
    -similarity
}

fn categorical_hinge(y: &[f32], p: &[f32], slopes: &mut [f32]) -> f32 {
    let right: f32 = y.iter().zip(p).map(|(y, p)| y * p).sum();
    let others = || y.iter().zip(p).map(|(y, p)| (1.0 - y) * p);
    let wrong = others().fold(f32::NEG_INFINITY, f32::max);
    let lack = wrong - right + 1.0;
    if lack < 0.0 {
        return 0.0; // and slopes are zero already
    }
    // Equal largest ones share the gradient.
    let largest = others().filter(|other| *other == wrong).count() as f32;
    for ((slope, y), other) in slopes.iter_mut().zip(y).zip(others()) {
        let share = if other == wrong {
            (1.0 - y) / largest
        } else {
            0.0
        };
        *slope = share - y;
    }
    lack
}

/// ln(1 + eˣ), for large x too.
pub(super) fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// −1, 0 or 1: zero has no sign, as in NumPy.
fn sign(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x.signum() }
}
