//! LSTM, GRU, SimpleRNN, and RNN over one cell or several stacked ones.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ifco_cell::{
    BackwardOptions, Cell, Dropout, Precision, RecurrentLayer, Sequence, SequenceGradient,
    SequenceOptions, SequenceOutput, Tape, TapeOptions, WeightsError,
};
use ndarray::{Array1, Array2, Array3, ArrayD, ArrayView2, ArrayView3, Axis, Ix2, Ix3};
use serde_json::Value;

use super::cell_spec::{CellSpec, cell_weights, rnn_cells};
use super::support::one;
use crate::session::copy;
use crate::trace::TapBack;
use crate::{
    Array, Call, Config, ConfigError, Forward, Generation, Gradient, Layer, LayerError,
    LayerGradients, NotStreamable, Shape, Step, StepShape, Streamed, Tap, Tensor, Time, Training,
    WeightSlot,
};

/// A recurrent layer with Keras's options.
///
/// Inputs are `(batch, time, features)`; with `return_state=True` the states follow the output.
///
/// ```
/// use ifco_model::{Call, Config, Generation, Layer, layers};
///
/// let json = serde_json::json!({"units": 8, "return_sequences": true, "return_state": true});
/// let config = Config::new("lstm", Generation::Keras3, &json)?;
/// let lstm = layers::build("LSTM", &config)?;
/// let shapes = lstm.output_shapes(&[vec![None, Some(10), Some(3)]], &Call::default())?;
/// assert_eq!(shapes[0], [None, Some(10), Some(8)]); // every step's output
/// assert_eq!(shapes[1..], [[None, Some(8)], [None, Some(8)]]); // h and c
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Recurrent {
    class: String,
    cells: Vec<CellSpec>,
    /// How the sequence is read; `Bidirectional` sets some of it.
    pub(super) options: SequenceOptions,
    pub(super) return_state: bool,
    pub(super) stateful: bool,
    unroll: bool,
    generation: Generation,
    /// There once the weights are.
    layer: Option<RecurrentLayer>,
    precision: Precision,
    /// Where a sequence begins that no state is given for; `None` for zeros.
    initial: Option<Vec<Array1<f32>>>,
    /// What a stateful layer keeps between batches.
    states: Mutex<Option<Vec<Array2<f32>>>>,
}

pub(super) fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(match Recurrent::from_config(class, config)? {
        Some(layer) => Box::new(layer),
        None => Box::new(super::Unknown::described(class, "RNN over a custom cell")),
    })
}

impl Recurrent {
    /// An LSTM, GRU, SimpleRNN or RNN. `None` when an RNN holds a cell that ifco does not know.
    pub(super) fn from_config(
        class: &str,
        config: &Config<'_>,
    ) -> Result<Option<Self>, ConfigError> {
        if config.bool_or("time_major", false)? {
            return Err(config.invalid("time_major", "false: (batch, time, features)"));
        }
        let cells = match class {
            "RNN" => rnn_cells(config)?,
            _ => CellSpec::from_config(class, config, "cell".into())?.map(|spec| vec![spec]),
        };
        let Some(cells) = cells else { return Ok(None) };
        Ok(Some(Self {
            class: class.into(),
            cells,
            options: SequenceOptions {
                return_sequences: config.bool_or("return_sequences", false)?,
                go_backwards: config.bool_or("go_backwards", false)?,
                zero_output_for_mask: config.bool_or("zero_output_for_mask", false)?,
            },
            return_state: config.bool_or("return_state", false)?,
            stateful: config.bool_or("stateful", false)?,
            unroll: config.bool_or("unroll", false)?,
            generation: config.generation,
            layer: None,
            precision: Precision::F32,
            initial: None,
            states: Mutex::new(None),
        }))
    }

    /// Number of state arrays: h and c for each LSTM, h for each other cell.
    pub(super) fn state_count(&self) -> usize {
        self.cells.iter().map(CellSpec::states).sum()
    }

    fn output_units(&self) -> usize {
        self.cells.last().map_or(0, CellSpec::outputs)
    }

    fn lock_states(&self) -> MutexGuard<'_, Option<Vec<Array2<f32>>>> {
        // A caller that panicked elsewhere leaves whole states behind: they are replaced at once.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs over `inputs` `(batch, time, features)` from `initial_state`; returns the output and
    /// the last states.
    pub(super) fn run(
        &self,
        inputs: &Tensor,
        use_mask: bool,
        initial_state: &[Tensor],
        tap: Option<Tap>,
    ) -> Result<(Tensor, Vec<Tensor>), LayerError> {
        let forward = |layer: &RecurrentLayer, run: Run<'_>| {
            let sequence = match tap {
                Some(tap) => tap.forward(layer, run.inputs, run.mask, run.states)?,
                None => layer.forward(run.inputs, run.mask, run.states)?,
            };
            Ok((sequence, ()))
        };
        let (output, states, ()) = self.run_with(inputs, use_mask, initial_state, forward)?;
        Ok((output, states))
    }

    /// The same where `forward` runs the layer itself, and gives something more.
    fn run_with<'a, T>(
        &'a self,
        inputs: &Tensor,
        use_mask: bool,
        initial_state: &[Tensor],
        forward: impl FnOnce(&'a RecurrentLayer, Run<'_>) -> Result<(Sequence, T), LayerError>,
    ) -> Result<(Tensor, Vec<Tensor>, T), LayerError> {
        let layer = self.layer.as_ref().ok_or(LayerError::NoWeights)?;
        let wrong = |expected: &str| LayerError::Input {
            input: 0,
            found: format!("{:?}", inputs.shape()),
            expected: expected.into(),
        };
        let sequence = inputs
            .data
            .view()
            .into_dimensionality::<Ix3>()
            .map_err(|_| wrong("(batch, time, features)"))?;
        let mask = inputs.mask.as_ref().filter(|_| use_mask);
        let mask = mask
            .map(|mask| mask.view().into_dimensionality::<Ix2>())
            .transpose()
            .map_err(|_| LayerError::Other("the mask is not (batch, time)".into()))?;

        // Only a stateful layer's callers wait for each other.
        let mut kept = self.stateful.then(|| self.lock_states());
        let batch = sequence.dim().0;
        let begun: Vec<Array2<f32>>;
        let given: Vec<ArrayView2<'_, f32>>;
        let states: Option<&[ArrayView2<'_, f32>]> = if !initial_state.is_empty() {
            given = initial_state
                .iter()
                .map(|state| state.data.view().into_dimensionality::<Ix2>())
                .collect::<Result<_, _>>()
                .map_err(|_| LayerError::Other("initial_state is not (batch, units)".into()))?;
            Some(&given)
        } else if let Some(kept) = kept.as_ref().and_then(|kept| kept.as_ref()) {
            if kept.iter().any(|state| state.nrows() != batch) {
                return Err(LayerError::Other(format!(
                    "the layer is stateful and began with batches of {}, got one of {batch}: \
                     give a number of rows that the batch size divides, or reset the states",
                    kept.first().map_or(0, Array2::nrows)
                )));
            }
            given = kept.iter().map(|state| state.view()).collect();
            Some(&given)
        } else if let Some(initial) = &self.initial {
            begun = initial.iter().map(|state| of_batch(state, batch)).collect();
            given = begun.iter().map(|state| state.view()).collect();
            Some(&given)
        } else {
            None
        };
        let run = Run {
            inputs: sequence,
            mask,
            states,
        };
        let (mut result, more) = forward(layer, run)?;
        if let (true, Some(mask), SequenceOutput::Sequences(all)) =
            (self.zeroes_unreversed(), mask, &mut result.output)
        {
            zero_masked(all, mask);
        }
        if let Some(kept) = &mut kept {
            **kept = Some(result.states.clone());
        }
        drop(kept);
        let output = match result.output {
            SequenceOutput::Last(last) => Tensor::new(last.into_dyn()),
            SequenceOutput::Sequences(all) => Tensor::new(all.into_dyn()),
        };
        let output = output.with_mask(self.output_mask(inputs));
        let states = result
            .states
            .into_iter()
            .map(|state| Tensor::new(state.into_dyn()));
        Ok((output, states.collect(), more))
    }

    /// Runs as in training; with the way back.
    pub(super) fn run_for_training<'a>(
        &'a self,
        inputs: &Tensor,
        use_mask: bool,
        initial_state: &[Tensor],
        tap: Option<Tap>,
        training: &mut Training,
    ) -> Result<(Tensor, Vec<Tensor>, RecurrentTape<'a>), LayerError> {
        let options = TapeOptions {
            recompute: training.recomputes(),
        };
        let wanted = BackwardOptions {
            inputs: training.wants_inputs(),
            ..BackwardOptions::default()
        };
        let forward = |layer: &'a RecurrentLayer, run: Run<'_>| {
            let batch = run.inputs.dim().0;
            let mut dropout = Dropout::default();
            if training.is_training() {
                for (spec, cell) in self.cells.iter().zip(layer.cells()) {
                    let random = training.random();
                    let [inputs, recurrent] = spec.draw_dropout(batch, cell.features(), random);
                    dropout.inputs.push(inputs);
                    dropout.recurrent.push(recurrent);
                }
            }
            let (inputs, mask, states) = (run.inputs, run.mask, run.states);
            let tap = match tap {
                Some(tap) => tap.forward_for_training(layer, inputs, mask, states)?,
                None => None,
            };
            let (sequence, tape) =
                layer.forward_for_training_with(inputs, mask, states, &dropout, &options)?;
            Ok((sequence, (layer, tape, tap)))
        };
        let (output, states, (layer, tape, tap)) =
            self.run_with(inputs, use_mask, initial_state, forward)?;
        let mask = inputs.mask.clone().filter(|_| use_mask);
        let tape = RecurrentTape {
            layer,
            tape,
            wanted: BackwardOptions {
                states: tap.is_some(),
                ..wanted
            },
            tap,
            zeroed: mask.filter(|_| self.zeroes_unreversed()),
            output: output.shape().to_vec(),
            states: states.iter().map(|state| state.shape().to_vec()).collect(),
        };
        Ok((output, states, tape))
    }

    /// `unroll=True` has no effect on the numbers, but for this: a layer that reads backward and
    /// zeroes its masked outputs zeroes them by the mask as it stands, not as it was read.
    fn zeroes_unreversed(&self) -> bool {
        let SequenceOptions {
            return_sequences,
            go_backwards,
            zero_output_for_mask,
        } = self.options;
        self.unroll && return_sequences && go_backwards && zero_output_for_mask
    }

    /// Keras passes the mask on with a sequence, and not with a last output.
    pub(super) fn output_mask(&self, inputs: &Tensor) -> Option<crate::Mask> {
        inputs
            .mask
            .clone()
            .filter(|_| self.options.return_sequences)
    }
}

/// What a layer runs on.
struct Run<'r> {
    inputs: ArrayView3<'r, f32>,
    mask: Option<ArrayView2<'r, bool>>,
    states: Option<&'r [ArrayView2<'r, f32>]>,
}

/// The way back through a recurrent layer.
pub(super) struct RecurrentTape<'a> {
    layer: &'a RecurrentLayer,
    tape: Tape,
    /// Where the gradients by the states of each step go, if anybody asks for them.
    tap: Option<TapBack>,
    wanted: BackwardOptions,
    /// The mask by which outputs were zeroed as they stand.
    zeroed: Option<crate::Mask>,
    /// The shapes of the output and of the states.
    output: Vec<usize>,
    states: Vec<Vec<usize>>,
}

impl RecurrentTape<'_> {
    /// The gradients of the sequence, of the initial states and of the weights, of those of the
    /// output and of the last states. Without any of these there are none.
    pub(super) fn backward(
        self,
        output: Option<Array>,
        states: &[Option<Array>],
    ) -> Result<RecurrentGradients, LayerError> {
        let wrong = || LayerError::Other("a gradient has not the output's shape".into());
        let zeros = |shape: &[usize]| Array::zeros(shape.to_vec());
        let flat = |array: Array| array.into_dimensionality::<Ix2>().map_err(|_| wrong());
        let output = output.unwrap_or_else(|| zeros(&self.output));
        let given = states.iter().any(Option::is_some);
        let padded = self.states.iter().enumerate().map(|(index, shape)| {
            let state = states.get(index).cloned().flatten();
            flat(state.unwrap_or_else(|| zeros(shape)))
        });
        let padded = padded.collect::<Result<Vec<_>, LayerError>>()?;
        let views: Vec<_> = padded.iter().map(|state| state.view()).collect();
        let states = given.then_some(&views[..]);
        let gradients = if output.ndim() == 2 {
            let output = flat(output)?;
            let output = SequenceGradient::Last(output.view());
            self.tape
                .backward_with(self.layer, output, states, &self.wanted)?
        } else {
            let output = output.into_dimensionality::<Ix3>().map_err(|_| wrong())?;
            let mut output = output.into_owned();
            if let Some(mask) = &self.zeroed {
                let mask = mask
                    .view()
                    .into_dimensionality::<Ix2>()
                    .map_err(|_| wrong())?;
                zero_masked(&mut output, mask);
            }
            let output = SequenceGradient::Sequences(output.view());
            self.tape
                .backward_with(self.layer, output, states, &self.wanted)?
        };
        if let (Some(tap), Some(states)) = (&self.tap, &gradients.states) {
            tap.take(states);
        }
        let states = gradients.initial_states.into_iter();
        let weights = gradients.cells.iter().flat_map(|cell| {
            let arrays = cell.arrays();
            arrays.map(|(_, array)| Some(Gradient::Dense(array.to_owned())))
        });
        Ok(RecurrentGradients {
            inputs: gradients.inputs.into_dyn().into(),
            states: states.map(|state| Some(state.into_dyn().into())).collect(),
            weights: weights.collect(),
        })
    }
}

/// The gradients of what a recurrent layer took.
pub(super) struct RecurrentGradients {
    pub(super) inputs: Array,
    pub(super) states: Vec<Option<Array>>,
    pub(super) weights: Vec<Option<Gradient>>,
}

impl RecurrentGradients {
    /// As those of a call which was given so many positional inputs, the states among them or as
    /// the keyword argument.
    pub(super) fn of_call(self, inputs: usize) -> LayerGradients {
        let mut gradients = LayerGradients {
            inputs: vec![Some(self.inputs)],
            weights: self.weights,
            ..LayerGradients::default()
        };
        if inputs > 1 {
            gradients.inputs.extend(self.states);
        } else {
            gradients
                .tensors
                .insert("initial_state".into(), self.states);
        }
        gradients
    }
}

/// The same state for each row of a batch, `(batch, units)`.
fn of_batch(state: &Array1<f32>, batch: usize) -> Array2<f32> {
    Array2::from_shape_fn((batch, state.len()), |(_, unit)| state[unit])
}

/// Zeroes the steps of `outputs` `(batch, time, units)` that `mask` `(batch, time)` does not count.
fn zero_masked(outputs: &mut Array3<f32>, mask: ArrayView2<'_, bool>) {
    for (mut step, counts) in outputs.lanes_mut(Axis(2)).into_iter().zip(mask) {
        if !counts {
            step.fill(0.0);
        }
    }
}

/// The class and configuration of an object inside a configuration.
pub(super) fn nested<'a>(
    config: &Config<'a>,
    key: &str,
    object: &'a Value,
) -> Result<(&'a str, Config<'a>), ConfigError> {
    let class = object.get("class_name").and_then(Value::as_str);
    match (class, object.get("config")) {
        (Some(class), Some(inner)) => {
            let class = class.rsplit('>').next().unwrap_or(class);
            Ok((class, Config::new(config.layer, config.generation, inner)?))
        }
        _ => Err(config.invalid(key, "an object with class_name and config")),
    }
}

impl Layer for Recurrent {
    fn class_name(&self) -> &str {
        &self.class
    }

    fn weight_slots(&self) -> Vec<WeightSlot> {
        self.cells.iter().flat_map(CellSpec::weight_slots).collect()
    }

    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        let mut weights = weights.into_iter();
        let cells: Vec<Cell> = self
            .cells
            .iter()
            .map(|spec| spec.cell(&mut weights))
            .collect::<Result<_, _>>()?;
        let mut options = self.options;
        // What is repeated is zeroed afterwards, though not where it was masked.
        options.zero_output_for_mask &= !self.zeroes_unreversed();
        let mut layer = RecurrentLayer::new(cells, options)
            .map_err(|error: WeightsError| LayerError::from(error))?;
        layer.set_precision(self.precision);
        self.layer = Some(layer);
        Ok(())
    }

    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let layer = self.layer.as_ref()?;
        let weights: Option<Vec<_>> = layer.cells().iter().map(cell_weights).collect();
        Some(weights?.concat())
    }

    fn output_shapes(&self, inputs: &[Shape], _call: &Call) -> Result<Vec<Shape>, LayerError> {
        let Some([batch, time, features]) = inputs.first().map(Vec::as_slice) else {
            return Err(LayerError::Input {
                input: 0,
                found: inputs
                    .first()
                    .map_or("nothing".into(), |s| crate::display_shape(s)),
                expected: "(batch, time, features)".into(),
            });
        };
        let cell = self.layer.as_ref().and_then(|layer| layer.cells().first());
        if let (Some(cell), Some(features)) = (cell, features)
            && cell.features() != *features
        {
            return Err(LayerError::Input {
                input: 0,
                found: format!("{features} features"),
                expected: format!("{}", cell.features()),
            });
        }
        let units = Some(self.output_units());
        let output = match self.options.return_sequences {
            true => vec![*batch, *time, units],
            false => vec![*batch, units],
        };
        let mut shapes = vec![output];
        if self.return_state {
            for cell in &self.cells {
                shapes.extend(cell.state_sizes().map(|size| vec![*batch, Some(size)]));
            }
        }
        Ok(shapes)
    }

    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError> {
        let (sequence, initial_state) = split_states(inputs, call, self.state_count())?;
        // Keras 3 looks for a mask on its own only where a call has a single tensor: with an
        // initial_state and no mask argument it runs unmasked.
        let use_mask =
            self.generation != Generation::Keras3 || initial_state.is_empty() || call.mask_given;
        let (output, states) = self.run(sequence, use_mask, &initial_state, call.tap.clone())?;
        let mut outputs = vec![output];
        if self.return_state {
            outputs.extend(states);
        }
        Ok(outputs)
    }

    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        let (sequence, initial_state) = split_states(inputs, call, self.state_count())?;
        let use_mask =
            self.generation != Generation::Keras3 || initial_state.is_empty() || call.mask_given;
        let (output, states, tape) = self.run_for_training(
            sequence,
            use_mask,
            &initial_state,
            call.tap.clone(),
            training,
        )?;
        let mut outputs = vec![output];
        if self.return_state {
            outputs.extend(states);
        }
        let count = inputs.len();
        Ok(Forward::of_many(outputs, move |mut gradients| {
            let output = gradients.remove(0);
            Ok(tape.backward(output, &gradients)?.of_call(count))
        }))
    }

    fn stream(&self, inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        let layer = self.layer.as_ref().ok_or(LayerError::NoWeights)?;
        let input = one(inputs)?;
        if input.time == Time::Gone {
            return Err(NotStreamable::new(
                "its steps are not those of the stream, of which only the last output is left",
            )
            .help("train the recurrent layer before it with return_sequences=True"));
        }
        self.output_shapes(&[input.shape()], &Call::default())?;
        let session = layer.session()?;
        let sequences = self.options.return_sequences;
        let mut step = RecurrentStep {
            names: state_names(layer.cells()),
            session,
            initial: self.initial.clone(),
            masked: input.masked,
        };
        step.reset();
        Ok(Streamed {
            output: StepShape {
                sizes: vec![step.session.units()],
                time: if sequences { input.time } else { Time::Gone },
                masked: input.masked && sequences,
            },
            step: Box::new(step),
        })
    }

    fn cells(&self) -> Vec<(String, &Cell)> {
        let cells = self.layer.iter().flat_map(RecurrentLayer::cells);
        let name = |index| cell_name(self.cells.len(), index);
        cells
            .enumerate()
            .map(|(index, cell)| (name(index), cell))
            .collect()
    }

    fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
        if let Some(layer) = &mut self.layer {
            layer.set_precision(precision);
        }
    }

    fn set_initial_states(&mut self, states: Vec<Array1<f32>>) -> Result<(), LayerError> {
        let sizes = self.cells.iter();
        let expected: Vec<usize> = sizes.flat_map(CellSpec::state_sizes).collect();
        let found: Vec<usize> = states.iter().map(Array1::len).collect();
        if found != expected {
            return Err(LayerError::Other(format!(
                "it takes initial states of {expected:?} values, got {found:?}"
            )));
        }
        self.initial = Some(states);
        Ok(())
    }

    fn initial_states(&self) -> Option<&[Array1<f32>]> {
        self.initial.as_deref()
    }

    fn is_stateful(&self) -> bool {
        self.stateful
    }

    fn reset_states(&self) {
        *self.lock_states() = None;
    }
}

/// The path below the layer of one of so many cells: `""` of the only one, else `"0"`, `"1"`, …
pub(crate) fn cell_name(cells: usize, index: usize) -> String {
    match cells {
        1 => String::new(),
        _ => index.to_string(),
    }
}

/// A recurrent layer's part of a session.
#[derive(Debug)]
struct RecurrentStep {
    session: ifco_cell::Session,
    /// Where a stream begins, where that is not at zeros.
    initial: Option<Vec<Array1<f32>>>,
    /// Of the states, in their order.
    names: Vec<String>,
    /// Whether steps may be masked: then the latest output is a state as well.
    masked: bool,
}

impl Step for RecurrentStep {
    fn step(&mut self, x: &[f32], counts: bool, out: &mut [f32]) -> bool {
        match (counts, self.masked) {
            (true, false) => self.session.step_into(x, out),
            (true, true) => copy(self.session.step(x), out),
            (false, _) => copy(self.session.skip(), out),
        }
        counts
    }

    fn reset(&mut self) {
        self.session.reset();
        if let Some(initial) = &self.initial {
            let (states, _) = self.session.memory_mut();
            for (own, initial) in states.zip(initial) {
                own.iter_mut()
                    .zip(initial)
                    .for_each(|(own, value)| *own = *value);
            }
        }
    }

    fn states(&self) -> Vec<(String, &[f32])> {
        let output = self
            .masked
            .then(|| ("output".into(), self.session.output()));
        let states = self.names.iter().cloned().zip(self.session.states());
        states.chain(output).collect()
    }

    fn states_mut(&mut self) -> Vec<(String, &mut [f32])> {
        let (states, output) = self.session.memory_mut();
        let output = self.masked.then(|| ("output".into(), output));
        let states = self.names.iter().cloned().zip(states);
        states.chain(output).collect()
    }
}

/// `h` and `c`; of stacked cells `0/h`, `0/c`, `1/h`, …
fn state_names(cells: &[Cell]) -> Vec<String> {
    let of_cell = |(index, cell): (usize, &Cell)| {
        let states = ["h", "c"].into_iter().take(cell.states());
        let stacked = cells.len() > 1;
        states.map(move |state| match stacked {
            true => format!("{index}/{state}"),
            false => state.to_string(),
        })
    };
    cells.iter().enumerate().flat_map(of_cell).collect()
}

/// The sequence, and the initial states, which are further inputs (Keras 1 and 2) or the
/// keyword argument `initial_state` (Keras 3).
pub(super) fn split_states<'a>(
    inputs: &'a [Tensor],
    call: &Call,
    expected: usize,
) -> Result<(&'a Tensor, Vec<Tensor>), LayerError> {
    let Some((sequence, rest)) = inputs.split_first() else {
        return Err(LayerError::Other("it takes a sequence, got nothing".into()));
    };
    let states = match call.tensors.get("initial_state") {
        Some(states) => states.clone(),
        None => rest.to_vec(),
    };
    if !states.is_empty() && states.len() != expected {
        return Err(LayerError::Other(format!(
            "it takes {expected} initial states, got {}",
            states.len()
        )));
    }
    Ok((sequence, states))
}
