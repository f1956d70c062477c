//! Poolings over windows, and over all steps. Only `GlobalAveragePooling1D` looks at a mask;
//! none passes one on.

use std::borrow::Cow;

use ndarray::Axis;

use super::support::{
    channels_first, elements, known, output_shape, permuted, positives, restored, single,
    single_of_rank, tensor, values, wrong_input,
};
use super::window::{Layout, Padding, Window, Windows, channels_last};
use crate::{
    Array, Call, Config, ConfigError, Forward, Generation, Layer, LayerError, LayerGradients, Mask,
    Shape, Tensor, Training,
};

/// What is left of the values in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    Max,
    Average,
}

impl Pool {
    fn of(class: &str) -> Self {
        if class.contains("Max") {
            Self::Max
        } else {
            Self::Average
        }
    }
}

/// `MaxPooling1D`/`2D`, `AveragePooling1D`/`2D`.
#[derive(Debug)]
pub struct Pooling {
    class: String,
    pool: Pool,
    windows: Windows,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let rank = if class.ends_with("2D") { 2 } else { 1 };
    let padding = Padding::read(config, false)?;
    let sizes = positives(config, "pool_size", rank, Some(2))?;
    let strides = match config.get("strides") {
        Some(_) => positives(config, "strides", rank, None)?,
        None => sizes.clone(),
    };
    let axes = sizes
        .into_iter()
        .zip(strides)
        .map(|(size, stride)| Window {
            size,
            stride,
            dilation: 1,
            padding,
        })
        .collect();
    Ok(Box::new(Pooling {
        class: class.into(),
        pool: Pool::of(class),
        windows: Windows::new(class, axes, channels_first(config)?),
    }))
}

impl Pooling {
    /// Adds the gradient of what a window read: of a maximum to the first value that is it.
    fn window_backward(&self, layout: &Layout<'_>, window: usize, dy: &[f32], sum: &mut [f32]) {
        match self.pool {
            Pool::Average => {
                let mut count = 0_u32;
                layout.visit(window, |_, _| count += 1);
                layout.visit(window, |_, values| {
                    for (sum, dy) in sum[values].iter_mut().zip(dy) {
                        *sum += dy / count as f32;
                    }
                });
            }
            Pool::Max => {
                let mut greatest = vec![(f32::NEG_INFINITY, None); layout.channels];
                layout.visit(window, |_, at| {
                    for ((value, at), greatest) in layout
                        .values_at(at.clone())
                        .iter()
                        .zip(at)
                        .zip(&mut greatest)
                    {
                        if *value > greatest.0 || greatest.1.is_none() {
                            *greatest = (*value, Some(at));
                        }
                    }
                });
                for ((_, at), dy) in greatest.into_iter().zip(dy) {
                    if let Some(at) = at {
                        sum[at] += dy;
                    }
                }
            }
        }
    }
}

impl Layer for Pooling {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        Ok(vec![
            self.windows.output_shape(inputs, |channels| channels)?,
        ])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single(&self.class, inputs)?;
        let shape = output_shape(self, inputs)?;
        let layout = self.windows.lay(input, &shape);
        let start = match self.pool {
            Pool::Max => f32::NEG_INFINITY,
            Pool::Average => 0.0,
        };
        let mut output = vec![start; elements(&shape)?];
        if layout.channels > 0 {
            for (window, output) in output.chunks_exact_mut(layout.channels).enumerate() {
                let mut count = 0_u32;
                layout.read(window, |_, values| {
                    count += 1;
                    for (output, value) in output.iter_mut().zip(values) {
                        match self.pool {
                            Pool::Max => *output = output.max(*value),
                            Pool::Average => *output += value,
                        }
                    }
                });
                if self.pool == Pool::Average {
                    // What lies on the padding is not counted.
                    output.iter_mut().for_each(|sum| *sum /= count as f32);
                }
            }
        }
        Ok(vec![self.windows.restore(output, &shape)?])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let input = single(&self.class, inputs)?.clone();
        let shape = output.shape().to_vec();
        Ok(Forward::new(output, move |gradient| {
            let layout = self.windows.lay(&input, &shape);
            let gradient = self.windows.channels_last(gradient);
            let mut of_input = layout.zeros();
            let channels = layout.channels.max(1);
            for (window, dy) in gradient.chunks_exact(channels).enumerate() {
                self.window_backward(&layout, window, dy, &mut of_input);
            }
            let of_input = self.windows.restore(of_input, input.shape())?;
            Ok(LayerGradients::of_input(of_input.data))
        }))
    }
}

/// `GlobalMaxPooling1D`/`2D`, `GlobalAveragePooling1D`/`2D`.
#[derive(Debug)]
pub struct GlobalPooling {
    class: String,
    pool: Pool,
    /// How many axes there are between batch and channels.
    axes: usize,
    channels_first: bool,
    keepdims: bool,
    generation: Generation,
}

pub(super) fn build_global(
    class: &str,
    config: &Config<'_>,
) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(Box::new(GlobalPooling {
        class: class.into(),
        pool: Pool::of(class),
        axes: if class.ends_with("2D") { 2 } else { 1 },
        channels_first: channels_first(config)?,
        keepdims: config.bool_or("keepdims", false)?,
        generation: config.generation,
    }))
}

impl GlobalPooling {
    /// Sums of the steps that count, divided by their number: of no step at all it is NaN, as
    /// in Keras.
    fn average(&self, rows: &[f32], channels: usize, counts: &[bool]) -> Vec<f32> {
        let mut sums = vec![0.0_f64; channels];
        for (row, counts) in rows.chunks_exact(channels).zip(counts) {
            // Keras 2 multiplies by the mask, Keras 3 replaces: they differ for NaN and infinity.
            let factor = match (counts, self.generation) {
                (true, _) => 1.0,
                (false, Generation::Keras3) => continue,
                (false, _) => 0.0,
            };
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value) * factor;
            }
        }
        let count = counts.iter().filter(|counts| **counts).count() as f64;
        sums.into_iter().map(|sum| (sum / count) as f32).collect()
    }

    fn maximum(rows: &[f32], channels: usize) -> Vec<f32> {
        let mut maxima = vec![f32::NEG_INFINITY; channels];
        for row in rows.chunks_exact(channels) {
            for (maximum, value) in maxima.iter_mut().zip(row) {
                if *value > *maximum || value.is_nan() {
                    *maximum = *value;
                }
            }
        }
        maxima
    }

    /// The mask of which this layer takes account.
    fn mask<'a>(&self, input: &'a Tensor) -> Result<Option<&'a Mask>, LayerError> {
        let Some(mask) = &input.mask else {
            return Ok(None);
        };
        if self.pool == Pool::Max || self.axes != 1 {
            return Ok(None);
        }
        let time = input.shape()[if self.channels_first { 2 } else { 1 }];
        if mask.shape() != [input.shape()[0], time] {
            return Err(LayerError::Other(format!(
                "the mask has shape {:?}, expected [{}, {time}]",
                mask.shape(),
                input.shape()[0]
            )));
        }
        Ok(Some(mask))
    }
}

impl GlobalPooling {
    /// Of an average to all steps that count alike, of a maximum to all that are it.
    fn backward(
        &self,
        input: &Tensor,
        y: &Array,
        gradient: &Array,
    ) -> Result<LayerGradients, LayerError> {
        let rank = input.data.ndim();
        let order = match self.channels_first {
            true => channels_last(rank),
            false => (0..rank).collect(),
        };
        let sizes: Vec<usize> = order.iter().map(|axis| input.shape()[*axis]).collect();
        let channels = sizes[rank - 1].max(1);
        let steps = elements(&sizes[1..rank - 1])?;
        let x = permuted(input.view(), &order);
        let mut of_input = vec![0.0; x.len()];
        let (y, dy): (Vec<f32>, Vec<f32>) = (
            y.iter().copied().collect(),
            gradient.iter().copied().collect(),
        );
        let mask = self.mask(input)?;
        let sample = (steps * channels).max(1);
        let samples = x
            .chunks_exact(sample)
            .zip(of_input.chunks_exact_mut(sample));
        for (index, (x, sum)) in samples.enumerate() {
            let of_sample = index * channels..(index + 1) * channels;
            let (y, dy) = (&y[of_sample.clone()], &dy[of_sample]);
            let counts: Option<Vec<bool>> =
                mask.map(|mask| mask.index_axis(Axis(0), index).iter().copied().collect());
            for channel in 0..channels {
                let takes = |step: usize| match self.pool {
                    Pool::Max => x[step * channels + channel] == y[channel],
                    Pool::Average => counts.as_ref().is_none_or(|counts| counts[step]),
                };
                let count = (0..steps).filter(|step| takes(*step)).count();
                for step in (0..steps).filter(|step| takes(*step)) {
                    sum[step * channels + channel] = dy[channel] / count as f32;
                }
            }
        }
        let of_input = restored(of_input, input.shape(), &order)?;
        Ok(LayerGradients::of_input(of_input))
    }
}

impl Layer for GlobalPooling {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let rank = self.axes + 2;
        let expected = format!("a shape of {rank} sizes");
        let shape = single_of_rank(&self.class, inputs, rank, &expected)?;
        let channel_axis = if self.channels_first { 1 } else { rank - 1 };
        if !self.keepdims {
            return Ok(vec![vec![shape[0], shape[channel_axis]]]);
        }
        let mut output = vec![Some(1); rank];
        output[0] = shape[0];
        output[channel_axis] = shape[channel_axis];
        Ok(vec![output])
    }

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let input = single(&self.class, inputs)?;
        let shape = output_shape(self, inputs)?;
        let mask = self.mask(input)?;
        let (order, rows) = if self.channels_first {
            let order = channels_last(input.data.ndim());
            let rows = Cow::Owned(permuted(input.view(), &order));
            (order, rows)
        } else {
            ((0..input.data.ndim()).collect(), values(input))
        };
        let sizes: Vec<usize> = order.iter().map(|axis| input.shape()[*axis]).collect();
        let channels = sizes[sizes.len() - 1];
        let steps = elements(&sizes[1..sizes.len() - 1])?;
        if steps == 0 && self.pool == Pool::Max {
            let found = known(input.shape());
            return Err(wrong_input(0, &found, "at least one step"));
        }
        let mut output = Vec::with_capacity(elements(&shape)?);
        if channels > 0 {
            let everything = vec![true; steps];
            for sample in 0..sizes[0] {
                let rows = &rows[sample * steps * channels..(sample + 1) * steps * channels];
                let counts: Vec<bool> = match mask {
                    Some(mask) => mask.index_axis(Axis(0), sample).iter().copied().collect(),
                    None => everything.clone(),
                };
                output.extend(match self.pool {
                    Pool::Max => Self::maximum(rows, channels),
                    Pool::Average => self.average(rows, channels, &counts),
                });
            }
        }
        Ok(vec![tensor(&shape, output)?])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let output = self.call(inputs, call)?.remove(0);
        let input = single(&self.class, inputs)?.clone();
        let y = output.data.clone();
        Ok(Forward::new(output, move |gradient| {
            self.backward(&input, &y, &gradient)
        }))
    }
}
