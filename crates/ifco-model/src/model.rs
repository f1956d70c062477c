//! The graph of layers.

use ifco_cell::{Cell, LstmCell};
use ndarray::ArrayD;
use serde_json::Value;

use crate::{Generation, Layer, ModelError, Shape, WeightSlot};

/// A graph of layers that can be run.
#[derive(Debug)]
pub struct Model {
    name: String,
    layers: Vec<LayerEntry>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// A layer in its model.
#[derive(Debug)]
pub struct LayerEntry {
    /// Its name, unique in the model.
    pub name: String,
    /// The layer itself.
    pub layer: Box<dyn Layer>,
    /// Shapes of its outputs at its first call; `None` where ifco cannot tell, with the reason.
    pub output_shapes: Result<Vec<Shape>, String>,
    /// How many numbers its weights hold; `None` as long as it has no weights.
    pub parameters: Option<usize>,
    /// The layers whose outputs it takes.
    pub inbound: Vec<String>,
}

/// An input or an output of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// The layer's name, which Keras also uses as the key of a dictionary of inputs.
    pub name: String,
    /// Its shape, batch first; `None` where it cannot be told.
    pub shape: Option<Shape>,
}

impl Model {
    /// Makes a model without weights from Keras's JSON: the object with `class_name` and
    /// `config` that `model.to_json()` writes.
    pub fn from_config(_config: &Value, _generation: Generation) -> Result<Self, ModelError> {
        todo!()
    }

    /// The model's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its layers, in Keras's order.
    pub fn layers(&self) -> &[LayerEntry] {
        &self.layers
    }

    /// Its inputs, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// Its outputs, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Every array that the model takes; `group` is the full path in a Keras 3 file:
    /// `layers/bidirectional/forward_layer/cell`.
    pub fn weight_slots(&self) -> Vec<WeightSlot> {
        todo!()
    }

    /// Takes an array for each of [`Model::weight_slots`].
    pub fn set_weights(&mut self, _weights: Vec<ArrayD<f32>>) -> Result<(), ModelError> {
        todo!()
    }

    /// Takes the arrays of one layer, in the order of its own slots.
    pub fn set_layer_weights(
        &mut self,
        _layer: &str,
        _weights: Vec<ArrayD<f32>>,
    ) -> Result<(), ModelError> {
        todo!()
    }

    /// Every recurrent cell by its path: `"lstm"`, `"bidirectional/forward"`, `"rnn/0"`,
    /// `"encoder/lstm"` inside a nested model.
    pub fn cells(&self) -> Vec<(String, &Cell)> {
        todo!()
    }

    /// The recurrent cell at this path.
    pub fn cell(&self, _path: &str) -> Result<&Cell, ModelError> {
        todo!()
    }

    /// The LSTM at this path.
    pub fn lstm(&self, _path: &str) -> Result<&LstmCell, ModelError> {
        todo!()
    }

    /// Runs the model with one input and one output, in batches of 32 as Keras does.
    pub fn predict(&self, _input: &ArrayD<f32>) -> Result<ArrayD<f32>, ModelError> {
        todo!()
    }

    /// Runs the model on one array per input, in order, `batch_size` rows at a time; calls
    /// `progress` with the number of rows done. Returns an array per output.
    pub fn predict_all(
        &self,
        _inputs: &[ArrayD<f32>],
        _batch_size: usize,
        _progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<ArrayD<f32>>, ModelError> {
        todo!()
    }

    /// Forgets what stateful layers remember.
    pub fn reset_states(&self) {
        todo!()
    }
}
