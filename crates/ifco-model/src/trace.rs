//! A run of the model that keeps what its recurrent cells compute.

use std::sync::{Arc, Mutex, PoisonError};

use ifco_cell::{ForwardError, Passage, RecurrentLayer, Sequence, Trace, TraceOptions};
use ndarray::{Array2, Array3, ArrayD, ArrayView2, ArrayView3, ArrayViewD, Axis, concatenate};

use crate::layers::cell_name;
use crate::{Model, ModelError, Tensor};

mod gradient;
mod passage;
mod stream;
mod target;

pub use gradient::ModelGradientTrace;
pub use passage::ModelPassage;
pub use stream::TraceStream;
pub use target::{Target, Unit};

/// What [`Model::trace_all`] returns.
///
/// See the example there.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelTrace {
    /// The traces by the paths of the cells, in the order of [`Model::cells`]. Of a layer that the
    /// model calls several times, `lstm` is the first call, `lstm#1` the second.
    pub traces: Vec<(String, Trace)>,
    /// What the model predicts: one array per output.
    pub outputs: Vec<ArrayD<f32>>,
}

impl ModelTrace {
    /// The trace of the cell at this path.
    pub fn get(&self, path: &str) -> Option<&Trace> {
        let named = self.traces.iter().find(|(name, _)| name == path)?;
        Some(&named.1)
    }
}

/// Where the recurrent layers of one run leave what they did: it knows which cells are asked for,
/// in which layer of the model the run is, and from which states the layers go on.
#[derive(Debug, Clone)]
pub struct Tap {
    asked: Arc<Asked>,
    /// The path of the layer that is called.
    path: String,
}

#[derive(Debug)]
struct Asked {
    /// The paths of the cells.
    paths: Vec<String>,
    /// By path: the states that a cell begins with, instead of its own.
    states: Vec<(String, Vec<Array2<f32>>)>,
    /// Whether the way back leaves the gradients by the states.
    gradients: bool,
    found: Mutex<Vec<Found>>,
}

/// What one call of a cell left.
#[derive(Debug)]
struct Found {
    path: String,
    passage: Passage,
    /// By each state after each step, once the way back has come by.
    gradients: Option<Vec<Array3<f32>>>,
}

/// Where the way back through a layer leaves the gradients by its states: the places of its cells
/// that are asked for, with the number of each one's first state among the layer's.
#[derive(Debug)]
pub(crate) struct TapBack {
    tap: Tap,
    cells: Vec<(usize, std::ops::Range<usize>)>,
}

impl TapBack {
    /// Takes the gradients by all states of the layer.
    pub(crate) fn take(&self, states: &[Array3<f32>]) {
        let mut found = self.tap.lock();
        for (place, own) in &self.cells {
            if let (Some(found), Some(own)) = (found.get_mut(*place), states.get(own.clone())) {
                found.gradients = Some(own.to_vec());
            }
        }
    }
}

impl Tap {
    fn new(paths: Vec<String>, states: Vec<(String, Vec<Array2<f32>>)>) -> Self {
        Self {
            asked: Arc::new(Asked {
                paths,
                states,
                gradients: false,
                found: Mutex::default(),
            }),
            path: String::new(),
        }
    }

    /// A tap, not yet shared, which the way back leaves gradients at too.
    fn with_gradients(mut self) -> Self {
        if let Some(asked) = Arc::get_mut(&mut self.asked) {
            asked.gradients = true;
        }
        self
    }

    /// Whether gradients are asked for of a cell of the layer of this name.
    pub(crate) fn asks_gradients(&self, name: &str) -> bool {
        let layer = below(&self.path, name);
        let within = |path: &String| {
            let rest = path.strip_prefix(layer.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.asked.gradients && self.asked.paths.iter().any(within)
    }

    /// The tap for a layer inside the one that is called.
    pub fn below(&self, name: &str) -> Self {
        Self {
            asked: Arc::clone(&self.asked),
            path: below(&self.path, name),
        }
    }

    /// Runs a recurrent layer, and keeps the passages of its cells if one of them is asked for.
    pub(crate) fn forward(
        &self,
        layer: &RecurrentLayer,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial_state: Option<&[ArrayView2<'_, f32>]>,
    ) -> Result<Sequence, ForwardError> {
        let paths = self.paths(layer);
        let known = |path: &String| self.asked.states.iter().find(|(known, _)| known == path);
        let given: Option<Vec<_>> = paths.iter().map(known).collect();
        let given = given.map(|given| given.into_iter().flat_map(|(_, states)| states));
        let given: Option<Vec<_>> = given.map(|given| given.map(|state| state.view()).collect());
        let initial_state = given.as_deref().or(initial_state);
        if !paths.iter().any(|path| self.asked.paths.contains(path)) {
            return layer.forward(inputs, mask, initial_state);
        }
        let passages = layer.pass(inputs, mask, initial_state)?;
        let sequence = match layer.sequence_of(&passages) {
            Some(sequence) => sequence,
            None => layer.forward(inputs, mask, initial_state)?,
        };
        self.keep(layer, paths, passages);
        Ok(sequence)
    }

    /// Runs the cells that are asked for besides a run for training, and tells where the way back
    /// is to leave its gradients.
    pub(crate) fn forward_for_training(
        &self,
        layer: &RecurrentLayer,
        inputs: ArrayView3<'_, f32>,
        mask: Option<ArrayView2<'_, bool>>,
        initial_state: Option<&[ArrayView2<'_, f32>]>,
    ) -> Result<Option<TapBack>, ForwardError> {
        let paths = self.paths(layer);
        if !self.asked.gradients || !paths.iter().any(|path| self.asked.paths.contains(path)) {
            return Ok(None);
        }
        let passages = layer.pass(inputs, mask, initial_state)?;
        Ok(Some(TapBack {
            tap: self.clone(),
            cells: self.keep(layer, paths, passages),
        }))
    }

    /// The paths of a layer's cells.
    fn paths(&self, layer: &RecurrentLayer) -> Vec<String> {
        let cells = layer.cells().len();
        let paths = (0..cells).map(|index| below(&self.path, &cell_name(cells, index)));
        paths.collect()
    }

    /// Keeps the passages that are asked for: their places, and which of the layer's states are
    /// theirs.
    fn keep(
        &self,
        layer: &RecurrentLayer,
        paths: Vec<String>,
        passages: Vec<Passage>,
    ) -> Vec<(usize, std::ops::Range<usize>)> {
        let mut found = self.lock();
        let mut places = Vec::new();
        let mut first = 0;
        for ((path, passage), cell) in paths.into_iter().zip(passages).zip(layer.cells()) {
            let own = first..first + cell.states();
            first = own.end;
            if self.asked.paths.contains(&path) {
                places.push((found.len(), own));
                found.push(Found {
                    path,
                    passage,
                    gradients: None,
                });
            }
        }
        places
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Found>> {
        // Whole passages are pushed, so that there is nothing half done to see.
        let found = self.asked.found.lock();
        found.unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found, in the order of the paths, the calls of one layer in the order of the run.
    fn finish(self) -> Vec<Found> {
        let found = std::mem::take(&mut *self.lock());
        let mut named: Vec<(usize, usize, Found)> = Vec::with_capacity(found.len());
        for mut own in found {
            let place = self.asked.paths.iter().position(|asked| *asked == own.path);
            let place = place.unwrap_or(usize::MAX);
            let call = named.iter().filter(|other| other.0 == place).count();
            if call > 0 {
                own.path = format!("{}#{call}", own.path);
            }
            named.push((place, call, own));
        }
        named.sort_by_key(|(place, call, _)| (*place, *call));
        named.into_iter().map(|(_, _, own)| own).collect()
    }

    /// What was found of a run that has no way back.
    fn passages(self) -> Vec<(String, Passage)> {
        let found = self.finish().into_iter();
        found.map(|own| (own.path, own.passage)).collect()
    }
}

/// `path/name`, where either may be empty.
fn below(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.into(),
        (path, "") => path.into(),
        (path, name) => format!("{path}/{name}"),
    }
}

impl Model {
    /// Runs a model of one input, and keeps everything that the cell at `path` computes: its gates
    /// and states at every step.
    ///
    /// `path` is one of [`Model::cells`]: `lstm`, `bidirectional/forward`, `rnn/0`, `encoder/lstm`.
    /// A stateful layer goes on from the states that it keeps, and keeps the new ones, as with
    /// [`Model::predict`].
    ///
    /// # Errors
    /// When there is no such cell, the model has several inputs or calls the layer several times
    /// (see [`Model::trace_all`]), the input does not fit, or a layer cannot be run.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::{ArrayD, IxDyn};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
    ///     {"class_name": "LSTM", "config": {"name": "lstm", "units": 8}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let zeros = |shape: &[usize]| ArrayD::zeros(IxDyn(shape));
    /// model.set_weights(vec![zeros(&[3, 32]), zeros(&[8, 32]), zeros(&[32])])?;
    ///
    /// let trace = model.trace("lstm", &zeros(&[2, 10, 3]))?;
    /// assert_eq!(trace.names(), ["i", "f", "c_tilde", "o", "c", "h"]);
    /// assert_eq!(trace.get("f").unwrap().dim(), (2, 10, 8)); // (batch, time, units)
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn trace(&self, path: &str, input: &ArrayD<f32>) -> Result<Trace, ModelError> {
        let options = TraceOptions::default();
        let mut found = self.trace_all(&[path], &[input.view()], &options)?.traces;
        match (found.pop(), found.is_empty()) {
            (Some((_, trace)), true) => Ok(trace),
            (None, _) => Err(ModelError::Inputs(format!(
                "the model's outputs do not need {path:?}, so that it does not run"
            ))),
            (Some(_), false) => Err(ModelError::Inputs(format!(
                "the model calls {path:?} {} times: use trace_all",
                found.len() + 1
            ))),
        }
    }

    /// Runs the model on one array per input, and keeps everything that the cells at `paths`
    /// compute, or all cells where `paths` is empty; the outputs come along.
    ///
    /// All rows are one batch, or batches of the size that the model fixes. Of a layer inside
    /// TimeDistributed the sequences are those of all steps, one below the other:
    /// `(batch·steps, time, units)`. A layer that the outputs do not need does not run, and has no
    /// trace.
    ///
    /// # Errors
    /// When there is no such cell, the inputs do not fit, or a layer cannot be run.
    ///
    /// ```
    /// use ifco_cell::TraceOptions;
    /// use ifco_model::{Generation, Model};
    /// use ndarray::{ArrayD, IxDyn};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
    ///     {"class_name": "Bidirectional", "config": {"name": "both", "merge_mode": "concat",
    ///         "layer": {"class_name": "GRU", "config": {"name": "gru", "units": 8}}}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let weights = model.weight_slots().into_iter().map(|slot| {
    ///     let shape: &[usize] = match slot.name.as_str() {
    ///         "kernel" => &[3, 24],
    ///         "recurrent_kernel" => &[8, 24],
    ///         _ => &[2, 24],
    ///     };
    ///     ArrayD::zeros(IxDyn(shape))
    /// });
    /// model.set_weights(weights.collect())?;
    ///
    /// let x = ArrayD::zeros(IxDyn(&[2, 10, 3]));
    /// let options = TraceOptions { pre_activations: true };
    /// let trace = model.trace_all(&[], &[x.view()], &options)?;
    /// assert_eq!(trace.traces[0].0, "both/forward");
    /// let backward = trace.get("both/backward").unwrap();
    /// assert!(backward.reads_backward);
    /// assert_eq!(backward.inputs, x.into_dimensionality().unwrap());
    /// assert_eq!(backward.pre_activations.as_ref().unwrap().dim(), (2, 10, 24));
    /// assert_eq!(trace.outputs[0].shape(), [2, 16]);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn trace_all(
        &self,
        paths: &[&str],
        inputs: &[ArrayViewD<'_, f32>],
        options: &TraceOptions,
    ) -> Result<ModelTrace, ModelError> {
        let paths = self.paths_of(paths)?;
        let mut parts: Vec<Vec<(String, Trace)>> = Vec::new();
        let mut outputs: Vec<Vec<ArrayD<f32>>> = Vec::new();
        let size = self.static_batch_size().unwrap_or(usize::MAX);
        self.run_batches(inputs, size, |_, batch, _| {
            let tap = Tap::new(paths.clone(), Vec::new());
            let results = self.run_traced(batch, Some(&tap))?;
            let passages = tap.passages().into_iter();
            let traces = passages.map(|(name, passage)| (name, passage.into_trace(options)));
            parts.push(traces.collect());
            outputs.push(results.into_iter().map(Tensor::into_owned).collect());
            Ok(())
        })?;
        let whole = "the batches of the run do not fit each other";
        let different = || ModelError::Inputs(whole.into());
        let outputs = transposed(outputs).into_iter().zip(self.outputs());
        let outputs = outputs.map(|(parts, port)| {
            let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
            let axis = Axis(port.batch_axis.unwrap_or(0));
            concatenate(axis, &views).map_err(|_| different())
        });
        let traces = transposed(parts).into_iter().map(|parts| {
            let (names, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            let name = names.into_iter().next().ok_or_else(different)?;
            Ok((name, Trace::concatenate(parts).ok_or_else(different)?))
        });
        Ok(ModelTrace {
            traces: traces.collect::<Result<_, ModelError>>()?,
            outputs: outputs.collect::<Result<_, _>>()?,
        })
    }

    /// The paths of cells that are there; all where none is named.
    fn paths_of(&self, paths: &[&str]) -> Result<Vec<String>, ModelError> {
        match paths {
            [] => Ok(self.cells().into_iter().map(|(path, _)| path).collect()),
            paths => paths
                .iter()
                .map(|path| self.cell(path).map(|_| (*path).to_owned()))
                .collect(),
        }
    }
}

/// A list for each of the parts of each batch, with its parts of all batches.
fn transposed<T>(batches: Vec<Vec<T>>) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    for batch in batches {
        for (index, part) in batch.into_iter().enumerate() {
            match parts.get_mut(index) {
                Some(parts) => parts.push(part),
                None => parts.push(vec![part]),
            }
        }
    }
    parts
}
