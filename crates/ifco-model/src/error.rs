//! What can be wrong with a configuration, a layer's inputs, or a model.
//!
//! An error's text says what is wrong and where; what to do about it, where that can be told,
//! is its `help`, so that a program can show the two apart.

use crate::layers::{OPERATIONS, SUPPORTED};
use crate::onnx::OPERATORS as ONNX_OPERATORS;

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
    /// A node of an ONNX graph asks for what ifco does not have.
    #[error("node {layer:?} ({class}) has {what}")]
    Unsupported {
        /// The node's name.
        layer: String,
        /// Its operator.
        class: String,
        /// What it asks for.
        what: String,
        /// What to do instead.
        remedy: String,
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
    #[error("ifco cannot run a layer of class {class:?}")]
    Unsupported {
        /// Keras's class name.
        class: String,
    },
    /// The operation is not one that ifco can run.
    #[error("ifco cannot run operation {operation:?}")]
    UnsupportedOperation {
        /// Keras's name of it: `Einsum`.
        operation: String,
    },
    /// The ONNX operator is not one that ifco can run.
    #[error("ifco cannot run ONNX's operator {operator:?} (opset {opset})")]
    UnknownOperator {
        /// Its name, with its domain where that is not ONNX's own: `com.microsoft.Attention`.
        operator: String,
        /// The version of ONNX's operators that the file is written in.
        opset: i64,
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
    #[error("the layer has no weights, only its configuration")]
    NoWeights,
    /// There is no gradient for what the layer computes.
    #[error("ifco cannot train through a layer of class {class:?}")]
    NotTrainable {
        /// Its class, or the operation's name.
        class: String,
    },
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
/// assert_eq!(error.to_string(), "the model has no layer named \"lstm\"");
/// assert!(error.help().is_some_and(|help| help.contains("x, flat")));
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
    #[error("the model has no {what} named {name:?}")]
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

const SAVE_AGAIN: &str = "if the configuration was edited, undo that; else save the model again \
     with model.save(\"model.keras\")";

impl ConfigError {
    /// What to do about it, where that can be told.
    pub fn help(&self) -> Option<String> {
        match self {
            ConfigError::Missing { .. } | ConfigError::Graph(_) => Some(SAVE_AGAIN.into()),
            ConfigError::Unsupported { remedy, .. } => Some(remedy.clone()),
            // What would be right is said with what is wrong.
            ConfigError::Invalid { .. } => None,
        }
    }
}

impl LayerError {
    /// What to do about it, where that can be told.
    ///
    /// ```
    /// use ifco_model::LayerError;
    /// let error = LayerError::Unsupported { class: "LSMT".into() };
    /// assert_eq!(error.to_string(), "ifco cannot run a layer of class \"LSMT\"");
    /// assert!(error.help().is_some_and(|help| help.starts_with("it runs LSTM, GRU, ")));
    /// ```
    pub fn help(&self) -> Option<String> {
        /// So many classes are named; the whole list would bury the error.
        const NAMED: [&str; 7] = [
            "LSTM",
            "GRU",
            "SimpleRNN",
            "Bidirectional",
            "TimeDistributed",
            "Dense",
            "Embedding",
        ];
        match self {
            LayerError::Unsupported { .. } => Some(format!(
                "it runs {} and {} other classes, which docs/formats.md lists; of such a model, \
                 the gates can be shown",
                NAMED.join(", "),
                SUPPORTED.len() - NAMED.len()
            )),
            LayerError::UnsupportedOperation { .. } => Some(format!(
                "the operations it runs are {}; of such a model, the gates can be shown",
                OPERATIONS.join(", ")
            )),
            LayerError::UnknownOperator { .. } => Some(format!(
                "the operators it runs are {}; of such a model, the gates can be shown",
                ONNX_OPERATORS.join(", ")
            )),
            LayerError::NotTrainable { .. } => Some(
                "freeze all that comes before it (trainable=False); docs/training.md tells what \
                 cannot be trained"
                    .into(),
            ),
            LayerError::NoWeights => {
                Some("open the model together with a file of its weights".into())
            }
            LayerError::Weight { .. } => Some(
                "is the architecture the one these weights were saved from? its options must be \
                 the same, such as units and use_bias"
                    .into(),
            ),
            LayerError::Inside { source, .. } => source.help(),
            // What would be right is said with what is wrong.
            LayerError::Input { .. } | LayerError::Other(_) => None,
        }
    }
}

impl ModelError {
    /// What to do about it, where that can be told.
    pub fn help(&self) -> Option<String> {
        match self {
            ModelError::Config(error) => error.help(),
            ModelError::Layer { source, .. } => source.help(),
            ModelError::NoSuchLayer { known, .. } => Some(format!("it has: {known}")),
            // What would be right is said with what is wrong.
            ModelError::Inputs(_) => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What, where, and what to do.
    #[test]
    fn each_error_says_what_where_and_what_to_do() {
        let text = |text: &str| text.to_string();
        let missing = ConfigError::Missing {
            layer: text("memory"),
            key: text("units"),
        };
        let invalid = ConfigError::Invalid {
            layer: text("memory"),
            key: text("units"),
            found: text("-1"),
            expected: text("a whole number"),
        };
        let layer = |source| ModelError::Layer {
            layer: text("encoder/memory"),
            class: text("LSTM"),
            source,
        };
        let cases: Vec<(ModelError, &[&str], Option<&str>)> = vec![
            (
                missing.into(),
                &["memory", "no \"units\""],
                Some("save the model again"),
            ),
            (
                invalid.into(),
                &["memory", "\"units\" is -1", "expected a whole number"],
                None,
            ),
            (
                ConfigError::Graph(text("layer \"a\" takes nothing")).into(),
                &["layer graph", "layer \"a\" takes nothing"],
                Some("save the model again"),
            ),
            (
                layer(LayerError::Unsupported { class: text("My") }),
                &[
                    "layer \"encoder/memory\"",
                    "cannot run a layer of class \"My\"",
                ],
                Some("LSTM, GRU"),
            ),
            (
                layer(LayerError::UnsupportedOperation {
                    operation: text("Einsum"),
                }),
                &["encoder/memory", "cannot run operation \"Einsum\""],
                Some("Add, Subtract"),
            ),
            (
                layer(LayerError::Input {
                    input: 0,
                    found: text("(2, 3)"),
                    expected: text("(batch, time, features)"),
                }),
                &[
                    "encoder/memory",
                    "input 0 has shape (2, 3), expected (batch, time, features)",
                ],
                None,
            ),
            (
                layer(LayerError::Weight {
                    name: text("kernel"),
                    found: vec![3, 4],
                    expected: text("(3, 8)"),
                }),
                &["encoder/memory", "\"kernel\"", "[3, 4]", "(3, 8)"],
                Some("the architecture"),
            ),
            (
                layer(LayerError::NoWeights),
                &["encoder/memory", "no weights"],
                Some("a file of its weights"),
            ),
            (
                layer(LayerError::Inside {
                    layer: text("cell"),
                    class: text("LSTMCell"),
                    source: Box::new(LayerError::NoWeights),
                }),
                &["encoder/memory", "\"cell\" (LSTMCell) inside", "no weights"],
                Some("a file of its weights"),
            ),
            (
                layer(LayerError::Other(text("3 steps, expected 4"))),
                &["encoder/memory", "3 steps, expected 4"],
                None,
            ),
            (
                ModelError::NoSuchLayer {
                    what: text("LSTM"),
                    name: text("lsmt"),
                    known: text("lstm, lstm_1"),
                },
                &["no LSTM named \"lsmt\""],
                Some("it has: lstm, lstm_1"),
            ),
            (
                ModelError::Inputs(text("the model takes 2 inputs (a, b), got 1")),
                &["takes 2 inputs (a, b), got 1"],
                None,
            ),
        ];
        for (error, parts, help) in cases {
            let shown = error.to_string();
            for part in parts {
                assert!(shown.contains(part), "{shown}: {part}");
            }
            match (help, error.help()) {
                (Some(part), Some(help)) => {
                    assert!(help.contains(part), "{help}");
                    assert!(!shown.contains(&help), "said twice: {shown}");
                }
                (None, None) => {}
                (_, other) => panic!("{shown}: {other:?}"),
            }
        }
    }
}
