//! The derivative of each activation, with what TensorFlow says where there is none: at a kink.

use super::Activation;
use crate::math;

impl Activation {
    /// Turns the gradient of what was put out into the gradient of what was put in, in place, for
    /// one row: the values along the last axis.
    ///
    /// `x` is what went in, `y` what [`apply`](Self::apply) made of it, `d` the gradient. At kinks
    /// the derivative is TensorFlow's: of `relu` at 0 it is 0.
    ///
    /// ```
    /// use ifco_cell::Activation;
    ///
    /// let x = [-1.0, 0.0, 2.0];
    /// let mut y = x;
    /// Activation::RELU.apply(&mut y);
    /// let mut d = [1.0; 3];
    /// Activation::RELU.backward(&x, &y, &mut d);
    /// assert_eq!(d, [0.0, 0.0, 1.0]);
    /// ```
    pub fn backward(&self, x: &[f32], y: &[f32], d: &mut [f32]) {
        match *self {
            Activation::Linear => {}
            Activation::Sigmoid => times(d, y, |y| y * (1.0 - y)),
            Activation::Tanh => times(d, y, |y| 1.0 - y * y),
            Activation::RELU => times(d, x, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Activation::Softmax => {
                let sum: f32 = d.iter().zip(y).map(|(d, y)| d * y).sum();
                d.iter_mut().zip(y).for_each(|(d, y)| *d = (*d - sum) * y);
            }
            _ if self.is_elementwise() => times(d, x, |x| self.slope(f64::from(x)) as f32),
            _ => {
                let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                let mut wide: Vec<f64> = d.iter().map(|d| f64::from(*d)).collect();
                self.backward_in_f64(&x, &mut wide);
                d.iter_mut()
                    .zip(wide)
                    .for_each(|(d, wide)| *d = wide as f32);
            }
        }
    }

    /// [`backward`](Self::backward) for each row of row-major matrices whose rows have `row_len`
    /// values.
    ///
    /// ```
    /// use ifco_cell::Activation;
    ///
    /// let (x, y) = ([0.0, 0.0, 7.0, 7.0], [0.5; 4]);
    /// let mut d = [1.0, 0.0, 0.0, 0.0];
    /// Activation::Softmax.backward_rows(&x, &y, &mut d, 2);
    /// assert_eq!(d, [0.25, -0.25, 0.0, 0.0]);
    /// ```
    pub fn backward_rows(&self, x: &[f32], y: &[f32], d: &mut [f32], row_len: usize) {
        if self.is_elementwise() {
            self.backward(x, y, d);
        } else if row_len > 0 {
            let rows = x.chunks(row_len).zip(y.chunks(row_len));
            for ((x, y), d) in rows.zip(d.chunks_mut(row_len)) {
                self.backward(x, y, d);
            }
        }
    }

    /// The same from `x` alone, as the textbook has it.
    pub(crate) fn backward_in_f64(&self, x: &[f64], d: &mut [f64]) {
        match *self {
            Activation::Softmax => {
                let y = softmax(x);
                let sum: f64 = d.iter().zip(&y).map(|(d, y)| d * y).sum();
                d.iter_mut().zip(&y).for_each(|(d, y)| *d = (*d - sum) * y);
            }
            Activation::LogSoftmax => {
                let sum: f64 = d.iter().sum();
                let y = softmax(x);
                d.iter_mut().zip(&y).for_each(|(d, y)| *d -= sum * y);
            }
            Activation::Sparsemax => sparsemax(x, d),
            _ => d.iter_mut().zip(x).for_each(|(d, x)| *d *= self.slope(*x)),
        }
    }

    /// dy/dx of an elementwise activation.
    fn slope(&self, x: f64) -> f64 {
        let one_if = |condition: bool| f64::from(u8::from(condition));
        match *self {
            Activation::Linear => 1.0,
            Activation::Relu {
                negative_slope,
                max_value,
                threshold,
            } => relu(
                x,
                f64::from(negative_slope),
                max_value.map(f64::from),
                f64::from(threshold),
            ),
            Activation::Sigmoid => sigmoid(x) * sigmoid(-x),
            Activation::Tanh => 1.0 - x.tanh().powi(2),
            Activation::HardSigmoid => hard_sigmoid(x).1,
            // As a value that is clipped: at the bounds it still counts.
            Activation::HardSigmoidKeras2 => 0.2 * one_if((0.0..=1.0).contains(&(0.2 * x + 0.5))),
            Activation::HardTanh => one_if((-1.0..=1.0).contains(&x)),
            Activation::Softplus => sigmoid(x),
            Activation::Softsign => (1.0 + x.abs()).powi(-2),
            Activation::Elu { alpha } if x < 0.0 => f64::from(alpha) * x.exp(),
            Activation::Elu { alpha } if x == 0.0 => f64::from(alpha),
            Activation::Elu { .. } => 1.0,
            Activation::Selu => {
                let (scale, alpha) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);
                scale * if x < 0.0 { alpha * x.exp() } else { 1.0 }
            }
            // max(x, 0) and min(x, 0) each have a slope of 1 at 0.
            Activation::Celu { alpha } => {
                one_if(x >= 0.0) + one_if(x <= 0.0) * (x.min(0.0) / f64::from(alpha)).exp()
            }
            Activation::Gelu { approximate: false } => {
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                0.5 * (1.0 + math::erf(x * std::f64::consts::FRAC_1_SQRT_2)) + x * density
            }
            Activation::Gelu { approximate: true } => {
                let scale = (2.0 / std::f64::consts::PI).sqrt();
                let tanh = (scale * (x + 0.044715 * x.powi(3))).tanh();
                let inner = scale * (1.0 + 3.0 * 0.044715 * x * x);
                0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner
            }
            Activation::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
            Activation::HardSilu => {
                let (y, slope) = hard_sigmoid(x);
                y + x * slope
            }
            Activation::Exponential => x.exp(),
            Activation::Mish => {
                let tanh = softplus(x).tanh();
                tanh + x * (1.0 - tanh * tanh) * sigmoid(x)
            }
            Activation::LogSigmoid => sigmoid(-x),
            Activation::Squareplus { b } => {
                let root = (x * x + f64::from(b)).sqrt();
                // Where it is 0 TensorFlow divides by it too.
                0.5 * (1.0 + x / root)
            }
            Activation::SoftShrink { threshold } | Activation::HardShrink { threshold } => {
                one_if(x.abs() > f64::from(threshold))
            }
            Activation::TanhShrink => x.tanh().powi(2),
            Activation::Threshold { threshold, .. } => one_if(x > f64::from(threshold)),
            Activation::SparsePlus if x <= -1.0 => 0.0,
            Activation::SparsePlus if x < 1.0 => 0.5 * (x + 1.0),
            Activation::SparsePlus => 1.0,
            Activation::SparseSigmoid => 0.5 * one_if(x > -1.0 && x < 1.0),
            Activation::Affine { alpha, .. } => f64::from(alpha),
            Activation::ScaledTanh { alpha, beta } => {
                let tanh = (f64::from(beta) * x).tanh();
                f64::from(alpha) * f64::from(beta) * (1.0 - tanh * tanh)
            }
            Activation::HardSigmoidOf { alpha, beta } => {
                let line = f64::from(alpha) * x + f64::from(beta);
                f64::from(alpha) * one_if((0.0..=1.0).contains(&line))
            }
            // Row functions never come here.
            Activation::Softmax | Activation::LogSoftmax | Activation::Sparsemax => 1.0,
        }
    }
}

/// d·slope(of) for each value.
#[inline(always)]
fn times(d: &mut [f32], of: &[f32], slope: impl Fn(f32) -> f32) {
    d.iter_mut().zip(of).for_each(|(d, of)| *d *= slope(*of));
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Keras 3's, with its slope: relu6 has none at either end.
fn hard_sigmoid(x: f64) -> (f64, f64) {
    match x + 3.0 {
        x if x > 0.0 && x < 6.0 => (x / 6.0, 1.0 / 6.0),
        x => (x.clamp(0.0, 6.0) / 6.0, 0.0),
    }
}

/// As Keras builds it, of the operations it takes for each set of parameters.
fn relu(x: f64, negative_slope: f64, max_value: Option<f64>, threshold: f64) -> f64 {
    let rises = match max_value {
        _ if x <= threshold => false,
        // relu6 ends before its bound; what is clipped ends at it.
        Some(6.0) if threshold == 0.0 => x < 6.0,
        Some(max_value) => (0.0..=max_value).contains(&x),
        None => true,
    };
    let is_leaky = max_value.is_none() && threshold == 0.0 && negative_slope != 0.0;
    // leaky_relu has its slope at 0 too.
    let falls = x < threshold || (is_leaky && x <= 0.0);
    f64::from(u8::from(rises)) + if falls { negative_slope } else { 0.0 }
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = x.iter().map(|x| (x - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.into_iter().map(|exp| exp / sum).collect()
}

/// y = max(x − τ, 0), where τ = (S_1 + … + S_K − 1) / K has each of the K greatest values as often
/// as there are sums from it on: see the activation.
fn sparsemax(x: &[f64], d: &mut [f64]) {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*b].total_cmp(&x[*a]));
    let (mut sum, mut sums, mut support) = (0.0, 0.0, 0.0);
    for (k, index) in (1..).map(f64::from).zip(&order) {
        sum += x[*index];
        if 1.0 + k * x[*index] > sum {
            sums += sum;
            support = k;
        }
    }
    let tau = (sums - 1.0) / support;
    let mut passed = 0.0;
    for (d, x) in d.iter_mut().zip(x) {
        if *x < tau {
            *d = 0.0;
        }
        passed += *d;
    }
    for (k, index) in (0..).map(f64::from).zip(&order) {
        if k < support {
            d[*index] -= passed * (support - k) / support;
        }
    }
}
