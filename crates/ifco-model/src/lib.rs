//! The network around an LSTM, with the semantics of Keras: layers, the graph between them,
//! masks and `predict`.
//!
//! A [`Model`] is a graph of [`Layer`]s. It is made from Keras's own JSON
//! ([`Model::from_config`]) and an array for each of its [`weight slots`](Layer::weight_slots);
//! where those come from is the business of `ifco-files`.
//!
//! ```
//! use ifco_model::{Generation, Model};
//! use ndarray::array;
//!
//! let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
//!     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 1]}},
//!     {"class_name": "Dense", "config": {"name": "double", "units": 1, "use_bias": false}},
//! ]}});
//! let mut model = Model::from_config(&json, Generation::Keras3)?;
//! model.set_weights(vec![array![[2.0]].into_dyn()])?; // the kernel, (1, 1)
//!
//! let x = array![[1.0], [5.0]].into_dyn(); // (batch, features)
//! assert_eq!(model.predict(&x)?, array![[2.0], [10.0]].into_dyn());
//! # Ok::<(), ifco_model::ModelError>(())
//! ```
//!
//! For training, [`Model::forward_for_training`] runs a model and leaves a [`ModelTape`], of which
//! [`ModelTape::backward`] makes the gradients of all weights and inputs;
//! [`Model::update_weights`] then changes the weights in place. Every layer has its way back but
//! ONNX's operators, which are an error ([`LayerError::NotTrainable`]) where a gradient has to pass
//! through them.

mod about;
mod activity;
mod attribution;
mod backward;
mod builder;
mod calls;
mod config;
mod error;
mod from_config;
mod graph;
mod group_names;
mod layer;
pub mod layers;
mod model;
mod nested;
pub mod onnx;
mod port;
mod precision;
mod predict;
mod random;
mod regularizer;
mod run;
mod session;
mod tensor;
mod trace;
mod training;

pub use about::About;
pub use attribution::{Attribution, AttributionMethod, Entries};
pub use backward::{ModelGradients, ModelTape};
pub use builder::{ModelBuilder, Output};
pub use calls::{Argument, ModelCall};
pub use config::{Config, Generation};
pub use error::{ConfigError, LayerError, ModelError};
pub use group_names::GroupNames;
pub use layer::{Call, Layer, WeightSlot};
pub use model::{LayerEntry, Model};
pub use port::Port;
pub use random::Random;
pub use regularizer::{NotAMatrix, Regularizer};
pub use session::{NotStreamable, Session, SessionError, Step, StepShape, Streamed, Time};
pub use tensor::{Array, Mask, Shape, Tensor, display_shape};
pub use trace::{ModelGradientTrace, ModelPassage, ModelTrace, Tap, Target, TraceStream, Unit};
pub use training::{
    Backward, Forward, Gradient, LayerGradients, MovingAverage, Training, WeightUpdate,
};
