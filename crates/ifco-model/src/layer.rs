//! What every layer is.

use std::collections::BTreeMap;
use std::fmt::Debug;

use ifco_cell::{Cell, Precision};
use ndarray::{Array1, ArrayD};
use serde_json::Value;

use crate::WeightUpdate;
use crate::{
    Entries, Forward, LayerError, NotStreamable, Shape, StepShape, Streamed, Tap, Tensor, Training,
};

/// One array that a layer takes, and where files keep it.
///
/// ```
/// use ifco_model::{Config, Generation, layers};
///
/// let json = serde_json::json!({"units": 8});
/// let config = Config::new("lstm", Generation::Keras3, &json)?;
/// let slots = layers::build("LSTM", &config)?.weight_slots();
/// let names: Vec<_> = slots.iter().map(|slot| slot.name.as_str()).collect();
/// assert_eq!(names, ["kernel", "recurrent_kernel", "bias"]);
/// assert_eq!((slots[0].group.as_str(), slots[0].index), ("cell", 0)); // cell/vars/0
/// # Ok::<(), ifco_model::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSlot {
    /// The group below the layer's own in a Keras 3 file: `""`, `"cell"`, `"forward_layer/cell"`.
    pub group: String,
    /// Its number there: `vars/0`, `vars/1`, …
    pub index: usize,
    /// Keras's name: `kernel`.
    pub name: String,
    /// Legacy files list all trainable weights of a layer before the others.
    pub trainable: bool,
}

impl WeightSlot {
    /// Slots for variables of one group, numbered from 0, all trainable.
    ///
    /// ```
    /// use ifco_model::WeightSlot;
    /// let slots = WeightSlot::list("cell", &["kernel", "recurrent_kernel"]);
    /// assert_eq!((slots[1].index, slots[1].name.as_str()), (1, "recurrent_kernel"));
    /// ```
    pub fn list(group: &str, names: &[&str]) -> Vec<WeightSlot> {
        names
            .iter()
            .enumerate()
            .map(|(index, name)| WeightSlot {
                group: group.into(),
                index,
                name: (*name).into(),
                trainable: true,
            })
            .collect()
    }

    /// The same slot, with its group below `group`.
    ///
    /// ```
    /// use ifco_model::WeightSlot;
    /// let slot = WeightSlot::list("cell", &["kernel"]).remove(0).below("layers/lstm");
    /// assert_eq!(slot.group, "layers/lstm/cell");
    /// ```
    pub fn below(mut self, group: &str) -> WeightSlot {
        self.group = match self.group.as_str() {
            "" => group.into(),
            inner => format!("{group}/{inner}"),
        };
        self
    }
}

/// What a call of a layer in the graph passes besides its inputs: Keras's keyword arguments.
///
/// ```
/// use ifco_model::Call;
///
/// let mut call = Call::default();
/// assert!(!call.flag("use_causal_mask"));
/// call.values.insert("use_causal_mask".into(), true.into());
/// assert!(call.flag("use_causal_mask"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Keyword arguments that are tensors: `initial_state`, `query`, `value`, `key`, …
    pub tensors: BTreeMap<String, Vec<Tensor>>,
    /// Keyword arguments that are plain values: `use_causal_mask`.
    pub values: BTreeMap<String, Value>,
    /// Positional arguments of an operation that are neither tensors nor numbers: the key of
    /// `x[:, -1]`.
    pub positional: Vec<Value>,
    /// Whether the call itself has a mask, besides what its inputs carry.
    pub mask_given: bool,
    /// Where the recurrent layers inside leave their traces, in a run that keeps some. A layer
    /// that calls others passes it on.
    pub tap: Option<Tap>,
    /// Which of the inputs are the model's as they are, in a run for
    /// [`Model::attribution`](crate::Model::attribution). A layer that calls others passes it on.
    pub entries: Option<Entries>,
}

impl Call {
    /// A flag among the plain values; absent and `null` are false.
    pub fn flag(&self, name: &str) -> bool {
        self.values
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// Moves the keyword argument `mask`, which Keras 3 writes into the graph, to the inputs:
    /// it wins over the mask that an input carries.
    pub(crate) fn apply_mask(&mut self, inputs: &mut [Tensor]) {
        let masks = self.tensors.remove("mask").unwrap_or_default();
        self.mask_given = !masks.is_empty();
        for (input, mask) in inputs.iter_mut().zip(masks) {
            input.mask = Some(mask.data.map(|value| *value != 0.0).into_shared());
        }
    }
}

/// A layer of a model: its options and weights, and what Keras computes with them.
///
/// A layer's options, weights' names and `call` stand together in one file below
/// [`layers`](crate::layers).
///
/// ```
/// use ifco_model::{Call, Config, Generation, Layer, Tensor, layers};
/// use ndarray::array;
///
/// let json = serde_json::json!({"units": 1});
/// let config = Config::new("dense", Generation::Keras3, &json)?;
/// let mut dense = layers::build("Dense", &config)?;
/// dense.build(&[vec![None, Some(2)]]); // (batch, features)
/// dense.set_weights(vec![array![[1.0], [10.0]].into_dyn(), array![0.5].into_dyn()])?;
///
/// let x = Tensor::new(array![[2.0, 3.0]].into_dyn());
/// let outputs = dense.call(&[x], &Call::default())?;
/// assert_eq!(outputs[0].view(), array![[32.5]].into_dyn());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Layer: Debug + Send + Sync {
    /// Keras's class name: `"LSTM"`.
    fn class_name(&self) -> &str;

    /// The arrays it takes, in the order in which Keras creates them.
    fn weight_slots(&self) -> Vec<WeightSlot> {
        Vec::new()
    }

    /// Takes an array for each of its slots.
    ///
    /// # Errors
    /// When an array's shape is not the layer's.
    fn set_weights(&mut self, weights: Vec<ArrayD<f32>>) -> Result<(), LayerError> {
        match weights.len() {
            0 => Ok(()),
            n => Err(LayerError::Other(format!(
                "a {} has no weights, got {n}",
                self.class_name()
            ))),
        }
    }

    /// The arrays that it was given, in the order of its slots and in their shapes, for a file or
    /// another layer to take; `None` as long as it has none of those it needs.
    ///
    /// ```
    /// use ifco_model::{Config, Generation, Layer, layers};
    /// use ndarray::array;
    ///
    /// let json = serde_json::json!({"units": 1, "use_bias": false});
    /// let config = Config::new("dense", Generation::Keras3, &json)?;
    /// let mut dense = layers::build("Dense", &config)?;
    /// assert_eq!(dense.weights(), None);
    /// let kernel = array![[1.0], [10.0]].into_dyn(); // (features, units)
    /// dense.set_weights(vec![kernel.clone()])?;
    /// assert_eq!(dense.weights(), Some(vec![kernel]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn weights(&self) -> Option<Vec<ArrayD<f32>>> {
        self.weight_slots().is_empty().then(Vec::new)
    }

    /// Learns the shapes of its inputs, batch first. Few layers care: those whose arithmetic
    /// depends on whether Keras knew the batch size.
    fn build(&mut self, _inputs: &[Shape]) {}

    /// The shapes of the outputs for these inputs, batch first; of `call`, only what is no
    /// tensor is known.
    ///
    /// # Errors
    /// When the layer cannot take such inputs.
    fn output_shapes(&self, inputs: &[Shape], call: &Call) -> Result<Vec<Shape>, LayerError>;

    /// What the layer computes at inference. Each output carries the mask that Keras would
    /// give it; a layer through which masks do not pass returns outputs without one.
    ///
    /// # Errors
    /// When the inputs do not fit.
    fn call(&self, inputs: &[Tensor], call: &Call) -> Result<Vec<Tensor>, LayerError>;

    /// The same with the way back: what the layer computes while a model is trained, where that
    /// is something else, such as dropout.
    ///
    /// The default computes what [`call`](Self::call) does, and the way back is an error for
    /// whoever takes it.
    ///
    /// # Errors
    /// When the inputs do not fit.
    fn call_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        call: &Call,
        _training: &mut Training,
    ) -> Result<Forward<'a>, LayerError> {
        Ok(Forward::refused(
            self.call(inputs, call)?,
            self.class_name(),
        ))
    }

    /// Lets `update` change the weights, one after the other in the order of the slots: what an
    /// optimizer does after each step. Whatever the layer keeps of them in another form it makes
    /// anew, once.
    ///
    /// # Errors
    /// When the layer has no weights yet; else the first error of `update`.
    fn update_weights(&mut self, update: &mut WeightUpdate<'_>) -> Result<(), LayerError> {
        let mut weights = self.weights().ok_or(LayerError::NoWeights)?;
        for (index, weight) in weights.iter_mut().enumerate() {
            update(index, weight.view_mut())?;
        }
        self.set_weights(weights)
    }

    /// What the layer does with a stream: its part of a [`Session`](crate::Session), where each
    /// input is one step of what `inputs` says. Several inputs come one after the other in one
    /// slice. Of `call`, only what is no tensor is known.
    ///
    /// # Errors
    /// When it needs more than the step itself and what it remembers of those before: the default.
    ///
    /// ```
    /// use ifco_model::{Call, Config, Generation, Layer, StepShape, Time, layers};
    ///
    /// let json = serde_json::json!({"scale": 2.0});
    /// let config = Config::new("double", Generation::Keras3, &json)?;
    /// let double = layers::build("Rescaling", &config)?;
    ///
    /// let input = StepShape { sizes: vec![1], time: Time::Steps(None), masked: false };
    /// let mut streamed = double.stream(&[input], &Call::default())?;
    /// let mut out = [0.0];
    /// streamed.step.step(&[21.0], true, &mut out);
    /// assert_eq!(out, [42.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn stream(&self, _inputs: &[StepShape], _call: &Call) -> Result<Streamed, NotStreamable> {
        Err(if self.can_run() {
            NotStreamable::new("it needs more of a sequence than the steps so far, one by one")
                .help("run whole sequences with predict")
        } else {
            LayerError::Unsupported {
                class: self.class_name().into(),
            }
            .into()
        })
    }

    /// The recurrent cells inside, by the path below the layer: `""` for an LSTM, `"forward"`
    /// and `"backward"` for a Bidirectional, `"0"`, `"1"` for stacked cells. Empty as long as
    /// the layer has no weights.
    fn cells(&self) -> Vec<(String, &Cell)> {
        Vec::new()
    }

    /// The axis of its first input along which the rows of the batch lie: the first one, unless
    /// it is an operator of ONNX that reads `(time, batch, features)`.
    fn batch_axis(&self) -> usize {
        0
    }

    /// Keeps the weights of the recurrent layers inside so while they run, those that it has and
    /// those that it will be given.
    fn set_precision(&mut self, _precision: Precision) {}

    /// Takes the states at which each sequence and each stream begins, instead of zeros: an array
    /// of as many values as the cell has units for each state, h and c of an LSTM. A call that is
    /// given an `initial_state` begins there all the same.
    ///
    /// # Errors
    /// When they are not this layer's, or it has none: the default.
    fn set_initial_states(&mut self, states: Vec<Array1<f32>>) -> Result<(), LayerError> {
        Err(LayerError::Other(format!(
            "a {} takes no initial states, got {}",
            self.class_name(),
            states.len()
        )))
    }

    /// Where sequences begin, if [`set_initial_states`](Self::set_initial_states) has told.
    fn initial_states(&self) -> Option<&[Array1<f32>]> {
        None
    }

    /// Whether ifco can run it: false for a class that it does not know.
    fn can_run(&self) -> bool {
        true
    }

    /// Whether it is one of Keras 3's operations, such as `x + y`, which are nodes of the
    /// graph but not layers.
    fn is_operation(&self) -> bool {
        false
    }

    /// Whether a call takes the masks off its inputs, so that layers which run later do not see
    /// them: what Keras 3's MultiHeadAttention does.
    fn takes_masks_away(&self) -> bool {
        false
    }

    /// Whether an input of the model which this input is begins to be numbers behind the layer
    /// only: tokens that an Embedding looks up, and what a Masking reads, whose zeros would mask it.
    /// Such a layer heeds [`Call::entries`] in
    /// [`call_for_training`](Self::call_for_training).
    fn enters(&self, _input: usize) -> bool {
        false
    }

    /// Whether it keeps states between batches.
    fn is_stateful(&self) -> bool {
        false
    }

    /// Forgets the states that a stateful layer keeps between batches.
    fn reset_states(&self) {}

    /// The network inside, if this layer is a model itself.
    fn as_model(&self) -> Option<&crate::Model> {
        None
    }

    /// The node of an ONNX graph that this layer is, if it is one. A recurrent one's weights are
    /// not among its operands: they are the layer's own, in Keras's layout.
    fn as_node(&self) -> Option<&crate::onnx::Node> {
        None
    }

    /// The plain operator of an ONNX graph that this layer is, if it is one.
    fn as_operator(&self) -> Option<&crate::onnx::Operator> {
        None
    }
}
