//! Random layers, and how far numbers are from those of the textbook.

use ifco_cell::{
    Activation, Cell, GruCell, GruWeights, LstmCell, LstmWeights, RecurrentLayer, SequenceOptions,
    SimpleRnnCell, SimpleRnnWeights,
};
use proptest::prelude::*;

use crate::numbers::Numbers;

/// Those without a jump, of the value or in which units have one: there `f32` and `f64` may land on
/// either side.
fn activation() -> impl Strategy<Value = Activation> {
    let relu = |negative_slope, max_value, threshold| Activation::Relu {
        negative_slope,
        max_value,
        threshold,
    };
    let jumps = |activation: &Activation| {
        matches!(
            activation,
            Activation::HardShrink { .. } | Activation::Sparsemax
        )
    };
    let named: Vec<_> = Activation::named()
        .filter(|activation| !jumps(activation))
        .chain([
            Activation::Affine {
                alpha: 0.7,
                beta: 0.2,
            },
            Activation::ScaledTanh {
                alpha: 1.5,
                beta: 0.6,
            },
            Activation::HardSigmoidOf {
                alpha: 0.3,
                beta: 0.4,
            },
            Activation::HardSigmoidKeras2,
            Activation::Gelu { approximate: true },
            Activation::Celu { alpha: 0.3 },
            Activation::Elu { alpha: 0.3 },
            relu(0.1, Some(0.2), 0.0),
            Activation::SoftShrink { threshold: 0.1 },
        ])
        .collect();
    prop_oneof![
        1 => Just(Activation::Tanh),
        1 => Just(Activation::Sigmoid),
        2 => proptest::sample::select(named),
    ]
}

/// A cell to be made.
#[derive(Debug, Clone)]
pub struct CellPlan {
    /// LSTM, GRU without and with `reset_after`, SimpleRNN.
    pub kind: usize,
    pub units: usize,
    pub bias: bool,
    pub activation: Activation,
    pub recurrent_activation: Activation,
}

impl CellPlan {
    pub fn build(&self, features: usize, numbers: &mut Numbers) -> Cell {
        let gates = [4, 3, 3, 1][self.kind];
        let (units, columns) = (self.units, gates * self.units);
        let kernel = numbers.matrix(features, columns, 1.2 / (1.0 + features as f32).sqrt());
        let recurrent = numbers.matrix(units, columns, 1.2 / (1.0 + units as f32).sqrt());
        let (phi, sigma) = (self.activation, self.recurrent_activation);
        match self.kind {
            0 => {
                let bias = self.bias.then(|| numbers.vector(columns));
                LstmCell::new(
                    LstmWeights::new(kernel, recurrent, bias).unwrap(),
                    phi,
                    sigma,
                )
                .into()
            }
            1 | 2 => {
                let after = self.kind == 2;
                let rows = if after { 2 } else { 1 };
                let bias = self.bias.then(|| numbers.matrix(rows, columns, 0.5));
                let weights = GruWeights::new(kernel, recurrent, bias).unwrap();
                GruCell::new(weights, phi, sigma, after).unwrap().into()
            }
            _ => {
                let bias = self.bias.then(|| numbers.vector(columns));
                let weights = SimpleRnnWeights::new(kernel, recurrent, bias).unwrap();
                SimpleRnnCell::new(weights, phi).into()
            }
        }
    }
}

fn cell_plan() -> impl Strategy<Value = CellPlan> {
    (
        0..4usize,
        1..12usize,
        any::<bool>(),
        activation(),
        activation(),
    )
        .prop_map(
            |(kind, units, bias, activation, recurrent_activation)| CellPlan {
                kind,
                units,
                bias,
                activation,
                recurrent_activation,
            },
        )
}

/// A layer and what it is run on.
#[derive(Debug, Clone)]
pub struct Plan {
    pub cells: Vec<CellPlan>,
    pub options: SequenceOptions,
    /// batch, time, features
    pub sizes: (usize, usize, usize),
    pub masked: bool,
    pub initial: bool,
    pub seed: u64,
}

impl Plan {
    pub fn layer(&self, numbers: &mut Numbers) -> RecurrentLayer {
        let (_, _, mut width) = self.sizes;
        let cells = self.cells.iter().map(|cell| {
            let built = cell.build(width, numbers);
            width = cell.units;
            built
        });
        RecurrentLayer::new(cells.collect(), self.options).unwrap()
    }
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let options = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(return_sequences, go_backwards, zero_output_for_mask)| SequenceOptions {
            return_sequences,
            go_backwards,
            zero_output_for_mask,
        },
    );
    // A few batches beyond one block of rows, and few rows more often than not.
    let batch = prop_oneof![4 => 0..8usize, 1 => 60..140usize];
    (
        proptest::collection::vec(cell_plan(), 1..4),
        options,
        (batch, 0..9usize, 0..20usize),
        any::<bool>(),
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(|(cells, options, sizes, masked, initial, seed)| Plan {
            cells,
            options,
            sizes,
            masked,
            initial,
            seed,
        })
}

pub fn wide<D: ndarray::Dimension>(array: &ndarray::Array<f32, D>) -> ndarray::Array<f64, D> {
    array.mapv(f64::from)
}

/// Greatest difference beside the size of the values; `None` when they are too great to say.
pub fn difference<D: ndarray::Dimension>(
    found: &ndarray::Array<f32, D>,
    right: &ndarray::Array<f64, D>,
) -> Option<f64> {
    assert_eq!(found.shape(), right.shape());
    let size = right.iter().fold(1.0, |size: f64, x| match x.is_finite() {
        true => size.max(x.abs()),
        false => f64::INFINITY,
    });
    (size < 20.0).then(|| {
        let worst = found
            .iter()
            .zip(right)
            .map(|(a, b)| (f64::from(*a) - b).abs());
        worst.fold(0.0, |worst: f64, x| match x.is_nan() {
            true => f64::INFINITY,
            false => worst.max(x),
        }) / size
    })
}
