//! The shapes of all operators' outputs, as far as they can be told before a graph runs.

use super::node::{Kind, Node, Operand};
use super::shapes::{permutation, product, resolve, shape_range};
use super::windows;
use crate::{LayerError, Shape};

/// The shapes of a node's outputs, as far as they follow from those of its inputs, from its
/// constants, and from the integers among its inputs that are known.
pub(super) fn infer(
    node: &Node,
    inputs: &[Shape],
    integers: &[Option<Integers>],
) -> Result<Vec<Shape>, LayerError> {
    let unknown = || LayerError::Other("its shape depends on numbers that are computed".into());
    let partly = operands(node, integers);
    let mut inputs = inputs.iter();
    let mut shapes: Vec<Option<Shape>> = Vec::with_capacity(node.operands.len());
    let mut constants: Vec<Option<Vec<i64>>> = Vec::with_capacity(node.operands.len());
    for (operand, partly) in node.operands.iter().zip(&partly) {
        let (shape, values) = match operand {
            Operand::Absent => (None, None),
            Operand::Input(_) => {
                let known = partly
                    .as_ref()
                    .and_then(|all| all.iter().copied().collect());
                (Some(inputs.next().cloned().ok_or_else(unknown)?), known)
            }
            Operand::Constant(_, constant) => {
                let shape = constant.data.shape().iter().copied().map(Some).collect();
                // Only small ones say anything of shapes.
                let is_small = constant.data.len() <= 64;
                let values = is_small.then(|| constant.data.iter().map(|v| *v as i64).collect());
                (Some(shape), values)
            }
        };
        shapes.push(shape);
        constants.push(values);
    }
    let shape = |index: usize| shapes.get(index).cloned().flatten().ok_or_else(unknown);
    let integers_of = |key: &str, index: usize| -> Result<Option<Vec<i64>>, LayerError> {
        if let Some(values) = node.ints(key)? {
            return Ok(Some(values));
        }
        match (
            shapes.get(index).cloned().flatten(),
            constants.get(index).cloned().flatten(),
        ) {
            (_, Some(values)) => Ok(Some(values)),
            (Some(_), None) => Err(unknown()),
            (None, None) => Ok(None),
        }
    };
    let axis = |axis: i64, rank: usize| {
        crate::layers::resolve_axis(axis, rank)
            .ok_or_else(|| LayerError::Other(format!("axis {axis} of {rank} axes")))
    };
    let axes = |axes: &[i64], rank: usize| {
        let axes = axes.iter().map(|at| axis(*at, rank));
        let mut axes = axes.collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok::<_, LayerError>(axes)
    };
    let one = match node.op.as_str() {
        "Shape" => {
            let (start, end) = shape_range(node, shape(0)?.len())?;
            vec![Some(end - start)]
        }
        "Size" => vec![],
        "Transpose" => {
            let x = shape(0)?;
            let order = permutation(node, x.len())?;
            order.into_iter().map(|axis| x[axis]).collect()
        }
        "Reshape" => {
            let keep_zero = node.int_or("allowzero", 0)? != 0;
            let found = shape(0)?;
            match (integers_of("shape", 1), partly.get(1).cloned().flatten()) {
                (Err(_), Some(target)) => {
                    let target = target.iter().enumerate();
                    let size = |(at, size): (usize, &Option<i64>)| match size {
                        Some(0) if !keep_zero => found.get(at).copied().flatten(),
                        size => usize::try_from((*size)?).ok(),
                    };
                    target.map(size).collect()
                }
                (target, _) => resolve(&target?.ok_or_else(unknown)?, &found, keep_zero)?,
            }
        }
        "Flatten" => {
            let x = shape(0)?;
            let at = node.int_or("axis", 1)?;
            let at = if at == x.len() as i64 {
                x.len()
            } else {
                axis(at, x.len())?
            };
            let (front, back) = x.split_at(at);
            vec![
                product(front.iter().copied()),
                product(back.iter().copied()),
            ]
        }
        "Squeeze" => {
            let x = shape(0)?;
            let at = integers_of("axes", 1)?.ok_or_else(unknown)?;
            let at = axes(&at, x.len())?;
            let kept = x.iter().enumerate().filter(|(axis, _)| !at.contains(axis));
            kept.map(|(_, size)| *size).collect()
        }
        "Unsqueeze" => {
            let mut x = shape(0)?;
            let at = integers_of("axes", 1)?.ok_or_else(unknown)?;
            for axis in axes(&at, x.len() + at.len())? {
                if axis > x.len() {
                    return Err(LayerError::Other("an axis is named twice".into()));
                }
                x.insert(axis, Some(1));
            }
            x
        }
        "Concat" => {
            let mut all = shapes.iter().flatten();
            let mut x = all.next().cloned().ok_or_else(unknown)?;
            let at = axis(node.int_or("axis", 0)?, x.len())?;
            for other in all {
                let other = other.get(at).copied().flatten();
                x[at] = x[at].and_then(|size| size.checked_add(other?));
            }
            x
        }
        "Gather" => {
            let (x, indices) = (shape(0)?, shape(1)?);
            let at = axis(node.int_or("axis", 0)?, x.len())?;
            [&x[..at], &indices, &x[at + 1..]].concat()
        }
        "Slice" => {
            let mut x = shape(0)?;
            let (starts, ends) = (integers_of("starts", 1), integers_of("ends", 2));
            let at = integers_of("axes", 3)?;
            let known = (starts.ok().flatten(), ends.ok().flatten());
            let at = match (at, &known) {
                (Some(at), _) => at,
                (None, (Some(starts), _)) => (0..starts.len() as i64).collect(),
                _ => return Err(unknown()),
            };
            let steps = integers_of("steps", 4)?;
            for (index, at) in at.iter().enumerate() {
                let at = axis(*at, x.len())?;
                let get = |values: &Option<Vec<i64>>| values.as_ref()?.get(index).copied();
                let step = steps.as_ref().and_then(|steps| steps.get(index)).copied();
                x[at] = match (x[at], get(&known.0), get(&known.1), step.unwrap_or(1)) {
                    (Some(size), Some(start), Some(end), step @ 1..) => {
                        let size = size as i64;
                        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
                        let start = from_end(start).clamp(0, size);
                        let end = from_end(end).clamp(start, size);
                        Some((end - start).unsigned_abs().div_ceil(step.unsigned_abs()) as usize)
                    }
                    _ => None,
                };
            }
            x
        }
        "Split" => {
            let x = shape(0)?;
            let at = axis(node.int_or("axis", 0)?, x.len())?;
            let parts = integers_of("split", 1)?;
            let part = |index: usize| {
                let size = match (&parts, x[at]) {
                    (Some(parts), _) => usize::try_from(*parts.get(index)?).ok(),
                    (None, Some(size)) => {
                        let each = size.div_ceil(node.outputs.max(1));
                        Some(each.min(size.saturating_sub(index.saturating_mul(each))))
                    }
                    (None, None) => None,
                };
                let mut x = x.clone();
                x[at] = size;
                Some(x)
            };
            let parts = (0..node.outputs).map(part);
            return parts.collect::<Option<_>>().ok_or_else(unknown);
        }
        "TopK" => {
            let mut x = shape(0)?;
            let at = axis(node.int_or("axis", -1)?, x.len())?;
            let count = integers_of("k", 1).ok().flatten();
            x[at] = count.and_then(|count| usize::try_from(*count.first()?).ok());
            return Ok(vec![x; node.outputs.max(1)]);
        }
        "MatMul" => {
            let (x, y) = (shape(0)?, shape(1)?);
            let ([batch @ .., rows, _], [columns_of @ .., _, columns]) = (&x[..], &y[..]) else {
                return Err(unknown());
            };
            let mut result = broadcast(batch, columns_of).ok_or_else(unknown)?;
            result.extend([*rows, *columns]);
            result
        }
        "Gemm" => {
            let side = |index: usize, key: &str, at: usize| -> Result<_, LayerError> {
                let x = shape(index)?;
                let at = if node.int_or(key, 0)? != 0 {
                    1 - at
                } else {
                    at
                };
                x.get(at).copied().ok_or_else(unknown)
            };
            vec![side(0, "transA", 0)?, side(1, "transB", 1)?]
        }
        "ReduceMean" | "ReduceSum" | "ReduceProd" | "ReduceMax" | "ReduceMin" | "ReduceL1"
        | "ReduceL2" | "ReduceSumSquare" | "ArgMax" | "ArgMin" => {
            let x = shape(0)?;
            let at = match node.op.as_str() {
                "ArgMax" | "ArgMin" => Some(vec![node.int_or("axis", 0)?]),
                _ => integers_of("axes", 1)?,
            };
            let at = match at {
                Some(at) if !at.is_empty() => axes(&at, x.len())?,
                _ if node.int_or("noop_with_empty_axes", 0)? != 0 => vec![],
                _ => (0..x.len()).collect(),
            };
            let keep = node.int_or("keepdims", 1)? != 0;
            let kept = x.iter().enumerate();
            kept.filter_map(|(axis, size)| match (at.contains(&axis), keep) {
                (false, _) => Some(*size),
                (true, true) => Some(Some(1)),
                (true, false) => None,
            })
            .collect()
        }
        "Conv" => windows::infer(node, &shape(0)?, Some(&shape(1)?))?,
        "MaxPool" | "AveragePool" | "GlobalMaxPool" | "GlobalAveragePool" => {
            windows::infer(node, &shape(0)?, None)?
        }
        "ConstantOfShape" | "Expand" => {
            let at = usize::from(node.op == "Expand");
            let target = partly.get(at).cloned().flatten().ok_or_else(unknown)?;
            let sizes = target.iter().map(|size| usize::try_from((*size)?).ok());
            let sizes: Shape = sizes.collect();
            match at {
                0 => sizes,
                _ => broadcast(&shape(0)?, &sizes).ok_or_else(unknown)?,
            }
        }
        "Range" | "Tile" | "Pad" => return Err(unknown()),
        // Number by number, broadcast.
        "Clip" | "LayerNormalization" | "BatchNormalization" | "ReverseSequence" => shape(0)?,
        _ => {
            let mut all = shapes.iter().flatten();
            let first = all.next().cloned().ok_or_else(unknown)?;
            let whole = all.try_fold(first, |all, other| broadcast(&all, other));
            let whole = whole.ok_or_else(|| {
                LayerError::Other("the shapes of its inputs do not fit together".into())
            })?;
            return Ok(vec![whole; node.outputs.max(1)]);
        }
    };
    Ok(vec![one])
}

/// Integers of which some may not be known: a vector, or one number.
pub(crate) type Integers = Vec<Option<i64>>;

/// More are no shape.
const MOST_INTEGERS: usize = 64;

/// What is known of each operand, if it is a few integers.
fn operands(node: &Node, inputs: &[Option<Integers>]) -> Vec<Option<Integers>> {
    let mut inputs = inputs.iter();
    let each = node.operands.iter().map(|operand| match operand {
        Operand::Absent => None,
        Operand::Input(_) => inputs.next().cloned().flatten(),
        Operand::Constant(_, constant) => {
            let few = constant.data.len() <= MOST_INTEGERS && constant.data.ndim() < 2;
            (few && constant.kind != Kind::Float).then(|| {
                constant
                    .data
                    .iter()
                    .map(|value| Some(*value as i64))
                    .collect()
            })
        }
    });
    each.collect()
}

/// The integers that a node makes, where they follow from shapes that are known: what exporters
/// compute with sizes before a Reshape or an Expand.
pub(super) fn integers(
    node: &Node,
    inputs: &[Shape],
    known: &[Option<Integers>],
) -> Option<Integers> {
    let operands = operands(node, known);
    let operand = |index: usize| operands.get(index).cloned().flatten();
    let made: Integers = match node.op.as_str() {
        "Shape" => {
            let shape = inputs.first()?;
            let (start, end) = shape_range(node, shape.len()).ok()?;
            let sizes = shape.get(start..end)?.iter();
            sizes.map(|size| i64::try_from((*size)?).ok()).collect()
        }
        "Cast" | "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" => operand(0)?,
        "Concat" => {
            let parts: Option<Vec<Integers>> = operands.into_iter().collect();
            parts?.concat()
        }
        "Gather" => {
            let (all, at) = (operand(0)?, operand(1)?);
            let pick = |at: &Option<i64>| {
                let at = crate::layers::resolve_axis((*at)?, all.len())?;
                all.get(at).copied()
            };
            at.iter().map(pick).collect::<Option<_>>()?
        }
        "Slice" => {
            let all = operand(0)?;
            let number = |index: usize, default: i64| match node.operand(index) {
                Operand::Absent => Some(default),
                _ => match operand(index)?.as_slice() {
                    [one] => *one,
                    _ => None,
                },
            };
            let length = all.len() as i64;
            let place = |at: i64| {
                let at = if at < 0 {
                    at.saturating_add(length)
                } else {
                    at
                };
                at.clamp(0, length) as usize
            };
            let (start, end) = (place(number(1, 0)?), place(number(2, length)?));
            if number(4, 1)? != 1 {
                return None;
            }
            all.get(start..end.max(start))?.to_vec()
        }
        "Add" | "Sub" | "Mul" => {
            let (x, y) = (operand(0)?, operand(1)?);
            let count = x.len().max(y.len());
            let at = |all: &Integers, index: usize| match all.len() {
                1 => all[0],
                _ => all.get(index).copied().flatten(),
            };
            let compute = |index: usize| {
                let (x, y) = (at(&x, index)?, at(&y, index)?);
                match node.op.as_str() {
                    "Add" => x.checked_add(y),
                    "Sub" => x.checked_sub(y),
                    _ => x.checked_mul(y),
                }
            };
            (0..count).map(compute).collect()
        }
        _ => return None,
    };
    (made.len() <= MOST_INTEGERS).then_some(made)
}

/// NumPy's broadcasting, where a size may not be known.
fn broadcast(x: &[Option<usize>], y: &[Option<usize>]) -> Option<Shape> {
    let rank = x.len().max(y.len());
    let size = |shape: &[Option<usize>], axis: usize| match (axis + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis],
        None => Some(1),
    };
    (0..rank)
        .map(|axis| match (size(x, axis), size(y, axis)) {
            (Some(1), other) | (other, Some(1)) => Some(other),
            (Some(a), Some(b)) => (a == b).then_some(Some(a)),
            (Some(a), None) | (None, Some(a)) => Some(Some(a)),
            (None, None) => Some(None),
        })
        .collect()
}
