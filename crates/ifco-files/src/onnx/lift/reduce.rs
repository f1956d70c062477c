//! What goes along an axis as a whole: sums, means, the order of steps, the normalizations.

use ifco_model::onnx::Node;
use serde_json::json;

use super::operators::{Made, one, resolve, tidy};
use super::sizes::is_whole;
use super::{BATCH, Group, Lift, OPERATIONS, Operand, Slot, View, refuse};
use crate::SaveError;

impl Lift<'_> {
    pub(super) fn reduce(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let view = self.view(node, operands, 0)?;
        let rank = view.axes.len();
        let listed = node.ints("axes").ok().flatten();
        let listed = listed.or_else(|| operands.get(1)?.integers());
        let [axis] = listed.unwrap_or_default()[..] else {
            return Err(refuse(node, "it reduces several axes at once"));
        };
        let axis = resolve(axis, rank).ok_or_else(|| refuse(node, "it has no such axis"))?;
        let keeps = node.int_or("keepdims", 1).unwrap_or(1) != 0;
        let mut view = self.reduced(node, &view, axis)?;
        if !keeps {
            view.axes.remove(axis);
        }
        one(view)
    }

    /// One axis reduced, which stays as one of size 1.
    pub(super) fn reduced(
        &mut self,
        node: &Node,
        view: &View,
        axis: usize,
    ) -> Result<View, SaveError> {
        let group = view.axes[axis].clone();
        let own = self.axes_of(view.tensor).to_vec();
        let place = own.iter().position(|own| *own == group && group != [BATCH]);
        let place = place.ok_or_else(|| refuse(node, "it reduces joined axes, or the batch"))?;
        let mut axes = own.clone();
        axes.remove(place);
        let is_time = own.len() == 3 && place == 1;
        let class = match (node.op.as_str(), is_time) {
            ("ReduceMean" | "GlobalAveragePool", true) => "GlobalAveragePooling1D",
            ("ReduceMax" | "GlobalMaxPool", true) => "GlobalMaxPooling1D",
            (op, _) => {
                let class = match op {
                    "ReduceMean" | "GlobalAveragePool" => "Mean",
                    "ReduceMax" | "GlobalMaxPool" => "Max",
                    "ReduceSum" => "Sum",
                    _ => "Min",
                };
                let config = json!({"axis": place, "keepdims": false});
                let stage = self.push(&node.name, OPERATIONS, class, config, vec![view.tensor]);
                let tensor = self.tensor(stage, Slot::Out, axes);
                let mut view = View {
                    tensor,
                    ..view.clone()
                };
                view.axes[axis] = Group::new();
                view.flipped = view.flipped.filter(|atom| group != [*atom]);
                return Ok(view);
            }
        };
        let tensor = self.layer(&node.name, class, json!({}), view.tensor, axes);
        let mut view = View {
            tensor,
            ..view.clone()
        };
        view.axes[axis] = Group::new();
        view.flipped = view.flipped.filter(|atom| group != [*atom]);
        Ok(view)
    }

    pub(super) fn reverse(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let mut view = self.view(node, operands, 0)?;
        let time = usize::try_from(node.int_or("time_axis", 0).unwrap_or(0)).ok();
        let group = time
            .and_then(|axis| view.axes.get(axis))
            .cloned()
            .unwrap_or_default();
        let lens = operands.get(1).unwrap_or(&Operand::Absent);
        let [atom] = group[..] else {
            return Err(refuse(node, "it turns round what is no axis of its own"));
        };
        if !is_whole(lens, &group, &self.atoms) {
            return Err(refuse(node, "it is given the lengths of its sequences"));
        }
        view.flipped = match view.flipped {
            None => Some(atom),
            Some(known) if known == atom => None,
            Some(_) => return Err(refuse(node, "it turns two axes round")),
        };
        one(view)
    }

    pub(super) fn normalize(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let view = self.view(node, operands, 0)?;
        let features = self.features(&view);
        let is_layer = node.op == "LayerNormalization";
        let axis = match is_layer {
            true => resolve(node.int_or("axis", -1).unwrap_or(-1), view.axes.len()),
            false => Some(1),
        };
        let is_last = axis.is_some_and(|axis| view.axes.get(axis) == Some(&features));
        if !is_last || is_layer && axis != Some(view.axes.len() - 1) {
            return Err(refuse(
                node,
                "it works along another axis than the features",
            ));
        }
        let mut weights = Vec::new();
        for operand in &operands[1..] {
            match operand {
                Operand::Constant(constant) => weights.push(constant.data.to_owned().into_owned()),
                Operand::Absent => {}
                other => return Err(self.strange(node, Some(other))),
            }
        }
        let epsilon = node.float_or("epsilon", 1e-5).unwrap_or(1e-5);
        let config = json!({
            "axis": -1, "epsilon": tidy(epsilon),
            "scale": true, "center": !is_layer || weights.len() > 1,
        });
        let class = if is_layer {
            "LayerNormalization"
        } else {
            "BatchNormalization"
        };
        let made = self.keeping(node, &view, class, config);
        let stage = self.tensors[made.tensor].stage;
        self.stages[stage].weights = weights;
        one(made)
    }
}
