//! The activations in `f64`, each as its definition reads.

use crate::{Activation, math};

/// Applies an activation to a row in place, as [`Activation::apply`] does in `f32`.
///
/// ```
/// use ifco_cell::{Activation, reference::activate};
///
/// let mut row = [0.0, 2.0];
/// activate(Activation::Tanh, &mut row);
/// assert_eq!(row, [0.0, 2f64.tanh()]);
///
/// // However far one is below the other.
/// let mut row = [0.0, 1000.0];
/// activate(Activation::LogSoftmax, &mut row);
/// assert_eq!(row, [-1000.0, 0.0]);
/// ```
pub fn activate(activation: Activation, row: &mut [f64]) {
    match activation {
        Activation::Softmax => softmax(row),
        Activation::LogSoftmax => {
            // Not the logarithm of softmax, which is 0 far below the greatest.
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
            row.iter_mut().for_each(|x| *x -= max + sum.ln());
        }
        Activation::Sparsemax => sparsemax(row),
        _ => row.iter_mut().for_each(|x| *x = value(activation, *x)),
    }
}

/// Turns the gradient of what an activation put out into the gradient of `x`, what was put in, in
/// place.
///
/// ```
/// use ifco_cell::{Activation, reference::activate_backward};
///
/// let mut d = [1.0, 1.0];
/// activate_backward(Activation::Tanh, &[0.0, 2.0], &mut d);
/// assert_eq!(d, [1.0, 1.0 - 2f64.tanh().powi(2)]);
/// ```
pub fn activate_backward(activation: Activation, x: &[f64], d: &mut [f64]) {
    activation.backward_in_f64(x, d);
}

fn softmax(row: &mut [f64]) {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

/// The K greatest values are kept: those with 1 + k·x_k > S_k, where S_k = x_1 + … + x_k.
/// τ is Keras's, (S_1 + … + S_K − 1) / K.
fn sparsemax(row: &mut [f64]) {
    let mut sorted = row.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut sums, mut tau) = (0.0, 0.0, 0.0);
    for (k, x) in (1..).map(f64::from).zip(&sorted) {
        sum += x;
        if 1.0 + k * x > sum {
            sums += sum;
            tau = (sums - 1.0) / k;
        }
    }
    row.iter_mut().for_each(|x| *x = (*x - tau).max(0.0));
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    // ln(1 + e^x), turned so that the exponential cannot overflow
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn relu6(x: f64) -> f64 {
    x.clamp(0.0, 6.0)
}

fn value(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Linear => x,
        Activation::Relu {
            negative_slope,
            max_value,
            threshold,
        } => {
            let threshold = f64::from(threshold);
            let mut y = if x > threshold { x } else { 0.0 };
            if let Some(max_value) = max_value {
                y = y.min(f64::from(max_value)).max(0.0);
            }
            y - f64::from(negative_slope) * (threshold - x).max(0.0)
        }
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::HardSigmoid => relu6(x + 3.0) / 6.0,
        Activation::HardSigmoidKeras2 => (0.2 * x + 0.5).clamp(0.0, 1.0),
        Activation::HardTanh => x.clamp(-1.0, 1.0),
        Activation::Softplus => softplus(x),
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Elu { alpha } if x < 0.0 => f64::from(alpha) * x.exp_m1(),
        Activation::Elu { .. } => x,
        Activation::Selu => {
            let (scale, alpha) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);
            scale * if x < 0.0 { alpha * x.exp_m1() } else { x }
        }
        Activation::Celu { alpha } if x < 0.0 => f64::from(alpha) * (x / f64::from(alpha)).exp_m1(),
        Activation::Celu { .. } => x,
        Activation::Gelu { approximate: false } => {
            0.5 * x * (1.0 + math::erf(x * std::f64::consts::FRAC_1_SQRT_2))
        }
        Activation::Gelu { approximate: true } => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Silu => x * sigmoid(x),
        Activation::HardSilu => x * relu6(x + 3.0) / 6.0,
        Activation::Exponential => x.exp(),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::LogSigmoid => -softplus(-x),
        Activation::Squareplus { b } => (x + (x * x + f64::from(b)).sqrt()) / 2.0,
        Activation::SoftShrink { threshold } => {
            x.signum() * (x.abs() - f64::from(threshold)).max(0.0)
        }
        Activation::HardShrink { threshold } if x.abs() > f64::from(threshold) => x,
        Activation::HardShrink { .. } => 0.0,
        Activation::TanhShrink => x - x.tanh(),
        Activation::Threshold { threshold, .. } if x > f64::from(threshold) => x,
        Activation::Threshold { default_value, .. } => f64::from(default_value),
        Activation::SparsePlus if x <= -1.0 => 0.0,
        Activation::SparsePlus if x < 1.0 => (x + 1.0).powi(2) / 4.0,
        Activation::SparsePlus => x,
        Activation::SparseSigmoid => ((x + 1.0) / 2.0).clamp(0.0, 1.0),
        Activation::Affine { alpha, beta } => f64::from(alpha) * x + f64::from(beta),
        Activation::ScaledTanh { alpha, beta } => f64::from(alpha) * (f64::from(beta) * x).tanh(),
        Activation::HardSigmoidOf { alpha, beta } => {
            (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0)
        }
        // Row functions never come here: see `activate`.
        Activation::Softmax | Activation::LogSoftmax | Activation::Sparsemax => x,
    }
}
