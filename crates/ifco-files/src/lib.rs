//! Files in and out: between bytes and a [`Model`], and between bytes and arrays.
//!
//! All untrusted bytes enter ifco here. Whatever they say, the answer is a model, an array,
//! or an error that names the file, the place in it and what to do: no panic, and no more
//! memory than a stated multiple of the file.

pub mod arrays;
mod error;
mod keras;

use std::path::Path;

pub use error::FileError;
use ifco_cell::Cell;
use ifco_model::Model;
use ndarray::ArrayD;

/// What a file turned out to hold.
#[derive(Debug)]
pub enum Opened {
    /// A whole model: `.keras`, or an `.h5` with its architecture.
    Model(Box<Model>),
    /// Weights alone: `.weights.h5`, or what `save_weights` of Keras 1 and 2 writes.
    Weights(WeightsFile),
}

/// A file of weights without the architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightsFile {
    /// The groups that hold arrays, in the file's order.
    pub groups: Vec<WeightsGroup>,
}

/// One group of a weights file.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightsGroup {
    /// Its path as ifco shows it: `lstm/cell` in a Keras 3 file, the layer's name in a legacy one.
    pub path: String,
    /// The layer's own name where the file tells it.
    pub name: Option<String>,
    /// Its arrays by name, in order.
    pub arrays: Vec<(String, ArrayD<f32>)>,
}

impl WeightsFile {
    /// The groups whose shapes are those of a recurrent layer, as cells with Keras's default
    /// activations (which a weights file does not tell).
    pub fn cells(&self) -> Vec<(String, Cell)> {
        todo!()
    }
}

/// Opens a whole model.
pub fn open(_path: impl AsRef<Path>) -> Result<Model, FileError> {
    todo!()
}

/// Opens a weights file with its architecture's JSON (`model.to_json()`) beside it.
pub fn open_with_architecture(
    _weights: impl AsRef<Path>,
    _json: impl AsRef<Path>,
) -> Result<Model, FileError> {
    todo!()
}

/// Opens whatever the file holds.
pub fn open_any(_path: impl AsRef<Path>) -> Result<Opened, FileError> {
    todo!()
}
