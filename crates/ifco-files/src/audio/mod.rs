//! Models of guitar amplifiers and other sound, as JSON that plugins load.
//!
//! | kind | told by | module |
//! |---|---|---|
//! | RTNeural, and AIDA-X with its gains and skip | `in_shape` and `layers` | [`rtneural`] |
//! | GuitarML: NeuralPi, Proteus, Automated-GuitarAmpModelling | `model_data` and `state_dict` | [`guitarml`] |
//! | Neural Amp Modeler `.nam` | `architecture`, `config` and `weights` | [`nam`] |
//!
//! Each becomes the configuration that Keras would write for the same network ([`network`]), with
//! weights in Keras's layout, so that everything behind the door knows one kind of model.

mod facts;
mod guitarml;
mod item;
mod nam;
mod network;
mod rtneural;

use std::path::Path;

use ifco_cell::packing::{self, GruPacking, Packing};
use ifco_model::Model;
use serde_json::Value;

use crate::FileError;
use item::Item;

/// The model in this JSON, if it is one of these formats.
///
/// # Errors
/// When it is one, and something in it is wrong.
pub(crate) fn open(json: &Value, path: &Path) -> Result<Option<Model>, FileError> {
    let root = Item::root(path, json);
    let has = |keys: &[&str]| keys.iter().all(|key| json.get(key).is_some());
    Ok(Some(if has(&["in_shape", "layers"]) {
        rtneural::open(&root)?
    } else if has(&["model_data"]) {
        guitarml::open(&root)?
    } else if has(&["architecture", "weights"]) {
        nam::open(&root)?
    } else {
        return Ok(None);
    }))
}

/// A row of the one table of gate orders.
fn packing(key: &str, path: &Path) -> Result<&'static Packing, FileError> {
    packing::find(key).ok_or_else(|| unknown(key, path))
}

/// The same for a GRU's.
fn gru_packing(key: &str, path: &Path) -> Result<&'static GruPacking, FileError> {
    packing::find_gru(key).ok_or_else(|| unknown(key, path))
}

fn unknown(key: &str, path: &Path) -> FileError {
    FileError::Unsupported {
        path: path.into(),
        what: format!("the gate order {key:?} is not known"),
        remedy: "report this".into(),
    }
}
