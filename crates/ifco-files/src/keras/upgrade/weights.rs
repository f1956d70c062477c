//! The arrays of older files in the layout of Keras 2 and 3.

use ifco_model::{Generation, WeightSlot};
use ndarray::{ArrayD, ArrayView2, Axis, Ix2, IxDyn, concatenate, s};
use serde_json::Value;

use super::{Leaf, Source};

type Arrays = Vec<ArrayD<f32>>;

/// The arrays of a layer, leaf by leaf, as its slots take them. Arrays that are not what a
/// conversion expects pass unchanged: the layer then says what is wrong with their shapes.
pub(in crate::keras) fn weights(
    per_leaf: Vec<Arrays>,
    slots: &[WeightSlot],
    leaves: &[Leaf<'_>],
    source: &Source,
) -> Arrays {
    let mut all = Arrays::with_capacity(slots.len());
    for (mut arrays, leaf) in per_leaf.into_iter().zip(leaves) {
        if source.generation == Generation::Keras1 {
            arrays = fuse_gates(arrays);
        }
        if matches!(leaf.class, "Conv1D" | "Conv2D") {
            if let Some(kernel) = arrays.first_mut() {
                convolution_kernel(kernel, leaf, source);
            }
        }
        all.extend(arrays);
    }
    let is_recurrent = |slots: &[WeightSlot]| {
        slots[0].name == "kernel"
            && slots[1].name == "recurrent_kernel"
            && slots[2].name == "bias"
            && slots.iter().all(|slot| slot.group == slots[0].group)
    };
    if all.len() == slots.len() {
        for first in 0..slots.len().saturating_sub(2) {
            if is_recurrent(&slots[first..first + 3]) {
                from_cudnn(&mut all[first..first + 3]);
            }
        }
    }
    all
}

/// The arrays of a legacy file without its architecture: what can be told by shapes alone.
pub(in crate::keras) fn named_weights(
    named: Vec<(String, ArrayD<f32>)>,
) -> Vec<(String, ArrayD<f32>)> {
    let (names, mut arrays): (Vec<String>, Arrays) = named.into_iter().unzip();
    if is_split_by_gate(&names) {
        let count = arrays.len();
        let layer = names[0].strip_suffix(":0").unwrap_or(&names[0]);
        let layer = layer.rsplit_once("_W_").map_or(layer, |(layer, _)| layer);
        arrays = fuse_gates(arrays);
        if arrays.len() < count {
            let fused = ["kernel", "recurrent_kernel", "bias"];
            return fused
                .iter()
                .map(|name| format!("{layer}/{name}"))
                .zip(arrays)
                .collect();
        }
        return names.into_iter().zip(arrays).collect();
    }
    for first in 0..arrays.len().saturating_sub(2) {
        if names[first + 1].contains("recurrent_kernel") {
            from_cudnn(&mut arrays[first..first + 3]);
        }
    }
    names.into_iter().zip(arrays).collect()
}

/// `lstm_1_W_i`, `lstm_1_U_i`, `lstm_1_b_i`, …
fn is_split_by_gate(names: &[String]) -> bool {
    matches!(names.len(), 9 | 12)
        && names.chunks_exact(3).all(|gate| {
            let parts = ["_W_", "_U_", "_b_"];
            gate.iter()
                .zip(parts)
                .all(|(name, part)| name.contains(part))
        })
}

/// Keras 1's arrays per gate, W U b each: an LSTM's i c f o become i f c o side by side, a
/// GRU's z r h stay in order.
fn fuse_gates(arrays: Arrays) -> Arrays {
    let order: &[usize] = match arrays.len() {
        12 => &[0, 2, 1, 3],
        9 => &[0, 1, 2],
        _ => return arrays,
    };
    let fused: Option<Arrays> = (0..3)
        .map(|kind| {
            let gates: Vec<_> = order
                .iter()
                .map(|gate| arrays[gate * 3 + kind].view())
                .collect();
            let axis = gates[0].ndim().checked_sub(1)?;
            concatenate(Axis(axis), &gates).ok()
        })
        .collect();
    fused.unwrap_or(arrays)
}

/// Kernels of convolutions: Keras 1 keeps those of one dimension as flat images, those for
/// Theano with the filters first; Theano's are also upside down.
fn convolution_kernel(kernel: &mut ArrayD<f32>, leaf: &Leaf<'_>, source: &Source) {
    if source.generation == Generation::Keras1 && kernel.ndim() == 4 {
        let shape = kernel.shape().to_vec();
        let config = |key: &str| leaf.config.and_then(|config| config.get(key));
        let filters = config("filters").and_then(Value::as_u64);
        let is_last = |size: usize| filters == u64::try_from(size).ok();
        if leaf.class == "Conv1D" {
            // Keras 1.1 and before: (filters, in, length, 1). Later: (length, 1, in, filters).
            if !(shape[1] == 1 && is_last(shape[3])) && shape[3] == 1 {
                *kernel = permuted(kernel, [2, 3, 1, 0]);
            }
            if kernel.shape()[1] == 1 {
                *kernel = kernel.index_axis(Axis(1), 0).to_owned();
            }
        } else if config("data_format").and_then(Value::as_str) == Some("channels_first") {
            *kernel = permuted(kernel, [2, 3, 1, 0]);
        }
    }
    if source.flipped_kernels && kernel.ndim() > 2 {
        for axis in 0..kernel.ndim() - 2 {
            kernel.invert_axis(Axis(axis));
        }
        *kernel = kernel.as_standard_layout().into_owned();
    }
}

fn permuted(array: &ArrayD<f32>, axes: [usize; 4]) -> ArrayD<f32> {
    let view = array.view().permuted_axes(IxDyn(&axes));
    view.as_standard_layout().into_owned()
}

/// Turns a `CuDNNLSTM`'s or `CuDNNGRU`'s kernel, recurrent kernel and bias into those of the
/// layer that runs anywhere; leaves every other alone. Only cuDNN's bias tells them apart: it
/// has one for the input and one for the recurrent part, end to end.
///
/// Each gate's block `(rows, u)` of the kernels is kept as the `(u, rows)` matrix that cuDNN
/// multiplies with, under the shape `(rows, u)`.
fn from_cudnn(weights: &mut [ArrayD<f32>]) {
    let [kernel, recurrent_kernel, bias] = weights else {
        return;
    };
    let Some(fused) = matrix(kernel).zip(matrix(recurrent_kernel)) else {
        return;
    };
    let (units, columns) = fused.1.dim();
    let gates = match columns.checked_div(units) {
        Some(gates @ (3 | 4)) if gates * units == columns => gates,
        _ => return,
    };
    if fused.0.ncols() != columns || bias.ndim() != 1 || bias.len() != 2 * columns {
        return;
    }
    let new_kernel = per_gate(fused.0, units);
    let new_recurrent_kernel = per_gate(fused.1, units);
    let halves = bias.view().into_shape_with_order(IxDyn(&[2, columns]));
    let Ok(halves) = halves else {
        return;
    };
    // An LSTM adds both biases at the same place. A GRU must keep them apart.
    let new_bias = if gates == 4 {
        halves.sum_axis(Axis(0))
    } else {
        halves.to_owned()
    };
    *kernel = new_kernel;
    *recurrent_kernel = new_recurrent_kernel;
    *bias = new_bias;
}

fn matrix(array: &ArrayD<f32>) -> Option<ArrayView2<'_, f32>> {
    array.view().into_dimensionality::<Ix2>().ok()
}

/// Reads each gate's block as the transpose of what it is shaped as.
fn per_gate(fused: ArrayView2<'_, f32>, units: usize) -> ArrayD<f32> {
    let rows = fused.nrows();
    let mut converted = fused.to_owned();
    for first in (0..fused.ncols()).step_by(units.max(1)) {
        let block = fused.slice(s![.., first..first + units]);
        let mut values = block.iter();
        for unit in 0..units {
            for row in 0..rows {
                if let Some(value) = values.next() {
                    converted[[row, first + unit]] = *value;
                }
            }
        }
    }
    converted.into_dyn()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn keras_1_keeps_i_c_f_o() {
        let gate = |value: f32| {
            [
                array![[value], [value]].into_dyn(),
                array![[value * 10.0]].into_dyn(),
                array![value * 100.0].into_dyn(),
            ]
        };
        let arrays: Arrays = [1.0, 2.0, 3.0, 4.0].into_iter().flat_map(gate).collect();
        let fused = fuse_gates(arrays);
        assert_eq!(
            fused[0],
            array![[1., 3., 2., 4.], [1., 3., 2., 4.]].into_dyn()
        );
        assert_eq!(fused[1], array![[10., 30., 20., 40.]].into_dyn());
        assert_eq!(fused[2], array![100., 300., 200., 400.].into_dyn());
    }

    #[test]
    fn cudnn_keeps_each_block_transposed() {
        // One gate of (3 rows, 2 units): unit 0 holds 0 1 2, unit 1 holds 3 4 5.
        let stored = array![[0., 1.], [2., 3.], [4., 5.]];
        let expected = array![[0., 3.], [1., 4.], [2., 5.]];
        assert_eq!(per_gate(stored.view(), 2), expected.into_dyn());
    }
}
