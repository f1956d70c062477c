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
    /// The gates in the order in which they are stored, or listed where they are separate.
    pub order: [GruGate; 3],
    /// Whether the gates lie one above the other, `(3·u, inputs)`, or side by side.
    pub rows: bool,
    /// Whether its update gate tells how much of the candidate is taken, `h' = (1 − z)∘h + z∘a`, and
    /// not how much of h is kept, as Keras's: it is 1 − z of Keras's, which is what the negated
    /// weights give.
    pub update_is_negated: bool,
    kernel: Slice,
    recurrent_kernel: Slice,
    /// Of the one bias of `reset_after=False`, where it has that.
    bias: Option<Slice>,
    /// Of the two of `reset_after=True`, the input's and the recurrent one, where it has that.
    biases: Option<[Slice; 2]>,
}

/// How a gate is taken out of the arrays, in NumPy's notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slice {
    /// Out of one array: `{3}` is the gate's range in 3·u values, `{6}` and `{6+3}` those in the two
    /// halves of 6·u.
    Fused(&'static str),
    /// Each gate its own, in the order of [`GruGate::ALL`]; empty where there is none.
    Each([&'static str; 3]),
}

use Slice::{Each, Fused};

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
        update_is_negated: false,
        kernel: Fused("kernel[:, {3}]"),
        recurrent_kernel: Fused("recurrent_kernel[:, {3}]"),
        bias: Some(Fused("bias[{3}]")),
        biases: Some([Fused("bias[0, {3}]"), Fused("bias[1, {3}]")]),
    },
    GruPacking {
        key: "pytorch",
        name: "PyTorch nn.GRU",
        order: [GruGate::Reset, GruGate::Update, GruGate::Candidate],
        rows: true,
        update_is_negated: false,
        kernel: Fused("weight_ih_l0[{3}, :]"),
        recurrent_kernel: Fused("weight_hh_l0[{3}, :]"),
        // Its reset gate comes after the product, always.
        bias: None,
        biases: Some([Fused("bias_ih_l0[{3}]"), Fused("bias_hh_l0[{3}]")]),
    },
    GruPacking {
        key: "onnx",
        name: "ONNX GRU",
        order: GruGate::ALL,
        rows: true,
        update_is_negated: false,
        kernel: Fused("W[0, {3}, :]"),
        recurrent_kernel: Fused("R[0, {3}, :]"),
        bias: Some(Fused("B[0, {6}] + B[0, {6+3}]")),
        biases: Some([Fused("B[0, {6}]"), Fused("B[0, {6+3}]")]),
    },
    GruPacking {
        key: "tf1",
        name: "TensorFlow 1 GRUCell",
        order: [GruGate::Reset, GruGate::Update, GruGate::Candidate],
        rows: false,
        update_is_negated: false,
        // r and u in one matrix, the candidate in another, the input's rows first.
        kernel: Each([
            "gates/kernel[:n, u:]",
            "gates/kernel[:n, :u]",
            "candidate/kernel[:n, :]",
        ]),
        recurrent_kernel: Each([
            "gates/kernel[n:, u:]",
            "gates/kernel[n:, :u]",
            "candidate/kernel[n:, :]",
        ]),
        bias: Some(Each(["gates/bias[u:]", "gates/bias[:u]", "candidate/bias"])),
        // Its reset gate comes before the product, always.
        biases: None,
    },
    GruPacking {
        key: "flax",
        name: "Flax GRUCell",
        order: [GruGate::Reset, GruGate::Update, GruGate::Candidate],
        rows: false,
        update_is_negated: false,
        kernel: Each(["iz/kernel", "ir/kernel", "in/kernel"]),
        recurrent_kernel: Each(["hz/kernel", "hr/kernel", "hn/kernel"]),
        bias: None,
        // r and z have one, on the input's side.
        biases: Some([
            Each(["iz/bias", "ir/bias", "in/bias"]),
            Each(["", "", "hn/bias"]),
        ]),
    },
    GruPacking {
        key: "haiku",
        name: "Haiku GRU",
        order: GruGate::ALL,
        rows: false,
        update_is_negated: true,
        kernel: Fused("w_i[:, {3}]"),
        recurrent_kernel: Fused("w_h[:, {3}]"),
        bias: Some(Fused("b[{3}]")),
        biases: None,
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
        let template = match self.template(part, bias)? {
            Each(slices) => {
                let slice = slices[gate as usize];
                return (!slice.is_empty()).then(|| slice.to_owned());
            }
            Fused(template) => template,
        };
        Some(
            template
                .replace("{3}", &range(block, 3))
                .replace("{6}", &range(block, 6))
                .replace("{6+3}", &range(block + 3, 6)),
        )
    }

    /// How one reads a single weight in this framework's arrays: that of one unit's gate, for the
    /// input that `input` names. `index` writes where the unit stands, given the block of u values
    /// that it is in. `None` also where the gates are separate, so that a weight has no place of its own
    /// to name.
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
        let Fused(template) = self.template(part, bias)? else {
            return None;
        };
        Some(
            template
                .replace(':', input)
                .replace("{3}", &index(block))
                .replace("{6}", &index(block))
                .replace("{6+3}", &index(block + 3)),
        )
    }

    fn template(&self, part: Part, bias: Option<usize>) -> Option<Slice> {
        match part {
            Part::Kernel => Some(self.kernel),
            Part::RecurrentKernel => Some(self.recurrent_kernel),
            Part::Bias => match bias {
                None => self.bias,
                Some(row) => self.biases?.get(row).copied(),
            },
        }
    }

    /// Brings a packed matrix into Keras's layout: `(inputs, 3·u)`, columns z r h. `None` when the
    /// gate axis is not three times as long as something. Separate arrays come joined, in
    /// [`order`](Self::order).
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
        let mut joined = joined.as_standard_layout().into_owned();
        self.negate_update(&mut joined, units);
        Some(joined)
    }

    /// Turns z of this framework into Keras's, and back: the columns are in Keras's order.
    fn negate_update(&self, keras: &mut Array2<f32>, units: usize) {
        if self.update_is_negated {
            let columns = GruGate::Update.columns(units);
            keras.slice_mut(s![.., columns]).mapv_inplace(|w| -w);
        }
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
        let mut keras = keras.to_owned();
        self.negate_update(&mut keras, units);
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

    #[test]
    fn there_and_back_is_the_same() {
        let keras = Array2::from_shape_fn((2, 6), |(row, column)| (10 * row + column) as f32 + 0.5);
        for packing in GRUS {
            let packed = packing
                .matrix_from_keras(keras.view())
                .expect("six columns");
            let again = packing.matrix_to_keras(packed.view());
            assert_eq!(again.as_ref(), Some(&keras), "{}", packing.key);
        }
    }

    #[test]
    fn separate_gates_are_named() {
        let tf1 = find_gru("tf1").expect("it is known");
        let update = tf1.slice(Part::RecurrentKernel, GruGate::Update, None);
        assert_eq!(update.as_deref(), Some("gates/kernel[n:, u:]"));
        let flax = find_gru("flax").expect("it is known");
        let bias = |gate| flax.slice(Part::Bias, gate, Some(1));
        assert_eq!(bias(GruGate::Candidate).as_deref(), Some("hn/bias"));
        assert_eq!(bias(GruGate::Reset), None);
        let place = flax.element(Part::Kernel, GruGate::Reset, None, |_| "0".into(), "0");
        assert_eq!(place, None);
    }
}
