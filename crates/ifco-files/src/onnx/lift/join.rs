//! Several tensors in one: beside each other, or along a new axis.

use ifco_model::onnx::Node;
use serde_json::json;

use super::operators::{Made, one, resolve};
use super::{BATCH, Group, LAYERS, Lift, Operand, Slot, Value, View, Way, refuse};
use crate::SaveError;

impl Lift<'_> {
    pub(super) fn concat(&mut self, node: &Node, operands: &[Operand]) -> Made {
        if operands
            .iter()
            .all(|operand| matches!(operand, Operand::Value(Value::Zeros)))
        {
            return Ok(vec![Value::Zeros]);
        }
        let views = (0..operands.len()).map(|index| self.view(node, operands, index));
        let views: Vec<View> = views.collect::<Result<_, _>>()?;
        let first = views[0].clone();
        let axis = resolve(node.int_or("axis", 0).unwrap_or(0), first.axes.len());
        let axis = axis.ok_or_else(|| refuse(node, "it has no such axis"))?;
        if views.len() == 1 {
            return one(first);
        }
        if let Some(view) = self.both_ways(&views, Some(axis), "concat") {
            return one(view);
        }
        let group = first.axes[axis].clone();
        let mut size = Some(0usize);
        for view in &views {
            let own = view
                .axes
                .get(axis)
                .and_then(|group| self.atoms.product(group));
            size = size.and_then(|size| size.checked_add(own?));
        }
        let joined = vec![self.atoms.add(size)];
        // Axes may have other atoms in each, but must stand alike.
        let mut tensors = Vec::new();
        let mut place = None;
        let mut order = Vec::new();
        for view in &views {
            let is_plain = {
                let own = self.axes_of(view.tensor);
                own.iter().all(|group| view.axes.contains(group))
                    && view.axes.len() == own.len()
                    && view.flipped == first.flipped
            };
            let (tensor, own, found) = if view.axes[axis].is_empty() {
                self.stacked(node, view, axis)?
            } else {
                let (tensor, own) = match is_plain {
                    true => (view.tensor, self.axes_of(view.tensor).to_vec()),
                    false => self.whole(node, view)?,
                };
                let found = own.iter().position(|group| *group == view.axes[axis]);
                (tensor, own, found)
            };
            if found.is_none() || *place.get_or_insert(found) != found {
                let reason = "its inputs have their axes in different orders";
                return Err(refuse(node, reason));
            }
            tensors.push(tensor);
            order = own;
        }
        let place = place.flatten().unwrap_or(0);
        if group == [BATCH] {
            return Err(refuse(node, "it joins rows of the batch"));
        }
        let mut axes = order;
        axes[place].clone_from(&joined);
        let stage = self.push(
            &node.name,
            LAYERS,
            "Concatenate",
            json!({"axis": place}),
            tensors,
        );
        self.stages[stage].takes_list = true;
        let tensor = self.tensor(stage, Slot::Out, axes);
        let last = views.last().cloned().unwrap_or(first);
        let mut view = View { tensor, ..last };
        view.axes[axis] = joined;
        one(view)
    }

    /// A view whose axis of size 1 becomes one of the tensor, and where in the tensor.
    pub(super) fn stacked(
        &mut self,
        node: &Node,
        view: &View,
        axis: usize,
    ) -> Result<(usize, Vec<Group>, Option<usize>), SaveError> {
        let flat = view.squeezed(&[axis], &self.atoms);
        let flat = flat.ok_or_else(|| refuse(node, "it stacks joined axes"))?;
        let (tensor, mut own) = self.whole(node, &flat)?;
        let before = view.axes[..axis].iter();
        let place = 1 + before.filter(|group| own[1..].contains(group)).count();
        let size = vec![self.atoms.add(Some(1))];
        own.insert(place, size);
        let tensor = self.reshaped(node, tensor, &own)?;
        Ok((tensor, own, Some(place)))
    }

    /// Both directions of one recurrent layer, in their order: as Keras joins them.
    pub(super) fn both_ways(
        &mut self,
        views: &[View],
        axis: Option<usize>,
        mode: &'static str,
    ) -> Option<View> {
        let [forward, backward] = views else {
            return None;
        };
        let (one, other) = (
            &self.tensors[forward.tensor],
            &self.tensors[backward.tensor],
        );
        let merged = match (one.slot, other.slot) {
            (Slot::Steps(Way::One(0)), Slot::Steps(Way::One(1))) => Slot::Steps(Way::Both(mode)),
            (Slot::Last(Way::One(0)), Slot::Last(Way::One(1))) => Slot::Last(Way::Both(mode)),
            _ => return None,
        };
        if one.stage != other.stage || forward.axes != backward.axes {
            return None;
        }
        let stage = one.stage;
        let units = one.axes.last()?.clone();
        if axis.is_some_and(|axis| forward.axes[axis] != units) {
            return None;
        }
        let both = self.tensors.iter().find(|tensor| {
            tensor.stage == stage
                && matches!(
                    (tensor.slot, merged),
                    (Slot::Steps(Way::Both("concat")), Slot::Steps(_))
                        | (Slot::Last(Way::Both("concat")), Slot::Last(_))
                )
        })?;
        let shown = match mode {
            "concat" => both.axes.last()?.clone(),
            _ => units.clone(),
        };
        let mut axes = one.axes.clone();
        *axes.last_mut()? = shown.clone();
        let forward = forward.clone();
        let tensor = self.known_tensor(stage, merged, axes);
        Some(forward.over(tensor, &units, &shown))
    }
}
