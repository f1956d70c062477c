//! Functions that an exporter spelled out with several nodes, such as `x·σ(x)` or
//! `x / (1 + |x|)`.
//!
//! What nodes compute number by number of one tensor is followed as a function of it: its values at
//! some [`points`]. Where these are those of an [`activation`], the nodes are that.

use ifco_model::onnx::{self, Node};
use ifco_model::{Argument, Array, ModelCall};
use serde_json::{Value as Json, json};

use super::recurrent::word;
use super::{Lift, Operand, Value, View};
use crate::onnx::looped::{activation, is_elementwise, points};

/// What an output is of a tensor before it.
#[derive(Debug, Clone)]
pub(super) struct Function {
    of: View,
    at_points: Array,
    /// How many nodes stand between.
    nodes: usize,
}

/// Of one output: a function of Keras is not made of many nodes.
const MOST_TENSORS: usize = 6;
/// Nodes of a graph beyond which none are followed: each takes memory.
const MOST_NODES: usize = 4000;
/// Of what is computed at the points.
const MOST_NUMBERS: usize = 1 << 20;

impl Lift<'_> {
    /// The output of a node as a function of each tensor that all of its operands are one of, the
    /// nearest first.
    pub(super) fn functions(
        &self,
        call: &ModelCall<'_>,
        node: &Node,
        operands: &[Operand],
    ) -> Vec<Function> {
        let operator = call.layer.layer.as_operator();
        let Some(operator) =
            operator.filter(|_| is_elementwise(&node.op) && self.spelled.len() < MOST_NODES)
        else {
            return Vec::new();
        };
        let mut given = call.inputs.iter();
        // Of each operand that is computed: the tensors that it is a function of.
        let mut all: Vec<Vec<Function>> = Vec::new();
        for (told, operand) in node.operands.iter().zip(operands) {
            match (told, operand) {
                (onnx::Operand::Absent, _) => {}
                (onnx::Operand::Constant(_, constant), _) if constant.data.len() == 1 => {}
                (onnx::Operand::Input(_), operand) => {
                    let known = match given.next() {
                        Some(Argument::Tensor { call, output: 0 }) => self.spelled.get(*call),
                        _ => None,
                    };
                    let own = match operand {
                        Operand::Value(Value::View(view)) => Some(Function {
                            of: view.clone(),
                            at_points: points(),
                            nodes: 0,
                        }),
                        _ => None,
                    };
                    let known = known.into_iter().flatten().cloned();
                    all.push(own.into_iter().chain(known).take(MOST_TENSORS).collect());
                }
                _ => return Vec::new(),
            }
        }
        let Some((first, others)) = all.split_first() else {
            return Vec::new();
        };
        let of_all = first.iter().filter_map(|function| {
            let mut nodes = function.nodes;
            let others = others.iter().map(|all| {
                let mut all = all.iter();
                let same = all.find(|other| other.of == function.of)?;
                nodes = nodes.max(same.nodes);
                Some(same.at_points.clone())
            });
            let own = std::iter::once(Some(function.at_points.clone()));
            let arrays: Option<Vec<Array>> = own.chain(others).collect();
            let made = operator.evaluate_within(&arrays?, MOST_NUMBERS).ok()?;
            let at_points = made.into_iter().next()?;
            // A number with axes of size 1 adds some.
            let count = at_points.len();
            let at_points = at_points.to_shape(count).ok()?.to_owned().into_dyn().into();
            (count == points().len()).then_some(Function {
                of: function.of.clone(),
                at_points,
                nodes: nodes + 1,
            })
        });
        of_all.take(MOST_TENSORS).collect()
    }

    /// The layer that several nodes are, of which this is the last.
    pub(super) fn spelled_out(&mut self, node: &Node, functions: &[Function]) -> Option<View> {
        // What a single node does is known by its name.
        let several = functions.iter().filter(|function| function.nodes > 1);
        let made = several.rev().find_map(|function| {
            let name = word(activation(&function.at_points, None)?).ok()?;
            let is_named = matches!(&name, Json::String(name) if name != "linear");
            is_named.then(|| (function.of.clone(), name))
        });
        let (of, name) = made?;
        Some(self.keeping(node, &of, "Activation", json!({"activation": name})))
    }
}
