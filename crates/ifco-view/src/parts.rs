//! A cell's fused arrays, and which columns of them are whose.

use std::ops::Range;

use ifco_cell::{Cell, Gate, GruGate, LstmCell, Norm};
use ndarray::{Array2, Axis, CowArray, Ix2, s};

/// A gate's place in the fused arrays of its cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Keras's letter: `i f c o`, `z r h`; none for a SimpleRNN, which has no gates.
    pub letter: Option<char>,
    /// In words.
    pub name: &'static str,
    /// Its columns.
    pub columns: Range<usize>,
}

/// The gates of a cell in the order of their columns.
pub(crate) fn parts(cell: &Cell) -> Vec<Part> {
    let units = cell.units();
    let part = |letter, name, columns| Part {
        letter,
        name,
        columns,
    };
    match cell {
        Cell::Lstm(_) => Gate::ALL
            .into_iter()
            .map(|gate| part(Some(gate.letter()), gate.name(), gate.columns(units)))
            .collect(),
        Cell::Gru(_) => GruGate::ALL
            .into_iter()
            .map(|gate| part(Some(gate.letter()), gate.name(), gate.columns(units)))
            .collect(),
        _ => vec![part(None, "no gates", 0..units)],
    }
}

/// One of the fused arrays.
pub(crate) struct Fused<'a> {
    /// Keras's name.
    pub name: &'static str,
    /// The letter of the equations: W, U or b; p, γ and β of what Keras has not.
    pub letter: &'static str,
    /// As it lies in memory; a bias as one row, or as the two of a GRU with `reset_after=True`;
    /// peepholes as one row in the columns of the gates that they are of.
    pub values: CowArray<'a, f32, Ix2>,
    /// Whether its columns are those of the gates, and not its own.
    pub is_by_gate: bool,
    /// The gate that has none, by its place: the candidate has no peephole.
    pub without: Option<usize>,
    /// What a row is.
    pub rows: &'static str,
    /// Its shape in Keras, with the names of the sizes.
    pub shape: String,
    /// Whether Keras indexes it by row and column.
    pub has_rows: bool,
}

impl Fused<'_> {
    /// Columns in NumPy's notation: `kernel[:, 24:48]`, `bias[24:48]`.
    pub fn slice(&self, columns: &Range<usize>) -> String {
        let rows = if self.has_rows { ":, " } else { "" };
        format!("{}[{rows}{}:{}]", self.name, columns.start, columns.end)
    }
}

/// `kernel`, `recurrent_kernel` and, where there is one, `bias`; then what an LSTM has that Keras's
/// has not, the arrays by gate first.
pub(crate) fn fused(cell: &Cell) -> Vec<Fused<'_>> {
    let (kernel, recurrent_kernel, bias) = match cell {
        Cell::Lstm(cell) => {
            let weights = cell.weights();
            let bias = weights.fused_bias().map(|bias| bias.insert_axis(Axis(0)));
            (
                weights.fused_kernel(),
                weights.fused_recurrent_kernel(),
                bias,
            )
        }
        Cell::Gru(cell) => {
            let weights = cell.weights();
            (
                weights.fused_kernel(),
                weights.fused_recurrent_kernel(),
                weights.fused_bias(),
            )
        }
        Cell::SimpleRnn(cell) => {
            let weights = cell.weights();
            let bias = weights.bias().map(|bias| bias.insert_axis(Axis(0)));
            (weights.kernel(), weights.recurrent_kernel(), bias)
        }
        _ => return Vec::new(),
    };
    let columns = kernel.ncols();
    let mut arrays = vec![
        Fused {
            name: "kernel",
            letter: "W",
            values: kernel.into(),
            is_by_gate: true,
            without: None,
            rows: "feature",
            shape: format!("({}, {columns})", kernel.nrows()),
            has_rows: true,
        },
        Fused {
            name: "recurrent_kernel",
            letter: "U",
            shape: format!("({}, {columns})", recurrent_kernel.nrows()),
            values: recurrent_kernel.into(),
            is_by_gate: true,
            without: None,
            rows: if cell.outputs() == cell.units() {
                "unit"
            } else {
                "value"
            },
            has_rows: true,
        },
    ];
    if let Some(values) = bias {
        let has_rows = values.nrows() > 1;
        arrays.push(Fused {
            name: "bias",
            letter: "b",
            rows: "",
            shape: match has_rows {
                true => format!("({}, {columns})", values.nrows()),
                false => format!("({columns},)"),
            },
            values: values.into(),
            is_by_gate: true,
            without: None,
            has_rows,
        });
    }
    if let Cell::Lstm(cell) = cell {
        arrays.extend(beyond(cell));
    }
    arrays
}

/// What an LSTM has beside Keras's arrays.
fn beyond(cell: &LstmCell) -> Vec<Fused<'_>> {
    let (weights, units) = (cell.weights(), cell.weights().units());
    let mut arrays = Vec::new();
    if weights.peepholes().is_some() {
        let mut values = Array2::zeros((1, Gate::ALL.len() * units));
        for gate in Gate::ALL {
            if let Some(peephole) = weights.peephole(gate) {
                values
                    .slice_mut(s![0, gate.columns(units)])
                    .assign(&peephole);
            }
        }
        arrays.push(Fused {
            name: "peepholes",
            letter: "p",
            values: values.into(),
            is_by_gate: true,
            without: Some(Gate::Cell as usize),
            rows: "",
            shape: format!("(3, {units})"),
            has_rows: false,
        });
    }
    let norms = weights.layer_norm().into_iter().flat_map(|it| it.norms());
    let (by_gate, of_state): (Vec<_>, Vec<_>) = norms.partition(|(name, _)| *name != "state_norm");
    arrays.extend(
        by_gate
            .into_iter()
            .map(|(name, norm)| normalization(name, norm, true)),
    );
    if let Some(projection) = weights.projection() {
        arrays.push(Fused {
            name: "projection",
            letter: "W_p",
            shape: format!("({units}, {})", projection.ncols()),
            values: projection.into(),
            is_by_gate: false,
            without: None,
            rows: "unit",
            has_rows: true,
        });
    }
    arrays.extend(
        of_state
            .into_iter()
            .map(|(name, norm)| normalization(name, norm, false)),
    );
    arrays
}

/// γ and β of a layer normalization, a row each.
fn normalization<'a>(name: &'static str, norm: &Norm, is_by_gate: bool) -> Fused<'a> {
    let mut values = Array2::zeros((2, norm.gamma.len()));
    values.row_mut(0).assign(&norm.gamma);
    values.row_mut(1).assign(&norm.beta);
    Fused {
        name,
        letter: "γ, β",
        values: values.into(),
        is_by_gate,
        without: None,
        rows: "",
        shape: format!("γ and β, ({},) each", norm.gamma.len()),
        has_rows: true,
    }
}
