//! A cell's fused arrays, and which columns of them are whose.

use std::ops::Range;

use ifco_cell::{Cell, Gate, GruGate};
use ndarray::{ArrayView2, Axis};

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
    /// The letter of the equations: W, U or b.
    pub letter: char,
    /// As it lies in memory; a bias as one row, or as the two of a GRU with `reset_after=True`.
    pub values: ArrayView2<'a, f32>,
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

/// `kernel`, `recurrent_kernel` and, where there is one, `bias`.
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
            letter: 'W',
            values: kernel,
            rows: "feature",
            shape: format!("({}, {columns})", kernel.nrows()),
            has_rows: true,
        },
        Fused {
            name: "recurrent_kernel",
            letter: 'U',
            values: recurrent_kernel,
            rows: "unit",
            shape: format!("({}, {columns})", recurrent_kernel.nrows()),
            has_rows: true,
        },
    ];
    if let Some(values) = bias {
        let has_rows = values.nrows() > 1;
        arrays.push(Fused {
            name: "bias",
            letter: 'b',
            values,
            rows: "",
            shape: match has_rows {
                true => format!("({}, {columns})", values.nrows()),
                false => format!("({columns},)"),
            },
            has_rows,
        });
    }
    arrays
}
