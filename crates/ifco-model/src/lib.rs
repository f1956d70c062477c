//! The network around an LSTM, with the semantics of Keras: layers, the graph between them,
//! masks and `predict`.
//!
//! A [`Model`] is a graph of [`Layer`]s. It is made from Keras's own JSON
//! ([`Model::from_config`]) and an array for each of its [`weight slots`](Layer::weight_slots);
//! where those come from is the business of `ifco-files`.

mod config;
mod error;
mod from_config;
mod graph;
mod group_names;
mod layer;
pub mod layers;
mod model;
mod predict;
mod tensor;

pub use config::{Config, Generation};
pub use error::{ConfigError, LayerError, ModelError};
pub use layer::{Call, Layer, WeightSlot};
pub use model::{LayerEntry, Model, Port};
pub use tensor::{Array, Mask, Shape, Tensor, display_shape};
