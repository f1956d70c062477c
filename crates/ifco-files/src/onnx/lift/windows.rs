//! Conv, pools and Pad along one axis. ONNX has the channels in the middle, Keras at the end: the
//! Transposes around them are no layers here.

use ifco_model::onnx::Node;
use ndarray::{ArrayD, Axis};
use serde_json::json;

use super::{BATCH, Group, Lift, Operand, Value, View, refuse};
use crate::SaveError;

impl Lift<'_> {
    pub(super) fn windows(
        &mut self,
        node: &Node,
        operands: &[Operand],
    ) -> Result<Vec<Value>, SaveError> {
        let view = self.view(node, operands, 0)?;
        if node.op == "Pad" {
            return self.pad(node, operands, &view);
        }
        // (batch, channels, length), perhaps with an axis of size 1 beside the length.
        let rank = view.axes.len();
        let spatial: Vec<usize> = (2..rank)
            .filter(|axis| !view.axes[*axis].is_empty())
            .collect();
        if matches!(node.op.as_str(), "GlobalAveragePool" | "GlobalMaxPool") {
            let [axis] = spatial[..] else {
                return Err(refuse(node, "it reduces several axes at once"));
            };
            return Ok(vec![Value::View(self.reduced(node, &view, axis)?)]);
        }
        let ([axis], true) = (&spatial[..], rank >= 3 && view.axes[0] == [BATCH]) else {
            return Err(refuse(node, "it slides along more axes than time"));
        };
        let axis = *axis;
        let (channels, time) = (view.axes[1].clone(), view.axes[axis].clone());
        let order = [vec![BATCH], time.clone(), channels];
        let input = self.arranged(node, &view, &order)?;
        let at = axis - 2;
        let of = |key: &str, default: usize| -> Result<usize, SaveError> {
            let listed = node.ints(key).ok().flatten();
            let value = listed.map_or(Some(default), |all| {
                let others_are_one = all.iter().enumerate().all(|(i, v)| i == at || *v == 1);
                let own = all.get(at).filter(|_| others_are_one)?;
                usize::try_from(*own).ok()
            });
            value.ok_or_else(|| refuse(node, format!("its {key} are none of a layer along time")))
        };
        let (stride, dilation) = (of("strides", 1)?, of("dilations", 1)?);
        let pads = node.ints("pads").ok().flatten().unwrap_or_default();
        let around = |index: usize| pads.get(index).copied().unwrap_or(0);
        let (left, right) = (around(at), around(at + rank - 2));
        let is_else_padded = (0..pads.len()).any(|i| i % (rank - 2) != at && pads[i] != 0);
        if is_else_padded || left < 0 || right < 0 {
            return Err(refuse(node, "it pads more than time"));
        }
        let auto = node
            .string_or("auto_pad", "NOTSET")
            .unwrap_or("NOTSET")
            .to_owned();
        let is_pool = node.op != "Conv";
        let (kernel, size) = match operands.get(1) {
            Some(Operand::Constant(kernel)) if !is_pool => {
                let kernel: ArrayD<f32> = kernel.data.to_owned().into_owned();
                let size = kernel.shape().get(axis).copied().unwrap_or(0);
                let is_flat = (2..kernel.ndim()).all(|i| i == axis || kernel.shape()[i] == 1);
                if kernel.ndim() != rank || !is_flat {
                    return Err(refuse(node, "its kernel is none along time"));
                }
                (Some(kernel), size)
            }
            _ if is_pool => (None, of("kernel_shape", 1)?),
            other => return Err(self.strange(node, other)),
        };
        let reach = dilation.saturating_mul(size.saturating_sub(1)) as i64;
        let padding = match (auto.as_str(), left, right) {
            ("SAME_UPPER", ..) => "same",
            ("VALID", ..) | ("NOTSET", 0, 0) => "valid",
            ("NOTSET", left, right)
                if stride == 1 && left == reach / 2 && right == reach - left && reach > 0 =>
            {
                "same"
            }
            ("NOTSET", left, 0) if left == reach && !is_pool => "causal",
            ("NOTSET", ..) if !is_pool => "",
            _ => return Err(refuse(node, "it pads as no layer of Keras does")),
        };
        if is_pool && (dilation != 1 || node.int_or("ceil_mode", 0).unwrap_or(0) != 0) {
            return Err(refuse(node, "it pools as no layer of Keras does"));
        }
        let is_counted = node.int_or("count_include_pad", 0).unwrap_or(0) != 0;
        if padding == "same" && is_counted && node.op == "AveragePool" {
            return Err(refuse(node, "it counts what it pads, which Keras does not"));
        }
        let input = match padding {
            "" => {
                let axes = vec![
                    order[0].clone(),
                    vec![self.atoms.add(None)],
                    order[2].clone(),
                ];
                let name = format!("{}/padding", node.name);
                self.layer(
                    &name,
                    "ZeroPadding1D",
                    json!({"padding": [left, right]}),
                    input,
                    axes,
                )
            }
            _ => input,
        };
        let keeps = stride == 1 && matches!(padding, "same" | "causal")
            || size == 1 && stride == 1 && padding == "valid";
        let shown: Group = match keeps {
            true => time,
            false => {
                let known = self.atoms.product(&order[1]).map(|length| match padding {
                    "same" | "causal" => length.div_ceil(stride.max(1)),
                    _ => {
                        let length = (length as i64 + left + right - reach).max(0) as usize;
                        length.div_ceil(stride.max(1))
                    }
                });
                vec![self.atoms.add(known)]
            }
        };
        let padding = if padding.is_empty() { "valid" } else { padding };
        let tensor = match kernel {
            None => {
                let class = match node.op.as_str() {
                    "MaxPool" => "MaxPooling1D",
                    _ => "AveragePooling1D",
                };
                let config = json!({"pool_size": size, "strides": stride, "padding": padding});
                let axes = vec![order[0].clone(), shown.clone(), order[2].clone()];
                self.layer(&node.name, class, config, input, axes)
            }
            Some(mut kernel) => {
                while kernel.ndim() > 3 {
                    let flat = (2..kernel.ndim()).find(|i| *i != 2 + at && kernel.shape()[*i] == 1);
                    let flat = flat.unwrap_or(if at == 0 { 3 } else { 2 });
                    kernel = kernel.index_axis_move(Axis(flat), 0);
                }
                let filters = kernel.shape()[0];
                let kernel = kernel.permuted_axes(vec![2, 1, 0]);
                let mut weights = vec![kernel.as_standard_layout().into_owned()];
                match operands.get(2) {
                    Some(Operand::Constant(bias)) => {
                        weights.push(bias.data.to_owned().into_owned())
                    }
                    None | Some(Operand::Absent) => {}
                    other => return Err(self.strange(node, other)),
                }
                let config = json!({
                    "filters": filters, "kernel_size": size, "strides": stride, "padding": padding,
                    "dilation_rate": dilation, "groups": node.int_or("group", 1).unwrap_or(1),
                    "use_bias": weights.len() > 1,
                });
                let filters = vec![self.atoms.add(Some(filters))];
                let axes = vec![order[0].clone(), shown.clone(), filters];
                let tensor = self.layer(&node.name, "Conv1D", config, input, axes);
                let stage = self.tensors[tensor].stage;
                self.stages[stage].weights = weights;
                tensor
            }
        };
        let own = self.axes_of(tensor).to_vec();
        let mut axes = view.axes.clone();
        axes[axis] = shown;
        axes[1].clone_from(&own[2]);
        Ok(vec![Value::View(View::of(tensor, axes))])
    }

    fn pad(
        &mut self,
        node: &Node,
        operands: &[Operand],
        view: &View,
    ) -> Result<Vec<Value>, SaveError> {
        let listed = node.ints("pads").ok().flatten();
        let pads = listed.or_else(|| operands.get(1)?.integers());
        let pads = pads.ok_or_else(|| refuse(node, "how much it pads is computed"))?;
        let rank = view.axes.len();
        let is_zero = match operands.get(2) {
            None | Some(Operand::Absent) => node.float_or("value", 0.0).is_ok_and(|v| v == 0.0),
            Some(Operand::Constant(value)) => value.data.iter().all(|value| *value == 0.0),
            Some(_) => false,
        };
        let is_plain = is_zero
            && node
                .string_or("mode", "constant")
                .is_ok_and(|m| m == "constant");
        let padded: Vec<usize> = (0..rank)
            .filter(|axis| pads.get(*axis) != Some(&0) || pads.get(axis + rank) != Some(&0))
            .collect();
        let own = self.axes_of(view.tensor).to_vec();
        let ([axis], true, 3) = (&padded[..], is_plain && pads.len() == 2 * rank, own.len()) else {
            return Err(refuse(node, "it pads more than time, or not with zeros"));
        };
        let (left, right) = (pads[*axis], pads[axis + rank]);
        if view.axes[*axis] != own[1] || left < 0 || right < 0 || view.flipped.is_some() {
            return Err(refuse(node, "it pads another axis than time"));
        }
        let size = self
            .atoms
            .product(&own[1])
            .map(|size| size + (left + right) as usize);
        let time = vec![self.atoms.add(size)];
        let axes = vec![own[0].clone(), time.clone(), own[2].clone()];
        let config = json!({"padding": [left, right]});
        let tensor = self.layer(&node.name, "ZeroPadding1D", config, view.tensor, axes);
        Ok(vec![Value::View(view.over(tensor, &own[1], &time))])
    }
}
