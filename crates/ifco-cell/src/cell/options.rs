//! What an LSTM may do otherwise than Keras's: the options of the one cell.

use crate::{Activation, GruCell, LstmCell, SimpleRnnCell};

/// What an LSTM does otherwise than Keras's, beside its arrays: by default nothing.
///
/// With all of them, and with all arrays that [`LstmWeights`](crate::LstmWeights) may have, a step
/// is (`reference::lstm_step` is the same in Rust):
///
/// ```text
/// z   = x·W + h·U + b                     with layer normalization: see `NormedSums`
/// z_f = z_f + forget_bias
/// i   = σ(clip(z_i + p_i∘c))
/// f   = σ(clip(z_f + p_f∘c))              1 − i with input_forget
/// c̃   = φ(clip(z_c))
/// c'  = f∘c + i∘c̃                         normalized with layer normalization
/// c'  = min(max(c', −cell_clip), cell_clip)
/// o   = σ(clip(z_o + p_o∘c'))
/// h'  = (o∘φ(c'))·W_p                     φ is output_activation, where there is one
/// h'  = min(max(h', −projection_clip), projection_clip)
/// ```
///
/// What the frameworks call them:
///
/// | here | ONNX `LSTM` | TensorFlow 1 | PyTorch |
/// |---|---|---|---|
/// | [`with_peepholes`](crate::LstmWeights::with_peepholes) | `P` (i o f) | `use_peepholes` | |
/// | [`projected`](crate::LstmWeights::projected) | | `num_proj` | `proj_size` |
/// | `input_forget` | `input_forget` | | |
/// | `clip` | `clip` | | |
/// | `cell_clip` | | `cell_clip` | |
/// | `projection_clip` | | `proj_clip` | |
/// | `forget_bias` | | `forget_bias` | |
/// | `output_activation` | the third of `activations` | | |
/// | [`with_layer_norm`](crate::LstmWeights::with_layer_norm) | | `LayerNormBasicLSTMCell`, Addons' `LayerNormLSTMCell` | |
///
/// ```
/// use ifco_cell::{Activation, LstmCell, LstmOptions, LstmWeights};
/// use ndarray::{Array2, Array3};
///
/// let weights = LstmWeights::new(Array2::zeros((1, 4)), Array2::zeros((1, 4)), None)?;
/// // BasicLSTMCell of TensorFlow 1
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid)
///     .with_options(LstmOptions { forget_bias: 1.0, ..LstmOptions::default() })?;
/// assert_eq!(cell.extras(), ["forget_bias"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LstmOptions {
    /// Couples the forget gate to the input gate: f is 1 − i, and what the arrays hold for it is
    /// not used.
    pub input_forget: bool,
    /// Keeps what the activations of all gates are applied to, peepholes included, between −clip
    /// and clip, as ONNX Runtime does.
    pub clip: Option<f32>,
    /// Keeps the new cell state between −cell_clip and cell_clip, before it is shown.
    pub cell_clip: Option<f32>,
    /// Keeps the projected hidden state between −projection_clip and projection_clip.
    pub projection_clip: Option<f32>,
    /// Is added to what goes into the forget gate, beside the bias.
    pub forget_bias: f32,
    /// What is applied to the cell state that is shown, where that is not the cell's `activation`.
    pub output_activation: Option<Activation>,
}

/// An option that has no meaning.
///
/// ```
/// use ifco_cell::{Activation, LstmCell, LstmOptions, LstmWeights};
/// use ndarray::Array2;
///
/// let weights = LstmWeights::new(Array2::zeros((1, 4)), Array2::zeros((1, 4)), None)?;
/// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
/// let options = LstmOptions { clip: Some(-1.0), ..LstmOptions::default() };
/// let error = cell.with_options(options).unwrap_err();
/// assert_eq!(error.to_string(), "clip is -1, expected a number above 0, or none to clip nothing");
/// # Ok::<(), ifco_cell::WeightsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{option} is {found}, expected {expected}")]
pub struct LstmOptionsError {
    /// The option's name: `clip`, `cell_clip`, `projection_clip` or `forget_bias`.
    pub option: &'static str,
    /// What it was given.
    pub found: f32,
    /// What would be right.
    pub expected: &'static str,
}

impl LstmCell {
    /// The same cell with options.
    ///
    /// # Errors
    /// When a clip is not a number above 0, the hidden state is to be clipped where no projection
    /// is, or the forget bias is not finite.
    ///
    /// See [`LstmOptions`] for an example.
    pub fn with_options(mut self, options: LstmOptions) -> Result<Self, LstmOptionsError> {
        let clips = [
            ("clip", options.clip),
            ("cell_clip", options.cell_clip),
            ("projection_clip", options.projection_clip),
        ];
        for (option, clip) in clips {
            checked(option, clip)?;
        }
        if let (Some(found), None) = (options.projection_clip, self.weights.projection()) {
            return Err(LstmOptionsError {
                option: "projection_clip",
                found,
                expected: "none, as there is no projection to clip",
            });
        }
        if !options.forget_bias.is_finite() {
            return Err(LstmOptionsError {
                option: "forget_bias",
                found: options.forget_bias,
                expected: "a finite number",
            });
        }
        self.options = options;
        Ok(self)
    }

    /// What it does otherwise than Keras's.
    pub fn options(&self) -> LstmOptions {
        self.options
    }

    /// Of the cell state that is shown: `activation`, unless `output_activation` is another.
    pub fn output_activation(&self) -> Activation {
        self.options.output_activation.unwrap_or(self.activation)
    }

    /// What makes it another cell than Keras's `LSTMCell`, by name; nothing for most. A format that
    /// has no place for one of them cannot hold the cell.
    ///
    /// ```
    /// use ifco_cell::{Activation, LstmCell, LstmWeights};
    /// use ndarray::Array2;
    ///
    /// let weights = LstmWeights::new(Array2::zeros((1, 4)), Array2::zeros((1, 4)), None)?
    ///     .with_peepholes(Array2::zeros((3, 1)))?;
    /// let cell = LstmCell::new(weights, Activation::Tanh, Activation::Sigmoid);
    /// assert_eq!(cell.extras(), ["peepholes"]);
    /// # Ok::<(), ifco_cell::WeightsError>(())
    /// ```
    pub fn extras(&self) -> Vec<&'static str> {
        let options = &self.options;
        let shown = options.output_activation;
        [
            ("peepholes", self.weights.peepholes().is_some()),
            ("projection", self.weights.projection().is_some()),
            ("layer_norm", self.weights.layer_norm().is_some()),
            ("input_forget", options.input_forget),
            ("clip", options.clip.is_some()),
            ("cell_clip", options.cell_clip.is_some()),
            ("projection_clip", options.projection_clip.is_some()),
            ("forget_bias", options.forget_bias != 0.0),
            (
                "output_activation",
                shown.is_some_and(|shown| shown != self.activation),
            ),
            ("activation", self.activation.is_beyond_keras()),
            (
                "recurrent_activation",
                self.recurrent_activation.is_beyond_keras(),
            ),
        ]
        .into_iter()
        .filter_map(|(name, is_there)| is_there.then_some(name))
        .collect()
    }

    /// Whether a step needs more than Keras's equations: anything but a forget bias, which may be
    /// added to the bias beforehand, and another function in the place of σ or φ.
    pub(crate) fn has_longer_step(&self) -> bool {
        let is_the_same = ["forget_bias", "activation", "recurrent_activation"];
        let extras = self.extras();
        extras.iter().any(|name| !is_the_same.contains(name))
    }

    /// The bias with the forget bias added, where it may be added so early.
    pub(crate) fn whole_bias(&self) -> Option<Vec<f32>> {
        let bias = self.weights.fused_bias().map(|bias| bias.to_vec());
        let forget_bias = self.options.forget_bias;
        if forget_bias == 0.0 || self.weights.layer_norm().is_some() {
            return bias;
        }
        let units = self.weights.units();
        let mut bias = bias.unwrap_or_else(|| vec![0.0; 4 * units]);
        for b in &mut bias[crate::Gate::Forget.columns(units)] {
            *b += forget_bias;
        }
        Some(bias)
    }
}

impl GruCell {
    /// The same cell, which keeps what its three activations are applied to between −clip and clip,
    /// as ONNX's `clip` does; `None` to clip nothing.
    ///
    /// # Errors
    /// When it is not a number above 0.
    ///
    /// ```
    /// use ifco_cell::{Activation, GruCell, GruWeights};
    /// use ndarray::Array2;
    ///
    /// let weights = GruWeights::new(Array2::zeros((3, 6)), Array2::zeros((2, 6)), None)?;
    /// let cell = GruCell::new(weights, Activation::Tanh, Activation::Sigmoid, true)?;
    /// assert_eq!(cell.with_clip(Some(2.0))?.clip(), Some(2.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_clip(mut self, clip: Option<f32>) -> Result<Self, LstmOptionsError> {
        self.clip = checked("clip", clip)?;
        Ok(self)
    }

    /// What it keeps the arguments of its activations within, if anything: nothing by default.
    pub fn clip(&self) -> Option<f32> {
        self.clip
    }
}

impl SimpleRnnCell {
    /// The same cell, which keeps what its activation is applied to between −clip and clip, as
    /// ONNX's `clip` does; `None` to clip nothing.
    ///
    /// # Errors
    /// When it is not a number above 0.
    ///
    /// See [`Cell::extras`](crate::Cell::extras) for an example.
    pub fn with_clip(mut self, clip: Option<f32>) -> Result<Self, LstmOptionsError> {
        self.clip = checked("clip", clip)?;
        Ok(self)
    }

    /// What it keeps the argument of its activation within, if anything: nothing by default.
    pub fn clip(&self) -> Option<f32> {
        self.clip
    }
}

/// A limit, which must be above 0.
fn checked(option: &'static str, clip: Option<f32>) -> Result<Option<f32>, LstmOptionsError> {
    match clip.filter(|clip| clip.is_nan() || *clip <= 0.0) {
        Some(found) => Err(LstmOptionsError {
            option,
            found,
            expected: "a number above 0, or none to clip nothing",
        }),
        None => Ok(clip),
    }
}

/// What a cell of one state has beyond Keras's.
pub(super) fn extras_of(
    clip: Option<f32>,
    activation: Activation,
    recurrent: Option<Activation>,
) -> Vec<&'static str> {
    let mut extras = Vec::new();
    extras.extend(clip.map(|_| "clip"));
    extras.extend(activation.is_beyond_keras().then_some("activation"));
    extras.extend(
        recurrent
            .filter(Activation::is_beyond_keras)
            .map(|_| "recurrent_activation"),
    );
    extras
}

/// Keeps values between −limit and limit, where there is a limit. A NaN stays one.
pub(crate) fn clip(values: &mut [f32], limit: Option<f32>) {
    if let Some(limit) = limit {
        for value in values {
            *value = value.clamp(-limit, limit);
        }
    }
}
