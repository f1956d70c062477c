//! Optimizers: how parameters follow their gradients, with all of Keras's common options.

mod gradients;
mod kind;
mod options;
mod rules;
mod state;

use ndarray::{ArrayViewD, ArrayViewMutD};
use serde_json::{Map, Value, json};

use crate::constraint::Constraint;
use crate::keras_object::{KerasObject, snake_case, written};
use crate::{Schedule, TrainError};

pub use kind::OptimizerKind;
pub use options::{Clip, LearningRate, OptimizerOptions};
pub use state::{StateValue, StateVariable};

use state::State;

/// An optimizer, and once it is [built](Self::build) what it remembers of its parameters.
///
/// ```
/// use ifco_train::{Optimizer, Parameter};
/// use ndarray::array;
///
/// let mut optimizer = Optimizer::from_keras(&serde_json::json!({
///     "class_name": "SGD", "config": {"learning_rate": 0.5},
/// }))?;
/// let mut kernel = array![[1.0], [2.0]].into_dyn();
/// let gradient = array![[0.5], [-2.0]].into_dyn();
/// optimizer.build(&[("dense/kernel", kernel.shape())]);
/// optimizer.apply(&mut [Parameter::new(kernel.view_mut(), gradient.view())])?;
/// assert_eq!(kernel, array![[0.75], [3.0]].into_dyn()); // − 0.5 · gradient
/// # Ok::<(), ifco_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    /// Which it is.
    pub kind: OptimizerKind,
    /// The options that all have.
    pub options: OptimizerOptions,
    /// Its name, part of its variables'.
    pub name: String,
    state: Option<State>,
}

/// One parameter in a step: its values, its gradient, and what must hold after the step.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// The values, which the step changes.
    pub values: ArrayViewMutD<'a, f32>,
    /// The gradient of the loss; without one the parameter stays as it is.
    pub gradient: Option<ArrayViewD<'a, f32>>,
    /// What is taken for the gradient's squares, where that is something else: of an embedding's
    /// rows that were read more than once Keras on TensorFlow squares each gradient before it adds
    /// them up. A norm that is clipped is the root of their sum; what is clipped or accumulated is
    /// one gradient then.
    pub squares: Option<ArrayViewD<'a, f32>>,
    /// Applied after the step.
    pub constraint: Option<&'a Constraint>,
}

impl<'a> Parameter<'a> {
    /// A parameter without a constraint.
    pub fn new(values: ArrayViewMutD<'a, f32>, gradient: ArrayViewD<'a, f32>) -> Self {
        Self {
            values,
            gradient: Some(gradient),
            squares: None,
            constraint: None,
        }
    }
}

impl Optimizer {
    /// An optimizer with Keras's defaults for all other options.
    ///
    /// ```
    /// use ifco_train::{LearningRate, Optimizer, OptimizerKind};
    ///
    /// let optimizer = Optimizer::new(OptimizerKind::Sgd { momentum: 0.9, nesterov: true });
    /// assert_eq!(optimizer.options.learning_rate, LearningRate::Constant(0.01));
    /// ```
    pub fn new(kind: OptimizerKind) -> Self {
        let rate = OptimizerKind::named(kind.class()).map_or(0.001, |(_, rate)| rate);
        let mut options = OptimizerOptions::with_learning_rate(rate as f32);
        if matches!(kind, OptimizerKind::AdamW { .. }) {
            options.weight_decay = Some(0.004);
        }
        Self {
            kind,
            options,
            name: snake_case(kind.class()),
            state: None,
        }
    }

    /// Reads what a `compile_config` has under `optimizer`, or an `.h5` under
    /// `optimizer_config`: a name in any case, or a class with its configuration.
    ///
    /// Options of Keras 2 that change no number are passed over, and its `decay`, as in Keras 3.
    ///
    /// # Errors
    /// When it is a user's own optimizer, or an option is not valid.
    pub fn from_keras(value: &Value) -> Result<Self, TrainError> {
        let object = KerasObject::read("optimizer", value)?;
        // A legacy optimizer of Keras 2 is registered as `Custom>Adam`.
        let class = object.name.rsplit('>').next().unwrap_or(object.name);
        let (kind, _) = OptimizerKind::named(class)?;
        let mut optimizer = Self::new(kind);
        optimizer.kind = kind.with_options(&object)?;
        optimizer.options = optimizer.options.read(&object)?;
        if let Some(name) = object.get("name") {
            let name = name
                .as_str()
                .ok_or_else(|| object.invalid("name", "a string"))?;
            optimizer.name = name.into();
        }
        Ok(optimizer)
    }

    /// The optimizer as Keras 3 writes it.
    pub fn to_keras(&self) -> Value {
        let mut config = Map::new();
        config.insert("name".into(), json!(self.name));
        self.options.write(&mut config);
        config.extend(self.kind.options());
        written("keras.optimizers", self.kind.class(), Value::Object(config))
    }

    /// Makes room for what the optimizer remembers of parameters with these names and shapes, in
    /// the model's order. What it knew before is gone.
    ///
    /// Names are paths as Keras gives them, such as `lstm/lstm_cell/kernel`.
    pub fn build<N: AsRef<str>, S: AsRef<[usize]>>(&mut self, parameters: &[(N, S)]) {
        let parameters = parameters.iter();
        let named = parameters.map(|(name, shape)| (name.as_ref().into(), shape.as_ref().to_vec()));
        self.state = Some(State::new(&self.kind, &self.options, named.collect()));
    }

    /// How many times [`apply`](Self::apply) was called.
    pub fn iterations(&self) -> i64 {
        self.state.as_ref().map_or(0, |state| state.iteration)
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f32 {
        match &self.options.learning_rate {
            LearningRate::Constant(rate) => *rate,
            LearningRate::Schedule(schedule) => schedule.rate(self.iterations()),
        }
    }

    /// Sets a constant learning rate, as `optimizer.learning_rate = rate` does.
    ///
    /// # Errors
    /// When a schedule gives the rate.
    pub fn set_learning_rate(&mut self, rate: f32) -> Result<(), TrainError> {
        match &mut self.options.learning_rate {
            LearningRate::Constant(old) => {
                *old = rate;
                Ok(())
            }
            LearningRate::Schedule(_) => Err(TrainError::Parameters(
                "has a learning rate schedule, beside which no rate can be set".into(),
            )),
        }
    }

    /// The factor for a loss before its gradients are taken (`loss_scale_factor`).
    pub fn loss_scale(&self) -> f32 {
        self.options.loss_scale_factor.unwrap_or(1.0) as f32
    }

    /// One step: clips the gradients, decays the weights, moves the parameters, averages them, and
    /// applies the constraints.
    ///
    /// # Errors
    /// When the optimizer is not built for these parameters, or a gradient has another shape. No
    /// parameter has changed then.
    pub fn apply(&mut self, parameters: &mut [Parameter<'_>]) -> Result<(), TrainError> {
        let rate = self.learning_rate();
        let Some(state) = self.state.as_mut() else {
            let unbuilt = "is not built: call `build` with the parameters' names and shapes";
            return Err(TrainError::Parameters(unbuilt.into()));
        };
        state.check(parameters)?;
        if parameters
            .iter()
            .all(|parameter| parameter.gradient.is_none())
        {
            return Err(TrainError::Parameters(
                "got no gradient for any parameter".into(),
            ));
        }
        let options = &self.options;
        let mut gradients = gradients::scaled(parameters, options.loss_scale_factor);
        let every = options.gradient_accumulation_steps;
        let updates = match every {
            Some(every) => state.iteration / every as i64,
            None => state.iteration,
        };
        let due = match every {
            Some(every) => {
                let due = (state.iteration + 1) % every as i64 == 0;
                gradients::accumulate(&mut gradients, &mut state.accumulated, due.then_some(every));
                due
            }
            None => true,
        };
        if due {
            gradients::clip(&mut gradients, parameters, options.clip);
            state.update(&self.kind, options, rate, updates, parameters, &gradients);
        }
        if options.use_ema {
            state.average(options, updates, parameters);
        }
        for parameter in parameters.iter_mut() {
            if let (Some(constraint), Some(_)) = (parameter.constraint, &parameter.gradient) {
                constraint.apply(&mut parameter.values);
            }
        }
        state.iteration += 1;
        Ok(())
    }

    /// Puts the averaged values into the parameters, as Keras's `fit` does at the end when
    /// `use_ema` is on; does nothing when it is off.
    ///
    /// # Errors
    /// When the optimizer is not built for these parameters.
    pub fn finalize(&self, parameters: &mut [Parameter<'_>]) -> Result<(), TrainError> {
        if let (Some(state), true) = (&self.state, self.options.use_ema) {
            state.check(parameters)?;
            state.overwrite(parameters);
        }
        Ok(())
    }

    /// Everything that it remembers, in the order in which Keras saves it (`optimizer/vars/0` …):
    /// empty before [`build`](Self::build).
    pub fn variables(&self) -> Vec<StateVariable> {
        match &self.state {
            Some(state) => state.variables(&self.name, &self.options),
            None => Vec::new(),
        }
    }

    /// Takes what [`variables`](Self::variables) gave, or a Keras file has: training goes on as
    /// it would have there.
    ///
    /// # Errors
    /// When the optimizer is not built, or a variable is missing or has another shape. It is
    /// unchanged then.
    pub fn set_variables(&mut self, values: &[StateValue]) -> Result<(), TrainError> {
        let Some(state) = &self.state else {
            let unbuilt = "is not built: call `build` with the parameters' names and shapes";
            return Err(TrainError::Parameters(unbuilt.into()));
        };
        let expected = state.variables(&self.name, &self.options);
        let mut state = state.clone();
        let rate = state.set(&expected, values)?;
        self.state = Some(state);
        if let (LearningRate::Constant(old), Some(rate)) = (&mut self.options.learning_rate, rate) {
            *old = rate;
        }
        Ok(())
    }
}

impl Default for Optimizer {
    /// RMSprop, `compile`'s default.
    fn default() -> Self {
        Self::new(OptimizerKind::RmsProp {
            rho: 0.9,
            momentum: 0.0,
            epsilon: 1e-7,
            centered: false,
        })
    }
}

impl LearningRate {
    fn read(value: &Value, object: &KerasObject<'_>) -> Result<Self, TrainError> {
        if value.get("class_name").is_some() && value.pointer("/config/value").is_none() {
            return Ok(Self::Schedule(Schedule::from_keras(value)?));
        }
        Ok(Self::Constant(object.number("learning_rate")? as f32))
    }
}
