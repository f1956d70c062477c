//! What each activation computes, in place over `f32`.

use super::Activation;
use crate::math;

/// The two constants of the SELU paper, to `f32`.
const SELU_SCALE: f32 = 1.050_701;
const SELU_SCALE_ALPHA: f32 = 1.758_099_3;

impl Activation {
    /// Whether each value is mapped alone. False for softmax, log_softmax and sparsemax, which
    /// need a row at a time.
    ///
    /// ```
    /// use ifco_cell::Activation;
    /// assert!(Activation::Tanh.is_elementwise());
    /// assert!(!Activation::Softmax.is_elementwise());
    /// ```
    pub fn is_elementwise(&self) -> bool {
        !matches!(
            self,
            Activation::Softmax | Activation::LogSoftmax | Activation::Sparsemax
        )
    }

    /// Applies it in place to one row: the values along the last axis.
    ///
    /// sigmoid and tanh are within 4 ULP, over all of `f32`. Nothing is allocated, but by
    /// sparsemax, which sorts a copy of the row.
    ///
    /// ```
    /// use ifco_cell::Activation;
    ///
    /// let mut row = [1000.0, 1000.0]; // no overflow
    /// Activation::Softmax.apply(&mut row);
    /// assert_eq!(row, [0.5, 0.5]);
    /// ```
    pub fn apply(&self, row: &mut [f32]) {
        match *self {
            Activation::Linear => {}
            Activation::Relu {
                negative_slope,
                max_value,
                threshold,
            } => relu(row, negative_slope, max_value, threshold),
            Activation::Sigmoid => map(row, math::sigmoid),
            Activation::Tanh => map(row, math::tanh),
            Activation::HardSigmoid => map(row, hard_sigmoid),
            Activation::HardSigmoidKeras2 => map(row, |x| clip(0.2 * x + 0.5, 0.0, 1.0)),
            Activation::HardTanh => map(row, |x| clip(x, -1.0, 1.0)),
            Activation::Softmax => softmax(row),
            Activation::LogSoftmax => log_softmax(row),
            Activation::Sparsemax => sparsemax(row),
            Activation::Softplus => map(row, softplus),
            Activation::Softsign => map(row, |x| x / (x.abs() + 1.0)),
            Activation::Elu { alpha } => map(row, |x| {
                if x < 0.0 {
                    alpha * math::exp_m1_below_zero(x)
                } else {
                    x
                }
            }),
            Activation::Selu => map(row, |x| {
                if x < 0.0 {
                    SELU_SCALE_ALPHA * math::exp_m1_below_zero(x)
                } else {
                    SELU_SCALE * x
                }
            }),
            // alpha may be negative, and then the exponent is above 0.
            Activation::Celu { alpha } => map(row, |x| {
                above(x, 0.0) + alpha * (below(x, 0.0) / alpha).exp_m1()
            }),
            Activation::Gelu { approximate: false } => map(row, |x| {
                let erf = math::erf(f64::from(x * std::f32::consts::FRAC_1_SQRT_2)) as f32;
                0.5 * x * (1.0 + erf)
            }),
            Activation::Gelu { approximate: true } => map(row, |x| {
                let inner = 0.797_884_6 * (x + 0.044_715 * (x * x * x));
                0.5 * x * (1.0 + math::tanh(inner))
            }),
            Activation::Silu => map(row, |x| x * math::sigmoid(x)),
            Activation::HardSilu => map(row, |x| x * hard_sigmoid(x)),
            Activation::Exponential => map(row, math::exp),
            Activation::Mish => map(row, |x| x * math::tanh(softplus(x))),
            Activation::LogSigmoid => map(row, |x| -softplus(-x)),
            Activation::Squareplus { b } => map(row, |x| (x + (x * x + b).sqrt()) / 2.0),
            Activation::SoftShrink { threshold } => map(row, |x| {
                if x > threshold {
                    x - threshold
                } else if x < -threshold {
                    x + threshold
                } else {
                    0.0
                }
            }),
            Activation::HardShrink { threshold } => {
                map(row, |x| if x.abs() > threshold { x } else { 0.0 })
            }
            Activation::TanhShrink => map(row, |x| x - math::tanh(x)),
            Activation::Threshold {
                threshold,
                default_value,
            } => map(row, |x| if x > threshold { x } else { default_value }),
            Activation::SparsePlus => map(row, |x| {
                if x <= -1.0 {
                    0.0
                } else if x < 1.0 {
                    0.25 * ((x + 1.0) * (x + 1.0))
                } else {
                    x
                }
            }),
            Activation::SparseSigmoid => map(row, |x| clip(0.5 * (x + 1.0), 0.0, 1.0)),
            Activation::Affine { alpha, beta } => map(row, |x| alpha * x + beta),
            Activation::ScaledTanh { alpha, beta } => map(row, |x| alpha * math::tanh(beta * x)),
            Activation::HardSigmoidOf { alpha, beta } => {
                map(row, |x| clip(alpha * x + beta, 0.0, 1.0))
            }
        }
    }

    /// Applies it in place to each row of a row-major matrix whose rows have `row_len` values.
    ///
    /// Does nothing when `row_len` is 0; values beyond the last whole row are a shorter row.
    ///
    /// ```
    /// use ifco_cell::Activation;
    ///
    /// let mut matrix = [0.0, 0.0, 7.0, 7.0];
    /// Activation::Softmax.apply_rows(&mut matrix, 2);
    /// assert_eq!(matrix, [0.5; 4]);
    /// ```
    pub fn apply_rows(&self, data: &mut [f32], row_len: usize) {
        if self.is_elementwise() {
            self.apply(data);
        } else if row_len > 0 {
            data.chunks_mut(row_len).for_each(|row| self.apply(row));
        }
    }
}

/// The loop that every elementwise activation runs; inlined so that each gets vector code.
#[inline(always)]
fn map(row: &mut [f32], function: impl Fn(f32) -> f32) {
    for value in row {
        *value = function(*value);
    }
}

// As TensorFlow's maximum and minimum these hand a NaN on, which `f32::max` does not.

#[inline(always)]
fn above(x: f32, low: f32) -> f32 {
    if x < low { low } else { x }
}

#[inline(always)]
fn below(x: f32, high: f32) -> f32 {
    if x > high { high } else { x }
}

/// Unlike `f32::clamp` it does not panic where the bounds, which come from a file, make no sense.
#[inline(always)]
fn clip(x: f32, low: f32, high: f32) -> f32 {
    above(below(x, high), low)
}

#[inline(always)]
fn hard_sigmoid(x: f32) -> f32 {
    clip(x + 3.0, 0.0, 6.0) / 6.0
}

/// In `f64`: in `f32` the exponential's last bits would be lost when 1 is added.
#[inline(always)]
fn softplus(x: f32) -> f32 {
    let x = f64::from(x);
    if x > 30.0 {
        x as f32
    } else {
        x.exp().ln_1p() as f32
    }
}

/// Keras's order of things: threshold, then the bounds 0 and `max_value`, then the slope.
fn relu(row: &mut [f32], negative_slope: f32, max_value: Option<f32>, threshold: f32) {
    if negative_slope != 0.0 && max_value.is_none() && threshold == 0.0 {
        return map(row, |x| if x > 0.0 { x } else { negative_slope * x });
    }
    let negative = |x: f32| above(threshold - x, 0.0);
    map(row, |x| {
        let mut y = if threshold == 0.0 {
            above(x, 0.0)
        } else if x > threshold {
            x
        } else {
            0.0
        };
        if let Some(max_value) = max_value {
            y = clip(y, 0.0, max_value);
        }
        if negative_slope != 0.0 {
            y -= negative_slope * negative(x);
        }
        y
    });
}

fn greatest(row: &[f32]) -> f32 {
    row.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn softmax(row: &mut [f32]) {
    let max = greatest(row);
    map(row, |x| math::exp(x - max));
    let sum: f32 = row.iter().sum();
    map(row, |x| x / sum);
}

fn log_softmax(row: &mut [f32]) {
    let max = greatest(row);
    let sum: f32 = row.iter().map(|x| math::exp(x - max)).sum();
    let log = f64::from(sum).ln() as f32;
    map(row, |x| (x - max) - log);
}

/// With x_1 ≥ x_2 ≥ … the support is every k with x_k > (S_k − 1) / k, S_k = x_1 + … + x_k.
///
/// The paper's τ is (S_K − 1) / K for the last such k = K; Keras's is (S_1 + … + S_K − 1) / K, and
/// Keras's numbers are what is wanted here.
fn sparsemax(row: &mut [f32]) {
    let mut sorted = row.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let (mut sum, mut sums, mut support) = (0.0, 0.0, 0.0);
    let mut k = 0.0;
    for x in sorted {
        sum += x;
        k += 1.0;
        if x - (sum - 1.0) / k > 0.0 {
            sums += sum;
            support += 1.0;
        }
    }
    let tau = (sums - 1.0) / support;
    map(row, |x| above(x - tau, 0.0));
}
