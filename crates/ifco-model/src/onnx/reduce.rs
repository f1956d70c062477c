//! Operators that make one number, or a few, of many along some axes.

use ndarray::{ArrayD, ArrayView1, Axis, IxDyn, Zip};

use super::operator::{Operands, Outputs};
use crate::{Array, LayerError};

pub(super) fn evaluate(operands: &Operands<'_>) -> Outputs {
    if operands.op() == "TopK" {
        return top(operands);
    }
    let fold: fn(ArrayView1<'_, f32>) -> f32 = match operands.op() {
        "ReduceMean" => |lane| lane.sum() / lane.len() as f32,
        "ReduceSum" => |lane| lane.sum(),
        "ReduceProd" => |lane| lane.product(),
        "ReduceMax" => |lane| lane.fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a }),
        "ReduceMin" => |lane| lane.fold(f32::INFINITY, |a, b| if *b < a { *b } else { a }),
        "ReduceL1" => |lane| lane.fold(0.0, |sum, x| sum + x.abs()),
        "ReduceL2" => |lane| lane.fold(0.0, |sum, x| sum + x * x).sqrt(),
        "ReduceSumSquare" => |lane| lane.fold(0.0, |sum, x| sum + x * x),
        "ArgMax" => |lane| first_of(lane, |x, best| x > best),
        "ArgMin" => |lane| first_of(lane, |x, best| x < best),
        _ => return Ok(None),
    };
    let x = operands.need(0)?;
    let rank = x.ndim();
    let keep = operands.node.int_or("keepdims", 1)? != 0;
    let axes = match operands.op() {
        "ArgMax" | "ArgMin" => {
            if operands.node.int_or("select_last_index", 0)? != 0 {
                return Err(LayerError::Other("select_last_index is not known".into()));
            }
            vec![operands.axis(operands.node.int_or("axis", 0)?, rank)?]
        }
        _ => match operands.integers_of("axes", 1)? {
            Some(axes) if !axes.is_empty() => operands.axes(&axes, rank)?,
            _ if operands.node.int_or("noop_with_empty_axes", 0)? != 0 => {
                return Ok(Some(vec![x.clone()]));
            }
            _ => (0..rank).collect(),
        },
    };
    Ok(Some(vec![reduced(x, &axes, keep, fold)?]))
}

/// All of `axes` as one lane, so that a norm is one of all its numbers.
fn reduced(
    x: &Array,
    axes: &[usize],
    keep: bool,
    fold: fn(ArrayView1<'_, f32>) -> f32,
) -> Result<Array, LayerError> {
    let shape = x.shape().to_vec();
    if axes.iter().any(|axis| shape[*axis] == 0) {
        return Err(LayerError::Other("an axis to reduce is empty".into()));
    }
    let kept: Vec<usize> = (0..shape.len())
        .filter(|axis| !axes.contains(axis))
        .collect();
    let order: Vec<usize> = kept.iter().chain(axes).copied().collect();
    let rows: usize = kept.iter().map(|axis| shape[*axis]).product();
    let lane: usize = axes.iter().map(|axis| shape[*axis]).product();
    let error = |error: ndarray::ShapeError| LayerError::Other(error.to_string());
    let flat = x.view().permuted_axes(order);
    let flat = flat.as_standard_layout().into_owned();
    let flat = flat.into_shape_with_order((rows, lane)).map_err(error)?;
    let result = flat.map_axis(Axis(1), fold);
    let sizes: Vec<usize> = match keep {
        true => (0..shape.len())
            .map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] })
            .collect(),
        false => kept.iter().map(|axis| shape[*axis]).collect(),
    };
    let result = result.into_shape_with_order(sizes).map_err(error)?;
    Ok(result.into_dyn().into())
}

fn first_of(lane: ArrayView1<'_, f32>, better: fn(f32, f32) -> bool) -> f32 {
    let mut best = 0;
    for (index, value) in lane.iter().enumerate() {
        if better(*value, lane[best]) {
            best = index;
        }
    }
    best as f32
}

/// The largest or smallest numbers along an axis, in order, and where they were; of equal ones the
/// first.
fn top(operands: &Operands<'_>) -> Outputs {
    let x = operands.need(0)?;
    let axis = operands.axis(operands.node.int_or("axis", -1)?, x.ndim())?;
    let count = operands.integers(1).and_then(|k| k.first().copied());
    let count = count.map_or_else(|| operands.node.int("k"), |k| Ok(Some(k)))?;
    let size = x.shape()[axis];
    let count = count
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count <= size);
    let count = count.ok_or_else(|| {
        LayerError::Other(format!(
            "it takes another number than 0 to {size} of {size}"
        ))
    })?;
    let largest = operands.node.int_or("largest", 1)? != 0;
    let mut shape = x.shape().to_vec();
    shape[axis] = count;
    let (mut values, mut places) = (ArrayD::zeros(IxDyn(&shape)), ArrayD::zeros(IxDyn(&shape)));
    Zip::from(x.lanes(Axis(axis)))
        .and(values.lanes_mut(Axis(axis)))
        .and(places.lanes_mut(Axis(axis)))
        .for_each(|lane, mut values, mut places| {
            let mut order: Vec<usize> = (0..size).collect();
            order.sort_by(|a, b| match largest {
                true => lane[*b].total_cmp(&lane[*a]),
                false => lane[*a].total_cmp(&lane[*b]),
            });
            for (index, at) in order.into_iter().take(count).enumerate() {
                values[index] = lane[at];
                places[index] = at as f32;
            }
        });
    Ok(Some(vec![values.into(), places.into()]))
}
