//! What dropout leaves of x and h, for one row of the batch.

use ndarray::{Array1, ArrayView1, ArrayView2, Axis};

use crate::Dropout;

/// The masks of one cell for one row: `(1, features)`, or `(gates, features)` where each gate has
/// its own; of h with `units`.
pub(super) struct Dropped<'a> {
    inputs: Option<ArrayView2<'a, f32>>,
    recurrent: Option<ArrayView2<'a, f32>>,
}

impl<'a> Dropped<'a> {
    pub(super) const NOTHING: Dropped<'static> = Dropped {
        inputs: None,
        recurrent: None,
    };

    pub(super) fn of(dropout: &'a Dropout, cell: usize, row: usize) -> Self {
        let of_row = |masks: Option<&'a ndarray::Array3<f32>>| {
            masks.map(|masks| masks.index_axis(Axis(1), row))
        };
        Self {
            inputs: of_row(dropout.inputs_of(cell)),
            recurrent: of_row(dropout.recurrent_of(cell)),
        }
    }

    /// x as a gate sees it.
    pub(super) fn input(&self, gate: usize, x: ArrayView1<'_, f64>) -> Array1<f64> {
        masked(self.inputs, gate, x)
    }

    /// h as a gate sees it.
    pub(super) fn recurrent(&self, gate: usize, h: ArrayView1<'_, f64>) -> Array1<f64> {
        masked(self.recurrent, gate, h)
    }
}

/// Also what becomes of a gradient on its way back: a mask is a factor.
fn masked(
    masks: Option<ArrayView2<'_, f32>>,
    gate: usize,
    values: ArrayView1<'_, f64>,
) -> Array1<f64> {
    match masks {
        Some(masks) => {
            let own = if masks.nrows() == 1 { 0 } else { gate };
            &values * &masks.row(own).mapv(f64::from)
        }
        None => values.to_owned(),
    }
}
