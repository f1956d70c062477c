//! Keras's layers, one family a file: options, weights' names and `call` together.

mod bidirectional;
mod identity;
mod input;
mod operation;
mod recurrent;
mod time_distributed;
mod unknown;

use ifco_cell::Activation;

use crate::from_config::{MODEL_CLASSES, model_from_json};
use crate::{Config, ConfigError, Layer, LayerError};

pub use input::InputLayer;
pub use operation::Operation;
pub use recurrent::Recurrent;
pub use unknown::Unknown;

/// The classes that ifco runs, in the order in which the documentation lists them.
pub const SUPPORTED: &[&str] = &["Dropout"];

/// Makes the layer of this class from its configuration, without weights. A class that ifco
/// does not know becomes an [`Unknown`], which says so when it is called.
///
/// # Errors
/// When a known layer's configuration is not one that it can have.
pub fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    if MODEL_CLASSES.contains(&class) {
        let json = serde_json::json!({ "class_name": class, "config": config.to_json() });
        return Ok(Box::new(model_from_json(&json, config.generation)?));
    }
    Ok(match class {
        "InputLayer" => Box::new(InputLayer::from_config(config)?),
        "LSTM" | "GRU" | "SimpleRNN" | "RNN" => match Recurrent::from_config(class, config)? {
            Some(layer) => Box::new(layer),
            None => Box::new(Unknown::new("RNN over a custom cell")),
        },
        "Bidirectional" => bidirectional::build(config)?,
        "TimeDistributed" => time_distributed::build(config)?,
        "Dropout" => identity::build(class, config)?,
        _ => Box::new(Unknown::new(class)),
    })
}

/// The activation that a layer of this class is, when such a layer stands where a function
/// is meant: `activation=LeakyReLU(0.1)`. `None` for every other layer.
pub(crate) fn activation_of(
    _class: &str,
    _config: &Config<'_>,
) -> Result<Option<Activation>, ConfigError> {
    Ok(None)
}

/// `target` with its one -1 worked out so that it holds `elements`, as NumPy's `reshape` does.
pub(crate) fn resolve_shape(elements: usize, target: &[i64]) -> Result<Vec<usize>, LayerError> {
    let wrong = || {
        LayerError::Other(format!(
            "{elements} elements do not fit the shape {target:?}"
        ))
    };
    let mut known = 1usize;
    let mut open = 0;
    for size in target {
        match usize::try_from(*size) {
            Ok(size) => known = known.checked_mul(size).ok_or_else(wrong)?,
            Err(_) if *size == -1 => open += 1,
            Err(_) => return Err(wrong()),
        }
    }
    let missing = match open {
        0 if known == elements => 0,
        1 if known > 0 && elements.is_multiple_of(known) => elements / known,
        _ => return Err(wrong()),
    };
    Ok(target
        .iter()
        .map(|size| usize::try_from(*size).unwrap_or(missing))
        .collect())
}
