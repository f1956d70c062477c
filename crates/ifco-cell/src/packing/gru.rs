//! How frameworks pack a GRU's gates: one row each.

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};

use super::{Part, range};
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
    /// How a gate is taken out of the arrays: `{3}` is its range in 3·u values, `{6}` and `{6+3}`
    /// those in the two halves of 6·u.
    kernel: &'static str,
    recurrent_kernel: &'static str,
    /// Of the one bias of `reset_after=False`, where it has that.
    bias: Option<&'static str>,
    /// Of the two of `reset_after=True`, the input's and the recurrent one.
    biases: [&'static str; 2],
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
        kernel: "kernel[:, {3}]",
        recurrent_kernel: "recurrent_kernel[:, {3}]",
        bias: Some("bias[{3}]"),
        biases: ["bias[0, {3}]", "bias[1, {3}]"],
    },
    GruPacking {
        key: "pytorch",
        name: "PyTorch nn.GRU",
        order: [GruGate::Reset, GruGate::Update, GruGate::Candidate],
        rows: true,
        kernel: "weight_ih_l0[{3}, :]",
        recurrent_kernel: "weight_hh_l0[{3}, :]",
        // Its reset gate comes after the product, always.
        bias: None,
        biases: ["bias_ih_l0[{3}]", "bias_hh_l0[{3}]"],
    },
    GruPacking {
        key: "onnx",
        name: "ONNX GRU",
        order: GruGate::ALL,
        rows: true,
        kernel: "W[0, {3}, :]",
        recurrent_kernel: "R[0, {3}, :]",
        bias: Some("B[0, {6}] + B[0, {6+3}]"),
        biases: ["B[0, {6}]", "B[0, {6+3}]"],
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
    /// Where a gate stands in [`order`](Self::order), from 0.
    pub fn position(&self, gate: GruGate) -> usize {
        // Every row of the table has every gate: a test holds it to that.
        self.order.iter().position(|g| *g == gate).unwrap_or(0)
    }

    /// How one takes a gate out of this framework's arrays, in NumPy's notation. The bias is one, or
    /// one of two (`Some(0)` the input's, `Some(1)` the recurrent one), as with
    /// [`element`](Self::element).
    ///
    /// ```
    /// use ifco_cell::{GruGate, packing::{Part, find_gru}};
    /// let torch = find_gru("pytorch").unwrap();
    /// let slice = |part, bias| torch.slice(part, GruGate::Reset, bias);
    /// assert_eq!(slice(Part::Kernel, None).unwrap(), "weight_ih_l0[:u, :]");
    /// assert_eq!(slice(Part::Bias, Some(1)).unwrap(), "bias_hh_l0[:u]");
    /// assert_eq!(slice(Part::Bias, None), None); // reset_after=False: it has no such GRU
    /// ```
    pub fn slice(&self, part: Part, gate: GruGate, bias: Option<usize>) -> Option<String> {
        let block = self.position(gate);
        let template = self.template(part, bias)?;
        Some(
            template
                .replace("{3}", &range(block, 3))
                .replace("{6}", &range(block, 6))
                .replace("{6+3}", &range(block + 3, 6)),
        )
    }

    /// How one reads a single weight in this framework's arrays: that of one unit's gate, for the
    /// input that `input` names. `index` writes where the unit stands, given the block of u values
    /// that it is in.
    ///
    /// ```
    /// use ifco_cell::{GruGate, packing::{Part, find_gru}};
    /// let (units, unit) = (8, 5);
    /// let index = |block: usize| (block * units + unit).to_string();
    /// let onnx = find_gru("onnx").unwrap();
    /// let element = |part, bias| onnx.element(part, GruGate::Candidate, bias, index, "3");
    /// assert_eq!(element(Part::RecurrentKernel, None).unwrap(), "R[0, 21, 3]");
    /// assert_eq!(element(Part::Bias, Some(1)).unwrap(), "B[0, 45]");
    /// ```
    pub fn element(
        &self,
        part: Part,
        gate: GruGate,
        bias: Option<usize>,
        index: impl Fn(usize) -> String,
        input: &str,
    ) -> Option<String> {
        let block = self.position(gate);
        let template = self.template(part, bias)?;
        Some(
            template
                .replace(':', input)
                .replace("{3}", &index(block))
                .replace("{6}", &index(block))
                .replace("{6+3}", &index(block + 3)),
        )
    }

    fn template(&self, part: Part, bias: Option<usize>) -> Option<&'static str> {
        match part {
            Part::Kernel => Some(self.kernel),
            Part::RecurrentKernel => Some(self.recurrent_kernel),
            Part::Bias => match bias {
                None => self.bias,
                Some(row) => self.biases.get(row).copied(),
            },
        }
    }

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
            let block = self.position(gate);
            columns.slice(s![.., block * units..(block + 1) * units])
        });
        let joined = concatenate(Axis(1), &blocks).ok()?;
        Some(joined.as_standard_layout().into_owned())
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
