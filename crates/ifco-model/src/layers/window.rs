//! Where the windows of convolutions and poolings lie: along one or two axes between batch and
//! channels.
//!
//! Everything here works on `(batch, height, width, channels)`; one axis is a height of 1.

use std::borrow::Cow;
use std::ops::Range;

use super::support::{
    into_values, permuted, restored, single_of_rank, tensor, values, wrong_input,
};
use crate::{Config, ConfigError, LayerError, Shape, Tensor};

/// How an input is lengthened before windows are laid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    /// Not at all.
    Valid,
    /// So that there are `⌈length / stride⌉` windows, half of it (rounded down) in front.
    Same,
    /// In front only, so that no window looks ahead.
    Causal,
}

impl Padding {
    pub(super) fn read(config: &Config<'_>, causal: bool) -> Result<Self, ConfigError> {
        match config
            .str_or("padding", "valid")?
            .to_ascii_lowercase()
            .as_str()
        {
            "valid" => Ok(Self::Valid),
            "same" => Ok(Self::Same),
            "causal" if causal => Ok(Self::Causal),
            _ if causal => Err(config.invalid("padding", "\"valid\", \"same\" or \"causal\"")),
            _ => Err(config.invalid("padding", "\"valid\" or \"same\"")),
        }
    }
}

/// The windows along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub size: usize,
    pub stride: usize,
    pub dilation: usize,
    pub padding: Padding,
}

/// A window for one axis alone: what stands for the height of a sequence.
const POINT: Window = Window {
    size: 1,
    stride: 1,
    dilation: 1,
    padding: Padding::Valid,
};

impl Window {
    /// From the first to behind the last position that a window reads.
    fn extent(&self) -> Option<usize> {
        self.dilation
            .checked_mul(self.size.checked_sub(1)?)?
            .checked_add(1)
    }

    /// How many windows fit on an axis of this length; `None` when none does.
    fn count(&self, length: usize) -> Option<usize> {
        let count = match self.padding {
            Padding::Valid => length.checked_sub(self.extent()?)? / self.stride + 1,
            Padding::Same | Padding::Causal => {
                self.extent()?;
                length.div_ceil(self.stride)
            }
        };
        (count > 0).then_some(count)
    }

    /// How far the first window begins in front of the axis.
    fn front(&self, length: usize) -> usize {
        let extent = self.extent().unwrap_or(1);
        match self.padding {
            Padding::Valid => 0,
            Padding::Causal => extent - 1,
            Padding::Same => {
                let windows = length.div_ceil(self.stride);
                let end = windows.saturating_sub(1).saturating_mul(self.stride);
                end.saturating_add(extent).saturating_sub(length) / 2
            }
        }
    }
}

/// The windows along all axes, and where the channels are.
#[derive(Debug)]
pub(super) struct Windows {
    class: String,
    /// One for each axis between batch and channels.
    axes: Vec<Window>,
    channels_first: bool,
}

/// The channels-last values of an input, and how windows lie on them.
pub(super) struct Layout<'a> {
    values: Cow<'a, [f32]>,
    batch: usize,
    /// Height and width of the input.
    input: [usize; 2],
    /// Height and width of the output.
    output: [usize; 2],
    pub channels: usize,
    axes: [Window; 2],
    front: [usize; 2],
}

impl Windows {
    pub(super) fn new(class: &str, axes: Vec<Window>, channels_first: bool) -> Self {
        Self {
            class: class.into(),
            axes,
            channels_first,
        }
    }

    /// How many positions one window has.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.size).collect()
    }

    pub(super) fn rank(&self) -> usize {
        self.axes.len() + 2
    }

    /// The windows of a sequence `(batch, time, channels)`.
    pub(super) fn along_time(&self) -> Option<Window> {
        match self.axes[..] {
            [time] if !self.channels_first => Some(time),
            _ => None,
        }
    }

    /// Where the channels are.
    pub(super) fn channel_axis(&self) -> usize {
        if self.channels_first {
            1
        } else {
            self.axes.len() + 1
        }
    }

    /// The output's shape, with the channels that `channels` makes of the input's.
    pub(super) fn output_shape(
        &self,
        inputs: &[Shape],
        channels: impl FnOnce(Option<usize>) -> Option<usize>,
    ) -> Result<Shape, LayerError> {
        let axes = match (self.axes.len(), self.channels_first) {
            (1, false) => "(batch, time, channels)",
            (1, true) => "(batch, channels, time)",
            (_, false) => "(batch, height, width, channels)",
            (_, true) => "(batch, channels, height, width)",
        };
        let shape = single_of_rank(&self.class, inputs, self.rank(), axes)?;
        let mut output = shape.clone();
        let first = if self.channels_first { 2 } else { 1 };
        for (axis, window) in (first..).zip(&self.axes) {
            if let Some(length) = shape[axis] {
                let count = window.count(length).ok_or_else(|| {
                    let expected =
                        match window.extent().filter(|_| window.padding == Padding::Valid) {
                            Some(extent) => format!("a length of at least {extent} at axis {axis}"),
                            None => format!("room for a window at axis {axis}"),
                        };
                    wrong_input(0, shape, expected)
                })?;
                output[axis] = Some(count);
            }
        }
        output[self.channel_axis()] = channels(shape[self.channel_axis()]);
        Ok(output)
    }

    /// Lays the windows on an input of which `output` is the output's shape.
    pub(super) fn lay<'a>(&self, input: &'a Tensor, output: &[usize]) -> Layout<'a> {
        let shape = input.shape();
        let first = if self.channels_first { 2 } else { 1 };
        let pair = |shape: &[usize]| match self.axes.len() {
            1 => [1, shape[first]],
            _ => [shape[first], shape[first + 1]],
        };
        let axes = match self.axes[..] {
            [width] => [POINT, width],
            [height, width, ..] => [height, width],
            [] => [POINT, POINT],
        };
        let sizes = pair(shape);
        let values = if self.channels_first {
            Cow::Owned(permuted(input.view(), &channels_last(shape.len())))
        } else {
            values(input)
        };
        Layout {
            values,
            batch: shape[0],
            input: sizes,
            output: pair(output),
            channels: shape[self.channel_axis()],
            front: [axes[0].front(sizes[0]), axes[1].front(sizes[1])],
            axes,
        }
    }

    /// The values of a gradient of the output, channels last.
    pub(super) fn channels_last(&self, gradient: crate::Array) -> Vec<f32> {
        match self.channels_first {
            true => permuted(gradient.view(), &channels_last(gradient.ndim())),
            false => into_values(gradient),
        }
    }

    /// Puts channels-last values where the configuration has the channels, for an output of
    /// this shape.
    pub(super) fn restore(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor, LayerError> {
        if !self.channels_first {
            return tensor(shape, values);
        }
        Ok(restored(values, shape, &channels_last(shape.len()))?.into())
    }
}

/// The order of axes that moves the channels from axis 1 to the end.
pub(super) fn channels_last(rank: usize) -> Vec<usize> {
    (0..rank).filter(|axis| *axis != 1).chain([1]).collect()
}

impl Layout<'_> {
    /// Some of the channels-last values.
    pub(super) fn values_at(&self, at: Range<usize>) -> &[f32] {
        &self.values[at]
    }

    /// Zeros for the gradient of all the channels-last values.
    pub(super) fn zeros(&self) -> Vec<f32> {
        vec![0.0; self.values.len()]
    }

    /// How many windows there are in all.
    pub(super) fn windows(&self) -> usize {
        self.batch * self.output[0] * self.output[1]
    }

    /// The channels at each position of a window that lies on the input, with the position's
    /// number in the window. What lies on the padding is left out.
    pub(super) fn read(&self, window: usize, mut read: impl FnMut(usize, &[f32])) {
        self.visit(window, |position, values| {
            read(position, &self.values[values])
        });
    }

    /// The same with where the channels stand in the channels-last values.
    pub(super) fn visit(&self, window: usize, mut visit: impl FnMut(usize, Range<usize>)) {
        let [height, width] = self.axes;
        let row = window / self.output[1] % self.output[0];
        let column = window % self.output[1];
        let sample = window / (self.output[0] * self.output[1]);
        let base = [row * height.stride, column * width.stride];
        for i in self.offsets(0, base[0]) {
            let y = base[0] + i * height.dilation - self.front[0];
            for j in self.offsets(1, base[1]) {
                let x = base[1] + j * width.dilation - self.front[1];
                let start = ((sample * self.input[0] + y) * self.input[1] + x) * self.channels;
                let position = i.saturating_mul(width.size).saturating_add(j);
                visit(position, start..start + self.channels);
            }
        }
    }

    /// Which positions of the window that begins at `base` on the padded axis lie on the input.
    /// They are as many as the input has at most, however large the window is.
    fn offsets(&self, axis: usize, base: usize) -> Range<usize> {
        let Window { size, dilation, .. } = self.axes[axis];
        let first = self.front[axis].saturating_sub(base).div_ceil(dilation);
        let end = (self.front[axis].saturating_add(self.input[axis])).saturating_sub(base);
        first..end.div_ceil(dilation).min(size)
    }
}
