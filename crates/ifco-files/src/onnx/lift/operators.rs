//! The operators but the recurrent ones, by what kind of layer they become, and here those that
//! compute number by number.

use ifco_model::onnx::Node;
use ndarray::{ArrayD, Axis};
use serde_json::{Value as Json, json};

use super::{Group, LAYERS, Lift, Operand, Slot, Value, View, refuse};
use crate::SaveError;

/// What a node makes: a value for each output.
pub(super) type Made = Result<Vec<Value>, SaveError>;

/// Layers that stand for one number or one number a feature, until [`fuse`](super::fuse) finds
/// what they are part of.
pub(super) const SCALE: &str = "@Scale";
pub(super) const SHIFT: &str = "@Shift";

/// One tensor.
pub(super) fn one(view: View) -> Made {
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
                let covered = &view.axes[view.axes.len() - data.ndim()..];
                let is_vector =
                    self.atoms.product(&features) == Some(1) && covered.contains(&features);
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
