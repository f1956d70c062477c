//! What can be said of a recurrent cell by looking at its weights: figures for each gate, and
//! what is odd in words.

mod odd;
mod spectral;

use std::ops::Range;

use ifco::{Cell, Gate, GruGate};
use ndarray::{ArrayView1, ArrayView2, ArrayViewD, Axis};

pub use odd::{Odd, odd};
pub use spectral::{Radius, spectral_radius};

/// Weights below this size count as near zero: far below what training leaves of an
/// initialization (Keras's start at about 0.1), so many of them mean pruning, strong
/// regularization or a part that learned nothing.
pub const NEAR_ZERO: f32 = 1e-3;

/// What a gate's peephole is called among its arrays.
pub const PEEPHOLE: &str = "peephole";

/// One gate's share of a cell's weights.
pub struct GateView<'a> {
    /// Keras's letter: `i f c o`, `z r h`; none for a SimpleRNN, which has no gates.
    pub letter: Option<char>,
    /// In words.
    pub name: &'static str,
    /// Its columns in the fused arrays.
    pub columns: Range<usize>,
    /// W, `(features, units)`.
    pub kernel: ArrayView2<'a, f32>,
    /// U, `(units, units)`; `(outputs, units)` of a projected LSTM.
    pub recurrent_kernel: ArrayView2<'a, f32>,
    /// b, `(units)`; `(2, units)` for a GRU with `reset_after=True`.
    pub bias: Option<ArrayViewD<'a, f32>>,
    /// p, `(units)`, of an LSTM with peepholes; the candidate has none.
    pub peephole: Option<ArrayView1<'a, f32>>,
    /// W_p, `(units, outputs)`, of a projected LSTM: what stands between h and U, for all gates.
    pub projection: Option<ArrayView2<'a, f32>>,
}

impl GateView<'_> {
    /// `kernel_f`; plain `kernel` without a letter.
    pub fn array_name(&self, array: &str) -> String {
        match self.letter {
            Some(letter) => format!("{array}_{letter}"),
            None => array.into(),
        }
    }

    /// Where this gate stands in a fused array, in NumPy's notation: `kernel[:, 32:64]`.
    pub fn slice(&self, array: &str) -> String {
        if array == PEEPHOLE {
            let row = match self.letter {
                Some('i') => 0,
                Some('f') => 1,
                _ => 2,
            };
            return format!("peepholes[{row}]");
        }
        let Range { start, end } = self.columns;
        let all_rows = array != "bias" || self.bias.as_ref().is_some_and(|bias| bias.ndim() == 2);
        let rows = if all_rows { ":, " } else { "" };
        format!("{array}[{rows}{start}:{end}]")
    }

    /// The gate's arrays by the names of their fused ones, in Keras's order.
    pub fn arrays(&self) -> Vec<(&'static str, ArrayViewD<'_, f32>)> {
        let mut arrays = vec![
            ("kernel", self.kernel.into_dyn()),
            ("recurrent_kernel", self.recurrent_kernel.into_dyn()),
        ];
        if let Some(bias) = &self.bias {
            arrays.push(("bias", bias.view()));
        }
        if let Some(peephole) = self.peephole {
            arrays.push((PEEPHOLE, peephole.into_dyn()));
        }
        arrays
    }
}

/// The gates of a cell in Keras's order.
pub fn gates(cell: &Cell) -> Vec<GateView<'_>> {
    let units = cell.units();
    match cell {
        Cell::Lstm(cell) => Gate::ALL
            .into_iter()
            .map(|gate| GateView {
                letter: Some(gate.letter()),
                name: gate.name(),
                columns: gate.columns(units),
                kernel: cell.weights().kernel(gate),
                recurrent_kernel: cell.weights().recurrent_kernel(gate),
                bias: cell.weights().bias(gate).map(|bias| bias.into_dyn()),
                peephole: cell.weights().peephole(gate),
                projection: cell.weights().projection(),
            })
            .collect(),
        Cell::Gru(cell) => GruGate::ALL
            .into_iter()
            .map(|gate| GateView {
                letter: Some(gate.letter()),
                name: gate.name(),
                columns: gate.columns(units),
                kernel: cell.weights().kernel(gate),
                recurrent_kernel: cell.weights().recurrent_kernel(gate),
                // One row is Keras's (3·units) of reset_after=False.
                bias: cell.weights().bias(gate).map(|bias| match bias.nrows() {
                    1 => bias.index_axis_move(ndarray::Axis(0), 0).into_dyn(),
                    _ => bias.into_dyn(),
                }),
                peephole: None,
                projection: None,
            })
            .collect(),
        Cell::SimpleRnn(cell) => vec![GateView {
            letter: None,
            name: "the only one",
            columns: 0..units,
            kernel: cell.weights().kernel(),
            recurrent_kernel: cell.weights().recurrent_kernel(),
            bias: cell.weights().bias().map(|bias| bias.into_dyn()),
            peephole: None,
            projection: None,
        }],
        _ => Vec::new(),
    }
}

/// What a cell has beside its gates, by name: an LSTM's `projection` W_p, and the gamma and beta of
/// each of its layer normalizations.
pub fn besides(cell: &Cell) -> Vec<(String, ArrayViewD<'_, f32>)> {
    let Cell::Lstm(cell) = cell else {
        return Vec::new();
    };
    let weights = cell.weights();
    let projection = weights.projection().map(|array| array.into_dyn());
    let mut arrays: Vec<_> = projection
        .map(|array| ("projection".to_string(), array))
        .into_iter()
        .collect();
    for (name, norm) in weights.layer_norm().into_iter().flat_map(|it| it.norms()) {
        arrays.push((format!("{name}_gamma"), norm.gamma.view().into_dyn()));
        arrays.push((format!("{name}_beta"), norm.beta.view().into_dyn()));
    }
    arrays
}

/// Keras's class name of a cell's layer.
pub fn class(cell: &Cell) -> &'static str {
    match cell {
        Cell::Lstm(_) => "LSTM",
        Cell::Gru(_) => "GRU",
        Cell::SimpleRnn(_) => "SimpleRNN",
        _ => "a cell that this version does not know",
    }
}

/// How many numbers a cell's weights hold.
pub fn parameters(cell: &Cell) -> usize {
    let besides: usize = besides(cell).iter().map(|(_, array)| array.len()).sum();
    let of_gates: usize = gates(cell)
        .iter()
        .flat_map(|gate| {
            gate.arrays()
                .into_iter()
                .map(|(_, array)| array.len())
                .collect::<Vec<_>>()
        })
        .sum();
    of_gates + besides
}

/// One gate in figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Frobenius norm of W: the root of the sum of squares.
    pub kernel_norm: f64,
    /// Frobenius norm of U.
    pub recurrent_kernel_norm: f64,
    /// Mean of b; of the sum of both rows for a GRU with `reset_after=True`.
    pub bias_mean: Option<f64>,
    /// Frobenius norm of the peephole.
    pub peephole_norm: Option<f64>,
    /// Largest modulus of U's eigenvalues, of a projected LSTM of those of U·W_p; `None` when U
    /// holds what is not finite.
    pub spectral_radius: Option<Radius>,
    /// Share of the weights in W and U below [`NEAR_ZERO`].
    pub near_zero: f64,
}

/// Looks at one gate.
pub fn figures(gate: &GateView<'_>) -> Figures {
    let weights = || gate.kernel.iter().chain(gate.recurrent_kernel.iter());
    let small = weights().filter(|weight| weight.abs() < NEAR_ZERO).count();
    Figures {
        kernel_norm: norm(gate.kernel),
        recurrent_kernel_norm: norm(gate.recurrent_kernel),
        bias_mean: gate.bias.as_ref().map(|bias| {
            let sum: f64 = bias.iter().map(|&b| f64::from(b)).sum();
            sum / gate.columns.len().max(1) as f64
        }),
        peephole_norm: gate
            .peephole
            .map(|peephole| norm(peephole.insert_axis(Axis(0)))),
        spectral_radius: match gate.projection {
            Some(projection) => spectral_radius(gate.recurrent_kernel.dot(&projection).view()),
            None => spectral_radius(gate.recurrent_kernel),
        },
        near_zero: small as f64 / weights().count().max(1) as f64,
    }
}

fn norm(array: ArrayView2<'_, f32>) -> f64 {
    let squares: f64 = array.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    squares.sqrt()
}
