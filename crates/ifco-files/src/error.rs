//! What can be wrong with a file.

use std::path::{Path, PathBuf};

use ifco_model::ModelError;

/// A file that cannot be used: which one, where in it, what was found, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system would not read or write it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not a file that holds a Keras model or its weights.
    #[error(
        "{}: this is {found}, not a Keras model; ifco opens .keras, .h5 and .hdf5 (whole models \
         of Keras 1, 2 and 3) and .weights.h5{remedy}", path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: String,
        /// What to do, if something can be done: starts with `: ` or is empty.
        remedy: String,
    },
    /// The file is of a known kind, but of a sort that ifco does not read.
    #[error("{}: {what}; {remedy}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is there.
        what: String,
        /// What to do instead.
        remedy: String,
    },
    /// The zip archive of a `.keras` file is damaged.
    #[error("{}: the zip archive is damaged{}: {reason}", path.display(), in_part(entry, "at"))]
    Zip {
        /// The file.
        path: PathBuf,
        /// The entry, or empty for the archive as a whole.
        entry: String,
        /// What is wrong.
        reason: String,
    },
    /// The HDF5 file, or the one inside a `.keras`, is damaged.
    #[error("{}: HDF5{}: {reason}", path.display(), in_part(object, "object"))]
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// The group or dataset, from the root; empty for the file as a whole.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// A JSON text inside the file is not JSON.
    #[error("{}: {part} is not valid JSON at line {line}, column {column}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Which text: `config.json`, `attribute model_config`.
        part: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// A part that such a file must have is absent.
    #[error("{}: there is no {part}; {remedy}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is absent.
        part: String,
        /// What to do.
        remedy: String,
    },
    /// The file has no array for one of the model's weights.
    #[error(
        "{}: no array for weight {weight:?}, expected at {object:?}; {found}", path.display()
    )]
    MissingWeight {
        /// The file.
        path: PathBuf,
        /// Keras's name of the weight: `kernel`.
        weight: String,
        /// Where it should be.
        object: String,
        /// What is there instead.
        found: String,
    },
    /// A layer has more or fewer arrays in the file than it takes.
    #[error(
        "{}: layer {layer:?} has {found} arrays in the file, but takes {expected}; is the \
         architecture the one these weights were saved from?", path.display()
    )]
    WeightCount {
        /// The file.
        path: PathBuf,
        /// The layer.
        layer: String,
        /// How many arrays the file has.
        found: usize,
        /// How many the layer takes.
        expected: usize,
    },
    /// The weights are those of other layers than the architecture has.
    #[error("{}: {what}; is the architecture the one these weights were saved from?", path.display())]
    LayersDiffer {
        /// The file.
        path: PathBuf,
        /// How they differ.
        what: String,
    },
    /// Opening the file would cost more than [`Limits`](crate::Limits) allows.
    #[error(
        "{}: {what} needs {found}, the limit is {limit}; if the file is to be trusted, raise \
         Limits::{field}", path.display()
    )]
    Limit {
        /// The file.
        path: PathBuf,
        /// What would cost it.
        what: String,
        /// How much is claimed.
        found: u64,
        /// How much is allowed.
        limit: u64,
        /// The field of [`Limits`](crate::Limits) that allows more.
        field: &'static str,
    },
    /// The configuration or the weights do not make a model.
    #[error("{}: {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ModelError>,
    },
}

impl FileError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn hdf5(path: &Path, object: &str, reason: impl ToString) -> Self {
        Self::Hdf5 {
            path: path.into(),
            object: object.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn json(path: &Path, part: &str, error: &serde_json::Error) -> Self {
        // serde_json appends the position to its text; it is said once, before the reason.
        let text = error.to_string();
        let reason = text.split(" at line ").next().unwrap_or(&text).to_string();
        Self::Json {
            path: path.into(),
            part: part.into(),
            line: error.line(),
            column: error.column(),
            reason,
        }
    }

    pub(crate) fn model(path: &Path, source: ModelError) -> Self {
        Self::Model {
            path: path.into(),
            source: Box::new(source),
        }
    }
}

fn in_part(part: &str, word: &str) -> String {
    if part.is_empty() {
        String::new()
    } else {
        format!(" {word} {part:?}")
    }
}
