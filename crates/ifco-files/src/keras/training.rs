//! What a file of Keras keeps of training: what `compile` was called with, and what the optimizer
//! remembers.

use std::path::Path;

use ifco_model::Model;
use ifco_train::StateValue;
use serde_json::Value;

use super::save::{COMPILE, TRAINING, compile_config_of};
use super::{archive, object_tree};
use crate::bytes::Bytes;
use crate::hdf5::{Hdf5, Tree};
use crate::{FileError, Limits, SaveOptions};

/// Where the optimizer's variables lie in `model.weights.h5`.
const VARIABLES: &str = "optimizer/vars";

/// What `compile` was called with, in the words of a `.keras`; `None` where the model's file does
/// not say it.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../ifco-cli/tests/models")).unwrap();
/// let model = ifco_files::open("stacked.keras")?;
/// assert_eq!(ifco_files::compile_config(&model), None); // it was never compiled
/// # Ok::<(), ifco_files::FileError>(())
/// ```
pub fn compile_config(model: &Model) -> Option<Value> {
    let is_told = |value: &&Value| value.as_object().is_some_and(|told| !told.is_empty());
    let of = |key| model.config().get(key).filter(is_told);
    let compile = of(COMPILE).cloned();
    compile.or_else(|| compile_config_of(of(TRAINING)?.clone()))
}

/// The optimizer's variables in Keras's order; none where the file has none.
pub(crate) fn optimizer_state(
    bytes: &Bytes,
    path: &Path,
    limits: &Limits,
) -> Result<Vec<StateValue>, FileError> {
    let weights = archive::weights(bytes, path, limits)?;
    let file = Hdf5::open(weights, path, bytes.len(), limits)?;
    let mut values = Vec::new();
    for index in 0..file.children(VARIABLES)?.datasets.len() {
        let name = index.to_string();
        let count = match index {
            0 => file.count(VARIABLES, &name)?,
            _ => None,
        };
        values.push(match count {
            Some(count) => StateValue::Count(count),
            None => match file.read(VARIABLES, &name)? {
                Some(array) => StateValue::Numbers(array),
                None => {
                    return Err(FileError::MissingWeight {
                        path: path.into(),
                        weight: "the optimizer's variable".into(),
                        object: format!("{VARIABLES}/{name}"),
                        found: object_tree::what_there_is(&file, VARIABLES)?,
                    });
                }
            },
        });
    }
    Ok(values)
}

/// Puts the optimizer's variables where Keras looks for them.
pub(super) fn put_optimizer(tree: &mut Tree, options: &SaveOptions) {
    if options.optimizer.is_empty() {
        return;
    }
    let vars = tree.group(VARIABLES);
    for (index, value) in options.optimizer.iter().enumerate() {
        let name = index.to_string();
        match value {
            StateValue::Count(count) => vars.count(&name, *count),
            StateValue::Numbers(array) => vars.array(&name, array.clone()),
        }
    }
}
