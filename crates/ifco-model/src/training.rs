//! What a layer does while a model is trained: its forward with what its backward needs.
//!
//! [`Layer::call_for_training`](crate::Layer::call_for_training) gives a [`Forward`]: the outputs,
//! and the way back, which makes [`LayerGradients`] of the outputs' gradients. A layer's backward
//! stands beside its forward, below [`layers`](crate::layers).

mod gradient;

use std::collections::BTreeMap;

use ndarray::ArrayViewMutD;

use crate::{Array, LayerError, Random, Tensor};

pub use gradient::Gradient;

/// How a model is run for its gradients.
///
/// ```
/// use ifco_model::Training;
/// assert!(Training::new(7).is_training()); // dropout drops, drawn from this seed
/// assert!(!Training::inference().is_training()); // the gradients of what predict computes
/// ```
#[derive(Debug, Clone)]
pub struct Training {
    random: Random,
    training: bool,
    /// Whether the layer that runs is one that trains: what Keras's `layer.trainable` says.
    trainable: bool,
    inputs_wanted: bool,
    weights_wanted: bool,
    recompute: bool,
    /// How many steps of each sample lie in the batch as rows of their own.
    folded_steps: usize,
}

impl Training {
    /// As Keras's `fit` runs a model: `training=True`. Whatever is drawn, by dropout and noise, is
    /// drawn from this seed. Gradients of the model's inputs are not computed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            training: true,
            trainable: true,
            inputs_wanted: false,
            weights_wanted: true,
            recompute: false,
            folded_steps: 1,
        }
    }

    /// As `predict` runs it, for the gradients of just that: with those of the inputs, and without
    /// dropout.
    pub fn inference() -> Self {
        Self {
            training: false,
            inputs_wanted: true,
            ..Self::new(0)
        }
    }

    /// Computes the gradients of the inputs or not.
    pub fn with_inputs(mut self, wanted: bool) -> Self {
        self.inputs_wanted = wanted;
        self
    }

    /// Computes the gradients of the weights or not.
    pub fn with_weights(mut self, wanted: bool) -> Self {
        self.weights_wanted = wanted;
        self
    }

    /// Has recurrent layers keep the states of a few steps alone and run the others again on the way
    /// back: less memory for long sequences, a third more work.
    pub fn with_recompute(mut self, recompute: bool) -> Self {
        self.recompute = recompute;
        self
    }

    /// Whether they do.
    pub fn recomputes(&self) -> bool {
        self.recompute
    }

    /// Whether layers behave as in training: dropout drops, BatchNormalization takes the
    /// statistics of the batch.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Whether the layer that runs is not frozen: a frozen BatchNormalization works as at
    /// inference.
    pub fn is_trainable(&self) -> bool {
        self.trainable
    }

    /// Whether anybody asks for the gradients of the inputs.
    pub fn wants_inputs(&self) -> bool {
        self.inputs_wanted
    }

    /// Whether the gradients of the weights are asked for; of a frozen layer they are not.
    pub fn wants_weights(&self) -> bool {
        self.weights_wanted
    }

    /// Both, for a way back to keep.
    pub(crate) fn wants(&self) -> Wants {
        Wants {
            inputs: self.inputs_wanted,
            weights: self.weights_wanted,
        }
    }

    /// Where random numbers come from.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Runs `work` for a layer that trains or is frozen. What lies inside of a frozen layer is
    /// frozen too.
    pub(crate) fn of_layer<T>(&mut self, trainable: bool, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.trainable;
        self.trainable &= trainable;
        let result = work(self);
        self.trainable = before;
        result
    }

    /// How many rows of the batch are steps of one sample, which a TimeDistributed around the layer
    /// that runs has made of them.
    pub(crate) fn folded_steps(&self) -> usize {
        self.folded_steps
    }

    /// Runs `work` on a batch whose rows are the steps of what was a batch before.
    pub(crate) fn of_steps<T>(&mut self, steps: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.folded_steps;
        self.folded_steps = before.saturating_mul(steps.max(1));
        let result = work(self);
        self.folded_steps = before;
        result
    }

    /// Runs `work` with other wishes, and has its own ones back afterwards.
    pub(crate) fn wanting<T>(
        &mut self,
        inputs: bool,
        weights: bool,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = (self.inputs_wanted, self.weights_wanted);
        (self.inputs_wanted, self.weights_wanted) = (inputs, weights);
        let result = work(self);
        (self.inputs_wanted, self.weights_wanted) = before;
        result
    }
}

/// Which gradients somebody asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    pub(crate) inputs: bool,
    pub(crate) weights: bool,
}

/// What a layer computed, and the way back.
///
/// ```
/// use ifco_model::{Call, Config, Generation, Layer, Tensor, Training, layers};
/// use ndarray::array;
///
/// let json = serde_json::json!({"units": 1, "use_bias": false});
/// let config = Config::new("dense", Generation::Keras3, &json)?;
/// let mut dense = layers::build("Dense", &config)?;
/// dense.set_weights(vec![array![[1.0], [10.0]].into_dyn()])?;
///
/// let x = Tensor::new(array![[2.0, 3.0]].into_dyn());
/// let mut training = Training::inference();
/// let forward = dense.call_for_training(&[x], &Call::default(), &mut training)?;
/// assert_eq!(forward.outputs[0].view(), array![[32.0]].into_dyn());
///
/// let one = array![[1.0]].into_dyn().into_shared(); // ∂L/∂y
/// let mut gradients = (forward.backward)(vec![Some(one)])?;
/// let x = gradients.inputs.remove(0).expect("it was asked for");
/// assert_eq!(x.view(), array![[1.0, 10.0]].into_dyn());
/// let kernel = gradients.weights.remove(0).expect("so were those of the weights");
/// assert_eq!(kernel.into_dense(), array![[2.0], [3.0]].into_dyn());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Forward<'a> {
    /// The outputs with their masks, as of [`Layer::call`](crate::Layer::call).
    pub outputs: Vec<Tensor>,
    /// Makes the gradients of what went in of those of each output, `None` where nothing depends
    /// on it.
    pub backward: Backward<'a>,
    /// What the layer's moving averages take up of this batch.
    pub moving: Vec<MovingAverage>,
    /// What layers inside of this one add to the loss by their `activity_regularizer`. In training
    /// its gradient is part of the way back, which is then to be taken even where nothing depends
    /// on the outputs.
    pub penalty: f32,
}

/// Changes a weight in place, which it is told the number of among the layer's or the model's.
pub type WeightUpdate<'a> = dyn FnMut(usize, ArrayViewMutD<'_, f32>) -> Result<(), LayerError> + 'a;

/// The way back through a layer.
pub type Backward<'a> =
    Box<dyn FnOnce(Vec<Option<Array>>) -> Result<LayerGradients, LayerError> + Send + 'a>;

impl<'a> Forward<'a> {
    /// Of a layer with one output, whose backward is told that output's gradient. Where nothing
    /// depends on the output, there are no gradients.
    pub fn new(
        output: Tensor,
        backward: impl FnOnce(Array) -> Result<LayerGradients, LayerError> + Send + 'a,
    ) -> Self {
        Self::of_many(vec![output], |mut gradients| {
            match gradients.swap_remove(0) {
                Some(gradient) => backward(gradient),
                None => Ok(LayerGradients::default()),
            }
        })
    }

    /// Of a layer with several outputs, whose backward is told a gradient for each that something
    /// depends on, and not called where nothing depends on any.
    pub fn of_many(
        outputs: Vec<Tensor>,
        backward: impl FnOnce(Vec<Option<Array>>) -> Result<LayerGradients, LayerError> + Send + 'a,
    ) -> Self {
        Self::with_penalty(outputs, 0.0, |gradients| {
            match gradients.iter().any(Option::is_some) {
                true => backward(gradients),
                false => Ok(LayerGradients::default()),
            }
        })
    }

    /// The same, of a layer with a penalty inside: its backward is called in any case.
    pub(crate) fn with_penalty(
        outputs: Vec<Tensor>,
        penalty: f32,
        backward: impl FnOnce(Vec<Option<Array>>) -> Result<LayerGradients, LayerError> + Send + 'a,
    ) -> Self {
        let count = outputs.len().max(1);
        Self {
            outputs,
            backward: Box::new(move |mut gradients| {
                gradients.resize(count, None);
                backward(gradients)
            }),
            moving: Vec::new(),
            penalty,
        }
    }

    /// Of a layer that nothing can be trained through: the error is that of whoever goes back.
    pub fn refused(outputs: Vec<Tensor>, class: &str) -> Self {
        let class = class.to_string();
        Self::of_many(outputs, |_| Err(LayerError::NotTrainable { class }))
    }
}

/// The gradients of what a layer took. A list that is shorter than what it tells of has nothing
/// for the rest.
#[derive(Debug, Clone, Default)]
pub struct LayerGradients {
    /// Of each positional input.
    pub inputs: Vec<Option<Array>>,
    /// Of the keyword arguments that are tensors: `initial_state`.
    pub tensors: BTreeMap<String, Vec<Option<Array>>>,
    /// Of the weights, in the order of [`Layer::weight_slots`](crate::Layer::weight_slots).
    pub weights: Vec<Option<Gradient>>,
}

impl LayerGradients {
    /// Of a layer without weights and with one input.
    pub fn of_input(gradient: impl Into<Array>) -> Self {
        Self {
            inputs: vec![Some(gradient.into())],
            ..Self::default()
        }
    }
}

/// What a weight that is not trained but kept up to date takes up of a batch:
/// `weight ← momentum·weight + (1 − momentum)·value`.
#[derive(Debug, Clone, PartialEq)]
pub struct MovingAverage {
    /// Which of the weights, in the order of the slots.
    pub weight: usize,
    /// How much of the weight stays.
    pub momentum: f32,
    /// What it moves to, with as many values as the weight.
    pub value: Vec<f32>,
}

/// The sum of two gradients of the same thing, either of which may be absent.
pub(crate) fn add(sum: &mut Option<Array>, gradient: Option<Array>) {
    match (&mut *sum, gradient) {
        (_, None) => {}
        (Some(sum), Some(gradient)) if sum.shape() == gradient.shape() => *sum += &gradient,
        (_, gradient) => *sum = gradient,
    }
}
