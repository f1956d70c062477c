//! From raw data to a model's samples, and from its predictions to answers.
//!
//! Four tasks, a module each: the network that suits it, in Keras's words; samples made of raw data
//! without letting the test see into the training; the naive forecasts to set its score beside; and
//! what must travel with the model so that it can be used on raw data later.
//!
//! - [`forecast`]: the next values of a series.
//! - [`generate`]: the next character or word of a text.
//! - [`tag`]: a label for each word of a sentence.
//! - [`classify`]: a label for a text or a series.
//!
//! A [`Recipe`] is what travels: `ifco.json` inside of a `.keras`.

pub mod classify;
mod error;
pub mod forecast;
pub mod generate;
mod judge;
mod layers;
mod recipe;
mod split;
pub mod tag;
pub mod text;

pub use error::{DataError, RecipeError};
pub use judge::predictions;
pub use layers::Size;
pub use recipe::Recipe;
pub use split::{Split, shuffled};
