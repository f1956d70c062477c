//! Along which axis the rows of a batch lie, so that many can be run a few at a time, and one
//! looked at alone.
//!
//! ONNX does not say which axis is the batch. [`find`] supposes one for each input, the first or
//! the second, and follows the rows from node to node for as long as it is certain that none
//! meets another. Where they come out along an axis of every output, the supposition holds;
//! where no supposition does, the model runs on all that it is given at once.

mod follow;
mod value;

use std::borrow::Cow;
use std::collections::HashMap;

use ifco_model::onnx::{Attribute, Node, Operand};

pub(super) use value::Value;

/// A node, without its weights.
#[derive(Debug)]
pub(super) struct Step<'a> {
    op: String,
    opset: i64,
    integers: HashMap<String, Vec<i64>>,
    takes: Vec<Taken<'a>>,
    makes: Vec<Cow<'a, str>>,
}

#[derive(Debug)]
enum Taken<'a> {
    Absent,
    Constant(Value),
    Computed(Cow<'a, str>),
}

impl<'a> Step<'a> {
    /// What matters of a node that takes and makes values of these names.
    pub fn new<N: Into<Cow<'a, str>> + Clone>(node: &Node, takes: &[N], makes: &[N]) -> Self {
        let integers = node.attributes.iter().filter_map(|(key, value)| {
            Some((
                key.clone(),
                match value {
                    Attribute::Int(value) => vec![*value],
                    Attribute::Ints(values) => values.clone(),
                    _ => return None,
                },
            ))
        });
        let takes = node.operands.iter().zip(takes);
        let takes = takes.map(|(operand, name)| match operand {
            Operand::Absent => Taken::Absent,
            Operand::Input(_) => Taken::Computed(name.clone().into()),
            Operand::Constant(_, constant) => Taken::Constant(Value::constant(constant)),
        });
        Self {
            op: node.op.clone(),
            opset: node.opset,
            integers: integers.collect(),
            takes: takes.collect(),
            makes: makes.iter().cloned().map(Into::into).collect(),
        }
    }

    fn int(&self, key: &str, default: i64) -> i64 {
        match self.integers.get(key).map(Vec::as_slice) {
            Some([value]) => *value,
            _ => default,
        }
    }
}

/// More suppositions are not tried.
const MOST_INPUTS: usize = 6;

/// The batch's axis in each input and in each output; `None` where it cannot be told.
pub(super) fn find(
    inputs: &[(&str, Option<usize>)],
    outputs: &[&str],
    steps: &[Step<'_>],
) -> Option<(Vec<usize>, Vec<usize>)> {
    if inputs.len() > MOST_INPUTS {
        return None;
    }
    let ranks: Option<Vec<usize>> = inputs.iter().map(|(_, rank)| *rank).collect();
    let ranks = ranks?;
    // A number for each tensor.
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let made = steps
        .iter()
        .flat_map(|step| step.makes.iter().map(AsRef::as_ref));
    for name in inputs.iter().map(|(name, _)| *name).chain(made) {
        let next = numbers.len();
        numbers.entry(name).or_insert(next);
    }
    let mut supposed: Vec<u32> = (0..1 << inputs.len()).collect();
    // The first axis of as many as possible.
    supposed.sort_by_key(|bits| bits.count_ones());
    supposed.into_iter().find_map(|bits| {
        let axes: Vec<usize> = (0..inputs.len())
            .map(|index| (bits >> index & 1) as usize)
            .collect();
        if axes.iter().zip(&ranks).any(|(axis, rank)| axis >= rank) {
            return None;
        }
        let mut values: HashMap<&str, Value> = HashMap::new();
        for ((name, _), (axis, rank)) in inputs.iter().zip(axes.iter().zip(&ranks)) {
            values.insert(
                name,
                Value::Rows {
                    axis: *axis,
                    rank: *rank,
                },
            );
        }
        for step in steps {
            let takes: Vec<Value> = step
                .takes
                .iter()
                .map(|taken| match taken {
                    Taken::Absent => Value::Absent,
                    Taken::Constant(value) => value.clone(),
                    Taken::Computed(name) => values.get(&**name).cloned().unwrap_or(Value::Mixed),
                })
                .collect();
            let first = match step.takes.first() {
                Some(Taken::Computed(name)) => numbers.get(&**name).copied(),
                _ => None,
            };
            for (index, name) in step.makes.iter().enumerate() {
                values.insert(name, follow::follow(step, first, &takes, index));
            }
        }
        let ends = outputs.iter().map(|name| match values.get(name) {
            Some(Value::Rows { axis, .. }) => Some(*axis),
            _ => None,
        });
        Some((axes, ends.collect::<Option<Vec<_>>>()?))
    })
}
