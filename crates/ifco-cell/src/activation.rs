//! The activations, each in the formula of the framework that names it.

use crate::math;

/// Any activation that Keras 2 or 3 knows by name, with its parameters.
///
/// [`Activation::apply`] works on the last axis, as Keras does: most are elementwise, but
/// [`Softmax`](Self::Softmax), [`LogSoftmax`](Self::LogSoftmax) and
/// [`Sparsemax`](Self::Sparsemax) look at a whole row.
///
/// Keras's `glu` is not here: it halves the last axis, so that it can be no gate's activation.
///
/// ```
/// use ifco_cell::Activation;
///
/// let mut row = [-1.0, 0.0, 1.0];
/// Activation::Sigmoid.apply(&mut row);
/// assert_eq!(row[1], 0.5);
/// assert_eq!(Activation::from_name("swish"), Some(Activation::Silu));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `x`
    Linear,
    /// Keras's `ReLU` layer and its `relu`, `relu6` and `leaky_relu` functions: `x` above
    /// `threshold` (at most `max_value`), `negative_slope·(x − threshold)` below it.
    ///
    /// See [`RELU`](Self::RELU), [`RELU6`](Self::RELU6) and [`LEAKY_RELU`](Self::LEAKY_RELU).
    Relu {
        /// Slope below the threshold.
        negative_slope: f32,
        /// Upper bound, if any; with one, what is passed on is not below 0 either.
        max_value: Option<f32>,
        /// Where the positive part starts.
        threshold: f32,
    },
    /// `1 / (1 + e^−x)`
    Sigmoid,
    /// `tanh(x)`
    Tanh,
    /// Keras 3: `relu6(x + 3) / 6`
    HardSigmoid,
    /// Keras 1 and 2: `clip(0.2·x + 0.5, 0, 1)`
    HardSigmoidKeras2,
    /// `clip(x, −1, 1)`
    HardTanh,
    /// `e^x / Σ e^x` over the last axis.
    Softmax,
    /// `x − ln Σ e^x` over the last axis.
    LogSoftmax,
    /// `max(x − τ, 0)` over the last axis, with Keras 3's τ: it is not the one of the paper, so
    /// that a row with more than one value above 0 does not sum to 1.
    Sparsemax,
    /// `ln(1 + e^x)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `x` above 0, `alpha·(e^x − 1)` below.
    Elu {
        /// Minus the limit at −∞; 1 by default.
        alpha: f32,
    },
    /// `scale·x` above 0, `scale·α·(e^x − 1)` below, with the two constants of the paper.
    Selu,
    /// `x` above 0, `alpha·(e^(x / alpha) − 1)` below.
    Celu {
        /// Minus the limit at −∞; 1 by default.
        alpha: f32,
    },
    /// `x·Φ(x)`, Φ the normal distribution's cumulative function.
    Gelu {
        /// Φ by tanh instead of erf; false by default, in Keras 2 and 3.
        approximate: bool,
    },
    /// `x·σ(x)`, also called swish.
    Silu,
    /// `x·relu6(x + 3) / 6`, also called hard swish.
    HardSilu,
    /// `e^x`
    Exponential,
    /// `x·tanh(softplus(x))`
    Mish,
    /// `ln σ(x)`
    LogSigmoid,
    /// `(x + √(x² + b)) / 2`
    Squareplus {
        /// How smooth the bend is; 4 by default.
        b: f32,
    },
    /// `x − threshold` above the threshold, `x + threshold` below minus it, else 0.
    SoftShrink {
        /// 0.5 by default.
        threshold: f32,
    },
    /// `x` where |x| exceeds the threshold, else 0.
    HardShrink {
        /// 0.5 by default.
        threshold: f32,
    },
    /// `x − tanh(x)`
    TanhShrink,
    /// `x` above the threshold, else `default_value`. Keras gives it no defaults, so that it has
    /// no meaning by name alone.
    Threshold {
        /// The greatest value that is replaced.
        threshold: f32,
        /// What replaces it.
        default_value: f32,
    },
    /// 0 up to −1, `(x + 1)² / 4` up to 1, then `x`.
    SparsePlus,
    /// `clip((x + 1) / 2, 0, 1)`
    SparseSigmoid,
}

/// The two constants of the SELU paper, to `f32`.
const SELU_SCALE: f32 = 1.050_701;
const SELU_SCALE_ALPHA: f32 = 1.758_099_3;

impl Activation {
    /// Keras's plain `relu`.
    pub const RELU: Activation = Activation::Relu {
        negative_slope: 0.0,
        max_value: None,
        threshold: 0.0,
    };

    /// Keras's `relu6`.
    pub const RELU6: Activation = Activation::Relu {
        negative_slope: 0.0,
        max_value: Some(6.0),
        threshold: 0.0,
    };

    /// The `leaky_relu` function of Keras 2 and 3, of slope 0.2. (Their `LeakyReLU` layers have
    /// 0.3.)
    pub const LEAKY_RELU: Activation = Activation::Relu {
        negative_slope: 0.2,
        max_value: None,
        threshold: 0.0,
    };

    /// Every activation that has a name, with its default parameters, under Keras 3's names.
    const NAMED: [(&'static str, Activation); 28] = [
        ("linear", Activation::Linear),
        ("relu", Activation::RELU),
        ("relu6", Activation::RELU6),
        ("leaky_relu", Activation::LEAKY_RELU),
        ("sigmoid", Activation::Sigmoid),
        ("tanh", Activation::Tanh),
        ("hard_sigmoid", Activation::HardSigmoid),
        ("hard_tanh", Activation::HardTanh),
        ("softmax", Activation::Softmax),
        ("log_softmax", Activation::LogSoftmax),
        ("sparsemax", Activation::Sparsemax),
        ("softplus", Activation::Softplus),
        ("softsign", Activation::Softsign),
        ("elu", Activation::Elu { alpha: 1.0 }),
        ("selu", Activation::Selu),
        ("celu", Activation::Celu { alpha: 1.0 }),
        ("gelu", Activation::Gelu { approximate: false }),
        ("silu", Activation::Silu),
        ("hard_silu", Activation::HardSilu),
        ("exponential", Activation::Exponential),
        ("mish", Activation::Mish),
        ("log_sigmoid", Activation::LogSigmoid),
        ("squareplus", Activation::Squareplus { b: 4.0 }),
        ("soft_shrink", Activation::SoftShrink { threshold: 0.5 }),
        ("hard_shrink", Activation::HardShrink { threshold: 0.5 }),
        ("tanh_shrink", Activation::TanhShrink),
        ("sparse_plus", Activation::SparsePlus),
        ("sparse_sigmoid", Activation::SparseSigmoid),
    ];

    /// The activation that Keras 3 calls by this name, such as `"tanh"`, or by an alias of it
    /// (`swish`, `hard_swish`), with its default parameters.
    ///
    /// Keras 2's names are the same, but its `hard_sigmoid` is another function: see
    /// [`from_keras2_name`](Self::from_keras2_name). `None` for `glu` and `threshold`, which no
    /// gate can have by name.
    ///
    /// ```
    /// use ifco_cell::Activation;
    /// assert_eq!(Activation::from_name("tanh"), Some(Activation::Tanh));
    /// assert_eq!(Activation::from_name("Tanh"), None);
    /// ```
    pub fn from_name(name: &str) -> Option<Self> {
        let name = match name {
            "swish" => "silu",
            "hard_swish" => "hard_silu",
            name => name,
        };
        let (_, activation) = Self::NAMED.iter().find(|(named, _)| *named == name)?;
        Some(*activation)
    }

    /// The activation that Keras 1 and 2 call by this name: their own `hard_sigmoid`, and also
    /// the layer classes that Keras 2 takes for an activation (`"LeakyReLU"`, of slope 0.3).
    ///
    /// ```
    /// use ifco_cell::Activation;
    /// let hard_sigmoid = Activation::from_keras2_name("hard_sigmoid");
    /// assert_eq!(hard_sigmoid, Some(Activation::HardSigmoidKeras2));
    /// ```
    pub fn from_keras2_name(name: &str) -> Option<Self> {
        Some(match name {
            "hard_sigmoid" => Activation::HardSigmoidKeras2,
            "LeakyReLU" => Activation::Relu {
                negative_slope: 0.3,
                max_value: None,
                threshold: 0.0,
            },
            "ThresholdedReLU" => Activation::Relu {
                negative_slope: 0.0,
                max_value: None,
                threshold: 1.0,
            },
            "ReLU" => Activation::RELU,
            "ELU" => Activation::Elu { alpha: 1.0 },
            "Softmax" => Activation::Softmax,
            name => return Self::from_name(name),
        })
    }

    /// Keras's name for it, as in `activation="tanh"`. Parameters are not part of it.
    ///
    /// ```
    /// use ifco_cell::Activation;
    /// assert_eq!(Activation::HardSigmoidKeras2.name(), "hard_sigmoid");
    /// ```
    pub fn name(&self) -> &'static str {
        match *self {
            Activation::Linear => "linear",
            Activation::RELU6 => "relu6",
            Activation::Relu {
                negative_slope,
                max_value: None,
                threshold: 0.0,
            } if negative_slope != 0.0 => "leaky_relu",
            Activation::Relu { .. } => "relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::HardSigmoid | Activation::HardSigmoidKeras2 => "hard_sigmoid",
            Activation::HardTanh => "hard_tanh",
            Activation::Softmax => "softmax",
            Activation::LogSoftmax => "log_softmax",
            Activation::Sparsemax => "sparsemax",
            Activation::Softplus => "softplus",
            Activation::Softsign => "softsign",
            Activation::Elu { .. } => "elu",
            Activation::Selu => "selu",
            Activation::Celu { .. } => "celu",
            Activation::Gelu { .. } => "gelu",
            Activation::Silu => "silu",
            Activation::HardSilu => "hard_silu",
            Activation::Exponential => "exponential",
            Activation::Mish => "mish",
            Activation::LogSigmoid => "log_sigmoid",
            Activation::Squareplus { .. } => "squareplus",
            Activation::SoftShrink { .. } => "soft_shrink",
            Activation::HardShrink { .. } => "hard_shrink",
            Activation::TanhShrink => "tanh_shrink",
            Activation::Threshold { .. } => "threshold",
            Activation::SparsePlus => "sparse_plus",
            Activation::SparseSigmoid => "sparse_sigmoid",
        }
    }

    /// Whether each value is mapped alone. False for softmax, log_softmax and sparsemax, which
    /// need a row at a time.
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
