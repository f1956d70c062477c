//! What the layers share: checks whose errors name the input, shapes, rows, masks.

use std::borrow::Cow;

use ifco_cell::Activation;
use ndarray::linalg::general_mat_mul;
use ndarray::{
    Array, Array2, ArrayD, ArrayView2, ArrayViewD, ArrayViewMut2, Axis, Dimension, IxDyn,
};
use serde_json::Value;

use crate::{
    Call, Config, ConfigError, Layer, LayerError, Mask, NotStreamable, Shape, StepShape, Tensor,
    WeightSlot, display_shape,
};

/// No layer makes an array of more elements than this: 2³¹ are 8 GiB. A configuration can name
/// any size, and an allocation that fails takes the whole process with it.
pub(crate) const MAX_ELEMENTS: usize = 1 << 31;

/// How many elements an array of this shape has.
///
/// # Errors
/// When they are more than [`MAX_ELEMENTS`].
pub(crate) fn elements(shape: &[usize]) -> Result<usize, LayerError> {
    // Sizes of 0 do not excuse the others: ndarray checks the product without them.
    let product = shape
        .iter()
        .filter(|size| **size != 0)
        .try_fold(1_usize, |product, size| product.checked_mul(*size))
        .filter(|product| *product <= MAX_ELEMENTS);
    match product {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(product) => Ok(product),
        None => Err(LayerError::Other(format!(
            "an array of shape {shape:?} has more elements than the limit of {MAX_ELEMENTS}"
        ))),
    }
}

/// A shape of which every size is known.
pub(crate) fn known(shape: &[usize]) -> Shape {
    shape.iter().copied().map(Some).collect()
}

/// A shape of which every size is known, as text: `(2, 3)`.
pub(crate) fn display_sizes(shape: &[usize]) -> String {
    display_shape(&known(shape))
}

/// The shape of the layer's only output for these inputs, checked against the limit: what a
/// `call` begins with, so that it takes exactly the inputs that `output_shapes` takes.
pub(crate) fn output_shape(layer: &dyn Layer, inputs: &[Tensor]) -> Result<Vec<usize>, LayerError> {
    let inputs: Vec<Shape> = inputs.iter().map(|input| known(input.shape())).collect();
    let shapes = layer.output_shapes(&inputs, &Call::default())?;
    let shape = shapes
        .first()
        .and_then(|shape| shape.iter().copied().collect::<Option<Vec<_>>>());
    let shape = shape.ok_or_else(|| {
        LayerError::Other("the output's shape cannot be told from the inputs' shapes".into())
    })?;
    elements(&shape)?;
    Ok(shape)
}

/// The error that input `index` has a shape that does not fit.
pub(crate) fn wrong_input(
    index: usize,
    found: &[Option<usize>],
    expected: impl Into<String>,
) -> LayerError {
    LayerError::Input {
        input: index,
        found: display_shape(found),
        expected: expected.into(),
    }
}

/// The only element of `inputs`, be they tensors or shapes.
pub(crate) fn single<'a, T>(class: &str, inputs: &'a [T]) -> Result<&'a T, LayerError> {
    match inputs {
        [one] => Ok(one),
        many => Err(LayerError::Other(format!(
            "a {class} takes one input, got {}",
            many.len()
        ))),
    }
}

/// The only input of a step.
pub(crate) fn one(inputs: &[StepShape]) -> Result<&StepShape, NotStreamable> {
    match inputs {
        [one] => Ok(one),
        many => Err(NotStreamable::new(format!(
            "it takes one input, got {}",
            many.len()
        ))),
    }
}

/// Refuses steps that may be masked: what a merged step's mask is depends on all of them.
pub(crate) fn unmasked(inputs: &[StepShape]) -> Result<(), NotStreamable> {
    match inputs.iter().any(|input| input.masked) {
        false => Ok(()),
        true => Err(NotStreamable::new(
            "it merges steps that may be masked, which a stream does not do",
        )
        .help("run whole sequences with predict")),
    }
}

/// The only input's shape, which must have this rank; `axes` names them for the error.
pub(crate) fn single_of_rank<'a>(
    class: &str,
    inputs: &'a [Shape],
    rank: usize,
    axes: &str,
) -> Result<&'a Shape, LayerError> {
    let shape = single(class, inputs)?;
    if shape.len() != rank {
        return Err(wrong_input(0, shape, axes));
    }
    Ok(shape)
}

/// Where an axis that may count from the end is in an array of this rank.
pub(crate) fn resolve_axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&axis).then_some(axis as usize)
}

/// All of `axes` in an array of the shape of input 0, sorted.
pub(crate) fn resolve_axes(
    axes: &[i64],
    shape: &[Option<usize>],
) -> Result<Vec<usize>, LayerError> {
    let mut resolved = Vec::with_capacity(axes.len());
    for axis in axes {
        let axis = resolve_axis(*axis, shape.len())
            .ok_or_else(|| wrong_input(0, shape, format!("a shape that has axis {axis}")))?;
        if !resolved.contains(&axis) {
            resolved.push(axis);
        }
    }
    resolved.sort_unstable();
    Ok(resolved)
}

/// Checks that there is one array for each slot, and its shape: `None` stands for any size.
pub(crate) fn check_weights(
    class: &str,
    slots: &[WeightSlot],
    weights: &[ArrayD<f32>],
    shapes: &[&[Option<usize>]],
) -> Result<(), LayerError> {
    if slots.len() != weights.len() {
        let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        return Err(LayerError::Other(format!(
            "a {class} of this configuration has {} weights ({}), got {}",
            slots.len(),
            names.join(", "),
            weights.len()
        )));
    }
    for ((slot, weight), expected) in slots.iter().zip(weights).zip(shapes) {
        let fits = weight.ndim() == expected.len()
            && weight
                .shape()
                .iter()
                .zip(*expected)
                .all(|(found, expected)| expected.is_none_or(|expected| expected == *found));
        if !fits {
            return Err(wrong_weight(slot, weight, &any_shape(expected)));
        }
    }
    Ok(())
}

/// The error that an array does not fit its slot.
pub(crate) fn wrong_weight(slot: &WeightSlot, weight: &ArrayD<f32>, expected: &str) -> LayerError {
    let name = match slot.group.as_str() {
        "" => slot.name.clone(),
        group => format!("{group}/{}", slot.name),
    };
    LayerError::Weight {
        name,
        found: weight.shape().to_vec(),
        expected: expected.into(),
    }
}

fn any_shape(shape: &[Option<usize>]) -> String {
    display_shape(shape).replace("None", "any")
}

/// The array in another shape of as many elements, in C order.
pub(crate) fn reshaped<D: Dimension>(
    array: ArrayD<f32>,
    shape: D,
) -> Result<Array<f32, D>, LayerError> {
    let array = if array.is_standard_layout() {
        array
    } else {
        array.as_standard_layout().into_owned()
    };
    array.into_shape_with_order(shape).map_err(shape_error)
}

/// One axis of these values.
pub(crate) fn flat(values: &[f32]) -> ArrayD<f32> {
    ndarray::Array1::from(values.to_vec()).into_dyn()
}

/// The values in C order, copied only where they do not lie so.
pub(crate) fn values(tensor: &Tensor) -> Cow<'_, [f32]> {
    match tensor.data.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(tensor.data.iter().copied().collect()),
    }
}

/// A tensor of these values in C order.
pub(crate) fn tensor(shape: &[usize], values: Vec<f32>) -> Result<Tensor, LayerError> {
    let array = ArrayD::from_shape_vec(IxDyn(shape), values).map_err(shape_error)?;
    Ok(Tensor::from(array))
}

/// These values as a matrix, in C order.
pub(crate) fn matrix(
    rows: usize,
    columns: usize,
    values: &[f32],
) -> Result<ArrayView2<'_, f32>, LayerError> {
    ArrayView2::from_shape((rows, columns), values).map_err(shape_error)
}

fn shape_error(error: ndarray::ShapeError) -> LayerError {
    LayerError::Other(format!("the array cannot have this shape: {error}"))
}

/// The values with the axes in another order, in C order.
pub(crate) fn permuted(array: ArrayViewD<'_, f32>, order: &[usize]) -> Vec<f32> {
    array.permuted_axes(IxDyn(order)).iter().copied().collect()
}

/// Undoes [`permuted`] for an array that had this shape before.
pub(crate) fn restored(
    values: Vec<f32>,
    shape: &[usize],
    order: &[usize],
) -> Result<ArrayD<f32>, LayerError> {
    let permuted: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
    let mut inverse = vec![0; order.len()];
    for (position, axis) in order.iter().enumerate() {
        inverse[*axis] = position;
    }
    let array = tensor(&permuted, values)?.into_owned();
    Ok(array.permuted_axes(IxDyn(&inverse)))
}

/// Works on each row of the values along `axes` together, as if those were the last.
pub(crate) fn along(
    array: ArrayViewD<'_, f32>,
    axes: &[usize],
    work: impl FnMut(&mut [f32]),
) -> Result<ArrayD<f32>, LayerError> {
    let shape = array.shape().to_vec();
    let mut order: Vec<usize> = (0..shape.len())
        .filter(|axis| !axes.contains(axis))
        .collect();
    order.extend(axes);
    let sizes: Vec<usize> = axes.iter().map(|axis| shape[*axis]).collect();
    let mut values = permuted(array, &order);
    let len = elements(&sizes)?;
    if len > 0 {
        values.chunks_exact_mut(len).for_each(work);
    }
    restored(values, &shape, &order)
}

/// The same with a second array of that shape, whose rows are changed while those of the first
/// are read.
pub(crate) fn along_both(
    read: ArrayViewD<'_, f32>,
    array: ArrayViewD<'_, f32>,
    axes: &[usize],
    mut work: impl FnMut(&[f32], &mut [f32]),
) -> Result<ArrayD<f32>, LayerError> {
    let order: Vec<usize> = (0..read.ndim())
        .filter(|axis| !axes.contains(axis))
        .chain(axes.iter().copied())
        .collect();
    let len = axes.iter().map(|axis| read.shape()[*axis]).product();
    let read = permuted(read, &order);
    let mut rows = read.chunks_exact(std::cmp::max(len, 1));
    along(array, axes, |row| {
        if let Some(read) = rows.next() {
            work(read, row);
        }
    })
}

/// The matrix product, in C order; a large one on several threads, to the same bits.
pub(crate) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Vec<f32> {
    let mut product = Array2::zeros((a.nrows(), b.ncols()));
    multiply(a, b, product.view_mut(), ifco_cell::threads());
    product.into_raw_vec_and_offset().0
}

/// So many multiplications are worth a thread of their own.
const WORTH_A_THREAD: usize = 1 << 20;

fn multiply(
    a: ArrayView2<'_, f32>,
    b: ArrayView2<'_, f32>,
    mut product: ArrayViewMut2<'_, f32>,
    threads: usize,
) {
    let (rows, columns) = product.dim();
    let work = rows.saturating_mul(columns).saturating_mul(a.ncols());
    if threads < 2 || work < 2 * WORTH_A_THREAD || rows.max(columns) < 32 {
        general_mat_mul(1.0, &a, &b, 0.0, &mut product);
        return;
    }
    let here = threads.div_ceil(2);
    if rows >= columns {
        let half = rows / 2;
        let (upper, lower) = product.split_at(Axis(0), half);
        let (a_upper, a_lower) = a.split_at(Axis(0), half);
        ifco_cell::join(
            || multiply(a_upper, b, upper, here),
            || multiply(a_lower, b, lower, threads - here),
        );
    } else {
        let half = columns / 2;
        let (left, right) = product.split_at(Axis(1), half);
        let (b_left, b_right) = b.split_at(Axis(1), half);
        ifco_cell::join(
            || multiply(a, b_left, left, here),
            || multiply(a, b_right, right, threads - here),
        );
    }
}

/// The values of an array in C order, copied only where somebody else holds them too or they do
/// not lie so.
pub(crate) fn into_values(array: crate::Array) -> Vec<f32> {
    if !array.is_standard_layout() {
        return array.iter().copied().collect();
    }
    let len = array.len();
    match array.into_owned().into_raw_vec_and_offset() {
        (values, None | Some(0)) if values.len() == len => values,
        (mut values, offset) => {
            let start = offset.unwrap_or(0);
            values.copy_within(start..start + len, 0);
            values.truncate(len);
            values
        }
    }
}

/// The sum over the axes along which an array of this shape was broadcast to the gradient's.
pub(crate) fn sum_to_shape(
    gradient: ArrayD<f32>,
    shape: &[usize],
) -> Result<ArrayD<f32>, LayerError> {
    let mut sum = gradient;
    while sum.ndim() > shape.len() {
        sum = sum.sum_axis(Axis(0));
    }
    for (axis, size) in shape.iter().enumerate() {
        if *size == 1 && sum.shape().get(axis).is_some_and(|size| *size != 1) {
            sum = sum.sum_axis(Axis(axis)).insert_axis(Axis(axis));
        }
    }
    reshaped(sum, IxDyn(shape))
}

/// The sum of the rows of so many values: the gradient of what is added to each of them.
pub(crate) fn sum_of_rows(values: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; columns];
    if columns > 0 {
        for row in values.chunks_exact(columns) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Applies an activation to each row of `features` values.
pub(crate) fn activate(activation: &Activation, values: &mut [f32], features: usize) {
    if features == 0 || *activation == Activation::Linear {
        return;
    }
    values
        .chunks_exact_mut(features)
        .for_each(|row| activation.apply(row));
}

/// Adds the bias to each row.
pub(crate) fn add_bias(values: &mut [f32], bias: &[f32]) {
    if bias.is_empty() {
        return;
    }
    for row in values.chunks_exact_mut(bias.len()) {
        row.iter_mut()
            .zip(bias)
            .for_each(|(value, bias)| *value += bias);
    }
}

/// `e^x / Σ e^x` of one row, in place.
pub(crate) fn softmax(row: &mut [f32]) {
    Activation::Softmax.apply(row);
}

/// The shape that NumPy gives to an operation on arrays of these shapes.
pub(crate) fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (long, short) = if a.len() < b.len() { (b, a) } else { (a, b) };
    let mut shape = long.to_vec();
    let offset = long.len() - short.len();
    for (size, other) in shape[offset..].iter_mut().zip(short) {
        match (*size, *other) {
            (a, b) if a == b => {}
            (1, b) => *size = b,
            (_, 1) => {}
            _ => return None,
        }
    }
    Some(shape)
}

/// Two masks combined as NumPy combines them.
pub(crate) fn combine_masks(
    a: &Mask,
    b: &Mask,
    with: impl Fn(bool, bool) -> bool,
) -> Result<Mask, LayerError> {
    let shape = broadcast_shape(a.shape(), b.shape());
    let pair = shape
        .as_ref()
        .and_then(|shape| Some((a.broadcast(IxDyn(shape))?, b.broadcast(IxDyn(shape))?)));
    let Some((a, b)) = pair else {
        return Err(LayerError::Other(format!(
            "masks of shapes {:?} and {:?} do not fit together",
            a.shape(),
            b.shape()
        )));
    };
    elements(a.shape())?;
    let combined = ndarray::Zip::from(&a)
        .and(&b)
        .map_collect(|a, b| with(*a, *b));
    Ok(combined.into())
}

/// The mask with a further axis of size 1.
pub(crate) fn expand_mask(mask: &Mask, axis: usize) -> Mask {
    mask.clone().insert_axis(Axis(axis))
}

/// A tensor that stands for a mask: what is not 0 counts.
pub(crate) fn as_mask(tensor: &Tensor) -> Mask {
    tensor.data.mapv(|value| value != 0.0).into()
}

/// A whole number ≥ 1.
pub(crate) fn positive(
    config: &Config<'_>,
    key: &str,
    default: Option<usize>,
) -> Result<usize, ConfigError> {
    let value = match default {
        Some(default) => config.usize_or(key, default)?,
        None => config.usize(key)?,
    };
    if value == 0 {
        return Err(config.invalid(key, "a whole number of at least 1"));
    }
    Ok(value)
}

/// One whole number ≥ 1 for each of `rank` axes, or `default` for each when absent.
pub(crate) fn positives(
    config: &Config<'_>,
    key: &str,
    rank: usize,
    default: Option<usize>,
) -> Result<Vec<usize>, ConfigError> {
    let sizes = match (config.get(key), default) {
        (None, Some(default)) => vec![default; rank],
        _ => config.usizes(key, rank)?,
    };
    if sizes.contains(&0) {
        return Err(config.invalid(key, "whole numbers of at least 1"));
    }
    Ok(sizes)
}

/// Axes that may be negative, or `default` when absent.
pub(crate) fn integers_or(
    config: &Config<'_>,
    key: &str,
    default: &[i64],
) -> Result<Vec<i64>, ConfigError> {
    config
        .get(key)
        .map_or_else(|| Ok(default.to_vec()), |_| config.integers(key))
}

/// Whether the channels are axis 1 instead of the last.
pub(crate) fn channels_first(config: &Config<'_>) -> Result<bool, ConfigError> {
    match config.str_or("data_format", "channels_last")? {
        "channels_last" => Ok(false),
        "channels_first" => Ok(true),
        _ => Err(config.invalid("data_format", "\"channels_last\" or \"channels_first\"")),
    }
}

/// A number or nested lists of numbers, also as Keras 3 wraps an array:
/// `{"class_name": "__numpy__", "config": {"value": …}}`. `None` when absent.
pub(crate) fn array(config: &Config<'_>, key: &str) -> Result<Option<ArrayD<f32>>, ConfigError> {
    let Some(mut value) = config.get(key) else {
        return Ok(None);
    };
    if let Some(inner) = value.get("config").and_then(|config| config.get("value")) {
        value = inner;
    } else if let Some(inner) = value.get("value") {
        value = inner;
    }
    let mut shape = Vec::new();
    let mut numbers = Vec::new();
    collect_numbers(value, 0, &mut shape, &mut numbers)
        .and_then(|()| ArrayD::from_shape_vec(IxDyn(&shape), numbers).ok())
        .map(Some)
        .ok_or_else(|| config.invalid(key, "a number or an array of numbers"))
}

fn collect_numbers(
    value: &Value,
    depth: usize,
    shape: &mut Vec<usize>,
    numbers: &mut Vec<f32>,
) -> Option<()> {
    if let Value::Array(items) = value {
        // The first list at a depth tells its size; ndarray's own check finds ragged ones.
        if shape.len() == depth {
            if !numbers.is_empty() {
                return None;
            }
            shape.push(items.len());
        }
        if shape.get(depth) != Some(&items.len()) {
            return None;
        }
        return items
            .iter()
            .try_for_each(|item| collect_numbers(item, depth + 1, shape, numbers));
    }
    if shape.len() != depth {
        return None;
    }
    numbers.push(crate::config::as_f64(value)? as f32);
    Some(())
}
