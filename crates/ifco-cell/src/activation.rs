//! The activations, each in the formula of the framework that names it.

use std::fmt;

mod apply;
mod derivative;

/// Any activation that Keras 2 or 3 knows by name, and those of ONNX's recurrent operators, with its
/// parameters.
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
    /// ONNX's `Affine`, which Keras has not: `alpha·x + beta`
    Affine {
        /// The factor.
        alpha: f32,
        /// What is added.
        beta: f32,
    },
    /// ONNX's `ScaledTanh`, which Keras has not: `alpha·tanh(beta·x)`
    ScaledTanh {
        /// The greatest value.
        alpha: f32,
        /// The factor of what goes in.
        beta: f32,
    },
    /// ONNX's `HardSigmoid`, of which Keras has single ones: `clip(alpha·x + beta, 0, 1)`
    HardSigmoidOf {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
}

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

    /// All that have a name, with their default parameters.
    ///
    /// ```
    /// use ifco_cell::Activation;
    /// assert!(Activation::named().any(|activation| activation == Activation::Tanh));
    /// ```
    pub fn named() -> impl Iterator<Item = Self> {
        Self::NAMED.into_iter().map(|(_, activation)| activation)
    }

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

    /// Keras's name for it, as in `activation="tanh"`, or ONNX's in Keras's way. Parameters are not
    /// part of it.
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
            Activation::HardSigmoid
            | Activation::HardSigmoidKeras2
            | Activation::HardSigmoidOf { .. } => "hard_sigmoid",
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
            Activation::Affine { .. } => "affine",
            Activation::ScaledTanh { .. } => "scaled_tanh",
        }
    }

    /// Whether it is one of those that ONNX's recurrent operators have and no Keras.
    ///
    /// ```
    /// use ifco_cell::Activation;
    /// assert!(Activation::Affine { alpha: 2.0, beta: 0.0 }.is_beyond_keras());
    /// assert!(!Activation::Tanh.is_beyond_keras());
    /// ```
    pub fn is_beyond_keras(&self) -> bool {
        matches!(
            self,
            Activation::Affine { .. }
                | Activation::ScaledTanh { .. }
                | Activation::HardSigmoidOf { .. }
        )
    }
}

/// Its name, and the parameters that are not those which the name alone means.
///
/// ```
/// use ifco_cell::Activation;
/// assert_eq!(Activation::Tanh.to_string(), "tanh");
/// assert_eq!(Activation::Elu { alpha: 0.5 }.to_string(), "elu(alpha=0.5)");
/// let affine = Activation::Affine { alpha: 2.0, beta: 0.5 };
/// assert_eq!(affine.to_string(), "affine(alpha=2, beta=0.5)");
/// ```
impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        f.write_str(name)?;
        match *self {
            _ if Self::from_name(name) == Some(*self) => Ok(()),
            Activation::Relu {
                negative_slope,
                max_value: None,
                threshold: 0.0,
            } => write!(f, "(negative_slope={negative_slope})"),
            Activation::Relu {
                negative_slope: 0.0,
                max_value: None,
                threshold,
            }
            | Activation::Threshold {
                threshold,
                default_value: 0.0,
            } => write!(f, "(threshold={threshold})"),
            Activation::Elu { alpha } | Activation::Celu { alpha } => {
                write!(f, "(alpha={alpha})")
            }
            Activation::Affine { alpha, beta }
            | Activation::ScaledTanh { alpha, beta }
            | Activation::HardSigmoidOf { alpha, beta } => {
                write!(f, "(alpha={alpha}, beta={beta})")
            }
            _ => Ok(()),
        }
    }
}
