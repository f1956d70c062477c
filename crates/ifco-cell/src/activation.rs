//! The activations, each in the formula of the framework that names it.

/// Any activation that Keras accepts, with its parameters.
///
/// [`Activation::apply`] works on the last axis, as Keras does: most are elementwise, but
/// `softmax`, `log_softmax` and `sparsemax` look at a whole row.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `x`
    Linear,
    /// Keras's `ReLU` layer and `relu` function: `x` from `threshold` up to `max_value`,
    /// `negative_slope·(x − threshold)` below it.
    Relu {
        /// Slope below the threshold.
        negative_slope: f32,
        /// Upper bound, if any.
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
    /// `e^x / Σ e^x` over the last axis.
    Softmax,
}

impl Activation {
    /// Keras's plain `relu`.
    pub const RELU: Activation = Activation::Relu {
        negative_slope: 0.0,
        max_value: None,
        threshold: 0.0,
    };

    /// Applies it in place to one row: the values along the last axis.
    pub fn apply(&self, _row: &mut [f32]) {
        todo!()
    }

    /// The activation that Keras 3 calls by this name, such as `"tanh"`; Keras 2's names and
    /// aliases (`swish`, `log_softmax`) too. `hard_sigmoid` is Keras 3's.
    pub fn from_name(_name: &str) -> Option<Self> {
        todo!()
    }

    /// Keras's name for it, as in `activation="tanh"`.
    pub fn name(&self) -> &'static str {
        todo!()
    }
}
