//! ONNX files: a protobuf `ModelProto` that holds a graph of operators and its weights.
//!
//! [`crate::wire`] reads protobuf, [`proto`] the messages, [`tensor`] the arrays, also those in files
//! beside the model, and [`import`] makes a model of the nodes,
//! where loops are [`looped`] cells. [`lift`](mod@lift) makes Keras's
//! layers of them where another format shall hold them.

mod body;
mod import;
mod lift;
mod looped;
mod names;
mod proto;
mod rows;
mod save;
mod tensor;

use std::path::Path;

use ifco_model::Model;

use crate::bytes::Bytes;
use crate::wire::{Message, WireError};
use crate::{FileError, Limits};
use proto::{GraphProto, ModelProto};

pub(crate) use lift::{Lifted, is_graph, lift};
pub(crate) use save::{HOLDS, save};

/// What a model is opened with, for errors and limits.
struct Source<'a> {
    path: &'a Path,
    limits: &'a Limits,
    /// Of the file.
    size: u64,
    /// Whether there is a folder in which further files of the model may lie.
    has_folder: bool,
}

impl Source<'_> {
    fn damaged(&self, error: &WireError) -> FileError {
        FileError::Onnx {
            path: self.path.into(),
            object: format!("byte {}", error.offset),
            reason: error.reason.into(),
        }
    }

    fn invalid(&self, object: impl Into<String>, reason: impl Into<String>) -> FileError {
        FileError::Onnx {
            path: self.path.into(),
            object: object.into(),
            reason: reason.into(),
        }
    }

    fn unsupported(&self, what: impl Into<String>, remedy: &str) -> FileError {
        FileError::Unsupported {
            path: self.path.into(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    fn count(&self, what: &str, count: usize) -> Result<(), FileError> {
        match count <= self.limits.objects {
            true => Ok(()),
            false => Err(FileError::Limit {
                path: self.path.into(),
                what: format!("the number of {what}"),
                found: count as u64,
                limit: self.limits.objects as u64,
                field: "objects",
            }),
        }
    }
}

/// Whether these first bytes of a file are those of an ONNX model: fields of a `ModelProto`, in
/// any order, up to its graph.
pub(crate) fn is_model(bytes: &Bytes) -> bool {
    // A graph follows a few short strings.
    let Ok(head) = bytes.head(1 << 16) else {
        return false;
    };
    let mut rest = Message {
        bytes: &head,
        offset: 0,
    };
    let mut has_version = false;
    while let Ok(key) = rest.take_varint() {
        match (key >> 3, key & 7) {
            (1 | 5, 0) => {
                has_version = true;
                if rest.take_varint().is_err() {
                    return false;
                }
            }
            (number @ (2 | 3 | 4 | 6 | 7 | 8 | 14 | 20 | 25), 2) => {
                let Ok(length) = rest.take_varint() else {
                    return false;
                };
                // The graph, of which the head may hold the beginning alone.
                if number == 7 {
                    return has_version;
                }
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if rest.take(length).is_err() {
                    return false;
                }
            }
            _ => return false,
        }
    }
    false
}

/// Opens the model.
pub(crate) fn open(bytes: &Bytes, path: &Path, limits: &Limits) -> Result<Model, FileError> {
    let source = Source {
        path,
        limits,
        size: bytes.len(),
        has_folder: bytes.is_on_disk(),
    };
    let length = usize::try_from(bytes.len()).unwrap_or(usize::MAX);
    let content = bytes
        .head(length)
        .map_err(|error| FileError::io(path, error))?;
    let message = Message {
        bytes: &content,
        offset: 0,
    };
    let damaged = |error| source.damaged(&error);
    let model = ModelProto::read(message).map_err(damaged)?;
    if model.has_functions {
        return Err(source.unsupported(
            "the model has functions of its own",
            "inline them in Python: onnx.inliner.inline_local_functions(model)",
        ));
    }
    let graph = model.graph.ok_or_else(|| FileError::Missing {
        path: path.into(),
        part: "graph in the ONNX model".into(),
        remedy: "export the model again".into(),
    })?;
    let graph = GraphProto::read(graph).map_err(damaged)?;
    import::import(&source, &model, &graph)
}
