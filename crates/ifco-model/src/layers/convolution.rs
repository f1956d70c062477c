//! Convolutions along one or two axes: `Conv1D`, `Conv2D`, `DepthwiseConv1D`/`2D`,
//! `SeparableConv1D`/`2D`. None of them passes a mask on.
//!
//! A convolution is a matrix product: a row for each window, with the channels at all its
//! positions, times the kernel with all its axes but the last made one. The rows are made and
//! multiplied a block at a time, so that they take little memory.

use std::sync::Arc;

use ifco_cell::Activation;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayD, Ix2, IxDyn, s};

use super::causal::{CausalStep, Taps};
use super::derivative::Activated;
use super::projection::Projection;
use super::support::{
    activate, add_bias, channels_first, check_weights, elements, flat, into_values, matrix, one,
    output_shape, positive, positives, reshaped, single, tensor, values, wrong_input, wrong_weight,
};
use super::window::{Layout, Padding, Window, Windows};
use crate::{
    Call, Config, ConfigError, Forward, Generation, Layer, LayerError, NotStreamable, Shape,
    StepShape, Streamed, Tensor, Training, WeightSlot,
};

/// How many numbers the rows of one block hold at most, unless one row alone has more.
const BLOCK: usize = 1 << 18;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Every filter reads the channels of its group.
    Full { filters: usize, groups: usize },
    /// Every channel has filters of its own.
    Depthwise { multiplier: usize },
    /// Depthwise, then a product that mixes the channels.
    Separable { multiplier: usize, filters: usize },
}

mod backward;

/// One of Keras's convolutions.
#[derive(Debug)]
pub struct Convolution {
    class: String,
    kind: Kind,
    windows: Windows,
    activation: Activation,
    use_bias: bool,
    /// Shared with the sessions.
    weights: Option<Arc<Weights>>,
}

#[derive(Debug)]
pub(super) struct Weights {
    /// The input's channels, which the kernel's shape tells.
    pub(super) channels: usize,
    /// `(positions · channels of a group, filters)`, or depthwise `(positions, channels ·
    /// multiplier)`.
    pub(super) kernel: Array2<f32>,
    /// `(channels · multiplier, filters)`.
    pointwise: Option<Projection>,
    pub(super) bias: Vec<f32>,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let rank = if class.ends_with("2D") { 2 } else { 1 };
    let multiplier = || positive(config, "depth_multiplier", Some(1));
    let kind = if class.starts_with("Depthwise") {
        Kind::Depthwise {
            multiplier: multiplier()?,
        }
    } else if class.starts_with("Separable") {
        Kind::Separable {
            multiplier: multiplier()?,
            filters: positive(config, "filters", None)?,
        }
    } else {
        let filters = positive(config, "filters", None)?;
        let groups = positive(config, "groups", Some(1))?;
        if filters % groups != 0 {
            return Err(config.invalid("groups", "a divisor of \"filters\""));
        }
        Kind::Full { filters, groups }
    };
    let causal = rank == 1
        && match kind {
            Kind::Full { .. } => true,
            Kind::Separable { .. } => config.generation < Generation::Keras3,
            Kind::Depthwise { .. } => false,
        };
    let padding = Padding::read(config, causal)?;
    let sizes = positives(config, "kernel_size", rank, None)?;
    let strides = positives(config, "strides", rank, Some(1))?;
    let dilations = positives(config, "dilation_rate", rank, Some(1))?;
    if strides.iter().any(|stride| *stride > 1) && dilations.iter().any(|dilation| *dilation > 1) {
        return Err(config.invalid("dilation_rate", "1, as \"strides\" is more than 1"));
    }
    let axes = sizes
        .into_iter()
        .zip(strides)
        .zip(dilations)
        .map(|((size, stride), dilation)| Window {
            size,
            stride,
            dilation,
            padding,
        })
        .collect();
    Ok(Box::new(Convolution {
        class: class.into(),
        kind,
        windows: Windows::new(class, axes, channels_first(config)?),
        activation: config.activation_or("activation", Activation::Linear)?,
        use_bias: config.bool_or("use_bias", true)?,
        weights: None,
    }))
}

impl Convolution {
    /// The output before the activation; and of a separable convolution, what the pointwise product
    /// is taken of.
    fn sums(&self, inputs: &[Tensor]) -> Result<(Tensor, Option<Vec<f32>>), LayerError> {
        let weights = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let input = single(&self.class, inputs)?;
        let shape = output_shape(self, inputs)?;
        let layout = self.windows.lay(input, &shape);
        let mut output = match self.kind {
            Kind::Full { filters, groups } => full(&layout, &weights.kernel, filters, groups)?,
            Kind::Depthwise { multiplier } | Kind::Separable { multiplier, .. } => {
                depthwise(&layout, &weights.kernel, multiplier)?
            }
        };
        let mut between = None;
        if let Some(pointwise) = &weights.pointwise {
            let mixed = pointwise.apply(&output, layout.windows())?;
            between = Some(std::mem::replace(&mut output, mixed));
        }
        add_bias(&mut output, &weights.bias);
        Ok((self.windows.restore(output, &shape)?, between))
    }

    /// How many channels the output has, if those of the input are known.
    fn output_channels(&self, channels: Option<usize>) -> Option<usize> {
        match self.kind {
            Kind::Full { filters, .. } | Kind::Separable { filters, .. } => Some(filters),
            Kind::Depthwise { multiplier } => channels?.checked_mul(multiplier),
        }
    }
}

/// The kernel's product with each window of its group of channels.
fn full(
    layout: &Layout<'_>,
    kernel: &Array2<f32>,
    filters: usize,
    groups: usize,
) -> Result<Vec<f32>, LayerError> {
    let mut output = Array2::zeros((layout.windows(), filters));
    let (columns, filters) = (kernel.nrows(), filters / groups);
    let channels = layout.channels / groups;
    let block = (BLOCK / columns).clamp(1, layout.windows().max(1));
    let mut rows = vec![0.0; block * columns];
    for start in (0..layout.windows()).step_by(block) {
        let end = layout.windows().min(start + block);
        let rows = &mut rows[..(end - start) * columns];
        for group in 0..groups {
            rows.fill(0.0);
            for (window, row) in (start..end).zip(rows.chunks_exact_mut(columns)) {
                layout.read(window, |position, values| {
                    let values = &values[group * channels..(group + 1) * channels];
                    row[position * channels..(position + 1) * channels].copy_from_slice(values);
                });
            }
            let of_group = group * filters..(group + 1) * filters;
            let mut output = output.slice_mut(s![start..end, of_group.clone()]);
            let rows = matrix(end - start, columns, rows)?;
            let kernel = kernel.slice(s![.., of_group]);
            general_mat_mul(1.0, &rows, &kernel, 0.0, &mut output);
        }
    }
    Ok(output.into_raw_vec_and_offset().0)
}

/// Each channel's own filters: output `channel · multiplier + m`.
fn depthwise(
    layout: &Layout<'_>,
    kernel: &Array2<f32>,
    multiplier: usize,
) -> Result<Vec<f32>, LayerError> {
    let features = kernel.ncols();
    let mut output = vec![0.0; elements(&[layout.windows(), features])?];
    if features == 0 {
        return Ok(output);
    }
    for (window, output) in output.chunks_exact_mut(features).enumerate() {
        layout.read(window, |position, values| {
            let filters = kernel.row(position);
            let each = output
                .chunks_exact_mut(multiplier)
                .zip(filters.exact_chunks(multiplier));
            for ((output, filters), value) in each.zip(values) {
                for (output, filter) in output.iter_mut().zip(filters) {
                    *output += value * filter;
                }
            }
        });
    }
    Ok(output)
}

impl Layer for Convolution {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        let mut names = match self.kind {
            Kind::Full { .. } => vec!["kernel"],
            Kind::Depthwise { .. } => vec!["depthwise_kernel"],
            Kind::Separable { .. } => vec!["depthwise_kernel", "pointwise_kernel"],
        };
        names.extend(self.use_bias.then_some("bias"));
        WeightSlot::list("", &names)
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let slots = self.weight_slots();
        // The input's channels are not in the configuration: the kernel's shape tells them.
        let channels_at = self.windows.rank() - 2;
        let channels = weights
            .first()
            .and_then(|kernel| kernel.shape().get(channels_at).copied());
        let mut kernel: Vec<Option<usize>> = self.windows.sizes().into_iter().map(Some).collect();
        let mut pointwise = vec![Some(1); channels_at];
        kernel.push(channels);
        let outputs = match self.kind {
            Kind::Full { filters, .. } => {
                kernel.push(Some(filters));
                Some(filters)
            }
            Kind::Depthwise { multiplier } => {
                kernel.push(Some(multiplier));
                channels.and_then(|channels| channels.checked_mul(multiplier))
            }
            Kind::Separable {
                multiplier,
                filters,
            } => {
                kernel.push(Some(multiplier));
                pointwise.push(channels.and_then(|channels| channels.checked_mul(multiplier)));
                pointwise.push(Some(filters));
                Some(filters)
            }
        };
        let bias = [outputs];
        let shapes: &[&[_]] = match self.kind {
            Kind::Separable { .. } => &[&kernel, &pointwise, &bias],
            _ => &[&kernel, &bias],
        };
        check_weights(&self.class, &slots, &weights, shapes)?;

        let mut weights = weights.into_iter();
        let Some(kernel) = weights.next() else {
            return Ok(());
        };
        let (channels, outputs) = (channels.unwrap_or(0), outputs.unwrap_or(0));
        if kernel.is_empty() {
            return Err(wrong_weight(
                &slots[0],
                &kernel,
                "at least one input channel",
            ));
        }
        let positions: usize = self.windows.sizes().iter().product();
        let separable = matches!(self.kind, Kind::Separable { .. });
        let (rows, channels) = match self.kind {
            Kind::Full { groups, .. } => (positions * channels, channels.saturating_mul(groups)),
            _ => (positions, channels),
        };
        let columns = kernel.len() / rows;
        let kernel = reshaped(kernel, Ix2(rows, columns))?;
        let pointwise = if separable { weights.next() } else { None };
        let pointwise = match pointwise {
            Some(pointwise) => Some(Projection {
                kernel: reshaped(pointwise, Ix2(columns, outputs))?,
                bias: Vec::new(),
            }),
            None => None,
        };
        let bias = match weights.next() {
            Some(bias) => bias.iter().copied().collect(),
            None => Vec::new(),
        };
        self.weights = Some(Arc::new(Weights {
            channels,
            kernel,
            pointwise,
            bias,
        }));
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let weights = self.weights.as_ref()?;
        let shaped = |leading: Vec<usize>, matrix: &Array2<f32>, channels: usize| {
            let mut shape = leading;
            shape.extend([
                channels,
                matrix
                    .len()
                    .checked_div(shape.iter().product::<usize>() * channels)?,
            ]);
            reshaped(matrix.clone().into_dyn(), IxDyn(&shape)).ok()
        };
        let channels = match self.kind {
            Kind::Full { groups, .. } => weights.channels / groups,
            Kind::Depthwise { .. } | Kind::Separable { .. } => weights.channels,
        };
        let mut all = vec![shaped(self.windows.sizes(), &weights.kernel, channels)?];
        if let Some(pointwise) = &weights.pointwise {
            let ones = vec![1; self.windows.rank() - 2];
            all.push(shaped(ones, &pointwise.kernel, pointwise.kernel.nrows())?);
        }
        all.extend(self.use_bias.then(|| flat(&weights.bias)));
        Some(all)
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let output = self
            .windows
            .output_shape(inputs, |channels| self.output_channels(channels))?;
        let shape = single(&self.class, inputs)?;
        let channels = shape[self.windows.channel_axis()];
        let expected = match (&self.weights, self.kind, channels) {
            (Some(weights), _, Some(channels)) if weights.channels != channels => {
                format!("{} channels, as the kernel has", weights.channels)
            }
            (None, Kind::Full { groups, .. }, Some(channels)) if channels % groups != 0 => {
                format!("channels in {groups} equal groups")
            }
            _ => return Ok(vec![output]),
        };
        Err(wrong_input(0, shape, expected))
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let (output, _) = self.sums(inputs)?;
        let shape = output.shape().to_vec();
        if self.activation == Activation::Linear {
            return Ok(vec![output]);
        }
        // Softmax is along the last axis, which need not be the channels.
        let mut output = values(&output).into_owned();
        activate(&self.activation, &mut output, shape[shape.len() - 1]);
        Ok(vec![tensor(&shape, output)?])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        _call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let (sums, between) = self.sums(inputs)?;
        let shape = sums.shape().to_vec();
        let (output, activated) =
            Activated::apply(&self.activation, into_values(sums.data), &shape)?;
        let input = single(&self.class, inputs)?.clone();
        let wants = training.wants();
        Ok(Forward::new(output, move |gradient| {
            let gradient = tensor(&shape, activated.backward(gradient))?;
            let gradient = self.windows.channels_last(gradient.data);
            self.backward(&input, &shape, between.as_deref(), gradient, wants)
        }))
    }

    /// Where no window looks ahead: Conv1D that is causal, or of a window of one step.
    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let weights = self.weights.as_ref().ok_or(LayerError::NoWeights)?;
        let input = one(inputs)?;
        let refuse = |why: &str| {
            let help = "train it with padding=\"causal\" and strides=1, or run whole sequences \
                        with predict";
            Err(NotStreamable::new(why).help(help))
        };
        let (Some(window), Kind::Full { groups, .. }) = (self.windows.along_time(), self.kind)
        else {
            return refuse("of the convolutions only a Conv1D over the time can be streamed");
        };
        if window.stride != 1 {
            return refuse("its strides leave out steps");
        }
        if window.padding != Padding::Causal && window.size != 1 {
            return refuse("its windows look ahead: its padding is not \"causal\"");
        }
        if input.sizes.len() != 1 || !matches!(input.time, crate::Time::Steps(_)) {
            return refuse("it works along another axis than the time of the stream");
        }
        // A convolution passes no mask on.
        let output = input.with_masked(false).through(self)?;
        output.activated(&self.activation)?;
        let taps = Taps {
            size: window.size,
            dilation: window.dilation,
            groups,
            activation: self.activation,
        };
        let step = Box::new(CausalStep::new(Arc::clone(weights), taps)?);
        Ok(Streamed { step, output })
    }
}
