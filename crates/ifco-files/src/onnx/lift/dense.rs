//! Products with weights, and rows of a table.

use ifco_model::onnx::{Constant, Kind, Node};
use ndarray::ArrayD;
use serde_json::json;

use super::operators::{Made, one};
use super::{BATCH, Group, Lift, Operand, Value, View, refuse};

impl Lift<'_> {
    pub(super) fn dense(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let view = self.view(node, operands, 0)?;
        let flag = |key: &str| node.int_or(key, 0).unwrap_or(0) != 0;
        let factor = |key: &str| node.float_or(key, 1.0).unwrap_or(1.0);
        let Some(Operand::Constant(kernel)) = operands.get(1) else {
            return Err(refuse(node, "it multiplies two tensors that are computed"));
        };
        let mut kernel: ArrayD<f32> = kernel.data.to_owned().into_owned();
        if flag("transA") || kernel.ndim() != 2 || factor("alpha") != 1.0 {
            return Err(refuse(
                node,
                "it is no product of features and a matrix of weights",
            ));
        }
        if flag("transB") {
            kernel.swap_axes(0, 1);
            kernel = kernel.as_standard_layout().into_owned();
        }
        let features = self.features(&view);
        if view.axes.last() != Some(&features) || features.contains(&BATCH) {
            return self.dense_of(node, operands, &view, kernel);
        }
        let units = kernel.shape()[1];
        let to = vec![self.atoms.add(Some(units))];
        let mut axes = self.axes_of(view.tensor).to_vec();
        if let Some(last) = axes.last_mut() {
            last.clone_from(&to);
        }
        let config = json!({"units": units, "use_bias": false});
        let tensor = self.layer(&node.name, "Dense", config, view.tensor, axes);
        let stage = self.tensors[tensor].stage;
        self.stages[stage].weights = vec![kernel];
        let made = view.over(tensor, &features, &to);
        match operands.get(2) {
            None | Some(Operand::Absent) => one(made),
            Some(Operand::Constant(_)) if factor("beta") == 1.0 => {
                self.with_constant(node, "Add", &made, operands, 2)
            }
            Some(_) => Err(refuse(node, "what it adds is no bias")),
        }
    }

    /// The same where the features are not a tensor's last axis.
    pub(super) fn dense_of(
        &mut self,
        node: &Node,
        operands: &[Operand],
        view: &View,
        kernel: ArrayD<f32>,
    ) -> Made {
        let (tensor, order) = self.whole(node, view)?;
        if order.last() != view.axes.last() || order.len() < 2 {
            return Err(refuse(node, "it multiplies the rows of the batch"));
        }
        let mut axes: Vec<Group> = view.axes.clone();
        let batch = axes.iter().position(|group| *group == [BATCH]).unwrap_or(0);
        axes.retain({
            let mut at = 0;
            move |group| {
                at += 1;
                !(at <= batch && group.is_empty())
            }
        });
        let mut operands = operands.to_vec();
        operands[0] = Operand::Value(Value::View(View::of(tensor, axes)));
        let constant = Constant {
            kind: Kind::Float,
            data: kernel.into_shared(),
        };
        operands[1] = Operand::Constant(constant);
        let mut plain = node.clone();
        plain.attributes.remove("transB");
        self.dense(&plain, &operands)
    }

    pub(super) fn embedding(
        &mut self,
        node: &Node,
        operands: &[Operand],
        table: &Constant,
    ) -> Made {
        let view = self.view(node, operands, 1)?;
        let shape = table.data.shape().to_vec();
        let [rows, width] = shape[..] else {
            return Err(refuse(node, "it looks up in no table of rows"));
        };
        if node.int_or("axis", 0).unwrap_or(0) != 0 {
            return Err(refuse(node, "it looks up columns"));
        }
        let features = vec![self.atoms.add(Some(width))];
        let mut axes = self.axes_of(view.tensor).to_vec();
        axes.push(features.clone());
        let config = json!({"input_dim": rows, "output_dim": width});
        let tensor = self.layer(&node.name, "Embedding", config, view.tensor, axes);
        let stage = self.tensors[tensor].stage;
        self.stages[stage].weights = vec![table.data.to_owned().into_owned()];
        let mut made = View {
            tensor,
            is_int: false,
            ..view
        };
        made.axes.push(features);
        one(made)
    }
}
