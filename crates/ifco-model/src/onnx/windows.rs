//! Convolutions and poolings: windows along one or two axes behind batch and channels,
//! `(batch, channels, height, width)`; a sequence has a height of 1.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array4, ArrayView4, Axis, Ix4, IxDyn, s};

use super::node::Node;
use super::operator::{Operands, Outputs};
use crate::layers::display_sizes;
use crate::{Array, LayerError, Shape};

pub(super) fn evaluate(operands: &Operands<'_>) -> Outputs {
    let result = match operands.op() {
        "Conv" => conv(operands)?,
        "MaxPool" | "AveragePool" => pool(operands)?,
        "GlobalAveragePool" => global(operands, |window| {
            window.iter().sum::<f32>() / window.len() as f32
        })?,
        "GlobalMaxPool" => global(operands, |window| {
            window.iter().copied().fold(f32::NEG_INFINITY, f32::max)
        })?,
        _ => return Ok(None),
    };
    Ok(Some(vec![result]))
}

/// The windows along one axis.
#[derive(Debug, Clone, Copy)]
struct Window {
    size: usize,
    stride: usize,
    dilation: usize,
    /// How much the axis is lengthened in front and behind.
    pads: [usize; 2],
    /// Whether the padding is what makes `⌈length / stride⌉` windows; and whether the odd one of
    /// it stands behind.
    same: Option<bool>,
}

impl Window {
    /// From the first to behind the last place that a window reads.
    fn extent(&self) -> Option<usize> {
        let between = self.dilation.checked_mul(self.size.checked_sub(1)?)?;
        between.checked_add(1)
    }

    /// The padding in front and the number of windows on an axis of this length.
    fn lay(&self, length: usize) -> Option<(usize, usize)> {
        let extent = self.extent()?;
        if let Some(upper) = self.same {
            let count = length.div_ceil(self.stride);
            let needed = count.checked_sub(1)?.checked_mul(self.stride)?;
            let padding = needed.checked_add(extent)?.saturating_sub(length);
            let front = if upper {
                padding / 2
            } else {
                padding.div_ceil(2)
            };
            return Some((front, count));
        }
        let [front, behind] = self.pads;
        let whole = length.checked_add(front)?.checked_add(behind)?;
        Some((front, whole.checked_sub(extent)? / self.stride + 1))
    }

    /// Where window `index` reads, as far as that is inside the axis: places in the window, and
    /// on the axis.
    fn reads(
        &self,
        index: usize,
        front: usize,
        length: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        let (start, dilation) = (index * self.stride, self.dilation);
        (0..self.size).filter_map(move |place| {
            let at = (start + place * dilation).checked_sub(front)?;
            (at < length).then_some((place, at))
        })
    }
}

/// The windows along height and width; a sequence's height is a window of 1.
fn windows(
    node: &Node,
    spatial: usize,
    kernel: Option<&[usize]>,
) -> Result<[Window; 2], LayerError> {
    let wrong =
        |key: &str| LayerError::Other(format!("its attribute {key} does not fit its input"));
    if !(1..=2).contains(&spatial) {
        return Err(LayerError::Other(format!(
            "windows along {spatial} axes, of which ifco knows 1 and 2"
        )));
    }
    let list = |key: &str, length: usize, default: i64| -> Result<Vec<i64>, LayerError> {
        let values = node.ints(key)?.unwrap_or_else(|| vec![default; length]);
        match values.len() == length && values.iter().all(|value| *value >= default.min(0)) {
            true => Ok(values),
            false => Err(wrong(key)),
        }
    };
    let size: Vec<usize> = match (node.ints("kernel_shape")?, kernel) {
        (Some(sizes), _) => sizes
            .iter()
            .map(|size| usize::try_from(*size).map_err(|_| wrong("kernel_shape")))
            .collect::<Result<_, _>>()?,
        (None, Some(kernel)) => kernel.to_vec(),
        (None, None) => return Err(wrong("kernel_shape")),
    };
    let strides = list("strides", spatial, 1)?;
    let dilations = list("dilations", spatial, 1)?;
    let pads = list("pads", 2 * spatial, 0)?;
    let same = match node.string_or("auto_pad", "NOTSET")? {
        "NOTSET" | "VALID" | "" => None,
        "SAME_UPPER" => Some(true),
        "SAME_LOWER" => Some(false),
        _ => return Err(wrong("auto_pad")),
    };
    if node.int_or("ceil_mode", 0)? != 0 {
        return Err(LayerError::Other("ceil_mode is not known".into()));
    }
    let is_whole = size.len() == spatial && size.iter().all(|size| *size > 0);
    if !is_whole || strides.contains(&0) || dilations.contains(&0) {
        return Err(wrong("kernel_shape, strides or dilations"));
    }
    if kernel.is_some_and(|kernel| kernel != size) {
        return Err(wrong("kernel_shape"));
    }
    let number = |value: i64| usize::try_from(value).unwrap_or(usize::MAX);
    let window = |axis: usize| Window {
        size: size[axis],
        stride: number(strides[axis]),
        dilation: number(dilations[axis]),
        pads: [number(pads[axis]), number(pads[axis + spatial])],
        same,
    };
    let point = Window {
        size: 1,
        stride: 1,
        dilation: 1,
        pads: [0, 0],
        same: None,
    };
    Ok(match spatial {
        1 => [point, window(0)],
        _ => [window(0), window(1)],
    })
}

/// A sequence as a picture of height 1.
fn picture(x: &Array) -> Result<Array, LayerError> {
    match x.ndim() {
        3 => Ok(x.clone().insert_axis(Axis(2))),
        4 => Ok(x.clone()),
        _ => Err(LayerError::Input {
            input: 0,
            found: display_sizes(x.shape()),
            expected: "batch, channels, and one or two axes".into(),
        }),
    }
}

fn four(x: &Array) -> Result<ArrayView4<'_, f32>, LayerError> {
    let view = x.view().into_dimensionality::<Ix4>();
    view.map_err(|error| LayerError::Other(error.to_string()))
}

/// The result with as many axes as the input had.
fn back(result: Array4<f32>, rank: usize) -> Array {
    let result = result.into_dyn();
    match rank {
        3 => result.index_axis_move(Axis(2), 0).into(),
        _ => result.into(),
    }
}

fn too_short(x: &Array) -> LayerError {
    LayerError::Input {
        input: 0,
        found: display_sizes(x.shape()),
        expected: "axes as long as the windows".into(),
    }
}

/// Every window as a row, times the kernel as a matrix.
fn conv(operands: &Operands<'_>) -> Result<Array, LayerError> {
    let (x, w) = (operands.need(0)?, operands.need(1)?);
    let rank = x.ndim();
    let (input, kernel) = (picture(x)?, picture(w)?);
    let (input, kernel) = (four(&input)?, four(&kernel)?);
    let unfit = || LayerError::Input {
        input: 1,
        found: display_sizes(w.shape()),
        expected: format!(
            "a kernel for an input of shape {}",
            display_sizes(x.shape())
        ),
    };
    let groups = usize::try_from(operands.node.int_or("group", 1)?).unwrap_or(0);
    let (batch, channels, height, width) = input.dim();
    let (filters, each, tall, wide) = kernel.dim();
    let fits = rank == w.ndim()
        && groups > 0
        && filters % groups == 0
        && each.checked_mul(groups) == Some(channels);
    if !fits {
        return Err(unfit());
    }
    let [down, across] = windows(operands.node, rank - 2, Some(&w.shape()[2..]))?;
    let laid = down.lay(height).zip(across.lay(width));
    let ((top, rows), (left, columns)) = laid.ok_or_else(|| too_short(x))?;
    operands.elements(&[batch, filters, rows, columns])?;
    let taken = [each, tall, wide];
    operands.elements(&[rows, columns, each, tall, wide])?;
    operands.work(&[batch, filters, rows, columns, each, tall, wide])?;
    let taken: usize = taken.iter().product();
    let bias = operands.get(2);
    if bias.is_some_and(|bias| bias.shape() != [filters]) {
        return Err(unfit());
    }
    let flat = kernel.to_owned().into_shape_with_order((filters, taken));
    let flat = flat.map_err(|error| LayerError::Other(error.to_string()))?;
    let own = filters / groups;
    let mut result = Array4::zeros((batch, filters, rows, columns));
    let mut read = Array2::zeros((rows * columns, taken));
    for row in 0..batch {
        for group in 0..groups {
            let part = input.slice(s![row, group * each..(group + 1) * each, .., ..]);
            read.fill(0.0);
            for (index, mut to) in read.rows_mut().into_iter().enumerate() {
                for (y, from_y) in down.reads(index / columns, top, height) {
                    for (x, from_x) in across.reads(index % columns, left, width) {
                        for channel in 0..each {
                            to[(channel * tall + y) * wide + x] = part[[channel, from_y, from_x]];
                        }
                    }
                }
            }
            let filter = flat.slice(s![group * own..(group + 1) * own, ..]);
            let mut product = Array2::zeros((own, rows * columns));
            general_mat_mul(1.0, &filter, &read.t(), 0.0, &mut product);
            let product = product.into_shape_with_order((own, rows, columns));
            let product = product.map_err(|error| LayerError::Other(error.to_string()))?;
            result
                .slice_mut(s![row, group * own..(group + 1) * own, .., ..])
                .assign(&product);
        }
    }
    if let Some(bias) = bias {
        for (filter, mut part) in result.axis_iter_mut(Axis(1)).enumerate() {
            part += bias[[filter]];
        }
    }
    Ok(back(result, rank))
}

fn pool(operands: &Operands<'_>) -> Result<Array, LayerError> {
    if operands.node.outputs > 1 {
        return Err(LayerError::Other("only its first output is known".into()));
    }
    let x = operands.need(0)?;
    let rank = x.ndim();
    let input = picture(x)?;
    let input = four(&input)?;
    let [down, across] = windows(operands.node, rank - 2, None)?;
    let (batch, channels, height, width) = input.dim();
    let laid = down.lay(height).zip(across.lay(width));
    let ((top, rows), (left, columns)) = laid.ok_or_else(|| too_short(x))?;
    operands.elements(&[batch, channels, rows, columns])?;
    operands.work(&[batch, channels, rows, columns, down.size, across.size])?;
    let is_max = operands.op() == "MaxPool";
    let counts_padding = operands.node.int_or("count_include_pad", 0)? != 0;
    let window = |(row, channel, y, x): (usize, usize, usize, usize)| {
        let (mut most, mut sum, mut count) = (f32::NEG_INFINITY, 0.0, 0usize);
        for (_, from_y) in down.reads(y, top, height) {
            for (_, from_x) in across.reads(x, left, width) {
                let value = input[[row, channel, from_y, from_x]];
                most = most.max(value);
                sum += value;
                count += 1;
            }
        }
        match (is_max, counts_padding) {
            (true, _) => most,
            (false, true) => sum / (down.size * across.size) as f32,
            (false, false) => sum / count as f32,
        }
    };
    Ok(back(
        Array4::from_shape_fn((batch, channels, rows, columns), window),
        rank,
    ))
}

/// All of each channel as one window.
fn global(operands: &Operands<'_>, of: fn(&[f32]) -> f32) -> Result<Array, LayerError> {
    let x = operands.need(0)?;
    let [batch, channels, spatial @ ..] = x.shape() else {
        return Err(too_short(x));
    };
    let length: usize = spatial.iter().product();
    if length == 0 {
        return Err(too_short(x));
    }
    let values = x.as_standard_layout();
    let values = values.as_slice().unwrap_or_default();
    let result: Vec<f32> = values.chunks_exact(length).map(of).collect();
    let mut shape = vec![*batch, *channels];
    shape.resize(x.ndim(), 1);
    let result = ndarray::ArrayD::from_shape_vec(IxDyn(&shape), result);
    Ok(result
        .map_err(|error| LayerError::Other(error.to_string()))?
        .into())
}

/// The shape of what comes out, from those of the input and of the kernel.
pub(super) fn infer(node: &Node, x: &Shape, kernel: Option<&Shape>) -> Result<Shape, LayerError> {
    let wrong = || LayerError::Other("its input has no axes behind batch and channels".into());
    let [batch, channels, spatial @ ..] = x.as_slice() else {
        return Err(wrong());
    };
    if node.op.starts_with("Global") {
        let mut shape = vec![*batch, *channels];
        shape.resize(x.len(), Some(1));
        return Ok(shape);
    }
    let (filters, sizes) = match kernel.map(Vec::as_slice) {
        Some([filters, _, sizes @ ..]) => (*filters, sizes.iter().copied().collect()),
        _ => (*channels, None),
    };
    let sizes: Option<Vec<usize>> = sizes;
    let laid = windows(node, spatial.len(), sizes.as_deref())?;
    let mut shape = vec![*batch, filters];
    for (window, length) in laid[2 - spatial.len()..].iter().zip(spatial) {
        shape.push(match length {
            Some(length) => Some(window.lay(*length).ok_or_else(wrong)?.1),
            None => None,
        });
    }
    Ok(shape)
}
