//! The way back through a model's graph, node after node.

use std::ops::Range;

use ndarray::ArrayViewMutD;

use crate::WeightUpdate;
use crate::attribution::Entries;
use crate::graph::{Input, Source};
use crate::training::add;
use crate::{
    Array, Backward, Call, Gradient, LayerEntry, LayerError, Model, ModelError, MovingAverage, Tap,
    Tensor, Training,
};

/// What a model's run leaves behind for the way back: see [`Model::forward_for_training`].
pub struct ModelTape<'a> {
    model: &'a Model,
    /// The calls that something trained or asked for depends on, in the order in which they ran.
    calls: Vec<TapedCall<'a>>,
    /// Which of the nodes those are, the model's inputs among them.
    wanted: Vec<bool>,
    outputs: Vec<Vec<usize>>,
    moving: Vec<MovingAverage>,
    penalty: f32,
    inputs_wanted: bool,
}

/// One call on the tape.
struct TapedCall<'a> {
    node: usize,
    outputs: usize,
    /// Whether the gradients of its weights are asked for.
    weights: bool,
    /// Which of its inputs are entered here: see [`Entries`].
    entered: Vec<bool>,
    /// Whether something inside adds to the loss, so that there is a way back from here on.
    penalized: bool,
    backward: Backward<'a>,
}

/// The gradients of a model's inputs and weights.
///
/// See [`Model::forward_for_training`] for an example.
#[derive(Debug, Clone, Default)]
pub struct ModelGradients {
    /// Of each input; `None` where they were not asked for, or nothing depends on it.
    pub inputs: Vec<Option<Array>>,
    /// Of each weight, in the order of [`Model::weight_slots`]; `None` for those that are not
    /// trained, and where nothing depends on it.
    pub weights: Vec<Option<Gradient>>,
}

impl Model {
    /// Runs the model once, all rows as one batch, and keeps what the way back needs. The outputs
    /// carry the masks that Keras would hand to the loss.
    ///
    /// # Errors
    /// When the inputs do not fit, or a layer cannot be run.
    ///
    /// ```
    /// use ifco_model::{Generation, Model, Tensor, Training};
    /// use ndarray::array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 1]}},
    ///     {"class_name": "Dense", "config": {"name": "line", "units": 1}},
    /// ]}});
    /// let mut model = Model::from_config(&json, Generation::Keras3)?;
    /// model.set_weights(vec![array![[2.0]].into_dyn(), array![0.0].into_dyn()])?;
    ///
    /// let (x, y) = (array![[1.0_f32], [2.0]], array![[3.0_f32], [5.0]]); // y = 2x + 1
    /// let x = Tensor::new(x.into_dyn());
    /// for step in 0..500 {
    ///     let (outputs, tape) = model.forward_for_training(&[x.clone()], &mut Training::new(step))?;
    ///     let error = &outputs[0].data - &y; // the gradient of Σ(ŷ − y)²/2
    ///     let gradients = tape.backward(vec![Some(error.into())])?;
    ///     model.update_weights(|weight, mut values| {
    ///         if let Some(gradient) = &gradients.weights[weight] {
    ///             values.scaled_add(-0.2, &gradient.clone().into_dense());
    ///         }
    ///     })?;
    /// }
    /// let weights = model.weights().expect("they are set");
    /// assert!((weights[0][[0, 0]] - 2.0).abs() < 1e-4 && (weights[1][[0]] - 1.0).abs() < 1e-4);
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn forward_for_training(
        &self,
        inputs: &[Tensor],
        training: &mut Training,
    ) -> Result<(Vec<Tensor>, ModelTape<'_>), ModelError> {
        self.run_for_training(inputs, None, training)
    }

    /// The gradients of what `loss` tells to be those of the outputs, in one go.
    ///
    /// # Errors
    /// When the inputs do not fit, or a layer cannot be run or trained.
    ///
    /// ```
    /// use ifco_model::{Generation, Model, Tensor, Training};
    /// use ndarray::array;
    ///
    /// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
    ///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 2]}},
    ///     {"class_name": "Activation", "config": {"name": "relu", "activation": "relu"}},
    /// ]}});
    /// let model = Model::from_config(&json, Generation::Keras3)?;
    /// let x = Tensor::new(array![[3.0, -3.0]].into_dyn());
    /// let (outputs, gradients) = model.gradients(&[x], &mut Training::inference(), |outputs| {
    ///     outputs.iter().map(|output| Some(output.data.mapv(|_| 1.0).into_shared())).collect()
    /// })?;
    /// assert_eq!(outputs[0].view(), array![[3.0, 0.0]].into_dyn());
    /// let of_x = gradients.inputs[0].as_ref().expect("asked for");
    /// assert_eq!(of_x.view(), array![[1.0, 0.0]].into_dyn());
    /// # Ok::<(), ifco_model::ModelError>(())
    /// ```
    pub fn gradients(
        &self,
        inputs: &[Tensor],
        training: &mut Training,
        loss: impl FnOnce(&[Tensor]) -> Vec<Option<Array>>,
    ) -> Result<(Vec<Tensor>, ModelGradients), ModelError> {
        let (outputs, tape) = self.forward_for_training(inputs, training)?;
        let gradients = tape.backward(loss(&outputs))?;
        Ok((outputs, gradients))
    }

    /// Lets `update` change the weights of the layers that are not frozen, each with its number in
    /// the order of [`Model::weight_slots`]; what the layers keep of them in another form is made
    /// anew once. Weights that only moving averages change are among them: their slots are not
    /// `trainable`.
    ///
    /// # Errors
    /// When a layer has no weights yet.
    pub fn update_weights(
        &mut self,
        mut update: impl FnMut(usize, ArrayViewMutD<'_, f32>),
    ) -> Result<(), ModelError> {
        self.update_some(|entry, _| entry.trainable, &mut |weight, values| {
            update(weight, values);
            Ok(())
        })
    }

    /// Moves the averages that [`ModelTape::moving`] told.
    ///
    /// # Errors
    /// When they are not this model's.
    pub fn update_moving_averages(&mut self, moving: &[MovingAverage]) -> Result<(), ModelError> {
        let concerned = |weights: Range<usize>| {
            moving
                .iter()
                .any(|average| weights.contains(&average.weight))
        };
        self.update_some(
            |_, weights| concerned(weights),
            &mut |weight, mut values| {
                for average in moving.iter().filter(|average| average.weight == weight) {
                    if average.value.len() != values.len() {
                        return Err(LayerError::Other(format!(
                            "its weight {weight} has {} values, and {} were to be averaged",
                            values.len(),
                            average.value.len()
                        )));
                    }
                    let momentum = average.momentum;
                    for (value, new) in values.iter_mut().zip(&average.value) {
                        *value = *value * momentum + new * (1.0 - momentum);
                    }
                }
                Ok(())
            },
        )
    }

    pub(crate) fn update_each(&mut self, update: &mut WeightUpdate<'_>) -> Result<(), ModelError> {
        self.update_some(|_, _| true, update)
    }

    /// The weights of the layers that `concerned` names, which is told the numbers of their
    /// weights.
    fn update_some(
        &mut self,
        concerned: impl Fn(&LayerEntry, Range<usize>) -> bool,
        update: &mut WeightUpdate<'_>,
    ) -> Result<(), ModelError> {
        let mut first = 0;
        for entry in &mut self.layers {
            let count = entry.layer.weight_slots().len();
            if count > 0 && concerned(entry, first..first + count) {
                let mut of_model =
                    |weight: usize, values: ArrayViewMutD<'_, f32>| update(first + weight, values);
                let result = entry.layer.update_weights(&mut of_model);
                result.map_err(|source| entry.error(source))?;
            }
            first += count;
        }
        Ok(())
    }

    /// Runs the model once. Where `tap` asks for the gradients by the states of a layer, that layer
    /// and what follows from it is on the tape as well, whatever else is wanted.
    pub(crate) fn run_for_training<'a>(
        &'a self,
        inputs: &[Tensor],
        tap: Option<&Tap>,
        training: &mut Training,
    ) -> Result<(Vec<Tensor>, ModelTape<'a>), ModelError> {
        self.run_taped(inputs, tap, None, training)
    }

    /// The same, where with `entries` the layers that inputs enter by are scaled. On the way back
    /// these inputs get contributions in place of gradients, and those of such layers alone.
    pub(crate) fn run_taped<'a>(
        &'a self,
        inputs: &[Tensor],
        tap: Option<&Tap>,
        entries: Option<&Entries>,
        training: &mut Training,
    ) -> Result<(Vec<Tensor>, ModelTape<'a>), ModelError> {
        let inputs_wanted = training.wants_inputs();
        let mut wanted = vec![false; self.nodes.len()];
        let mut is_entered = vec![false; self.nodes.len()];
        if let Some(entries) = entries {
            let inputs = entries.inputs.iter().zip(self.entered());
            for (source, (own, entered)) in self.input_sources.iter().zip(inputs) {
                is_entered[source.node] = *own && entered;
            }
        }
        for source in &self.input_sources {
            wanted[source.node] = inputs_wanted && !is_entered[source.node];
        }
        let first_weights = self.first_weights();
        let has_trainable: Vec<bool> = self
            .layers
            .iter()
            .map(|entry| {
                entry.trainable && entry.layer.weight_slots().iter().any(|slot| slot.trainable)
            })
            .collect();
        let (mut calls, mut moving, mut penalty) = (Vec::new(), Vec::new(), 0.0);
        let outputs = self.run_calls(inputs, tap, &mut |node, entry, taken, call| {
            let entered = match entries {
                Some(_) => self.entries_of(node, &|input| is_entered[input]),
                None => Vec::new(),
            };
            let enters = entered.contains(&true);
            let entering = entries.filter(|_| enters).map(|entries| Call {
                entries: Some(Entries {
                    share: entries.share,
                    inputs: entered.clone(),
                }),
                ..call.clone()
            });
            let call = entering.as_ref().unwrap_or(call);
            let layer = self.nodes[node].layer;
            let weights = training.wants_weights() && has_trainable[layer];
            let mut sources = self.nodes[node].sources();
            let inputs = enters || sources.any(|source| wanted[source.node]);
            let states = tap.is_some_and(|tap| tap.asks_gradients(&entry.name));
            wanted[node] = inputs || weights || states;
            let forward = training.wanting(inputs, weights, |training| {
                training.of_layer(entry.trainable, |training| {
                    let forward = entry.layer.call_for_training(taken, call, training)?;
                    match &entry.activity {
                        Some(activity) => activity.applied(forward, training),
                        None => Ok(forward),
                    }
                })
            })?;
            moving.extend(forward.moving.into_iter().map(|average| MovingAverage {
                weight: first_weights[layer] + average.weight,
                ..average
            }));
            penalty += forward.penalty;
            if wanted[node] {
                calls.push(TapedCall {
                    node,
                    outputs: forward.outputs.len(),
                    weights,
                    entered,
                    penalized: training.is_training() && forward.penalty != 0.0,
                    backward: forward.backward,
                });
            }
            Ok(forward.outputs)
        })?;
        let tape = ModelTape {
            model: self,
            calls,
            wanted,
            outputs: outputs
                .iter()
                .map(|output| output.shape().to_vec())
                .collect(),
            moving,
            penalty,
            inputs_wanted,
        };
        Ok((outputs, tape))
    }

    /// The number of each layer's first weight among the model's.
    fn first_weights(&self) -> Vec<usize> {
        let mut next = 0;
        let mut first = Vec::with_capacity(self.layers.len());
        for entry in &self.layers {
            first.push(next);
            next += entry.layer.weight_slots().len();
        }
        first
    }
}

impl ModelTape<'_> {
    /// What the moving averages of the model take up of this batch: for
    /// [`Model::update_moving_averages`], after the weights have been updated.
    pub fn moving(&self) -> &[MovingAverage] {
        &self.moving
    }

    /// What the outputs of layers add to the loss of this batch: Keras's `activity_regularizer`. In
    /// training the gradients take account of it.
    pub fn penalty(&self) -> f32 {
        self.penalty
    }

    /// The gradients of the inputs and weights, of those of the outputs: an array of each
    /// output's shape, or `None` where the loss does not depend on it.
    ///
    /// # Errors
    /// When a gradient does not have its output's shape, or a layer cannot be trained.
    pub fn backward(self, outputs: Vec<Option<Array>>) -> Result<ModelGradients, ModelError> {
        self.check(&outputs)?;
        let model = self.model;
        let mut gradients: Vec<Vec<Option<Array>>> = vec![Vec::new(); model.nodes.len()];
        for (source, gradient) in model.output_sources.iter().zip(outputs) {
            note(&mut gradients, source, gradient);
        }
        let mut weights: Vec<Vec<Option<Gradient>>> = model
            .layers
            .iter()
            .map(|entry| vec![None; entry.layer.weight_slots().len()])
            .collect();
        for call in self.calls.into_iter().rev() {
            let mut of_outputs = std::mem::take(&mut gradients[call.node]);
            if !call.penalized && of_outputs.iter().all(Option::is_none) {
                continue;
            }
            of_outputs.resize(call.outputs, None);
            let node = &model.nodes[call.node];
            let entry = &model.layers[node.layer];
            let mut of_layer = (call.backward)(of_outputs).map_err(|source| entry.error(source))?;
            let of_inputs = of_layer.inputs.into_iter().enumerate();
            for (input, (index, gradient)) in node.inputs.iter().zip(of_inputs) {
                if let Input::Tensor(source) = input
                    && (self.wanted[source.node] || call.entered.get(index) == Some(&true))
                {
                    note(&mut gradients, source, gradient);
                }
            }
            for (name, sources) in &node.tensors {
                let of_tensors = of_layer.tensors.remove(name).unwrap_or_default();
                for (source, gradient) in sources.iter().zip(of_tensors) {
                    if self.wanted[source.node] {
                        note(&mut gradients, source, gradient);
                    }
                }
            }
            if !call.weights {
                continue;
            }
            for (sum, gradient) in weights[node.layer].iter_mut().zip(of_layer.weights) {
                match (&mut *sum, gradient) {
                    (_, None) => {}
                    (Some(sum), Some(gradient)) => {
                        sum.add(gradient).map_err(|source| entry.error(source))?;
                    }
                    (None, gradient) => *sum = gradient,
                }
            }
        }
        let inputs = model.input_sources.iter().map(|source| {
            let of_input = gradients[source.node].get(source.tensor).cloned().flatten();
            of_input.filter(|_| self.inputs_wanted)
        });
        Ok(ModelGradients {
            inputs: inputs.collect(),
            weights: weights.into_iter().flatten().collect(),
        })
    }

    fn check(&self, gradients: &[Option<Array>]) -> Result<(), ModelError> {
        let fits = gradients.len() == self.outputs.len()
            && gradients
                .iter()
                .zip(&self.outputs)
                .all(|(gradient, shape)| {
                    gradient
                        .as_ref()
                        .is_none_or(|gradient| gradient.shape() == shape)
                });
        if fits {
            return Ok(());
        }
        let found: Vec<Option<&[usize]>> = gradients
            .iter()
            .map(|gradient| gradient.as_ref().map(|gradient| gradient.shape()))
            .collect();
        Err(ModelError::Inputs(format!(
            "the outputs have the shapes {:?}, and their gradients {found:?}",
            self.outputs
        )))
    }
}

/// Adds a gradient to what is known of an output's.
fn note(gradients: &mut [Vec<Option<Array>>], source: &Source, gradient: Option<Array>) {
    let of_node = &mut gradients[source.node];
    if of_node.len() <= source.tensor {
        of_node.resize(source.tensor + 1, None);
    }
    add(&mut of_node[source.tensor], gradient);
}
