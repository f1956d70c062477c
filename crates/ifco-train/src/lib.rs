//! Keras's training pieces, number for number.
//!
//! A `compile_config` read from a Keras file names a loss, an optimizer and metrics. Each is here,
//! with Keras's formulas, defaults and rounding:
//!
//! - [`Compile`]: all that `compile` was called with, read from a file's configuration.
//! - [`Loss`]: the value of a batch and its gradient by the prediction.
//! - [`Optimizer`]: how parameters follow gradients, with [`Schedule`]s and [`Constraint`]s; its
//!   variables are those of Keras's checkpoints.
//! - [`Metric`]: how good a model is, gathered batch by batch.
//! - [`Regularizer`] and [`Initializer`]: what weights add to the loss, and what they start from;
//!   [`initialize`] gives a new model all of its weights.
//! - [`Shuffle`], [`batches`], [`validation_split`], [`class_weights`]: which samples a step sees.
//! - [`callback`]: when to stop, to save, to lower the learning rate; logs as files.
//!
//! [`Trainer`] puts them together with a model, which makes the gradients: `fit`, `evaluate` and
//! `train_on_batch`. All of it computes in f32, as Keras does.

mod arrays;
pub mod callback;
mod compile;
mod constraint;
mod data;
mod error;
mod fit;
mod fused;
mod initialize;
mod initializer;
mod keras_object;
mod loss;
mod metric;
mod optimizer;
mod schedule;

pub use compile::{Compile, OutputTraining, PerOutput};
pub use constraint::Constraint;
pub use data::{Shuffle, batches, class_weights, validation_split};
pub use error::TrainError;
pub use fit::{
    Data, FitError, FitOptions, RunningLoss, Samples, StepMade, Trainer, Watch, same_samples,
};
pub use ifco_model::{Random, Regularizer};
pub use initialize::initialize;
pub use initializer::{Distribution, Fan, Initializer, InitializerKind};
pub use loss::{Loss, LossKind, LossValue, Reduction, Weighting};
pub use metric::{Average, Count, Curve, Direction, Metric, MetricKind, Summation};
pub use optimizer::{
    Clip, LearningRate, Optimizer, OptimizerKind, OptimizerOptions, Parameter, StateValue,
    StateVariable,
};
pub use schedule::Schedule;

/// Keras's `backend.epsilon()`.
pub(crate) const EPSILON: f32 = 1e-7;
