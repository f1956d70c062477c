//! TimeDistributed: a layer applied to every step on its own.

use ifco_cell::{Cell, Precision};
use ndarray::{ArcArray, ArrayD, ArrayView, ArrayViewMut, Axis, IxDyn, stack};

use super::recurrent::nested;
use super::support::one;
use crate::WeightUpdate;
use crate::session::copy;
use crate::{
    Array, Call, Config, ConfigError, Forward, Generation, Gradient, Layer, LayerError,
    LayerGradients, Mask, NotStreamable, Shape, Step, StepShape, Streamed, Tensor, Time, Training,
    WeightSlot,
};

/// Keras's `TimeDistributed` around any layer.
#[derive(Debug)]
pub struct TimeDistributed {
    layer: Box<dyn Layer>,
    generation: Generation,
    /// Whether Keras knew the batch size when it built the layer.
    fixed_batch: bool,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let (class, inner) = nested(config, "layer", config.require("layer")?)?;
    let layer = super::build(class, &inner)?;
    Ok(Box::new(TimeDistributed {
        layer,
        generation: config.generation,
        fixed_batch: false,
    }))
}

/// `(batch, time, …)` as `(batch·time, …)`: the steps are rows of one large batch.
fn fold_steps<A: Clone>(array: &ArcArray<A, IxDyn>) -> Result<ArcArray<A, IxDyn>, LayerError> {
    let mut folded = vec![array.shape()[0] * array.shape()[1]];
    folded.extend(&array.shape()[2..]);
    with_shape(array.clone(), &folded)
}

/// `(batch·time, …)` as `(batch, time, …)`.
fn unfold_steps<A: Clone>(
    array: ArcArray<A, IxDyn>,
    batch: usize,
    time: usize,
) -> Result<ArcArray<A, IxDyn>, LayerError> {
    let mut unfolded = vec![batch, time];
    unfolded.extend(array.shape().iter().skip(1));
    with_shape(array, &unfolded)
}

fn with_shape<A: Clone>(
    array: ArcArray<A, IxDyn>,
    shape: &[usize],
) -> Result<ArcArray<A, IxDyn>, LayerError> {
    let found = array.shape().to_vec();
    let array = match array.is_standard_layout() {
        true => array,
        false => array.as_standard_layout().into_owned().into_shared(),
    };
    array.into_shape_with_order(IxDyn(shape)).map_err(|_| {
        LayerError::Other(format!(
            "the inner layer's {found:?} is not {shape:?} step by step"
        ))
    })
}

/// What running the steps as a recurrent layer does: a masked step repeats the output before it, and
/// zeros before the first one.
fn repeat_masked(output: &mut ArrayD<f32>, mask: &Mask) {
    for (mut row, mask) in output.axis_iter_mut(Axis(0)).zip(mask.axis_iter(Axis(0))) {
        for step in 0..row.len_of(Axis(0)) {
            if mask.index_axis(Axis(0), step).iter().all(|counts| *counts) {
                continue;
            }
            let (before, mut from) = row.view_mut().split_at(Axis(0), step);
            let mut masked: ArrayViewMut<'_, f32, _> = from.index_axis_mut(Axis(0), 0);
            match step.checked_sub(1) {
                Some(last) => {
                    let last: ArrayView<'_, f32, _> = before.index_axis(Axis(0), last);
                    masked.assign(&last);
                }
                None => masked.fill(0.0),
            }
        }
    }
}

/// A mask of more than two axes as `(batch, time)`: a step counts if any part of it does.
fn any_beyond_time(mask: &Mask) -> Mask {
    let mut mask = mask.clone();
    while mask.ndim() > 2 {
        let last = Axis(mask.ndim() - 1);
        mask = mask
            .map_axis(last, |parts| parts.iter().any(|counts| *counts))
            .into_shared();
    }
    mask
}

/// The gradient of what [`repeat_masked`] was given, in place of that of what it made: that of a
/// step that repeats belongs to the one before.
fn repeat_backward(gradient: &mut ArrayD<f32>, mask: &Mask) {
    for (mut row, mask) in gradient.axis_iter_mut(Axis(0)).zip(mask.axis_iter(Axis(0))) {
        for step in (0..row.len_of(Axis(0))).rev() {
            if mask.index_axis(Axis(0), step).iter().all(|counts| *counts) {
                continue;
            }
            let (mut before, mut from) = row.view_mut().split_at(Axis(0), step);
            let mut masked: ArrayViewMut<'_, f32, _> = from.index_axis_mut(Axis(0), 0);
            if let Some(last) = step.checked_sub(1) {
                let mut last = before.index_axis_mut(Axis(0), last);
                last += &masked;
            }
            masked.fill(0.0);
        }
    }
}

/// What the inner layer is told of the call.
fn inner_call(call: &Call) -> Call {
    Call {
        tap: call.tap.clone(),
        entries: call.entries.clone(),
        ..Call::default()
    }
}

fn only_output(mut outputs: Vec<Tensor>) -> Result<Tensor, LayerError> {
    match (outputs.pop(), outputs.is_empty()) {
        (Some(output), true) => Ok(output),
        _ => Err(LayerError::Other(
            "the inner layer must have one output".into(),
        )),
    }
}

impl TimeDistributed {
    /// Keras 2 has two ways. It folds the steps into the batch; but where it knows the batch size
    /// and the inner layer is stateful or a functional model, it runs the steps as a recurrent
    /// layer would, with what a mask means there.
    fn runs_as_recurrent(&self) -> bool {
        self.generation != Generation::Keras3
            && self.fixed_batch
            && (self.layer.is_stateful()
                || ["Functional", "Model"].contains(&self.layer.class_name()))
    }

    /// The inner layer on all steps, at once, or one after the other where it keeps states:
    /// `(batch, time, …)`, with the mask of the steps folded into the batch.
    fn run_steps_with(
        &self,
        data: &Array,
        mask: Option<&Mask>,
        run: &mut dyn FnMut(Tensor) -> Result<Tensor, LayerError>,
    ) -> Result<Tensor, LayerError> {
        let (batch, time) = (data.shape()[0], data.shape()[1]);
        if !self.layer.is_stateful() {
            let mask = mask.map(fold_steps).transpose()?;
            let output = run(Tensor::new(fold_steps(data)?).with_mask(mask))?;
            let data = unfold_steps(output.data, batch, time)?;
            return Ok(Tensor::new(data).with_mask(output.mask));
        }
        let steps: Vec<ArrayD<f32>> = (0..time)
            .map(|step| {
                let input = data.index_axis(Axis(1), step).to_owned();
                let mask = mask.map(|mask| mask.index_axis(Axis(1), step).to_shared());
                Ok(run(Tensor::new(input).with_mask(mask))?.into_owned())
            })
            .collect::<Result<_, LayerError>>()?;
        let views: Vec<_> = steps.iter().map(|step| step.view()).collect();
        let all = stack(Axis(1), &views).map_err(|error| LayerError::Other(error.to_string()))?;
        Ok(Tensor::new(all))
    }

    /// Batch and time of the only input, and its mask, which must fit.
    fn check<'a>(
        &self,
        inputs: &'a [Tensor],
    ) -> Result<([usize; 2], Option<&'a Mask>), LayerError> {
        let [input] = inputs else {
            return Err(LayerError::Other(format!(
                "it takes 1 input, got {}",
                inputs.len()
            )));
        };
        let &[batch, time, _, ..] = input.shape() else {
            return Err(LayerError::Input {
                input: 0,
                found: format!("{:?}", input.shape()),
                expected: "(batch, time, ...) with at least 3 axes".into(),
            });
        };
        let mask = input.mask.as_ref();
        if let Some(mask) = mask
            && (mask.ndim() < 2 || mask.shape()[..2] != [batch, time])
        {
            let shape = mask.shape();
            return Err(LayerError::Other(format!(
                "its mask has shape {shape:?}, expected ({batch}, {time}, ...)"
            )));
        }
        Ok(([batch, time], mask))
    }

    /// The output of all steps with its mask; and the mask of the steps that were repeated.
    fn finish(
        &self,
        input: &Tensor,
        output: Tensor,
        [batch, time]: [usize; 2],
        as_recurrent: bool,
    ) -> Result<(Tensor, Option<Mask>), LayerError> {
        let mut data = output.data;
        let repeated = input.mask.clone().filter(|_| as_recurrent);
        if let Some(mask) = &repeated {
            let mut owned = data.into_owned();
            repeat_masked(&mut owned, mask);
            data = owned.into_shared();
        }
        let mask = self.output_mask(input, output.mask, batch, time)?;
        Ok((Tensor::new(data).with_mask(mask), repeated))
    }

    fn output_mask(
        &self,
        input: &Tensor,
        inner: Option<Mask>,
        batch: usize,
        time: usize,
    ) -> Result<Option<Mask>, LayerError> {
        if self.generation == Generation::Keras3 || self.runs_as_recurrent() {
            return Ok(input.mask.clone());
        }
        match inner {
            Some(mask) => unfold_steps(mask, batch, time).map(Some),
            None => Ok(input.mask.as_ref().map(any_beyond_time)),
        }
    }
}

impl Layer for TimeDistributed {
    fn class_name(&self) -> &str {
        "TimeDistributed"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        self.layer
            .weight_slots()
            .into_iter()
            .map(|slot| slot.below("layer"))
            .collect()
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        self.layer.set_weights(weights)
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        self.layer.weights()
    }

    fn build(&mut self, inputs: &[Shape]) {
        self.fixed_batch = inputs
            .first()
            .and_then(|shape| shape.first())
            .is_some_and(Option::is_some);
        if let Some(inner) = inputs.first().and_then(|shape| without_time(shape)) {
            self.layer.build(&[inner]);
        }
    }

    fn output_shapes(&self, inputs: &[Shape], call: &Call) -> Result<Vec<Shape>, LayerError> {
        let shape = inputs.first().cloned().unwrap_or_default();
        let inner = without_time(&shape).ok_or_else(|| LayerError::Input {
            input: 0,
            found: crate::display_shape(&shape),
            expected: "(batch, time, ...) with at least 3 axes".into(),
        })?;
        let shapes = self.layer.output_shapes(&[inner], call)?;
        let with_time = |mut inner: Shape| {
            inner.insert(1.min(inner.len()), shape[1]);
            inner
        };
        Ok(shapes.into_iter().map(with_time).collect())
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let (shape, mask) = self.check(inputs)?;
        let input = &inputs[0];
        let as_recurrent = self.runs_as_recurrent();
        let inner_mask = mask.filter(|_| !as_recurrent);
        let output = self.run_steps_with(&input.data, inner_mask, &mut |step| {
            only_output(self.layer.call(&[step], &inner_call(call))?)
        })?;
        let (output, _) = self.finish(input, output, shape, as_recurrent)?;
        Ok(vec![output])
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        // The checks are those of `call`.
        let (shape, mask) = self.check(inputs)?;
        let [batch, time] = shape;
        let input = &inputs[0];
        let as_recurrent = self.runs_as_recurrent();
        let inner_mask = mask.filter(|_| !as_recurrent);
        // Of the layer inside Keras runs `call`, which leaves out its `activity_regularizer`; those
        // of a model's layers count for each step.
        let folded = if self.layer.is_stateful() { 1 } else { time };
        let mut tapes = Vec::new();
        let output = self.run_steps_with(&input.data, inner_mask, &mut |step| {
            let forward = training.of_steps(folded, |training| {
                self.layer
                    .call_for_training(&[step], &inner_call(call), training)
            })?;
            let only = only_output(forward.outputs)?;
            tapes.push((forward.backward, forward.moving, forward.penalty));
            Ok(only)
        })?;
        let (output, repeated) = self.finish(input, output, shape, as_recurrent)?;
        let penalty = tapes.iter().map(|(_, _, penalty)| penalty).sum();
        let moving = tapes
            .iter()
            .flat_map(|(_, moving, _)| moving.clone())
            .collect();
        let (input_shape, output_shape) = (input.shape().to_vec(), output.shape().to_vec());
        let backward = move |mut gradients: Vec<Option<Array>>| {
            let gradient = gradients.swap_remove(0);
            let mut gradient = gradient.unwrap_or_else(|| Array::zeros(output_shape));
            if let Some(mask) = repeated {
                let mut owned = gradient.into_owned();
                repeat_backward(&mut owned, &mask);
                gradient = owned.into_shared();
            }
            if let [_] = tapes[..] {
                let folded = fold_steps(&gradient)?;
                let mut sum = match tapes.pop() {
                    Some((backward, ..)) => backward(vec![Some(folded)])?,
                    None => LayerGradients::default(),
                };
                let of_inputs = sum.inputs.first_mut().and_then(Option::take);
                let of_inputs = of_inputs.map(|inputs| unfold_steps(inputs, batch, time));
                sum.inputs = vec![of_inputs.transpose()?];
                return Ok(sum);
            }
            let mut of_inputs = Array::zeros(input_shape);
            let mut weights: Vec<Option<Gradient>> = Vec::new();
            for (step, (backward, ..)) in tapes.into_iter().enumerate() {
                let of_step = gradient.index_axis(Axis(1), step).to_shared();
                let found = backward(vec![Some(of_step)])?;
                if let Some(Some(of_input)) = found.inputs.first() {
                    of_inputs.index_axis_mut(Axis(1), step).assign(of_input);
                }
                if weights.len() < found.weights.len() {
                    weights.resize(found.weights.len(), None);
                }
                for (sum, gradient) in weights.iter_mut().zip(found.weights) {
                    match (&mut *sum, gradient) {
                        (Some(sum), Some(gradient)) => sum.add(gradient)?,
                        (None, gradient) => *sum = gradient,
                        (_, None) => {}
                    }
                }
            }
            Ok(LayerGradients {
                inputs: vec![Some(of_inputs)],
                weights,
                ..LayerGradients::default()
            })
        };
        Ok(Forward {
            moving,
            ..Forward::with_penalty(vec![output], penalty, backward)
        })
    }

    fn update_weights(&mut self, update: &mut WeightUpdate<'_>) -> Result<(), LayerError> {
        self.layer.update_weights(update)
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let input = one(inputs)?;
        if input.time == Time::Gone || input.sizes.is_empty() {
            return Err(NotStreamable::new(
                "its steps are not those of the stream: (batch, time, features)",
            ));
        }
        let inside = StepShape {
            time: Time::Gone,
            ..input.clone()
        };
        let class = self.layer.class_name();
        let inner = self.layer.stream(&[inside], &Call::default());
        let inner = inner.map_err(|why| NotStreamable {
            reason: format!("the {class} inside: {}", why.reason),
            ..why
        })?;
        let output = input.with_sizes(inner.output.sizes);
        Ok(Streamed {
            step: Box::new(EachStep {
                repeats: input.masked && self.runs_as_recurrent(),
                output: vec![0.0; output.len()],
                inner: inner.step,
            }),
            output,
        })
    }

    fn cells(&self) -> Vec<(String, &Cell)> {
        self.layer.cells()
    }

    fn can_run(&self) -> bool {
        self.layer.can_run()
    }

    fn set_precision(&mut self, precision: Precision) {
        self.layer.set_precision(precision);
    }

    fn enters(&self, input: usize) -> bool {
        self.layer.enters(input)
    }

    fn is_stateful(&self) -> bool {
        self.layer.is_stateful()
    }

    fn reset_states(&self) {
        self.layer.reset_states();
    }

    fn as_model(&self) -> Option<&crate::Model> {
        self.layer.as_model()
    }
}

/// A TimeDistributed's part of a session.
#[derive(Debug)]
struct EachStep {
    inner: Box<dyn Step>,
    /// Whether a masked step repeats the output of the one before.
    repeats: bool,
    output: Vec<f32>,
}

impl Step for EachStep {
    fn step(&mut self, x: &[f32], counts: bool, out: &mut [f32]) -> bool {
        if counts || !self.repeats {
            self.inner.step(x, counts, &mut self.output);
        }
        copy(&self.output, out);
        // The steps keep their mask, whatever the inner layer makes of it.
        counts
    }

    fn reset(&mut self) {
        self.inner.reset();
        self.output.fill(0.0);
    }

    fn states(&self) -> Vec<(String, &[f32])> {
        let own = self.repeats.then(|| ("output".into(), &self.output[..]));
        own.into_iter().chain(self.inner.states()).collect()
    }

    fn states_mut(&mut self) -> Vec<(String, &mut [f32])> {
        let own = self
            .repeats
            .then(|| ("output".into(), &mut self.output[..]));
        own.into_iter().chain(self.inner.states_mut()).collect()
    }

    fn check(&self, x: &[f32]) -> Result<(), (String, String)> {
        self.inner.check(x)
    }
}

/// The shape of one step: without the second axis.
fn without_time(shape: &[Option<usize>]) -> Option<Shape> {
    let (batch, rest) = shape.split_first()?;
    (rest.len() >= 2).then(|| {
        std::iter::once(*batch)
            .chain(rest[1..].iter().copied())
            .collect()
    })
}
