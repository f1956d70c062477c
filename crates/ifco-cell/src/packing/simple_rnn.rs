//! What frameworks call the weights of a SimpleRNN: one row each.

use super::Part;

/// One framework's names for the weights of a SimpleRNN, which has nothing to pack.
///
/// ```
/// use ifco_cell::packing::{Part, SIMPLE_RNNS};
/// let names: Vec<_> = SIMPLE_RNNS.iter().map(|own| own.slice(Part::Kernel)).collect();
/// assert_eq!(names, ["kernel[:, :]", "weight_ih_l0[:, :]", "W[0, :, :]"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimpleRnnPacking {
    /// The short name, such as `pytorch`.
    pub key: &'static str,
    /// The full name, such as `PyTorch nn.RNN`.
    pub name: &'static str,
    /// Of kernel, recurrent kernel and bias: everything, in NumPy's notation; and one weight, with
    /// `{1}` and `{2}` for the unit's place in the first and second u values, `{row}` for the input.
    slices: [&'static str; 3],
    elements: [&'static str; 3],
}

/// The frameworks whose names are known, Keras first.
///
/// ```
/// use ifco_cell::packing::SIMPLE_RNNS;
/// assert_eq!(SIMPLE_RNNS[1].name, "PyTorch nn.RNN");
/// ```
pub const SIMPLE_RNNS: &[SimpleRnnPacking] = &[
    SimpleRnnPacking {
        key: "keras",
        name: "Keras 2 and 3 SimpleRNN",
        slices: ["kernel[:, :]", "recurrent_kernel[:, :]", "bias[:]"],
        elements: [
            "kernel[{row}, {1}]",
            "recurrent_kernel[{row}, {1}]",
            "bias[{1}]",
        ],
    },
    SimpleRnnPacking {
        key: "pytorch",
        name: "PyTorch nn.RNN",
        slices: [
            "weight_ih_l0[:, :]",
            "weight_hh_l0[:, :]",
            "bias_ih_l0[:] + bias_hh_l0[:]",
        ],
        elements: [
            "weight_ih_l0[{1}, {row}]",
            "weight_hh_l0[{1}, {row}]",
            "bias_ih_l0[{1}] + bias_hh_l0[{1}]",
        ],
    },
    SimpleRnnPacking {
        key: "onnx",
        name: "ONNX RNN",
        slices: ["W[0, :, :]", "R[0, :, :]", "B[0, :u] + B[0, u:]"],
        elements: [
            "W[0, {1}, {row}]",
            "R[0, {1}, {row}]",
            "B[0, {1}] + B[0, {2}]",
        ],
    },
];

impl SimpleRnnPacking {
    /// How one takes a part out of this framework's arrays, in NumPy's notation.
    pub fn slice(&self, part: Part) -> &'static str {
        self.slices[part as usize]
    }

    /// How one reads a single weight: that of a unit, for the input that `input` names. `index`
    /// writes where the unit stands, given the block of u values that it is in.
    ///
    /// ```
    /// use ifco_cell::packing::{Part, SIMPLE_RNNS};
    /// let index = |block: usize| (block * 8 + 5).to_string();
    /// let onnx = SIMPLE_RNNS[2];
    /// assert_eq!(onnx.element(Part::Kernel, index, "3"), "W[0, 5, 3]");
    /// assert_eq!(onnx.element(Part::Bias, index, ""), "B[0, 5] + B[0, 13]");
    /// ```
    pub fn element(&self, part: Part, index: impl Fn(usize) -> String, input: &str) -> String {
        self.elements[part as usize]
            .replace("{row}", input)
            .replace("{1}", &index(0))
            .replace("{2}", &index(1))
    }
}
