//! What can be wrong with a training configuration, its targets, or an optimizer's saved state.

use ifco_model::{ConfigError, NotAMatrix};

/// Why a training piece cannot be made or used.
///
/// ```
/// use ifco_train::{Loss, TrainError};
///
/// let error = Loss::from_keras(&"mean_sqared_error".into()).unwrap_err();
/// assert!(matches!(&error, TrainError::Unknown { name, .. } if name == "mean_sqared_error"));
/// assert!(error.to_string().contains("mean_squared_error"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A loss, metric, optimizer or other piece of a name that is not known, such as a user's own.
    #[error("there is no {what} named {name:?}; known: {known}")]
    Unknown {
        /// What was looked for: `loss`, `metric`, `optimizer` …
        what: &'static str,
        /// The name or class in the configuration.
        name: String,
        /// The names that would be right.
        known: String,
    },
    /// A key of a configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something that should be a name or a serialized object is neither.
    #[error("{what} is {found}, expected a name or an object with \"class_name\" and \"config\"")]
    NotAnObject {
        /// What was read: `loss`, `optimizer` …
        what: &'static str,
        /// What is there, shortened.
        found: String,
    },
    /// Targets, predictions, weights or masks whose shapes do not fit each other.
    #[error("{what} has shape {found:?}, expected {expected}")]
    Shape {
        /// Whose shape: `y_true`, `sample_weight`, `mask` …
        what: String,
        /// Its shape.
        found: Vec<usize>,
        /// What would be right.
        expected: String,
    },
    /// A target that names a class which the model does not have.
    #[error("sample {row} has the class {found}, expected a whole number from 0 to {last}")]
    Class {
        /// Which position of the targets, counted along all axes but the last.
        row: usize,
        /// The target, as text.
        found: String,
        /// The last class that the prediction has.
        last: usize,
    },
    /// A label sequence for which the prediction has too few time steps.
    #[error(
        "sample {row}: its labels need {needed} time steps (a repeated label needs a blank before \
         it), but the prediction has {time}"
    )]
    LabelsTooLong {
        /// Which sample.
        row: usize,
        /// How many steps the labels need.
        needed: usize,
        /// How many there are.
        time: usize,
    },
    /// An orthogonal regularizer of what is no matrix.
    #[error(transparent)]
    NotAMatrix(#[from] NotAMatrix),
    /// A saved optimizer's variables that are not this optimizer's.
    #[error("the optimizer's variable {index} ({name}) {problem}")]
    State {
        /// Its index in the file's `optimizer/vars`.
        index: usize,
        /// Its name, as Keras gives it.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A step with other parameters than the optimizer was built for.
    #[error("the optimizer {0}")]
    Parameters(String),
}

impl TrainError {
    pub(crate) fn shape(
        what: impl Into<String>,
        found: &[usize],
        expected: impl Into<String>,
    ) -> Self {
        Self::Shape {
            what: what.into(),
            found: found.to_vec(),
            expected: expected.into(),
        }
    }

    pub(crate) fn unknown(what: &'static str, name: &str, known: &[&str]) -> Self {
        Self::Unknown {
            what,
            name: name.into(),
            known: known.join(", "),
        }
    }
}
