//! Where a node's output has the rows, if its operands have them so.

use super::Step;
use super::value::{Size, Value};

/// Of the node's output of this number; `number` is that of the tensor that it takes first.
pub(super) fn follow(
    step: &Step<'_>,
    number: Option<usize>,
    takes: &[Value],
    output: usize,
) -> Value {
    let take = |index: usize| takes.get(index).unwrap_or(&Value::Absent);
    let followed = match step.op.as_str() {
        "LSTM" | "GRU" | "RNN" => recurrent(step, takes, output),
        "Shape" => shape(step, number, take(0)),
        "ConstantOfShape" => full(&[], take(0)),
        "Expand" => take(0).as_free().and_then(|from| full(&from, take(1))),
        "Reshape" => reshape(step, number, take(0), take(1)),
        _ if takes.iter().all(|value| value.as_sizes().is_some()) => sizes(step, takes),
        "Tanh" | "Sigmoid" | "Relu" | "LeakyRelu" | "Elu" | "Selu" | "Celu" | "HardSigmoid"
        | "HardSwish" | "Softplus" | "Softsign" | "Gelu" | "Mish" | "ThresholdedRelu" | "Exp"
        | "Log" | "Sqrt" | "Abs" | "Neg" | "Sign" | "Reciprocal" | "Floor" | "Ceil" | "Round"
        | "Sin" | "Cos" | "Erf" | "Identity" | "Dropout" | "Cast" | "CastLike" | "Clip" | "Not"
        | "IsNaN" => kept(take(0)),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "PRelu" | "Min" | "Max" | "Sum"
        | "Mean" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And"
        | "Or" | "Xor" | "Where" => broadcast(takes),
        "MatMul" => product(take(0), take(1)),
        "Gemm" => gemm(step, takes),
        "Transpose" => transpose(step, take(0)),
        "Squeeze" => squeeze(step, take(0), take(1)),
        "Unsqueeze" => unsqueeze(step, take(0), take(1)),
        "Flatten" => match (take(0), step.int("axis", 1)) {
            (Value::Rows { axis: 0, .. }, 1) => Some(Value::Rows { axis: 0, rank: 2 }),
            _ => None,
        },
        "Gather" => gather(step, take(0), take(1)),
        "Slice" => {
            let axes = listed(step, "axes", take(3));
            let are_known = takes[1..].iter().all(|value| value.as_free().is_some());
            apart(take(0), &axes.unwrap_or_default(), 0).filter(|_| are_known)
        }
        "Split" => apart(take(0), &[step.int("axis", 0)], 0),
        "Concat" => {
            let same = takes.iter().all(|value| value == take(0));
            apart(take(0), &[step.int("axis", 0)], 0).filter(|_| same)
        }
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceSumSquare" => {
            let axes = listed(step, "axes", take(1)).filter(|axes| !axes.is_empty());
            let drops = step.int("keepdims", 1) == 0;
            axes.and_then(|axes| apart(take(0), &axes, if drops { axes.len() } else { 0 }))
        }
        "TopK" => apart(take(0), &[step.int("axis", -1)], 0),
        "ArgMax" | "ArgMin" => {
            let drops = usize::from(step.int("keepdims", 1) == 0);
            apart(take(0), &[step.int("axis", 0)], drops)
        }
        "Softmax" | "LogSoftmax" if step.opset >= 13 => apart(take(0), &[step.int("axis", -1)], 0),
        "LayerNormalization" => behind(take(0), step.int("axis", -1)),
        "BatchNormalization" | "Conv" | "MaxPool" | "AveragePool" | "GlobalAveragePool"
        | "GlobalMaxPool" => match take(0) {
            rows @ Value::Rows { axis: 0, .. } => Some(rows.clone()),
            _ => None,
        },
        "ReverseSequence" => match take(0) {
            rows @ Value::Rows { axis, .. } => {
                let is_batch = step.int("batch_axis", 1) == *axis as i64;
                let has_lens = *take(1) == Value::Rows { axis: 0, rank: 1 };
                (is_batch && has_lens).then(|| rows.clone())
            }
            _ => None,
        },
        _ => None,
    };
    followed.unwrap_or(Value::Mixed)
}

fn kept(value: &Value) -> Option<Value> {
    matches!(value, Value::Rows { .. } | Value::Blocks { .. }).then(|| value.clone())
}

fn recurrent(step: &Step<'_>, takes: &[Value], output: usize) -> Option<Value> {
    let rows = |axis: usize, rank: usize| Value::Rows { axis, rank };
    // Of x, the states, and Y; layout 2 is that of a loop, without an axis of directions.
    let (x, state, y) = match step.int("layout", 0) {
        1 => (rows(0, 3), rows(0, 3), rows(0, 4)),
        2 => (rows(1, 3), rows(0, 2), rows(1, 3)),
        _ => (rows(1, 3), rows(1, 3), rows(2, 4)),
    };
    let fits = takes.iter().enumerate().all(|(index, value)| match index {
        0 => *value == x,
        // A constant length or state belongs to one row each.
        4 => *value == Value::Absent || *value == rows(0, 1),
        5 | 6 => *value == Value::Absent || *value == state,
        _ => true,
    });
    fits.then_some(if output == 0 { y } else { state })
}

fn shape(step: &Step<'_>, number: Option<usize>, x: &Value) -> Option<Value> {
    let of = |at: usize| number.map_or(Size::Other, |number| Size::Axis(number, at));
    let sizes = match x {
        Value::Rows { axis, rank } => {
            let size = |at: usize| {
                if at == *axis { Size::Batch } else { of(at) }
            };
            (0..*rank).map(size).collect()
        }
        Value::Blocks { rank } => {
            let size = |at: usize| if at == 0 { Size::Mixed } else { of(at) };
            (0..*rank).map(size).collect::<Vec<_>>()
        }
        Value::Sizes {
            sizes,
            is_number: false,
        } => vec![Size::Known(sizes.len() as i64)],
        _ => return None,
    };
    let end = step.int("end", sizes.len() as i64);
    let range = resolve(step.int("start", 0), sizes.len())?..resolve(end, sizes.len() + 1)?;
    Some(Value::sizes(sizes.get(range)?.to_vec(), false))
}

/// An array of this shape, made of one that has the shape `from`: the rows are alike.
fn full(from: &[usize], target: &Value) -> Option<Value> {
    let (target, _) = target.as_sizes()?;
    if target.contains(&Size::Mixed) {
        return None;
    }
    let rank = target.len().max(from.len());
    let mut batch = target
        .iter()
        .enumerate()
        .filter(|(_, size)| **size == Size::Batch);
    let Some((at, _)) = batch.next() else {
        let known = target.iter().map(|size| match size {
            Size::Known(size) => usize::try_from(*size).ok(),
            _ => None,
        });
        let shape = known.collect::<Option<Vec<_>>>()?;
        return from.is_empty().then_some(Value::Constant {
            shape,
            numbers: None,
        });
    };
    let axis = rank - target.len() + at;
    let spreads = is_one(from, axis, rank) && batch.next().is_none();
    spreads.then_some(Value::Rows { axis, rank })
}

/// Whether an array of this shape is broadcast along an axis of `rank` ones.
fn is_one(shape: &[usize], axis: usize, rank: usize) -> bool {
    match (axis + shape.len()).checked_sub(rank) {
        Some(axis) => shape[axis] == 1,
        None => true,
    }
}

fn reshape(step: &Step<'_>, number: Option<usize>, x: &Value, target: &Value) -> Option<Value> {
    if x.as_sizes().is_some() {
        return sizes(step, std::slice::from_ref(x));
    }
    let target = match step.integers.get("shape") {
        Some(shape) => shape.iter().map(|size| Size::Known(*size)).collect(),
        None => target.as_sizes()?.0,
    };
    let rank = target.len();
    let keeps_zero = step.int("allowzero", 0) == 0;
    let keeps = |at: usize| match target[at] {
        Size::Known(0) => keeps_zero,
        Size::Axis(of, axis) => Some(of) == number && axis == at,
        _ => false,
    };
    let is_free = |sizes: &[Size]| sizes.iter().all(Size::is_free);
    match *x {
        Value::Rows { axis, .. } => {
            let rest = target.get(axis + 1..)?;
            let is_batch = target[axis] == Size::Batch || keeps(axis);
            if (0..axis).all(keeps) && is_batch && is_free(rest) {
                return Some(Value::Rows { axis, rank });
            }
            let is_open = axis == 0 && target[0] == Size::Known(-1);
            (is_open && is_free(rest) && rank > 1).then_some(Value::Blocks { rank })
        }
        Value::Blocks { .. } => {
            let (first, rest) = target.split_first()?;
            (*first == Size::Batch && is_free(rest)).then_some(Value::Rows { axis: 0, rank })
        }
        _ => None,
    }
}

/// What computes with sizes.
fn sizes(step: &Step<'_>, takes: &[Value]) -> Option<Value> {
    let (first, is_number) = takes.first()?.as_sizes()?;
    let all = |is_number| Some(Value::sizes(first.clone(), is_number));
    match step.op.as_str() {
        "Cast" | "Identity" => all(is_number),
        "Squeeze" => all(first.len() == 1),
        "Unsqueeze" if is_number => all(false),
        "Reshape" if first.len() == 1 => all(false),
        "Concat" => {
            let parts = takes.iter().map(|value| Some(value.as_sizes()?.0));
            Some(Value::sizes(
                parts.collect::<Option<Vec<_>>>()?.concat(),
                false,
            ))
        }
        "Gather" => {
            let (_, is_number) = takes.get(1)?.as_sizes()?;
            let picked = takes.get(1)?.as_integers()?;
            let picked = picked
                .iter()
                .map(|at| first.get(resolve(*at, first.len())?).copied());
            Some(Value::sizes(picked.collect::<Option<_>>()?, is_number))
        }
        "Slice" => {
            let number = |index: usize, default: i64| match takes.get(index) {
                None | Some(Value::Absent) => Some(default),
                Some(value) => value.as_integers()?.first().copied(),
            };
            let length = first.len() as i64;
            let clamp = |at: i64| {
                if at < 0 {
                    at.saturating_add(length)
                } else {
                    at
                }
                .clamp(0, length)
            };
            let (from, to) = (clamp(number(1, 0)?), clamp(number(2, length)?));
            let range = from as usize..to.max(from) as usize;
            (number(4, 1)? == 1).then(|| Value::sizes(first[range].to_vec(), false))
        }
        // Exporters ask whether a size is −1, as Expand has it: the batch's never is.
        "Equal" => {
            let (x, y) = (&first, takes.get(1)?.as_sizes()?.0);
            let equal = |index: usize| match (x[index.min(x.len() - 1)], y[index.min(y.len() - 1)])
            {
                (Size::Known(x), Size::Known(y)) => Size::Known(i64::from(x == y)),
                (x, Size::Known(..0)) if x != Size::Mixed => Size::Known(0),
                _ => Size::Mixed,
            };
            let both = !x.is_empty() && !y.is_empty();
            both.then(|| Value::sizes((0..x.len().max(y.len())).map(equal).collect(), is_number))
        }
        "Where" => {
            let (x, y) = (takes.get(1)?.as_sizes()?.0, takes.get(2)?.as_sizes()?.0);
            let chosen = first.iter().enumerate().map(|(index, condition)| {
                match condition {
                    Size::Known(0) => y.get(index),
                    Size::Known(_) => x.get(index),
                    _ => Some(&Size::Mixed),
                }
                .copied()
            });
            Some(Value::sizes(chosen.collect::<Option<Vec<_>>>()?, is_number))
        }
        _ => {
            let parts = takes.iter().map(|value| value.as_free());
            let is_free = parts.clone().all(|part| part.is_some());
            let longest = takes
                .iter()
                .filter_map(Value::as_sizes)
                .max_by_key(|all| all.0.len())?;
            let size = if is_free { Size::Other } else { Size::Mixed };
            let is_sum = matches!(
                step.op.as_str(),
                "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min"
            );
            is_sum.then(|| Value::sizes(vec![size; longest.0.len()], longest.1))
        }
    }
}

/// Number by number.
fn broadcast(takes: &[Value]) -> Option<Value> {
    let mut rank = 0;
    for value in takes {
        rank = rank.max(match value {
            Value::Rows { rank, .. } | Value::Blocks { rank } => *rank,
            value => value.as_free()?.len(),
        });
    }
    // The rows' axis in the result, the same for all.
    let mut found: Option<(usize, bool)> = None;
    for value in takes {
        let (own, is_blocks) = match value {
            Value::Rows { axis, rank: own } => (rank - own + axis, false),
            Value::Blocks { rank: own } => (rank - own, true),
            _ => continue,
        };
        if *found.get_or_insert((own, is_blocks)) != (own, is_blocks) {
            return None;
        }
    }
    let (axis, is_blocks) = found?;
    let free = takes.iter().filter_map(Value::as_free);
    let mut free = free.map(|shape| is_one(&shape, axis, rank));
    if !free.all(|fits| fits) {
        return None;
    }
    match is_blocks {
        true => (axis == 0).then_some(Value::Blocks { rank }),
        false => Some(Value::Rows { axis, rank }),
    }
}

fn product(x: &Value, y: &Value) -> Option<Value> {
    match (x, y) {
        (Value::Rows { axis, rank }, Value::Constant { shape, .. }) => {
            (shape.len() == 2 && axis + 1 < *rank).then(|| x.clone())
        }
        (Value::Blocks { rank }, Value::Constant { shape, .. }) => {
            (shape.len() == 2 && *rank > 1).then(|| x.clone())
        }
        (Value::Rows { axis, rank }, _) => (x == y && axis + 2 < *rank).then(|| x.clone()),
        _ => None,
    }
}

fn gemm(step: &Step<'_>, takes: &[Value]) -> Option<Value> {
    let x = takes.first()?;
    let is_row = matches!(
        x,
        Value::Rows { axis: 0, rank: 2 } | Value::Blocks { rank: 2 }
    );
    let is_plain = is_row && step.int("transA", 0) == 0;
    let others = takes[1..].iter().enumerate().all(|(index, value)| {
        let shape = match value {
            Value::Absent => return true,
            value => value.as_free(),
        };
        // The matrix, then what is added to every row.
        shape.is_some_and(|shape| index == 0 || shape.len() < 2 || shape[0] == 1)
    });
    (is_plain && others).then(|| x.clone())
}

fn transpose(step: &Step<'_>, x: &Value) -> Option<Value> {
    let Value::Rows { axis, rank } = *x else {
        return None;
    };
    let to = match step.integers.get("perm") {
        Some(order) => order.iter().position(|from| *from == axis as i64)?,
        None => rank - 1 - axis,
    };
    Some(Value::Rows { axis: to, rank })
}

fn squeeze(step: &Step<'_>, x: &Value, axes: &Value) -> Option<Value> {
    let axes = listed(step, "axes", axes)?;
    apart(x, &axes, axes.len())
}

fn unsqueeze(step: &Step<'_>, x: &Value, axes: &Value) -> Option<Value> {
    let Value::Rows { axis, rank } = *x else {
        return None;
    };
    let axes = listed(step, "axes", axes)?;
    let rank = rank + axes.len();
    let new = axes
        .iter()
        .map(|at| resolve(*at, rank))
        .collect::<Option<Vec<_>>>()?;
    let mut kept = (0..rank).filter(|at| !new.contains(at));
    Some(Value::Rows {
        axis: kept.nth(axis)?,
        rank,
    })
}

fn gather(step: &Step<'_>, x: &Value, indices: &Value) -> Option<Value> {
    let at = step.int("axis", 0);
    match (x, indices) {
        // An Embedding: the rows are those of the indices.
        (Value::Constant { shape, .. }, Value::Rows { axis, rank }) if at == 0 => {
            Some(Value::Rows {
                axis: *axis,
                rank: rank + shape.len().checked_sub(1)?,
            })
        }
        (Value::Rows { axis, rank }, Value::Constant { shape, .. }) => {
            let at = resolve(at, *rank)?;
            let (axis, rank) = (*axis, rank - 1 + shape.len());
            match at.cmp(&axis) {
                std::cmp::Ordering::Less => Some(Value::Rows {
                    axis: axis + shape.len() - 1,
                    rank,
                }),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(Value::Rows { axis, rank }),
            }
        }
        _ => None,
    }
}

/// What works along these axes, none of them the rows', of which `dropped` are gone in the end.
fn apart(x: &Value, axes: &[i64], dropped: usize) -> Option<Value> {
    let (axis, rank) = match *x {
        Value::Rows { axis, rank } => (axis, rank),
        Value::Blocks { rank } => (0, rank),
        _ => return None,
    };
    let axes = axes
        .iter()
        .map(|at| resolve(*at, rank))
        .collect::<Option<Vec<_>>>()?;
    if axes.contains(&axis) {
        return None;
    }
    let before = match dropped {
        0 => 0,
        _ => axes.iter().filter(|at| **at < axis).count(),
    };
    let rank = rank.checked_sub(dropped)?;
    Some(match x {
        Value::Blocks { .. } => Value::Blocks { rank },
        _ => Value::Rows {
            axis: axis - before,
            rank,
        },
    })
}

/// What works along all axes from this one on.
fn behind(x: &Value, from: i64) -> Option<Value> {
    let (axis, rank) = match *x {
        Value::Rows { axis, rank } => (axis, rank),
        Value::Blocks { rank } => (0, rank),
        _ => return None,
    };
    (resolve(from, rank)? > axis).then(|| x.clone())
}

/// Integers of an attribute, or of an operand that is known.
fn listed(step: &Step<'_>, key: &str, operand: &Value) -> Option<Vec<i64>> {
    match step.integers.get(key) {
        Some(values) => Some(values.clone()),
        None => operand.as_integers(),
    }
}

/// An axis that may count from the end.
fn resolve(axis: i64, rank: usize) -> Option<usize> {
    let from_end = if axis < 0 {
        axis.checked_add(rank as i64)?
    } else {
        axis
    };
    usize::try_from(from_end)
        .ok()
        .filter(|axis| *axis < rank.max(1))
}
