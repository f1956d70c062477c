//! A model: layers, the graph between them, and what it predicts.

use ifco_cell::{Cell, GruCell, LstmCell, SimpleRnnCell};
use ndarray::{Array1, ArrayD};
use serde_json::Value;

use crate::activity::Activity;
use crate::graph::{Node, Source};
use crate::group_names::GroupNames;
use crate::{About, Generation, Layer, LayerError, ModelError, Port, Shape, WeightSlot};

/// A graph of layers that can be run.
///
/// Made without weights by [`Model::from_config`]; a file's opener then gives it its weights.
///
/// An LSTM of 8 units and a Dense, its weights all zeros:
///
/// ```
/// use ifco_cell::Gate;
/// use ifco_model::{Generation, Model};
/// use ndarray::{ArrayD, IxDyn};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"name": "tiny", "layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
///     {"class_name": "LSTM", "config": {"name": "lstm", "units": 8}},
///     {"class_name": "Dense", "config": {"name": "head", "units": 1}},
/// ]}});
/// let mut model = Model::from_config(&json, Generation::Keras3)?;
/// let zeros = |shape: &[usize]| ArrayD::zeros(IxDyn(shape));
/// model.set_layer_weights("lstm", vec![zeros(&[3, 32]), zeros(&[8, 32]), zeros(&[32])])?;
/// model.set_layer_weights("head", vec![zeros(&[8, 1]), zeros(&[1])])?;
///
/// assert_eq!(model.name(), "tiny");
/// assert_eq!(model.layer("head")?.parameters, Some(9));
/// assert_eq!(model.cells()[0].0, "lstm");
/// assert_eq!(model.lstm("lstm")?.weights().kernel(Gate::Forget).dim(), (3, 8));
/// assert_eq!(model.predict(&zeros(&[2, 10, 3]))?.shape(), [2, 1]);
/// # Ok::<(), ifco_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Model {
    pub(crate) class: String,
    pub(crate) name: String,
    pub(crate) config: Value,
    pub(crate) generation: Generation,
    pub(crate) layers: Vec<LayerEntry>,
    pub(crate) nodes: Vec<Node>,
    /// The nodes that the outputs need, each after those it takes from.
    pub(crate) order: Vec<usize>,
    pub(crate) input_sources: Vec<Source>,
    pub(crate) output_sources: Vec<Source>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) about: About,
}

/// A layer in its model.
///
/// ```
/// use ifco_model::{Generation, Model};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
///     {"class_name": "LSTM", "config": {"name": "lstm", "units": 8}},
/// ]}});
/// let model = Model::from_config(&json, Generation::Keras3)?;
/// let entry = model.layer("lstm")?;
/// assert_eq!(entry.layer.class_name(), "LSTM");
/// assert_eq!(entry.output_shapes, Ok(vec![vec![None, Some(8)]])); // (batch, units)
/// assert_eq!(entry.inbound, ["x"]);
/// assert_eq!(entry.parameters, None); // it has no weights yet
/// # Ok::<(), ifco_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct LayerEntry {
    /// Its name, unique in the model.
    pub name: String,
    /// The layer itself.
    pub layer: Box<dyn Layer>,
    /// Keras's `layer.trainable`.
    pub trainable: bool,
    /// Shapes of its outputs at its first call; where ifco cannot tell, the reason.
    pub output_shapes: Result<Vec<Shape>, String>,
    /// How many numbers its weights hold; `None` as long as it has none of those it needs.
    pub parameters: Option<usize>,
    /// The layers whose outputs it takes.
    pub inbound: Vec<String>,
    /// What its outputs add to the loss.
    pub(crate) activity: Option<Activity>,
}

impl LayerEntry {
    pub(crate) fn new(name: String, layer: Box<dyn Layer>, trainable: bool) -> Self {
        let parameters = (layer.can_run() && layer.weight_slots().is_empty()).then_some(0);
        Self {
            name,
            layer,
            trainable,
            output_shapes: Err("it is not connected to the model's outputs".into()),
            parameters,
            inbound: Vec::new(),
            activity: None,
        }
    }

    pub(crate) fn with_activity(mut self, activity: Option<Activity>) -> Self {
        self.activity = activity;
        self
    }

    pub(crate) fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), ModelError> {
        let expected = self.layer.weight_slots().len();
        let found = weights.len();
        let parameters = weights.iter().map(ArrayD::len).sum();
        let result = if found == expected {
            self.layer.set_weights(weights)
        } else {
            Err(LayerError::Other(format!(
                "it takes {expected} weights, got {found}"
            )))
        };
        result.map_err(|source| self.error(source))?;
        self.parameters = Some(parameters);
        Ok(())
    }

    pub(crate) fn error(&self, source: LayerError) -> ModelError {
        ModelError::Layer {
            layer: self.name.clone(),
            class: self.layer.class_name().into(),
            source,
        }
    }
}

impl Model {
    /// Makes a model without weights from Keras's JSON: the object with `class_name` and
    /// `config` that `model.to_json()` writes.
    ///
    /// # Errors
    /// When the JSON is no model, a layer's configuration is not one that it can have, or the
    /// graph cannot run. A layer of an unknown class is no error before it is called.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
    ///     {"class_name": "LSTM", "config": {"name": "lstm", "units": 8}},
    /// ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?;
    /// assert_eq!(model.outputs()[0].shape, Some(vec![None, Some(8)]));
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn from_config(config: &Value, generation: Generation) -> Result<Self, ModelError> {
        let mut model = crate::from_config::model_from_json(config, generation)?;
        model.config = config.clone();
        Ok(model)
    }

    /// The model's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its layers, in Keras's order; operations such as `x + y` among them.
    pub fn layers(&self) -> &[LayerEntry] {
        &self.layers
    }

    /// The layer of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn layer(&self, name: &str) -> Result<&LayerEntry, ModelError> {
        let known = || self.layers.iter().map(|entry| entry.name.clone()).collect();
        self.layers
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| no_such("layer", name, known()))
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
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
    ///     {"class_name": "LSTM", "config": {"name": "encoder", "units": 8}},
    /// ]}});
    /// let slots = Model::from_config(&json, Generation::Keras3)?.weight_slots();
    /// // Keras 3 names groups after classes, not after the layers' own names.
    /// assert_eq!((slots[2].group.as_str(), slots[2].name.as_str()), ("layers/lstm/cell", "bias"));
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn weight_slots(&self) -> Vec<WeightSlot> {
        let of_layer = |(group, entry): (String, &LayerEntry)| {
            let trainable = entry.trainable;
            let slots = entry.layer.weight_slots().into_iter();
            slots.map(move |slot| WeightSlot {
                trainable: slot.trainable && trainable,
                ..slot.below(&group)
            })
        };
        self.layer_groups().into_iter().flat_map(of_layer).collect()
    }

    /// The layers that Keras counts among `model.layers`, each with its group in a Keras 3 file.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
    ///     {"class_name": "LSTM", "config": {"name": "encoder", "units": 8}},
    /// ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?;
    /// let groups = model.layer_groups();
    /// assert_eq!(groups.len(), 1); // a Sequential's InputLayer does not count
    /// assert_eq!((groups[0].0.as_str(), groups[0].1.name.as_str()), ("layers/lstm", "encoder"));
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn layer_groups(&self) -> Vec<(String, &LayerEntry)> {
        let mut names = GroupNames::default();
        let counts = |entry: &&LayerEntry| {
            let is_unseen = self.class == "Sequential" && entry.layer.class_name() == "InputLayer";
            !entry.layer.is_operation() && !is_unseen
        };
        self.layers
            .iter()
            .filter(counts)
            .map(|entry| {
                (
                    format!("layers/{}", names.next(entry.layer.class_name())),
                    entry,
                )
            })
            .collect()
    }

    /// Takes an array for each of [`Model::weight_slots`], in that order.
    ///
    /// # Errors
    /// When an array's shape is not its layer's, or their number is wrong.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::Array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
    ///     {"class_name": "SimpleRNN", "config": {"name": "rnn", "units": 8}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let (kernel, recurrent_kernel) = (Array::zeros((3, 8)), Array::zeros((8, 8)));
    /// let bias = Array::zeros(8);
    /// model.set_weights(vec![kernel.into_dyn(), recurrent_kernel.into_dyn(), bias.into_dyn()])?;
    /// assert_eq!(model.layer("rnn")?.parameters, Some(24 + 64 + 8));
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), ModelError> {
        let expected: usize = self
            .layers
            .iter()
            .map(|e| e.layer.weight_slots().len())
            .sum();
        if weights.len() != expected {
            let found = weights.len();
            let why = format!("the model takes {expected} weights, got {found}");
            return Err(ModelError::Inputs(why));
        }
        let mut weights = weights.into_iter();
        for entry in &mut self.layers {
            let count = entry.layer.weight_slots().len();
            if count > 0 {
                entry.set_weights(weights.by_ref().take(count).collect())?;
            }
        }
        Ok(())
    }

    /// The arrays that it was given, in the order of [`Model::weight_slots`]; `None` as long as a
    /// layer has none of those it needs.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 1]}},
    ///     {"class_name": "Dense", "config": {"name": "double", "units": 1, "use_bias": false}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// assert_eq!(model.weights(), None);
    /// model.set_weights(vec![array![[2.0]].into_dyn()])?;
    /// assert_eq!(model.weights(), Some(vec![array![[2.0]].into_dyn()]));
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        let weights: Option<Vec<Vec<_>>> = self.layers.iter().map(|e| e.layer.weights()).collect();
        Some(weights?.into_iter().flatten().collect())
    }

    /// Keras's JSON that it was made of: what [`Model::from_config`] was given, with all that
    /// ifco itself has no use for, such as initializers, `build_config` and `compile_config`. For
    /// a model inside of another, `null`: its configuration is part of the other's.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 1]}},
    /// ]}, "compile_config": {"loss": "mse"}});
    /// let model = Model::from_config(&json, Generation::Keras3)?;
    /// assert_eq!(model.config()["compile_config"]["loss"], "mse");
    /// assert_eq!(model.generation(), Generation::Keras3);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The Keras whose words and semantics its configuration has.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes the arrays of one layer, in the order of its own slots.
    ///
    /// # Errors
    /// When there is no such layer, or an array does not fit it.
    pub fn set_layer_weights(
        &mut self,
        layer: &str,
        weights: Vec<ArrayD<f32>>,
    ) -> Result<(), ModelError> {
        self.layer_mut(layer)?.set_weights(weights)
    }

    /// Takes the states at which a recurrent layer's sequences and streams begin, instead of
    /// zeros: an array of `units` values for each state, h and c of an LSTM.
    ///
    /// # Errors
    /// When there is no such layer, or they are not its states.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, 1]}},
    ///     {"class_name": "SimpleRNN", "config": {
    ///         "name": "sum", "units": 1, "activation": "linear", "use_bias": false,
    ///     }},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let one = || array![[1.0]].into_dyn();
    /// model.set_weights(vec![one(), one()])?; // h' = x + h
    /// model.set_layer_initial_states("sum", vec![array![10.0]])?;
    ///
    /// assert_eq!(model.predict(&array![[[1.0], [2.0]]].into_dyn())?[[0, 0]], 13.0);
    /// assert_eq!(model.session()?.step(&[1.0]), [11.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_layer_initial_states(
        &mut self,
        layer: &str,
        states: Vec<Array1<f32>>,
    ) -> Result<(), ModelError> {
        let entry = self.layer_mut(layer)?;
        let result = entry.layer.set_initial_states(states);
        result.map_err(|source| entry.error(source))
    }

    /// What the file told besides the layers. Empty for Keras's files.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Notes what a file tells besides the layers.
    pub fn set_about(&mut self, about: About) {
        self.about = about;
    }

    fn layer_mut(&mut self, name: &str) -> Result<&mut LayerEntry, ModelError> {
        match self.layers.iter().position(|entry| entry.name == name) {
            Some(index) => Ok(&mut self.layers[index]),
            None => {
                let known = self.layers.iter().map(|entry| entry.name.clone());
                Err(no_such("layer", name, known.collect()))
            }
        }
    }

    /// Every recurrent cell by its path: `"lstm"`, `"bidirectional/forward"`, `"rnn/0"`,
    /// `"encoder/lstm"` inside a nested model.
    pub fn cells(&self) -> Vec<(String, &Cell)> {
        let mut cells = Vec::new();
        for entry in &self.layers {
            for (below, cell) in entry.layer.cells() {
                let path = match below.as_str() {
                    "" => entry.name.clone(),
                    below => format!("{}/{below}", entry.name),
                };
                cells.push((path, cell));
            }
        }
        cells
    }

    /// The recurrent cell at this path.
    ///
    /// # Errors
    /// When there is none.
    pub fn cell(&self, path: &str) -> Result<&Cell, ModelError> {
        self.find_cell("recurrent layer", path, Some)
    }

    /// The LSTM at this path: `model.lstm("lstm")?.weights().kernel(Gate::Forget)`.
    ///
    /// # Errors
    /// When there is none.
    pub fn lstm(&self, path: &str) -> Result<&LstmCell, ModelError> {
        self.find_cell("LSTM", path, |cell| match cell {
            Cell::Lstm(lstm) => Some(lstm),
            _ => None,
        })
    }

    /// The GRU at this path.
    ///
    /// # Errors
    /// When there is none.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::Array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
    ///     {"class_name": "GRU", "config": {"name": "gru", "units": 8}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let (kernel, recurrent_kernel) = (Array::zeros((3, 24)), Array::zeros((8, 24)));
    /// let bias = Array::zeros((2, 24)); // reset_after=True
    /// model.set_weights(vec![kernel.into_dyn(), recurrent_kernel.into_dyn(), bias.into_dyn()])?;
    /// assert_eq!(model.gru("gru")?.weights().units(), 8);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn gru(&self, path: &str) -> Result<&GruCell, ModelError> {
        self.find_cell("GRU", path, |cell| match cell {
            Cell::Gru(gru) => Some(gru),
            _ => None,
        })
    }

    /// The SimpleRNN at this path.
    ///
    /// # Errors
    /// When there is none.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::Array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
    ///     {"class_name": "SimpleRNN", "config": {"name": "rnn", "units": 8}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let (kernel, recurrent_kernel) = (Array::zeros((3, 8)), Array::zeros((8, 8)));
    /// let bias = Array::zeros(8);
    /// model.set_weights(vec![kernel.into_dyn(), recurrent_kernel.into_dyn(), bias.into_dyn()])?;
    /// assert_eq!(model.simple_rnn("rnn")?.weights().units(), 8);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn simple_rnn(&self, path: &str) -> Result<&SimpleRnnCell, ModelError> {
        self.find_cell("SimpleRNN", path, |cell| match cell {
            Cell::SimpleRnn(rnn) => Some(rnn),
            _ => None,
        })
    }

    fn find_cell<'a, T>(
        &'a self,
        what: &str,
        path: &str,
        pick: impl Fn(&'a Cell) -> Option<T>,
    ) -> Result<T, ModelError> {
        let mut known = Vec::new();
        for (name, cell) in self.cells() {
            if let Some(picked) = pick(cell) {
                if name == path {
                    return Ok(picked);
                }
                known.push(name);
            }
        }
        Err(no_such(what, path, known))
    }

    /// Forgets what stateful layers remember of earlier batches.
    ///
    /// ```
    /// use ifco_model::{Generation, Model};
    /// use ndarray::array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [1, 2, 1]}},
    ///     {"class_name": "SimpleRNN", "config": {
    ///         "name": "sum", "units": 1, "activation": "linear", "use_bias": false, "stateful": true,
    ///     }},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// let one = || array![[1.0]].into_dyn();
    /// model.set_weights(vec![one(), one()])?; // h' = x + h
    ///
    /// let x = array![[[1.0], [1.0]]].into_dyn();
    /// assert_eq!(model.predict(&x)?[[0, 0]], 2.0);
    /// assert_eq!(model.predict(&x)?[[0, 0]], 4.0); // it remembers
    /// model.reset_states();
    /// assert_eq!(model.predict(&x)?[[0, 0]], 2.0);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn reset_states(&self) {
        self.layers
            .iter()
            .for_each(|entry| entry.layer.reset_states());
    }

    pub(crate) fn input_names(&self) -> Vec<String> {
        self.inputs.iter().map(|port| port.name.clone()).collect()
    }
}

fn no_such(what: &str, name: &str, known: Vec<String>) -> ModelError {
    let known = if known.is_empty() {
        "none".into()
    } else {
        known.join(", ")
    };
    ModelError::NoSuchLayer {
        what: what.into(),
        name: name.into(),
        known,
    }
}
