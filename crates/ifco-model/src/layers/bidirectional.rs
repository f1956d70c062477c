//! Bidirectional: one layer reads forward, another backward, and their outputs are merged.

use ifco_cell::{Cell, Precision};
use ndarray::{ArrayD, Axis, Slice, concatenate};

use crate::activity::{Activity, Penalty};

use super::concatenate::split_along;
use super::recurrent::{Recurrent, nested, split_states};
use super::unknown::Unknown;
use crate::{
    Array, Call, Config, ConfigError, Forward, Generation, Layer, LayerError, NotStreamable, Shape,
    StepShape, Streamed, Tensor, Training, WeightSlot,
};

/// Below the layer's own name, in the paths of its cells.
const FORWARD: &str = "forward";
const BACKWARD: &str = "backward";

/// How the two outputs become one: Keras's `merge_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merge {
    Concat,
    Sum,
    Multiply,
    Average,
    /// `None`: both are returned.
    Apart,
}

/// Keras's `Bidirectional` around a recurrent layer.
#[derive(Debug)]
pub struct Bidirectional {
    forward: Recurrent,
    backward: Recurrent,
    merge: Merge,
    generation: Generation,
    /// What the outputs of each direction add to the loss.
    activities: [Option<Activity>; 2],
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    let (class, forward_config) = nested(config, "layer", config.require("layer")?)?;
    let activity = || Activity::of(class, &forward_config);
    let mut activities = [activity(), activity()];
    let backward = match config.get("backward_layer") {
        Some(layer) => {
            let (class, config) = nested(config, "backward_layer", layer)?;
            activities[1] = Activity::of(class, &config);
            recurrent(class, &config)?
        }
        // A copy of the forward layer that reads the other way.
        None => recurrent(class, &forward_config)?.map(|mut layer| {
            layer.options.go_backwards = !layer.options.go_backwards;
            layer
        }),
    };
    let (Some(mut forward), Some(mut backward)) = (recurrent(class, &forward_config)?, backward)
    else {
        let what = format!("Bidirectional around {class}");
        return Ok(Box::new(Unknown::described("Bidirectional", &what)));
    };
    let merge = match config
        .get("merge_mode")
        .map(|mode| mode.as_str().unwrap_or(""))
    {
        None if config.is_null("merge_mode") => Merge::Apart,
        None | Some("concat") => Merge::Concat,
        Some("sum") => Merge::Sum,
        Some("mul") => Merge::Multiply,
        Some("ave") => Merge::Average,
        Some(_) => {
            return Err(config.invalid("merge_mode", "concat, sum, mul, ave or null"));
        }
    };
    if forward.options.go_backwards == backward.options.go_backwards {
        return Err(config.invalid("backward_layer", "a layer that reads the other way"));
    }
    if forward.options.return_sequences != backward.options.return_sequences
        || forward.return_state != backward.return_state
    {
        return Err(config.invalid(
            "backward_layer",
            "a layer with the forward one's return_sequences and return_state",
        ));
    }
    // Keras forces this, so that a padded end adds nothing to a merged sequence.
    for layer in [&mut forward, &mut backward] {
        layer.options.zero_output_for_mask = layer.options.return_sequences;
    }
    Ok(Box::new(Bidirectional {
        forward,
        backward,
        merge,
        generation: config.generation,
        activities,
    }))
}

fn recurrent(class: &str, config: &Config<'_>) -> Result<Option<Recurrent>, ConfigError> {
    Recurrent::from_config(class, config)
}

impl Bidirectional {
    fn merge(&self, forward: Tensor, backward: Tensor) -> Result<Vec<Tensor>, LayerError> {
        let mask = forward.mask.clone();
        let mut forward = forward.into_owned();
        let mut backward = backward.into_owned();
        if self.forward.options.return_sequences {
            backward.invert_axis(Axis(1));
        }
        let different = |_| LayerError::Other("the two directions differ in units".into());
        if self.merge != Merge::Concat
            && self.merge != Merge::Apart
            && forward.shape() != backward.shape()
        {
            return Err(different(()));
        }
        let merged = match self.merge {
            Merge::Concat => {
                let last = Axis(forward.ndim() - 1);
                concatenate(last, &[forward.view(), backward.view()]).map_err(|_| different(()))?
            }
            Merge::Sum => forward + backward,
            Merge::Multiply => forward * backward,
            Merge::Average => {
                forward.zip_mut_with(&backward, |f, b| *f = (*f + b) / 2.0);
                forward
            }
            Merge::Apart => {
                // A view that runs backward would be slow for whatever reads it next.
                let backward = backward.slice_each_axis(|_| Slice::from(..)).to_owned();
                return Ok(vec![
                    Tensor::new(forward).with_mask(mask.clone()),
                    Tensor::new(backward).with_mask(mask),
                ]);
            }
        };
        Ok(vec![Tensor::new(merged).with_mask(mask)])
    }
}

impl Bidirectional {
    /// The gradients of the two outputs as the layers put them out, of those of what they were
    /// merged to.
    fn merge_backward(
        &self,
        mut gradients: Vec<Option<Array>>,
        sides: [Array; 2],
    ) -> [Option<Array>; 2] {
        let turn = |array: &mut Array| {
            if self.forward.options.return_sequences {
                array.invert_axis(Axis(1));
            }
        };
        let [forward, mut backward] = sides;
        turn(&mut backward);
        let first = gradients.remove(0);
        let (of_forward, mut of_backward) = match (self.merge, first) {
            (Merge::Apart, first) => (first, gradients.pop().flatten()),
            (_, None) => (None, None),
            (Merge::Concat, Some(merged)) => {
                let last = Axis(merged.ndim() - 1);
                let sizes = [&forward, &backward].map(|side| side.len_of(last));
                let mut parts = split_along(&merged, last, &sizes).into_iter();
                (parts.next().flatten(), parts.next().flatten())
            }
            (Merge::Sum, Some(merged)) => (Some(merged.clone()), Some(merged)),
            (Merge::Average, Some(merged)) => {
                let half = (&merged / 2.0).into_shared();
                (Some(half.clone()), Some(half))
            }
            (Merge::Multiply, Some(merged)) => (
                Some((&merged * &backward).into()),
                Some((&merged * &forward).into()),
            ),
        };
        if let Some(of_backward) = &mut of_backward {
            turn(of_backward);
        }
        [of_forward, of_backward]
    }
}

impl Layer for Bidirectional {
    fn class_name(&self) -> &str {
        "Bidirectional"
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        let forward = self
            .forward
            .weight_slots()
            .into_iter()
            .map(|s| s.below("forward_layer"));
        let backward = self
            .backward
            .weight_slots()
            .into_iter()
            .map(|s| s.below("backward_layer"));
        forward.chain(backward).collect()
    }

    fn set_weights(&mut self, mut weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let first = self.forward.weight_slots().len();
        if weights.len() < first {
            return Err(LayerError::NoWeights);
        }
        let rest = weights.split_off(first);
        self.forward.set_weights(weights)?;
        self.backward.set_weights(rest)
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let mut weights = self.forward.weights()?;
        weights.extend(self.backward.weights()?);
        Some(weights)
    }

    fn output_shapes(&self, inputs: &[Shape], call: &Call) -> Result<Vec<Shape>, LayerError> {
        let mut forward = self.forward.output_shapes(inputs, call)?;
        let mut backward = self.backward.output_shapes(inputs, call)?;
        let states = forward
            .split_off(1)
            .into_iter()
            .chain(backward.split_off(1));
        let (mut one, other) = (forward.remove(0), backward.remove(0));
        let mut shapes = match self.merge {
            Merge::Concat => {
                if let (Some(Some(units)), Some(Some(more))) = (one.last_mut(), other.last()) {
                    *units = units.saturating_add(*more);
                }
                vec![one]
            }
            Merge::Apart => vec![one, other],
            Merge::Sum | Merge::Multiply | Merge::Average => vec![one],
        };
        shapes.extend(states);
        Ok(shapes)
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let split = self.forward.state_count();
        let expected = split + self.backward.state_count();
        let (sequence, mut states) = split_states(inputs, call, expected)?;
        let backward_states = states.split_off(split.min(states.len()));
        let use_mask =
            self.generation != Generation::Keras3 || states.is_empty() || call.mask_given;
        let tap = |direction| call.tap.as_ref().map(|tap| tap.below(direction));
        let (forward, backward) = ifco_cell::join(
            || self.forward.run(sequence, use_mask, &states, tap(FORWARD)),
            || {
                let tap = tap(BACKWARD);
                self.backward.run(sequence, use_mask, &backward_states, tap)
            },
        );
        let ((forward, forward_last), (backward, backward_last)) = (forward?, backward?);
        let mut outputs = self.merge(forward, backward)?;
        if self.forward.return_state {
            outputs.extend(forward_last);
            outputs.extend(backward_last);
        }
        Ok(outputs)
    }

    fn cells(&self) -> Vec<(String, &Cell)> {
        let under = |direction: &str, layer| {
            let name = |below: String| match below.as_str() {
                "" => direction.to_owned(),
                below => format!("{direction}/{below}"),
            };
            Recurrent::cells(layer)
                .into_iter()
                .map(move |(below, cell)| (name(below), cell))
                .collect::<Vec<_>>()
        };
        let mut cells = under(FORWARD, &self.forward);
        cells.extend(under(BACKWARD, &self.backward));
        cells
    }

    fn set_precision(&mut self, precision: Precision) {
        self.forward.set_precision(precision);
        self.backward.set_precision(precision);
    }

    fn is_stateful(&self) -> bool {
        self.forward.is_stateful()
    }

    fn reset_states(&self) {
        self.forward.reset_states();
        self.backward.reset_states();
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let split = self.forward.state_count();
        let expected = split + self.backward.state_count();
        let (sequence, mut states) = split_states(inputs, call, expected)?;
        let backward_states = states.split_off(split.min(states.len()));
        let use_mask =
            self.generation != Generation::Keras3 || states.is_empty() || call.mask_given;
        let tap = |direction| call.tap.as_ref().map(|tap| tap.below(direction));
        let (forward, forward_last, forward_tape) =
            self.forward
                .run_for_training(sequence, use_mask, &states, tap(FORWARD), training)?;
        let (backward, backward_last, backward_tape) = self.backward.run_for_training(
            sequence,
            use_mask,
            &backward_states,
            tap(BACKWARD),
            training,
        )?;
        let own = |direction: usize, sequence: &Tensor, last: &[Tensor]| {
            let Some(activity) = &self.activities[direction] else {
                return Ok(None);
            };
            let mut outputs = vec![sequence];
            outputs.extend(last.iter().filter(|_| self.forward.return_state));
            activity.penalty(&outputs, training).map(Some)
        };
        let forward_penalty = own(0, &forward, &forward_last)?;
        let backward_penalty = own(1, &backward, &backward_last)?;
        let penalties = [&forward_penalty, &backward_penalty];
        let penalty = penalties.into_iter().flatten().map(|one| one.value).sum();
        let sides = [forward.data.clone(), backward.data.clone()];
        let mut outputs = self.merge(forward, backward)?;
        let merged = outputs.len();
        if self.forward.return_state {
            outputs.extend(forward_last);
            outputs.extend(backward_last);
        }
        let count = inputs.len();
        Ok(Forward::with_penalty(
            outputs,
            penalty,
            move |mut gradients| {
                let mut forward_states = gradients.split_off(merged);
                let mut backward_states = forward_states.split_off(split.min(forward_states.len()));
                let [mut forward, mut backward] = self.merge_backward(gradients, sides);
                let penalize = |penalty: Option<Penalty>, side: &mut _, states: &mut Vec<_>| {
                    if let Some(penalty) = penalty {
                        states.insert(0, std::mem::take(side));
                        penalty.add_to(states);
                        *side = states.remove(0);
                    }
                };
                penalize(forward_penalty, &mut forward, &mut forward_states);
                penalize(backward_penalty, &mut backward, &mut backward_states);
                let (forward, backward) = ifco_cell::join(
                    || forward_tape.backward(forward, &forward_states),
                    || backward_tape.backward(backward, &backward_states),
                );
                let (mut both, backward) = (forward?, backward?);
                both.inputs += &backward.inputs;
                both.states.extend(backward.states);
                both.weights.extend(backward.weights);
                Ok(both.of_call(count))
            },
        ))
    }

    fn stream(&self, _inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        Err(
            NotStreamable::new("it reads its sequences from both ends, and a stream has no end")
                .help("run whole sequences with predict, or train a layer that only reads forward"),
        )
    }
}
