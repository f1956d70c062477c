//! What can be wrong with a file.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use ifco_model::ModelError;

/// A file that cannot be used.
///
/// Its text says which file, what was found and where in it; [`FileError::help`] what to do.
///
/// ```
/// let error = ifco_files::open_bytes(&b"\x1f\x8b\x08"[..], "lstm.keras.gz").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "lstm.keras.gz: this is gzip-compressed, not a Keras model"
/// );
/// assert_eq!(error.help().as_deref(), Some("unpack it first"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system would not read or write it.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Not a file that holds a Keras model or its weights.
    Unknown {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: String,
        /// What to do, if something can be done about such a file; else empty.
        remedy: String,
    },
    /// The file is of a known kind, but of a sort that ifco does not read.
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is there.
        what: String,
        /// What to do instead.
        remedy: String,
    },
    /// The zip archive of a `.keras` file is damaged.
    Zip {
        /// The file.
        path: PathBuf,
        /// The entry, or empty for the archive as a whole.
        entry: String,
        /// What is wrong.
        reason: String,
    },
    /// The HDF5 file, or the one inside a `.keras`, is damaged.
    Hdf5 {
        /// The file.
        path: PathBuf,
        /// The group or dataset, from the root; empty for the file as a whole.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// The ONNX file is damaged, or its graph is not one.
    Onnx {
        /// The file.
        path: PathBuf,
        /// The node, tensor or byte.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// A JSON text inside the file is not JSON.
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
    /// Something else stands in a JSON text than should.
    Value {
        /// The file.
        path: PathBuf,
        /// Where: `layers[1].weights[0]`.
        place: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// A part of the file makes no sense: it is cut off, or was never right.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part: `archive/data.pkl`, `the header`, `tensor "fc.weight"`.
        part: String,
        /// What is wrong, and where in the part.
        reason: String,
    },
    /// A part that such a file must have is absent.
    Missing {
        /// The file.
        path: PathBuf,
        /// What is absent.
        part: String,
        /// What to do.
        remedy: String,
    },
    /// The file has no array for one of the model's weights.
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
    LayersDiffer {
        /// The file.
        path: PathBuf,
        /// How they differ.
        what: String,
    },
    /// Opening the file would cost more than [`Limits`](crate::Limits) allows.
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
    Model {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ModelError>,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path().display(), self.problem())
    }
}

/// What is wrong, without the file: what [`FileError::problem`] shows.
struct Problem<'a>(&'a FileError);

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FileError::Io { source, .. } => write!(f, "{source}"),
            FileError::Unknown { found, .. } => write!(f, "this is {found}, not a Keras model"),
            FileError::Unsupported { what, .. } | FileError::LayersDiffer { what, .. } => {
                f.write_str(what)
            }
            FileError::Zip { entry, reason, .. } => {
                let entry = in_part(entry, "at");
                write!(f, "the zip archive is damaged{entry}: {reason}")
            }
            FileError::Hdf5 { object, reason, .. } => {
                write!(f, "HDF5{}: {reason}", in_part(object, "object"))
            }
            FileError::Onnx { object, reason, .. } => write!(f, "ONNX, {object}: {reason}"),
            FileError::Json {
                part,
                line,
                column,
                reason,
                ..
            } => write!(
                f,
                "{part} is not valid JSON at line {line}, column {column}: {reason}"
            ),
            FileError::Value {
                place,
                found,
                expected,
                ..
            } => write!(f, "{place} is {found}, expected {expected}"),
            FileError::Damaged { part, reason, .. } => write!(f, "{part} is damaged: {reason}"),
            FileError::Missing { part, .. } => write!(f, "there is no {part}"),
            FileError::MissingWeight {
                weight,
                object,
                found,
                ..
            } => write!(
                f,
                "no array for weight {weight:?}, expected at {object:?}; {found}"
            ),
            FileError::WeightCount {
                layer,
                found,
                expected,
                ..
            } => write!(
                f,
                "layer {layer:?} has {found} arrays in the file, but takes {expected}"
            ),
            FileError::Limit {
                what, found, limit, ..
            } => write!(f, "{what} needs {found}, the limit is {limit}"),
            FileError::Model { source, .. } => write!(f, "{source}"),
        }
    }
}

impl FileError {
    /// The file; of two that were opened together, the one that is meant.
    pub fn path(&self) -> &Path {
        match self {
            FileError::Io { path, .. }
            | FileError::Unknown { path, .. }
            | FileError::Unsupported { path, .. }
            | FileError::Zip { path, .. }
            | FileError::Hdf5 { path, .. }
            | FileError::Onnx { path, .. }
            | FileError::Json { path, .. }
            | FileError::Value { path, .. }
            | FileError::Damaged { path, .. }
            | FileError::Missing { path, .. }
            | FileError::MissingWeight { path, .. }
            | FileError::WeightCount { path, .. }
            | FileError::LayersDiffer { path, .. }
            | FileError::Limit { path, .. }
            | FileError::Model { path, .. } => path,
        }
    }

    /// What is wrong and where in the file: the error's text without the file, for a program
    /// that shows it apart.
    pub fn problem(&self) -> impl fmt::Display {
        Problem(self)
    }

    /// What to do about it, where that can be told.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            FileError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => {
                    "is the path right? a relative one starts from the \
                     current directory"
                }
                io::ErrorKind::PermissionDenied => "its owner can allow you to read it",
                _ => return None,
            },
            FileError::Unknown { remedy, .. } if remedy.is_empty() => {
                "ifco opens .keras, .h5 and .hdf5 (whole models of Keras 1, 2 and 3), .weights.h5, .onnx, \
                 PyTorch's .pt and .pth, .safetensors, .npz and .json of weights, Flax's .msgpack, TensorFlow's \
                 SavedModel folders and checkpoints, and RTNeural's, AIDA-X's and GuitarML's .json and .nam"
            }
            FileError::Unknown { remedy, .. }
            | FileError::Unsupported { remedy, .. }
            | FileError::Missing { remedy, .. } => remedy,
            FileError::Onnx { .. } => {
                "copy or download the file again; if it stays so, export the model again"
            }
            FileError::Zip { .. } | FileError::Hdf5 { .. } | FileError::Damaged { .. } => {
                "copy or download the file again; if it stays so, save the model again"
            }
            FileError::Json { .. } => {
                "if the text was edited, correct it there; else save the model again"
            }
            FileError::Value { .. } => {
                "if the file was edited, correct it there; else export the model again"
            }
            FileError::MissingWeight { .. }
            | FileError::WeightCount { .. }
            | FileError::LayersDiffer { .. } => {
                "is the architecture the one these weights were saved from?"
            }
            FileError::Limit { field, .. } => {
                return Some(format!(
                    "if the file is to be trusted, a program can open it with a larger \
                     Limits::{field} (OpenOptions)"
                ));
            }
            FileError::Model { source, .. } => return source.help(),
        };
        Some(help.into())
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_where_and_what_to_do() {
        let path = PathBuf::from("dir/model.keras");
        let text = |text: &str| text.to_string();
        let not_json = serde_json::from_str::<u8>("\n tru").expect_err("no number");
        let cases: Vec<(FileError, &str, Option<&str>)> = vec![
            (
                FileError::io(&path, io::ErrorKind::NotFound.into()),
                "entity not found",
                Some("is the path right?"),
            ),
            (
                FileError::io(&path, io::ErrorKind::PermissionDenied.into()),
                "permission denied",
                Some("allow you to read it"),
            ),
            (
                FileError::io(&path, io::ErrorKind::TimedOut.into()),
                "timed out",
                None,
            ),
            (
                FileError::Unknown {
                    path: path.clone(),
                    found: text("a PyTorch file"),
                    remedy: String::new(),
                },
                "this is a PyTorch file, not a Keras model",
                Some("ifco opens .keras, .h5"),
            ),
            (
                FileError::Unknown {
                    path: path.clone(),
                    found: text("gzip-compressed"),
                    remedy: text("unpack it first"),
                },
                "this is gzip-compressed, not a Keras model",
                Some("unpack it first"),
            ),
            (
                FileError::Unsupported {
                    path: path.clone(),
                    what: text("layer \"head\" is quantized"),
                    remedy: text("save it unquantized"),
                },
                "layer \"head\" is quantized",
                Some("save it unquantized"),
            ),
            (
                FileError::Zip {
                    path: path.clone(),
                    entry: text("config.json"),
                    reason: text("Invalid checksum"),
                },
                "the zip archive is damaged at \"config.json\": Invalid checksum",
                Some("download the file again"),
            ),
            (
                FileError::hdf5(&path, "layers/lstm", "it is cut off"),
                "HDF5 object \"layers/lstm\": it is cut off",
                Some("download the file again"),
            ),
            (
                FileError::json(&path, "config.json", &not_json),
                "config.json is not valid JSON at line 2, column 4: EOF while parsing a value",
                Some("correct it there"),
            ),
            (
                FileError::Value {
                    path: path.clone(),
                    place: text("layers[0].weights"),
                    found: text("a list of 2"),
                    expected: text("a list of 3 arrays"),
                },
                "layers[0].weights is a list of 2, expected a list of 3 arrays",
                Some("export the model again"),
            ),
            (
                FileError::Damaged {
                    path: path.clone(),
                    part: text("a/data.pkl"),
                    reason: text("at byte 3, it ends too early"),
                },
                "a/data.pkl is damaged: at byte 3, it ends too early",
                Some("download the file again"),
            ),
            (
                FileError::Missing {
                    path: path.clone(),
                    part: text("metadata.json in the archive"),
                    remedy: text("save the model again"),
                },
                "there is no metadata.json in the archive",
                Some("save the model again"),
            ),
            (
                FileError::MissingWeight {
                    path: path.clone(),
                    weight: text("bias"),
                    object: text("layers/lstm/cell/vars/2"),
                    found: text("in \"layers/lstm/cell/vars\" there is: 0, 1"),
                },
                "no array for weight \"bias\", expected at \"layers/lstm/cell/vars/2\"; \
                 in \"layers/lstm/cell/vars\" there is: 0, 1",
                Some("is the architecture the one"),
            ),
            (
                FileError::WeightCount {
                    path: path.clone(),
                    layer: text("memory"),
                    found: 2,
                    expected: 3,
                },
                "layer \"memory\" has 2 arrays in the file, but takes 3",
                Some("is the architecture the one"),
            ),
            (
                FileError::LayersDiffer {
                    path: path.clone(),
                    what: text("the model has 2 layers with weights, the file has 1"),
                },
                "the model has 2 layers with weights, the file has 1",
                Some("is the architecture the one"),
            ),
            (
                FileError::Limit {
                    path: path.clone(),
                    what: text("config.json"),
                    found: 9,
                    limit: 8,
                    field: "json",
                },
                "config.json needs 9, the limit is 8",
                Some("Limits::json"),
            ),
            (
                FileError::model(
                    &path,
                    ModelError::NoSuchLayer {
                        what: text("layer"),
                        name: text("lsmt"),
                        known: text("lstm"),
                    },
                ),
                "the model has no layer named \"lsmt\"",
                Some("it has: lstm"),
            ),
        ];
        for (error, problem, help) in cases {
            assert_eq!(error.path(), path);
            assert_eq!(error.problem().to_string(), problem);
            assert_eq!(error.to_string(), format!("dir/model.keras: {problem}"));
            match (help, error.help()) {
                (Some(part), Some(help)) => assert!(help.contains(part), "{help}"),
                (None, None) => {}
                (_, other) => panic!("{error}: {other:?}"),
            }
        }
    }
}
