//! The trace of one long sequence, chunk by chunk, in memory that does not grow.
//!
//! The layers before the traced one run step by step, as in a [`Session`](crate::Session); the
//! traced layer takes a chunk of steps at once and goes on from the states of the last one.

use ifco_cell::{Trace, TraceOptions};
use ndarray::{Array2, Array3, ArrayView2, s};

use super::{Tap, below};
use crate::graph::{Input, Node, Source};
use crate::session::{StepGraph, copy, needed};
use crate::{
    Call, LayerEntry, Model, ModelError, NotStreamable, SessionError, Step, StepShape, Tensor, Time,
};

/// A trace in chunks: made by [`Model::trace_stream`].
///
/// See the example there.
#[derive(Debug)]
pub struct TraceStream<'a> {
    /// The layers before the traced one; one graph for each model that is inside another.
    before: Vec<StepGraph>,
    input: usize,
    input_shape: StepShape,
    entry: &'a LayerEntry,
    /// Of the layer.
    path: String,
    /// Of all its cells, and which of them is asked for.
    cells: Vec<String>,
    asked: usize,
    options: TraceOptions,
    /// What a step of the traced layer takes, and whether it may be masked.
    features: usize,
    masked: bool,
    /// After the last chunk; none before the first.
    states: Option<Vec<Tensor>>,
    steps: usize,
}

impl Model {
    /// The trace of the cell at `path` for one sequence after the other, each in as many chunks as
    /// one likes. What it takes of memory depends on the chunks, and not on the sequence.
    ///
    /// For this the cell's layer must read forward, and every layer before it must compute each
    /// step from that step and what it remembers of those before, as for
    /// [`Model::session`](Model::session). Layers behind it do not run.
    ///
    /// # Errors
    /// When there is no such cell, or a layer does not allow it: trace whole sequences with
    /// [`Model::trace`] then.
    ///
    /// ```
    /// use ifco_cell::TraceOptions;
    /// use ifco_model::{Generation, Model};
    /// use ndarray::array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 1]}},
    ///     {"class_name": "Rescaling", "config": {"name": "scaled", "scale": 10.0}},
    ///     {"class_name": "SimpleRNN", "config": {
    ///         "name": "sum", "units": 1, "activation": "linear", "use_bias": false,
    ///     }},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let one = || array![[1.0]].into_dyn();
    /// model.set_weights(vec![one(), one()])?; // h' = x + h
    ///
    /// let mut stream = model.trace_stream("sum", &TraceOptions::default())?;
    /// let first = stream.push(array![[1.0], [2.0]].view())?; // (steps, features)
    /// assert_eq!(first.h().as_slice(), Some(&[10.0, 30.0][..]));
    /// let second = stream.push(array![[3.0]].view())?;
    /// assert_eq!(second.h()[[0, 0, 0]], 60.0);
    /// stream.reset(); // another sequence
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trace_stream(
        &self,
        path: &str,
        options: &TraceOptions,
    ) -> Result<TraceStream<'_>, SessionError> {
        let whole = |reason: String| {
            SessionError::Model(NotStreamable::new(reason).help("trace whole sequences"))
        };
        self.cell(path).map_err(|error| whole(error.to_string()))?;
        let mut model = self;
        let mut at = String::new();
        let mut first = None;
        let mut before: Vec<StepGraph> = Vec::new();
        loop {
            let node = model.only_call(&at, path).map_err(&whole)?;
            let entry = &model.layers[node.layer];
            let layer_path = below(&at, &entry.name);
            let refuse = |why: NotStreamable| SessionError::Layer {
                layer: layer_path.clone(),
                class: entry.layer.class_name().into(),
                why,
            };
            let [Input::Tensor(source)] = node.inputs[..] else {
                return Err(refuse(NotStreamable::new("it takes more than one input")));
            };
            if let Some(name) = node.tensors.keys().next() {
                let why = format!("its call takes {name:?} besides its input");
                return Err(refuse(NotStreamable::new(why)));
            }
            let shape = match before.last() {
                None => {
                    let (input, shape, graph) = model.graph_to(source)?;
                    first = Some((input, shape));
                    before.push(graph);
                    &before[0]
                }
                Some(outer) => {
                    let input = outer.output_shape().cloned();
                    let input = input.filter(|input| input.time != Time::Gone);
                    let (Some(input), [fed]) = (input, &model.input_sources[..]) else {
                        return Err(whole(format!("{at:?} takes no steps, or several inputs")));
                    };
                    before.push(StepGraph::new(model, *fed, input, source)?);
                    &before[before.len() - 1]
                }
            }
            .output_shape()
            .cloned();
            let shape = shape.ok_or_else(|| whole("the layer takes nothing".into()))?;
            let class = entry.layer.class_name();
            if let Some(inner) = entry
                .layer
                .as_model()
                .filter(|_| class != "TimeDistributed")
            {
                (model, at) = (inner, layer_path);
                continue;
            }
            if !["LSTM", "GRU", "SimpleRNN", "RNN"].contains(&class) {
                let why = format!("a {class} needs whole sequences");
                return Err(refuse(NotStreamable::new(why)));
            }
            // It says itself whether it reads forward, and steps of this kind.
            let _ = entry
                .layer
                .stream(std::slice::from_ref(&shape), &Call::default())
                .map_err(refuse)?;
            let cells: Vec<String> = entry
                .layer
                .cells()
                .into_iter()
                .map(|(cell, _)| below(&layer_path, &cell))
                .collect();
            let asked = cells.iter().position(|cell| cell == path);
            let (Some(asked), Some((input, input_shape))) = (asked, first) else {
                return Err(whole(format!("there is no cell {path:?} in it")));
            };
            return Ok(TraceStream {
                before,
                input,
                input_shape,
                entry,
                path: layer_path,
                cells,
                asked,
                options: *options,
                features: shape.len(),
                masked: shape.masked,
                states: None,
                steps: 0,
            });
        }
    }

    /// The node of the layer in this model, which is at `at`, that holds the cell at `path`.
    fn only_call(&self, at: &str, path: &str) -> Result<&Node, String> {
        let entry = self.layers.iter().position(|entry| {
            let layer = below(at, &entry.name);
            let cells = entry.layer.cells();
            cells.iter().any(|(cell, _)| below(&layer, cell) == path)
        });
        let entry = entry.ok_or_else(|| format!("there is no cell {path:?}"))?;
        let calls = self.order.iter().copied();
        let calls: Vec<usize> = calls
            .filter(|index| self.nodes[*index].layer == entry)
            .collect();
        match calls[..] {
            [index] => Ok(&self.nodes[index]),
            _ => Err(format!(
                "the model calls {:?} {} times",
                self.layers[entry].name,
                calls.len()
            )),
        }
    }

    /// What computes `output` from one of the model's inputs: which one, what its steps are, how.
    fn graph_to(&self, output: Source) -> Result<(usize, StepShape, StepGraph), SessionError> {
        let (input, shape) = self.one_input(&needed(self, output))?;
        let fed = self.input_sources[input];
        let graph = StepGraph::new(self, fed, shape.clone(), output)?;
        Ok((input, shape, graph))
    }
}

impl TraceStream<'_> {
    /// Which of the model's inputs it takes, counted from 0.
    pub fn input(&self) -> usize {
        self.input
    }

    /// What a step of that input is.
    pub fn input_shape(&self) -> &StepShape {
        &self.input_shape
    }

    /// Traces the next steps `x` `(steps, values)`: a trace of a batch of one, which begins where
    /// the last one ended.
    ///
    /// # Errors
    /// When a step has not as many values as the model takes, an index is none that an Embedding
    /// has, or the layer cannot run.
    pub fn push(&mut self, x: ArrayView2<'_, f32>) -> Result<Trace, ModelError> {
        let (steps, values) = x.dim();
        if values != self.input_shape.len() {
            return Err(ModelError::Inputs(format!(
                "a step has {values} values, expected {}",
                self.input_shape.len()
            )));
        }
        let mut inputs = Array3::zeros((1, steps, self.features));
        let mut mask = Array2::from_elem((1, steps), true);
        let mut values = vec![0.0; values];
        for (t, x) in x.outer_iter().enumerate() {
            values.iter_mut().zip(x).for_each(|(own, x)| *own = *x);
            self.check(&values, self.steps + t)?;
            let mut counts = true;
            let mut out: &[f32] = &values;
            for graph in &mut self.before {
                counts = graph.run(out, counts);
                out = graph.output();
            }
            if let Some(step) = inputs.slice_mut(s![0, t, ..]).as_slice_mut() {
                copy(out, step);
            }
            mask[[0, t]] = counts;
        }
        self.steps += steps;

        let tap = Tap::new(self.cells.clone(), Vec::new());
        let mut call = Call {
            // What it had for its first chunk it has for all.
            mask_given: self.masked,
            tap: Some(tap.below(&self.path)),
            ..Call::default()
        };
        if let Some(states) = self.states.take() {
            call.tensors.insert("initial_state".into(), states);
        }
        let mask = self.masked.then(|| mask.into_dyn().into_shared());
        let inputs = Tensor::new(inputs.into_dyn()).with_mask(mask);
        let called = self.entry.layer.call(&[inputs], &call);
        called.map_err(|source| self.entry.error(source))?;
        let mut passages = tap.passages();
        let states = passages
            .iter()
            .flat_map(|(_, passage)| passage.last_states());
        let states = states.map(|state| Tensor::new(state.clone().into_dyn()));
        self.states = Some(states.collect());
        match self.asked < passages.len() {
            true => Ok(passages.swap_remove(self.asked).1.into_trace(&self.options)),
            false => Err(ModelError::Inputs("the layer did not run".into())),
        }
    }

    fn check(&self, x: &[f32], step: usize) -> Result<(), ModelError> {
        let Some(graph) = self.before.first() else {
            return Ok(());
        };
        graph.check(x).map_err(|(found, expected)| {
            ModelError::Inputs(format!("step {step}: {found}, expected {expected}"))
        })
    }

    /// Begins another sequence.
    pub fn reset(&mut self) {
        self.before.iter_mut().for_each(StepGraph::reset);
        self.states = None;
        self.steps = 0;
    }
}
