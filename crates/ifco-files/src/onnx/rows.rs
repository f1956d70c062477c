//! Whether the rows of a batch stand for themselves, so that many can be run a few at a time.
//!
//! ONNX does not say which axis is the batch. It is taken to be the first one of the inputs, and
//! followed from node to node for as long as it is certain that no row meets another. Where it
//! is still the first axis of every output, `predict` may cut a batch into smaller ones, as
//! Keras does. Where it is not, as with `(time, batch, features)`, the model runs on all that it
//! is given at once.

use ifco_model::onnx::{Attribute, Node, Operand};

/// Where a tensor has the rows of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Along this axis; no number depends on another row.
    At(usize),
    /// Nowhere: it is the same for any batch.
    Same,
    /// Sizes, of which some are the batch's.
    Sizes,
    /// One number, as often as the batch is large.
    Uniform,
    /// It cannot be told.
    Mixed,
}

impl Rows {
    /// Where a node's output has them, if its operands have them so.
    pub fn of_output(node: &Node, operands: &[Rows], output: usize) -> Rows {
        follow(node, operands, output).unwrap_or(Rows::Mixed)
    }
}

fn follow(node: &Node, operands: &[Rows], output: usize) -> Option<Rows> {
    let first = *operands.first()?;
    let rest = operands.get(1..).unwrap_or_default();
    let steady = |rows: &Rows| matches!(rows, Rows::Same | Rows::Uniform);
    let all_sizes = operands
        .iter()
        .all(|rows| matches!(rows, Rows::Same | Rows::Sizes));
    match (node.op.as_str(), first) {
        ("Shape", _) => return Some(Rows::Sizes),
        ("ConstantOfShape", Rows::Same | Rows::Sizes) => return Some(Rows::Uniform),
        ("Expand", Rows::Same) if all_sizes => {
            let is_one = matches!(node.operands.first(),
                Some(Operand::Constant(_, constant)) if constant.data.len() == 1);
            return is_one.then_some(Rows::Uniform);
        }
        // Arithmetic with sizes gives sizes; anything else made of sizes is not followed.
        (
            "Gather" | "Concat" | "Slice" | "Squeeze" | "Unsqueeze" | "Cast" | "Add" | "Sub"
            | "Mul" | "Div" | "Identity" | "Reshape",
            _,
        ) if all_sizes => return Some(Rows::Sizes),
        _ => {}
    }
    let Rows::At(at) = first else {
        // An embedding: the rows are those of the indices.
        let axis = int(node, "axis", 0);
        return match (node.op.as_str(), first, operands) {
            ("Gather", Rows::Same, [_, Rows::At(at)]) if axis == 0 => Some(Rows::At(*at)),
            ("Add" | "Sub" | "Mul" | "Div", Rows::Same, [_, Rows::At(at)]) => {
                broadcast(node, 0, *at).then_some(Rows::At(*at))
            }
            _ => None,
        };
    };
    match node.op.as_str() {
        "LSTM" | "GRU" | "RNN" => {
            let is_batch_first = int(node, "layout", 0) == 1;
            let states = rest.iter().enumerate().all(|(index, rows)| match rows {
                // The initial states.
                Rows::At(at) => index >= 4 && *at == usize::from(!is_batch_first),
                rows => steady(rows),
            });
            let to = match (is_batch_first, output) {
                (true, _) => 0,
                (false, 0) => 2,
                (false, _) => 1,
            };
            (states && at == usize::from(!is_batch_first)).then_some(Rows::At(to))
        }
        "Tanh" | "Sigmoid" | "Relu" | "LeakyRelu" | "Elu" | "Selu" | "Celu" | "HardSigmoid"
        | "HardSwish" | "Softplus" | "Softsign" | "Gelu" | "Mish" | "ThresholdedRelu" | "Exp"
        | "Log" | "Sqrt" | "Abs" | "Neg" | "Sign" | "Reciprocal" | "Floor" | "Ceil" | "Round"
        | "Sin" | "Cos" | "Erf" | "Identity" | "Dropout" | "Cast" | "Clip" | "Not" => Some(first),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" => match rest {
            // As many axes are not certain, but the first one is the first of both only then.
            [Rows::Same] => broadcast(node, 1, at).then_some(first),
            _ => None,
        },
        "MatMul" => match (rest, node.operands.get(1)) {
            // The contracted axis is the last one: a batch there would not be followed so far.
            ([Rows::Same], Some(Operand::Constant(_, matrix))) if matrix.data.ndim() == 2 => {
                (at == 0).then_some(first)
            }
            _ => None,
        },
        "Gemm" => {
            let is_plain =
                at == 0 && int(node, "transA", 0) == 0 && rest.iter().all(|r| *r == Rows::Same);
            let bias_fits = match node.operands.get(2) {
                Some(Operand::Constant(_, bias)) => {
                    bias.data.ndim() < 2 || bias.data.shape()[0] == 1
                }
                other => other.is_none(),
            };
            (is_plain && bias_fits).then_some(first)
        }
        "Transpose" => {
            let Some(Attribute::Ints(order)) = node.attributes.get("perm") else {
                return None;
            };
            let to = order.iter().position(|from| *from == at as i64)?;
            Some(Rows::At(to))
        }
        "Squeeze" => {
            let axes = counted_from_front(constant_ints(node, "axes", 1)?)?;
            let before = axes.iter().filter(|axis| **axis < at).count();
            (!axes.contains(&at)).then_some(Rows::At(at - before))
        }
        "Unsqueeze" => {
            let axes = counted_from_front(constant_ints(node, "axes", 1)?)?;
            let [axis] = axes[..] else { return None };
            Some(Rows::At(if axis <= at { at + 1 } else { at }))
        }
        "Gather" => {
            let axis = usize::try_from(int(node, "axis", 0)).ok()?;
            let Some(Operand::Constant(_, indices)) = node.operands.get(1) else {
                return None;
            };
            match axis.cmp(&at) {
                std::cmp::Ordering::Less => Some(Rows::At(at + indices.data.ndim() - 1)),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(first),
            }
        }
        "Slice" => {
            let axes = counted_from_front(constant_ints(node, "axes", 3)?)?;
            let steady = rest.iter().all(|rows| *rows == Rows::Same);
            (steady && !axes.contains(&at)).then_some(first)
        }
        "Concat" => {
            let all = operands.iter().all(|rows| *rows == first);
            let axis = int(node, "axis", 0);
            // From the end, only the first of all axes is certain not to be meant.
            let other = if axis < 0 {
                at == 0 && axis == -1
            } else {
                axis != at as i64
            };
            (all && other).then_some(first)
        }
        "Split" => {
            let axis = int(node, "axis", 0);
            let other = if axis < 0 { at == 0 } else { axis != at as i64 };
            (other && rest.iter().all(|rows| *rows == Rows::Same)).then_some(first)
        }
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceSumSquare" => {
            let axes = counted_from_front(constant_ints(node, "axes", 1)?)?;
            if axes.is_empty() || axes.contains(&at) {
                return None;
            }
            let before = axes.iter().filter(|axis| **axis < at).count();
            let keeps = int(node, "keepdims", 1) != 0;
            Some(Rows::At(if keeps { at } else { at - before }))
        }
        "Reshape" => {
            // 0 keeps the batch's size.
            let target = constant_ints(node, "shape", 1)?;
            let keeps = at == 0 && target.first() == Some(&0) && int(node, "allowzero", 0) == 0;
            keeps.then_some(first)
        }
        _ => None,
    }
}

fn int(node: &Node, key: &str, default: i64) -> i64 {
    match node.attributes.get(key) {
        Some(Attribute::Int(value)) => *value,
        _ => default,
    }
}

/// Integers of an attribute, or of an operand that is known.
fn constant_ints(node: &Node, key: &str, operand: usize) -> Option<Vec<i64>> {
    if let Some(Attribute::Ints(values)) = node.attributes.get(key) {
        return Some(values.clone());
    }
    match node.operands.get(operand) {
        Some(Operand::Constant(_, constant)) => {
            Some(constant.data.iter().map(|value| *value as i64).collect())
        }
        _ => None,
    }
}

/// `None` if some count from the end: the number of axes is not known here.
fn counted_from_front(axes: Vec<i64>) -> Option<Vec<usize>> {
    let axes = axes.into_iter().map(|axis| usize::try_from(axis).ok());
    axes.collect()
}

/// Whether a constant operand leaves the rows along axis `at` of the other one alone: it is one
/// number, or a vector beside a batch that comes first of several axes.
fn broadcast(node: &Node, operand: usize, at: usize) -> bool {
    match node.operands.get(operand) {
        Some(Operand::Constant(_, constant)) => {
            let shape = constant.data.shape();
            constant.data.len() == 1 && shape.len() <= 1 || at == 0 && shape.len() == 1
        }
        _ => false,
    }
}
