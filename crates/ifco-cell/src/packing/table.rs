//! The table: one row for each framework or file format.
//!
//! Checked by running the framework: Keras 2 and 3, CuDNNLSTM's conversion (in Keras 2), and
//! TensorFlow's LSTMBlockCell, BlockLSTM and BlockLSTMV2. The rest is from the frameworks'
//! documentation and source.

use super::{Arrays, Biases, Layout, Packing, Slice};
use crate::Gate::{self, Cell as C, Forget as F, Input as I, Output as O};

const IFCO: [Gate; 4] = [I, F, C, O];
const ICFO: [Gate; 4] = [I, C, F, O];
const IOFC: [Gate; 4] = [I, O, F, C];
const IFOC: [Gate; 4] = [I, F, O, C];
const FICO: [Gate; 4] = [F, I, C, O];

/// What most call the gates, in Keras's order.
const KERAS: [&str; 4] = ["i", "f", "c", "o"];
const TORCH: [&str; 4] = ["i", "f", "g", "o"];

const fn fused(name: &'static str, shape: &'static str, slice: &'static str) -> Arrays {
    Arrays {
        name,
        shape,
        slice: Slice::Fused(slice),
    }
}

/// `slices` in Keras's order i f c o, whatever the framework's.
const fn each(name: &'static str, shape: &'static str, slices: [&'static str; 4]) -> Arrays {
    Arrays {
        name,
        shape,
        slice: Slice::Each(slices),
    }
}

/// Every packing that is known, Keras's first.
///
/// ```
/// use ifco_cell::packing::ALL;
/// assert_eq!(ALL[0].key, "keras");
/// assert!(ALL.iter().any(|packing| packing.order_text() == "i o f c")); // ONNX
/// ```
pub const ALL: &[Packing] = &[
    Packing {
        key: "keras",
        name: "Keras 2 and 3 LSTM",
        aliases: &["keras2", "keras3", "tf_keras", "tf.keras"],
        order: IFCO,
        letters: KERAS,
        layout: Layout::Columns,
        kernel: fused("kernel", "(n, 4*u)", "kernel[:, {4}]"),
        recurrent_kernel: fused("recurrent_kernel", "(u, 4*u)", "recurrent_kernel[:, {4}]"),
        bias: fused("bias", "(4*u,)", "bias[{4}]"),
        biases: Biases::One,
        forget_bias: None,
        notes: "unit_forget_bias sets the stored forget bias to 1 before training; nothing is \
                added when the model runs.",
    },
    Packing {
        key: "keras1",
        name: "Keras 1 LSTM",
        aliases: &[],
        order: ICFO,
        letters: KERAS,
        layout: Layout::SeparateColumns,
        kernel: each(
            "W_i W_c W_f W_o",
            "(n, u) each",
            ["W_i", "W_f", "W_c", "W_o"],
        ),
        recurrent_kernel: each(
            "U_i U_c U_f U_o",
            "(u, u) each",
            ["U_i", "U_f", "U_c", "U_o"],
        ),
        bias: each("b_i b_c b_f b_o", "(u,) each", ["b_i", "b_f", "b_c", "b_o"]),
        biases: Biases::One,
        forget_bias: None,
        notes: "A file holds W_i U_i b_i W_c U_c b_c W_f U_f b_f W_o U_o b_o. The recurrent \
                activation is hard_sigmoid, clip(0.2*x + 0.5, 0, 1), unless configured.",
    },
    Packing {
        key: "cudnnlstm",
        name: "Keras 2 CuDNNLSTM",
        aliases: &["keras-cudnn", "keras2-cudnn"],
        order: IFCO,
        letters: KERAS,
        layout: Layout::TransposedColumns,
        kernel: fused(
            "kernel",
            "(n, 4*u)",
            "kernel[:, {4}].T.reshape((n, u), order='F')",
        ),
        recurrent_kernel: fused("recurrent_kernel", "(u, 4*u)", "recurrent_kernel[:, {4}].T"),
        bias: fused("bias", "(8*u,)", "bias[{8}] + bias[{8+4}]"),
        biases: Biases::Two,
        forget_bias: None,
        notes: "Each gate's block holds cuDNN's (u, n) matrix, row by row. The input's biases \
                come first, then the recurrent ones.",
    },
    Packing {
        key: "pytorch",
        name: "PyTorch nn.LSTM",
        aliases: &["torch", "nn.LSTM", "torch.nn.LSTM"],
        order: IFCO,
        letters: TORCH,
        layout: Layout::Rows,
        kernel: fused("weight_ih_l{k}", "(4*u, n)", "weight_ih_l0[{4}, :]"),
        recurrent_kernel: fused("weight_hh_l{k}", "(4*u, u)", "weight_hh_l0[{4}, :]"),
        bias: fused(
            "bias_ih_l{k} and bias_hh_l{k}",
            "(4*u,) each",
            "bias_ih_l0[{4}] + bias_hh_l0[{4}]",
        ),
        biases: Biases::Two,
        forget_bias: None,
        notes: "k counts the stacked layers from 0; the backward direction's names end in \
                _reverse. With proj_size there is weight_hr_l{k} too, and weight_hh_l{k} has \
                proj_size columns.",
    },
    Packing {
        key: "pytorch-cell",
        name: "PyTorch nn.LSTMCell",
        aliases: &["torch-cell", "nn.LSTMCell", "torch.nn.LSTMCell"],
        order: IFCO,
        letters: TORCH,
        layout: Layout::Rows,
        kernel: fused("weight_ih", "(4*u, n)", "weight_ih[{4}, :]"),
        recurrent_kernel: fused("weight_hh", "(4*u, u)", "weight_hh[{4}, :]"),
        bias: fused(
            "bias_ih and bias_hh",
            "(4*u,) each",
            "bias_ih[{4}] + bias_hh[{4}]",
        ),
        biases: Biases::Two,
        forget_bias: None,
        notes: "As nn.LSTM, without the layer's number.",
    },
    Packing {
        key: "onnx",
        name: "ONNX LSTM",
        aliases: &["onnxruntime", "ort"],
        order: IOFC,
        letters: KERAS,
        layout: Layout::Rows,
        kernel: fused("W", "(directions, 4*u, n)", "W[0, {4}, :]"),
        recurrent_kernel: fused("R", "(directions, 4*u, u)", "R[0, {4}, :]"),
        bias: fused("B", "(directions, 8*u)", "B[0, {8}] + B[0, {8+4}]"),
        biases: Biases::Two,
        forget_bias: None,
        notes: "B is the input's biases, then the recurrent ones. P (directions, 3*u) holds \
                optional peepholes in the order i o f. clip, input_forget, activations with \
                alpha and beta, layout and sequence_lens change what is computed.",
    },
    Packing {
        key: "tf1",
        name: "TensorFlow 1 BasicLSTMCell and LSTMCell",
        aliases: &["tensorflow1", "BasicLSTMCell", "tf1-LSTMCell"],
        order: ICFO,
        letters: ["i", "f", "j", "o"],
        layout: Layout::Columns,
        kernel: fused("kernel", "(n + u, 4*u)", "kernel[:n, {4}]"),
        recurrent_kernel: fused("kernel", "(n + u, 4*u)", "kernel[n:, {4}]"),
        bias: fused("bias", "(4*u,)", "bias[{4}]"),
        biases: Biases::One,
        forget_bias: Some(1.0),
        notes: "One matrix, the input's rows first. forget_bias is an argument of the cell, 1 by \
                default: it is added when the model runs and is not in the stored bias. With \
                use_peepholes there are w_i_diag, w_f_diag and w_o_diag.",
    },
    Packing {
        key: "blocklstm",
        name: "TensorFlow LSTMBlockCell and BlockLSTM",
        aliases: &["LSTMBlockCell", "LSTMBlockFusedCell", "tf-block"],
        order: ICFO,
        letters: KERAS,
        layout: Layout::Columns,
        kernel: fused("w", "(n + u, 4*u)", "w[:n, {4}]"),
        recurrent_kernel: fused("w", "(n + u, 4*u)", "w[n:, {4}]"),
        bias: fused("b", "(4*u,)", "b[{4}]"),
        biases: Biases::One,
        forget_bias: Some(1.0),
        notes: "forget_bias is an attribute of the operation, 1 by default, added when the model \
                runs. Optional peepholes wci, wcf and wco.",
    },
    Packing {
        key: "blocklstmv2",
        name: "TensorFlow BlockLSTMV2",
        aliases: &["tf-block-v2"],
        order: IFCO,
        letters: KERAS,
        layout: Layout::Columns,
        kernel: fused("w", "(n + u, 4*u)", "w[:n, {4}]"),
        recurrent_kernel: fused("w", "(n + u, 4*u)", "w[n:, {4}]"),
        bias: fused("b", "(4*u,)", "b[{4}]"),
        biases: Biases::One,
        forget_bias: None,
        notes: "Unlike BlockLSTM: another order, and no forget bias added when the model runs.",
    },
    Packing {
        key: "cudnn",
        name: "cuDNN",
        aliases: &["cudnnrnn"],
        order: IFCO,
        letters: KERAS,
        layout: Layout::SeparateRows,
        kernel: each(
            "linLayerID 0 to 3",
            "(u, n) each",
            ["matrix[0]", "matrix[1]", "matrix[2]", "matrix[3]"],
        ),
        recurrent_kernel: each(
            "linLayerID 4 to 7",
            "(u, u) each",
            ["matrix[4]", "matrix[5]", "matrix[6]", "matrix[7]"],
        ),
        bias: each(
            "linLayerID 0 to 7",
            "(u,) each",
            [
                "bias[0] + bias[4]",
                "bias[1] + bias[5]",
                "bias[2] + bias[6]",
                "bias[3] + bias[7]",
            ],
        ),
        biases: Biases::Two,
        forget_bias: None,
        notes: "matrix[k] and bias[k] are what cuDNN gives for linLayerID k. Two biases unless \
                the descriptor's bias mode says otherwise.",
    },
    Packing {
        key: "coreml",
        name: "Core ML",
        aliases: &["coremltools", "mil", "mlmodel"],
        order: IFOC,
        letters: ["i", "f", "z", "o"],
        layout: Layout::Rows,
        kernel: fused("weight_ih", "(4*u, n)", "weight_ih[{4}, :]"),
        recurrent_kernel: fused("weight_hh", "(4*u, u)", "weight_hh[{4}, :]"),
        bias: fused("bias", "(4*u,)", "bias[{4}]"),
        biases: Biases::One,
        forget_bias: None,
        notes: "The lstm operation of ML programs. The older neural network format has four \
                separate matrices, named inputGate, forgetGate, blockInput and outputGate.",
    },
    Packing {
        key: "openvino",
        name: "OpenVINO LSTMSequence",
        aliases: &["LSTMSequence"],
        order: FICO,
        letters: KERAS,
        layout: Layout::Rows,
        kernel: fused("W", "(directions, 4*u, n)", "W[0, {4}, :]"),
        recurrent_kernel: fused("R", "(directions, 4*u, u)", "R[0, {4}, :]"),
        bias: fused("B", "(directions, 4*u)", "B[0, {4}]"),
        biases: Biases::One,
        forget_bias: None,
        notes: "LSTMCell packs likewise, without the first axis.",
    },
    Packing {
        key: "haste",
        name: "Haste",
        aliases: &["haste-lstm"],
        order: ICFO,
        letters: TORCH,
        layout: Layout::Columns,
        kernel: fused("kernel", "(n, 4*u)", "kernel[:, {4}]"),
        recurrent_kernel: fused("recurrent_kernel", "(u, 4*u)", "recurrent_kernel[:, {4}]"),
        bias: fused("bias", "(4*u,)", "bias[{4}]"),
        biases: Biases::One,
        forget_bias: None,
        notes: "The shapes are Keras's, the order is not. forget_bias is the stored forget \
                bias before training; nothing is added when the model runs.",
    },
    Packing {
        key: "flax",
        name: "Flax LSTMCell",
        aliases: &["jax", "flax.linen", "OptimizedLSTMCell"],
        order: IFCO,
        letters: TORCH,
        layout: Layout::SeparateColumns,
        kernel: each(
            "ii if ig io",
            "(n, u) each",
            [
                "params['ii']['kernel']",
                "params['if']['kernel']",
                "params['ig']['kernel']",
                "params['io']['kernel']",
            ],
        ),
        recurrent_kernel: each(
            "hi hf hg ho",
            "(u, u) each",
            [
                "params['hi']['kernel']",
                "params['hf']['kernel']",
                "params['hg']['kernel']",
                "params['ho']['kernel']",
            ],
        ),
        bias: each(
            "hi hf hg ho",
            "(u,) each",
            [
                "params['hi']['bias']",
                "params['hf']['bias']",
                "params['hg']['bias']",
                "params['ho']['bias']",
            ],
        ),
        biases: Biases::Recurrent,
        forget_bias: None,
        notes: "The bias stands with the recurrent kernels alone.",
    },
    Packing {
        key: "haiku",
        name: "Haiku LSTM",
        aliases: &["dm-haiku", "hk.LSTM"],
        order: ICFO,
        letters: TORCH,
        layout: Layout::Columns,
        kernel: fused("linear/w", "(n + u, 4*u)", "w[:n, {4}]"),
        recurrent_kernel: fused("linear/w", "(n + u, 4*u)", "w[n:, {4}]"),
        bias: fused("linear/b", "(4*u,)", "b[{4}]"),
        biases: Biases::One,
        forget_bias: Some(1.0),
        notes: "One matrix, the input's rows first. 1 is added to the forget gate when the model \
                runs, always.",
    },
    Packing {
        key: "rtneural",
        name: "RTNeural JSON",
        aliases: &["rt-neural"],
        order: IFCO,
        letters: KERAS,
        layout: Layout::Columns,
        kernel: fused("weights[0]", "(n, 4*u)", "weights[0][:, {4}]"),
        recurrent_kernel: fused("weights[1]", "(u, 4*u)", "weights[1][:, {4}]"),
        bias: fused("weights[2]", "(4*u,)", "weights[2][{4}]"),
        biases: Biases::One,
        forget_bias: None,
        notes: "Nested lists in a layer of type lstm, as Keras's get_weights() gives them.",
    },
    Packing {
        key: "nam",
        name: "Neural Amp Modeler .nam",
        aliases: &["neural-amp-modeler", ".nam"],
        order: IFCO,
        letters: TORCH,
        layout: Layout::Rows,
        kernel: fused("W", "(4*u, n + u)", "W[{4}, :n]"),
        recurrent_kernel: fused("W", "(4*u, n + u)", "W[{4}, n:]"),
        bias: fused("b", "(4*u,)", "b[{4}]"),
        biases: Biases::One,
        forget_bias: None,
        notes: "A flat list: for each layer W row by row, b, the initial h and the initial c; \
                then the head's weights and bias. b is the sum of PyTorch's two biases.",
    },
    Packing {
        key: "burn",
        name: "Burn Lstm",
        aliases: &["burn-nn"],
        order: IFOC,
        letters: ["input", "forget", "cell", "output"],
        layout: Layout::SeparateColumns,
        kernel: each(
            "{gate}_gate.input_transform.weight",
            "(n, u) each",
            [
                "input_gate.input_transform.weight",
                "forget_gate.input_transform.weight",
                "cell_gate.input_transform.weight",
                "output_gate.input_transform.weight",
            ],
        ),
        recurrent_kernel: each(
            "{gate}_gate.hidden_transform.weight",
            "(u, u) each",
            [
                "input_gate.hidden_transform.weight",
                "forget_gate.hidden_transform.weight",
                "cell_gate.hidden_transform.weight",
                "output_gate.hidden_transform.weight",
            ],
        ),
        bias: each(
            "{gate}_gate.input_transform.bias and hidden_transform.bias",
            "(u,) each",
            [
                "input_gate.input_transform.bias + input_gate.hidden_transform.bias",
                "forget_gate.input_transform.bias + forget_gate.hidden_transform.bias",
                "cell_gate.input_transform.bias + cell_gate.hidden_transform.bias",
                "output_gate.input_transform.bias + output_gate.hidden_transform.bias",
            ],
        ),
        biases: Biases::Two,
        forget_bias: None,
        notes: "Every gate has its own two linear layers, listed input, forget, output, cell. \
                clip and input_forget change what is computed.",
    },
];
