//! How frameworks pack a GRU's gates: one row each.

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

use crate::GruGate;

/// One framework's way of packing a GRU.
///
/// ```
/// use ifco_cell::packing::find_gru;
/// use ndarray::array;
///
/// let torch = find_gru("pytorch").unwrap(); // rows r z n
/// let keras = torch.matrix_to_keras(array![[2.0], [1.0], [3.0]].view()).unwrap();
/// assert_eq!(keras, array![[1.0, 2.0, 3.0]]); // columns z r h
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GruPacking {
    /// The short name, such as `pytorch`.
    pub key: &'static str,
    /// The full name, such as `PyTorch nn.GRU`.
    pub name: &'static str,
    /// The gates in the order in which they are stored.
    pub order: [GruGate; 3],
    /// Whether the gates lie one above the other, `(3·u, inputs)`, or side by side.
    pub rows: bool,
}

/// The packings of a GRU that are known, Keras's first.
///
/// ```
/// use ifco_cell::GruGate;
/// use ifco_cell::packing::GRUS;
/// assert_eq!(GRUS[0].order, GruGate::ALL);
/// ```
pub const GRUS: &[GruPacking] = &[
    GruPacking {
        key: "keras",
        name: "Keras 2 and 3 GRU",
        order: GruGate::ALL,
        rows: false,
    },
    GruPacking {
        key: "pytorch",
        name: "PyTorch nn.GRU",
        order: [GruGate::Reset, GruGate::Update, GruGate::Candidate],
        rows: true,
    },
];

/// Finds a GRU's packing by its key.
///
/// ```
/// use ifco_cell::packing::find_gru;
/// assert_eq!(find_gru("pytorch").unwrap().name, "PyTorch nn.GRU");
/// assert!(find_gru("fortran").is_none());
/// ```
pub fn find_gru(key: &str) -> Option<&'static GruPacking> {
    GRUS.iter().find(|packing| packing.key == key)
}

impl GruPacking {
    /// Brings a packed matrix into Keras's layout: `(inputs, 3·u)`, columns z r h. `None` when the
    /// gate axis is not three times as long as something.
    ///
    /// ```
    /// use ifco_cell::packing::find_gru;
    /// use ndarray::Array2;
    ///
    /// let torch = find_gru("pytorch").unwrap();
    /// assert_eq!(torch.matrix_to_keras(Array2::zeros((6, 5)).view()).unwrap().dim(), (5, 6));
    /// assert!(torch.matrix_to_keras(Array2::zeros((7, 5)).view()).is_none());
    /// ```
    pub fn matrix_to_keras(&self, matrix: ArrayView2<'_, f32>) -> Option<Array2<f32>> {
        let columns = if self.rows { matrix.t() } else { matrix };
        let units = columns.ncols() / 3;
        if units == 0 || columns.ncols() != 3 * units {
            return None;
        }
        let blocks = GruGate::ALL.map(|gate| {
            // Every row of the table has every gate: a test holds it to that.
            let block = self.order.iter().position(|g| *g == gate).unwrap_or(0);
            columns.slice(s![.., block * units..(block + 1) * units])
        });
        let joined = concatenate(Axis(1), &blocks).ok()?;
        Some(joined.as_standard_layout().into_owned())
    }

    /// The inverse of [`matrix_to_keras`](Self::matrix_to_keras): `None` when there are not 3·u
    /// columns.
    ///
    /// ```
    /// use ifco_cell::packing::find_gru;
    /// use ndarray::array;
    ///
    /// let torch = find_gru("pytorch").unwrap(); // rows r z n
    /// let packed = torch.matrix_from_keras(array![[1.0, 2.0, 3.0]].view()).unwrap(); // z r h
    /// assert_eq!(packed, array![[2.0], [1.0], [3.0]]);
    /// ```
    pub fn matrix_from_keras(&self, keras: ArrayView2<'_, f32>) -> Option<Array2<f32>> {
        let units = keras.ncols() / 3;
        if units == 0 || keras.ncols() != 3 * units {
            return None;
        }
        let blocks = self.order.map(|gate| {
            let block = GruGate::ALL.iter().position(|g| *g == gate).unwrap_or(0);
            keras.slice(s![.., block * units..(block + 1) * units])
        });
        let joined = concatenate(Axis(1), &blocks).ok()?;
        let packed = if self.rows {
            joined.reversed_axes()
        } else {
            joined
        };
        Some(packed.as_standard_layout().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packing_has_every_gate() {
        for packing in GRUS {
            for gate in GruGate::ALL {
                assert!(packing.order.contains(&gate), "{}", packing.key);
            }
        }
    }
}
