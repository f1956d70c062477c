//! Weights alone, of whatever framework, and the model that they make.
//!
//! | what | module |
//! |---|---|
//! | names by path, such as Keras's, Flax's, Haiku's and TensorFlow's: what each group is | [`named`] |
//! | a recurrent module in Keras's layout | [`recurrent`] |
//! | a module of any kind | [`module`] |
//! | in which order modules fit | [`chain`] |
//! | what the user tells | [`spec`] |
//! | the model | [`infer`] |
//! | `.npz` and `.json` of weights, with or without the architecture | [`files`], [`npz`], [`json`] |
//! | `.msgpack` of Flax | [`msgpack`] |
//!
//! What names PyTorch has is told by the module `torch`.

mod chain;
mod files;
mod infer;
mod json;
mod module;
mod msgpack;
mod named;
mod npz;
mod recurrent;
mod spec;

use ifco_cell::Cell;
use ndarray::ArrayD;

use crate::WeightsFile;

pub(crate) use files::{open_json, open_npz, save_json, save_npz};
pub(crate) use infer::model;
pub(crate) use module::{Kind, Module};
pub(crate) use msgpack::open as open_msgpack;
pub(crate) use named::{file, is_torch};
pub(crate) use recurrent::{Direction, Recurrent, RecurrentLayer};
pub(crate) use spec::{ACTIVATIONS, Spec};

/// Named tensors, in the file's order.
pub(crate) type Tensors = Vec<(String, ArrayD<f32>)>;

/// The cells of every recurrent module, with the framework's default activations.
pub(crate) fn cells(file: &WeightsFile) -> Vec<(String, Cell)> {
    let mut cells = Vec::new();
    for group in &file.groups {
        let Ok(module) = Module::of(group, &spec::ModuleSpec::default(), file.source) else {
            continue;
        };
        if let Some(recurrent) = &module.recurrent {
            cells.extend(recurrent.cells(&module.name));
        }
    }
    cells
}
