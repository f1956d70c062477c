//! Operators that move numbers about, or speak of shapes.

use ndarray::{Array1, ArrayD, Axis, IxDyn, Slice, concatenate};

use super::node::{Attribute, Node};
use super::operator::{Operands, Outputs};
use crate::layers::display_sizes;
use crate::{Array, LayerError, Shape};

pub(super) fn evaluate(operands: &Operands<'_>) -> Outputs {
    let node = operands.node;
    if operands.op() == "Split" {
        return split(operands).map(Some);
    }
    let result: ArrayD<f32> = match operands.op() {
        "Constant" => constant(node)?,
        "ConstantOfShape" => {
            let shape = sizes(&operands.integers(0).unwrap_or_default())?;
            operands.elements(&shape)?;
            let value = match node.attributes.get("value") {
                Some(Attribute::Tensor(value)) => value.data.first().copied().unwrap_or(0.0),
                _ => 0.0,
            };
            ArrayD::from_elem(IxDyn(&shape), value)
        }
        "Shape" => {
            let shape = operands.need(0)?.shape();
            let (start, end) = shape_range(node, shape.len())?;
            integers(shape[start..end].iter().map(|size| *size as f32))
        }
        "Size" => ArrayD::from_elem(IxDyn(&[]), operands.need(0)?.len() as f32),
        "Range" => range(operands)?,
        "Transpose" => {
            let x = operands.need(0)?;
            let order = permutation(node, x.ndim())?;
            let moved = x.view().permuted_axes(order);
            moved.as_standard_layout().into_owned()
        }
        "Reshape" => {
            let x = operands.need(0)?;
            let target = operands.integers_of("shape", 1)?.unwrap_or_default();
            let found: Shape = x.shape().iter().copied().map(Some).collect();
            let keep_zero = node.int_or("allowzero", 0)? != 0;
            return reshape(operands, x, &known(&resolve(&target, &found, keep_zero)?)?);
        }
        "Flatten" => {
            let x = operands.need(0)?;
            let rank = x.ndim();
            let axis = node.int_or("axis", 1)?;
            let axis = if axis == rank as i64 {
                rank
            } else {
                operands.axis(axis, rank)?
            };
            let (front, back) = x.shape().split_at(axis);
            return reshape(
                operands,
                x,
                &[front.iter().product(), back.iter().product()],
            );
        }
        "Squeeze" => {
            let x = operands.need(0)?;
            let axes = operands.integers_of("axes", 1)?;
            return reshape(
                operands,
                x,
                &squeezed(x.shape(), axes.as_deref(), operands)?,
            );
        }
        "Unsqueeze" => {
            let x = operands.need(0)?;
            let axes = operands.integers_of("axes", 1)?.unwrap_or_default();
            let axes = operands.axes(&axes, x.ndim() + axes.len())?;
            let mut shape = x.shape().to_vec();
            for axis in axes {
                if axis > shape.len() {
                    return Err(LayerError::Other("an axis is named twice".into()));
                }
                shape.insert(axis, 1);
            }
            return reshape(operands, x, &shape);
        }
        "Concat" => {
            let first = operands.need(0)?;
            let axis = node.int("axis")?.unwrap_or(0);
            let axis = operands.axis(axis, first.ndim())?;
            let views: Vec<_> = operands.given().map(|part| part.view()).collect();
            let sizes = views.iter().map(|view| view.len());
            operands.elements(&[sizes.fold(0, usize::saturating_add)])?;
            concatenate(Axis(axis), &views).map_err(|error| {
                let shapes: Vec<String> = views.iter().map(|v| display_sizes(v.shape())).collect();
                LayerError::Other(format!("{error}: the shapes are {}", shapes.join(", ")))
            })?
        }
        "Slice" => slice(operands)?,
        "Gather" => gather(operands)?,
        "Expand" => {
            let x = operands.need(0)?;
            let target = sizes(&operands.integers(1).unwrap_or_default())?;
            let shape = crate::layers::broadcast_shape(x.shape(), &target);
            let shape = shape.ok_or_else(|| wrong(x, format!("one that becomes {target:?}")))?;
            operands.elements(&shape)?;
            let view = x.broadcast(IxDyn(&shape));
            view.ok_or_else(|| wrong(x, format!("one that becomes {shape:?}")))?
                .to_owned()
        }
        "ReverseSequence" => reverse_sequence(operands)?,
        "Tile" => tile(operands)?,
        "Pad" => pad(operands)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result.into()]))
}

fn wrong(x: &Array, expected: impl Into<String>) -> LayerError {
    LayerError::Input {
        input: 0,
        found: display_sizes(x.shape()),
        expected: expected.into(),
    }
}

fn integers(values: impl Iterator<Item = f32>) -> ArrayD<f32> {
    Array1::from_iter(values).into_dyn()
}

fn sizes(values: &[i64]) -> Result<Vec<usize>, LayerError> {
    let sizes = values.iter().map(|size| usize::try_from(*size));
    sizes
        .collect::<Result<_, _>>()
        .map_err(|_| LayerError::Other(format!("{values:?} is no shape")))
}

fn constant(node: &Node) -> Result<ArrayD<f32>, LayerError> {
    let one = |value: f32| ArrayD::from_elem(IxDyn(&[]), value);
    for (key, attribute) in &node.attributes {
        return Ok(match (key.as_str(), attribute) {
            ("value", Attribute::Tensor(value)) => value.data.to_owned().into_owned(),
            ("value_float", Attribute::Float(value)) => one(*value),
            ("value_int", Attribute::Int(value)) => one(*value as f32),
            ("value_floats", Attribute::Floats(values)) => integers(values.iter().copied()),
            ("value_ints", Attribute::Ints(values)) => integers(values.iter().map(|v| *v as f32)),
            _ => continue,
        });
    }
    Err(LayerError::Other("its value is not numbers".into()))
}

pub(super) fn shape_range(node: &Node, rank: usize) -> Result<(usize, usize), LayerError> {
    let signed = rank as i64;
    let clamp = |at: i64| {
        (if at < 0 {
            at.saturating_add(signed)
        } else {
            at
        })
        .clamp(0, signed)
    };
    let start = clamp(node.int_or("start", 0)?);
    let end = clamp(node.int_or("end", signed)?).max(start);
    Ok((start as usize, end as usize))
}

pub(super) fn permutation(node: &Node, rank: usize) -> Result<Vec<usize>, LayerError> {
    let Some(order) = node.ints("perm")? else {
        return Ok((0..rank).rev().collect());
    };
    let order: Vec<usize> = order
        .iter()
        .filter_map(|axis| usize::try_from(*axis).ok())
        .collect();
    let is_all = order.len() == rank && (0..rank).all(|axis| order.contains(&axis));
    match is_all {
        true => Ok(order),
        false => Err(LayerError::Other(format!(
            "perm {order:?} is no order of {rank} axes"
        ))),
    }
}

fn reshape(operands: &Operands<'_>, x: &Array, shape: &[usize]) -> Outputs {
    operands.elements(shape)?;
    let flat = x.as_standard_layout().into_owned();
    let result = flat.into_shape_with_order(IxDyn(shape));
    let result = result.map_err(|_| wrong(x, format!("one that becomes {shape:?}")))?;
    Ok(Some(vec![result.into()]))
}

/// The shape that `target` asks for: 0 keeps a size, −1 stands for what is left.
pub(super) fn resolve(
    target: &[i64],
    found: &[Option<usize>],
    keep_zero: bool,
) -> Result<Shape, LayerError> {
    let bad = || {
        let found = crate::display_shape(found);
        LayerError::Other(format!("{found} cannot become {target:?}"))
    };
    let mut shape: Shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (index, size) in target.iter().enumerate() {
        shape.push(match size {
            -1 if open.is_none() => {
                open = Some(index);
                None
            }
            0 if !keep_zero => *found.get(index).ok_or_else(bad)?,
            size => Some(usize::try_from(*size).map_err(|_| bad())?),
        });
    }
    if let Some(open) = open {
        // What stands unchanged on both sides cancels out, known or not.
        let is_kept = |index: usize| target.get(index) == Some(&0) && !keep_zero;
        let others = |count: usize| (0..count).filter(|index| !is_kept(*index));
        let all = product(others(found.len()).map(|index| found[index]));
        let rest = others(shape.len()).filter(|index| *index != open);
        let rest = product(rest.map(|index| shape[index]));
        shape[open] = match (all, rest) {
            (Some(all), Some(rest)) if rest > 0 && all.is_multiple_of(rest) => Some(all / rest),
            (Some(_), Some(_)) => return Err(bad()),
            _ => None,
        };
    }
    Ok(shape)
}

pub(super) fn product(mut sizes: impl Iterator<Item = Option<usize>>) -> Option<usize> {
    sizes.try_fold(1usize, |all, size| all.checked_mul(size?))
}

fn known(shape: &[Option<usize>]) -> Result<Vec<usize>, LayerError> {
    let sizes: Option<Vec<usize>> = shape.iter().copied().collect();
    sizes.ok_or_else(|| LayerError::Other("its shape is not known".into()))
}

fn squeezed(
    shape: &[usize],
    axes: Option<&[i64]>,
    operands: &Operands<'_>,
) -> Result<Vec<usize>, LayerError> {
    let axes = match axes {
        Some(axes) => operands.axes(axes, shape.len())?,
        None => (0..shape.len()).filter(|axis| shape[*axis] == 1).collect(),
    };
    if let Some(axis) = axes.iter().find(|axis| shape[**axis] != 1) {
        return Err(LayerError::Other(format!(
            "axis {axis} of {shape:?} cannot be squeezed, as its size is not 1"
        )));
    }
    let kept = shape.iter().enumerate();
    let kept = kept.filter(|(axis, _)| !axes.contains(axis));
    Ok(kept.map(|(_, size)| *size).collect())
}

fn range(operands: &Operands<'_>) -> Result<ArrayD<f32>, LayerError> {
    let number = |index: usize| -> Result<f64, LayerError> {
        let value = operands.need(index)?.first().copied();
        Ok(f64::from(value.ok_or_else(|| {
            LayerError::Other(format!("its input {index} is empty"))
        })?))
    };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let count = ((limit - start) / delta).ceil().max(0.0);
    if !count.is_finite() {
        return Err(LayerError::Other("a range without an end".into()));
    }
    let count = operands.elements(&[count as usize])?;
    Ok(integers(
        (0..count).map(|index| (start + index as f64 * delta) as f32),
    ))
}

fn split(operands: &Operands<'_>) -> Result<Vec<Array>, LayerError> {
    let x = operands.need(0)?;
    let axis = operands.axis(operands.node.int_or("axis", 0)?, x.ndim())?;
    let size = x.shape()[axis];
    let parts = match operands.integers_of("split", 1)? {
        Some(parts) => sizes(&parts)?,
        None => {
            let count = operands.node.outputs.max(1);
            let each = size.div_ceil(count);
            (0..count)
                .map(|index| each.min(size.saturating_sub(index * each)))
                .collect()
        }
    };
    let sum = parts
        .iter()
        .try_fold(0usize, |sum, part| sum.checked_add(*part));
    if sum != Some(size) || parts.len() != operands.node.outputs {
        return Err(LayerError::Other(format!(
            "an axis of {size} cannot be split into {parts:?} for {} outputs",
            operands.node.outputs
        )));
    }
    let mut start = 0;
    let take = |part: usize| {
        let range = Slice::from(start..start + part);
        start += part;
        x.slice_axis(Axis(axis), range).to_owned().into()
    };
    Ok(parts.into_iter().map(take).collect())
}

/// The starts, ends, axes and steps: attributes before opset 10, operands since.
fn slice(operands: &Operands<'_>) -> Result<ArrayD<f32>, LayerError> {
    let x = operands.need(0)?;
    let starts = operands.integers_of("starts", 1)?.unwrap_or_default();
    let ends = operands.integers_of("ends", 2)?.unwrap_or_default();
    let axes = operands.integers_of("axes", 3)?;
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = operands.integers(4);
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(LayerError::Other(
            "its starts, ends, axes and steps are not as many".into(),
        ));
    }
    let mut view = x.view();
    for (((start, end), axis), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = operands.axis(*axis, x.ndim())?;
        let size = view.shape()[axis] as i64;
        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let step_size = isize::try_from(*step).unwrap_or(isize::MAX);
        let range = match step {
            0 => return Err(LayerError::Other("a slice of step 0".into())),
            1.. => {
                let start = from_end(*start).clamp(0, size);
                let end = from_end(*end).clamp(start, size);
                Slice::new(start as isize, Some(end as isize), step_size)
            }
            // ndarray starts a slice of negative step at its end.
            _ => {
                let first = from_end(*start).clamp(-1, size - 1);
                let last = from_end(*end).clamp(-1, size - 1).min(first);
                let step_size = step_size.max(-isize::MAX);
                Slice::new(last as isize + 1, Some(first as isize + 1), step_size)
            }
        };
        view.slice_axis_inplace(Axis(axis), range);
    }
    Ok(view.as_standard_layout().into_owned())
}

fn gather(operands: &Operands<'_>) -> Result<ArrayD<f32>, LayerError> {
    let (x, indices) = (operands.need(0)?, operands.need(1)?);
    let axis = operands.axis(operands.node.int_or("axis", 0)?, x.ndim())?;
    let size = x.shape()[axis];
    let mut shape = x.shape()[..axis].to_vec();
    shape.extend(indices.shape());
    shape.extend(&x.shape()[axis + 1..]);
    operands.elements(&shape)?;
    let mut picked = Vec::with_capacity(indices.len());
    for index in indices {
        let at = if *index < 0.0 {
            *index + size as f32
        } else {
            *index
        };
        if !(at >= 0.0 && at < size as f32) {
            return Err(LayerError::Other(format!(
                "index {index} in an axis of {size}"
            )));
        }
        picked.push(at as usize);
    }
    let result = x.select(Axis(axis), &picked);
    let result = result.as_standard_layout().into_owned();
    result
        .into_shape_with_order(IxDyn(&shape))
        .map_err(|error| LayerError::Other(error.to_string()))
}

/// The first steps of each row, as many as it is told, in the opposite order.
fn reverse_sequence(operands: &Operands<'_>) -> Result<ArrayD<f32>, LayerError> {
    let (x, lens) = (operands.need(0)?, operands.need(1)?);
    let batch = operands.axis(operands.node.int_or("batch_axis", 1)?, x.ndim())?;
    let time = operands.axis(operands.node.int_or("time_axis", 0)?, x.ndim())?;
    let (rows, steps) = (x.shape()[batch], x.shape()[time]);
    let is_length = |len: &f32| (0.0..=steps as f32).contains(len);
    if batch == time || lens.shape() != [rows] || !lens.iter().all(is_length) {
        let expected = format!("one with a length of at most {steps} for each of {rows} rows");
        return Err(wrong(lens, expected));
    }
    let mut result = x.to_owned().into_owned();
    for (row, len) in lens.iter().enumerate() {
        let mut row = result.index_axis_mut(Axis(batch), row);
        // The axes behind the row's are one less now.
        let mut part = row.slice_axis_mut(
            Axis(time - usize::from(batch < time)),
            Slice::from(..*len as isize),
        );
        let mut reversed = part.to_owned();
        reversed.invert_axis(Axis(time - usize::from(batch < time)));
        part.assign(&reversed);
    }
    Ok(result)
}

fn tile(operands: &Operands<'_>) -> Result<ArrayD<f32>, LayerError> {
    let x = operands.need(0)?;
    let repeats = sizes(&operands.integers(1).unwrap_or_default())?;
    if repeats.len() != x.ndim() {
        return Err(wrong(x, format!("{} axes to repeat", repeats.len())));
    }
    let shape: Option<Vec<usize>> = x
        .shape()
        .iter()
        .zip(&repeats)
        .map(|(size, repeat)| size.checked_mul(*repeat))
        .collect();
    let shape = shape.ok_or_else(|| wrong(x, "one that can be repeated so often"))?;
    if operands.elements(&shape)? == 0 {
        return Ok(ArrayD::zeros(IxDyn(&shape)));
    }
    let mut result = x.to_owned().into_owned();
    for (axis, repeat) in repeats.into_iter().enumerate() {
        if repeat != 1 {
            let views = vec![result.view(); repeat];
            result = concatenate(Axis(axis), &views)
                .map_err(|error| LayerError::Other(error.to_string()))?;
        }
    }
    Ok(result)
}

fn pad(operands: &Operands<'_>) -> Result<ArrayD<f32>, LayerError> {
    let x = operands.need(0)?;
    let node = operands.node;
    if node.string_or("mode", "constant")? != "constant" {
        return Err(LayerError::Other(
            "it pads otherwise than with one number".into(),
        ));
    }
    let pads = operands.integers_of("pads", 1)?.unwrap_or_default();
    let value = match operands.get(2).and_then(|value| value.first()) {
        Some(value) => *value,
        None => node.float_or("value", 0.0)?,
    };
    let axes = match operands.integers(3) {
        Some(axes) => {
            let axes = axes.iter().map(|axis| operands.axis(*axis, x.ndim()));
            axes.collect::<Result<Vec<_>, _>>()?
        }
        None => (0..x.ndim()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(wrong(x, format!("one that {} pads fit", pads.len())));
    }
    // Negative ones crop.
    let mut view = x.view();
    for (index, axis) in axes.iter().enumerate() {
        let size = view.shape()[*axis] as i64;
        let crop = |pad: i64| pad.saturating_neg().max(0);
        let start = crop(pads[index]).min(size);
        let end = size
            .saturating_sub(crop(pads[index + axes.len()]))
            .max(start);
        view.slice_axis_inplace(Axis(*axis), Slice::from(start as isize..end as isize));
    }
    let mut shape = view.shape().to_vec();
    let mut before = vec![0; shape.len()];
    for (index, axis) in axes.iter().enumerate() {
        let grow = |pad: i64| usize::try_from(pad.max(0)).unwrap_or(usize::MAX);
        before[*axis] = grow(pads[index]);
        shape[*axis] = shape[*axis]
            .saturating_add(before[*axis])
            .saturating_add(grow(pads[index + axes.len()]));
    }
    operands.elements(&shape)?;
    let mut result = ArrayD::from_elem(IxDyn(&shape), value);
    let mut inside = result.view_mut();
    for (axis, before) in before.iter().enumerate() {
        let range = Slice::from(*before..before + view.shape()[axis]);
        inside.slice_axis_inplace(Axis(axis), range);
    }
    inside.assign(&view);
    Ok(result)
}
