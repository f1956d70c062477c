//! A recurrent module in Keras's layout, whatever framework's file it came from.

use ifco_cell::{
    Activation, Cell, CellKind, GruCell, GruWeights, LstmCell, LstmWeights, SimpleRnnCell,
    SimpleRnnWeights,
};
use ndarray::{Array, ArrayD, Dimension};

/// The weights of one direction of one layer.
#[derive(Debug, Clone)]
pub(crate) enum Direction {
    Lstm(LstmWeights),
    Gru {
        weights: GruWeights,
        reset_after: bool,
    },
    SimpleRnn(SimpleRnnWeights),
}

/// One layer.
#[derive(Debug)]
pub(crate) struct RecurrentLayer {
    pub forward: Direction,
    pub backward: Option<Direction>,
}

/// A recurrent module with all its layers, of which there is at least one.
#[derive(Debug)]
pub(crate) struct Recurrent {
    pub kind: CellKind,
    /// `nn.LSTMCell` and the like, which a program steps by itself.
    pub is_cell: bool,
    /// Of an RNN whose framework has one function alone: its name in Keras.
    pub activation: Option<&'static str>,
    pub layers: Vec<RecurrentLayer>,
}

impl Direction {
    pub fn kind(&self) -> CellKind {
        match self {
            Self::Lstm(_) => CellKind::Lstm,
            Self::Gru { .. } => CellKind::Gru,
            Self::SimpleRnn(_) => CellKind::SimpleRnn,
        }
    }

    pub fn features(&self) -> usize {
        match self {
            Self::Lstm(weights) => weights.features(),
            Self::Gru { weights, .. } => weights.features(),
            Self::SimpleRnn(weights) => weights.features(),
        }
    }

    /// The size of the cell state.
    pub fn units(&self) -> usize {
        match self {
            Self::Lstm(weights) => weights.units(),
            Self::Gru { weights, .. } => weights.units(),
            Self::SimpleRnn(weights) => weights.units(),
        }
    }

    /// The size of the hidden state: that of an LSTM's projection, or the units.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Lstm(weights) => weights.outputs(),
            other => other.units(),
        }
    }

    pub fn has_bias(&self) -> bool {
        match self {
            Self::Lstm(weights) => weights.fused_bias().is_some(),
            Self::Gru { weights, .. } => weights.fused_bias().is_some(),
            Self::SimpleRnn(weights) => weights.bias().is_some(),
        }
    }

    pub fn is_projected(&self) -> bool {
        matches!(self, Self::Lstm(weights) if weights.projection().is_some())
    }

    pub fn has_peepholes(&self) -> bool {
        matches!(self, Self::Lstm(weights) if weights.peepholes().is_some())
    }

    /// The arrays that Keras's layer takes.
    pub fn arrays(&self) -> Vec<ArrayD<f32>> {
        fn list<D: Dimension>(
            kernel: Array<f32, ndarray::Ix2>,
            recurrent_kernel: Array<f32, ndarray::Ix2>,
            bias: Option<Array<f32, D>>,
        ) -> Vec<ArrayD<f32>> {
            let matrices = [kernel.into_dyn(), recurrent_kernel.into_dyn()];
            let bias = bias.map(Array::into_dyn);
            matrices.into_iter().chain(bias).collect()
        }
        match self.clone() {
            Self::Lstm(weights) => {
                let extras = [weights.projection(), weights.peepholes()];
                let extras = extras.map(|view| view.map(|view| view.to_owned().into_dyn()));
                let (kernel, recurrent_kernel, bias) = weights.into_parts();
                let mut arrays = list(kernel, recurrent_kernel, bias);
                arrays.extend(extras.into_iter().flatten());
                arrays
            }
            Self::Gru {
                weights,
                reset_after,
            } => {
                let (kernel, recurrent_kernel, bias) = weights.into_parts();
                match bias {
                    // Of the layer that has one bias, it is a vector.
                    Some(bias) if !reset_after => {
                        let bias = bias.row(0).to_owned();
                        list(kernel, recurrent_kernel, Some(bias))
                    }
                    bias => list(kernel, recurrent_kernel, bias),
                }
            }
            Self::SimpleRnn(weights) => {
                let (kernel, recurrent_kernel, bias) = weights.into_parts();
                list(kernel, recurrent_kernel, bias)
            }
        }
    }

    /// As a cell; of an RNN, with this function.
    pub fn cell(&self, activation: Activation) -> Option<Cell> {
        let (tanh, sigmoid) = (Activation::Tanh, Activation::Sigmoid);
        Some(match self.clone() {
            Self::Lstm(weights) => LstmCell::new(weights, tanh, sigmoid).into(),
            Self::Gru {
                weights,
                reset_after,
            } => GruCell::new(weights, tanh, sigmoid, reset_after)
                .ok()?
                .into(),
            Self::SimpleRnn(weights) => SimpleRnnCell::new(weights, activation).into(),
        })
    }
}

impl Recurrent {
    /// A module of one layer.
    pub fn of_one(forward: Direction, backward: Option<Direction>) -> Self {
        Self {
            kind: forward.kind(),
            is_cell: false,
            activation: None,
            layers: vec![RecurrentLayer { forward, backward }],
        }
    }

    /// The one direction that there is.
    pub fn into_forward(mut self) -> Option<Direction> {
        let only = self.layers.pop()?;
        (self.layers.is_empty() && only.backward.is_none()).then_some(only.forward)
    }

    /// What the layer with this number is called: as the module, if there is one alone.
    pub fn layer_name(&self, module: &str, number: usize) -> String {
        if self.layers.len() == 1 {
            module.to_owned()
        } else {
            format!("{module}/l{number}")
        }
    }

    pub fn is_bidirectional(&self) -> bool {
        self.layers.iter().any(|layer| layer.backward.is_some())
    }

    pub fn features(&self) -> usize {
        let first = self.layers.first();
        first.map_or(0, |layer| layer.forward.features())
    }

    /// Features of its output: both directions together.
    pub fn outputs(&self) -> usize {
        let last = self.layers.last();
        last.map_or(0, |layer| {
            layer.forward.outputs() * (1 + usize::from(layer.backward.is_some()))
        })
    }

    /// Every cell by its path below `module`, with the default activations.
    pub fn cells(&self, module: &str) -> Vec<(String, Cell)> {
        let activation = match self.activation {
            Some("relu") => Activation::RELU,
            _ => Activation::Tanh,
        };
        let mut cells = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            let path = self.layer_name(module, number);
            let backward = layer.backward.as_ref();
            let ways = [
                (
                    Some(&layer.forward),
                    if backward.is_some() { "/forward" } else { "" },
                ),
                (backward, "/backward"),
            ];
            for (direction, way) in ways {
                let cell = direction.and_then(|direction| direction.cell(activation));
                cells.extend(cell.map(|cell| (format!("{path}{way}"), cell)));
            }
        }
        cells
    }
}
