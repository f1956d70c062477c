//! What only moves axes, and what spreads over new ones.

use ifco_model::onnx::{Attribute, Constant, Node};
use serde_json::json;

use super::operators::{Made, one, resolve};
use super::sizes::Size;
use super::{BATCH, Lift, Operand, Value, View, refuse};
use crate::SaveError;

impl Lift<'_> {
    pub(super) fn layout(&mut self, node: &Node, operands: &[Operand]) -> Made {
        if matches!(operands.first(), Some(Operand::Value(Value::Zeros))) {
            return Ok(vec![Value::Zeros]);
        }
        let view = self.view(node, operands, 0)?;
        let rank = view.axes.len();
        let strange = || refuse(node, "its axes are not those of its input");
        let axes = |length: usize| -> Result<Vec<usize>, SaveError> {
            let listed = node.ints("axes").ok().flatten();
            let listed = listed.or_else(|| operands.get(1)?.integers());
            let listed = listed.ok_or_else(|| refuse(node, "its axes are not known"))?;
            let length = length
                + if node.op == "Unsqueeze" {
                    listed.len()
                } else {
                    0
                };
            listed
                .iter()
                .map(|axis| resolve(*axis, length).ok_or_else(strange))
                .collect()
        };
        let made = match node.op.as_str() {
            "Transpose" => {
                let order = node.ints("perm").ok().flatten();
                let order = order.unwrap_or_else(|| (0..rank as i64).rev().collect());
                let order: Option<Vec<usize>> = order.iter().map(|a| resolve(*a, rank)).collect();
                view.transposed(&order.ok_or_else(strange)?)
            }
            "Squeeze" => {
                let listed = match (node.ints("axes").ok().flatten(), operands.get(1)) {
                    (None, None | Some(Operand::Absent)) => {
                        (0..rank).filter(|a| view.axes[*a].is_empty()).collect()
                    }
                    _ => axes(rank)?,
                };
                view.squeezed(&listed, &self.atoms)
            }
            "Unsqueeze" => view.unsqueezed(&axes(rank)?),
            "Flatten" => {
                let at = node.int_or("axis", 1).unwrap_or(1);
                let at = if at == rank as i64 {
                    rank
                } else {
                    resolve(at, rank).ok_or_else(strange)?
                };
                let (front, back) = view.axes.split_at(at);
                Some(View {
                    axes: vec![front.concat(), back.concat()],
                    ..view.clone()
                })
            }
            _ => return self.reshape(node, operands, &view),
        };
        one(made.ok_or_else(strange)?)
    }

    pub(super) fn reshape(&mut self, node: &Node, operands: &[Operand], view: &View) -> Made {
        let target = operands.get(1).and_then(Operand::sizes);
        let (target, _) = target.ok_or_else(|| refuse(node, "its shape is not known"))?;
        if let Some(axes) = self.atoms.regrouped(&view.axes, &target) {
            return one(View {
                axes,
                ..view.clone()
            });
        }
        // Axes that are not there as they are: a Reshape of Keras, row by row.
        let is_batch = match &target[..] {
            [Size::Axis(group), ..] => *group == [BATCH],
            [Size::Known(0), ..] => view.axes.first().is_some_and(|group| *group == [BATCH]),
            [Size::Known(-1), rest @ ..] => {
                let known = |size: &Size| match size {
                    Size::Known(size) => usize::try_from(*size).ok(),
                    _ => None,
                };
                let wanted = rest
                    .iter()
                    .try_fold(1usize, |all, size| all.checked_mul(known(size)?));
                let others: Vec<_> = view
                    .axes
                    .iter()
                    .flatten()
                    .filter(|a| **a != BATCH)
                    .copied()
                    .collect();
                wanted.is_some() && wanted == self.atoms.product(&others)
            }
            _ => false,
        };
        if !is_batch {
            return Err(refuse(
                node,
                "it mixes the rows of the batch with other axes",
            ));
        }
        let (tensor, order) = self.whole(node, view)?;
        let mut axes = vec![vec![BATCH]];
        let mut shape = Vec::new();
        for (index, size) in target[1..].iter().enumerate() {
            let (size, atom) = match size {
                Size::Known(0) => {
                    let group = order.get(index + 1).cloned();
                    let group = group.ok_or_else(|| refuse(node, "its shape has more axes"))?;
                    (self.atoms.product(&group), group)
                }
                Size::Known(size) if *size > 0 => {
                    let atom = self.atoms.add(usize::try_from(*size).ok());
                    (usize::try_from(*size).ok(), vec![atom])
                }
                Size::Known(_) => (None, vec![self.atoms.add(None)]),
                Size::Axis(group) => (None, group.clone()),
                Size::Mixed => return Err(refuse(node, "its shape is computed")),
            };
            shape.push(size.map_or(json!(-1), |size| json!(size)));
            axes.push(atom);
        }
        if shape.iter().filter(|size| **size == json!(-1)).count() > 1 {
            return Err(refuse(node, "more than one of its sizes is open"));
        }
        let config = json!({"target_shape": shape});
        let tensor = self.layer(&node.name, "Reshape", config, tensor, axes.clone());
        one(View::of(tensor, axes))
    }

    pub(super) fn spread(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let is_zero = |constant: &Constant| constant.data.iter().all(|value| *value == 0.0);
        let zeros = match operands.first() {
            Some(Operand::Constant(constant)) => is_zero(constant),
            Some(Operand::Value(Value::Zeros)) => true,
            Some(Operand::Value(Value::Sizes(..))) => match node.attributes.get("value") {
                Some(Attribute::Tensor(constant)) => is_zero(constant),
                _ => true,
            },
            _ => false,
        };
        if zeros {
            return Ok(vec![Value::Zeros]);
        }
        // (batch, 1, features) so many times: a RepeatVector.
        let view = self.view(node, operands, 0)?;
        let times = operands.get(1).and_then(Operand::sizes);
        let axis = view.axes.iter().position(Vec::is_empty);
        if let (Some((sizes, _)), Some(axis), 3) = (times, axis, view.axes.len())
            && sizes.len() == 3
            && let Size::Known(count @ 1..) = sizes[axis]
            && sizes.iter().enumerate().all(|(at, size)| {
                at == axis || *size == Size::Known(1) || *size == self.atoms.as_size(&view.axes[at])
            })
        {
            let flat = view.squeezed(&[axis], &self.atoms);
            let flat = flat.ok_or_else(|| refuse(node, "it spreads another axis than time"))?;
            let (tensor, order) = self.whole(node, &flat)?;
            let time = vec![self.atoms.add(Some(count as usize))];
            let [batch, features] = order.as_slice() else {
                return Err(refuse(node, "it spreads more than features"));
            };
            let axes = vec![batch.clone(), time.clone(), features.clone()];
            let config = json!({"n": count});
            let tensor = self.layer(&node.name, "RepeatVector", config, tensor, axes);
            let mut axes = view.axes.clone();
            axes[axis] = time;
            return one(View::of(tensor, axes));
        }
        Err(refuse(
            node,
            "it spreads its input, which no layer of Keras does so",
        ))
    }
}
