//! Which integers are the length of which axis, so that a loop of as many rounds is known to go
//! through a whole sequence.

use std::collections::HashMap;

use ifco_model::onnx::{Node, Operand};

/// What is known of the tensors of a graph, by their names in the file.
#[derive(Debug, Default)]
pub(in crate::onnx) struct Lengths<'a> {
    integers: HashMap<&'a str, Integers<'a>>,
    /// Tensors that have another one's axes, in this order.
    axes: HashMap<&'a str, (&'a str, Option<Vec<usize>>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Integers<'a> {
    /// The shape of a tensor from an axis on.
    Shape(&'a str, usize),
    /// The length of an axis.
    One(&'a str, usize),
}

impl<'a> Lengths<'a> {
    /// Takes note of a node that takes and makes values of these names.
    pub fn follow(&mut self, node: &Node, takes: &[&'a str], makes: &[&'a str]) {
        let (Some(from), Some(made)) = (takes.first(), makes.first()) else {
            return;
        };
        match node.op.as_str() {
            "Shape" if !node.attributes.contains_key("end") => {
                let start = usize::try_from(node.int_or("start", 0).unwrap_or(-1));
                if let Ok(start) = start {
                    self.integers.insert(made, Integers::Shape(from, start));
                }
                return;
            }
            "ReverseSequence" => {
                self.axes.insert(made, (from, None));
            }
            "Transpose" => {
                let order = node.ints("perm").ok().flatten();
                let order = order.and_then(|order| {
                    let order = order.iter().map(|axis| usize::try_from(*axis).ok());
                    order.collect::<Option<Vec<_>>>()
                });
                if order.is_some() {
                    self.axes.insert(made, (from, order));
                }
            }
            "Identity" | "Cast" => {
                self.axes.insert(made, (from, None));
            }
            _ => {}
        }
        let Some(known) = self.integers.get(from).copied() else {
            return;
        };
        let picked = |operand: usize| -> Option<usize> {
            let Operand::Constant(_, constant) = node.operand(operand) else {
                return None;
            };
            let one = constant
                .data
                .iter()
                .next()
                .filter(|_| constant.data.len() == 1);
            one.filter(|at| (0.0..64.0).contains(*at))
                .map(|at| *at as usize)
        };
        let integers = match (node.op.as_str(), known) {
            ("Cast" | "Identity", known) => Some(known),
            ("Squeeze" | "Unsqueeze" | "Reshape", Integers::One(..)) => Some(known),
            ("Gather", Integers::Shape(of, start)) => {
                picked(1).map(|at| Integers::One(of, start + at))
            }
            ("Slice", Integers::Shape(of, start)) => match (picked(1), picked(2)) {
                (Some(at), Some(end)) if end == at + 1 => Some(Integers::One(of, start + at)),
                _ => None,
            },
            _ => None,
        };
        if let Some(integers) = integers {
            self.integers.insert(made, integers);
        }
    }

    /// Whether both are the length of one axis.
    pub fn is_same(&self, name: &str, other: &str) -> bool {
        let both = self.length(name).zip(self.length(other));
        both.is_some_and(|(one, other)| one == other)
    }

    /// Whether it is how long the first axis of a tensor is.
    pub fn is_first(&self, name: &str, tensor: &str) -> bool {
        self.length(name) == Some(self.source(tensor, 0))
    }

    fn length<'n>(&'n self, name: &str) -> Option<(&'n str, usize)> {
        match self.integers.get(name)? {
            Integers::One(tensor, axis) => Some(self.source(tensor, *axis)),
            Integers::Shape(..) => None,
        }
    }

    /// The axis of the tensor that this one's came from.
    fn source<'n>(&'n self, mut tensor: &'n str, mut axis: usize) -> (&'n str, usize) {
        // What a node makes was not there before it: there is an end.
        while let Some((from, order)) = self.axes.get(tensor) {
            axis = match order {
                None => axis,
                Some(order) => match order.get(axis) {
                    Some(axis) => *axis,
                    None => break,
                },
            };
            tensor = from;
        }
        (tensor, axis)
    }
}
