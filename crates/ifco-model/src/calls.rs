//! The model's graph as others may read it: what is called, one call after the other.

use serde_json::Value;

use crate::graph::{Input, Source};
use crate::{LayerEntry, Model};

/// One call of a layer.
///
/// ```
/// use ifco_model::{Argument, Generation, Model};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
///     {"class_name": "LSTM", "config": {"name": "lstm", "units": 8}},
/// ]}});
/// let model = Model::from_config(&json, Generation::Keras3)?;
/// let (calls, outputs) = model.calls();
/// assert_eq!(calls[0].input, Some(0)); // the model's first input
/// assert_eq!(calls[1].layer.name, "lstm");
/// assert_eq!(calls[1].inputs, [Argument::Tensor { call: 0, output: 0 }]);
/// assert_eq!(outputs, [(1, 0)]); // call 1's first output
/// # Ok::<(), ifco_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct ModelCall<'a> {
    /// The layer.
    pub layer: &'a LayerEntry,
    /// Which of the model's inputs this is, if it is one: then nothing is computed.
    pub input: Option<usize>,
    /// What it takes.
    pub inputs: Vec<Argument>,
    /// Positional arguments that are neither tensors nor numbers.
    pub positional: &'a [Value],
    /// Keyword arguments that are tensors: `initial_state`.
    pub tensors: Vec<(&'a str, Vec<Argument>)>,
}

/// What a call takes.
///
/// See [`ModelCall`] for an example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    /// An output of an earlier call.
    Tensor {
        /// The index of the call.
        call: usize,
        /// Which of its outputs.
        output: usize,
    },
    /// A number, as in `1 - x`.
    Number(f32),
}

impl Model {
    /// The calls that the outputs need and all inputs, each after those it takes from; and which
    /// output of which call each of the model's outputs is.
    pub fn calls(&self) -> (Vec<ModelCall<'_>>, Vec<(usize, usize)>) {
        let inputs = self.input_sources.iter().map(|source| source.node);
        let unused = inputs.filter(|node| !self.order.contains(node));
        let order: Vec<usize> = unused.chain(self.order.iter().copied()).collect();
        let mut place = vec![0; self.nodes.len()];
        for (index, node) in order.iter().enumerate() {
            place[*node] = index;
        }
        let tensor = |source: &Source| Argument::Tensor {
            call: place[source.node],
            output: source.tensor,
        };
        let calls = order.iter().map(|&index| {
            let node = &self.nodes[index];
            let inputs = node.inputs.iter().map(|input| match input {
                Input::Tensor(source) => tensor(source),
                Input::Number(number) => Argument::Number(*number),
            });
            let tensors = node.tensors.iter();
            let tensors =
                tensors.map(|(name, all)| (name.as_str(), all.iter().map(tensor).collect()));
            ModelCall {
                layer: &self.layers[node.layer],
                input: self
                    .input_sources
                    .iter()
                    .position(|source| source.node == index),
                inputs: inputs.collect(),
                positional: &node.positional,
                tensors: tensors.collect(),
            }
        });
        let outputs = self.output_sources.iter();
        let outputs = outputs.map(|source| (place[source.node], source.tensor));
        (calls.collect(), outputs.collect())
    }
}
