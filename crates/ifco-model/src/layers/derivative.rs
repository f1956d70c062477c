//! The way back through an activation.

use ifco_cell::Activation;

use super::support::{activate, into_values, tensor, values};
use crate::{Array, LayerError, Tensor};

/// An activation that was applied, and what its derivative needs.
pub(super) struct Activated {
    activation: Activation,
    /// How many values a row has, for those that work on rows.
    features: usize,
    /// What it was applied to; `None` where the output tells the derivative.
    before: Option<Vec<f32>>,
    after: Array,
}

impl Activated {
    /// Applies the activation to rows of as many values as the last axis has.
    pub(super) fn apply(
        activation: &Activation,
        mut values: Vec<f32>,
        shape: &[usize],
    ) -> Result<(Tensor, Self), LayerError> {
        let before = (!told_by_output(activation)).then(|| values.clone());
        let features = shape.last().copied().unwrap_or(1);
        activate(activation, &mut values, features);
        let output = tensor(shape, values)?;
        let after = output.data.clone();
        let activated = Self {
            activation: *activation,
            features,
            before,
            after,
        };
        Ok((output, activated))
    }

    /// The gradient of what it was applied to, of that of its output.
    pub(super) fn backward(&self, gradient: Array) -> Vec<f32> {
        let mut gradient = into_values(gradient);
        if self.activation == Activation::Linear {
            return gradient;
        }
        let after = Tensor::new(self.after.clone());
        let after = values(&after);
        let before = self.before.as_deref().unwrap_or(&after);
        if self.activation.is_elementwise() {
            let both = before.iter().zip(after.iter());
            for (gradient, (x, y)) in gradient.iter_mut().zip(both) {
                *gradient *= slope(&self.activation, *x, *y);
            }
        } else if self.features > 0 {
            let rows = before
                .chunks_exact(self.features)
                .zip(after.chunks_exact(self.features));
            for (gradient, (x, y)) in gradient.chunks_exact_mut(self.features).zip(rows) {
                row_backward(&self.activation, x, y, gradient);
            }
        }
        gradient
    }
}

/// Whether the output alone tells the derivative.
fn told_by_output(activation: &Activation) -> bool {
    matches!(
        activation,
        Activation::Linear
            | Activation::Sigmoid
            | Activation::Tanh
            | Activation::Exponential
            | Activation::Softmax
            | Activation::LogSoftmax
    )
}

fn when(condition: bool, slope: f64) -> f64 {
    if condition { slope } else { 0.0 }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The derivative at `x`, where the activation is `y`. Where it has none, what TensorFlow takes.
fn slope(activation: &Activation, x: f32, y: f32) -> f32 {
    // What most models have, without a detour.
    match *activation {
        Activation::Sigmoid => return y * (1.0 - y),
        Activation::Tanh => return 1.0 - y * y,
        Activation::RELU => return f32::from(u8::from(x > 0.0)),
        _ => {}
    }
    let (x, y) = (f64::from(x), f64::from(y));
    let slope = match *activation {
        Activation::Relu {
            negative_slope,
            max_value,
            threshold,
        } => {
            let (below, from) = (f64::from(negative_slope), f64::from(threshold));
            let under_most = max_value.is_none_or(|most| x < f64::from(most));
            if x > from {
                when(under_most, 1.0)
            } else {
                when(x < from || from == 0.0, below)
            }
        }
        Activation::HardSigmoid => when(-3.0 < x && x < 3.0, 1.0 / 6.0),
        Activation::HardSigmoidKeras2 => when((-2.5..=2.5).contains(&x), 0.2),
        Activation::HardTanh => when((-1.0..=1.0).contains(&x), 1.0),
        Activation::Softplus => sigmoid(x),
        Activation::Softsign => 1.0 / (1.0 + x.abs()).powi(2),
        Activation::Elu { alpha } if x < 0.0 => y + f64::from(alpha),
        Activation::Selu if x < 0.0 => 1.758_099_340_847_376_7 * x.exp(),
        Activation::Selu => 1.050_700_987_355_480_5,
        Activation::Celu { alpha } if x < 0.0 => (x / f64::from(alpha)).exp(),
        Activation::Gelu { approximate: false } => {
            // y = x·Φ(x), and near 0 the density says the same.
            let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
            let below = if x == 0.0 { 0.5 } else { y / x };
            below + x * density
        }
        Activation::Gelu { approximate: true } => {
            let factor = (2.0 / std::f64::consts::PI).sqrt();
            let t = (factor * (x + 0.044_715 * x.powi(3))).tanh();
            let inner = factor * (1.0 + 3.0 * 0.044_715 * x * x);
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
        }
        Activation::Silu => {
            let s = sigmoid(x);
            s + x * s * (1.0 - s)
        }
        Activation::HardSilu => {
            ((x + 3.0) / 6.0).clamp(0.0, 1.0) + x * when(-3.0 < x && x < 3.0, 1.0 / 6.0)
        }
        Activation::Exponential => y,
        Activation::Mish => {
            let t = if x > 30.0 {
                1.0
            } else {
                x.exp().ln_1p().tanh()
            };
            t + x * (1.0 - t * t) * sigmoid(x)
        }
        Activation::LogSigmoid => sigmoid(-x),
        Activation::Squareplus { b } => (1.0 + x / (x * x + f64::from(b)).sqrt()) / 2.0,
        Activation::SoftShrink { threshold } | Activation::HardShrink { threshold } => {
            when(x.abs() > f64::from(threshold), 1.0)
        }
        Activation::TanhShrink => x.tanh().powi(2),
        Activation::Threshold { threshold, .. } => when(x > f64::from(threshold), 1.0),
        Activation::SparsePlus if x <= -1.0 => 0.0,
        Activation::SparsePlus => (0.5 * (x + 1.0)).min(1.0),
        Activation::SparseSigmoid => when((-1.0..=1.0).contains(&x), 0.5),
        _ => 1.0,
    };
    slope as f32
}

/// The gradient of a row, of that of what the activation made of it.
fn row_backward(activation: &Activation, x: &[f32], y: &[f32], gradient: &mut [f32]) {
    match activation {
        Activation::Softmax => softmax_backward(y, gradient),
        Activation::LogSoftmax => {
            let sum: f64 = gradient.iter().map(|value| f64::from(*value)).sum();
            for (gradient, y) in gradient.iter_mut().zip(y) {
                *gradient -= (f64::from(*y).exp() * sum) as f32;
            }
        }
        _ => sparsemax_backward(x, y, gradient),
    }
}

/// `y ∘ (∂y − Σ ∂y·y)`, in place of `∂y`.
pub(super) fn softmax_backward(y: &[f32], gradient: &mut [f32]) {
    let along = gradient.iter().zip(y);
    let sum: f64 = along.map(|(g, y)| f64::from(*g) * f64::from(*y)).sum();
    for (gradient, y) in gradient.iter_mut().zip(y) {
        *gradient = y * (*gradient - sum as f32);
    }
}

/// y = max(x − τ, 0), where Keras's τ is (S₁ + … + S_K − 1) / K over the sorted x: the r-th
/// largest stands in K − r + 1 of the sums.
fn sparsemax_backward(x: &[f32], y: &[f32], gradient: &mut [f32]) {
    for (gradient, y) in gradient.iter_mut().zip(y) {
        *gradient = if *y > 0.0 { *gradient } else { 0.0 };
    }
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*b].total_cmp(&x[*a]));
    let (mut sum, mut support) = (0.0, Vec::new());
    for (k, index) in (1..).zip(order) {
        sum += x[index];
        if x[index] - (sum - 1.0) / k as f32 > 0.0 {
            support.push(index);
        }
    }
    let of_tau: f32 = gradient.iter().sum();
    let size = support.len();
    for (rank, index) in support.into_iter().enumerate() {
        gradient[index] -= of_tau * (size - rank) as f32 / size as f32;
    }
}
