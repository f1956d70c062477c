//! Parts of a tensor along an axis: one place, or some that follow each other.

use ifco_model::onnx::Node;
use serde_json::{Value as Json, json};

use super::operators::{Made, one, resolve};
use super::{BATCH, Group, Lift, OPERATIONS, Operand, Slot, Value, View, Way, refuse};
use crate::SaveError;

impl Lift<'_> {
    pub(super) fn part(&mut self, node: &Node, operands: &[Operand]) -> Made {
        if matches!(operands.first(), Some(Operand::Value(Value::Zeros))) {
            return Ok(vec![Value::Zeros; node.outputs.max(1)]);
        }
        if let (Some(Operand::Constant(table)), "Gather") = (operands.first(), node.op.as_str()) {
            return self.embedding(node, operands, table);
        }
        let view = self.view(node, operands, 0)?;
        let rank = view.axes.len();
        let axis =
            |axis: i64| resolve(axis, rank).ok_or_else(|| refuse(node, "it has no such axis"));
        let not_known = || refuse(node, "which part it takes is computed");
        match node.op.as_str() {
            "Gather" => {
                let Some(Operand::Constant(indices)) = operands.get(1) else {
                    return Err(not_known());
                };
                let axis = axis(node.int_or("axis", 0).unwrap_or(0))?;
                let index: Vec<i64> = indices.data.iter().map(|value| *value as i64).collect();
                let [index] = index[..] else {
                    return Err(refuse(node, "it takes several parts at once"));
                };
                let mut view = self.at(node, &view, axis, index)?;
                match indices.data.ndim() {
                    0 => {
                        view.axes.remove(axis);
                    }
                    1 => {}
                    _ => return Err(refuse(node, "it takes several parts at once")),
                }
                one(view)
            }
            "Split" => {
                let axis = axis(node.int_or("axis", 0).unwrap_or(0))?;
                let size = self.atoms.product(&view.axes[axis]).ok_or_else(not_known)?;
                let count = node.outputs.max(1);
                let listed = node.ints("split").ok().flatten();
                let listed = listed.or_else(|| operands.get(1)?.integers());
                let each = size.div_ceil(count);
                let sizes = listed.unwrap_or_else(|| {
                    let part = |index: usize| each.min(size.saturating_sub(index * each)) as i64;
                    (0..count).map(part).collect()
                });
                let mut from = 0;
                let mut made = Vec::new();
                for length in sizes {
                    let to = i64::checked_add(from, length)
                        .filter(|to| (from..=size as i64).contains(to));
                    let to =
                        to.ok_or_else(|| refuse(node, "its parts are larger than the whole"))?;
                    made.push(Value::View(
                        self.between(node, &view, axis, from, to, size)?,
                    ));
                    from = to;
                }
                Ok(made)
            }
            _ => {
                let listed = |index: usize, key: &str| {
                    let own = node.ints(key).ok().flatten();
                    own.or_else(|| operands.get(index)?.integers())
                };
                let starts = listed(1, "starts").ok_or_else(not_known)?;
                let ends = listed(2, "ends").ok_or_else(not_known)?;
                let axes = listed(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
                let steps = listed(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
                let mut view = view;
                for (((start, end), at), step) in starts.iter().zip(ends).zip(axes).zip(steps) {
                    let at = axis(at)?;
                    let group = view.axes[at].clone();
                    let size = self.atoms.product(&group);
                    match (*start, end, step) {
                        (-1, i64::MIN..=-2_147_483_647, -1) if group.len() == 1 => {
                            let flipped = (view.flipped.is_none()).then_some(group[0]);
                            if view.flipped.is_some_and(|other| other != group[0]) {
                                return Err(refuse(node, "it turns two axes round"));
                            }
                            view.flipped = flipped;
                        }
                        (0, 2_147_483_647.., 1) => {}
                        (-1, 0 | 2_147_483_647.., 1) if *start == -1 && end != 0 => {
                            view = self.at(node, &view, at, -1)?;
                        }
                        (start @ 0.., end, 1) if end.checked_sub(1) == Some(start) => {
                            view = self.at(node, &view, at, start)?;
                        }
                        (start, end, 1) => {
                            let size = size.ok_or_else(not_known)?;
                            let from_end = |at: i64| {
                                if at < 0 {
                                    at.saturating_add(size as i64)
                                } else {
                                    at
                                }
                            };
                            let (start, end) = (
                                from_end(start).clamp(0, size as i64),
                                from_end(end).clamp(0, size as i64),
                            );
                            view = self.between(node, &view, at, start, end, size)?;
                        }
                        _ => return Err(refuse(node, "it takes some steps and leaves others out")),
                    }
                }
                one(view)
            }
        }
    }

    /// One place of an axis, which stays as one of size 1.
    pub(super) fn at(
        &mut self,
        node: &Node,
        view: &View,
        axis: usize,
        index: i64,
    ) -> Result<View, SaveError> {
        let group = view.axes[axis].clone();
        let mut view = view.clone();
        if group.is_empty() {
            return Ok(view);
        }
        if group == [BATCH] || group.contains(&BATCH) {
            return Err(refuse(node, "it takes one of the rows of the batch"));
        }
        view.axes[axis] = Group::new();
        let tensor = &self.tensors[view.tensor];
        let (stage, slot) = (tensor.stage, tensor.slot);
        let last = tensor.axes.last().cloned().unwrap_or_default();
        let ways = self.stages[stage].ways;
        // One direction of a recurrent layer.
        if group.len() == 1 && last.len() == 2 && last[0] == group[0] && ways == 2 {
            let way = Way::One(match index {
                0 | -2 => 0,
                1 | -1 => 1,
                _ => return Err(refuse(node, "there are two directions")),
            });
            let slot = match slot {
                Slot::Steps(_) => Slot::Steps(way),
                Slot::Last(_) => Slot::Last(way),
                Slot::Cell(_) => Slot::Cell(way),
                Slot::Out => Slot::Out,
            };
            let mut axes = tensor.axes.clone();
            if let Some(last) = axes.last_mut() {
                last.remove(0);
            }
            view.tensor = self.known_tensor(stage, slot, axes);
            return Ok(view);
        }
        let is_flipped = view.flipped.is_some_and(|atom| group == [atom]);
        let index = if is_flipped { -1 - index } else { index };
        // The last step that a recurrent layer read is its state.
        if let (Slot::Steps(Way::One(0)), 1, [_, time, _]) = (slot, ways, tensor.axes.as_slice())
            && *time == group
            && index == -1
        {
            let mut axes = tensor.axes.clone();
            axes.remove(1);
            view.flipped = None;
            view.tensor = self.known_tensor(stage, Slot::Last(Way::One(0)), axes);
            return Ok(view);
        }
        let place = tensor.axes.iter().position(|own| *own == group);
        let place = place.ok_or_else(|| refuse(node, "it takes a part of joined axes"))?;
        if is_flipped {
            view.flipped = None;
        }
        let mut axes = tensor.axes.clone();
        axes.remove(place);
        view.tensor = self.item(node, view.tensor, place, json!(index), axes);
        Ok(view)
    }

    /// The places of an axis from `from` to `to`.
    pub(super) fn between(
        &mut self,
        node: &Node,
        view: &View,
        axis: usize,
        from: i64,
        to: i64,
        size: usize,
    ) -> Result<View, SaveError> {
        if (from, to) == (0, size as i64) {
            return Ok(view.clone());
        }
        if to == from + 1 {
            return self.at(node, view, axis, from);
        }
        let group = view.axes[axis].clone();
        let place = self
            .axes_of(view.tensor)
            .iter()
            .position(|own| *own == group);
        let place = place.filter(|_| !group.contains(&BATCH) && view.flipped.is_none());
        let place = place.ok_or_else(|| refuse(node, "it takes a part of joined axes"))?;
        let part = vec![self.atoms.add(usize::try_from(to - from).ok())];
        let mut axes = self.axes_of(view.tensor).to_vec();
        axes[place].clone_from(&part);
        let key = slice(json!(from), json!(to));
        let tensor = self.item(node, view.tensor, place, key, axes);
        let mut view = View {
            tensor,
            ..view.clone()
        };
        view.axes[axis] = part;
        Ok(view)
    }

    /// `x[:, key]`
    pub(super) fn item(
        &mut self,
        node: &Node,
        from: usize,
        place: usize,
        key: Json,
        axes: Vec<Group>,
    ) -> usize {
        let mut keys = vec![slice(Json::Null, Json::Null); place];
        keys.push(key);
        let stage = self.push(&node.name, OPERATIONS, "GetItem", json!({}), vec![from]);
        self.stages[stage].more = Some(Json::Array(keys));
        self.tensor(stage, Slot::Out, axes)
    }

    /// A tensor of a recurrent layer, which may be there already.
    pub(super) fn known_tensor(&mut self, stage: usize, slot: Slot, axes: Vec<Group>) -> usize {
        let known = self
            .tensors
            .iter()
            .position(|tensor| tensor.stage == stage && tensor.slot == slot);
        known.unwrap_or_else(|| self.tensor(stage, slot, axes))
    }
}

/// `start:stop` in Keras's JSON.
fn slice(start: Json, stop: Json) -> Json {
    json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": null}})
}
