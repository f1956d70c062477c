//! What an LSTM has beyond Keras's, as a configuration tells it.
//!
//! Keras's own files never hold it. Who opens another framework's file and describes what it found
//! as a Keras layer puts it below the key `"ifco"` of the LSTM's configuration:
//!
//! | key | |
//! |---|---|
//! | `proj_size` | how many values the hidden state is projected to |
//! | `peepholes` | `true` |
//! | `layer_norm` | `"gates"` or `"products"`: see [`NormedSums`] |
//! | `epsilon` | of layer normalization |
//! | `input_forget`, `clip`, `cell_clip`, `projection_clip`, `forget_bias`, `output_activation` | as in [`LstmOptions`] |
//!
//! A GRU or a SimpleRNN may have `clip` there. Activations that ONNX has and Keras has not are
//! written `{"module": "ifco", "class_name": "Affine", "config": {"alpha": 2.0, "beta": 0.5}}`; also
//! `ScaledTanh` and `HardSigmoid`.
//!
//! Its arrays follow `kernel`, `recurrent_kernel` and `bias`: `projection`, `peepholes`, and a gamma
//! and a beta for each of `norm`, or `kernel_norm` and `recurrent_norm`, and `state_norm`.

use ifco_cell::{
    Activation, LayerNorm, LstmCell, LstmOptions, LstmWeights, Norm, NormedSums, WeightsError,
};
use ndarray::{Array1, Array2, ArrayD};

use super::cell_spec::{matrix, vector};
use crate::{Config, ConfigError, LayerError};

/// The key of an LSTM's configuration.
const KEY: &str = "ifco";

/// All that may stand below the key.
const KEYS: [&str; 10] = [
    "proj_size",
    "peepholes",
    "layer_norm",
    "epsilon",
    "input_forget",
    "clip",
    "cell_clip",
    "projection_clip",
    "forget_bias",
    "output_activation",
];

/// What stands below the key, if anything does: nothing but these.
fn below<'a>(config: &Config<'a>, keys: &[&str]) -> Result<Option<Config<'a>>, ConfigError> {
    let Some(own) = config.get(KEY) else {
        return Ok(None);
    };
    let mut found = own.as_object().into_iter().flat_map(|own| own.keys());
    if let Some(strange) = found.find(|key| !keys.contains(&key.as_str())) {
        let known = format!("nothing but {}, not {strange:?}", keys.join(", "));
        return Err(config.invalid(KEY, &known));
    }
    Config::new(config.layer, config.generation, own).map(Some)
}

/// The `clip` of a GRU or a SimpleRNN, which have nothing else.
pub(super) fn only_clip(config: &Config<'_>) -> Result<Option<f32>, ConfigError> {
    let own = below(config, &["clip"])?;
    own.map_or(Ok(None), |own| own.optional_f32("clip"))
}

/// The arrays of an LSTM beyond Keras's, in the order of [`LstmExtras::names`].
pub(super) fn arrays(weights: &LstmWeights) -> Vec<ArrayD<f32>> {
    let matrices = [weights.projection(), weights.peepholes()];
    let mut arrays: Vec<_> = matrices
        .into_iter()
        .flatten()
        .map(|matrix| matrix.to_owned().into_dyn())
        .collect();
    for (_, norm) in weights.layer_norm().into_iter().flat_map(LayerNorm::norms) {
        arrays.extend([&norm.gamma, &norm.beta].map(|array| array.clone().into_dyn()));
    }
    arrays
}

/// What an LSTM has beyond Keras's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct LstmExtras {
    proj_size: Option<usize>,
    has_peepholes: bool,
    layer_norm: Option<(NormKind, f32)>,
    options: LstmOptions,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum NormKind {
    Gates,
    Products,
}

impl LstmExtras {
    pub fn from_config(config: &Config<'_>) -> Result<Self, ConfigError> {
        let Some(own) = below(config, &KEYS)? else {
            return Ok(Self::default());
        };
        let proj_size = own.get("proj_size").map(|_| own.usize("proj_size"));
        let proj_size = proj_size.transpose()?;
        if proj_size == Some(0) {
            return Err(own.invalid("proj_size", "at least 1"));
        }
        let kind = match own.optional_str("layer_norm")? {
            None => None,
            Some("gates") => Some(NormKind::Gates),
            Some("products") => Some(NormKind::Products),
            Some(_) => return Err(own.invalid("layer_norm", "\"gates\" or \"products\"")),
        };
        let layer_norm = match kind {
            None => None,
            Some(kind) => Some((kind, own.f32_or("epsilon", 1e-3)?)),
        };
        let output_activation = own.get("output_activation").map(|_| {
            // The default is never taken.
            own.activation_or("output_activation", Activation::Tanh)
        });
        Ok(Self {
            proj_size,
            has_peepholes: own.bool_or("peepholes", false)?,
            layer_norm,
            options: LstmOptions {
                input_forget: own.bool_or("input_forget", false)?,
                clip: own.optional_f32("clip")?,
                cell_clip: own.optional_f32("cell_clip")?,
                projection_clip: own.optional_f32("projection_clip")?,
                forget_bias: own.f32_or("forget_bias", 0.0)?,
                output_activation: output_activation.transpose()?,
            },
        })
    }

    /// Those of a cell.
    pub fn of(cell: &LstmCell) -> Self {
        let weights = cell.weights();
        let layer_norm = weights.layer_norm().map(|norm| match norm.sums {
            NormedSums::Products { .. } => (NormKind::Products, norm.epsilon),
            _ => (NormKind::Gates, norm.epsilon),
        });
        Self {
            proj_size: weights.projection().map(|_| weights.outputs()),
            has_peepholes: weights.peepholes().is_some(),
            layer_norm,
            options: cell.options(),
        }
    }

    /// How many values h has, of so many units.
    pub fn outputs(&self, units: usize) -> usize {
        self.proj_size.unwrap_or(units)
    }

    /// The names of its arrays.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        names.extend(self.proj_size.map(|_| "projection"));
        names.extend(self.has_peepholes.then_some("peepholes"));
        let sums: &[&str] = match self.layer_norm {
            None => return names,
            Some((NormKind::Gates, _)) => &["norm/gamma", "norm/beta"],
            Some((NormKind::Products, _)) => &[
                "kernel_norm/gamma",
                "kernel_norm/beta",
                "recurrent_norm/gamma",
                "recurrent_norm/beta",
            ],
        };
        names.extend(sums);
        names.extend(["state_norm/gamma", "state_norm/beta"]);
        names
    }

    /// The weights with those that come beyond Keras's, which `next` gives in their order.
    pub fn weights(
        &self,
        kernel: Array2<f32>,
        recurrent_kernel: Array2<f32>,
        bias: Option<Array1<f32>>,
        next: &mut impl FnMut() -> Result<ArrayD<f32>, LayerError>,
    ) -> Result<LstmWeights, LayerError> {
        let mut weights = match self.proj_size {
            None => LstmWeights::new(kernel, recurrent_kernel, bias)?,
            Some(outputs) => {
                let projection = matrix("projection", next()?)?;
                if projection.ncols() != outputs {
                    return Err(LayerError::from(WeightsError {
                        array: "projection",
                        found: projection.shape().to_vec(),
                        expected: format!("(units, {outputs}) with proj_size={outputs}"),
                    }));
                }
                LstmWeights::projected(kernel, recurrent_kernel, bias, projection)?
            }
        };
        if self.has_peepholes {
            weights = weights.with_peepholes(matrix("peepholes", next()?)?)?;
        }
        let Some((kind, epsilon)) = self.layer_norm else {
            return Ok(weights);
        };
        let mut norm = || -> Result<Norm, LayerError> {
            Ok(Norm {
                gamma: vector("gamma", next()?)?,
                beta: vector("beta", next()?)?,
            })
        };
        let sums = match kind {
            NormKind::Gates => NormedSums::Gates(norm()?),
            NormKind::Products => NormedSums::Products {
                kernel: norm()?,
                recurrent: norm()?,
            },
        };
        let state = norm()?;
        Ok(weights.with_layer_norm(LayerNorm {
            sums,
            state,
            epsilon,
        })?)
    }

    /// The cell with its options.
    pub fn cell(
        &self,
        weights: LstmWeights,
        activation: Activation,
        recurrent_activation: Activation,
    ) -> Result<LstmCell, LayerError> {
        LstmCell::new(weights, activation, recurrent_activation)
            .with_options(self.options)
            .map_err(|error| LayerError::Other(error.to_string()))
    }
}
