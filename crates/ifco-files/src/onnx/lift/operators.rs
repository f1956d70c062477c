//! Every operator but the recurrent ones and those of windows, as layers of Keras.

use ifco_model::onnx::{Constant, Node};
use ndarray::{ArrayD, Axis};
use serde_json::{Value as Json, json};

use super::sizes::is_whole;
use super::{BATCH, Group, LAYERS, Lift, OPERATIONS, Operand, Slot, Value, View, Way, refuse};
use crate::SaveError;

type Made = Result<Vec<Value>, SaveError>;

/// Layers that stand for one number or one number a feature, until [`fuse`](super::fuse) finds
/// what they are part of.
pub(super) const SCALE: &str = "@Scale";
pub(super) const SHIFT: &str = "@Shift";
/// erf, of which Keras has gelu alone.
pub(super) const ERF: &str = "@Erf";

fn one(view: View) -> Made {
    Ok(vec![Value::View(view)])
}

impl Lift<'_> {
    /// What a node makes.
    pub(super) fn operator(&mut self, node: &Node, operands: &[Operand]) -> Made {
        match node.op.as_str() {
            "Identity" | "Dropout" | "Cast" | "CastLike" => self.same(node, operands),
            "Transpose" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => {
                self.layout(node, operands)
            }
            "ConstantOfShape" | "Expand" => self.spread(node, operands),
            "MatMul" | "Gemm" => self.dense(node, operands),
            "Gather" | "Slice" | "Split" => self.part(node, operands),
            "Concat" => self.concat(node, operands),
            "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Mean" | "Sum" => {
                self.number_by_number(node, operands)
            }
            "Softmax" | "LogSoftmax" => self.softmax(node, operands),
            "ReduceMean" | "ReduceMax" | "ReduceSum" | "ReduceMin" => self.reduce(node, operands),
            "ReverseSequence" => self.reverse(node, operands),
            "LayerNormalization" | "BatchNormalization" => self.normalize(node, operands),
            "Conv" | "MaxPool" | "AveragePool" | "GlobalMaxPool" | "GlobalAveragePool" | "Pad" => {
                self.windows(node, operands)
            }
            _ => self.activation(node, operands),
        }
    }

    pub(super) fn view(
        &self,
        node: &Node,
        operands: &[Operand],
        index: usize,
    ) -> Result<View, SaveError> {
        match operands.get(index) {
            Some(Operand::Value(Value::View(view))) => Ok(view.clone()),
            other => Err(self.strange(node, other)),
        }
    }

    /// A layer that keeps the shape.
    pub(super) fn keeping(
        &mut self,
        node: &Node,
        view: &View,
        class: &'static str,
        config: Json,
    ) -> View {
        let axes = self.axes_of(view.tensor).to_vec();
        let tensor = self.layer(&node.name, class, config, view.tensor, axes);
        View {
            tensor,
            is_int: false,
            ..view.clone()
        }
    }

    fn same(&mut self, node: &Node, operands: &[Operand]) -> Made {
        if matches!(operands.first(), Some(Operand::Value(Value::Zeros))) {
            return Ok(vec![Value::Zeros]);
        }
        let mut view = self.view(node, operands, 0)?;
        // Numbers are cut off where they become whole, which an Embedding does anyway.
        if node.op == "Cast" && matches!(node.int_or("to", 1), Ok(2..=8 | 12 | 13)) {
            view.is_int = true;
        } else if node.op == "Cast" && view.is_int {
            return Err(refuse(
                node,
                "it takes numbers cut to whole ones for others",
            ));
        }
        one(view)
    }

    fn layout(&mut self, node: &Node, operands: &[Operand]) -> Made {
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

    fn reshape(&mut self, node: &Node, operands: &[Operand], view: &View) -> Made {
        let target = operands.get(1).and_then(Operand::sizes);
        let (target, _) = target.ok_or_else(|| refuse(node, "its shape is not known"))?;
        if let Some(axes) = self.atoms.regrouped(&view.axes, &target) {
            return one(View {
                axes,
                ..view.clone()
            });
        }
        // Axes that are not there as they are: a Reshape of Keras, row by row.
        use super::Size;
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

    fn spread(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let is_zero = |constant: &Constant| constant.data.iter().all(|value| *value == 0.0);
        let zeros = match operands.first() {
            Some(Operand::Constant(constant)) => is_zero(constant),
            Some(Operand::Value(Value::Zeros)) => true,
            Some(Operand::Value(Value::Sizes(..))) => match node.attributes.get("value") {
                Some(ifco_model::onnx::Attribute::Tensor(constant)) => is_zero(constant),
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
            && let super::Size::Known(count @ 1..) = sizes[axis]
            && sizes.iter().enumerate().all(|(at, size)| {
                at == axis
                    || *size == super::Size::Known(1)
                    || *size == self.atoms.as_size(&view.axes[at])
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

    fn dense(&mut self, node: &Node, operands: &[Operand]) -> Made {
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
    fn dense_of(
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
            kind: ifco_model::onnx::Kind::Float,
            data: kernel.into_shared(),
        };
        operands[1] = Operand::Constant(constant);
        let mut plain = node.clone();
        plain.attributes.remove("transB");
        self.dense(&plain, &operands)
    }

    fn part(&mut self, node: &Node, operands: &[Operand]) -> Made {
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
                    let to = from + length;
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
                        (start @ 0.., end, 1) if end == start + 1 => {
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
    fn at(&mut self, node: &Node, view: &View, axis: usize, index: i64) -> Result<View, SaveError> {
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
            let way = Way::One(usize::from(index != 0));
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
    fn between(
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
    fn item(
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

    fn embedding(&mut self, node: &Node, operands: &[Operand], table: &Constant) -> Made {
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

    fn concat(&mut self, node: &Node, operands: &[Operand]) -> Made {
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
    fn stacked(
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
    fn both_ways(
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

    fn number_by_number(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let given = operands.iter().enumerate();
        let constants: Vec<usize> = given
            .filter(|(_, operand)| matches!(operand, Operand::Constant(_)))
            .map(|(index, _)| index)
            .collect();
        match (constants.as_slice(), operands.len()) {
            ([], _) => {}
            ([index], 2) => {
                let view = self.view(node, operands, 1 - index)?;
                let is_first = *index == 0;
                return match node.op.as_str() {
                    "Add" | "Sum" => self.with_constant(node, "Add", &view, operands, *index),
                    "Mul" => self.with_constant(node, "Mul", &view, operands, *index),
                    "Sub" | "Div" if !is_first => {
                        self.with_constant(node, &node.op.clone(), &view, operands, *index)
                    }
                    _ => Err(refuse(
                        node,
                        "it computes with numbers that no layer of Keras keeps",
                    )),
                };
            }
            _ => {
                return Err(refuse(
                    node,
                    "it computes with numbers that no layer of Keras keeps",
                ));
            }
        }
        let views = (0..operands.len()).map(|index| self.view(node, operands, index));
        let views: Vec<View> = views.collect::<Result<_, _>>()?;
        let mode = match node.op.as_str() {
            "Add" | "Sum" => "sum",
            "Mul" => "mul",
            "Mean" => "ave",
            _ => "",
        };
        if !mode.is_empty()
            && let Some(view) = self.both_ways(&views, None, mode)
        {
            return one(view);
        }
        let class = match node.op.as_str() {
            "Add" | "Sum" => "Add",
            "Sub" => "Subtract",
            "Mul" => "Multiply",
            "Max" => "Maximum",
            "Min" => "Minimum",
            "Mean" => "Average",
            _ => {
                return Err(refuse(
                    node,
                    "it divides two tensors, which no layer of Keras does",
                ));
            }
        };
        let first = &views[0];
        let alike = |view: &View| {
            view.axes == first.axes
                && view.flipped == first.flipped
                && self.axes_of(view.tensor) == self.axes_of(first.tensor)
        };
        let are_alike = views.iter().all(alike);
        let (tensors, made) = if are_alike {
            (
                views.iter().map(|view| view.tensor).collect(),
                first.clone(),
            )
        } else {
            let mut tensors = Vec::new();
            let mut order: Vec<Group> = Vec::new();
            for view in &views {
                let (tensor, own) = self.whole(node, view)?;
                if !order.is_empty() && own.len() != order.len() {
                    return Err(refuse(node, "its inputs have different numbers of axes"));
                }
                let is_wider = |group: &Group, kept: &Group| kept.is_empty() && !group.is_empty();
                match order.is_empty() {
                    true => order = own,
                    false => {
                        for (kept, group) in order.iter_mut().zip(own) {
                            if is_wider(&group, kept) {
                                *kept = group;
                            }
                        }
                    }
                }
                tensors.push(tensor);
            }
            (tensors, View::of(0, order))
        };
        let axes = match are_alike {
            true => self.axes_of(first.tensor).to_vec(),
            false => made.axes.clone(),
        };
        let stage = self.push(&node.name, LAYERS, class, json!({}), tensors);
        self.stages[stage].takes_list = true;
        let tensor = self.tensor(stage, Slot::Out, axes);
        one(View {
            tensor,
            is_int: false,
            ..made
        })
    }

    /// A view and numbers that the file tells.
    pub(super) fn with_constant(
        &mut self,
        node: &Node,
        op: &str,
        view: &View,
        operands: &[Operand],
        index: usize,
    ) -> Made {
        let Some(Operand::Constant(constant)) = operands.get(index) else {
            return Err(self.strange(node, operands.get(index)));
        };
        let data = &constant.data;
        let features = self.features(view);
        let long: Vec<usize> = (0..data.ndim())
            .filter(|axis| data.shape()[*axis] != 1)
            .collect();
        let values: ArrayD<f32> = match long[..] {
            [] if data.len() == 1 && data.ndim() <= view.axes.len() => {
                let value = data.iter().next().copied().unwrap_or_default();
                // One number a feature, where there is one feature.
                let axis = (view.axes.len() + 1)
                    .checked_sub(data.ndim().max(1))
                    .unwrap_or(0);
                let is_vector = data.ndim() > 0
                    && self.atoms.product(&features) == Some(1)
                    && view
                        .axes
                        .get(axis.saturating_sub(1)..)
                        .is_some_and(|axes| axes.contains(&features));
                match is_vector {
                    true => ArrayD::from_elem(vec![1], value),
                    false => ArrayD::from_elem(vec![], value),
                }
            }
            [axis] if data.ndim() <= view.axes.len() => {
                let group = &view.axes[view.axes.len() - data.ndim() + axis];
                if *group != features || self.atoms.product(group) != Some(data.shape()[axis]) {
                    return Err(refuse(
                        node,
                        "it has numbers for another axis than the features",
                    ));
                }
                let mut values = data.to_owned().into_owned();
                while values.ndim() > 1 {
                    let at = usize::from(values.shape()[0] != 1);
                    values = values.index_axis_move(Axis(at), 0);
                }
                values
            }
            _ => {
                return Err(refuse(
                    node,
                    "it computes with numbers that no layer of Keras keeps",
                ));
            }
        };
        let (class, values) = match op {
            "Add" => (SHIFT, values),
            "Sub" => (SHIFT, values.mapv(|value| -value)),
            "Mul" => (SCALE, values),
            _ => {
                if values
                    .iter()
                    .any(|value| (1.0 / value) * value != 1.0 || !(1.0 / value).is_normal())
                {
                    self.notes.push(format!(
                        "{}: it multiplies by the reciprocal instead of dividing",
                        node.name
                    ));
                }
                (SCALE, values.mapv(f32::recip))
            }
        };
        let made = self.keeping(node, view, class, json!({}));
        let stage = self.tensors[made.tensor].stage;
        self.stages[stage].weights = vec![values];
        one(made)
    }

    fn softmax(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let view = self.view(node, operands, 0)?;
        let default = if node.opset < 13 { 1 } else { -1 };
        let axis = resolve(
            node.int_or("axis", default).unwrap_or(default),
            view.axes.len(),
        );
        let is_last = axis.is_some_and(|axis| view.axes[axis] == self.features(&view));
        if !is_last || node.opset < 13 && axis != Some(view.axes.len() - 1) {
            return Err(refuse(
                node,
                "it works along another axis than the features",
            ));
        }
        let name = if node.op == "Softmax" {
            "softmax"
        } else {
            "log_softmax"
        };
        one(self.keeping(node, &view, "Activation", json!({"activation": name})))
    }

    fn reduce(&mut self, node: &Node, operands: &[Operand]) -> Made {
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

    fn reverse(&mut self, node: &Node, operands: &[Operand]) -> Made {
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

    fn normalize(&mut self, node: &Node, operands: &[Operand]) -> Made {
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

    /// A function of each number.
    fn activation(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let named = match node.op.as_str() {
            "Relu" => "relu",
            "Sigmoid" => "sigmoid",
            "Tanh" => "tanh",
            "Softplus" => "softplus",
            "Softsign" => "softsign",
            "Selu" => "selu",
            "Exp" => "exponential",
            "HardSwish" => "hard_silu",
            "Mish" => "mish",
            "Gelu"
                if node
                    .string_or("approximate", "none")
                    .is_ok_and(|how| how == "none") =>
            {
                "gelu"
            }
            _ => "",
        };
        let plain = |name: &str| ("Activation", json!({"activation": name}));
        let alpha = |default: f32| node.float_or("alpha", default).unwrap_or(default);
        let scalar = |index: usize| match operands.get(index) {
            Some(Operand::Constant(constant)) if constant.data.len() == 1 => {
                constant.data.iter().next().copied()
            }
            _ => None,
        };
        let close = |value: f32, to: f32| (value - to).abs() <= 1e-6;
        let (class, config) = match node.op.as_str() {
            _ if !named.is_empty() => plain(named),
            "LeakyRelu" => ("LeakyReLU", json!({"negative_slope": tidy(alpha(0.01))})),
            "Elu" if alpha(1.0) == 1.0 => plain("elu"),
            "Elu" => ("ELU", json!({"alpha": tidy(alpha(1.0))})),
            "Celu" if alpha(1.0) == 1.0 => plain("celu"),
            "HardSigmoid"
                if close(alpha(0.2), 1.0 / 6.0)
                    && close(node.float_or("beta", 0.5).unwrap_or(0.5), 0.5) =>
            {
                plain("hard_sigmoid")
            }
            "Clip" => match (scalar(1), scalar(2)) {
                (Some(-1.0), Some(1.0)) => plain("hard_tanh"),
                (Some(0.0), Some(most)) => ("ReLU", json!({"max_value": tidy(most)})),
                _ => {
                    return Err(refuse(
                        node,
                        "it keeps numbers between bounds that no layer of Keras has",
                    ));
                }
            },
            "Erf" => (ERF, json!({})),
            "PRelu" => return self.prelu(node, operands),
            _ => {
                let view = self.view(node, operands, 0);
                view?;
                return Err(refuse(
                    node,
                    "no layer of Keras does what this operator does",
                ));
            }
        };
        let view = self.view(node, operands, 0)?;
        one(self.keeping(node, &view, class, config))
    }

    fn prelu(&mut self, node: &Node, operands: &[Operand]) -> Made {
        let view = self.view(node, operands, 0)?;
        let features = self.features(&view);
        let (Some(Operand::Constant(slope)), Some(size)) =
            (operands.get(1), self.atoms.product(&features))
        else {
            return Err(refuse(node, "its slopes are computed"));
        };
        let own = self.axes_of(view.tensor).to_vec();
        let at = view.axes.iter().position(|group| *group == features);
        let fits = slope.data.len() == size
            && at.is_some_and(|at| {
                let axis = (at + slope.data.ndim()).checked_sub(view.axes.len());
                axis.is_some_and(|axis| slope.data.shape().get(axis) == Some(&size))
            });
        if !fits && slope.data.len() != 1 {
            return Err(refuse(
                node,
                "it has slopes for another axis than the features",
            ));
        }
        let shared: Vec<usize> = (1..own.len() - 1).collect();
        let values: Vec<f32> = slope.data.iter().copied().cycle().take(size).collect();
        let mut shape = vec![1; own.len() - 1];
        if let Some(last) = shape.last_mut() {
            *last = size;
        }
        let values = ArrayD::from_shape_vec(shape, values)
            .map_err(|error| refuse(node, error.to_string()))?;
        let made = self.keeping(node, &view, "PReLU", json!({"shared_axes": shared}));
        let stage = self.tensors[made.tensor].stage;
        self.stages[stage].weights = vec![values];
        one(made)
    }
}

/// `start:stop` in Keras's JSON.
fn slice(start: Json, stop: Json) -> Json {
    json!({"class_name": "__slice__", "config": {"start": start, "stop": stop, "step": null}})
}

/// A number of 32 bits as it would be written down: 0.001 and not 0.0010000000474974513.
pub(super) fn tidy(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Where an axis that may count from the end is.
pub(super) fn resolve(axis: i64, rank: usize) -> Option<usize> {
    let at = if axis < 0 {
        axis.checked_add(rank as i64)?
    } else {
        axis
    };
    usize::try_from(at).ok().filter(|at| *at < rank)
}
