//! TimeDistributed: a layer applied to every step on its own.

use ifco_cell::Cell;
use ndarray::{ArcArray, ArrayD, ArrayView, ArrayViewMut, Axis, IxDyn};

use super::recurrent::nested;
use crate::{
    Call, Config, ConfigError, Generation, Layer, LayerError, Mask, Shape, Tensor, WeightSlot,
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

/// What Keras 2 does with a known batch size: a masked step repeats the output before it, and
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

impl TimeDistributed {
    fn output_mask(
        &self,
        input: &Tensor,
        inner: Option<Mask>,
        batch: usize,
        time: usize,
    ) -> Result<Option<Mask>, LayerError> {
        if self.generation == Generation::Keras3 || self.fixed_batch {
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

    fn call(&self, inputs: &[Tensor], _call: &Call) -> Result<Vec<Tensor>, LayerError> {
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
        // With a known batch size Keras 2 gives the inner layer no mask.
        let masks_steps = self.generation != Generation::Keras3 && self.fixed_batch;
        let inner_mask = mask.filter(|_| !masks_steps).map(fold_steps).transpose()?;
        let folded = Tensor::new(fold_steps(&input.data)?).with_mask(inner_mask);
        let mut outputs = self.layer.call(&[folded], &Call::default())?;
        let (Some(output), true) = (outputs.pop(), outputs.is_empty()) else {
            return Err(LayerError::Other(
                "the inner layer must have one output".into(),
            ));
        };
        let mut data = unfold_steps(output.data, batch, time)?;
        if let Some(mask) = mask.filter(|_| masks_steps) {
            let mut owned = data.into_owned();
            repeat_masked(&mut owned, mask);
            data = owned.into_shared();
        }
        let mask = self.output_mask(input, output.mask, batch, time)?;
        Ok(vec![Tensor::new(data).with_mask(mask)])
    }

    fn cells(&self) -> Vec<(String, &Cell)> {
        self.layer.cells()
    }

    fn can_run(&self) -> bool {
        self.layer.can_run()
    }

    fn reset_states(&self) {
        self.layer.reset_states();
    }

    fn as_model(&self) -> Option<&crate::Model> {
        self.layer.as_model()
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
