//! Several tensors in one: beside each other, or along a new axis.

use ifco_model::onnx::Node;
use serde_json::json;

use super::operators::{Made, one, resolve};
use super::recurrent::two_ways;
use super::{BATCH, Group, LAYERS, Lift, Operand, Slot, Stage, Tensor, Value, View, Way, refuse};
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
        if one.stage != other.stage {
            let pair = self.pair(forward, backward)?;
            return self.both_ways(&pair, axis, mode);
        }
        let merged = match (one.slot, other.slot) {
            (Slot::Steps(Way::One(0)), Slot::Steps(Way::One(1))) => Slot::Steps(Way::Both(mode)),
            (Slot::Last(Way::One(0)), Slot::Last(Way::One(1))) => Slot::Last(Way::Both(mode)),
            _ => return None,
        };
        if forward.axes != backward.axes {
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
    /// Makes one layer of two that read the same steps, the second from behind: so is a Bidirectional
    /// written whose cell ONNX has no operator for. What they give, as views of that layer's.
    fn pair(&mut self, forward: &View, backward: &View) -> Option<[View; 2]> {
        let (one, other) = (
            &self.tensors[forward.tensor],
            &self.tensors[backward.tensor],
        );
        let (first, second) = (one.stage, other.stage);
        let (own, back) = (&self.stages[first], &self.stages[second]);
        let is_back = |stage: &Stage| stage.config["go_backwards"] == json!(true);
        let is_pair = (own.ways, back.ways) == (1, 1)
            && own.class == back.class
            && own.inputs == back.inputs
            && own.initial_state.is_empty()
            && back.initial_state.is_empty()
            && !is_back(own)
            && is_back(back);
        // The steps of the second are as it read them.
        let time = match (one.slot, other.slot, one.axes.as_slice()) {
            (Slot::Steps(Way::One(0)), Slot::Steps(Way::One(0)), [_, time, _]) => match time[..] {
                [time] => Some(time),
                _ => return None,
            },
            (Slot::Last(Way::One(0)), Slot::Last(Way::One(0)), _) => None,
            _ => return None,
        };
        let are_in_order = forward.flipped.is_none() && backward.flipped == time;
        let ([unit], [other_unit]) = (&one.axes.last()?[..], &other.axes.last()?[..]) else {
            return None;
        };
        let (unit, other_unit) = (*unit, *other_unit);
        let is_alike = self.atoms.size(unit) == self.atoms.size(other_unit);
        let takes_steps = |tensor: &usize| {
            let tensor = &self.tensors[*tensor];
            tensor.stage == second && matches!(tensor.slot, Slot::Steps(_))
        };
        let mut taken = self
            .stages
            .iter()
            .flat_map(|stage| stage.inputs.iter().chain(&stage.initial_state));
        if !is_pair || !are_in_order || !is_alike || taken.any(takes_steps) {
            return None;
        }
        let config = two_ways(own.class, &own.config, &back.config);
        let weights = back.weights.clone();
        let merged = &mut self.stages[first];
        merged.class = "Bidirectional";
        merged.config = config;
        merged.ways = 2;
        merged.weights.extend(weights);
        self.stages[second].is_gone = true;
        let replaced = |axes: &mut Vec<Group>| {
            for atom in axes
                .iter_mut()
                .flatten()
                .filter(|atom| **atom == other_unit)
            {
                *atom = unit;
            }
        };
        let steps: Vec<bool> = self.tensors.iter().map(|t| t.stage == second).collect();
        let turned = |view: &mut View, tensors: &[Tensor]| {
            replaced(&mut view.axes);
            if let (true, Slot::Steps(_)) = (steps[view.tensor], tensors[view.tensor].slot) {
                let time = tensors[view.tensor].axes[1].first().copied();
                view.flipped = match view.flipped {
                    Some(_) => None,
                    None => time,
                };
            }
        };
        let mut pair = [forward.clone(), backward.clone()];
        let made = self.made.iter_mut().flatten();
        let views = made.filter_map(|value| match value {
            Value::View(view) => Some(view),
            _ => None,
        });
        for view in views.chain(&mut pair) {
            turned(view, &self.tensors);
        }
        for tensor in &mut self.tensors {
            replaced(&mut tensor.axes);
            if tensor.stage == second {
                tensor.stage = first;
                tensor.slot = match tensor.slot {
                    Slot::Steps(_) => Slot::Steps(Way::One(1)),
                    Slot::Last(_) => Slot::Last(Way::One(1)),
                    Slot::Cell(_) => Slot::Cell(Way::One(1)),
                    Slot::Out => Slot::Out,
                };
            }
        }
        // What both give beside each other, which all that joins them goes by.
        let way = self.atoms.add(Some(2));
        let slots = [Slot::Steps(Way::One(0)), Slot::Last(Way::One(0))];
        for slot in slots {
            let is_it = |tensor: &&Tensor| tensor.stage == first && tensor.slot == slot;
            let Some(mut axes) = self.tensors.iter().find(is_it).map(|t| t.axes.clone()) else {
                continue;
            };
            axes.last_mut()?.insert(0, way);
            let both = match slot {
                Slot::Steps(_) => Slot::Steps(Way::Both("concat")),
                _ => Slot::Last(Way::Both("concat")),
            };
            self.tensor(first, both, axes);
        }
        Some(pair)
    }
}
