//! What can be wrong with a configuration, a layer's inputs, or a model.

/// A layer's configuration that cannot be used.
///
/// ```
/// use ifco_model::{ConfigError, Generation, Model, ModelError};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "LSTM", "config": {"name": "lstm"}}, // how many units?
/// ]}});
/// let error = Model::from_config(&json, Generation::Keras3).unwrap_err();
/// assert!(matches!(error, ModelError::Config(ConfigError::Missing { key, .. }) if key == "units"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key is absent and has no default.
    #[error("{layer}: the configuration has no {key:?}")]
    Missing {
        /// The layer's name or class.
        layer: String,
        /// The key.
        key: String,
    },
    /// A key holds something else than it must.
    #[error("{layer}: {key:?} is {found}, expected {expected}")]
    Invalid {
        /// The layer's name or class.
        layer: String,
        /// The key.
        key: String,
        /// What is there, shortened.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The graph between the layers is not one that can run.
    #[error("the layer graph is not valid: {0}")]
    Graph(String),
}

/// A layer that cannot take these weights or these inputs.
///
/// ```
/// use ifco_model::{Call, Layer, LayerError, layers::Unknown};
///
/// let error = Unknown::new("Lambda").call(&[], &Call::default()).unwrap_err();
/// assert!(matches!(error, LayerError::Unsupported { class, .. } if class == "Lambda"));
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The class is not one that ifco can run.
    #[error("ifco cannot run a layer of class {class:?}; it runs: {supported}")]
    Unsupported {
        /// Keras's class name.
        class: String,
        /// The classes that can be run.
        supported: String,
    },
    /// An input of the wrong shape.
    #[error("input {input} has shape {found}, expected {expected}")]
    Input {
        /// Which one, counted from 0.
        input: usize,
        /// Its shape.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A weight of the wrong shape.
    #[error("weight {name:?} has shape {found:?}, expected {expected}")]
    Weight {
        /// The weight's name in Keras.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What would be right.
        expected: String,
    },
    /// The layer has no weights yet: its model was made from a configuration alone.
    #[error("the layer has no weights: open its weights file too")]
    NoWeights,
    /// A layer inside this one.
    #[error("layer {layer:?} ({class}) inside: {source}")]
    Inside {
        /// Its name.
        layer: String,
        /// Its class.
        class: String,
        /// Why.
        source: Box<LayerError>,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// A model that cannot be made, found or run.
///
/// ```
/// use ifco_model::{Generation, Model, ModelError};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
///     {"class_name": "Flatten", "config": {"name": "flat"}},
/// ]}});
/// let model = Model::from_config(&json, Generation::Keras3)?;
/// let error = model.layer("lstm").unwrap_err();
/// assert_eq!(error.to_string(), "the model has no layer named \"lstm\"; it has: x, flat");
/// # Ok::<(), ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A layer failed.
    #[error("layer {layer:?} ({class}): {source}")]
    Layer {
        /// The layer's name; inside a nested model, `outer/inner`.
        layer: String,
        /// Its class.
        class: String,
        /// Why.
        source: LayerError,
    },
    /// There is no such layer.
    #[error("the model has no {what} named {name:?}; it has: {known}")]
    NoSuchLayer {
        /// `layer`, or a kind of layer.
        what: String,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Inputs that do not fit the model.
    #[error("{0}")]
    Inputs(String),
}

impl From<ifco_cell::WeightsError> for LayerError {
    fn from(error: ifco_cell::WeightsError) -> Self {
        LayerError::Weight {
            name: error.array.into(),
            found: error.found,
            expected: error.expected,
        }
    }
}

impl From<ifco_cell::ForwardError> for LayerError {
    fn from(error: ifco_cell::ForwardError) -> Self {
        LayerError::Other(error.to_string())
    }
}
