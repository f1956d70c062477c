//! Keras's layers, one family a file: options, weights' names and `call` together.

mod identity;
mod unknown;

use ifco_cell::Activation;

use crate::{Config, ConfigError, Layer};

pub use unknown::Unknown;

/// The classes that ifco runs, in the order in which the documentation lists them.
pub const SUPPORTED: &[&str] = &["Dropout"];

/// Makes the layer of this class from its configuration, without weights. A class that ifco
/// does not know becomes an [`Unknown`], which says so when it is called.
///
/// # Errors
/// When a known layer's configuration is not one that it can have.
pub fn build(class: &str, config: &Config<'_>) -> Result<Box<dyn Layer>, ConfigError> {
    Ok(match class {
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
