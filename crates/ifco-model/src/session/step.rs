//! What a layer does with one step of a stream.

use std::fmt;

use super::NotStreamable;
use crate::{Layer, Shape};
use ifco_cell::Activation;

/// What passes along an edge of the graph at each step of a stream.
///
/// ```
/// use ifco_model::{StepShape, Time};
///
/// // One step of (batch, 10, 3):
/// let step = StepShape { sizes: vec![3], time: Time::Steps(Some(10)), masked: false };
/// assert_eq!(step.len(), 3);
/// assert_eq!(step.shape(), [None, Some(10), Some(3)]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepShape {
    /// The sizes of a step's values: the tensor's shape without the batch and the time.
    pub sizes: Vec<usize>,
    /// What has become of the time axis.
    pub time: Time,
    /// Whether a step may be masked.
    pub masked: bool,
}

/// What has become of the time axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The tensor is `(batch, time, …)` and the stream runs along its axis 1; the number of
    /// steps that the model was built for, if it was for a certain one.
    Steps(Option<usize>),
    /// The tensor is `(batch, …)`: a layer that returns its last output came before. What
    /// streams on is that output as of the latest step.
    Gone,
}

impl StepShape {
    /// How many values a step has.
    pub fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Whether a step has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of the whole tensor, batch first.
    pub fn shape(&self) -> Shape {
        let mut shape = vec![None];
        if let Time::Steps(time) = self.time {
            shape.push(time);
        }
        shape.extend(self.sizes.iter().copied().map(Some));
        shape
    }

    /// How many axes there are in front of a step's own.
    fn leading(&self) -> usize {
        match self.time {
            Time::Steps(_) => 2,
            Time::Gone => 1,
        }
    }

    /// The same with other sizes.
    pub(crate) fn with_sizes(&self, sizes: Vec<usize>) -> Self {
        Self {
            sizes,
            ..self.clone()
        }
    }

    /// The same, where masks pass or not.
    pub(crate) fn with_masked(&self, masked: bool) -> Self {
        Self {
            masked,
            ..self.clone()
        }
    }

    /// What a layer that keeps the time makes of it.
    pub(crate) fn through(&self, layer: &dyn Layer) -> Result<Self, NotStreamable> {
        let shapes = layer.output_shapes(&[self.shape()], &crate::Call::default())?;
        let shape = shapes.first().map(Vec::as_slice).unwrap_or_default();
        let sizes = shape.get(self.leading()..).unwrap_or_default();
        let known: Option<Vec<usize>> = sizes.iter().copied().collect();
        match known {
            Some(sizes) => Ok(self.with_sizes(sizes)),
            None => Err(NotStreamable::new(format!(
                "the shape of its output is not known: {}",
                crate::display_shape(shape)
            ))),
        }
    }

    /// How many values lie along `axes` of the tensor, if those are the last axes of a step: so
    /// that a step is rows of as many values.
    pub(crate) fn row(&self, axes: &[i64]) -> Result<usize, NotStreamable> {
        let shape = self.shape();
        let axes = crate::layers::resolve_axes(axes, &shape)?;
        let Some(first) = axes.first() else {
            return Ok(1);
        };
        if *first < self.leading() {
            let what = if *first == 0 { "batch" } else { "time" };
            return Err(NotStreamable::new(format!(
                "it works along axis {first}, which is the {what}"
            ))
            .help("run whole sequences with predict"));
        }
        if !axes.iter().copied().eq(*first..shape.len()) {
            return Err(NotStreamable::new(format!(
                "it works along the axes {axes:?} of {}, which are not the last ones",
                crate::display_shape(&shape)
            )));
        }
        let own = self.sizes.get(first - self.leading()..);
        Ok(own.unwrap_or_default().iter().product())
    }

    /// The rows that an activation works on, if it can without taking memory.
    pub(crate) fn activated(&self, activation: &Activation) -> Result<usize, NotStreamable> {
        if *activation == Activation::Sparsemax {
            return Err(ifco_cell::SessionError::Sparsemax.into());
        }
        match self.sizes.last() {
            Some(last) => Ok(*last),
            None if activation.is_elementwise() => Ok(1),
            None => Err(NotStreamable::new(
                "its activation works along the last axis, which is the time",
            )),
        }
    }
}

/// A layer's part of a session: its share of the weights, its states, its scratch.
///
/// [`step`](Self::step) and [`reset`](Self::reset) run where nothing may wait: they must not
/// allocate, lock, make system calls or panic.
pub trait Step: fmt::Debug + Send {
    /// Takes the values of one step and writes those that come out.
    ///
    /// `x` and `out` have the lengths that were agreed on (see [`Layer::stream`]). `counts` is
    /// false where the step is masked; so is what is returned for the output, where the output's
    /// shape says that it may be masked.
    fn step(&mut self, x: &[f32], counts: bool, out: &mut [f32]) -> bool;

    /// Begins a new stream.
    fn reset(&mut self) {}

    /// Everything that it remembers of earlier steps, by name.
    fn states(&self) -> Vec<(String, &[f32])> {
        Vec::new()
    }

    /// The same, to be written to.
    fn states_mut(&mut self) -> Vec<(String, &mut [f32])> {
        Vec::new()
    }

    /// Whether it can take these values; [`step`](Self::step) has to make do with any.
    ///
    /// # Errors
    /// In words, what is wrong with them and what would be right.
    fn check(&self, _x: &[f32]) -> Result<(), (String, String)> {
        Ok(())
    }
}

/// A layer's [`Step`], and what comes out of it.
#[derive(Debug)]
pub struct Streamed {
    /// The layer's part of the session.
    pub step: Box<dyn Step>,
    /// What it puts out at each step.
    pub output: StepShape,
}

impl Streamed {
    /// A step that remembers nothing and lets masks pass: `f` reads the first slice and fills
    /// the second one.
    ///
    /// ```
    /// use ifco_model::{StepShape, Streamed, Time};
    ///
    /// let output = StepShape { sizes: vec![2], time: Time::Steps(None), masked: false };
    /// let mut sum_and_mean = Streamed::of(output, |x, out| {
    ///     let sum: f32 = x.iter().sum();
    ///     out.copy_from_slice(&[sum, sum / x.len() as f32]);
    /// });
    /// let mut out = [0.0; 2];
    /// sum_and_mean.step.step(&[1.0, 3.0], true, &mut out);
    /// assert_eq!(out, [4.0, 2.0]);
    /// ```
    pub fn of(output: StepShape, f: impl FnMut(&[f32], &mut [f32]) + Send + 'static) -> Self {
        Self {
            step: Box::new(Function(f)),
            output,
        }
    }

    /// The same, where the output begins as a copy of the input.
    pub(crate) fn in_place(
        output: StepShape,
        mut f: impl FnMut(&mut [f32]) + Send + 'static,
    ) -> Self {
        Self::of(output, move |x, out| {
            copy(x, out);
            f(out);
        })
    }
}

/// Copies as many values as there are places; the others are zeros.
pub(crate) fn copy(x: &[f32], out: &mut [f32]) {
    let (begin, end) = out.split_at_mut(x.len().min(out.len()));
    begin.copy_from_slice(&x[..begin.len()]);
    end.fill(0.0);
}

struct Function<F>(F);

impl<F> fmt::Debug for Function<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

impl<F: FnMut(&[f32], &mut [f32]) + Send> Step for Function<F> {
    fn step(&mut self, x: &[f32], counts: bool, out: &mut [f32]) -> bool {
        (self.0)(x, out);
        counts
    }
}
