//! Models on their way to Keras's files.
//!
//! | file | words of | read by |
//! |---|---|---|
//! | `.keras` | Keras 3 | Keras 3 |
//! | `.h5` | the model's own Keras, as far as that goes in words that both know | Keras 3 and 2 |
//! | `.weights.h5` | | Keras 3, and Keras 2 for the same architecture |

mod activations;
mod modules;
mod nodes;
mod upgrade;
mod weights;
mod words;

pub(super) use words::{COMPILE, TRAINING, compile_config as compile_config_of};

use std::io::{Cursor, Write};

use ifco_model::{Generation, LayerEntry, Model, ModelError};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::json;
use crate::hdf5::Tree;
use crate::{SaveError, SaveOptions, Saved};

/// The versions whose words are written, which are those that ifco is compared with.
const KERAS_3: &str = "3.15.1";
const KERAS_2: &str = "2.21.0";

/// A `.keras` of Keras 3.
pub(crate) fn save_archive(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    let mut notes = Vec::new();
    let (config, arrays) = if model.generation() == Generation::Keras3 {
        (model.config().clone(), weights::of(model)?)
    } else {
        keras_2_to_3(model, options, &mut notes)?
    };
    check(model, options, &mut notes)?;
    let config = without_compile(config, options);
    let mut config = words::archive(config, model.generation(), &mut notes);
    if let (Some(compile), Some(object)) = (&options.compile_config, config.as_object_mut()) {
        object.insert(COMPILE.into(), compile.clone());
    }
    let mut weights = weights::object_tree(model, arrays, Generation::Keras3);
    super::training::put_optimizer(&mut weights, options);
    let metadata = json!({ "keras_version": KERAS_3 });
    let mut entries = vec![
        ("metadata.json", metadata.to_string().into_bytes()),
        ("config.json", json::write(&config)),
        (
            "model.weights.h5",
            weights.to_file().map_err(SaveError::Encode)?,
        ),
    ];
    if let Some(recipe) = &options.recipe {
        let json = recipe.to_json().to_string();
        entries.push((super::recipe::NAME, json.into_bytes()));
    }
    if let Some(progress) = &options.progress {
        let json = progress.to_json().to_string();
        entries.push((super::progress::NAME, json.into_bytes()));
    }
    if let Some(best) = best(model, options)? {
        entries.push((super::progress::BEST, best));
    }
    let bytes = zip(&entries).map_err(|error| SaveError::Encode(error.to_string()))?;
    Ok(Saved::new(bytes, notes))
}

/// The weights file of the best weights, where they are saved beside those of the model.
fn best(model: &Model, options: &SaveOptions) -> Result<Option<Vec<u8>>, SaveError> {
    let Some(best) = &options.best_weights else {
        return Ok(None);
    };
    let encode = |error: ModelError| SaveError::Encode(error.to_string());
    let mut other = Model::from_config(model.config(), model.generation()).map_err(encode)?;
    other.set_weights(best.clone()).map_err(encode)?;
    let arrays = match model.generation() {
        Generation::Keras3 => weights::of(&other)?,
        // The notes are those of the model itself.
        _ => keras_2_to_3(&other, options, &mut Vec::new())?.1,
    };
    let tree = weights::object_tree(model, arrays, Generation::Keras3);
    tree.to_file().map(Some).map_err(SaveError::Encode)
}

/// A whole model as `.h5`.
pub(crate) fn save_h5(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    let mut notes = Vec::new();
    check(model, options, &mut notes)?;
    let config = without_compile(model.config().clone(), options);
    let (config, own) = words::h5(&config, model.generation(), &mut notes);
    let told = options.compile_config.clone();
    let training = told.and_then(words::training_config).or(own);
    let mut file = Tree::default();
    for place in ["", "model_weights"] {
        file.group(place).text("keras_version", version(model));
        file.group(place).text("backend", "tensorflow");
    }
    file.text("model_config", text(&config));
    if let Some(training) = training {
        file.text("training_config", text(&training));
    }
    weights::lists(model, weights::of(model)?, file.group("model_weights"));
    let bytes = file.to_file().map_err(SaveError::Encode)?;
    Ok(Saved::new(bytes, notes))
}

/// The configuration without what `compile` was called with, where something else is to be saved.
fn without_compile(mut config: Value, options: &SaveOptions) -> Value {
    if let (Some(_), Some(object)) = (&options.compile_config, config.as_object_mut()) {
        object.shift_remove(COMPILE);
        object.shift_remove(TRAINING);
    }
    config
}

/// The weights alone, a group for each object.
pub(crate) fn save_weights(model: &Model, options: &SaveOptions) -> Result<Saved, SaveError> {
    let mut notes = Vec::new();
    check(model, options, &mut notes)?;
    let tree = weights::object_tree(model, weights::of(model)?, model.generation());
    let bytes = tree.to_file().map_err(SaveError::Encode)?;
    Ok(Saved::new(bytes, notes))
}

/// The architecture alone, as `model.to_json()` of the model's Keras writes it.
pub(crate) fn architecture(model: &Model) -> String {
    let mut config = model.config().clone();
    if model.generation() == Generation::Keras3 {
        // What others than Keras 3 wrote lacks words of its own.
        config = words::archive(config, Generation::Keras3, &mut Vec::new());
    }
    if let Some(object) = config.as_object_mut() {
        for key in ["build_config", "compile_config", TRAINING] {
            object.shift_remove(key);
        }
        object.insert("keras_version".into(), version(model).into());
    }
    text(&config)
}

/// Every weight in the order of [`Model::weight_slots`], of a model that can be saved by its
/// architecture.
pub(crate) fn weights(
    model: &Model,
    options: &SaveOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<ndarray::ArrayD<f32>>, SaveError> {
    check(model, options, notes)?;
    Ok(weights::of(model)?.into_iter().flatten().collect())
}

fn version(model: &Model) -> &'static str {
    match model.generation() {
        Generation::Keras3 => KERAS_3,
        Generation::Keras1 | Generation::Keras2 => KERAS_2,
    }
}

/// Keras 2's model in the words of Keras 3, with weights that make up for functions that became
/// others.
fn keras_2_to_3(
    model: &Model,
    options: &SaveOptions,
    notes: &mut Vec<String>,
) -> Result<(Value, Vec<weights::OfLayer>), SaveError> {
    let mut config = model.config().clone();
    let mut arrays = weights::of(model)?;
    activations::adapt(&mut config, model.generation(), &mut arrays, options, notes)?;
    upgrade::keras_2_to_3(&mut config, notes)?;
    Ok((config, arrays))
}

/// Refuses what no file of Keras could hold.
fn check(model: &Model, options: &SaveOptions, notes: &mut Vec<String>) -> Result<(), SaveError> {
    if model.config().is_null() {
        return Err(SaveError::Model {
            reason: "this is a model inside of another, whose configuration is part of that one's"
                .into(),
            remedy: "save the outer model".into(),
        });
    }
    for entry in model.layers() {
        check_layer(entry, options, notes)?;
    }
    if let Some(what) = words::double_precision(model.config()) {
        let lost = SaveError::Model {
            reason: format!("{what} computes with float64, but ifco keeps weights as float32"),
            remedy: "allow it (--lossy) if float32 is enough".into(),
        };
        let change = format!("{what} has weights of float64: they are rounded to float32");
        options.pass_over(lost, change, notes)?;
    }
    Ok(())
}

fn check_layer(
    entry: &LayerEntry,
    options: &SaveOptions,
    notes: &mut Vec<String>,
) -> Result<(), SaveError> {
    if let Some(inner) = entry.layer.as_model() {
        let mut inner = inner.layers().iter();
        return inner.try_for_each(|entry| check_layer(entry, options, notes));
    }
    if entry.layer.initial_states().is_some() {
        let lost = SaveError::Layer {
            layer: entry.name.clone(),
            class: entry.layer.class_name().into(),
            reason:
                "its sequences begin with states that the file tells, and Keras's begin with zeros"
                    .into(),
            remedy: "go on with zeros (--lossy)".into(),
        };
        let change = format!("{}: sequences begin with states of zero", entry.name);
        options.pass_over(lost, change, notes)?;
    }
    if entry.layer.can_run() {
        return Ok(());
    }
    Err(SaveError::Layer {
        layer: entry.name.clone(),
        class: entry.layer.class_name().into(),
        reason: "ifco does not know this class and cannot tell which weights it has".into(),
        remedy: "save the model with the Keras that has the class".into(),
    })
}

fn text(json: &Value) -> String {
    String::from_utf8_lossy(&json::write(json)).into_owned()
}

/// Stored, as Keras does: weights do not get much smaller, and are read in place.
fn zip(entries: &[(&str, Vec<u8>)]) -> zip::result::ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() > u32::MAX as usize / 2);
        zip.start_file(*name, options)?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}
