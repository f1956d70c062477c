//! A recurrent cell as its configuration describes it, before it has weights.

use ifco_cell::{
    Activation, Cell, GruCell, GruWeights, LstmOptionsError, SimpleRnnCell, SimpleRnnWeights,
};
use ndarray::{Array1, Array2, Array3, ArrayD, Axis, Ix1, Ix2};

use super::lstm_extras::{self, LstmExtras};
use super::recurrent::nested;
use crate::group_names::GroupNames;
use crate::{Config, ConfigError, Generation, LayerError, Random, WeightSlot};

/// A cell as its configuration describes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CellSpec {
    kind: CellKind,
    pub units: usize,
    activation: Activation,
    use_bias: bool,
    /// Which part of what it reads is dropped in training, and of its hidden state.
    dropout: f32,
    recurrent_dropout: f32,
    /// Whether each gate has a dropout mask of its own.
    mask_per_gate: bool,
    /// Below the layer's own group in a Keras 3 file.
    group: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum CellKind {
    Lstm {
        recurrent_activation: Activation,
        extras: LstmExtras,
    },
    Gru {
        recurrent_activation: Activation,
        reset_after: bool,
        clip: Option<f32>,
    },
    SimpleRnn {
        clip: Option<f32>,
    },
}

impl CellSpec {
    /// From the configuration of a layer or of a cell; `None` for a class that is neither.
    pub fn from_config(
        class: &str,
        config: &Config<'_>,
        group: String,
    ) -> Result<Option<Self>, ConfigError> {
        // Keras always writes it; before 2.3 the default was the hard one.
        let sigmoid = match config.generation {
            Generation::Keras3 => Activation::Sigmoid,
            _ => Activation::HardSigmoidKeras2,
        };
        let recurrent_activation = || config.activation_or("recurrent_activation", sigmoid);
        let kind = match class.strip_suffix("Cell").unwrap_or(class) {
            "LSTM" => CellKind::Lstm {
                recurrent_activation: recurrent_activation()?,
                extras: LstmExtras::from_config(config)?,
            },
            "GRU" => CellKind::Gru {
                recurrent_activation: recurrent_activation()?,
                // Absent in files older than the option.
                reset_after: config
                    .bool_or("reset_after", config.generation == Generation::Keras3)?,
                clip: lstm_extras::only_clip(config)?,
            },
            "SimpleRNN" => CellKind::SimpleRnn {
                clip: lstm_extras::only_clip(config)?,
            },
            _ => return Ok(None),
        };
        let units = config.usize("units")?;
        if units == 0 {
            return Err(config.invalid("units", "at least 1"));
        }
        // Keras takes what lies outside for the nearest rate.
        let rate = |key| Ok::<_, ConfigError>(config.f32_or(key, 0.0)?.clamp(0.0, 1.0));
        let recurrent_dropout = rate("recurrent_dropout")?;
        let gates_apart = recurrent_dropout > 0.0 || config.usize_or("implementation", 2)? == 1;
        Ok(Some(Self {
            dropout: rate("dropout")?,
            recurrent_dropout,
            mask_per_gate: gates_apart && !matches!(kind, CellKind::SimpleRnn { .. }),
            kind,
            units,
            activation: config.activation_or("activation", Activation::Tanh)?,
            use_bias: config.bool_or("use_bias", true)?,
            group,
        }))
    }

    /// What describes this cell; `None` of a kind that no configuration has.
    pub fn of(cell: &Cell, group: String) -> Option<Self> {
        let (kind, use_bias, activation) = match cell {
            Cell::Lstm(cell) => (
                CellKind::Lstm {
                    recurrent_activation: cell.recurrent_activation(),
                    extras: LstmExtras::of(cell),
                },
                cell.weights().fused_bias().is_some(),
                cell.activation(),
            ),
            Cell::Gru(cell) => (
                CellKind::Gru {
                    recurrent_activation: cell.recurrent_activation(),
                    reset_after: cell.reset_after(),
                    clip: cell.clip(),
                },
                cell.weights().fused_bias().is_some(),
                cell.activation(),
            ),
            Cell::SimpleRnn(cell) => (
                CellKind::SimpleRnn { clip: cell.clip() },
                cell.weights().bias().is_some(),
                cell.activation(),
            ),
            _ => return None,
        };
        Some(Self {
            kind,
            units: cell.units(),
            activation,
            use_bias,
            dropout: 0.0,
            recurrent_dropout: 0.0,
            mask_per_gate: false,
            group,
        })
    }

    pub fn weight_slots(&self) -> Vec<WeightSlot> {
        let mut names = vec!["kernel", "recurrent_kernel"];
        names.extend(self.use_bias.then_some("bias"));
        if let CellKind::Lstm { extras, .. } = self.kind {
            names.extend(extras.names());
        }
        WeightSlot::list(&self.group, &names)
    }

    /// How many values its hidden state has.
    pub fn outputs(&self) -> usize {
        match self.kind {
            CellKind::Lstm { extras, .. } => extras.outputs(self.units),
            _ => self.units,
        }
    }

    /// How many values each of its states has.
    pub fn state_sizes(&self) -> impl Iterator<Item = usize> + use<> {
        [self.outputs(), self.units].into_iter().take(self.states())
    }

    /// Draws the dropout masks for what so many sequences of so many features read, and for their
    /// hidden states: `(1 or gates, batch, features or outputs)`.
    pub fn draw_dropout(
        &self,
        batch: usize,
        features: usize,
        random: &mut Random,
    ) -> [Option<Array3<f32>>; 2] {
        let gates = match (self.mask_per_gate, self.kind) {
            (false, _) | (_, CellKind::SimpleRnn { .. }) => 1,
            (true, CellKind::Gru { .. }) => 3,
            (true, CellKind::Lstm { .. }) => 4,
        };
        [
            (self.dropout, features),
            (self.recurrent_dropout, self.outputs()),
        ]
        .map(|(rate, size)| {
            let mut kept = random.kept(rate);
            let draw = |_| kept.next().unwrap_or_default();
            (rate > 0.0).then(|| Array3::from_shape_fn((gates, batch, size), draw))
        })
    }

    /// The cell with these weights: `kernel`, `recurrent_kernel` and perhaps `bias`, then those that
    /// Keras's LSTM has not.
    pub fn cell(
        &self,
        weights: &mut impl Iterator<Item = ArrayD<f32>>,
    ) -> Result<Cell, LayerError> {
        let mut next = || weights.next().ok_or(LayerError::NoWeights);
        let wrong = |error: LstmOptionsError| LayerError::Other(error.to_string());
        let kernel = matrix("kernel", next()?)?;
        let recurrent = matrix("recurrent_kernel", next()?)?;
        let bias = if self.use_bias { Some(next()?) } else { None };
        if recurrent.nrows() != self.outputs() {
            let expected = format!("({}, ..) for {} units", self.outputs(), self.units);
            return Err(weight_error(
                "recurrent_kernel",
                recurrent.shape(),
                &expected,
            ));
        }
        Ok(match self.kind {
            CellKind::Lstm {
                recurrent_activation,
                extras,
            } => {
                let bias = bias.map(|bias| vector("bias", bias)).transpose()?;
                let weights = extras.weights(kernel, recurrent, bias, &mut next)?;
                if weights.units() != self.units {
                    let found = weights.fused_kernel().shape().to_vec();
                    let expected = format!(
                        "(.., {}) for {} units",
                        self.units.saturating_mul(4),
                        self.units
                    );
                    return Err(weight_error("kernel", &found, &expected));
                }
                Cell::Lstm(extras.cell(weights, self.activation, recurrent_activation)?)
            }
            CellKind::Gru {
                recurrent_activation,
                reset_after,
                clip,
            } => {
                let bias = bias.map(gru_bias).transpose()?;
                let weights = GruWeights::new(kernel, recurrent, bias)?;
                let cell =
                    GruCell::new(weights, self.activation, recurrent_activation, reset_after)?;
                Cell::Gru(cell.with_clip(clip).map_err(wrong)?)
            }
            CellKind::SimpleRnn { clip } => {
                let bias = bias.map(|bias| vector("bias", bias)).transpose()?;
                let weights = SimpleRnnWeights::new(kernel, recurrent, bias)?;
                let cell = SimpleRnnCell::new(weights, self.activation);
                Cell::SimpleRnn(cell.with_clip(clip).map_err(wrong)?)
            }
        })
    }

    pub fn states(&self) -> usize {
        match self.kind {
            CellKind::Lstm { .. } => 2,
            CellKind::Gru { .. } | CellKind::SimpleRnn { .. } => 1,
        }
    }
}

/// What [`CellSpec::cell`] took: `kernel`, `recurrent_kernel` and perhaps `bias`, and what an LSTM
/// has beyond Keras's.
pub(crate) fn cell_weights(cell: &Cell) -> Option<Vec<ArrayD<f32>>> {
    let (kernel, recurrent_kernel, bias) = match cell {
        Cell::Lstm(cell) => {
            let weights = cell.weights();
            let bias = weights.fused_bias().map(|bias| bias.to_owned().into_dyn());
            (
                weights.fused_kernel(),
                weights.fused_recurrent_kernel(),
                bias,
            )
        }
        Cell::Gru(cell) => {
            let weights = cell.weights();
            let bias = weights.fused_bias().map(|bias| match cell.reset_after() {
                true => bias.to_owned().into_dyn(),
                false => bias.row(0).to_owned().into_dyn(),
            });
            (
                weights.fused_kernel(),
                weights.fused_recurrent_kernel(),
                bias,
            )
        }
        Cell::SimpleRnn(cell) => {
            let weights = cell.weights();
            let bias = weights.bias().map(|bias| bias.to_owned().into_dyn());
            (weights.kernel(), weights.recurrent_kernel(), bias)
        }
        _ => return None, // no kind that a CellSpec makes
    };
    let matrices = [kernel, recurrent_kernel].map(|matrix| matrix.to_owned().into_dyn());
    let further = match cell {
        Cell::Lstm(cell) => lstm_extras::arrays(cell.weights()),
        _ => Vec::new(),
    };
    Some(matrices.into_iter().chain(bias).chain(further).collect())
}

/// Keras keeps a GRU's bias as `(3·units)`, or with `reset_after` as `(2, 3·units)`.
fn gru_bias(bias: ArrayD<f32>) -> Result<Array2<f32>, LayerError> {
    match bias.ndim() {
        1 => Ok(vector("bias", bias)?.insert_axis(Axis(0))),
        _ => matrix("bias", bias),
    }
}

pub(super) fn matrix(name: &str, array: ArrayD<f32>) -> Result<Array2<f32>, LayerError> {
    let shape = array.shape().to_vec();
    array
        .into_dimensionality::<Ix2>()
        .map_err(|_| weight_error(name, &shape, "two axes"))
}

pub(super) fn vector(name: &str, array: ArrayD<f32>) -> Result<Array1<f32>, LayerError> {
    let shape = array.shape().to_vec();
    array
        .into_dimensionality::<Ix1>()
        .map_err(|_| weight_error(name, &shape, "one axis"))
}

fn weight_error(array: &str, found: &[usize], expected: &str) -> LayerError {
    LayerError::Weight {
        name: array.into(),
        found: found.to_vec(),
        expected: expected.into(),
    }
}

/// The cells of Keras's `RNN(cell)`; `None` when one is of a class that ifco does not know.
pub(super) fn rnn_cells(config: &Config<'_>) -> Result<Option<Vec<CellSpec>>, ConfigError> {
    let cell = config.require("cell")?;
    let (class, inner) = nested(config, "cell", cell)?;
    if class != "StackedRNNCells" {
        let spec = CellSpec::from_config(class, &inner, "cell".into())?;
        return Ok(spec.map(|spec| vec![spec]));
    }
    let list = inner
        .require("cells")?
        .as_array()
        .filter(|cells| !cells.is_empty());
    let list = list.ok_or_else(|| inner.invalid("cells", "a list of at least one cell"))?;
    let mut names = GroupNames::default();
    let mut cells = Vec::new();
    for cell in list {
        let (class, config) = nested(&inner, "cells", cell)?;
        let group = format!("cell/cells/{}", names.next(class));
        match CellSpec::from_config(class, &config, group)? {
            Some(spec) => cells.push(spec),
            None => return Ok(None),
        }
    }
    Ok(Some(cells))
}
