//! Why a model, or a layer in it, cannot be streamed.

use crate::LayerError;

/// Why a layer cannot be run step by step, and what to do about it.
///
/// ```
/// use ifco_model::NotStreamable;
///
/// let why = NotStreamable::new("it looks at later steps").help("use padding=\"causal\"");
/// assert_eq!(why.to_string(), "it looks at later steps");
/// assert_eq!(why.remedy.as_deref(), Some("use padding=\"causal\""));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotStreamable {
    /// What about the layer it is.
    pub reason: String,
    /// What to do, where that can be told.
    pub remedy: Option<String>,
}

impl NotStreamable {
    /// For this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: None,
        }
    }

    /// The same, and what to do.
    pub fn help(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<LayerError> for NotStreamable {
    fn from(error: LayerError) -> Self {
        Self {
            reason: error.to_string(),
            remedy: error.help(),
        }
    }
}

impl From<ifco_cell::SessionError> for NotStreamable {
    fn from(error: ifco_cell::SessionError) -> Self {
        Self::new(error.to_string()).help(error.help())
    }
}

/// A model that cannot be streamed, or a session that cannot take what it is given.
///
/// ```
/// use ifco_model::{Generation, Model, SessionError};
///
/// let json = serde_json::json!({"class_name": "Sequential", "config": {"layers": [
///     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 10, 3]}},
///     {"class_name": "GlobalMaxPooling1D", "config": {"name": "peak"}},
/// ]}});
/// let error = Model::from_config(&json, Generation::Keras3)?.session().unwrap_err();
/// assert!(matches!(&error, SessionError::Layer { layer, .. } if layer == "peak"));
/// assert!(error.to_string().contains("(GlobalMaxPooling1D) cannot be run step by step"));
/// assert!(error.help().is_some_and(|help| help.contains("predict")));
/// # Ok::<(), ifco_model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A layer that cannot be run step by step.
    #[error("layer {layer:?} ({class}) cannot be run step by step: {why}")]
    Layer {
        /// The layer's name.
        layer: String,
        /// Its class.
        class: String,
        /// What about it it is.
        why: NotStreamable,
    },
    /// The model as a whole.
    #[error("the model cannot be run step by step: {0}")]
    Model(NotStreamable),
    /// Values that are no step of the stream.
    #[error("{found}, expected {expected}")]
    Input {
        /// What was given.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Saved states that are not those of this model.
    #[error("the states do not fit the model: {found}, expected {expected}")]
    States {
        /// What was given.
        found: String,
        /// What would be right.
        expected: String,
    },
}

impl SessionError {
    /// What to do about it, where that can be told.
    pub fn help(&self) -> Option<String> {
        match self {
            SessionError::Layer { why, .. } | SessionError::Model(why) => why.remedy.clone(),
            // What would be right is said with what is wrong.
            SessionError::Input { .. } => None,
            SessionError::States { .. } => {
                Some("were they saved from this model? its layers must be the same".into())
            }
        }
    }
}
